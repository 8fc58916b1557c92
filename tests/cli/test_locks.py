"""One run at a time in a folder: real processes, alive and killed, and what they leave behind."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import deepbures as db
from deepbures import _claim
from deepbures._claim import LOCK, ClaimedFolder, InUseError, Lock, contents
from deepbures.runs import RunFolder, load_model

from .commands import SMALL, Done, names

FIT = ["fit", SMALL, "--rank", "2"]
LONG = [*FIT, "--solver", "descent", "--step-size", "1e-8", "--num-steps", "20000000", "--tolerance", "0"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, Path], subprocess.Popen[str]]]:
    """Run Python code in a process of its own, until a file is there."""
    processes: list[subprocess.Popen[str]] = []

    def begin(code: str, until: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        deadline = time.monotonic() + 120
        while not until.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


HOLDER = """
import pathlib, time
from deepbures._claim import ClaimedFolder
with ClaimedFolder(pathlib.Path("run")):
    pathlib.Path("ready").touch()
    time.sleep(600)
"""


def refusal(done: Done, pid: int) -> None:
    expected = f"run is in use by another run (process {pid}): wait until it has ended, or choose another --out."
    assert done == (2, "", f"deepbures: error: {expected}\n")


def test_a_folder_in_use_is_refused_by_every_command_and_free_once_its_holder_is_killed(call, start, tmp_path):
    process = start(HOLDER, tmp_path / "ready")
    before = names(tmp_path / "run")
    commands = [
        *([*FIT, "--solver", "closed-form", *extra] for extra in ([], ["--overwrite"])),
        [*FIT, "--resume"],
        ["fit", "nowhere.npy", "--rank", 2],  # before data are read
        ["landscape", SMALL, "--covariance", "--rank", 2],
        ["landscape", SMALL, "--covariance", "--rank", 2, "--overwrite"],
        ["reproduce", "grid", "--quick"],
        ["reproduce", "grid", "--quick", "--overwrite"],
    ]
    for command in commands:
        refusal(call(*command, "--out", "run"), process.pid)
    again = call(*commands[0], "--out", "run", "--json")
    assert again.code == 2 and "is in use by another run" in json.loads(again.out)["error"]
    with pytest.raises(InUseError, match=f"in use by another run .process {process.pid}."), RunFolder(tmp_path / "run"):
        pass
    assert names(tmp_path / "run") == before == {LOCK}
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert names(tmp_path / "run") == {LOCK}  # left behind, and no reason to call the folder used
    assert call(*commands[0], "--out", "run").code == 0
    assert names(tmp_path / "run") == {"model.npz", "summary.json", "report.html"}


def test_a_fit_that_is_going_on_is_not_overwritten_and_resumes_after_a_kill(call, start, tmp_path):
    code = (
        "import deepbures.cli._fit as fit; fit._SECONDS_PER_CHECKPOINT = 0.1\n"
        f"from deepbures.cli import main; main({[*LONG, '--out', 'run']!r})"
    )
    process = start(code, tmp_path / "run" / "checkpoint.npz")
    for extra in ([], ["--overwrite"], ["--resume"]):
        refusal(call(*LONG, "--out", "run", *extra), process.pid)
    process.kill()
    process.wait()
    assert {"checkpoint.npz", "request.json"} <= names(tmp_path / "run")
    assert "or --resume to go on with the interrupted run in it" in call(*LONG, "--out", "run").err
    other = call(*FIT, "--out", "run", "--resume")
    assert other.code == 2 and "was begun with other arguments" in other.err  # it was read: the folder is free
    assert LOCK not in names(tmp_path / "run")


# ---------------------------------------------------------------------- in one process


def test_a_lock_is_exclusive_leaves_nothing_and_can_be_taken_again(tmp_path):
    path = tmp_path / "runs" / "new"
    for _ in range(2):
        with RunFolder(path) as folder:
            assert names(path) == {LOCK} and contents(path) == []
            with pytest.raises(InUseError, match=f"process {os.getpid()}"), RunFolder(path):
                pass
            folder.prepare(overwrite=False, resume=False)
        assert names(tmp_path) == set()
    with RunFolder(path) as folder:
        folder.write_json("request.json", {})
    assert names(path) == {"request.json"}
    with pytest.raises(RuntimeError, match="mine"), RunFolder(path):
        raise RuntimeError("mine")
    with RunFolder(path):
        pass
    assert names(path) == {"request.json"}


def test_of_many_threads_one_at_a_time_has_the_folder(tmp_path):
    """Also while others make it, remove it empty, and replace the file that is locked."""
    inside, most, entered = 0, 0, 0
    guard = threading.Lock()
    failures: list[Exception] = []

    def work() -> None:
        nonlocal inside, most, entered
        for _ in range(150):
            try:
                with ClaimedFolder(tmp_path / "runs" / "run"):
                    with guard:
                        inside, entered = inside + 1, entered + 1
                        most = max(most, inside)
                    time.sleep(0)
                    with guard:
                        inside -= 1
            except ValueError as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {type(error) for error in failures} <= {InUseError}
    assert most == 1 and entered > 0 and entered + len(failures) == 600
    # Who made the folder could not remove it while somebody else was there: it may stay, empty and unlocked.
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_filesystem_without_locks_is_a_warning(call, tmp_path, monkeypatch, number):
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_claim, "_lock", refuse)
    with (
        pytest.warns(UserWarning, match=r"run cannot be locked \(.*\): see to it that no other run"),
        Lock(tmp_path / LOCK, tmp_path / "run"),
    ):
        pass
    if number == errno.ENOLCK:
        done = call(*FIT, "--solver", "closed-form", "--out", "run", "--json")
        assert done.code == 0 and done.err.startswith("deepbures: warning: run cannot be locked")
        assert len(json.loads(done.out)["warnings"]) == 1
        assert LOCK not in names(tmp_path / "run")


def test_a_holder_that_did_not_say_who_it_is(tmp_path):
    for text, told in (
        (b"", "by another run: wait"),
        (b"\xff", "by another run: wait"),
        (b"7 elsewhere", "process 7 on"),
    ):
        with Lock(tmp_path / LOCK, tmp_path):
            (tmp_path / LOCK).write_bytes(text)
            with pytest.raises(InUseError, match=told):
                Lock(tmp_path / LOCK, tmp_path).acquire()


# ---------------------------------------------------------------------- where nothing can be written


def test_an_out_that_cannot_be_written_is_bad_input_everywhere(call, tmp_path, monkeypatch):
    """Exit code 2, before data are read: DATA and MODEL do not even exist."""
    (tmp_path / "file").write_text("mine")
    commands = {
        "fit": ["fit", "nowhere.npy", "--rank", 2],
        "landscape": ["landscape", "nowhere.npy", "--rank", 2],
        "reproduce": ["reproduce", "grid", "--quick", "--faces", "nowhere"],
    }
    for command in commands.values():
        done = call(*command, "--out", Path("file") / "below")
        assert (done.code, done.out) == (2, "") and "cannot be written to (Not a directory): choose another" in done.err
        done = call(*command, "--out", "file")
        assert (done.code, done.out) == (2, "") and "file is a file, but a folder for the results is needed" in done.err

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(_claim.os, "open", refuse)
        answers = [call(*command, "--out", "new") for command in commands.values()]
        answers.append(call("sample", "nowhere", "--num", 2, "--out", "x.npy"))
    for done in answers:
        assert (done.code, done.out) == (2, "") and "(Permission denied): choose another --out." in done.err
    assert names(tmp_path) == {"file"}


def test_two_that_write_the_same_samples(call, tmp_path):
    db.DeepLinearNetwork([np.eye(2)]).save(tmp_path / "model.npz")
    with Lock(tmp_path / ".x.npy.lock", Path("x.npy")):
        done = call("sample", "model.npz", "--num", 2, "--out", "x.npy", "--overwrite")
        assert done.code == 2 and "x.npy is in use by another run" in done.err
    assert call("sample", "model.npz", "--num", 2, "--out", "x.npy").code == 0
    assert names(tmp_path) == {"model.npz", "x.npy"}
    assert load_model(tmp_path).widths == (2, 2)
