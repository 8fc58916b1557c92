"""Covariances that are so but for rounding: what is refused, what an rtol accepts, and what is taken away."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.linalg import hadamard

import deepbures as db
import deepbures.metric as dbm

each = pytest.mark.parametrize
LIBRARIES = each("xp", [np, jnp, torch], ids=["numpy", "jax", "torch"])


def by_hand(a):
    """The Hermitian part with zeros for its negative eigenvalues."""
    values, vectors = np.linalg.eigh((a + a.conj().swapaxes(-1, -2)) / 2)
    return (vectors * np.maximum(values, 0)[..., None, :]) @ vectors.conj().swapaxes(-1, -2)


def indefinite(rng, size, lowest, *, complex_=False):
    """A well conditioned covariance but for two eigenvalues below zero, `lowest` the lowest; and an asymmetry of it."""
    x = rng.normal(size=(size, size)) + (1j * rng.normal(size=(size, size)) if complex_ else 0)
    basis = np.linalg.qr(x)[0]
    a = (basis * np.array([*np.linspace(3, 1, size - 2), lowest / 2, lowest])) @ basis.conj().T
    a[0, 1] += -lowest / 10
    return a


def needed(message):
    """The rtol that a message names."""
    return float(re.search(r"pass rtol=([0-9.e-]+\d)", message)[1])


def accepted(call):
    """What a call gives with the rtol that its refusal names, and that rtol; both of its matrices may be refused."""
    refused, options = set(), {}
    while len(refused) < 2:
        try:
            return call(**options), options["rtol"]  # KeyError: it is taken as it is
        except ValueError as error:
            message = str(error)
            assert re.match(r"cov_[xy] must be (symmetric|positive semidefinite)", message)
            refused.add(message.split()[0])
            options = {"rtol": needed(message)}
    return call(**options), options["rtol"]


# -------------------------------------------------------------------------------- moments as they are accumulated


def data(ratio, num_features=16, rank=6):
    """(x, y, W2²) with known moments: columns of a Hadamard matrix are orthogonal, and all but the first sum to zero.

    With x = Z Lᵀ + m, the 1/(N − 1) covariance is A = N / (N − 1) L Lᵀ, singular. y = 2 Z Lᵀ + 1.01 m has 4 A, and
    B²(A, 4 A) = tr A.
    """
    rng = np.random.default_rng(0)
    num = 64
    z = hadamard(num)[:, 1 : rank + 1].astype(float)
    factor = rng.normal(size=(num_features, rank))
    mean = ratio * np.linalg.norm(factor, axis=1)  # its ratio to the standard deviation
    covariance = num / (num - 1) * factor @ factor.T
    x, y = z @ factor.T + mean, 2 * z @ factor.T + 1.01 * mean
    return x, y, covariance, (0.01**2 * mean @ mean) + np.trace(covariance)


def accumulated(x, dtype):
    """Mean and covariance of batches, as torchmetrics' FrechetInceptionDistance sums them, in some dtype."""
    features = torch.tensor(x, dtype=dtype)
    total, products, num = torch.zeros(x.shape[1], dtype=dtype), torch.zeros((x.shape[1],) * 2, dtype=dtype), 0
    for batch in features.split(16):
        total += batch.sum(dim=0)
        products += batch.t().mm(batch)
        num += len(batch)
    mean = (total / num).unsqueeze(0)
    return mean[0], (products - num * mean.t().mm(mean)) / (num - 1)


CASES = [(torch.float32, 100), (torch.float32, 1000), (torch.float64, 100), (torch.float64, 1000)]


@each("dtype, ratio", CASES, ids=str)
@each("double", [False, True], ids=["", "in float64"])
def test_accumulated_moments(dtype, ratio, double):
    x, y, covariance, truth = data(ratio)
    moments = [*accumulated(x, dtype), *accumulated(y, dtype)]
    if double:
        moments = [moment.double() for moment in moments]
    value, rtol = accepted(lambda **rtol: float(dbm.squared_frechet_distance_from_moments(*moments, **rtol)))
    # Powers and Størmer: B²(P, A) ≤ ‖P − A‖ in the trace norm; the mean moves by what it was rounded to.
    slack = sum(
        np.linalg.norm(by_hand(given.numpy().astype(float)) - true, "nuc") ** 0.5
        for given, true in ((moments[1], covariance), (moments[3], 4 * covariance))
    )
    slack += sum(np.linalg.norm(m.numpy() - z.mean(0)) for m, z in ((moments[0], x), (moments[2], y)))
    assert abs(value**0.5 - truth**0.5) <= 1.001 * slack + 1e-6 * truth**0.5
    # The size of what was taken away is that of the rounding of the sums, eps ratio².
    clipped = float(dbm.nearest_covariance(moments[1], rtol=rtol).clipped)
    assert 0.01 * torch.finfo(dtype).eps * ratio**2 < clipped < 100 * torch.finfo(dtype).eps * ratio**2


def test_a_float32_covariance_in_float64():
    """Nothing but the rounding of each entry: 1e-5 does, as the messages say."""
    x = np.random.default_rng(1).normal(size=(40, 300))
    truth = x.T @ x / 40
    a = truth.astype(np.float32).astype(np.float64)
    with pytest.raises(ValueError, match="moments that were summed or stored in float32 need about 1e-5"):
        dbm.squared_bures_wasserstein(a, 4 * a)
    assert dbm.squared_bures_wasserstein(a, 4 * a, rtol=1e-5) == pytest.approx(np.trace(truth), rel=1e-5)
    target = db.Target.from_covariance(a, rtol=1e-5)
    assert float(target.trace) == pytest.approx(np.trace(truth), rel=1e-5)


# -------------------------------------------------------------------------------- every function, one meaning


EYE = np.diag(np.linspace(1.0, 2.0, 6))
G = np.random.default_rng(5).normal(size=(6, 6))
FUNCTIONS = {
    "squared": lambda a, **rtol: dbm.squared_bures_wasserstein(a, like(a, EYE), **rtol),
    "distance": lambda a, **rtol: dbm.bures_wasserstein_distance(like(a, EYE), a, **rtol),
    "from": lambda a, **rtol: dbm.transport_map(a, like(a, EYE), **rtol),
    "to": lambda a, **rtol: dbm.transport_map(like(a, EYE), a, **rtol),
    "squared_mixed": lambda a, **rtol: dbm.squared_bures_wasserstein_mixed(a, like(a, G), **rtol),
    "mixed": lambda a, **rtol: dbm.bures_wasserstein_distance_mixed(a, like(a, G), **rtol),
    "moments": lambda a, **rtol: dbm.squared_frechet_distance_from_moments(
        like(a, G[0]), a, like(a, G[1]), like(a, EYE), **rtol
    ),
    "pairwise_squared": lambda a, **rtol: dbm.pairwise_squared_bures_wasserstein(like(a, EYE)[None], a[None], **rtol),
    "pairwise": lambda a, **rtol: dbm.pairwise_bures_wasserstein_distance(a[None], **rtol),
}


def like(a, values):
    if isinstance(a, torch.Tensor):
        return torch.tensor(values, dtype=a.dtype)
    return jnp.asarray(values, a.dtype) if isinstance(a, jax.Array) else values.astype(a.dtype)


@LIBRARIES
@each("name", FUNCTIONS)
@each("complex_", [False, True], ids=["real", "complex"])
def test_results_are_those_of_the_projection(name, xp, complex_):
    a = indefinite(np.random.default_rng(2), 6, -1e-4, complex_=complex_)
    function = FUNCTIONS[name]
    with pytest.raises(ValueError, match=r"must be symmetric .* pass rtol=") as refused:
        function(xp.asarray(a))
    rtol = needed(str(refused.value))
    assert 2e-5 < rtol < 1e-4  # the lowest eigenvalue, not the asymmetry, decides; the largest entry is below 3
    found, expected = function(xp.asarray(a), rtol=rtol), function(xp.asarray(by_hand(a)))
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-7, atol=1e-9)
    with pytest.raises(ValueError, match=r"positive semidefinite, .* \(allowed: -2\.0e-05\)"):
        function(xp.asarray(a), rtol=2e-5)
    with pytest.raises(ValueError, match=r"must be symmetric .* \(allowed: 1\.0e-06 of it\)"):
        function(xp.asarray(a), rtol=1e-6)


@each("name", FUNCTIONS)
@each("rtol, error", [(-1.0, ValueError), (np.inf, ValueError), (np.nan, ValueError), ("1e-5", TypeError)])
def test_bad_tolerances(name, rtol, error):
    with pytest.raises(error, match=r"rtol must be (finite and not negative|a number)"):
        FUNCTIONS[name](EYE, rtol=rtol)


@each("name", FUNCTIONS)
def test_a_tolerance_changes_nothing_where_there_is_nothing_to_take_away(name):
    for a in (EYE, G @ G.T, G[:, :2] @ G[:, :2].T):
        a = (a + a.T) / 2
        np.testing.assert_allclose(
            FUNCTIONS[name](a, rtol=1e-6), FUNCTIONS[name](a), rtol=1e-7, atol=1e-7 * np.abs(a).max()
        )


def test_the_message_names_what_would_be_accepted():
    """Also where a compression to the span of a factor sees a part of it only, or a stack holds several."""
    bad = np.diag([5.0, 1.0, -1e-3, -2e-3])
    probe = np.array([[0.0], [0.0], [1.0], [0.0]])
    for call in (
        lambda **rtol: dbm.squared_bures_wasserstein_mixed(bad, probe, **rtol),
        lambda **rtol: dbm.squared_bures_wasserstein(np.stack([bad / 2, bad, np.eye(4)]), np.eye(4), **rtol),
        lambda **rtol: dbm.pairwise_squared_bures_wasserstein(np.stack([bad, np.eye(4)]), **rtol),
        lambda **rtol: db.Target.from_covariance(bad, **rtol),
        lambda **rtol: dbm.nearest_covariance(bad, **rtol),
    ):
        with pytest.raises(ValueError, match=r"pass rtol=0\.0005, which takes it away"):
            call()
        call(rtol=0.0005)
        with pytest.raises(ValueError, match=r"an eigenvalue of -0\.0004 times its largest entry"):
            call(rtol=0.0003)


def test_rounding_of_a_covariance_is_forgiven_where_a_factor_looks():
    """What the factor spans is tiny, and as negative as the rounding of the covariance makes it."""
    a, g = np.diag([1e6, 1.0, -1e-11]), np.array([[0.0], [0.0], [1e-3]])
    assert dbm.squared_bures_wasserstein_mixed(a, g) == pytest.approx(1e6 + 1 + 1e-6, rel=1e-14)


def test_large_targets_are_those_of_the_projection(monkeypatch):
    """Used through products, which see what is not taken away."""
    monkeypatch.setattr("deepbures.model._target.LARGEST_DECOMPOSED", 3)
    a = indefinite(np.random.default_rng(2), 6, -1e-4)
    target = db.Target.from_covariance(a, rtol=1e-3)
    assert target.eigenvalues is None  # it is one
    np.testing.assert_allclose(target.matmul(np.eye(6)), by_hand(a), atol=1e-14)
    np.testing.assert_allclose(target.trace, np.trace(by_hand(a)), rtol=1e-14)
    with pytest.raises(ValueError, match=r"covariance must be positive semidefinite, .* pass rtol=\S+, which"):
        db.Target.from_covariance((a + a.T) / 2)


# -------------------------------------------------------------------------------- the record


@LIBRARIES
def test_record_of_a_stack(xp):
    rng = np.random.default_rng(3)
    stack = np.stack([indefinite(rng, 5, -1e-3), G[:5] @ G[:5].T, np.zeros((5, 5)), np.diag([1.0, 1, 1, 1, -1e-4])])
    record = dbm.nearest_covariance(xp.asarray(stack), rtol=1e-2)
    expected = by_hand(stack)
    np.testing.assert_allclose(np.asarray(record.covariance), expected, atol=1e-14)
    largest = np.abs(stack).max((-2, -1)) + (np.arange(4) == 2)
    gaps = np.abs(stack - stack.swapaxes(-1, -2)).max((-2, -1)) / largest
    np.testing.assert_allclose(np.asarray(record.asymmetry), gaps, rtol=1e-14)
    np.testing.assert_allclose(np.asarray(record.clipped), [1e-3 / largest[0], 0, 0, 1e-4], rtol=2e-2, atol=1e-15)
    np.testing.assert_allclose(
        np.asarray(record.distance), np.linalg.norm(stack - expected, axis=(-2, -1)), rtol=1e-9, atol=1e-13
    )
    assert type(record.covariance) is type(xp.asarray(stack))


def test_nothing_is_closer():
    """Higham: A − P is orthogonal to P, and negative semidefinite. And P is a covariance for every function."""
    a = indefinite(np.random.default_rng(4), 7, -0.5)
    p = dbm.nearest_covariance(a, rtol=1).covariance
    h = (a + a.T) / 2
    assert abs(np.sum((h - p) * p)) < 1e-13
    assert np.linalg.eigvalsh(h - p).max() < 1e-14
    assert dbm.squared_bures_wasserstein(p, p) == 0
    assert dbm.nearest_covariance(p).clipped < 1e-15


@each("size", [1e-300, 1e-150, 1.0, 1e150, 1e300])
def test_scale(size):
    record = dbm.nearest_covariance(np.diag([1.0, -1e-6]) * size, rtol=1e-5)
    np.testing.assert_allclose(record.covariance, np.diag([size, 0.0]), atol=1e-16 * size)
    np.testing.assert_allclose([record.clipped, record.distance / size], 1e-6, rtol=1e-12)


# -------------------------------------------------------------------------------- derivatives, transformations


def test_gradients_are_those_at_the_projection():
    a = indefinite(np.random.default_rng(2), 6, -1e-4)
    for name in ("squared", "distance", "squared_mixed", "moments", "pairwise_squared"):
        function, gradients = FUNCTIONS[name], []
        for matrix, rtol in ((a, {"rtol": 1e-3}), (by_hand(a), {})):
            tensor = torch.tensor((matrix + matrix.T) / 2 if not rtol else matrix, requires_grad=True)
            (by_torch,) = torch.autograd.grad(function(tensor, **rtol).sum(), tensor, create_graph=True)
            by_jax = jax.grad(lambda a, f=function, r=rtol: f(a, **r).sum())(jnp.asarray(tensor.detach().numpy()))
            np.testing.assert_allclose(by_torch.detach(), by_jax, rtol=1e-6, atol=1e-6)
            (second,) = torch.autograd.grad(by_torch.square().sum(), tensor)
            assert by_torch.isfinite().all() and second.isfinite().all()
            gradients.append(np.asarray(by_jax))
        np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-5)


def test_constants_of_a_transformation_are_looked_at():
    a = jnp.asarray(np.diag([1.0, 1.0, -1e-3]))
    function = jax.jit(lambda b, rtol: dbm.squared_bures_wasserstein(a, b, rtol=rtol), static_argnums=1)
    np.testing.assert_allclose(function(jnp.eye(3), 1e-2), 1.0, rtol=1e-6)
    with pytest.raises(ValueError, match=r"a must be positive semidefinite, .* pass rtol=0\.002"):
        function(jnp.eye(3), 1e-6)


def test_gradients_where_eigenvalues_meet():
    """Two equal ones that are clipped, and two equal ones that are not."""
    a = np.diag([1.0, 1.0, 1.0, -1e-5, -1e-5, 0.0])
    for function in (function for name, function in FUNCTIONS.items() if name != "pairwise"):  # a constant zero
        tensor = torch.tensor(a, requires_grad=True)
        (gradient,) = torch.autograd.grad(function(tensor, rtol=1e-4).sum(), tensor)
        assert gradient.isfinite().all()
        assert jnp.isfinite(jax.grad(lambda a, f=function: f(a, rtol=1e-4).sum())(jnp.asarray(a))).all()


@each("name", FUNCTIONS)
def test_inside_a_transformation_whatever_is_negative_is_taken_away(name):
    a = indefinite(np.random.default_rng(2), 6, -1e-2)
    expected = np.asarray(FUNCTIONS[name](by_hand(a)))
    jitted = jax.jit(lambda a: FUNCTIONS[name](a, rtol=1e-9))
    np.testing.assert_allclose(jitted(jnp.asarray(a)), expected, rtol=1e-7, atol=1e-7)
    for found in (
        jax.vmap(lambda a: FUNCTIONS[name](a, rtol=1e-9))(jnp.asarray(a)[None]),
        torch.func.vmap(lambda a: FUNCTIONS[name](a, rtol=1e-9))(torch.tensor(a)[None]),
    ):
        np.testing.assert_allclose(found[0], expected, rtol=1e-7, atol=1e-7)
