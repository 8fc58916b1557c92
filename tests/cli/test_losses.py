"""The five losses on the command line: by name, with their parameter, in every file, and the law of the model."""

import json
from pathlib import Path

import numpy as np
import pytest

import deepbures as db
from deepbures.datasets import load_dataset
from deepbures.runs import RunFolder, read_model

SMALL = "gaussian:dim=4,seed=0"
# Options; what the modes of the model are made of (λ less this), the noise of its law, and what the report says.
LOSSES = {
    "bw": (["--tau", 0.1], 0.1, 0.1, "smoothed squared Bures-Wasserstein loss with τ = 0.1"),
    "frobenius": ([], 0.0, 0.0, "squared Frobenius loss."),
    "likelihood": (["--tau", 0.1], 0.1, 0.1, "Gaussian likelihood loss with τ = 0.1"),
    "entropic": (["--epsilon", 0.2], 0.1, 0.0, "entropic squared Wasserstein loss with ε = 0.2"),
    "sinkhorn": (["--epsilon", 0.2], 0.0, 0.0, "Sinkhorn divergence loss with ε = 0.2"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_fit_of_every_loss_and_its_law(call, name):
    options, shift, noise, words = LOSSES[name]
    code, out, err = call(
        "fit", SMALL, "--rank", 2, "--loss", name, *options, "--solver", "closed-form", "--out", "run", "--json"
    )
    summary = json.loads(out)
    assert (code, err) == (0, "") and summary["warnings"] == []
    stored = read_model(Path("run"))
    assert stored.loss == db.loss_named(name, **summary["loss"]["parameters"]) and summary["loss"]["name"] == name
    assert stored.noise_variance == summary["noise_variance"] == noise
    leading = np.linalg.eigvalsh(load_dataset(SMALL).covariance)[::-1][:2]
    singular = np.linalg.svd(stored.network.end_to_end, compute_uv=False)
    np.testing.assert_allclose(singular**2, leading - shift, rtol=1e-12)
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert words in page and ("λⱼ − " in page) == (shift > 0)
    shown = call("sample", "run", "--num", 3, "--out", "x.npy")[1]
    assert ("with noise of variance 0.1" in shown) == (noise > 0)
    np.testing.assert_array_equal(np.load("x.npy"), stored.network.sample(0, 3, noise_variance=noise))


def test_landscape_and_certificates_take_them_too(call):
    target = db.Target.from_covariance(load_dataset(SMALL).covariance)
    options = ("--rank", 2, "--loss", "sinkhorn", "--epsilon", 0.5)
    code, out, _ = call("landscape", SMALL, *options, "--json")
    told = json.loads(out)
    least = float(db.minimal_loss(target, 2, db.SinkhornDivergence(0.5)))
    assert code == 0 and told["minimal_loss"] == least == told["points"][0]["value"]
    assert told["loss"]["words"] == "Sinkhorn divergence" and told["request"]["epsilon"] == 0.5
    assert "4 features; Sinkhorn divergence, epsilon 0.5; rank 2" in call("landscape", SMALL, *options)[1]
    code, out, _ = call("certify", SMALL, *options, "--json")
    told = json.loads(out)
    assert code == 0 and told["minimal_loss"] == least and told["certificates"]


def test_training_on_under_another_loss_is_a_warning(call, tmp_path):
    network = db.DeepLinearNetwork([np.eye(4)[:, :2]])
    with RunFolder(tmp_path / "run") as folder:
        folder.write_model(network, loss=db.GaussianLikelihood(0.25))
    command = ("certify", SMALL, "--model", "run", "--loss", "likelihood", "--tau")
    assert call(*command, 0.25)[2] == ""
    assert (
        "run was fitted with loss likelihood tau 0.25, but these certificates are of training it on with loss "
        "likelihood tau 0.5: pass --loss likelihood --tau 0.25 for the loss it was fitted to."
    ) in call(*command, 0.5)[2]


def test_a_loss_that_files_do_not_know(tmp_path):
    network = db.DeepLinearNetwork([np.eye(4)[:, :2]])
    folder = RunFolder(tmp_path)
    folder.write_model(network, loss=db.EntropicWasserstein(0.5))
    assert read_model(tmp_path).loss == db.EntropicWasserstein(0.5)
    network.save(tmp_path / "model.npz", beside={"loss": np.array("Own"), "loss_weight": np.float64(2.0)})
    assert read_model(tmp_path).loss is None
    network.save(tmp_path / "model.npz", beside={"loss": np.array("sinkhorn")})
    assert read_model(tmp_path).loss is None
    network.save(tmp_path / "model.npz")
    request = {"loss": "bw", "tau": 0.1}  # a folder of before the model knew its loss
    folder.write_json("summary.json", {"widths": list(network.widths), "request": request})
    assert read_model(tmp_path).loss == db.BuresWasserstein(0.1)
