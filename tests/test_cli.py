"""The command line: exit codes, one line for every error, one JSON object, and runs that survive Ctrl-C and a kill."""

import errno
import json
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import deepbures as db
from deepbures.cli import main
from deepbures.cli.requests import default_folder
from deepbures.datasets import known_datasets, load_dataset
from deepbures.runs import load_model

SMALL = "gaussian:dim=6,seed=0"
FAST = (SMALL, "--rank", 2, "--solver", "closed-form")
HEAVY = {"jax", "numpy", "scipy", "equinox", "diffrax", "optax", "matplotlib", "sklearn", "pyarrow"}


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} in JSON")

        assert self.out.count("\n") == 1
        value = json.loads(self.out, parse_constant=refuse)
        assert isinstance(value, dict)
        return value


Call = Callable[..., Done]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(call: Call, tmp_path: Path) -> Callable[..., str]:
    """Run a command that must end with one line on standard error, with and without --json; that line."""

    def run(*arguments: object, code: int = 2) -> str:
        done = call(*arguments)
        assert done.code == code and done.out == ""
        assert done.err.startswith("deepbures: error: ") and done.err.count("\n") == 1
        message = done.err.removeprefix("deepbures: error: ").rstrip("\n")
        again = call(*arguments, "--json")
        assert (again.code, again.err) == (code, done.err)
        assert {"error": message, "exit_code": code}.items() <= again.json.items()
        return message

    return run


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def assert_same_bits(a: Path, b: Path) -> None:
    first, second = arrays(a), arrays(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.dtype == second[name].dtype
        np.testing.assert_array_equal(value, second[name], strict=True)


# ---------------------------------------------------------------------- help, version, and what they load


def test_nothing_heavy_is_loaded_before_it_is_needed():
    early = [
        [],
        ["--help"],
        ["--version"],
        *([name, "--help"] for name in ("fit", "sample", "distance", "certify")),
        ["fit", "digits", "--rank", "0"],
        ["fit", "digits", "--rank", "2", "--tau", "nan"],
        ["fit", "digits", "--rank", "2", "--solver", "magic"],
        ["sample", "runs", "--num", "0", "--out", "x.npy"],
        ["distance", "a", "b", "--samples", "--factors"],
        ["certify", "digits"],
    ]
    code = f"""
import sys
from deepbures.cli import main
codes = [main(arguments) for arguments in {early!r}]
loaded = {{name.partition(".")[0] for name in sys.modules}}
assert codes == [0] * 7 + [2] * 6, codes
assert not loaded & {HEAVY!r}, loaded & {HEAVY!r}
assert main(["fit", "digitz", "--rank", "2"]) == 2
assert main(["fit", "gaussian:dims=3", "--rank", "2"]) == 2
assert "jax" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_and_version(call):
    assert call("--version") == (0, f"deepbures {db.__version__}\n", "")
    shown = call("--help")
    assert shown.code == 0 and shown.err == "" and call() == shown
    for command in ("fit", "sample", "distance"):
        assert command in shown.out
        assert "--json" in call(command, "--help").out


def test_the_installed_command():
    program = Path(sys.executable).with_name("deepbures")
    if not program.exists():
        pytest.skip("the package is not installed")
    done = subprocess.run([program, "fit", "digits", "--rank", "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "deepbures: error: --rank must be at least 1, but 0 was given.\n"


# ---------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "Missing option '--rank'. See deepbures fit --help."),
        (["--rank", "two"], "'two'"),
        (["--rank", 2.5], "'2.5'"),
        (["--rank", 2, "--tau", "small"], "'small'"),
        (["--rank", 0], "--rank must be at least 1, but 0 was given."),
        (["--rank", 2, "--depth", 0], "--depth must be at least 1, but 0 was given."),
        (["--rank", 2, "--tau", -0.5], "--tau must be finite and not negative, but -0.5 was given."),
        (["--rank", 2, "--tau", "nan"], "--tau must be finite and not negative, but nan was given."),
        (["--rank", 2, "--tau", "inf"], "--tau must be finite and not negative, but inf was given."),
        (
            ["--rank", 2, "--tau", 1, "--loss", "frobenius"],
            "--loss frobenius does not take it (of the losses, bw, likelihood do): leave it out.",
        ),
        (["--rank", 2, "--epsilon", 1], "--epsilon 1.0 was given, but --loss bw does not take it"),
        (["--rank", 2, "--loss", "entropic"], "--loss entropic needs --epsilon, the regularization of the transport"),
        (
            ["--rank", 2, "--loss", "likelihood"],
            "--loss likelihood needs --tau, the variance of the noise",
        ),
        (["--rank", 2, "--loss", "sinkhorn", "--epsilon", "inf"], "--epsilon must be finite and not negative"),
        (["--rank", 2, "--solver", "magic"], "'magic' is not one of 'closed-form', 'flow', 'descent'."),
        (["--rank", 2, "--loss", "kl"], "'kl' is not one of 'bw', 'frobenius', 'likelihood', 'entropic', 'sinkhorn'."),
        (["--rank", 2, "--init", "zero"], "'zero' is not one of 'balanced', 'gaussian',"),
        (["--rank", 3, "--depth", 2, "--hidden", 2], "--hidden must be at least the rank 3"),
        (["--rank", 2, "--hidden", 4], "a network of depth 1 has no hidden layer: raise --depth"),
        (["--rank", 2, "--tolerance", "nan"], "--tolerance must be finite and not negative"),
        (["--rank", 2, "--horizon", 0], "--horizon must be finite and positive, but 0.0 was given."),
        (["--rank", 2, "--horizon", 1, "--solver", "descent"], "--horizon belongs to --solver flow, but --solver desc"),
        (["--rank", 2, "--num-steps", 5], "--num-steps belongs to --solver descent, but --solver flow was given"),
        (["--rank", 2, "--num-steps", 0, "--solver", "descent"], "--num-steps must be at least 1 and below 2³¹"),
        (["--rank", 2, "--num-steps", 2**31, "--solver", "descent"], "but 2147483648 was given."),
        (["--rank", 2, "--step-size", 0.1], "--step-size belongs to --solver descent"),
        (["--rank", 2, "--step-size", "big", "--solver", "descent"], "\"accelerated\" or a positive number, but 'big'"),
        (["--rank", 2, "--step-size", "-1", "--solver", "descent"], "or a positive number, but '-1' was given."),
        (["--rank", 2, "--init", "xavier", "--solver", "closed-form"], "--init belongs to --solver flow and descent"),
        (["--rank", 2, "--resume", "--solver", "closed-form"], "--resume belongs to --solver flow and descent"),
        (["--rank", 2, "--seed", -1], "--seed must be at least 0 and below 2⁶³, but -1 was given."),
        (["--rank", 2, "--seed", 2**63], "--seed must be at least 0 and below 2⁶³"),
        (["--rank", 2, "--resume", "--overwrite"], "both were given: choose one."),
        (["--rank", 2, "--folder", "x"], "No such option"),
        (["--rank", 2, "--depht", 3], "--depth"),
        (["other.csv", "--rank", 2], "other.csv"),
    ],
)
def test_bad_options_of_fit_are_refused_before_data_are_read(refused, tmp_path, options, message):
    assert message in refused("fit", "nowhere.csv", *options)
    assert names(tmp_path) == set()


def test_an_unknown_command(refused):
    assert refused("fitt").startswith("No such command 'fitt'.")


# ---------------------------------------------------------------------- bad data


def _csv(text: str) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / "x.csv").write_text(text)
        return ["x.csv"]

    return make


def _npy(array: Any, *options: object) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        np.save(folder / "x.npy", array)
        return ["x.npy", *options]

    return make


def _bytes(name: str, content: bytes) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / name).write_bytes(content)
        return [name]

    return make


def _truncated(name: str) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        path = folder / name
        np.save(path, np.eye(9)) if name.endswith("npy") else np.savez(path, x=np.eye(9))
        path.write_bytes(path.read_bytes()[:-40])
        return [name]

    return make


BAD_DATA = [
    (_csv("1,2\n3,nan\n5,6\n"), "1 entry that is not finite"),
    (_npy(np.array([[1.0, np.inf], [2.0, 3.0]])), "1 entry that is not finite"),
    (_csv("1,2\n3,four\n5,6\n"), "line 2, column 2 is 'four', not a number"),
    (_npy(np.array([["a", "b"], ["c", "d"]])), "must hold numbers"),
    (_npy(np.array([[1j, 2.0], [3.0, 4.0]])), "must hold real numbers"),
    (_csv(""), "is empty"),
    (_csv("a,b\n"), "holds no rows of numbers"),
    (_npy(np.zeros((0, 3))), "is empty"),
    (_csv("1,2,3\n"), "holds one sample only"),
    (_npy(np.arange(5.0)), "must hold a matrix with one sample a row"),
    (_npy(np.zeros((2, 3)), "--covariance"), "must hold a square matrix to be read as a covariance"),
    (_npy(np.array([[2.0, 1.0], [0.5, 2.0]]), "--covariance"), "covariance must be symmetric"),
    (_npy(np.diag([1.0, -0.5]), "--covariance"), "has an eigenvalue of -0.5 times its largest entry"),
    (_npy(np.diag([1.0, np.nan]), "--covariance"), "not finite"),
    (_bytes("x.npy", pickle.dumps({"a": 1})), "looks like a pickle, which is never loaded"),
    (_npy(np.array([[{}, 1], [2, 3]], dtype=object)), "holds Python objects (a pickle), which are never loaded"),
    (_truncated("x.npy"), "truncated or damaged"),
    (_truncated("x.npz"), "truncated or damaged"),
    (_bytes("x.txt", b"1 2"), "cannot read 'x.txt'"),
    (_npy(np.full((3, 2), 7.0)), "The target has no variance: every feature is constant"),
    (_npy(np.eye(4, 3) * 1e200), "beyond the range of float64: scale the data down."),
    (_npy(np.eye(3) * 1e308, "--covariance"), "beyond the range of float64: scale the data down."),
    (_npy(np.eye(4, 3) * 1e-200), "is below the range of float64, with standard deviations of at most"),
    (lambda _: ["missing.npy"], "there is no file or folder 'missing.npy'"),
    (lambda _: ["digits", "--covariance"], "holds samples and cannot be read as a covariance matrix"),
    (lambda _: ["gaussian:dim=x"], "option dim of 'gaussian' must be a whole number"),
]


@pytest.mark.parametrize("make, message", BAD_DATA, ids=[message for _, message in BAD_DATA])
def test_bad_data_are_refused_and_leave_no_trace(refused, tmp_path, make, message):
    data = make(tmp_path)
    before = names(tmp_path)
    assert message in refused("fit", *data, "--rank", 1, "--out", tmp_path / "new" / "run")
    assert names(tmp_path) == before


def test_an_unknown_name_lists_the_known_ones(refused):
    message = refused("fit", "digitz", "--rank", 2)
    assert all(name in message for name in known_datasets()) and "Did you mean 'digits'?" in message


def test_a_missing_library_names_the_extra_that_brings_it(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert 'pip install "deepbures[data]"' in refused("fit", "digits", "--rank", 2)


def test_what_only_the_data_can_refuse(refused, tmp_path):
    assert "rank must be at least 1 and at most 6 (the dimension of the data), but 7" in refused(
        "fit", SMALL, "--rank", 7
    )
    # No margin is known for a close start with k < n and smoothing: refused after the target is known.
    assert "margin" in refused("fit", SMALL, "--rank", 2, "--tau", 0.01, "--init", "close")
    assert names(tmp_path) <= {"runs"} and not any((tmp_path / "runs").glob("*"))


# ---------------------------------------------------------------------- fit


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


def test_same_seed_same_bits(call, tmp_path):
    options = ["--rank", 2, "--depth", 2, "--solver", "descent", "--init", "gaussian", "--json"]
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert call("fit", SMALL, *options, "--seed", seed, "--out", name).code == 0
    assert_same_bits(tmp_path / "a" / "model.npz", tmp_path / "b" / "model.npz")
    assert_same_bits(tmp_path / "a" / "trajectory.npz", tmp_path / "b" / "trajectory.npz")
    a, c = (arrays(tmp_path / name / "model.npz")["weight_1"] for name in "ac")
    assert not np.allclose(a, c)


@pytest.mark.parametrize("solver", ["closed-form", "descent"])
def test_smoothing_above_an_eigenvalue_warns_once(call, tmp_path, solver):
    np.save(tmp_path / "c.npy", np.diag([4.0, 2.0, 1.0]))
    done = call("fit", "c.npy", "--covariance", "--rank", 3, "--tau", 1.5, "--solver", solver, "--json")
    assert done.code == 0
    assert done.err.count("deepbures: warning: ") == done.err.count("\n") == 1
    assert "mode(s) 3 (λ_3 = 1) cannot be used" in done.err
    assert [f"deepbures: warning: {text}" for text in done.json["warnings"]] == done.err.splitlines()
    assert done.json["unusable_modes"] == [3] and done.json["relative_excess"] < 1e-6


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


# ---------------------------------------------------------------------- the folder


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


@pytest.mark.parametrize("lost", ["model.npz", "trajectory.npz", "report.html", "summary.json"])
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


# ---------------------------------------------------------------------- errors nobody foresaw


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


# ---------------------------------------------------------------------- interruption

LONG = [
    *(SMALL, "--rank", "2", "--depth", "2", "--solver", "descent"),
    *("--step-size", "1e-8", "--num-steps", "600000", "--tolerance", "0", "--seed", "5"),
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
    assert summary["status"] == "interrupted" and 0 < summary["steps"] < 600_000
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


def test_progress_is_shown_on_a_terminal_only(call, capsys, monkeypatch):
    arguments = ["fit", *LONG, "--out", "run", "--overwrite"]
    arguments[arguments.index("600000")] = "300000"  # about a second
    assert "\x1b" not in call(*arguments).err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    shown = Done(main([*arguments, "--json"]), *capsys.readouterr())
    assert shown.json["status"] == "finished"
    assert "relative excess" in shown.err and "writing" in shown.err


# ---------------------------------------------------------------------- sample


@pytest.fixture
def model(tmp_path: Path) -> Path:
    rng = np.random.default_rng(7)
    network = db.DeepLinearNetwork([rng.standard_normal((2, 2)), rng.standard_normal((4, 2))], mean=np.arange(4.0))
    network.save(tmp_path / "model.npz")
    return tmp_path / "model.npz"


def read(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    samples = load_dataset(path).samples
    assert samples is not None
    return samples


def test_samples_are_those_of_the_network_in_every_format(call, model, tmp_path):
    expected = load_model(model).sample(3, 50)
    for suffix in ("npy", "npz", "csv", "parquet", "NPY"):
        out = tmp_path / f"x.{suffix}"
        done = call("sample", model, "--num", 50, "--out", out, "--seed", 3, "--json")
        assert done.code == 0 and done.err == ""
        expected_words = {"model": str(model), "out": str(out), "num": 50, "dim": 4, "seed": 3, "noise_variance": 0.0}
        assert expected_words.items() <= done.json.items()
        np.testing.assert_array_equal(read(out) if suffix != "NPY" else np.load(out), expected)
    shown = call("sample", tmp_path, "--num", 2, "--out", "y.npy").out
    assert shown.startswith("2 samples of 4 features, without noise")


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
def test_blocks_are_independent_and_the_same_every_time(call, model, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("deepbures.cli._sample._VALUES_PER_BLOCK", 40)  # ten rows
    paths = [tmp_path / f"{name}.{suffix}" for name in "abc"]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        assert call("sample", model, "--num", 95, "--out", path, "--seed", seed).code == 0
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    x, y = read(paths[0]), read(paths[2])
    assert x.shape == (95, 4)
    rows = np.concatenate([x, y])
    assert np.unique(rows.round(12), axis=0).shape == rows.shape


def test_covariance_of_the_samples_is_that_of_the_model(call, model, tmp_path):
    """With x = W z + μ, z = W⁺(x − μ) is standard normal; for a unit vector v, N vᵀ(ZᵀZ/N)v ~ χ²_N.

    Laurent and Massart (2000): P(|χ²_N/N − 1| > 2 √(t/N) + 2 t/N) ≤ 2 exp(−t). Over v = e_i and (e_i ± e_j)/√2, less
    than 2 k² directions, a failure has probability below 1e-9 for t = log(4 k² 1e9); off-diagonal entries are half the
    difference of two of these forms. The mean of each z_i is N(0, 1/N): P(|z̄_i| > √(2 t/N)) ≤ 2 exp(−t).
    """
    num, k = 100_000, 2
    assert call("sample", model, "--num", num, "--out", "x.npy").code == 0
    network = load_model(model)
    w = network.end_to_end
    x = np.load("x.npy") - network.mean
    z = x @ np.linalg.pinv(w).T
    np.testing.assert_allclose(z @ w.T, x, atol=1e-12)
    t = math.log(4 * k**2 * 1e9)
    bound = 2 * math.sqrt(t / num) + 2 * t / num
    assert bound < 0.04
    assert np.abs(z.T @ z / num - np.eye(k)).max() <= bound
    assert np.abs(z.mean(0)).max() <= math.sqrt(2 * t / num)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--num", 0, "--out", "x.npy"], "--num must be at least 1 and below 2⁶³, but 0 was given."),
        (["--num", 2**63, "--out", "x.npy"], "below 2⁶³, but 9223372036854775808 was given."),
        (["--num", 5, "--out", "x.npy", "--seed", -1], "--seed must be at least 0"),
        (["--num", 5, "--out", "x.txt"], "or be a folder with --images, but x.txt was given."),
        (["--num", 5, "--out", "x"], "--out must end in .npy"),
        (["--num", 5, "--out", "model.npz"], "model.npz exists: choose another --out, or pass --overwrite"),
        (["--num", 5, "--out", "folder.npy"], "--out must be a file, but folder.npy is a folder."),
        (["--num", 5, "--out", "nowhere/x.npy"], "There is no folder nowhere: make it, or choose another --out."),
        (["--out", "x.npy"], "Missing option '--num'."),
    ],
)
def test_bad_options_of_sample(refused, model, tmp_path, options, message):
    (tmp_path / "folder.npy").mkdir()
    before = model.read_bytes()
    assert message in refused("sample", model, *options)
    assert model.read_bytes() == before and names(tmp_path) == {"model.npz", "folder.npy"}


def test_models_that_are_none(refused, tmp_path):
    assert "nowhere does not exist" in refused("sample", "nowhere", "--num", 1, "--out", "x.npy")
    assert "has no model.npz" in refused("sample", tmp_path, "--num", 1, "--out", "x.npy")
    (tmp_path / "model.npz").write_bytes(pickle.dumps([1]))
    assert "cannot be read as a model" in refused("sample", tmp_path, "--num", 1, "--out", "x.npy")
    np.savez(tmp_path / "model.npz", weight_1=np.array([[np.nan]]))
    assert "not finite" in refused("sample", tmp_path, "--num", 1, "--out", "x.npy")


def test_parquet_without_pyarrow(refused, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert 'pip install "deepbures[data]"' in refused("sample", model, "--num", 1, "--out", "x.parquet")


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
def test_samples_that_do_not_fit_on_the_disk(refused, model, tmp_path, suffix):
    out = tmp_path / f"x.{suffix}"
    out.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a write beyond it fails as on a full disk
    try:
        message = refused("sample", model, "--num", 20_000, "--out", out, "--overwrite", code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith(f"{out}: ") and "File too large" in message
    assert out.read_text() == "old" and names(tmp_path) == {"model.npz", out.name}


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_more_samples_than_the_disk_holds_are_refused_before_they_are_drawn(refused, model, tmp_path, suffix):
    message = refused("sample", model, "--num", 2**61, "--out", f"x.{suffix}", code=1)
    assert message.startswith(f"x.{suffix} would take ") and "GiB are free there: lower --num" in message
    assert names(tmp_path) == {"model.npz"}


# ---------------------------------------------------------------------- distance


def test_distances_are_those_of_the_functions(call, tmp_path, rng):
    x, y = rng.standard_normal((50, 3)), rng.standard_normal((70, 3)) * [1, 2, 0] + 1
    f, g = rng.standard_normal((3, 1)), rng.standard_normal((3, 2))
    np.save(tmp_path / "x.npy", x)
    np.savetxt(tmp_path / "y.csv", y, delimiter=",", fmt="%.17g")
    np.savez(tmp_path / "f.npz", f=f)
    np.save(tmp_path / "g.npy", g)
    np.save(tmp_path / "a.npy", f @ f.T)
    np.save(tmp_path / "b.npy", g @ g.T)
    cases = [
        (["x.npy", "y.csv"], "samples", db.squared_frechet_distance(x, y)),
        (["x.npy", "y.csv", "--samples"], "samples", db.squared_frechet_distance(x, y)),
        (["x.npy", "y.csv", "--unbiased"], "samples", db.squared_frechet_distance(x, y, unbiased=True)),
        (["a.npy", "b.npy", "--covariances"], "covariances", db.squared_bures_wasserstein(f @ f.T, g @ g.T)),
        (["f.npz", "g.npy", "--factors"], "factors", db.squared_bures_wasserstein_factors(f, g)),
    ]
    for arguments, kind, squared in cases:
        result = call("distance", *arguments, "--json").json
        assert result["kind"] == kind and result["dim"] == 3
        assert result["squared_distance"] == float(squared)
        assert result["distance"] == math.sqrt(float(squared))
    assert cases[-2][2] == pytest.approx(cases[-1][2])
    printed = call("distance", "f.npz", "g.npy", "--factors")
    assert printed.code == 0
    assert printed.out == f"distance          {math.sqrt(squared)}\nsquared distance  {float(squared)}\n"


def test_distances_of_built_in_data(call):
    assert call("distance", SMALL, SMALL, "--covariances", "--json").json["distance"] == 0.0
    other = call("distance", SMALL, "gaussian:dim=6,seed=1", "--covariances", "--json").json
    a, b = (load_dataset(name).covariance for name in (SMALL, "gaussian:dim=6,seed=1"))
    assert other["distance"] == pytest.approx(float(db.bures_wasserstein_distance(a, b)), rel=1e-14)


def test_rounding_of_a_covariance_is_taken_away_on_request(call, refused, tmp_path):
    a = np.diag([4.0, 1.0, -1e-5])
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "eye.npy", np.eye(3))
    clipped = np.diag([4.0, 1.0, 0.0])
    message = (
        "an eigenvalue of -2.5e-06 times its largest entry (allowed: -6.7e-14). If that is rounding, pass --rtol 3e-06,"
    )
    assert message in refused("distance", "a.npy", "eye.npy", "--covariances")
    found = call("distance", "a.npy", "eye.npy", "--covariances", "--rtol", "1e-5", "--json").json
    assert found["squared_distance"] == pytest.approx(2.0, rel=1e-12) and found["rtol"] == 1e-5  # 1 + 0 + 1
    minimum = float(db.minimal_loss(db.Target.from_covariance(clipped), 1, db.BuresWasserstein()))
    for command in ("fit", "landscape", "certify"):
        arguments = [command, "a.npy", "--covariance", "--rank", "1"]
        assert message in refused(*arguments)
        assert "rtol must be finite and not negative" in refused(*arguments, "--rtol", "-1")
        result = call(*arguments, "--rtol", "1e-5", "--json").json
        assert result["minimal_loss"] == pytest.approx(minimum, rel=1e-12)
        assert "--rtol is about covariances, but" in refused(command, "digits", "--rank", "1", "--rtol", "1e-5")
    assert "--rtol is about covariances" in refused("distance", "a.npy", "eye.npy", "--rtol", "1e-5")


def test_bad_input_of_distance(refused, tmp_path):
    np.save(tmp_path / "x.npy", np.triu(np.ones((3, 3))))
    np.save(tmp_path / "y.npy", np.triu(np.ones((4, 4))))
    np.save(tmp_path / "row.npy", np.ones(3))
    np.save(tmp_path / "skew.npy", np.array([[1.0, 1.0], [0.0, 1.0]]))
    for arguments, message in [
        (["x.npy", "y.npy"], "x.npy and y.npy must have equally many columns, but have 3 and 4."),
        (["x.npy", "y.npy", "--covariances"], "equally many columns"),
        (["x.npy", "y.npy", "--factors"], "equally many rows (a factor F stands for F Fᵀ), but have 3 and 4."),
        (["x.npy", "x.npy", "--factors", "--samples"], "Choose one of --samples, --factors: all of them were given."),
        (["x.npy", "x.npy", "--factors", "--unbiased"], "--unbiased is about samples, but --factors was given."),
        (["row.npy", "x.npy", "--factors"], "'row.npy' must hold a non-empty matrix, but has shape (3,)."),
        ([SMALL, SMALL], "is a covariance matrix, not samples: pass --covariances"),
        ([SMALL, SMALL, "--factors"], "unknown data"),
        (["digits", "digits", "--covariances"], "(on the command line: --covariance; of distance, --covariances) out."),
        (["skew.npy", "skew.npy", "--covariances"], "symmetric"),
        (["x.npy", "z.npy"], "there is no file or folder 'z.npy'"),
        (["x.npy"], "Missing argument 'B'."),
    ]:
        assert message in refused("distance", *arguments), arguments


@pytest.mark.filterwarnings("default:overflow:RuntimeWarning")
def test_distances_beyond_the_range_of_numbers_are_null_in_json(call, tmp_path):
    np.save(tmp_path / "f.npy", np.array([[1e300]]))
    np.save(tmp_path / "g.npy", np.array([[1.0]]))
    done = call("distance", "f.npy", "g.npy", "--factors", "--json")
    assert done.code == 0 and done.json["squared_distance"] is None
    assert done.err.startswith("deepbures: warning: overflow") and done.err.count("\n") == 1


def test_landscape_is_that_of_the_functions(call, tmp_path):
    done = call("landscape", SMALL, "--rank", "2", "--depth", "2", "--covariance", "--json")
    target = db.Target.from_covariance(load_dataset(SMALL).covariance)
    points = db.critical_points(target, 2, db.BuresWasserstein(), depth=2, num=100)
    assert done.code == 0
    assert [row["eigen_indices"] for row in done.json["points"]] == [list(p.eigen_indices) for p in points]
    assert [row["value"] for row in done.json["points"]] == pytest.approx(points.value.tolist(), rel=1e-12)
    assert [row["lambda_max"] for row in done.json["points"]] == pytest.approx(
        [p.spectrum().largest for p in points], rel=1e-12
    )
    assert done.json["points"][0]["relative_condition"] is None  # infinite: there are flat directions
    assert done.json["total"] == points.total and done.json["minimal_loss"] == pytest.approx(points.value[0])
    shown = call("landscape", SMALL, "--rank", "2", "--tau", "0.01", "--covariance", "--num", "3")
    assert shown.code == 0 and "minimizer" in shown.out and "3 of " in shown.out


def test_landscape_writes_table_and_figures(call, tmp_path):
    done = call("landscape", SMALL, "--rank", "2", "--covariance", "--num", "5", "--out", "folder")
    assert done.code == 0
    names = ["critical_points.svg", "landscape.csv", "landscape.json", "paths.svg", "spectra.svg"]
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == names
    lines = (tmp_path / "folder" / "landscape.csv").read_text().splitlines()
    assert len(lines) == 6 and lines[0].startswith("eigen_indices,value,rank,morse_index")
    again = call("landscape", SMALL, "--rank", "2", "--covariance", "--out", "folder")
    assert again.code == 2 and "not empty" in again.err
    # One point has no path to another: nothing is left of the old one.
    assert call("landscape", SMALL, "--rank", "6", "--covariance", "--out", "folder", "--overwrite").code == 0
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [*names[:3], names[4]]


def test_a_large_covariance_is_decomposed_for_its_landscape(call, tmp_path, monkeypatch):
    monkeypatch.setattr("deepbures.model._target.LARGEST_DECOMPOSED", 5)
    done = call("landscape", SMALL, "--rank", "2", "--tau", "0.01", "--covariance", "--json")
    monkeypatch.undo()
    assert done.code == 0
    minimum = db.minimal_loss(db.Target.from_covariance(load_dataset(SMALL).covariance), 2, db.BuresWasserstein(0.01))
    assert done.json["minimal_loss"] == done.json["points"][0]["value"] == pytest.approx(float(minimum), rel=1e-12)


@pytest.mark.filterwarnings("default:overflow:RuntimeWarning")
def test_landscapes_without_curvature_families_and_points(call, tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros((3, 3)))
    np.save(tmp_path / "eye.npy", np.eye(30))
    for options in (["zero.npy", "--loss", "frobenius"], ["zero.npy", "--tau", 9, "--depth", 2]):
        done = call("landscape", *options, "--rank", 2, "--covariance")
        assert done.code == 0 and "sharpness 0, stability limit none" in done.out and "minimizer" in done.out
    huge = call("landscape", "zero.npy", "--tau", 1e308, "--rank", 1, "--covariance")
    assert huge.code == 0 and "minimal loss none" in huge.out
    family = call("landscape", "eye.npy", "--rank", 20, "--covariance").out
    assert "{1-20}" in family and "family" in family and " 200\n" in family
    none = call("landscape", SMALL, "--rank", 2, "--covariance", "--morse-index", 99)
    assert none.code == 0 and "0 of 15 critical points" in none.out


def test_bad_input_of_landscape(refused, tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros((3, 3)))
    assert "the target has 0 positive eigenvalues" in refused("landscape", "zero.npy", "--covariance", "--rank", 1)
    for arguments, message in [
        (["--rank", "2", "--depth", 10**30], "depth must be at least 1 and at most"),
        (["--rank", "0"], "--rank must be at least 1"),
        (["--rank", "2", "--loss", "frobenius", "--tau", "1"], "--loss frobenius does not take it"),
        (["--rank", "2", "--num", "0"], "--num must be between 1 and 1000000"),
        (["--rank", "2", "--morse-index", "-1"], "--morse-index must be at least 0"),
        (["--rank", "99"], "rank must be at least 1 and at most"),
    ]:
        assert message in refused("landscape", SMALL, "--covariance", *arguments)
