"""The strictest world the package is used in: 64-bit on, rank promotion an error, no unseeded draw, no deadlines."""

import os

# Before anything imports JAX: the suite means the CPU wherever it runs.
os.environ["JAX_PLATFORMS"] = "cpu"

from collections.abc import Iterator

import hypothesis
import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# The first call of a compiled function takes seconds, later ones microseconds: a deadline per example means nothing.
hypothesis.settings.register_profile("local", deadline=None, max_examples=50, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("local"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random draws, the same in every run and in every order of tests."""
    return np.random.default_rng(20230303)


@pytest.fixture
def x64_disabled() -> Iterator[None]:
    """JAX as a user finds it who never heard of 64-bit mode."""
    with jax.enable_x64(False):
        yield
