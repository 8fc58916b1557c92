"""The PyTorch loss: against the distance of moments, exact derivatives, what it remembers, what it refuses."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import deepbures as db
from deepbures.torch import BuresWassersteinLoss

DIM = 6


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape), dtype=dtype)


def data(rank=4, num=50):
    """Samples whose covariance has this rank, with a mean."""
    return draw(num, rank) @ draw(rank, DIM, seed=1) + draw(DIM, seed=2)


def moments(x, ddof=0):
    x = np.asarray(x)
    return x.mean(0), np.cov(x.T, ddof=ddof) if len(x) > 1 else np.zeros((x.shape[1],) * 2)


def reference(x, samples, tau=0.0, ddof=0, include_mean=True):
    (m, c), (mu, s) = moments(x, ddof), moments(samples, ddof)
    value = db.squared_bures_wasserstein(c + tau * np.eye(len(m)), s)
    return float(value + include_mean * np.sum((m - mu) ** 2))


@pytest.mark.parametrize("num", [1, 3, 6, 40])
@pytest.mark.parametrize("rank", [1, 4, 6])
@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_value_is_that_of_the_moments(num, rank, tau):
    samples, x = data(rank), draw(num, DIM, seed=3)
    # The covariances of the reference are rounded: half the digits where they are singular.
    assert BuresWassersteinLoss(samples, tau=tau)(x).item() == pytest.approx(reference(x, samples, tau), rel=1e-12)


def test_options():
    samples, x = data(), draw(9, DIM, seed=3)
    assert BuresWassersteinLoss(samples, unbiased=True)(x).item() == pytest.approx(reference(x, samples, ddof=1))
    assert BuresWassersteinLoss(samples, include_mean=False)(x).item() == pytest.approx(
        reference(x, samples, include_mean=False)
    )


@pytest.mark.parametrize("tau", [0.0, 0.2])
def test_every_form_of_a_target(tau):
    x = draw(5, DIM, seed=3)
    rng = np.random.default_rng(4)
    factor, matrix = rng.normal(size=(DIM, 2)), rng.normal(size=(DIM, DIM))
    covariance = matrix @ matrix.T
    mean = rng.normal(size=DIM)
    forms = {
        "covariance": (db.Target.from_covariance(covariance, mean=mean), covariance),
        "factor": (db.Target.from_factor(factor, mean=mean), factor @ factor.T),
        "spiked": (db.Target.from_factor(factor, floor=0.5, mean=mean), factor @ factor.T + 0.5 * np.eye(DIM)),
        "operator": (
            db.Target.from_operator(lambda w: covariance @ w, DIM, np.trace(covariance), mean=mean),
            covariance,
        ),
    }
    m, c = moments(x)
    for name, (target, s) in forms.items():
        expected = np.sum((m - mean) ** 2) + db.squared_bures_wasserstein(c + tau * np.eye(DIM), s)
        assert BuresWassersteinLoss(target, tau=tau)(x).item() == pytest.approx(float(expected), rel=1e-11), name


@pytest.mark.parametrize("options", [{}, {"tau": 0.3}, {"unbiased": True}, {"include_mean": False}], ids=str)
@pytest.mark.parametrize("num", [3, 9])
def test_derivatives(options, num):
    loss = BuresWassersteinLoss(data(), **options)
    x = draw(num, DIM, seed=3).requires_grad_()
    assert gradcheck(loss, (x,))
    assert gradgradcheck(loss, (x,))


@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_zero_at_the_target_and_finite_derivatives_there(tau):
    samples = data()
    x = samples.clone().requires_grad_()
    value = BuresWassersteinLoss(samples, tau=tau)(x)
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    assert gradient.isfinite().all() and second.isfinite().all()
    if tau == 0:
        assert 0 <= value < 1e-26
        assert gradient.abs().max() < 1e-14


def test_collapsed_generator_has_finite_gradients():
    x = torch.ones(8, DIM, dtype=torch.float64, requires_grad=True)
    BuresWassersteinLoss(data())(x).backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_memory_is_the_weighted_mixture_of_all_batches(tau):
    decay, batches = 0.7, [draw(3, DIM, seed=seed) for seed in range(9)]
    loss = BuresWassersteinLoss(data(), decay=decay, tau=tau)
    values = [loss(batch).item() for batch in batches]
    for count in (1, 2, 9):
        weights = decay ** np.arange(count)[::-1]
        weights = np.repeat(weights / weights.sum() / 3, 3)
        x = torch.cat(batches[:count]).numpy()
        m = weights @ x
        c = (x - m).T @ ((x - m) * weights[:, None])
        mu, s = moments(data())
        expected = np.sum((m - mu) ** 2) + db.squared_bures_wasserstein(c + tau * np.eye(DIM), s)
        assert values[count - 1] == pytest.approx(float(expected), rel=1e-11)


def test_memory_is_kept_in_the_state_and_can_be_reset():
    loss, other = (BuresWassersteinLoss(data(), decay=0.9) for _ in range(2))
    x = draw(4, DIM, seed=5)
    loss(draw(4, DIM, seed=3))
    other.load_state_dict(loss.state_dict())
    assert loss(x).item() == other(x).item() != BuresWassersteinLoss(data())(x).item()
    loss.reset()
    assert loss(x).item() == pytest.approx(BuresWassersteinLoss(data())(x).item(), rel=1e-13)


def test_evaluation_mode_neither_uses_nor_changes_the_memory():
    loss, x = BuresWassersteinLoss(data(), decay=0.9), draw(4, DIM, seed=5)
    loss(draw(4, DIM, seed=3))
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    assert loss.eval()(x).item() == BuresWassersteinLoss(data())(x).item()
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())


def test_precision_is_that_of_the_target():
    x = draw(4, DIM, seed=5, dtype=torch.float32).requires_grad_()
    value = BuresWassersteinLoss(data())(x)
    value.backward()
    assert value.dtype == torch.float64 and x.grad.dtype == torch.float32
    single = BuresWassersteinLoss(data().float())
    assert single(x).dtype == torch.float32
    assert single(x).item() == pytest.approx(value.item(), rel=1e-5)
    assert BuresWassersteinLoss(data()).float()(x).dtype == torch.float32


def test_images_are_flattened():
    x = draw(4, 2, 3, seed=5)
    assert BuresWassersteinLoss(data())(x).item() == BuresWassersteinLoss(data())(x.flatten(1)).item()


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: BuresWassersteinLoss(None),
            TypeError,
            "must be a Target, or an array or frame of samples in rows, but a None",
        ),
        (lambda: BuresWassersteinLoss(data(), tau=-1.0), ValueError, "tau must be at least 0, but is -1.0"),
        (lambda: BuresWassersteinLoss(data(), tau=float("nan")), ValueError, "tau must be finite"),
        (lambda: BuresWassersteinLoss(data(), tau="0"), TypeError, "tau must be a number, but str"),
        (lambda: BuresWassersteinLoss(data(), decay=1.0), ValueError, "strictly between 0 and 1, but is 1.0"),
        (lambda: BuresWassersteinLoss(data()[:1], unbiased=True), ValueError, "one sample"),
        (lambda: BuresWassersteinLoss(data().to(torch.complex128)), TypeError, "real numbers, not complex"),
        (lambda: BuresWassersteinLoss(data() / 0), ValueError, "not finite"),
        (lambda: BuresWassersteinLoss(db.Target.from_covariance(np.stack([np.eye(2)] * 2))), ValueError, "batch"),
        (lambda: BuresWassersteinLoss(data())(np.ones((2, DIM))), TypeError, "torch.Tensor, but ndarray"),
        (lambda: BuresWassersteinLoss(data())(torch.ones((2, DIM), dtype=torch.int64)), TypeError, "dtype torch.int64"),
        (lambda: BuresWassersteinLoss(data())(torch.ones(2, 5)), ValueError, r"\(N, 6\).*shape \(2, 5\)"),
        (lambda: BuresWassersteinLoss(data())(torch.ones(DIM)), ValueError, r"shape \(6,\)"),
        (lambda: BuresWassersteinLoss(data())(torch.ones(0, DIM)), ValueError, "at least 1 sample"),
        (lambda: BuresWassersteinLoss(data(), unbiased=True)(torch.ones(1, DIM)), ValueError, "at least 2 samples"),
        (lambda: BuresWassersteinLoss(data())(torch.full((2, DIM), torch.nan)), ValueError, "12 values .* diverged"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_example_trains(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "examples"))
    import torch_generator

    generator, losses = torch_generator.train(num_steps=300)
    distances = torch_generator.evaluate(generator)
    assert losses[-1] < 0.1 * losses[0]
    assert distances["generator"] < 0.3 * distances["mean image alone"]
    (_, first), (_, second) = (torch_generator.train(num_steps=20) for _ in range(2))
    assert first == second


def test_package_loads_without_torch():
    code = "import sys, deepbures as db; db.squared_bures_wasserstein, db.fit; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
