"""The pieces of an experiment in a folder, and the registry."""

import inspect
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import deepbures.reproduce
from deepbures.reproduce import Drawing, Experiment, FolderKeeper, PartsFailedError, choose
from deepbures.reproduce._registry import resolve

from .fakes import fail


class Silent:
    def __init__(self) -> None:
        self.shown: list[tuple[float, str]] = []

    def stage(self, description: str) -> None: ...

    def advance(self, description: str, done: float, where: str) -> None:
        self.shown.append((done, where))


@pytest.fixture
def keep(tmp_path: Path) -> FolderKeeper:
    return FolderKeeper(tmp_path / "pieces", name="x", workers=3, watcher=Silent(), warn=lambda text: pytest.fail(text))


def test_pieces_come_in_the_order_given_as_plain_arrays(keep, tmp_path):
    pieces = {
        "slow": lambda: time.sleep(0.05) or {"a": 1.5, "text": "τ", "file": np.arange(3)},
        "fast": lambda: {"x": jax.numpy.ones(2), "strided": np.arange(6)[::2], "flag": np.True_, "empty": []},
        "none": dict,
    }
    found = keep(pieces)
    assert list(found) == ["slow", "fast", "none"] and found["none"] == {}
    assert found["slow"]["a"].shape == () and str(found["slow"]["text"]) == "τ"
    np.testing.assert_array_equal(found["fast"]["strided"], [0, 2, 4])
    for piece in found.values():
        assert all(type(array) is np.ndarray for array in piece.values())
    again = FolderKeeper(keep.folder, name="x", workers=1, watcher=Silent(), warn=keep.warn)
    assert again({key: fail(AssertionError()) for key in pieces}).keys() == found.keys()
    assert [where for _, where in keep.watcher.shown][-1].startswith("3 of 3 pieces, newest: ")
    assert keep({}) == {}


def test_a_piece_sees_the_settings_of_its_caller(keep):
    with jax.enable_x64(False), np.errstate(divide="raise"):
        found = keep({"one": lambda: {"x": jax.numpy.zeros(1), "how": np.geterr()["divide"]}})
    assert found["one"]["x"].dtype == np.float32 and str(found["one"]["how"]) == "raise"
    assert keep({"two": lambda: {"x": jax.numpy.zeros(1)}})["two"]["x"].dtype == np.float64


def test_as_many_pieces_at_the_same_time_as_workers(keep):
    barrier = threading.Barrier(3)
    assert len(keep({f"{i}": lambda: {"order": barrier.wait(30)} for i in range(3)})) == 3


@pytest.mark.parametrize("key", ["", "A", "../x", ".x", "a b", "é", "x" * 201])
def test_keys_that_are_no_names_of_files_are_refused(keep, tmp_path, key):
    with pytest.raises(ValueError, match="the name of a piece must be made of"):
        keep({key: dict})
    assert not any(tmp_path.iterdir())


def test_a_key_that_comes_twice_is_refused(keep):
    keep({"a": dict})
    with pytest.raises(ValueError, match="two pieces 'a'"):
        keep({"a": dict})


@pytest.mark.parametrize(
    "piece, message",
    [
        ({"x": np.array([{}, None], dtype=object)}, "'x' has dtype object"),
        ([1.0], r"must be a dict of arrays by name, but is \[1.0\]"),
        ({1: 2.0}, "must be a dict of arrays by name"),
    ],
)
def test_pieces_that_files_cannot_hold_are_refused(keep, piece, message):
    with pytest.raises(PartsFailedError, match=message):
        keep({"a": lambda: piece})
    assert not list(keep.folder.glob("*.npz"))


def test_names_of_experiments_and_files_are_checked():
    with pytest.raises(ValueError, match="the name of an experiment must be"):
        Experiment("Rates", "", "", "math:sqrt")
    with pytest.raises(ValueError, match=r"written as \.svg"):
        Drawing("rates.png", "", "math:sqrt")
    with pytest.raises(ValueError, match="the name of a figure must be"):
        Drawing("../rates.svg", "", "math:sqrt")


def test_the_experiments_there_are():
    registry = deepbures.reproduce.EXPERIMENTS
    names = [experiment.name for experiment in registry]
    assert len(set(names)) == len(names) and choose([], registry) == registry
    for experiment in registry:
        parameters = inspect.signature(resolve(experiment.function)).parameters
        given = {"quick", "seed", "keep", *experiment.arguments, *filter(None, [experiment.faces])}
        assert given <= parameters.keys()
        assert experiment.title and len(experiment.description) < 100
        files = [drawing.file for drawing in experiment.drawings]
        assert len(set(files)) == len(files)
        for drawing in experiment.drawings:
            assert drawing.arguments.keys() <= inspect.signature(resolve(drawing.function)).parameters.keys()
            assert drawing.caption
