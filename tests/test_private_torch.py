"""Private interfaces of torch are used in one file only."""

from pathlib import Path

import pytest

import maml_bench
from tests.test_imports import imported, parsed

ROOT = Path(maml_bench.__file__).parent
FILES = sorted(f for f in ROOT.rglob("*.py") if f.name != "torch_internals.py")
PRIVATE = ("torch.fx.experimental", "torch.fx.passes", "torch._", "torch.utils._")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_only_one_file_imports_what_is_private(file: Path) -> None:
    assert not {name for name in imported(parsed(file)) if name.startswith(PRIVATE)}
