"""The race lies outside the package: its folders are put on the path, as they are when its scripts run."""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
for folder in (BENCHMARKS / "peers", BENCHMARKS):
    sys.path.insert(0, str(folder))
