"""Folders that exist or cannot be, full disks, missing libraries, and errors that nobody foresaw."""

import errno
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import deepbures as db

from .commands import FAST, SMALL, names


def test_an_existing_folder(call, refused, tmp_path):
    out = ["--out", tmp_path / "run"]
    assert call("fit", SMALL, "--rank", 2, "--solver", "descent", "--num-steps", 3, *out).code == 0
    (tmp_path / "run" / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert "exists and is not empty: choose another --out, or pass --overwrite" in refused("fit", *FAST, *out)
    assert "no interrupted run to resume" in refused("fit", SMALL, "--rank", 2, "--resume", *out)
    # Bad data do not cost the run that is there.
    np.save(tmp_path / "bad.npy", np.diag([1.0, -1.0]))
    refused("fit", "bad.npy", "--covariance", "--rank", 1, "--overwrite", *out)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert call("fit", *FAST, *out, "--overwrite").code == 0
    assert names(tmp_path / "run") == {"model.npz", "summary.json", "report.html", "notes.txt"}
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file, but a folder for the results is needed" in refused("fit", *FAST, "--out", "file")
    assert "cannot be written to" in refused("fit", *FAST, "--out", Path("file") / "below")
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize("lost", ["trajectory.npz", "report.html", "summary.json"])
def test_a_full_disk_costs_only_what_does_not_fit(call, tmp_path, monkeypatch, lost):
    monkeypatch.setattr("deepbures.cli._fit._SECONDS_PER_CHECKPOINT", math.inf)  # none, however slow the machine
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == lost:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    done = call("fit", SMALL, "--rank", 2, "--solver", "descent", "--num-steps", 3, "--out", "run", "--json")
    assert done.code == 1 and done.err.count("error") == 1
    assert f"{Path('run') / lost}: No space left on device" in done.json["error"]
    kept = {"model.npz", "trajectory.npz", "report.html", "summary.json"} - {lost}
    assert set(done.json["files"]) == kept
    assert names(tmp_path / "run") == kept | {"request.json"}
    assert all(name in done.json["error"] for name in kept) and "repeat with --resume" in done.json["error"]
    monkeypatch.setattr(os, "replace", replace)
    arguments = ["--rank", 2, "--solver", "descent", "--num-steps", 3, "--out", "run", "--resume"]
    assert call("fit", SMALL, *arguments).code == 0
    assert names(tmp_path / "run") == kept | {lost}


def test_a_disk_that_is_full_from_the_start(refused, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    message = refused("fit", SMALL, "--rank", 2, "--out", "run", code=1)
    assert message == f"{Path('run') / 'request.json'}: No space left on device."
    assert names(tmp_path) == set()


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_without_the_libraries_of_the_report(call, tmp_path, monkeypatch, library):
    ours = [name for name in sys.modules if name.startswith(("deepbures.report", "deepbures.plot", "deepbures._html"))]
    theirs = [name for name in sys.modules if name.startswith(f"{library}.")]
    for name in [*ours, *theirs]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    done = call("fit", *FAST, "--out", "run", "--json")
    assert done.code == 0 and done.json["files"] == ["model.npz", "summary.json"]
    assert done.err.count("\n") == 1 and "report.html was left out" in done.err
    assert 'pip install "deepbures[plot]"' in done.err


def test_a_report_that_fails_costs_nothing_else(call, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("no such font")

    monkeypatch.setattr("deepbures.report.write_report", fail)
    done = call("fit", *FAST, "--out", "run", "--json")
    assert done.code == 1 and "report.html could not be drawn (RuntimeError: no such font)" in done.err
    assert names(tmp_path / "run") == {"model.npz", "summary.json"}


def test_an_unexpected_error_is_one_line_and_with_debug_a_traceback(call, refused, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of\n luck")

    monkeypatch.setattr(db, "fit", fail)
    message = refused("fit", SMALL, "--rank", 2, code=1)
    assert message == "unexpected RuntimeError: out of luck (--debug shows where)."
    done = call("fit", SMALL, "--rank", 2, "--debug")
    assert done.code == 1 and "Traceback" in done.err and done.err.endswith(f"deepbures: error: {message}\n")
    done = call("fit", SMALL, "--rank", 0, "--debug")
    assert done.code == 2 and "Traceback" in done.err


def test_out_of_memory(refused, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 3. PiB")

    monkeypatch.setattr(db, "fit", fail)
    assert refused("fit", *FAST, code=1) == "out of memory (Unable to allocate 3. PiB)."
