"""How the tests of the command line call it, and what they look at."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from deepbures.cli import main

SMALL = "gaussian:dim=6,seed=0"
FAST = (SMALL, "--rank", 2, "--solver", "closed-form")


class Done(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} in JSON")

        assert self.out.count("\n") == 1 and self.out.isascii()
        value = json.loads(self.out, parse_constant=refuse)
        assert isinstance(value, dict)
        return value


Call = Callable[..., Done]


def caller(capsys: pytest.CaptureFixture[str], *first: str) -> Call:
    """A function that runs the command line in this process, with `first` before its arguments."""

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([*first, *map(str, arguments)])
        return Done(code, *capsys.readouterr())

    return run


def refusal(call: Call) -> Callable[..., str]:
    """A function that runs what must end with one line on standard error, with and without --json; that line."""

    def run(*arguments: object, code: int = 2) -> str:
        done = call(*arguments)
        assert (done.code, done.out) == (code, "")
        assert done.err.startswith("deepbures: error: ") and done.err.count("\n") == 1
        message = done.err.removeprefix("deepbures: error: ").rstrip("\n")
        again = call(*arguments, "--json")
        assert (again.code, again.err) == (code, done.err)
        assert {"error": message, "exit_code": code}.items() <= again.json.items()
        return message

    return run


def names(folder: Path) -> set[str]:
    """What is in a folder."""
    return {path.name for path in folder.iterdir()}


def arrays(path: Path) -> dict[str, np.ndarray]:
    """What is in an .npz file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def assert_same_bits(a: Path, b: Path) -> None:
    """Two .npz files hold the same arrays."""
    first, second = arrays(a), arrays(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.dtype == second[name].dtype
        np.testing.assert_array_equal(value, second[name], strict=True)
