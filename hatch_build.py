"""Build hook of the wheel: it gets the reference records in one small file, made from ``results/records``."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ReferenceRecords(BuildHookInterface):
    """Adds the file of `maml_bench.report.packing` to a wheel. An editable installation reads the clone's folder."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the build."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from maml_bench.report.packing import FILE, pack

        self.made = tempfile.TemporaryDirectory()
        file = Path(self.made.name, FILE)
        file.write_bytes(pack(Path(self.root, "results")))
        build_data["force_include"][str(file)] = f"maml_bench/report/{FILE}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called after the build."""
        if version != "editable":
            self.made.cleanup()
