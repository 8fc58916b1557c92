"""What is refused before any work, and what is not loaded for it."""

import re
import subprocess
import sys

import numpy as np
import pytest

from .fakes import read_page


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
