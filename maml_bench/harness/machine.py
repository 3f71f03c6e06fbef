"""What a run was made on: processor, its measured convolution rate, memory, versions, commit. No host or user names, no
paths."""

import contextlib
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.nn.functional as F

from maml_bench import __version__
from maml_bench.harness.clock import Clock


@cache
def describe(device: str = "cpu") -> dict[str, Any]:
    """Processor, cores this process may use, widest vector instructions, memory, system, and the GPU if one is used."""
    description: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device.startswith("cuda"):
        description["gpu"] = torch.cuda.get_device_name(device)
    return description


def identity(device: str = "cpu") -> str:
    """Eight hex digits of the description, memory apart: records of equal identity come from machines of one kind."""
    same = {key: value for key, value in describe(device).items() if key != "memory_gib"}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:8]


def convolution_gflops(device: str = "cpu") -> float:
    """Rate of a 3x3 float32 convolution, 64 to 64 channels on 160 14x14 maps, in 1e9 operations/s with the threads set.

    The median of 25 calls after 5 of warm-up; hosts of one name can differ threefold, this tells them apart.
    """
    x = torch.ones(160, 64, 14, 14, device=device).to(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3, device=device).to(memory_format=torch.channels_last)
    clock = Clock(device, warm_up=5)
    with torch.no_grad():
        for _ in range(30):
            with clock.measure("convolution"):
                F.conv2d(x, weight, padding=1)
    operations = 2 * 160 * 14 * 14 * 64 * 64 * 9
    return round(operations / clock.summary_s()["convolution"]["median"] / 1e9, 1)


def reset_peak_memory(device: str = "cpu") -> None:
    """Count the peak from now on, so that a run does not inherit that of an earlier one (on Linux, and on GPUs)."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_memory_bytes(device: str = "cpu") -> int:
    """The most memory that this process has held since the reset: resident set, or allocated on the GPU in use."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def software() -> dict[str, str]:
    """Versions that decide numbers and speed."""
    names = ("torch", "numpy")
    return {"python": platform.python_version(), "maml_bench": __version__, **{name: version(name) for name in names}}


@cache
def commit() -> tuple[str | None, bool | None]:
    """(commit, whether the package's source differs from it), or (None, None) where it does not run from a clone."""
    package = Path(__file__).resolve().parents[1]
    if not (package.parent / ".git").exists():
        return None, None
    try:
        head = _git(package, "rev-parse", "HEAD").strip()
        changed = _git(package, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return head, bool(changed.strip())


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _cpu_model() -> str:
    found = []
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            if key.strip() in {"model name", "cpu family", "model"}:
                found.append(value.strip() if key.strip() == "model name" else f"{key.strip()} {value.strip()}")
    except OSError:
        pass
    return ", ".join(found) or platform.processor() or platform.machine()
