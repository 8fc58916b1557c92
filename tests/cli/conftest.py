"""Commands in the process of the tests, in a folder of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .commands import Call, caller, refusal


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return caller(capsys)


@pytest.fixture
def refused(call: Call) -> Callable[..., str]:
    """Run a command that must be refused; what it says."""
    return refusal(call)
