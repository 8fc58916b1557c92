"""Runs that survive Ctrl-C and a kill, with the same bits."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepbures as db
from deepbures.cli import main

from .commands import SMALL, Call, Done, arrays, assert_same_bits, names

LONG = [
    *(SMALL, "--rank", "2", "--depth", "2", "--solver", "descent"),
    *("--step-size", "1e-8", "--num-steps", "300000", "--tolerance", "0", "--seed", "5"),
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert main(["fit", *LONG, "--out", str(folder), "--json"]) == 0
    return folder


@pytest.fixture
def long_run(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The same fit in a process of its own, well after its first checkpoint."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whoever runs the tests
        "import deepbures.cli._fit as fit; fit._SECONDS_PER_CHECKPOINT = 0.2\n"
        "from deepbures.cli import main; sys.exit(main())"
    )
    arguments = ["fit", *LONG, "--out", "run", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoint.npz").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield process
    process.kill()
    process.communicate()


def assert_resumes(call: Call, folder: Path, uninterrupted: Path) -> None:
    done = call("fit", *LONG, "--out", folder, "--resume", "--json")
    assert done.code == 0, done.err
    assert names(folder) == names(uninterrupted)
    assert_same_bits(folder / "model.npz", uninterrupted / "model.npz")
    assert_same_bits(folder / "trajectory.npz", uninterrupted / "trajectory.npz")


def test_ctrl_c_keeps_the_records_and_resume_goes_on_with_the_same_bits(call, refused, long_run, uninterrupted):
    long_run.send_signal(signal.SIGINT)
    out, err = long_run.communicate(timeout=60)
    done = Done(long_run.returncode, out, err)
    assert done.code == 1
    summary = done.json
    again = f"deepbures fit {' '.join(LONG)} --out run --json --resume"
    assert done.err == f"deepbures: error: {summary['error']}\n" and done.err.endswith(f"Go on with: {again}\n")
    assert summary["status"] == "interrupted" and 0 < summary["steps"] < 300_000
    run = Path("run")
    assert names(run) == {"model.npz", "trajectory.npz", "summary.json", "checkpoint.npz", "request.json"}
    so_far, whole = arrays(run / "trajectory.npz"), arrays(uninterrupted / "trajectory.npz")
    np.testing.assert_array_equal(so_far["loss"], whole["loss"][: so_far["loss"].size])
    assert "pass --overwrite to replace the run in it (or --resume" in refused("fit", *LONG, "--out", "run")
    other = [option if option != "5" else "6" for option in LONG]
    assert "seed was 5, now 6" in refused("fit", *other, "--out", "run", "--resume")
    assert_resumes(call, run, uninterrupted)


def test_kill_9_and_resume_give_the_same_bits(call, tmp_path, long_run, uninterrupted):
    long_run.kill()
    assert long_run.wait() == -signal.SIGKILL
    run = Path("run")
    assert {"checkpoint.npz", "request.json"} <= names(run) and "model.npz" not in names(run)
    (run / ".checkpoint.npz.tmp").write_bytes(b"half")  # as a kill in the middle of a write leaves it
    assert_resumes(call, run, uninterrupted)


@pytest.mark.parametrize("solver, period", [("flow", 60), ("descent", 8)])
def test_a_run_that_is_interrupted_again_and_again(call, tmp_path, monkeypatch, solver, period):
    """Ctrl-C as the driver sees it, at every so many callbacks: each session goes on where the last one stopped."""
    from deepbures.cli import _fit

    arguments = ["fit", SMALL, "--rank", 2, "--depth", 2, "--solver", solver, "--out"]
    assert call(*arguments, "whole").code == 0
    monkeypatch.setattr("deepbures.training._host._SECONDS_PER_CALLBACK", 0.0)
    watch = _fit._Watcher.__call__
    positions: list[float] = []

    def interrupt(self: Any, state: Any) -> None:
        watch(self, state)
        positions.append(state.position)
        if len(positions) % period == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(_fit._Watcher, "__call__", interrupt)
    sessions = 1
    done = call(*arguments, "run")
    while done.code == 1 and sessions < 50:
        assert done.out == "" and done.err.count("--resume") == 1
        assert "interrupted; the records so far are in run" in done.err
        sessions += 1
        done = call(*arguments, "run", "--resume")
    assert done.code == 0 and sessions > 2 and positions == sorted(positions)
    assert_same_bits(tmp_path / "run" / "model.npz", tmp_path / "whole" / "model.npz")
    assert_same_bits(tmp_path / "run" / "trajectory.npz", tmp_path / "whole" / "trajectory.npz")


def test_ctrl_c_before_training_begins(call, tmp_path, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(db, "fit", interrupt)
    assert call("fit", *LONG, "--out", "run") == (1, "", "deepbures: error: interrupted\n")
    assert names(tmp_path) == set()
    # A run that has a checkpoint keeps it.
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(db, "fit", lambda *_, **__: (tmp_path / "run" / "checkpoint.npz").touch() or interrupt())
    done = call("fit", *LONG, "--out", "run")
    assert done.code == 1 and "run keeps the last checkpoint: repeat the command with --resume" in done.err
    assert names(tmp_path / "run") == {"checkpoint.npz", "request.json"}


def test_a_checkpoint_that_cannot_be_written_is_a_warning(call, tmp_path, monkeypatch):
    monkeypatch.setattr("deepbures.cli._fit._SECONDS_PER_CHECKPOINT", 0.0)
    monkeypatch.setattr("deepbures.training._host._SECONDS_PER_CALLBACK", 0.0)
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "checkpoint.npz":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    done = call("fit", SMALL, "--rank", 2, "--solver", "descent", "--out", "run", "--json")
    assert done.code == 0 and done.json["status"] == "converged"
    warning = f"{Path('run') / 'checkpoint.npz'}: No space left on device; training goes on without this checkpoint."
    assert done.json["warnings"] == [warning] and done.err == f"deepbures: warning: {warning}\n"


def test_progress_is_shown_on_a_terminal_only(call, monkeypatch):
    arguments = ["fit", *LONG, "--out", "run", "--overwrite"]
    where = arguments.index("--num-steps") + 1
    assert "\x1b" not in call(*arguments[:where], 9, *arguments[where + 1 :]).err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    shown = call(*arguments[:where], 150_000, *arguments[where + 1 :], "--json")  # about a second
    assert shown.json["status"] == "finished"
    assert "relative excess" in shown.err and "writing" in shown.err
