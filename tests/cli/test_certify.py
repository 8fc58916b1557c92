"""Certificates on the command line: those of the start that `fit` takes, of a model, and of a fit in its folder."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepbures as db
from deepbures.datasets import load_dataset

SMALL = "gaussian:dim=4,seed=0"
NAMES = [
    *("flow-paper", "flow-derived", "flow-exact", "flow-bottleneck"),
    *("flow-global", "flow-any-layers", "flow-below-saddle"),
    *("flow-smoothed-bottleneck", "flow-authors-code"),
    *("descent-paper", "descent-derived", "descent-exact", "descent-constant"),
    *("flow-asymptotic", "descent-sharpness", "descent-stability"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder of a rank-2 network, reduced to what certificates need."""
    target = db.Target.from_covariance(load_dataset(SMALL).covariance)
    (tmp_path / "run").mkdir()
    db.fit(target, 2, depth=2, solver="closed-form").network.save(tmp_path / "run" / "model.npz")
    return tmp_path / "run"


def by_name(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in summary["certificates"]}


# ---------------------------------------------------------------------- certify


@pytest.mark.parametrize("init, tau", [("close", 0.01), ("gaussian", 0.0)])
def test_the_certificates_are_those_of_the_start_that_fit_takes(call, init, tau):
    options = ["--rank", 4, "--depth", 2, "--init", init, "--seed", 3, "--tau", tau]
    summary = call("certify", SMALL, *options, "--json").json
    target = db.Target.from_covariance(load_dataset(SMALL).covariance)
    fitted = db.fit(target, 4, depth=2, tau=tau, init=init, seed=3, solver="descent", num_steps=1)
    assert [entry["name"] for entry in summary["certificates"]] == NAMES
    assert summary["start"] == {"init": init, "seed": 3, "widths": [4, 4, 4], "rank": 4, "depth": 2}
    for entry, certificate in zip(summary["certificates"], fitted.certificates, strict=True):
        assert entry["holds"] == certificate.holds
        if certificate.holds and not math.isnan(certificate.log_rate):
            assert entry["log_rate"] == certificate.log_rate
            assert entry["log10_rate"] == pytest.approx(certificate.log_rate / math.log(10))
        stated = [(a["statement"], a["holds"]) for a in entry["assumptions"]]
        assert stated == [(a.statement, a.holds) for a in certificate.assumptions]
        assert len(entry["missed"]) == len(certificate.missed)
    assert summary["excess"] == pytest.approx(float(fitted.trajectory.excess[0]), rel=1e-12)
    assert "log_margin" in by_name(summary)["flow-derived"]["constants"]


def test_the_table(call):
    done = call("certify", SMALL, "--rank", 4, "--init", "close", "--depth", 2)
    assert done.code == 0 and done.err == ""
    head, table, legend, missed = done.out.split("\n\n")
    assert "4 features; squared Bures-Wasserstein" in head and "start close, seed 0: widths 4 → 4 → 4" in head
    rows = {line.split()[0]: line.split() for line in table.splitlines()}
    assert list(rows) == ["name", *NAMES]
    summary = by_name(call("certify", SMALL, "--rank", 4, "--init", "close", "--depth", 2, "--json").json)
    assert rows["flow-exact"] == ["flow-exact", "guarantee", "yes", f"{summary['flow-exact']['rate']:.4g}"]
    steps = [f"{summary['descent-paper'][name]:.4g}" for name in ("rate", "max_step_size")]
    assert rows["descent-paper"] == ["descent-paper", "guarantee", "yes", *steps]
    assert rows["flow-paper"] == ["flow-paper", "guarantee", "no:", "[1]"]
    assert rows["descent-exact"][2:] == ["no:", "[3]", "by", "1"]
    assert rows["flow-authors-code"][1] == "comparison" and rows["flow-asymptotic"][1] == "prediction"
    assert "per unit of time (flow)" in legend
    times = {name: entry["time_to_millionth"] for name, entry in summary.items() if entry["kind"] == "guarantee"}
    flow = min((time, name) for name, time in times.items() if name.startswith("flow") and time is not None)
    assert f"The flow has certainly come down to 1e-6 of this excess by time {flow[0]:.4g} ({flow[1]})." in legend
    assert summary["flow-exact"]["time_to_millionth"] == pytest.approx(math.log(1e6) / summary["flow-exact"]["rate"])
    assert f"after {times['descent-constant']:.4g} steps of the largest size (descent-constant)." in legend
    assert times["flow-bottleneck"] is None
    notes = re.findall(r"^\[(\d)\] (.*)\n    in (.*)$", missed, re.MULTILINE)
    assert notes[0] == ("1", "smoothing τ: 0 (needed > 0)", "flow-paper, flow-authors-code")
    assert notes[2] == ("3", "depth N: 2 (needed = 1, missed by 1)", "descent-exact")


def test_what_underflows_is_a_power_of_ten(call):
    done = call("certify", SMALL, "--rank", 4, "--init", "close", "--depth", 300)
    row = next(line.split() for line in done.out.splitlines() if line.startswith("descent-paper"))
    assert re.fullmatch(r"10\^-\d{3}\.\d", row[3]) and re.fullmatch(r"10\^-\d{3}\.\d", row[4])
    assert "widths 4 → 4 (299 times) → 4" in done.out


def test_a_model_is_its_own_start(call, folder):
    for model in ("run", "run/model.npz"):
        summary = call("certify", SMALL, "--model", model, "--json").json
        known = {"status": None, "relative_excess": None}  # there is no summary.json
        assert summary["start"] == {"model": model, **known, "widths": [2, 2, 4], "rank": 2, "depth": 2}
    bottleneck = by_name(summary)["flow-bottleneck"]
    assert bottleneck["holds"] and bottleneck["rate"] > 0 and summary["excess"] == pytest.approx(0, abs=1e-12)
    shown = call("certify", SMALL, "--model", "run")
    assert shown.code == 0 and "model run: widths 2 → 2 → 4" in shown.out


def test_other_losses_and_data(call, tmp_path, monkeypatch):
    summary = call("certify", SMALL, "--rank", 2, "--loss", "frobenius", "--json").json
    assert [entry["name"] for entry in summary["certificates"]][-3:] == NAMES[-3:]
    np.save(tmp_path / "c.npy", np.diag([4.0, 2.0, 1.0]))
    summary = call("certify", "c.npy", "--covariance", "--rank", 1, "--json").json
    assert summary["data"]["dim"] == 3 and summary["minimal_loss"] == pytest.approx(3)
    # Known through products only: the leading eigenvalues are enough.
    monkeypatch.setattr("deepbures.model._target.LARGEST_DECOMPOSED", 2)
    products = call("certify", "c.npy", "--covariance", "--rank", 1, "--json").json
    for entry, other in zip(products["certificates"], summary["certificates"], strict=True):
        assert entry["holds"] == other["holds"]
        if other["holds"] and other["log_rate"] is not None:
            assert entry["log_rate"] == pytest.approx(other["log_rate"], rel=1e-9)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--rank is missing: give the bottleneck of the start to certify, or a trained network with --model"),
        (["--rank", 0], "--rank must be at least 1, but 0 was given"),
        (["--rank", 5], r"rank must be at least 1 and at most 4 \(the dimension of the data\), but 5 was given"),
        (["--rank", 2, "--depth", 0], "--depth must be at least 1, but 0"),
        (["--rank", 2, "--hidden", 3], "--hidden 3 was given, but a network of depth 1 has no hidden layer"),
        (["--rank", 2, "--tau", -1], "--tau must be finite and not negative, but -1.0"),
        (["--rank", 2, "--tau", 1, "--loss", "frobenius"], "--loss frobenius does not take it"),
        (["--rank", 2, "--seed", -1], "--seed must be at least 0"),
        (["--rank", 2, "--init", "close", "--tau", 1], "No margin is known for a bottleneck"),
        (["--model", "nothing"], "MODEL must be the folder of a run, or a model.npz file, but nothing does not exist"),
        (["--model", "run", "--rank", 2], "--rank 2 was given, but --model is a start of its own"),
        (["--model", "run", "--init", "close"], "--init close was given, but --model is a start of its own"),
        (["--model", "run", "--seed", 0], "--seed 0 was given, but --model is a start of its own"),
    ],
)
def test_bad_input(refused, folder, arguments, message):
    assert re.search(message, refused("certify", SMALL, *arguments))


def test_data_that_do_not_fit(refused, folder, tmp_path):
    message = refused("certify", "gaussian:dim=3", "--model", "run")
    assert message.startswith("--model run has 4 outputs, but gaussian:dim=3 has 3 features: pass the data")
    np.save(tmp_path / "zero.npy", np.zeros((4, 4)))
    for start in (["--rank", 2], ["--model", "run"]):
        assert "The target has no variance" in refused("certify", "zero.npy", "--covariance", *start)


# ---------------------------------------------------------------------- fit


def test_a_fit_says_what_was_certified_and_whether_it_was_kept(call, tmp_path):
    options = ["--rank", 4, "--init", "close", "--solver", "descent", "--step-size", 0.01, "--out", "run"]
    done = call("fit", SMALL, *options, "--json")
    assert done.code == 0
    entries = by_name(done.json)
    assert list(entries) == NAMES
    exact = entries["descent-exact"]
    assert exact["kind"] == "guarantee" and exact["holds"] and exact["applies"] and exact["violated"] is False
    assert exact["tightness"] == pytest.approx(1, rel=1e-5) and exact["max_step_size"] == pytest.approx(0.5)
    assert entries["flow-paper"]["missed"] == ["smoothing τ: 0 (needed > 0)"]
    assert json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8")) == done.json
    assert "bound descent-exact" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    closed = call("fit", SMALL, "--rank", 4, "--solver", "closed-form", "--json").json
    assert closed["certificates"] == []


def test_a_violated_guarantee_is_told(call, tmp_path, monkeypatch):
    (exact,) = [type(theorem) for theorem in db.theorems_of(db.BuresWasserstein()) if theorem.name == "flow-exact"]
    log_rate = exact.log_rate
    monkeypatch.setattr(exact, "log_rate", lambda self, start: log_rate(self, start) + 1)
    done = call("fit", SMALL, "--rank", 4, "--init", "close", "--out", "run", "--json")
    assert done.code == 0 and done.err.startswith("deepbures: warning: flow-exact: VIOLATED, first at ")
    assert done.err.count("\n") == 1 and done.json["warnings"] == [done.err.rstrip("\n").partition("warning: ")[2]]
    assert by_name(done.json)["flow-exact"]["violated"] is True
    assert 'role="alert"' in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_the_certified_step_size(call, refused, tmp_path):
    certified = ["--solver", "descent", "--step-size", "certified"]
    options = ["--rank", 4, "--depth", 2, "--num-steps", 20, "--out", "run"]
    done = call("fit", SMALL, "--init", "close", *certified, *options, "--json")
    constant = by_name(done.json)["descent-constant"]
    assert done.code == 0 and done.json["resolved"]["step_size"] == pytest.approx(constant["max_step_size"])
    assert constant["applies"] and not constant["violated"]
    before = (tmp_path / "run" / "model.npz").read_bytes()
    again = [*certified, "--overwrite"]
    message = refused("fit", SMALL, *again, *options)
    assert message.startswith("--step-size certified has no certificate from this start (descent-")
    assert "squared margin" in message and message.endswith("pass --step-size sharpness or a number.")
    assert "--init close" in message
    message = refused("fit", SMALL, *again, "--rank", 2, "--tau", 1e6, "--init", "xavier", "--out", "run")
    assert "needed < " in message and "). Pass --step-size sharpness or a number." in message
    message = refused("fit", SMALL, *again, "--rank", 4, "--loss", "frobenius", "--out", "run")
    assert "--step-size certified has no theorem on descent under a Frobenius. Pass --step-size sharpness" in message
    assert (tmp_path / "run" / "model.npz").read_bytes() == before
