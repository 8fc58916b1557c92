"""Bad data are refused with one line, and leave no trace."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbures.datasets import known_datasets

from .commands import SMALL, names


def _csv(text: str) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / "x.csv").write_text(text)
        return ["x.csv"]

    return make


def _npy(array: Any, *options: object) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        np.save(folder / "x.npy", array)
        return ["x.npy", *options]

    return make


def _bytes(name: str, content: bytes) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / name).write_bytes(content)
        return [name]

    return make


def _truncated(name: str) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        path = folder / name
        np.save(path, np.eye(9)) if name.endswith("npy") else np.savez(path, x=np.eye(9))
        path.write_bytes(path.read_bytes()[:-40])
        return [name]

    return make


BAD_DATA = [
    (_csv("1,2\n3,nan\n5,6\n"), "1 entry that is not finite"),
    (_npy(np.array([[1.0, np.inf], [2.0, 3.0]])), "1 entry that is not finite"),
    (_csv("1,2\n3,four\n5,6\n"), "line 2, column 2 is 'four', not a number"),
    (_npy(np.array([["a", "b"], ["c", "d"]])), "must hold numbers"),
    (_npy(np.array([[1j, 2.0], [3.0, 4.0]])), "must hold real numbers"),
    (_csv(""), "is empty"),
    (_csv("a,b\n"), "holds no rows of numbers"),
    (_npy(np.zeros((0, 3))), "is empty"),
    (_csv("1,2,3\n"), "holds one sample only"),
    (_npy(np.arange(5.0)), "must hold a matrix with one sample a row"),
    (_npy(np.zeros((2, 3)), "--covariance"), "must hold a square matrix to be read as a covariance"),
    (_npy(np.array([[2.0, 1.0], [0.5, 2.0]]), "--covariance"), "covariance must be symmetric"),
    (_npy(np.diag([1.0, -0.5]), "--covariance"), "has an eigenvalue of -0.5 times its largest entry"),
    (_npy(np.diag([1.0, np.nan]), "--covariance"), "not finite"),
    (_bytes("x.npy", pickle.dumps({"a": 1})), "looks like a pickle, which is never loaded"),
    (_npy(np.array([[{}, 1], [2, 3]], dtype=object)), "holds Python objects (a pickle), which are never loaded"),
    (_truncated("x.npy"), "truncated or damaged"),
    (_truncated("x.npz"), "truncated or damaged"),
    (_bytes("x.txt", b"1 2"), "cannot read 'x.txt'"),
    (_npy(np.full((3, 2), 7.0)), "The target has no variance: every feature is constant"),
    (_npy(np.eye(4, 3) * 1e200), "beyond the range of float64: scale the data down."),
    (_npy(np.eye(3) * 1e308, "--covariance"), "beyond the range of float64: scale the data down."),
    (_npy(np.eye(4, 3) * 1e-200), "is below the range of float64, with standard deviations of at most"),
    (lambda _: ["missing.npy"], "there is no file or folder 'missing.npy'"),
    (lambda _: ["digits", "--covariance"], "holds samples and cannot be read as a covariance matrix"),
    (lambda _: ["gaussian:dim=x"], "option dim of 'gaussian' must be a whole number"),
]


@pytest.mark.parametrize("make, message", BAD_DATA, ids=[message for _, message in BAD_DATA])
def test_bad_data_are_refused_and_leave_no_trace(refused, tmp_path, make, message):
    data = make(tmp_path)
    before = names(tmp_path)
    assert message in refused("fit", *data, "--rank", 1, "--out", tmp_path / "new" / "run")
    assert names(tmp_path) == before


def test_an_unknown_name_lists_the_known_ones(refused):
    message = refused("fit", "digitz", "--rank", 2)
    assert all(name in message for name in known_datasets()) and "Did you mean 'digits'?" in message


def test_a_missing_library_names_the_extra_that_brings_it(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert 'pip install "deepbures[data]"' in refused("fit", "digits", "--rank", 2)


def test_what_only_the_data_can_refuse(refused, tmp_path):
    assert "rank must be at least 1 and at most 6 (the dimension of the data), but 7" in refused(
        "fit", SMALL, "--rank", 7
    )
    # No margin is known for a close start with k < n and smoothing: refused after the target is known.
    assert "margin" in refused("fit", SMALL, "--rank", 2, "--tau", 0.01, "--init", "close")
    assert names(tmp_path) <= {"runs"} and not any((tmp_path / "runs").glob("*"))
