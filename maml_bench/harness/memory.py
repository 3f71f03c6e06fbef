"""Keep freed memory instead of handing it back to the kernel after every step.

glibc returns large blocks at once and a training step takes them again, page by page: at 15 queries half a million page
faults a step. With these settings, read by glibc when a process starts, the process keeps what it had, in large pages.
"""

import ctypes
import gc
import os
import platform
import sys

SETTINGS = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
}
CHOICE = "MAML_BENCH_MEMORY"


def mode() -> str:
    """``retained`` if this process was started with the settings, else ``default``."""
    kept = all(os.environ.get(name) == value for name, value in SETTINGS.items())
    return "retained" if kept and platform.libc_ver()[0] == "glibc" else "default"


def retain() -> None:
    """Start this very command again with the settings, unless it has them, glibc is not there or the user declined.

    ``MAML_BENCH_MEMORY=default`` declines. Settings of the user's own are left alone, and then nothing is done.
    """
    declined = os.environ.get(CHOICE) == "default"
    if declined or platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in SETTINGS):
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | SETTINGS)


def release() -> None:
    """Hand back what nobody uses any more, so that the next run of this process does not count it in its peak.

    A run's parts refer to each other in circles, which only the collector frees; and what is kept by the settings above
    goes back to the kernel when glibc is asked for it.
    """
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
