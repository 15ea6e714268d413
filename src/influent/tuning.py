"""What makes torch faster on a CPU: settings of the whole process, for our own commands alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys


def tune_process() -> None:
    """Threads that sleep while they wait, and memory that stays with the process; see docs/why/006-tuned-command.md."""
    # Read by the OpenMP library when torch loads it: threads that wait, sleep instead of spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if sys.platform == "linux":
        # Large activations stay with the process instead of going back to the kernel after every layer (glibc).
        with contextlib.suppress(AttributeError, OSError):
            mallopt = ctypes.CDLL(None).mallopt
            for setting, value in ((-4, 0), (-1, 2**31 - 1)):  # M_MMAP_MAX, M_TRIM_THRESHOLD of malloc.h
                mallopt(setting, value)
