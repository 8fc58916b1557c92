"""Bounds on the flow of the Frobenius loss: the solutions of their equations, and runs of layers."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import deepbures as db
from deepbures.certificates import Certificate

from .layers import balanced_layers, losses_along_the_flow, numbers, product

THEOREMS = {t.name: t for t in db.theorems_of(db.Frobenius()) if t.kind == "guarantee"}
GLOBAL, ANY_LAYERS, BELOW_SADDLE = (f"flow-frobenius-{name}" for name in ("global", "any-layers", "below-saddle"))
VALUES = np.array([3.0, 2.0, 0.5])


def equations(name, depth, e):
    """y'/y and s' of the statements, by y and s."""
    p = 2 * (depth - 1) / depth
    if name == GLOBAL:
        return lambda y, s: (-16 * depth * s ** (p + 2), 4 * depth * s ** (p + 1) * (0.5 - s**2))
    if name == ANY_LAYERS:
        return lambda y, s: (-16 * depth * (0.5 - math.sqrt(y)) ** (p / 2 + 1), 0.0)

    def below(y, s):
        f = 2 - math.sqrt(4 - y)
        return -16 * (2 - math.sqrt(y)) ** (p / 2 + 1) * (1.5 - f) / (4 - f), 0.0

    return below


@pytest.mark.parametrize(
    ("name", "depth", "e", "smallest"),
    [
        (GLOBAL, 1, 5.0, 0.02),
        (GLOBAL, 3, 5.0, 2.0),
        (GLOBAL, 30, 5.0, 0.3),
        (ANY_LAYERS, 1, 0.2, 1.0),
        (ANY_LAYERS, 4, 0.24, 1.0),
        (BELOW_SADDLE, 1, 3.7, 1.0),
        (BELOW_SADDLE, 5, 1.0, 1.0),
    ],
)
def test_the_bound_solves_its_equation(name, depth, e, smallest):
    k = 2 if name == BELOW_SADDLE else 3
    start = numbers(VALUES, bottleneck=k, depth=depth, loss=e, excess=e, smallest_singular_value=smallest)
    found = Certificate(THEOREMS[name], start)
    assert found.holds, found.missed
    slopes = equations(name, depth, e)
    assert found.rate == pytest.approx(-slopes(e, smallest)[0], rel=1e-12)
    assert found.asymptotic_rate == pytest.approx(-slopes(0.0, math.sqrt(0.5))[0], rel=1e-12)

    def slope(_, x):
        decay, growth = slopes(e * math.exp(-x[0]), math.exp(x[1]))
        return [-decay, growth * math.exp(-x[1])]

    times = np.linspace(0, found.time_to(1e-6 * e), 7)
    first = [0.0, math.log(smallest)]
    solved = solve_ivp(slope, (0, times[-1]), first, method="LSODA", rtol=1e-10, atol=1e-11, t_eval=times)
    np.testing.assert_allclose(np.log(e / found.bound(times)), solved.y[0], rtol=1e-7)
    for scale in (1e30, 1e-20):
        scaled = {"loss": scale**2 * e, "excess": scale**2 * e, "smallest_singular_value": scale**0.5 * smallest}
        scaled |= {"rounding": 1e-14 * scale**2}
        other = Certificate(THEOREMS[name], numbers(scale * VALUES, bottleneck=k, depth=depth, **scaled))
        unit = scale ** (2 - 1 / depth)  # of rates
        np.testing.assert_allclose(other.bound(times / unit) / scale**2, found.bound(times), rtol=1e-8)
        assert other.check(times / unit, other.bound(times / unit / 1.2)).violated


@pytest.mark.parametrize(
    ("name", "depth", "turn"),
    [(GLOBAL, 2, 0.0), (ANY_LAYERS, 3, 0.3), (BELOW_SADDLE, 3, 0.0)],
)
def test_layers_stay_below_and_near(name, depth, turn):
    rng, k = np.random.default_rng(1), 2 if name == BELOW_SADDLE else 3
    near, noise = (0.0, 1.0) if name == GLOBAL else (1.0, 0.05)
    w = near * np.diag(np.sqrt(np.where(np.arange(3) < k, VALUES, 0))) + noise * rng.standard_normal((3, 3))
    layers = balanced_layers(w, k, depth)
    if turn:
        other = np.eye(3) + turn * rng.standard_normal((3, 3))
        layers = [other @ layers[0], layers[1] @ np.linalg.inv(other), *layers[2:]]

    def loss_of(w):
        residual = w @ w.T - np.diag(VALUES)
        return np.sum(residual**2), 4 * residual @ w

    minimum = float(np.sum(VALUES[k:] ** 2))
    loss, singular = loss_of(product(layers))[0], np.linalg.svd(product(layers))[1]
    start = numbers(
        VALUES,
        bottleneck=k,
        depth=depth,
        loss=loss,
        excess=loss - minimum,
        smallest_singular_value=singular[k - 1],
        largest_singular_value=singular[0],
        balancedness_gap=turn,
    )
    found = Certificate(THEOREMS[name], start)
    assert found.holds, found.missed
    times = np.linspace(0, found.time_to(1e-6 * start.excess), 12)
    run = losses_along_the_flow(layers, loss_of, times) - minimum
    check = found.check(times, run)
    assert not check.violated and 1 - 1e-6 <= check.tightness < 4
    assert found.check(times, found.bound(times / 1.2)).violated


def test_what_they_need():
    def missed(name, **changes):
        start = numbers(VALUES, **({"depth": 2, "loss": 0.1, "excess": 0.1} | changes))
        assert all(math.isnan(Certificate(t, start).rate) or Certificate(t, start).rate > 0 for t in THEOREMS.values())
        return [assumption.statement for assumption in Certificate(THEOREMS[name], start).missed]

    assert missed(GLOBAL) == missed(ANY_LAYERS) == []
    assert missed(GLOBAL, unbalancedness=1e-8) == []
    assert missed(GLOBAL, unbalancedness=1.0)[0].startswith("unbalancedness of the layers")
    assert missed(ANY_LAYERS, unbalancedness=1.0) == []
    assert missed(ANY_LAYERS, loss=0.3) == ["squared margin c² = λ_n − √L(0)"]
    assert missed(GLOBAL, smallest_singular_value=0.0)[0].startswith("smallest singular value")
    assert missed(BELOW_SADDLE, bottleneck=2, excess=3.8) == ["excess e(0), which must lie below that height"]
    of_ranks = [missed(BELOW_SADDLE), missed(GLOBAL, bottleneck=2), missed(ANY_LAYERS, bottleneck=2)]
    assert of_ranks == 3 * [["dimensions that the bottleneck leaves out, n − k"]]
