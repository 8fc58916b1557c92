"""What the numbers were taken on, and how they are taken."""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax


def one_core() -> None:
    """Keep this process, and XLA's and BLAS's threads, on one core. Call before anything is computed."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})


def heading() -> str:
    """Processor, cores in use and versions, in one line."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = ", ".join(f"{name} {version(name)}" for name in ("deepbures", "jax", "numpy", "scipy"))
    return f"{model}, {len(os.sched_getaffinity(0))} core(s); Python {platform.python_version()}, {versions}"


def best_of(call: Callable[[], Any], repeats: int = 5) -> float:
    """The shortest of several timings, in seconds, after one call that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times)
