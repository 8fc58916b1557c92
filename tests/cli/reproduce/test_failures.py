"""A piece, a record, a figure or a disk that fails costs nothing else."""

import errno
import os
import warnings
from pathlib import Path

import pytest

from .fakes import TRAP, contents, fail, read_page


def test_a_piece_that_fails_costs_no_other(call, tmp_path, whole):
    TRAP["depth=2"] = fail(ValueError("no such\n target"))
    TRAP["depth=3"] = fail(RuntimeError())
    done = call("--quick", "--out", "run", "--json", "--workers", 2)
    assert done.code == 1
    told = "1 of 2 experiments failed: rates (2 of 4 pieces, first depth=2: ValueError: no such target). All else is"
    assert done.json["error"].startswith(told) and done.err == f"deepbures: error: {done.json['error']}\n"
    failed, complete = done.json["experiments"]
    assert (failed["status"], complete["status"]) == ("failed", "complete")
    assert failed["error"].startswith("2 of 4 pieces") and failed["computed"] == 2 and failed["findings"] == []
    assert "Not complete in this folder: rates." in read_page(tmp_path / "run").text
    TRAP.clear()
    done = call("--quick", "--out", "run", "--json")
    assert done.json["experiments"][0]["computed"] == 3
    assert contents(tmp_path / "run") == whole


@pytest.mark.parametrize("trap", ["findings", "draw_rates", "draw_total"])
def test_a_record_or_figure_that_fails_costs_no_other(call, tmp_path, whole, trap):
    TRAP[trap] = fail(KeyError("column"))
    assert call("--quick", "--out", "whole").code == 1
    done = call("--quick", "--out", "run")
    assert done.code == 1 and "rates (" in done.err and "KeyError: 'column'" in done.err
    figures = {path.name for path in (tmp_path / "run" / "rates").glob("*.svg")}
    assert figures == {"findings": set(), "draw_rates": {"total.svg"}, "draw_total": {"rates.svg"}}[trap]
    for folder in ("run", "whole"):  # neither shows what is not of this run
        is_shown = "rates" not in read_page(tmp_path / folder).text.partition("Not complete in this folder:")[2]
        assert is_shown == (folder == "whole" and trap == "findings")
    TRAP.clear()
    for folder in ("run", "whole"):
        assert call("--quick", "--out", folder).code == 0
        assert contents(tmp_path / folder) == whole


def test_debug_shows_every_traceback(call):
    TRAP["depth=2"] = fail(ValueError("first"))
    TRAP["depth=3"] = fail(ValueError("second"))
    TRAP["means"] = fail(ValueError("third"))
    done = call("--quick", "--out", "run", "--debug")
    assert done.code == 1 and "2 of 2 experiments failed" in done.err
    for text in ("first", "second", "third"):
        assert f"ValueError: {text}" in done.err
    assert done.err.count("in raise_it") == 3


@pytest.mark.parametrize("lost", ["depth=3.npz", "depth=3.json", "rates.csv", "rates.svg", "index.html", "timing.json"])
def test_a_full_disk_ends_the_run_and_leaves_whole_files(call, tmp_path, monkeypatch, whole, lost):
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == lost:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        done = call("--quick", "--out", "run", "--json", "--workers", 1)
    assert done.code == 1 and done.err.count("\n") == 1
    assert f"{lost}: No space left on device. What is finished is kept in run." in done.json["error"]
    assert not list((tmp_path / "run").rglob("*.tmp"))
    if lost.startswith("depth"):
        assert "depth=4.npz" not in {path.name for path in (tmp_path / "run").rglob("*.npz")}  # not begun
    assert call("--quick", "--out", "run").code == 0
    assert contents(tmp_path / "run") == whole


def test_warnings_of_several_threads_are_shown_once_each(call):
    for depth in (1, 2, 3, 4):
        TRAP[f"depth={depth}"] = lambda depth=depth: warnings.warn(f"close to {depth % 2}", stacklevel=1)
    done = call("--quick", "--out", "run", "--workers", 4, "--json")
    assert sorted(done.err.splitlines()) == ["deepbures: warning: close to 0", "deepbures: warning: close to 1"]
    assert sorted(done.json["warnings"]) == ["close to 0", "close to 1"]
