"""The bound through a bottleneck with smoothing: its constants, its equation, and runs of layers."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import deepbures as db
from deepbures.certificates import Certificate

from .layers import (
    balanced_layers,
    bures_wasserstein,
    losses_along_the_flow,
    numbers,
    smoothed_minimum,
)

THEOREM = next(t for t in db.theorems_of(db.BuresWasserstein(0.1)) if t.name == "flow-smoothed-bottleneck")


def saddle(kept, left_out, tau):
    return (math.sqrt(kept) - math.sqrt(tau)) ** 2 - max(math.sqrt(left_out) - math.sqrt(tau), 0) ** 2


def certificate(kept, left_out, tau, excess, depth):
    start = numbers(np.array([2 * kept, kept, left_out]), bottleneck=2, depth=depth, tau=tau, excess=excess)
    return Certificate(THEOREM, start)


def rate(kept, left_out, tau, e, depth):
    """4κ/(1 + κ) c^p with the extremes over y searched for on a grid, and the other terms as they are derived."""
    theta = max(left_out, tau)
    r = math.sqrt(theta) - math.sqrt(tau)
    reach = math.sqrt(r**2 + e)
    largest = (math.sqrt(tau) + reach) ** 2
    y = r + (reach - r) * np.linspace(0, 1, 20001)
    other = np.sqrt(np.maximum(reach**2 - y**2, 0))
    nu = kept + theta - 2 * tau - reach**2 - 2 * math.sqrt(tau) * np.max(y + other)
    square = np.min(np.sqrt(kept + theta - (math.sqrt(tau) + y) ** 2) - other) ** 2 - tau
    gap = (kept - left_out) * (1 - (largest - theta) / (kept - theta))
    kappa = nu / ((math.sqrt(tau) + math.sqrt(largest)) ** 2 * (1 + (largest - math.sqrt(tau * largest)) / gap))
    return 4 * kappa / (1 + kappa) * square ** (1 - 1 / depth)


CASES = [  # λ_k, λ_{k+1}, τ, excess relative to the saddle, depth
    (2.0, 1.0, 0.1, 0.3, 1),
    (2.0, 0.0, 0.3, 0.4, 3),
    (2.0, 0.3, 0.3, 0.1, 10),
    (2.0, 1.8, 0.01, 0.5, 2),
    (2.0, 0.5, 1.2, 0.3, 100),
    (2.0, 0.1, 0.05, 0.5, 2),
]


@pytest.mark.parametrize(("kept", "left_out", "tau", "share", "depth"), CASES)
def test_the_bound_solves_its_equation(kept, left_out, tau, share, depth):
    e = share * saddle(kept, left_out, tau)
    found = certificate(kept, left_out, tau, e, depth)
    assert found.holds, found.missed
    assert found.constants["saddle"] == pytest.approx(e / share)
    assert found.rate == pytest.approx(rate(kept, left_out, tau, e, depth), rel=1e-6)
    assert found.asymptotic_rate == pytest.approx(rate(kept, left_out, tau, 0.0, depth), rel=1e-12)
    times = np.linspace(0, found.time_to(1e-6 * e), 7)
    solved = solve_ivp(
        lambda _, u: [rate(kept, left_out, tau, e * math.exp(-u[0]), depth)],
        (0, times[-1]),
        [0.0],
        method="LSODA",
        rtol=1e-9,
        atol=1e-10,
        t_eval=times,
    )
    decays = np.log(e / found.bound(times))
    np.testing.assert_allclose(decays, solved.y[0], rtol=5e-6)
    assert (decays <= solved.y[0] * (1 + 1e-7)).all()  # on the safe side, up to SciPy's error and that of the grid
    assert found.bound(found.time_to(1e-3 * e)) == pytest.approx(1e-3 * e, rel=1e-9)


def test_other_units_have_the_same_bound():
    one, scale = certificate(2.0, 1.0, 0.1, 0.2, 3), 1e100
    other = certificate(2.0 * scale, scale, 0.1 * scale, 0.2 * scale, 3)
    times = np.array([0.3, 3.0])
    np.testing.assert_allclose(other.bound(times / scale ** (2 / 3)) / scale, one.bound(times), rtol=1e-9)


def test_what_it_needs():
    def missed(*given):
        return [assumption.statement for assumption in certificate(*given).missed]

    assert missed(2.0, 1.0, 0.0, 0.1, 2) == ["smoothing τ"]
    assert missed(2.0, 1.0, 2.0, 0.1, 2) == ["smoothing τ, which must lie below λ_k"]
    above = 1.01 * saddle(2.0, 1.0, 0.1)
    assert missed(2.0, 1.0, 0.1, above, 2) == ["excess e(0), which must lie below the best saddle"]
    assert math.isnan(certificate(2.0, 1.0, 0.1, above, 2).log_rate)
    close = certificate(1.5, 0.1, 0.6, 0.95 * saddle(1.5, 0.1, 0.6), 2)  # below the saddle, but too near for ν
    assert next(iter(close.missed)).statement.startswith("ν")
    assert math.isnan(close.rate) and close.bound(1.0) == math.inf
    whole = dataclasses.replace(close.start, bottleneck=3)
    assert "n − k" in str(Certificate(THEOREM, whole).missed[0]) and math.isnan(THEOREM.log_rate(whole))
    nothing = Certificate(THEOREM, numbers(np.zeros(3), bottleneck=2, excess=0.0))
    assert not nothing.holds and math.isnan(nothing.rate) and math.isnan(nothing.constants["saddle"])
    apart = dataclasses.replace(certificate(2.0, 1.0, 0.1, 0.1, 2).start, unbalancedness=0.5)
    assert [a.statement for a in THEOREM.assumptions(apart) if not a.holds] == [
        "unbalancedness of the layers, (N − 1)/2 of it relative to σ^(2/N)"
    ]


@pytest.mark.parametrize(
    ("values", "bottleneck", "tau", "depth"),
    [([3.0, 1.5, 0.5], 2, 0.05, 1), ([3.0, 1.5, 0.1], 2, 0.2, 2), ([2.0, 0.7, 0.2], 1, 0.2, 4)],
)
def test_layers_stay_below_and_near(values, bottleneck, tau, depth):
    """From a random start near the minimizer, λ_{k+1} above, below and at τ."""
    rng, values = np.random.default_rng(depth), np.array(values)
    minimum = smoothed_minimum(values, bottleneck, tau)
    w = np.zeros((3, 3))
    w[range(bottleneck), range(bottleneck)] = np.sqrt(values[:bottleneck] - tau)
    layers = balanced_layers(w + 0.08 * rng.standard_normal((3, 3)), bottleneck, depth)
    loss = bures_wasserstein(np.linalg.multi_dot([*layers[::-1], np.eye(3)]), values, tau)[0]
    start = numbers(values, bottleneck=bottleneck, depth=depth, tau=tau, loss=loss, excess=loss - minimum)
    found = Certificate(THEOREM, start)
    assert found.holds, found.missed
    times = np.linspace(0, found.time_to(1e-5 * start.excess), 12)
    run = losses_along_the_flow(layers, lambda w: bures_wasserstein(w, values, tau), times) - minimum
    check = found.check(times, run)
    assert not check.violated and 1 - 1e-6 <= check.tightness < 4
    assert found.check(times, found.bound(times / 1.2)).violated
