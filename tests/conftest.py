"""The strictest world the package is used in: 64-bit on, rank promotion an error, no unseeded draw, no deadlines."""

import os

# Before anything imports JAX: the suite means the CPU wherever it runs.
os.environ["JAX_PLATFORMS"] = "cpu"
# Nearly all of the time goes into compiling small programs that run once. Without LLVM's optimizations, with the older
# code generator for fused loops and without threads for parts of a program, it is a third; no operation is another one.
# `XLA_FLAGS= python -m pytest` runs what users run.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

import gc
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest

# Rooms whose annotated shapes are checked, at the first calls of a function in each module of tests. They must not
# have been imported before.
ROOMS_WITH_SHAPES = (
    "deepbures.linalg",
    "deepbures.metric",
    "deepbures.model",
    "deepbures.landscape",
    "deepbures.training",
)


HAS_CHECKER = importlib.util.find_spec("beartype") is not None
if HAS_CHECKER:
    _specification = importlib.util.spec_from_file_location("shape_checks", Path(__file__).with_name("shape_checks.py"))
    shape_checks = importlib.util.module_from_spec(_specification)
    sys.modules["shape_checks"] = shape_checks  # where modules of the rooms look for it
    _specification.loader.exec_module(shape_checks)
    shape_checks.install(ROOMS_WITH_SHAPES)


@pytest.fixture(scope="module", autouse=True)
def checked_shapes() -> None:
    """Each module of tests has its first calls checked."""
    if HAS_CHECKER:
        shape_checks.check_again()


def pytest_report_header() -> str:
    """Whether shapes are checked."""
    rooms = ", ".join(ROOMS_WITH_SHAPES)
    missing = (
        "beartype is not installed (pip install -r requirements/dev.lock), so that annotated shapes are NOT checked"
    )
    return f"shapes of arrays are checked in {rooms}" if HAS_CHECKER else missing


jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# The cache of compiled programs (below) keeps the small ones too.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
_MOST_CACHED_BYTES = 500_000_000

# The first call of a compiled function takes seconds, later ones microseconds: a deadline per example means nothing.
hypothesis.settings.register_profile("local", deadline=None, max_examples=50, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("local"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure(config: pytest.Config) -> None:
    """Share compiled programs between the workers of pytest-xdist, and with later runs: `--cache-clear` forgets them.

    The key of a program is its code before compilation, with the versions and flags of the compiler: one that has
    changed is compiled anew. Workers and runs may read what another one has written in part (or did not finish, when it
    was killed): JAX then compiles, with a warning.
    """
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache:UserWarning")
    if getattr(config, "cache", None) is None:  # -p no:cacheprovider
        return
    folder = config.cache.mkdir("jax")
    is_first = not hasattr(config, "workerinput")
    if is_first and sum(path.stat().st_size for path in folder.iterdir()) > _MOST_CACHED_BYTES:
        shutil.rmtree(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))


# Every compiled program holds some mappings of memory, of which Linux gives a process 65,530 by default: a worker would
# use them up within the suite, and the next program end it with a segmentation fault.
_MAPS, _MOST_MAPS = Path("/proc/self/maps"), 20_000


@pytest.fixture(scope="module", autouse=True)
def bounded_mappings() -> Iterator[None]:
    """Forget compiled programs after a module, where they are many; those that are needed again come from the disk."""
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random draws, the same in every run and in every order of tests."""
    return np.random.default_rng(20230303)


@pytest.fixture
def x64_disabled() -> Iterator[None]:
    """JAX as a user finds it who never heard of 64-bit mode."""
    with jax.enable_x64(False):
        yield
