"""How long ``maml-bench data add mini-imagenet`` takes, against decoding its 60,000 JPEG files alone, in the same run.

``python benchmarks/data_add.py PATH`` with the folder of tar archives. Decoding is PIL's, from memory, in one thread
for each core, and keeps nothing. Adding is the command as users give it, start-up included, into a new folder:
unpacking, decoding, writing, hashing. Both take turns; the ratio is of the same round. Where other work shares the
machine, seconds of processor time tell more; those of unpacking alone, which is done once, show what is left to win.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from maml_bench.harness import machine

TARGET = 3.0
CHUNK = 600
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def photographs(folder: Path) -> list[bytes]:
    """The JPEG files in all tar archives of ``folder``."""
    found = []
    for path in sorted(folder.glob("*.tar*")):
        with tarfile.open(path) as archive:
            found += [archive.extractfile(m).read() for m in archive if m.isfile() and m.name.endswith(".jpg")]
    return found


def decode(contents: list[bytes]) -> int:
    """Decode JPEG files one by one; bytes decoded."""
    return sum(np.asarray(Image.open(BytesIO(content))).nbytes for content in contents)


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of ``work`` on the wall, and of processor time, of this process and those that ended in it."""
    start, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - start, sum(after[:4]) - sum(before[:4])


def decode_all(contents: list[bytes]) -> None:
    """Decode all on all cores."""
    chunks = [contents[i : i + CHUNK] for i in range(0, len(contents), CHUNK)]
    with ThreadPoolExecutor(CORES) as pool:
        decoded = sum(pool.map(decode, chunks))
    assert decoded == len(contents) * 84 * 84 * 3


def add(folder: Path) -> None:
    """The command, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="maml-bench-add-") as home:
        command = [sys.executable, "-m", "maml_bench", "data", "add", "mini-imagenet", str(folder)]
        subprocess.run(command, env=os.environ | {"MAML_BENCH_DATA": home}, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="folder with the tar archives of train, val and test")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    contents: list[bytes] = []
    _, unpack_cpu_s = timed(lambda: contents.extend(photographs(options.path)))
    if not contents:
        parser.error(f"{options.path} holds no tar archives of JPEG files")
    decoding, adding = [], []
    for _ in range(options.rounds):
        decoding.append(timed(lambda: decode_all(contents)))
        adding.append(timed(lambda: add(options.path)))
    ratios, cpu_ratios = ([a[kind] / d[kind] for a, d in zip(adding, decoding, strict=True)] for kind in (0, 1))
    decode_s, add_s = (statistics.median(wall for wall, _ in each) for each in (decoding, adding))
    found = {
        "images": len(contents),
        "decode_s": decode_s,
        "add_s": add_s,
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "target": TARGET,
        "decode_cpu_s": statistics.median(cpu for _, cpu in decoding),
        "add_cpu_s": statistics.median(cpu for _, cpu in adding),
        "unpack_cpu_s": unpack_cpu_s,
        "cpu_ratio": statistics.median(cpu_ratios),
        "rounds": options.rounds,
        "cores": CORES,
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "machine": machine.identity(),
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"decoding {len(contents):,} images on {CORES} cores: {decode_s:.1f} s; adding: {add_s:.1f} s")
    print(f"ratio {found['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), wanted at most {TARGET:.1f}")
    print(f"processor time: {found['decode_cpu_s']:.1f} s and {found['add_cpu_s']:.1f} s, {found['cpu_ratio']:.2f}")
    print(f"unpacking the archives alone: {unpack_cpu_s:.1f} s of processor time")


if __name__ == "__main__":
    main()
