"""`deepbures reproduce` in the process of the tests, with fakes for experiments."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import deepbures.reproduce
from deepbures.cli import main

from .fakes import FAKES, TRAP, contents


@pytest.fixture
def call(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """`deepbures reproduce`, also for what must be `refused`."""
    monkeypatch.setattr(deepbures.reproduce, "EXPERIMENTS", FAKES)
    yield lambda *arguments: call("reproduce", *arguments)
    TRAP.clear()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an uninterrupted quick run writes."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deepbures.reproduce, "EXPERIMENTS", FAKES)
        assert main(["reproduce", "--quick", "--workers", "1", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def whole(uninterrupted: Path, tmp_path: Path) -> dict[str, bytes]:
    """The same, as a folder of this test, and its contents."""
    shutil.copytree(uninterrupted, tmp_path / "whole")
    return contents(tmp_path / "whole")
