"""A fit on the command line: its summary, files, warnings and failures."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deepbures as db
from deepbures.cli.requests import default_folder
from deepbures.datasets import load_dataset
from deepbures.runs import load_model

from .commands import FAST, SMALL, arrays, names


@pytest.mark.parametrize(
    "options",
    [
        ["--solver", "closed-form", "--depth", 3, "--hidden", 4],
        ["--solver", "flow", "--depth", 2, "--tau", 0.1],
        ["--solver", "descent", "--loss", "frobenius"],
        ["--solver", "descent", "--step-size", "accelerated", "--init", "orthogonal", "--tolerance", 1e-4],
    ],
    ids=lambda options: "-".join(str(option).strip("-") for option in options),
)
def test_a_fit_and_its_summary(call, tmp_path, options):
    done = call("fit", SMALL, "--rank", 2, "--out", "run", "--json", *options)
    assert done.code == 0 and done.err == ""
    summary = done.json
    is_training = "closed-form" not in options
    assert summary["files"] == ["model.npz", *(["trajectory.npz"] * is_training), "report.html", "summary.json"]
    assert names(tmp_path / "run") == set(summary["files"])
    assert json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8")) == summary
    given = dict(zip([str(key).strip("-") for key in options[::2]], options[1::2], strict=True))
    assert given.items() <= {key.replace("_", "-"): value for key, value in summary["request"].items()}.items()
    assert summary["command"].startswith("deepbures fit gaussian:dim=6,seed=0 --rank 2 --out run --json ")
    assert summary["status"] == "converged" and summary["warnings"] == [] and summary["unusable_modes"] == []
    assert summary["seed"] == 0 and summary["seconds"] > 0 and summary["devices"]
    assert {"deepbures", "python", "jax", "numpy"} <= set(summary["versions"])
    dataset = load_dataset(SMALL)
    assert summary["data"] == {
        "name": dataset.name,
        "description": dataset.description,
        "digest": dataset.digest(),
        "shape": [6, 6],
        "kind": "covariance",
        "feature_names": None,
        "dtypes": [],
        "image_shape": None,
    }
    target = db.Target.from_covariance(dataset.covariance)
    loss = db.Frobenius() if "frobenius" in options else db.BuresWasserstein(given.get("tau", 0.0))
    network = load_model(tmp_path / "run")
    assert list(network.widths) == summary["widths"]
    minimum = float(db.minimal_loss(target, 2, loss))
    assert summary["minimal_loss"] == pytest.approx(minimum, rel=1e-12)
    assert summary["final_loss"] == pytest.approx(float(loss.value(network.end_to_end, target)), rel=1e-12)
    assert summary["excess"] == pytest.approx(summary["relative_excess"] * minimum, abs=1e-15)
    assert summary["relative_excess"] <= given.get("tolerance", 1e-7)
    depth = given.get("depth", 1)
    assert summary["sharpness"] == pytest.approx(float(db.sharpness(target, 2, loss, depth=depth, latent_dim=2)))
    assert summary["stability_limit"] == pytest.approx(2 / summary["sharpness"])
    assert summary["asymptotic_rate"] == pytest.approx(
        float(db.asymptotic_rate(target, 2, loss, depth=depth, latent_dim=2))
    )
    assert summary["resolved"]["hidden"] == [given.get("hidden", 2)] * (depth - 1)
    if is_training:
        records = arrays(tmp_path / "run" / "trajectory.npz")
        assert records["loss"][-1] == pytest.approx(summary["final_loss"])
        assert records["steps"][-1] == summary["steps"]
        assert summary["largest_balancedness_gap"] == records["balancedness_gap"].max()
        assert summary["balancedness_gap"] == pytest.approx(records["balancedness_gap"][-1], abs=1e-15)
    else:
        assert summary["steps"] is None and summary["largest_balancedness_gap"] is None


def test_the_table_on_a_terminal_and_where_the_report_lies(call):
    done = call("fit", *FAST)
    folder = Path("runs") / "gaussian-dim=6,seed=0-rank2-depth1"
    assert done.code == 0 and done.err == ""
    for text in ("theoretical minimum", "relative excess", "widths 2 → 6", f"Report: {folder / 'report.html'}"):
        assert text in done.out
    assert (folder / "report.html").exists()


def test_what_is_proved_is_said_in_the_terminal_and_in_the_summary(call, tmp_path):
    done = call("fit", SMALL, "--rank", 2, "--solver", "descent", "--out", "run")
    proof = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))["proof"]
    assert proof.startswith("from step ")
    row = re.search(r"^proved +(.*?)^seconds ", done.out, re.DOTALL | re.MULTILINE)
    assert row and " ".join(row[1].split()) == proof  # the same sentence, in lines as wide as the terminal


@pytest.mark.parametrize(
    "data, name",
    [
        ("digits", "digits"),
        ("data/measured.v2.csv", "measured.v2"),
        ("../x.NPZ::key", "x"),
        ("data/measured.tsv.gz", "measured"),
        ("builtin:faces", "faces"),
        ("gaussian:dim=5,smin=-1.5", "gaussian-dim=5,smin=-1.5"),
        ("gaussian:dim=5,smin=-1.7", "gaussian-dim=5,smin=-1.7"),
        ("images of cats/", "images-of-cats"),
        ("..", "data"),
    ],
)
def test_default_folders(data, name):
    assert default_folder(data, 3, 2) == Path("runs") / f"{name}-rank3-depth2"


def test_samples_of_files(call, tmp_path, rng):
    x = rng.standard_normal((40, 3)) + 5
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", header="a,b,c", comments="", fmt="%.17g")
    np.save(tmp_path / "c.npy", np.cov(x.T, bias=True))
    first = call("fit", "x.csv", "--rank", 2, "--solver", "closed-form", "--json").json
    second = call("fit", "c.npy", "--covariance", "--rank", 2, "--solver", "closed-form", "--json").json
    assert first["data"]["kind"] == "samples" and first["data"]["shape"] == [40, 3]
    assert second["data"]["kind"] == "covariance"
    assert first["folder"] == str(Path("runs") / "x-rank2-depth1")
    assert first["minimal_loss"] == pytest.approx(second["minimal_loss"])
    np.testing.assert_allclose(load_model(Path(first["folder"])).mean, x.mean(0))


@pytest.mark.parametrize("solver", ["closed-form", "descent"])
def test_smoothing_above_an_eigenvalue_warns_once(call, tmp_path, solver):
    np.save(tmp_path / "c.npy", np.diag([4.0, 2.0, 1.0]))
    done = call("fit", "c.npy", "--covariance", "--rank", 3, "--tau", 1.5, "--solver", solver, "--json")
    assert done.code == 0
    assert done.err.count("deepbures: warning: ") == done.err.count("\n") == 1
    assert "mode(s) 3 (λ_3 = 1) cannot be used" in done.err
    assert [f"deepbures: warning: {text}" for text in done.json["warnings"]] == done.err.splitlines()
    assert done.json["unusable_modes"] == [3] and done.json["relative_excess"] < 1e-6


def test_a_smoothing_that_the_precision_does_not_hold_is_refused(call):
    done = call("fit", *FAST, "--tau", 5e-324)
    assert done.code == 2 and "tau = 4.94066e-324 is out of the range of float64" in done.err


def test_steps_that_do_not_suffice_are_a_warning(call):
    done = call("fit", SMALL, "--rank", 2, "--solver", "descent", "--num-steps", 3, "--json")
    assert done.code == 0 and done.json["status"] == "finished"
    assert done.err == f"deepbures: warning: {done.json['result']}\n" and "raise --horizon" in done.err


def test_divergence_is_a_failure_with_records(call, tmp_path):
    options = ["--depth", 2, "--solver", "descent", "--step-size", 100, "--out", "run"]
    done = call("fit", SMALL, "--rank", 2, *options, "--json")
    assert done.code == 1 and done.json["status"] == "diverged"
    warned, failed = done.err.splitlines()
    assert warned == f"deepbures: warning: {done.json['warnings'][0]}" and "above the stability limit" in warned
    assert failed == f"deepbures: error: {done.json['error']}" and "Use a smaller --step-size" in failed
    assert names(tmp_path / "run") == {"model.npz", "trajectory.npz", "report.html", "summary.json"}


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_file_name_that_is_no_text(call, tmp_path):
    name = os.fsdecode(b"\xff \xc3\xa9.npy")
    np.save(tmp_path / name, np.eye(4, 3))
    done = call("fit", name, "--rank", 1, "--solver", "closed-form", "--out", "run", "--json")
    assert done.code == 0 and done.json["data"]["name"] == name and done.out.isascii()
    assert json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8")) == done.json
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("options", [["--rank", "0", "--json"], ["--help"]])
def test_a_standard_output_that_is_full_is_no_traceback(options):
    code = "import sys; from deepbures.cli import main; sys.exit(main())"
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", code, "fit", "digits", *options]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == (2 if "0" in options else 1)
    assert done.stderr.startswith("deepbures: error: ") and done.stderr.count("\n") == 1
