"""What the command that runs experiments writes and tells."""

import json
import re
import sys
import time
from pathlib import Path

import pytest

from deepbures import __version__
from deepbures.experiments import Finding
from deepbures.reproduce._folder import Complete, Options
from deepbures.reproduce._keeper import read_piece
from deepbures.reproduce._page import render_index

from .fakes import FAKES, TRAP, contents, rates, read_page


def test_everything_is_written_and_told(call, tmp_path):
    done = call("--out", "run", "--workers", 2, "--json")
    assert (done.code, done.err) == (0, "")
    summary = done.json
    assert summary["request"] == {"quick": False, "seed": 0, "faces": None, "version": __version__}
    assert (summary["folder"], summary["index"], summary["workers"]) == ("run", str(Path("run") / "index.html"), 2)
    first, second = summary["experiments"]
    assert (first["name"], first["status"], first["pieces"], first["computed"]) == ("rates", "complete", 41, 41)
    assert first["files"] == [
        "findings.json", "rates.csv", "short_one.csv", "none.csv", "rates.svg", "total.svg", "timing.json",
    ]  # fmt: skip
    assert [finding["held"] for finding in first["findings"]] == [True, False, None]
    assert (second["name"], second["files"]) == ("means", ["findings.json", "means.csv", "timing.json"])
    folder = tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == {"index.html", "request.json", "rates", "means"}
    assert {path.name for path in (folder / "rates").iterdir()} == {*first["files"], "pieces"}
    assert len(list((folder / "rates" / "pieces").glob("*.npz"))) == 41
    assert json.loads((folder / "rates" / "findings.json").read_text())["findings"] == first["findings"]
    timing = json.loads((folder / "rates" / "timing.json").read_text())
    assert len(timing["pieces"]) == 41 and timing["seconds"] == first["seconds"] >= sum(timing["pieces"].values()) > 0


def test_the_record_is_that_of_the_function_and_tables_have_all_digits(call, tmp_path):
    assert call("rates", "--seed", 3, "--quick", "--out", "run").code == 0
    record = rates(quick=True, seed=3)
    lines = (tmp_path / "run" / "rates" / "rates.csv").read_text().splitlines()
    assert lines[0] == "depth,rate,kind,stable"
    assert [float(line.split(",")[1]) for line in lines[1:]] == record.rates.tolist()
    assert lines[1].endswith(",even,false")
    assert (tmp_path / "run" / "rates" / "short_one.csv").read_text() == "sizes,x,y\n1 2,,\n,-1.5e-08,-3\n"
    assert (tmp_path / "run" / "rates" / "none.csv").read_text() == ""
    assert read_piece(tmp_path / "run" / "rates" / "pieces" / "depth=2.npz")["label"] == "τ=2"


def test_the_terminal_shows_what_held_and_where_the_page_is(call):
    done = call("--quick", "--out", "run")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^rates +1 of 2, 1 shown only +5 +5 +\d+\.\d$", done.out, re.MULTILINE)
    assert re.search(r"^means +1 of 1 +1 +1 ", done.out, re.MULTILINE)
    assert "rates: did not hold: The <total> is zero.\n    It is " in done.out
    assert done.out.rstrip().endswith(f"Page: {Path('run') / 'index.html'}")


def test_the_page_shows_everything(call, tmp_path):
    call("--out", "run", "--seed", 7)
    page = read_page(tmp_path / "run")
    text = " ".join(page.text.split())
    assert "All experiments, computed with seed 7." in text and "A quick run" not in text
    assert "2 of 3 statements held." in text and "1 more statement is shown without a verdict." in text
    assert text.count("The <total> is zero.") == 2 and "What did not hold" in text
    assert page.labels == ["Rates over depth. Rate of each depth.", "Rates over depth. How the rates are <spread>."]
    assert "Table “rates”, 40 rows, 4 columns: the first 8 rows" in text and "Table “short one” sizes x y" in text
    assert "−1.5 × 10⁻⁸ −3" in text and "No rows." in text
    assert {"rates/rates.csv", "rates/rates.svg", "rates/total.svg", "means/means.csv"} <= set(page.links)
    assert "deepbures reproduce --seed 7" in text


def test_a_page_with_too_little_to_judge_is_not_all_held():
    held, open_ = Finding("It falls.", True, "It does."), Finding("It rises.", None, "In no run.")
    shown = Finding("It depends.", None, "It does.", is_shown_only=True)

    def page(*findings):
        complete = Complete(FAKES[0], findings, {}, tuple("<svg/>" for _ in FAKES[0].drawings))
        return render_index([complete], Options(quick=False, seed=0, faces=None), FAKES)

    assert "verdict good" in page(held, shown) and "too little to judge" not in page(held, shown)
    text = page(held, open_)
    assert "verdict good" not in text and "1 of 2 statements held." in text
    assert "Of 1 statement there is too little to judge." in text and '<span class="mark">too little to judge' in text
    assert "No statement is decided here." in page(open_)
    with pytest.raises(ValueError, match="shown only"):
        Finding("It falls.", True, "It does.", is_shown_only=True)


def test_a_part_of_the_experiments_then_another(call, tmp_path, whole):
    out = ("--quick", "--out", "run")
    assert call("means", *out).code == 0
    text = " ".join(read_page(tmp_path / "run").text.split())
    assert "1 of 2 experiments" in text and "Not complete in this folder: rates." in text and "A quick run" in text
    assert "deepbures reproduce means --seed 0 --quick" in text and "All 1 " not in text
    assert call("rates", "means", "rates", *out).code == 0
    assert contents(tmp_path / "run") == whole


def test_an_experiment_that_lost_a_file_is_not_shown(call, tmp_path, whole):
    (tmp_path / "whole" / "rates" / "total.svg").unlink()
    assert call("means", "--quick", "--out", "whole").code == 0
    assert "Not complete in this folder: rates." in read_page(tmp_path / "whole").text
    assert call("--quick", "--out", "whole").code == 0
    assert contents(tmp_path / "whole") == whole


def test_the_list(call, tmp_path):
    assert call("--list") == (0, "rates  How fast deeper networks learn.\nmeans  Means of images.\n", "")
    assert call("means", "--list").out == "means  Means of images.\n"
    assert call("--list", "--json").json["experiments"][0]["name"] == "rates"
    assert not any(tmp_path.iterdir())


def test_progress_is_shown_on_a_terminal_only(call, monkeypatch):
    assert "\x1b" not in call("--quick", "--out", "a").err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    TRAP["depth=3"] = lambda: time.sleep(0.5)
    shown = call("--quick", "--out", "b", "--workers", 1, "--json")
    assert shown.json["experiments"][0]["status"] == "complete"
    assert "2 of 4 pieces, newest: depth=2" in shown.err
