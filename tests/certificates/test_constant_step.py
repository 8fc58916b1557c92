"""The constant step of descent, against descents of layers in plain NumPy."""

import math

import numpy as np
import pytest

import deepbures as db

from .layers import balanced_layers, descend, exact_bures_wasserstein

CASES = [  # eigenvalues, bottleneck, depth, τ, share of noise in the layers, extra hidden width
    ((4.0, 2.0, 1.0), 3, 1, 0.0, 0.0, 0),
    ((4.0, 2.0, 1.0), 3, 3, 0.0, 0.3, 0),
    ((4.0, 2.0, 1.0), 3, 4, 0.3, 0.1, 0),
    ((4.0, 2.0, 0.5), 2, 30, 0.0, 0.0, 0),
    ((4.0, 2.0, 0.5), 2, 5, 0.2, 0.02, 0),
    ((4.0, 2.0, 0.5), 2, 3, 0.0, 0.05, 2),
    ((4.0, 2.0, 1.0), 3, 100, 0.2, 0.0, 0),
]


def start(eigenvalues, bottleneck, depth, tau, noise, wider):
    rng = np.random.default_rng(depth)
    w = np.eye(3, bottleneck) * np.sqrt(np.array(eigenvalues[:bottleneck]) - tau)
    w = (w + 0.08 * rng.standard_normal(w.shape)) @ np.linalg.qr(rng.standard_normal((bottleneck,) * 2))[0]
    layers = balanced_layers(w, bottleneck, depth)
    if wider:
        wide = np.linalg.qr(rng.standard_normal((bottleneck + wider,) * 2))[0][:, :bottleneck]
        layers = [wide @ layers[0], *(wide @ layer @ wide.T for layer in layers[1:-1]), layers[-1] @ wide.T]
    return [layer + noise * rng.standard_normal(layer.shape) / depth for layer in layers]


def certified(layers, eigenvalues, tau):
    net, target = db.DeepLinearNetwork(layers), db.Target.from_spectrum(np.array(eigenvalues))
    found = {c.name: c for c in db.certify(net, target, db.BuresWasserstein(tau))}
    return found["descent-constant"]


def excess_of(layers, eigenvalues, tau, step, num_steps):
    left_out = np.sqrt(eigenvalues[layers[0].shape[1] :])
    minimum = np.sum((left_out - math.sqrt(tau)) ** 2)
    losses, norms = descend(layers, lambda w: exact_bures_wasserstein(w, np.array(eigenvalues), tau), step, num_steps)
    return losses - minimum, norms


@pytest.mark.parametrize(("eigenvalues", "bottleneck", "depth", "tau", "noise", "wider"), CASES)
def test_descents_contract_as_promised(eigenvalues, bottleneck, depth, tau, noise, wider):
    layers = start(eigenvalues, bottleneck, depth, tau, noise, wider)
    certificate = certified(layers, eigenvalues, tau)
    assert certificate.holds
    for share in (1.0, 0.3):
        step = share * certificate.max_step_size
        excess, norms = excess_of(layers, eigenvalues, tau, step, 60)
        bound = certificate.bound(np.arange(61), step_size=step)
        assert (excess <= bound * (1 + 1e-9) + 1e-13).all()
        assert norms.max() <= math.exp(0.5 * certificate.constants["log_largest_squared_layer"]) * (1 + 1e-9)
        assert bound[60] < 0.9 * bound[0]
        if bound[60] > 0:
            needed = certificate.time_to(bound[60] * (1 + 1e-9), step_size=step)
            assert needed == pytest.approx(60, abs=1) and certificate.bound(needed, step_size=step) <= bound[59]


@pytest.mark.parametrize("case", [CASES[1], CASES[3]])
def test_a_step_a_thousand_times_larger_breaks_the_promise(case):
    layers = start(*case)
    certificate = certified(layers, case[0], case[3])
    excess, _ = excess_of(layers, case[0], case[3], 1000 * certificate.max_step_size, 1)
    assert excess[1] > excess[0]


@pytest.mark.parametrize(("depth", "least"), [(1, 1.0), (2, 0.7), (10, 0.6), (30, 0.5), (100, 0.5)])
def test_it_is_of_the_order_of_the_sharpness_step_at_every_depth(depth, least):
    """β = ½ is 1/λ_max at a target of equal eigenvalues, nearly met; drift and the distance cost the rest."""
    certificate = certified(start((4.0, 2.0, 1.0), 3, depth, 0.0, 0.0, 0), (4.0, 2.0, 1.0), 0.0)
    assert least <= certificate.max_step_size * certificate.start.sharpness * (1 + 1e-12) <= 1 + 1e-9
    near = certified(balanced_layers(np.eye(3) * (1 + 1e-9), 3, depth), (1.0, 1.0, 1.0), 0.0)
    assert near.max_step_size * near.start.sharpness == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-20, 1e-290])
def test_the_bound_of_tiny_steps_is_a_geometric_series(size):
    """The grid of decays is walked through however small a step is; few steps take their number times the rate."""
    certificate = certified(start(*CASES[2]), CASES[2][0], CASES[2][3])
    step = size * certificate.max_step_size
    bound = certificate.bound([0, 7], step_size=step) / certificate.excess
    rate = certificate.theorem.rate_of_step(certificate.start, step)
    assert bound[0] == pytest.approx(1.0, rel=1e-12) and bound[1] <= math.exp(-7 * rate) * (1 + 1e-12)
    if size < 1e-2:
        assert bound[1] == pytest.approx(1 - 7 * rate, rel=1e-3)
        needed = certificate.time_to(0.5 * certificate.excess, step_size=step)
        assert needed > 0.1 / rate


def test_nothing_is_promised_above_the_saddle():
    layers = [np.diag([1.0, 0.1]), np.eye(3, 2)]
    certificate = certified(layers, (4.0, 2.0, 0.5), 0.0)
    assert not certificate.holds and "excess e(0)" in str(certificate.missed[0])
    assert math.isnan(certificate.log_max_step_size) and np.isinf(certificate.bound([1])).all()
