"""The command that runs experiments: what it writes, what it keeps, and what an interruption or a failure costs.

The experiments are fakes, defined here; `deepbures.experiments` has tests of its own.
"""

import errno
import inspect
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

import deepbures.reproduce
from deepbures import __version__
from deepbures.cli import main
from deepbures.experiments import Finding, Keeper, Piece, compute_all
from deepbures.reproduce import Drawing, Experiment, FolderKeeper, PartsFailedError, choose
from deepbures.reproduce._keeper import read_piece
from deepbures.reproduce._registry import resolve

# ---------------------------------------------------------------------- fakes

TRAP: dict[str, Callable[[], None]] = {}
"""What to do before a piece, a record or a figure of this name is made: raise, or wait."""


def spring(name: str) -> None:
    TRAP.get(name, lambda: None)()


class Rates(NamedTuple):
    rates: np.ndarray
    total: float

    @property
    def findings(self) -> tuple[Finding, ...]:
        spring("findings")
        return (
            Finding("Rates grow with depth.", np.bool_(self.rates[-1] > self.rates[0]), "Twice as fast at depth 2."),
            Finding("The <total> is zero.", False, f"It is {self.total:.3f}."),
            Finding("Wide networks are alike.", None, "Shown in the figure."),
        )

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        rows = [
            {"depth": i + 1, "rate": rate, "kind": "odd" if i % 2 else "even", "stable": bool(i % 2)}
            for i, rate in enumerate(self.rates)
        ]
        return {
            "rates": rows,
            "short_one": [{"sizes": [1, 2], "x": None}, {"x": -1.5e-8, "y": np.int64(-3)}],
            "none": [],
        }


def rates(*, quick: bool, seed: int, keep: Keeper = compute_all) -> Rates:
    num = 4 if quick else 40

    def piece(depth: int) -> Piece:
        spring(f"depth={depth}")
        draws = np.random.default_rng([seed, depth]).standard_normal(1000)
        return {"rate": depth * np.abs(draws).mean(), "label": np.array(f"τ={depth}")}

    found = keep({f"depth={depth}": lambda depth=depth: piece(depth) for depth in range(1, num + 1)})
    values = np.array([float(result["rate"]) for result in found.values()])
    total = keep({"total": lambda: {"total": values.sum()}})
    return Rates(values, float(total["total"]["total"]))


class Means(NamedTuple):
    value: float
    findings: tuple[Finding, ...] = (Finding("A mean is a number.", True, "It is."),)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        return {"means": [{"mean": self.value}]}


def means(*, quick: bool, seed: int, keep: Keeper = compute_all, data: Any) -> Means:
    samples = np.arange(float(data)) if isinstance(data, int) else data.samples

    def piece() -> Piece:
        spring("means")
        return {"mean": samples.mean() + seed}

    return Means(float(keep({"mean": piece})["mean"]["mean"]))


def draw_rates(record: Rates) -> Figure:
    spring("draw_rates")
    figure = Figure(figsize=(2, 1))
    figure.add_axes((0, 0, 1, 1)).plot(record.rates, color="#0072b2")
    return figure


def draw_total(record: Rates, *, color: str) -> Figure:
    spring("draw_total")
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.1, f"{record.total:.3f}", color=color)
    return figure


FAKES = (
    Experiment(
        "rates",
        "Rates over depth",
        "How fast deeper networks learn.",
        f"{__name__}:rates",
        (
            Drawing("rates.svg", "Rate of each depth.", f"{__name__}:draw_rates"),
            Drawing("total.svg", "How the rates are <spread>.", f"{__name__}:draw_total", {"color": "#d55e00"}),
        ),
    ),
    Experiment("means", "Means", "Means of images.", f"{__name__}:means", arguments={"data": 6}, faces="data"),
)


# ---------------------------------------------------------------------- how the tests call


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Call = Callable[..., Done]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """`deepbures reproduce` in this process, in a folder of its own, with the fakes for experiments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deepbures.reproduce, "EXPERIMENTS", FAKES)

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        code = main(["reproduce", *map(str, arguments)])
        return Done(code, *capsys.readouterr())

    yield run
    TRAP.clear()


@pytest.fixture
def refused(call: Call) -> Callable[..., str]:
    """A command that must end with one line on standard error, with and without --json; that line."""

    def run(*arguments: object, code: int = 2) -> str:
        done = call(*arguments)
        assert (done.code, done.out) == (code, "")
        assert done.err.startswith("deepbures: error: ") and done.err.count("\n") == 1
        message = done.err.removeprefix("deepbures: error: ").rstrip("\n")
        again = call(*arguments, "--json")
        assert (again.code, again.json["error"]) == (code, message)
        return message

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, but those that hold seconds."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not re.search("timing|pieces.*json", name)}


def fail(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


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


# ---------------------------------------------------------------------- what is written


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


class Page(HTMLParser):
    """A page taken apart: its text and links; complains of tags that do not match and identifiers that repeat."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open, self.ids, self.links, self.labels = "", [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open and len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag != "meta":
            self.open.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.labels += [values["aria-label"]] if tag == "svg" else []
        self.links += [values[name] for name in ("href", "src", "xlink:href") if name in values]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag != "meta":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open and self.open[-1] == "style" else f"{data} "


def read_page(folder: Path) -> Page:
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!#)|<script|Undefined", text)
    page = Page(text)
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids)
    outside = [link for link in page.links if not link.startswith("#")]
    assert all((folder / link).is_file() for link in outside)  # tables and figures beside it, and nothing else
    return page


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


# ---------------------------------------------------------------------- interruptions


def test_results_do_not_depend_on_the_number_of_workers(call, tmp_path, whole):
    for workers in (2, 7):
        assert call("--quick", "--out", f"run{workers}", "--workers", workers).code == 0
        assert contents(tmp_path / f"run{workers}") == whole


def test_a_complete_run_is_found_complete(call, tmp_path, whole):
    done = call("--quick", "--out", "whole", "--json")
    assert [row["computed"] for row in done.json["experiments"]] == [0, 0]
    assert done.json["experiments"][0]["pieces"] == 5
    assert contents(tmp_path / "whole") == whole


@pytest.mark.parametrize("workers", [1, 3])
def test_interrupted_again_and_again_is_as_uninterrupted(call, tmp_path, whole, workers):
    """Ctrl-C as the main thread sees it, at every stage."""
    stages = ["depth=1", "depth=3", "findings", "draw_rates", "draw_total", "means"]
    arguments = ["--quick", "--out", "run", "--workers", workers]
    for stage in stages:
        if (tmp_path / "run" / "rates" / "pieces" / f"{stage}.npz").exists():
            continue  # another worker was faster
        TRAP[stage] = fail(KeyboardInterrupt())
        done = call(*arguments, "--json")
        TRAP.clear()
        assert done.code == 1 and done.err.count("\n") == 1
        assert done.json["error"].startswith("interrupted; what is finished is kept in run. Go on with: ")
        assert done.json["error"].endswith(f": deepbures reproduce --quick --out run --workers {workers} --json")
        assert not list((tmp_path / "run").rglob("*.tmp"))
    done = call(*arguments, "--json")
    assert done.code == 0 and done.json["experiments"][0]["computed"] == 0
    seconds = done.json["experiments"][0]["seconds"]
    kept = [json.loads(path.read_text())["seconds"] for path in (tmp_path / "run/rates/pieces").glob("*.json")]
    assert seconds >= sum(kept) > 0 and len(kept) == 5
    assert contents(tmp_path / "run") == whole


def test_what_to_type_after_an_interruption_does_not_start_again(call, tmp_path, whole):
    TRAP["means"] = fail(KeyboardInterrupt())
    done = call("--quick", "--overwrite", "--out", "whole")
    assert done.err.endswith("Go on with: deepbures reproduce --quick --out whole\n")


SCRIPT = """
import importlib.util, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests
spec = importlib.util.spec_from_file_location("fakes", {file!r})
fakes = sys.modules["fakes"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fakes)
fakes.deepbures.reproduce.EXPERIMENTS = fakes.FAKES
fakes.TRAP["depth=3"] = lambda: time.sleep({seconds})
fakes.TRAP["depth=2"] = lambda: time.sleep({seconds})
sys.exit(fakes.main(["reproduce", "--quick", "--out", "run", "--workers", "2", "--json"]))
"""


def started(tmp_path: Path, seconds: float) -> subprocess.Popen[str]:
    """A run in a process of its own, that waits in its second and third piece when the first is done."""
    code = SCRIPT.format(file=__file__, seconds=seconds)
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "rates" / "pieces" / "depth=1.npz").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def test_ctrl_c_finishes_the_pieces_under_way_and_begins_no_more(call, tmp_path, whole):
    process = started(tmp_path, 1.0)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    done = Done(process.returncode, out, err)
    assert done.code == 1
    assert done.json["error"].endswith("Go on with: deepbures reproduce --quick --out run --workers 2 --json")
    assert done.err == f"deepbures: error: {done.json['error']}\n"
    pieces = tmp_path / "run" / "rates" / "pieces"
    finished = {path.stem for path in pieces.glob("*.npz")}
    assert {"depth=1", "depth=2"} <= finished <= {"depth=1", "depth=2", "depth=3"}
    done = call("--quick", "--out", "run", "--json")
    assert done.json["experiments"][0]["computed"] == 5 - len(finished)
    assert contents(tmp_path / "run") == whole


def test_kill_9_leaves_whole_files(call, tmp_path, whole):
    process = started(tmp_path, 60)
    process.kill()
    process.communicate()
    for path in (tmp_path / "run").rglob("*.npz"):
        assert path.name.startswith(".") or read_piece(path)
    (tmp_path / "run" / "rates" / "pieces" / ".depth=3.npz.tmp").write_bytes(b"half")
    (tmp_path / "run" / ".index.html.tmp").write_bytes(b"half")
    assert call("--quick", "--out", "run").code == 0
    assert contents(tmp_path / "run") == whole


def test_a_kill_before_the_request_is_written(call, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".request.json.tmp").write_text("{")
    assert call("--quick", "--out", "run").code == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-30],
        lambda content: b"",
        lambda content: content.replace(b"\x93NUMPY", b"\x93NUMPX"),
        lambda content: content[:150] + bytes([content[150] ^ 1]) + content[151:],
        lambda content: pickle.dumps({"rate": 1.0}),
    ],
    ids=["truncated", "empty", "header", "bit", "pickle"],
)
def test_a_damaged_piece_is_computed_again_with_a_warning(call, tmp_path, whole, damage):
    path = tmp_path / "whole" / "rates" / "pieces" / "depth=2.npz"
    path.write_bytes(damage(path.read_bytes()))
    done = call("--quick", "--out", "whole", "--json")
    assert done.code == 0 and done.json["experiments"][0]["computed"] == 1
    assert done.err.startswith(f"deepbures: warning: {Path('whole/rates/pieces/depth=2.npz')} is damaged (")
    assert done.err.endswith("): it is computed again.\n") and done.err.count("\n") == 1
    assert contents(tmp_path / "whole") == whole


def test_lost_seconds_cost_nothing_else(call, tmp_path, whole):
    pieces = tmp_path / "whole" / "rates" / "pieces"
    (pieces / "depth=1.json").unlink()
    (pieces / "depth=2.json").write_text("{")
    done = call("--quick", "--out", "whole", "--json")
    assert done.json["experiments"][0]["computed"] == 0
    assert contents(tmp_path / "whole") == whole


# ---------------------------------------------------------------------- other options, other folders


def test_other_options_are_refused_and_named(call, refused, tmp_path, whole):
    before = contents(tmp_path / "whole")
    message = refused("--out", "whole", "--seed", 2)
    assert "holds results of other options (quick was True, now False; seed was 0, now 2)" in message
    assert "choose another --out, or pass --overwrite" in message
    assert contents(tmp_path / "whole") == before


def test_another_version_is_another_option(refused, tmp_path, whole):
    path = tmp_path / "whole" / "request.json"
    path.write_text(path.read_text().replace(__version__, "0.0.1"))
    assert f"version was '0.0.1', now '{__version__}'" in refused("--quick", "--out", "whole")


def test_overwrite_removes_what_this_command_wrote_and_nothing_else(call, tmp_path, whole):
    folder = tmp_path / "whole"
    mine = {"notes.txt", "rates/notes.csv", "rates/pieces/notes.txt", "other/pieces/depth=1.npz"}
    for name in mine:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    (folder / "rates" / "pieces" / ".depth=9.npz.tmp").write_text("half")
    assert call("means", "--quick", "--seed", 1, "--out", "whole", "--overwrite").code == 0
    left = contents(folder)
    assert mine <= left.keys() and all(left[name] == b"mine" for name in mine)
    assert left.keys() - mine == {
        "index.html", "request.json", "means/findings.json", "means/means.csv", "means/pieces/mean.npz",
    }  # fmt: skip
    assert b'"seed": 1' in left["request.json"]


def test_overwrite_with_the_same_options_computes_the_named_ones_again(call, tmp_path, whole):
    done = call("means", "--quick", "--out", "whole", "--overwrite", "--json")
    assert [(row["name"], row["computed"]) for row in done.json["experiments"]] == [("means", 1)]
    done = call("--quick", "--out", "whole", "--json")
    assert [row["computed"] for row in done.json["experiments"]] == [0, 0]
    assert contents(tmp_path / "whole") == whole


def test_no_file_outside_is_removed_whatever_a_list_of_files_says(call, tmp_path, whole):
    (tmp_path / "precious.csv").write_text("mine")
    path = tmp_path / "whole" / "rates" / "findings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tables": ["../../precious.csv", 3]}))
    assert call("--quick", "--out", "whole", "--overwrite").code == 0
    assert (tmp_path / "precious.csv").read_text() == "mine"


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_a_folder_of_other_things_is_refused(refused, tmp_path, options):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    assert "site holds other things (index.html), and no request.json of this command" in refused(
        "--out", "site", *options
    )
    (tmp_path / "site" / "request.json").write_text('{"rank": 2}')  # as `deepbures fit` leaves it
    assert "holds other things (index.html, request.json)" in refused("--out", "site", *options)
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


def test_a_folder_that_cannot_be(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file, but a folder" in refused("--out", "file")
    assert "cannot be written to" in refused("--out", Path("file") / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# ---------------------------------------------------------------------- failures


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


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["rate"], "There is no experiment 'rate'; the experiments are rates, means. Did you mean 'rates'?"),
        (["rates", "xyz"], "There is no experiment 'xyz'; the experiments are rates, means."),
        (["xyz", "--list"], "There is no experiment 'xyz'"),
        (["--seed", -1], "--seed must be at least 0"),
        (["--workers", 0], "--workers must be at least 1 and at most 1024, but 0 was given."),
        (["--workers", "two"], "'two'"),
        (["--faces", "nowhere"], "unknown data 'nowhere'"),
        (
            ["--faces", "rows.npy"],
            "--faces must be a folder of images, or an array of them of shape (N, height,",
        ),
        (["--faces", "gaussian:dim=3"], "but 'gaussian:dim=3' has a covariance"),
        (["rates", "--faces", "rows.npy"], "none of the chosen experiments takes faces (means would)"),
        (["--resume"], "No such option"),
    ],
)
def test_bad_input_is_refused_before_any_work(refused, tmp_path, arguments, message):
    np.save(tmp_path / "rows.npy", np.eye(5, 3))
    assert message in refused(*arguments, "--out", "run")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npy"]


def test_nothing_heavy_is_loaded_before_it_is_needed():
    early = [["--help"], ["--list"], ["--workers", "0"], ["--seed", "-1"], ["no-such-name"]]
    code = f"""
import sys
from deepbures.cli import main
codes = [main(["reproduce", *arguments]) for arguments in {early!r}]
assert codes == [0, 0, 2, 2, 2], codes
loaded = {{name.partition(".")[0] for name in sys.modules}}
assert not loaded & {{"jax", "numpy", "scipy", "matplotlib", "jinja2"}}, loaded
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_without_the_libraries_of_the_page(refused, tmp_path, monkeypatch, library):
    ours = ("deepbures._html", "deepbures.plot", "deepbures.reproduce._", "deepbures.cli._reproduce")
    for name in list(sys.modules):
        if name.startswith((*ours, f"{library}.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    message = refused("--out", "run")
    assert 'pip install "deepbures[plot]"' in message and library in message
    assert not any(tmp_path.iterdir())


def test_faces_are_passed_on_and_are_an_option_that_determines_results(call, refused, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "faces.npy", rng.random((5, 3, 4)))
    np.save(tmp_path / "others.npy", rng.random((5, 3, 4)))
    assert call("--quick", "--faces", "faces.npy", "--out", "run").code == 0
    expected = np.load(tmp_path / "faces.npy").mean()
    assert (tmp_path / "run" / "means" / "means.csv").read_text() == f"mean\n{expected}\n"
    assert call("--quick", "--faces", "faces.npy", "--out", "run").code == 0
    assert re.search(r"\(faces was '\w{64}', now None\)", refused("--quick", "--out", "run"))
    message = refused("--quick", "--faces", "others.npy", "--out", "run")
    assert re.search(r"\(faces was '\w{64}', now '\w{64}'\)", message)
    text = " ".join(read_page(tmp_path / "run").text.split())
    assert re.search(r"seed 0, faces \w{12}…\.", text) and "deepbures reproduce --seed 0 --quick --faces PATH" in text


# ---------------------------------------------------------------------- the keeper


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


# ---------------------------------------------------------------------- the registry


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
