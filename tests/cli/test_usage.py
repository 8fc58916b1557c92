"""Help, exit codes, and one line for every bad argument, before anything heavy is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

import deepbures as db
from deepbures.training import SOLVERS, owners_of

from .commands import SMALL, names

HEAVY = {"jax", "numpy", "scipy", "equinox", "diffrax", "optax", "matplotlib", "sklearn", "pyarrow"}


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


def test_which_options_belong_to_which_solver_is_read_off_the_solvers(refused, monkeypatch):
    class Timed(SOLVERS["closed-form"]):
        horizon: float | None = None

    monkeypatch.setitem(SOLVERS, "closed-form", Timed)
    said = refused("fit", SMALL, "--rank", 2, "--horizon", 1, "--solver", "descent")
    assert "--horizon belongs to --solver closed-form and flow, but --solver descent was given: leave it out." in said
    assert owners_of("horizon") == ("closed-form", "flow") and owners_of("resume") == ("flow", "descent")
