"""Moments remembered over batches: their gradients, and how much "auto" remembers."""

import numpy as np
import pytest
import torch

import deepbures as db
from deepbures.torch import BuresWassersteinLoss

DIM = 5


def draw(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


def gradient(loss, x):
    x = x.clone().requires_grad_()
    (result,) = torch.autograd.grad(loss(x), x)
    return result


def moments(x):
    centered = x - x.mean(0)
    return x.mean(0), centered.mT @ centered / len(x)


@pytest.mark.parametrize("tau", [0.0, 0.2])
def test_gradient_moves_all_that_is_remembered_with_the_current_batch(tau):
    target, decay = draw(50, DIM, seed=9) * torch.arange(1.0, DIM + 1), 0.8
    # Means far apart: the spread between batches is most of the variance of the memory, and must not be optimized.
    batches = [draw(8, DIM, seed=seed) + 3 * draw(DIM, seed=seed + 20) for seed in range(4)]
    loss = BuresWassersteinLoss(target, decay=decay, tau=tau)
    for batch in batches[:-1]:
        loss(batch)
    weights = torch.tensor(decay ** np.arange(4)[::-1].copy()).repeat_interleave(8)
    weights = weights / weights.sum()
    together = torch.cat(batches)
    mean = weights @ together
    covariance = ((together - mean) * weights[:, None]).mT @ (together - mean)
    goal_mean, goal = moments(target)
    before_mean, before = moments(batches[-1])

    def moved(x):
        m, c = moments(x)
        shifted = covariance + c - before + tau * torch.eye(DIM, dtype=x.dtype)
        away = mean + m - before_mean - goal_mean
        return (away**2).sum() + db.squared_bures_wasserstein(shifted, goal)

    expected = gradient(moved, batches[-1])
    np.testing.assert_allclose(gradient(loss, batches[-1]), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("decay", [0.5, 0.99, "auto"])
def test_gradient_has_the_size_it_has_without_memory(decay):
    target, x = draw(50, DIM, seed=9), 2 * draw(7, DIM, seed=1) + 1
    loss = BuresWassersteinLoss(target, decay=decay)
    for _ in range(6):  # what is remembered are the very moments of the batch
        result = gradient(loss, x)
    np.testing.assert_allclose(result, gradient(BuresWassersteinLoss(target), x), rtol=1e-11, atol=1e-13)


def test_second_derivatives_scale_likewise():
    target, x = draw(50, DIM, seed=9), (2 * draw(7, DIM, seed=1) + 1).requires_grad_()
    loss = BuresWassersteinLoss(target, decay=0.9)
    (first,) = torch.autograd.grad(loss(x), x, create_graph=True)
    assert torch.autograd.grad(first.sum(), x)[0].isfinite().all()


def shares(loss, sizes, dim):
    """The weights that the memory gives to batches of these sizes: batch s is the unit vector e_s, many times."""
    for index, size in enumerate(sizes):
        loss(torch.eye(dim, dtype=torch.float64)[index].repeat(size, 1))
    return loss.running_mean.numpy()[: len(sizes)]


@pytest.mark.parametrize("num, rank", [(2, 3), (8, 2), (10, 3)])
def test_auto_remembers_six_samples_a_dimension(num, rank):
    dim = 45
    target = db.Target.from_factor(draw(dim, rank).numpy())
    weights = shares(BuresWassersteinLoss(target, decay="auto"), [num] * dim, dim)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    # Samples of equal weight of which a mean has the variance of this one.
    assert num / (weights**2).sum() == pytest.approx(6 * rank, rel=1e-3)
    assert weights[-2] / weights[-1] == pytest.approx((6 * rank - num) / (6 * rank + num), rel=1e-9)


def test_auto_leaves_large_batches_alone():
    dim = 4
    loss = BuresWassersteinLoss(db.Target.from_factor(draw(dim, 2).numpy()), decay="auto")
    assert shares(loss, [3, 12], dim).tolist() == [0, 1]
    x = draw(13, dim, seed=4)
    assert loss(x).item() == pytest.approx(loss.eval()(x).item(), rel=1e-12)


def test_auto_follows_the_size_of_the_batch():
    dim = 4
    loss = BuresWassersteinLoss(db.Target.from_factor(draw(dim, 2).numpy()), decay="auto")
    # r = 2: decays 10/14 for 2 samples, 8/16 for 4; the weight of the batches before is decayed once by each.
    expected = np.array([8 / 16 * 10 / 14, 10 / 14, 1])
    np.testing.assert_allclose(shares(loss, [2, 4, 2], dim)[:3], expected / expected.sum(), rtol=1e-12)


def test_expected_shrinkage_by_a_sample_of_that_size():
    # What the notes promise: the nuclear norm of M samples in r dimensions is about 1 - r/(8M) of the whole.
    r, count, rng = 40, 240, np.random.default_rng(0)
    norms = [np.linalg.norm(rng.normal(size=(r, count)), "nuc") / r / count**0.5 for _ in range(40)]
    assert 1 - np.mean(norms) == pytest.approx(r / (8 * count), rel=0.1)


def test_bad_input():
    samples = draw(9, DIM)
    with pytest.raises(ValueError, match="decay must be a number or \"auto\", but 'fast' was given"):
        BuresWassersteinLoss(samples, decay="fast")
    with pytest.raises(ValueError, match=r"at least 2 samples \(decay\), but have shape \(1, 5\)"):
        BuresWassersteinLoss(samples, decay=0.5)(samples[:1])
    assert BuresWassersteinLoss(samples, decay=0.5).eval()(samples[:1]).isfinite()
    assert "decay=auto" in repr(BuresWassersteinLoss(samples, decay="auto"))
