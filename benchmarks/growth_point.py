"""One point of growth in a process of its own: an adapter of ``peers/`` on a bench that its table does not hold.

``ENVPYTHON growth_point.py ADAPTER BENCH_AS_JSON LIMIT_BYTES`` and then the adapter's own options. LIMIT_BYTES is a
ceiling for what the process may allocate (0 for none). Runs in the peer's environment: Python 3.9 and numpy.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such ceiling; the driver watches the process in any case
    resource = None  # type: ignore[assignment]


def main() -> None:
    adapter, fields, limit, *options = sys.argv[1:]
    sys.path.insert(0, str(Path(adapter).parent))
    from benches import BENCHES, Bench

    bench = Bench(**json.loads(fields))
    BENCHES[bench.name] = bench
    if int(limit) and resource is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))
    sys.argv = [adapter, *options]
    runpy.run_path(adapter, run_name="__main__")


if __name__ == "__main__":
    main()
