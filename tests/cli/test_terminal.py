"""The command line on terminals of every kind: narrow ones, other encodings, completion, --quiet, python -m."""

import csv
import errno
import io
import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

import deepbures as db
from deepbures import cli
from deepbures.cli import main
from deepbures.cli._messages import Invocation, write_anywhere
from deepbures.datasets import known_datasets
from deepbures.reproduce import EXPERIMENTS

from .commands import SMALL, names

FAST = ("fit", SMALL, "--rank", 2, "--solver", "closed-form")


# ---------------------------------------------------------------------- width


def table_of(text: str, first: str) -> list[str]:
    """The lines of the table whose first column has this name."""
    return next(block for block in text.split("\n\n") if block.startswith(first)).splitlines()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_points_are_told_apart_at_any_width(call, monkeypatch, width):
    arguments = ["landscape", "gaussian:dim=12,seed=0", "--rank", 8, "--covariance", "--num", 4]
    whole = call(*arguments)
    modes = ["{1-8}", "{1-7, 9}", "{1-6, 8, 9}", "{1-5, 7-9}"]  # lowest first: the fewest eigenvalues left out
    header, *rows = table_of(whole.out, "modes")
    assert header.split("  ")[0] == "modes" and [re.match(r"\{.*?\}", row)[0] for row in rows] == modes
    assert "Too narrow" not in whole.out
    monkeypatch.setenv("COLUMNS", str(width))
    narrow = call(*arguments)
    header, *rows = table_of(narrow.out, "modes")
    assert all(len(line.rstrip()) <= width for line in (header, *rows)) and "…" not in narrow.out
    assert [re.match(r"\{.*?\}", row)[0] for row in rows] == modes
    kept = re.split(r" {2,}", header.strip())
    left_out = re.search(r"^Too narrow for: (.*)\. Widen the terminal, or see --json\.$", narrow.out, re.MULTILINE)
    told = left_out[1].split(", ") if left_out else []
    assert sorted([*kept, *told]) == sorted(["modes", "loss", "rank", "index", "nullity", "kind", "λ min", "λ max"])
    assert (told == []) == (width >= 80)


def test_long_sets_of_modes_are_folded(call, monkeypatch):
    np.save("c.npy", np.diag(np.arange(40.0, 0.0, -1.0)))
    monkeypatch.setenv("COLUMNS", "30")
    done = call("landscape", "c.npy", "--covariance", "--rank", 30, "--num", 60)
    rows = table_of(done.out, "modes")
    assert all(len(row.rstrip()) <= 30 for row in rows) and "…" not in done.out
    text = "".join(row[:20] for row in rows)
    assert "".join(text.split()).count("{") == 20


def test_certificates_have_their_names_at_any_width(call, monkeypatch):
    arguments = ["certify", SMALL, "--rank", 6, "--depth", 3, "--init", "close"]
    entries = call(*arguments, "--json").json["certificates"]
    monkeypatch.setenv("COLUMNS", "60")
    rows = table_of(call(*arguments).out, "name")
    assert [row.split()[0] for row in rows[1:]] == [entry["name"] for entry in entries]
    assert [row.split()[1] for row in rows[1:]] == ["yes" if entry["holds"] else "no:" for entry in entries]


def test_where_the_points_are_that_are_not_shown(call):
    arguments = ["landscape", "gaussian:dim=8,seed=0", "--covariance", "--rank", 3, "--num", 30]
    assert "20 found, the others are" not in call(*arguments, "--num", 20).out
    assert "shown by --json, and written by --out into landscape.csv" in call(*arguments).out
    assert "the others are in landscape.csv" in call(*arguments, "--out", "folder").out


# ---------------------------------------------------------------------- without matplotlib


def test_a_landscape_without_matplotlib_writes_its_table(call, tmp_path, monkeypatch):
    arguments = [
        "landscape",
        SMALL,
        "--covariance",
        "--rank",
        2,
        "--num",
        5,
        "--out",
        "folder",
        "--overwrite",
        "--json",
    ]
    assert "paths.svg" in call(*arguments).json["files"]
    for name in [name for name in sys.modules if name.startswith(("deepbures.plot", "matplotlib."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = call(*arguments)
    assert done.code == 0 and done.json["files"] == ["landscape.csv", "landscape.json"]
    assert done.err.count("\n") == 1 and "the figures were left out" in done.err
    assert 'pip install "deepbures[plot]"' in done.err
    assert names(tmp_path / "folder") == {"landscape.csv", "landscape.json"}  # no figures of what was overwritten
    with (tmp_path / "folder" / "landscape.csv").open(encoding="utf-8", newline="") as file:
        values = [float(row["value"]) for row in csv.DictReader(file)]
    assert values == [point["value"] for point in done.json["points"]]


# ---------------------------------------------------------------------- quiet


def test_quiet_shows_no_progress_and_no_messages_but_errors(call, monkeypatch, tmp_path):
    np.save("c.npy", np.diag([4.0, 2.0, 1.0]))
    arguments = ["fit", "c.npy", "--covariance", "--rank", 3, "--tau", 1.5, "--solver", "closed-form", "--out", "run"]
    loud = call(*arguments, "--json")
    assert loud.err.startswith("deepbures: warning: ")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for quiet in ("--quiet", "-q"):
        done = call(*arguments, "--overwrite", "--json", quiet)
        assert (done.code, done.err) == (0, "")
        assert done.json["warnings"] == loud.json["warnings"] != []
    shown = call(*arguments, "--overwrite", "--quiet")
    assert (shown.code, shown.err) == (0, "") and "theoretical minimum" in shown.out
    assert call("sample", "run", "--num", 3, "--out", "x.npy", "-q")[::2] == (0, "")
    assert call("landscape", SMALL, "--covariance", "--rank", 2, "-q")[::2] == (0, "")
    assert call("certify", "c.npy", "--covariance", "--model", "run", "-q")[::2] == (0, "")
    assert call("distance", "c.npy", "c.npy", "--covariances", "-q")[::2] == (0, "")
    done = call(*arguments, "-q")
    assert (done.code, done.out) == (2, "") and done.err.startswith("deepbures: error: run exists and is not empty")


# ---------------------------------------------------------------------- encodings


@pytest.mark.skipif(sys.platform == "win32", reason="about the shells of other systems")
@pytest.mark.parametrize(
    "given, encoding, shown",
    [
        ("plain-file.csv", "utf-8", "plain-file.csv"),
        ("two words.csv", "utf-8", "'two words.csv'"),
        ("café.csv", "utf-8", "'café.csv'"),
        ("caf\udcc3\udca9.csv", "ascii", "'café.csv'"),  # what Python makes of café.csv where the encoding is ASCII
        ("caf\udcff's.csv", "utf-8", r"$'caf\xff\x27s.csv'"),
        ("a\nb", "utf-8", r"$'a\x0ab'"),
        ("", "utf-8", "''"),
    ],
)
def test_the_command_is_right_in_every_encoding(monkeypatch, given, encoding, shown):
    word = os.fsencode(given) if encoding == "utf-8" else given.encode("ascii", "surrogateescape")
    monkeypatch.setattr(os, "fsencode", lambda _: word)
    assert Invocation([given]).command == f"deepbures {shown}"
    monkeypatch.undo()
    back = subprocess.run(["bash", "-c", f"printf %s {shown}"], capture_output=True, check=True).stdout
    assert back == word
    if "$" not in shown:
        assert shlex.split(shown) == [word.decode()]


@pytest.mark.skipif(sys.platform != "linux", reason="about its encodings of file names")
def test_a_unicode_path_in_the_locale_c(tmp_path):
    np.save(tmp_path / "données é.npy", np.diag([3.0, 2.0, 1.0]))
    command = ["fit", "données é.npy", "--covariance", "--rank", "1", "--solver", "closed-form", "--out", "run"]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "deepbures", *command], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert rb"donn\xc3\xa9es \xc3\xa9.npy" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    typed = f"deepbures {shlex.join(command)}"
    assert summary["command"] == typed
    assert typed.replace("'", "&#39;") in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_what_a_stream_cannot_show_is_escaped():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    write_anywhere(stream)
    stream.write("λ min: 2 → 6, café 数 \udcc3\udca9")
    stream.flush()
    assert stream.buffer.getvalue() == rb"? min: 2 ? 6, caf\xe9 \u6570 \xc3\xa9"


# ---------------------------------------------------------------------- as a module, and completion


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "deepbures", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"deepbures {db.__version__}\n", "")


def complete(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash is told to offer for the last of these words."""
    monkeypatch.setenv("_DEEPBURES_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    return capsys.readouterr().out.split()


def test_completion(monkeypatch, capsys):
    for words, offered in [
        ("deepbures la", ["landscape"]),
        ("deepbures fit digits --sol", ["--solver"]),
        ("deepbures fit digits --solver ", ["closed-form", "flow", "descent"]),
        ("deepbures fit di", ["digits"]),
        ("deepbures fit data/me", []),  # the shell then offers files
        ("deepbures sample ru", []),
        ("deepbures reproduce g", ["grid"]),
    ]:
        assert complete(words, monkeypatch, capsys) == offered, words
    assert complete("deepbures reproduce ", monkeypatch, capsys) == [experiment.name for experiment in EXPERIMENTS]
    assert set(cli._options.BUILT_IN) == set(known_datasets())


def test_completion_loads_nothing_heavy():
    code = """
import sys
from deepbures.cli import main
try:
    main([])
except SystemExit:
    pass
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"jax", "numpy", "scipy", "matplotlib"}, loaded
"""
    environment = {**os.environ, "_DEEPBURES_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    for words, offered in (("deepbures fit d", "digits"), ("deepbures reproduce gr", "grid")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, "COMP_WORDS": words},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout.split()) == (0, [offered]), done.stderr


# ---------------------------------------------------------------------- same seed, same bytes


def test_two_runs_differ_in_when_where_and_how_long_only(call, tmp_path):
    """As the page about the report says."""
    for name, seed in (("first", 3), ("second", 3), ("third", 4)):
        options = ["--depth", 2, "--solver", "descent", "--init", "gaussian", "--num-steps", 20, "--seed", seed]
        assert call("fit", SMALL, "--rank", 2, *options, "--out", name).code == 0
    first, second = tmp_path / "first", tmp_path / "second"
    for file in ("model.npz", "trajectory.npz"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
        assert (first / file).read_bytes() != (tmp_path / "third" / file).read_bytes()
    a, b = (json.loads((folder / "summary.json").read_text(encoding="utf-8")) for folder in (first, second))
    assert {name for name in a if a[name] != b[name]} <= {"command", "started", "seconds", "folder"}
    pages = [(folder / "report.html").read_text(encoding="utf-8").splitlines() for folder in (first, second)]
    differing = [line for line, other in zip(*pages, strict=True) if line != other]
    assert all(re.search("Seconds|seconds|started|first", line) for line in differing)


def test_a_full_disk_is_no_bad_input(call, tmp_path, monkeypatch):
    """Unlike a folder that cannot be written to at all."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    assert call(*FAST, "--out", "run").code == 1
    assert call("landscape", SMALL, "--covariance", "--rank", 2, "--out", "folder").code == 1
