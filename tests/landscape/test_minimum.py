"""The minimum over bounded rank: values, minimizers, and the excess far below the rounding of the loss."""

import itertools
import warnings

import jax
import mpmath
import numpy as np
import pytest
import scipy.optimize

import deepbures as db
from deepbures.landscape import Problem

from . import oracle

BASIS, LOSSES, PROBLEMS = oracle.BASIS, oracle.LOSSES, oracle.PROBLEMS


def entropic_cost(a, b, epsilon):
    """OT_ε of N(0, a) and N(0, b) in one dimension."""
    noise = epsilon / 2
    d = np.sqrt(4 * a * b + noise**2)
    return a + b - d + noise * (1 - np.log(2 * noise)) + noise * np.log(d + noise)


def mode(loss, value):
    """What a mode with the eigenvalue λ of the target adds to the loss, by its variance m in the model."""
    if isinstance(loss, db.BuresWasserstein):
        return lambda m: (np.sqrt(value) - np.sqrt(m + loss.tau)) ** 2
    if isinstance(loss, db.Frobenius):
        return lambda m: (value - m) ** 2
    if isinstance(loss, db.GaussianLikelihood):
        if value == 0:
            return lambda m: np.log((m + loss.tau) / loss.tau) / 2
        return lambda m: (value / (m + loss.tau) - 1 - np.log(value / (m + loss.tau))) / 2
    if isinstance(loss, db.EntropicWasserstein):
        return lambda m: entropic_cost(m, value, loss.epsilon)
    cost = entropic_cost
    own = cost(value, value, loss.epsilon)
    return lambda m: cost(m, value, loss.epsilon) - (cost(m, m, loss.epsilon) + own) / 2


def lowest(function, value):
    """The least value over m ≥ 0: the optimum is at most λ, which may be tiny."""
    options = {"xatol": 1e-9 * value + 1e-300}
    return scipy.optimize.minimize_scalar(function, bounds=(0, 2 * value + 1e-290), options=options).fun


def least(values, rank, loss):
    """The lowest sum of modes of which `rank` may be learned, by enumeration and a search over the variance of each."""
    unused = np.array([mode(loss, value)(0.0) for value in values])
    used = np.array([lowest(mode(loss, value), value) for value in values])
    gains = np.maximum(unused - used, 0)
    return min(unused.sum() - gains[list(chosen)].sum() for chosen in itertools.combinations(range(len(values)), rank))


RANKS = itertools.cycle((1, 2, 4, 2))


@pytest.mark.parametrize("problem, loss, rank", [(*case, next(RANKS)) for case in oracle.cases()])
@pytest.mark.filterwarnings("ignore:(tau|epsilon / 2) = :UserWarning")  # their text has a test of its own
def test_minimizer(problem, loss, rank, rng):
    """Attains the closed-form value, has no slope within its rank, and no matrix of that rank near it is better."""
    problem, loss = PROBLEMS[problem], LOSSES[loss]
    target, values = problem.target, problem.eigenvalues
    expected = least(values, rank, loss)
    scale = values.sum() ** (2 if isinstance(loss, db.Frobenius) else 1) + 4 * getattr(loss, "tau", 0)
    tolerance = 1e-13 * scale
    np.testing.assert_allclose(db.minimal_loss(target, rank, loss), expected, rtol=0, atol=tolerance)
    w = db.rank_k_minimizer(target, rank, loss)
    assert w.shape == (4, rank)
    np.testing.assert_allclose(loss.value(w, target), expected, rtol=0, atol=tolerance)
    # A matrix exact to eps has the slope eps times the curvature, which reaches √(λ_1/τ) on the smoothed modes, and
    # λ_1/λ_4 for a condition of 1e12 in the exact loss, where eps changes the smallest mode by its own size.
    sharp = 1e3 if problem is PROBLEMS["condition 1e12"] else 1
    assert np.abs(loss.grad(w, target)).max() < 1e-13 * sharp * 10 * scale
    for size in (1e-3, 1e-2, 0.1, 1.0):
        moved = w + size * rng.standard_normal((5, 4, rank))
        assert all(loss.value(x, target) >= expected - tolerance for x in moved)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("problem", ["generic", "spiked", "few samples"])
def test_a_search_finds_this_minimum(problem, loss, rng):
    """Quasi-Newton from random starts, which knows nothing of eigenvectors: its best is the closed form, no less."""
    problem, loss = PROBLEMS[problem], LOSSES[loss]
    function = jax.jit(jax.value_and_grad(lambda x: loss.value(x.reshape(4, 2), problem.target)))
    found = [
        scipy.optimize.minimize(function, rng.standard_normal(8), jac=True, options={"gtol": 1e-9}).fun
        for _ in range(4)
    ]
    scale = problem.eigenvalues.sum() ** (2 if isinstance(loss, db.Frobenius) else 1)
    np.testing.assert_allclose(min(found), db.minimal_loss(problem.target, 2, loss), rtol=0, atol=1e-12 * scale)


def diagonal_oracle(values, tau):
    """The oracle of diag(values), exactly: its root is no matrix of doubles."""
    truth = oracle.Oracle(np.zeros((len(values), len(values))), tau=tau)
    with mpmath.workdps(oracle.DIGITS):
        truth.covariance = mpmath.diag([mpmath.mpf(v) for v in values])
        truth.root = mpmath.diag([mpmath.sqrt(mpmath.mpf(v)) for v in values])
    return truth


def exact_minimum(values, used, tau):
    """Σ (√λ_i − √τ)² over the modes that are not used, in many digits."""
    with mpmath.workdps(oracle.DIGITS):
        rest = np.delete(values, used)
        return mpmath.fsum((mpmath.sqrt(mpmath.mpf(v)) - mpmath.sqrt(mpmath.mpf(tau))) ** 2 for v in rest)


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.8])
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1e-1, 1e-5, 1e-10])
def test_excess_far_below_rounding_of_the_loss(tau, rank, size, rng):
    """L − L* for W = W* V + size · noise, down to 1e-20 of L.

    The excess is a sum of squares of numbers of order `size` that are known to eps: relative error ≲ eps/size.
    """
    values = np.array([4.0, 2.0, 1.0, 0.5])
    # A diagonal target: its eigenvectors hold to the last bit, and W* is the exact minimizer up to one rounding.
    target, loss = db.Target.from_spectrum(values), db.BuresWasserstein(tau)
    used = [j for j in range(rank) if values[j] > tau]
    w = np.zeros((4, rank))
    w[used, used] = np.sqrt(values[used] - tau)
    w = w + size * rng.standard_normal((4, rank))
    expected = diagonal_oracle(values, tau).value(w, minus=exact_minimum(values, used, tau))
    assert 0 < expected < 1e3 * size**2
    found = np.asarray(Problem(target, loss, rank).excess(w))
    np.testing.assert_allclose(found, expected, rtol=1e-13 + 200 * np.finfo(float).eps / size)


@pytest.mark.parametrize("tau", [0.0, 0.1])
@pytest.mark.parametrize(
    "floor, spikes, rank",
    [(0.0, [4.0, 2.0], 1), (0.0, [4.0, 2.0], 2), (0.25, [4.0, 2.0], 1), (0.25, [4.0, 2.0], 2), (0.25, [4.0], 3)],
)
def test_excess_of_factors_and_spiked_targets(tau, floor, spikes, rank, rng):
    """Where eigenvectors are not all held: near the minimum, with modes of the floor among the used ones too.

    With these λ_k = λ_{k+1}, and the minimum is attained all along a family. The smoothed excess, whose sum leaves out
    the last of the equal modes wherever on the family W is, is right to eps of the target only there.
    """
    r, size = len(spikes), 1e-8
    target, loss = db.Target.from_spectrum(spikes, np.eye(6)[:, :r]), db.BuresWasserstein(tau)
    if floor:
        target = db.Target.from_factor(np.eye(6)[:, :r] * np.sqrt(spikes), floor)
    values = np.array([v + floor for v in spikes] + [floor] * (6 - r))
    w = np.zeros((6, rank))
    w[range(rank), range(rank)] = np.sqrt(values[:rank] - tau)
    w = w + size * rng.standard_normal(w.shape)
    expected = diagonal_oracle(values, tau).value(w, minus=exact_minimum(values, range(rank), tau))
    assert 0 < expected < 1e3 * size**2
    found = np.asarray(Problem(target, loss, rank).excess(w))
    absolute = 16 * np.finfo(float).eps * values.sum() if tau and rank > r and floor else 0
    np.testing.assert_allclose(found, expected, rtol=1000 * np.finfo(float).eps / size, atol=absolute)


@pytest.mark.parametrize("size", [1e-2, 1e-5, 1e-10])
def test_excess_along_a_family_of_minimizers(size, rng):
    """λ_2 = λ_3 and rank 2: W uses a mixture of the two, and the excess keeps its digits all the same."""
    values = np.array([4.0, 2.0, 2.0, 0.5])
    target, loss = db.Target.from_spectrum(values), db.BuresWasserstein()
    w = np.zeros((4, 2))
    w[0, 0], w[1, 1], w[2, 1] = 2.0, np.sqrt(2.0) * 0.6, np.sqrt(2.0) * 0.8
    w = w + size * rng.standard_normal((4, 2))
    expected = diagonal_oracle(values, 0.0).value(w, minus=exact_minimum(values, [0, 1], 0.0))
    found = np.asarray(Problem(target, loss, 2).excess(w))
    np.testing.assert_allclose(found, expected, rtol=1e-13 + 200 * np.finfo(float).eps / size)


@pytest.mark.parametrize("tau", [0.0, 0.1])
def test_excess_through_a_bottleneck(tau, rng):
    """The product of layers in doubles has rounding beyond its rank, 1e-16, which L counts and this must not."""
    values, size = np.array([4.0, 2.0, 1.0, 0.5]), 1e-10
    target, loss = db.Target.from_spectrum(values), db.BuresWasserstein(tau)
    above = np.zeros((4, 2))
    above[[0, 1], [0, 1]] = np.sqrt(values[:2] - tau)
    above += size * rng.standard_normal((4, 2))
    below = np.array([[0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 0.8, -0.6]])  # rows orthonormal, but in the last bit
    truth = diagonal_oracle(values, tau)
    with mpmath.workdps(oracle.DIGITS):
        product = oracle.exact(above) * oracle.exact(below)
        expected = float(truth._loss(product) - exact_minimum(values, [0, 1], tau))
    found = np.asarray(Problem(target, loss, 2).excess(above @ below))
    np.testing.assert_allclose(found, expected, rtol=200 * np.finfo(float).eps / size)


@pytest.mark.parametrize("problem, loss", oracle.cases())
def test_excess_far_from_the_minimum(problem, loss, rng):
    """Where nothing cancels it is the loss less its minimum; for every form of a target."""
    problem, loss = PROBLEMS[problem], LOSSES[loss]
    w = 2 * rng.standard_normal((4, 3))
    found = np.asarray(Problem(problem.target, loss, 3).excess(w))
    expected = problem.oracle(loss).value(w) - least(problem.eigenvalues, 3, loss)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_unusable_modes_are_named():
    target = db.Target.from_spectrum([4.0, 2.0, 1.0, 0.5])
    message = (
        r"tau = 1\.0 is not below 2 of the 4 leading eigenvalues of the target: mode\(s\) 3, 4 \(λ_3 = 1\) cannot be "
        r"used, and stay at zero in the minimizer\. Lower tau or the rank"
    )
    with pytest.warns(UserWarning, match=message):
        w = db.rank_k_minimizer(target, 4, db.BuresWasserstein(1.0))
    np.testing.assert_allclose(np.linalg.svd(w, compute_uv=False), [3**0.5, 1, 0, 0], atol=1e-15)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        db.rank_k_minimizer(target, 2, db.BuresWasserstein(1.0))
        db.rank_k_minimizer(PROBLEMS["singular"].target, 4, db.BuresWasserstein())


def test_every_member_of_a_family_is_a_minimizer(rng):
    """Where λ_k = λ_{k+1}, any rotation among the equal modes has the same loss."""
    target, loss = PROBLEMS["repeated"].target, db.BuresWasserstein()
    v = oracle.orthonormal(rng, 3, 2)
    w = BASIS[:, :3] @ v * np.sqrt(2.0)
    np.testing.assert_allclose(loss.value(w, target), db.minimal_loss(target, 2, loss), rtol=1e-13)
    assert abs(np.asarray(Problem(target, loss, 2).excess(w))) < 1e-13


@pytest.mark.parametrize("function", [db.minimal_loss, db.rank_k_minimizer])
def test_bad_input(function):
    target = PROBLEMS["generic"].target
    for rank in (0, 5):
        with pytest.raises(ValueError, match=rf"must be at least 1 and at most 4 \(the dimension of the .* {rank} was"):
            function(target, rank, db.BuresWasserstein())
    with pytest.raises(TypeError, match=r"must be a whole number, but 1\.5 was given"):
        function(target, 1.5, db.BuresWasserstein())
    with pytest.raises(TypeError, match=r"loss must be a loss such as BuresWasserstein\(\), but <object"):
        function(target, 1, object())
