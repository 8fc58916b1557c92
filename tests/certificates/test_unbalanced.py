"""Layers that are not balanced: what it costs is charged, and less than what runs lose."""

import math

import numpy as np
import pytest
from scipy.linalg import expm

import deepbures as db
from deepbures.certificates import Certificate

from .layers import balanced_layers, bures_wasserstein, losses_along_the_flow, product, smoothed_minimum

LOSSES = {tau: db.BuresWasserstein(tau) for tau in (0.0, 0.1)}


def unbalanced(layers, amount, rng):
    """The same product of layers turned and stretched by about that share."""
    layers = list(layers)
    for at in range(len(layers) - 1):
        gauge = expm(amount * rng.standard_normal((layers[at].shape[0],) * 2))
        layers[at], layers[at + 1] = gauge @ layers[at], layers[at + 1] @ np.linalg.inv(gauge)
    return layers


def certified(layers, values, loss):
    net, target = db.DeepLinearNetwork(layers), db.Target.from_spectrum(values, basis=np.eye(len(values)))
    return {certificate.name: certificate for certificate in db.certify(net, target, loss)}


@pytest.mark.parametrize(
    ("name", "values", "bottleneck", "tau", "depth"),
    [
        ("flow-global", [9.0, 1.0, 0.5], 3, 0.1, 2),
        ("flow-below-saddle", [9.0, 2.0, 0.5], 2, 0.0, 3),
        ("flow-bottleneck", [9.0, 2.0, 0.5], 2, 0.0, 2),
        ("flow-smoothed-bottleneck", [9.0, 2.0, 0.5], 2, 0.1, 2),
    ],
)
def test_runs_from_unbalanced_layers_stay_below(name, values, bottleneck, tau, depth):
    rng, values = np.random.default_rng(depth), np.array(values)
    w = np.zeros((3, 3))
    w[range(bottleneck), range(bottleneck)] = np.sqrt(values[:bottleneck] - tau)
    w = w + 0.1 * rng.standard_normal((3, 3))
    layers = balanced_layers(w, bottleneck, depth)
    layers = unbalanced([layers[0] @ np.linalg.svd(layers[0])[2][:bottleneck].T, *layers[1:]], 0.002, rng)
    found = certified(layers, values, LOSSES[tau])[name]
    assert found.holds, found.missed
    assert 0.5 < found.constants["unbalancedness_factor"] < 0.999
    minimum = smoothed_minimum(values, bottleneck, tau) if bottleneck < 3 else 0.0

    def loss_of(w):
        if tau > 0:
            return bures_wasserstein(w, values, tau)
        gram, vectors = np.linalg.eigh(w.T @ (values[:, None] * w))
        roots = np.sqrt(gram)
        return np.sum(w * w) + values.sum() - 2 * roots.sum(), 2 * (
            w - values[:, None] * (w @ vectors / roots) @ vectors.T
        )

    times = np.linspace(0, found.time_to(1e-4 * found.excess), 8)
    check = found.check(times, losses_along_the_flow(layers, loss_of, times) - minimum)
    assert not check.violated and 1 <= check.tightness < 4


def test_a_gap_that_counts_as_balanced_is_charged():
    """λ = (10¹⁰, 1, ½), one layer off by 10⁻⁸ of its size: 0.1 % of the small mode, to which it comes down."""
    values, apart = np.array([1e10, 1.0, 0.5]), 1e-3
    small = math.sqrt(0.8)  # of the second mode, and all of the excess: (1 − √0.8)² + …, on the first nothing
    upper = math.sqrt(math.sqrt(small**2 + apart**2 / 4) + apart / 2)
    layers = [np.diag([1e10**0.25, small / upper]), np.vstack([np.diag([1e10**0.25, upper]), np.zeros(2)])]
    found = certified(layers, values, LOSSES[0.0])["flow-bottleneck"]
    gap = found.start.balancedness_gap
    assert gap < 1.1e-8 and found.holds
    factor = found.constants["unbalancedness_factor"]
    lost = (small / upper) ** 2 / small  # σ_2(W_1)² over σ_2(W), which balanced layers have in its place
    assert lost < 0.9995 and 0.995 < factor <= lost


@pytest.mark.parametrize(("depth", "wide"), [(2, False), (3, True), (6, False)])
def test_the_matrix_inequalities_of_the_charge(depth, wide):
    """(1) and (2) of `_unbalanced`, on layers of condition numbers up to 10⁴, against singular values by NumPy."""
    from deepbures.certificates._start import _of_layers
    from deepbures.certificates._unbalanced import Charge

    rng = np.random.default_rng(depth)
    for _ in range(40):
        w = np.linalg.qr(rng.standard_normal((3, 3)))[0][:, :2] * np.array([1e2, 10 ** rng.uniform(-2, 2)])
        lifted = balanced_layers(w @ np.linalg.qr(rng.standard_normal((2, 2)))[0], 2, depth)
        layers = unbalanced(lifted, 10 ** rng.uniform(-6, -2), rng)
        if wide:
            layers[0] = np.vstack([layers[0], 1e-3 * rng.standard_normal((1, 2))])
            layers[1] = np.hstack([layers[1], 1e-3 * rng.standard_normal((len(layers[1]), 1))])
        whole = np.linalg.svd(product(layers), compute_uv=False)[1]
        unbalancedness, smallest = _of_layers(layers, 2)
        charge = Charge(depth, unbalancedness, whole ** (2 / depth), smallest)
        if not all(need.holds for need in charge.assumptions):
            continue
        assert smallest >= unbalancedness / charge.eta * (1 - 1e-9)
        before = np.linalg.svd(product(layers[:-1]), compute_uv=False)[1]
        assert before**2 >= charge.factor * whole ** (2 * (depth - 1) / depth) * (1 - 1e-9)
        first = np.linalg.svd(layers[0], compute_uv=False)[1] ** 2
        assert first >= whole ** (2 / depth) * charge.lower * math.exp(-charge._log_spread) * (1 - 1e-9)


def test_at_full_rank_the_margin_is_enough():
    """No hypothesis on the layers for what the excess alone decides, however unbalanced they are."""
    rng, values = np.random.default_rng(0), np.array([4.0, 2.0, 1.0])
    layers = unbalanced(balanced_layers(np.diag(np.sqrt(values)) + 0.1, 3, 3), 0.5, rng)
    found = certified(layers, values, LOSSES[0.0])
    assert found["flow-exact"].holds and found["flow-derived"].holds and found["flow-any-layers"].holds
    assert not found["flow-global"].holds and not found["descent-paper"].holds
    exact = found["flow-exact"]
    times = np.linspace(0, exact.time_to(1e-4 * exact.excess), 6)
    run = losses_along_the_flow(layers, lambda w: bures_wasserstein(w, values), times)
    assert not Certificate(exact.theorem, exact.start).check(times, run).violated
