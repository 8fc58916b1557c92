"""Targets in every form, against the construction they came from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures as db

from .oracle import BASIS, PROBLEMS, Oracle, orthonormal, samples_with

TARGETS = pytest.mark.parametrize("problem", PROBLEMS)


@TARGETS
def test_what_a_target_answers(problem, rng):
    """All to 1e-13 of the largest eigenvalue: a decomposition in four dimensions."""
    problem = PROBLEMS[problem]
    target, values = problem.target, problem.eigenvalues
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-13 * values[0])  # noqa: E731
    w = rng.standard_normal((4, 3))
    close(target.matmul(w), problem.covariance @ w)
    close(target.trace, values.sum())
    assert target.dim == 4 and target.dtype == np.float64 and target.mean.shape == (4,)
    for k in (1, 2, 3, 4):
        found, basis = target.spectrum(k)
        close(found, values[:k])
        assert basis.shape == (4, k)
        np.testing.assert_allclose(basis.T @ basis, np.eye(k), atol=1e-13)
        close(problem.covariance @ basis, basis * values[:k])
    if problem.is_operator:
        assert target.eigenvalues is None
        with pytest.raises(ValueError, match=r"known through products only and has no factor\. Build it with"):
            target.factor()
    else:
        close(target.eigenvalues, values)
        close(target.factor() @ target.factor().T + problem.floor * np.eye(4), problem.covariance)


def test_relative_accuracy_of_small_eigenvalues(rng):
    """1e-20 of the largest, from samples and from a factor: F is graded, and nothing is squared on the way.

    A singular value of 1e-10 s_1 is right to 10 eps s_1, the eigenvalue to 2e-15 · 10 / 1e-10 relative: 2e-5.
    """
    values = np.array([1.0, 1e-4, 1e-20])
    basis = orthonormal(rng, 3, 3)
    for num in (4, 50):
        x = samples_with(values, basis, num, np.zeros(3))
        np.testing.assert_allclose(db.Target.from_samples(x).eigenvalues, values, rtol=1e-4)
    np.testing.assert_allclose(db.Target.from_factor(basis * np.sqrt(values)).eigenvalues, values, rtol=1e-4)


@pytest.mark.parametrize("rows", [7, 16, 100])
def test_samples_by_blocks(rows, rng, monkeypatch, tmp_path):
    monkeypatch.setattr("deepbures.model._reduction._ROWS_PER_BLOCK", rows)
    x = rng.standard_normal((100, 5)) @ rng.standard_normal((5, 5)) + 100.0
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    expected = np.cov(x.T, bias=True)
    for data in (x, mapped):
        target = db.Target.from_samples(data)
        assert type(target.mean) is np.ndarray  # not a piece of the file
        np.testing.assert_allclose(target.mean, x.mean(0), rtol=1e-14)
        np.testing.assert_allclose(target.matmul(np.eye(5)), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("rows", [3, 7])
def test_samples_as_jax_arrays(rows, rng):
    x = rng.standard_normal((rows, 4)) + 10.0
    target = db.Target.from_samples(jnp.asarray(x))
    assert isinstance(target.mean, jax.Array) and isinstance(target.eigenvalues, jax.Array)
    np.testing.assert_allclose(target.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(target.matmul(jnp.eye(4)), np.cov(x.T, bias=True), atol=1e-13)


def test_fewer_mapped_samples_than_features(rng, tmp_path):
    x = rng.standard_normal((3, 5)) + 10.0
    np.save(tmp_path / "x.npy", x)
    target = db.Target.from_samples(np.load(tmp_path / "x.npy", mmap_mode="r"))
    np.testing.assert_allclose(target.matmul(np.eye(5)), np.cov(x.T, bias=True), atol=1e-13)
    np.testing.assert_array_equal(target.eigenvalues[2:], 0)  # three centered rows have rank two


@pytest.mark.parametrize("bad, error", [(np.nan, ValueError), (-np.inf, ValueError), ("text", TypeError)])
def test_bad_entries_of_a_later_block(bad, error, monkeypatch, tmp_path):
    monkeypatch.setattr("deepbures.model._reduction._ROWS_PER_BLOCK", 4)
    x = np.ones((10, 3)) if error is ValueError else np.full((10, 3), "a")
    x[9, 2] = bad
    np.save(tmp_path / "x.npy", x)
    message = (
        r"first at index \(9, 2\)\." if error is ValueError else "samples must be an array of real numbers, but has"
    )
    with pytest.raises(error, match=message):
        db.Target.from_samples(np.load(tmp_path / "x.npy", mmap_mode="r"))


@pytest.mark.parametrize(
    "target",
    [
        db.Target.from_samples(np.full((5, 3), 0.1)),
        db.Target.from_covariance(np.zeros((3, 3))),
        db.Target.from_factor(np.zeros((3, 1))),
        db.Target.from_spectrum([0.0], np.eye(3)[:, :1]),
    ],
    ids=["samples", "covariance", "factor", "spectrum"],
)
def test_no_variance_at_all(target, rng):
    """L_τ(W) = ‖W‖² + nτ: nothing to divide by, nothing to approximate."""
    w, a = rng.standard_normal((2, 3, 2))
    np.testing.assert_array_equal(target.eigenvalues, 0)
    np.testing.assert_allclose(target.spectrum(3)[1].T @ target.spectrum(3)[1], np.eye(3), atol=1e-14)
    for tau in (0.0, 0.5):
        loss = db.BuresWasserstein(tau)
        np.testing.assert_allclose(loss.value(w, target), (w**2).sum() + 3 * tau, rtol=1e-14)
        np.testing.assert_allclose(loss.grad(w, target), 2 * w, rtol=1e-14)
        np.testing.assert_allclose(loss.hvp(w, target, a), 2 * a, rtol=1e-14)
        np.testing.assert_allclose(db.minimal_loss(target, 2, loss), 3 * tau, rtol=1e-14)


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_factors_wider_than_high(floor, rng):
    f, w = rng.standard_normal((4, 9)), rng.standard_normal((4, 2))
    target = db.Target.from_factor(f, floor)
    covariance = f @ f.T + floor * np.eye(4)
    np.testing.assert_allclose(target.matmul(w), covariance @ w, rtol=1e-12)
    np.testing.assert_allclose(target.eigenvalues, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-12)
    np.testing.assert_allclose(target.factor() @ target.factor().T, f @ f.T, atol=1e-12)
    value = db.BuresWasserstein(0.1).value(w, target)
    wide = np.concatenate([f, np.sqrt(floor) * np.eye(4)], axis=1)
    np.testing.assert_allclose(value, Oracle(wide, tau=0.1).value(w), rtol=1e-13)


def test_a_spectrum_with_fewer_vectors_than_dimensions(rng):
    basis = orthonormal(rng, 5, 2)
    target = db.Target.from_spectrum([1.0, 3.0], basis)  # sorted with their vectors
    covariance = basis * [1.0, 3.0] @ basis.T
    np.testing.assert_allclose(target.matmul(np.eye(5)), covariance, atol=1e-14)
    np.testing.assert_allclose(target.eigenvalues, [3, 1, 0, 0, 0])
    values, vectors = target.spectrum(4)
    np.testing.assert_allclose(covariance @ vectors, vectors * values, atol=1e-14)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(4), atol=1e-14)


def test_mapped_integers(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (30, 4)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    target = db.Target.from_samples(np.load(tmp_path / "x.npy", mmap_mode="r"))
    np.testing.assert_allclose(target.matmul(np.eye(4)), np.cov(x.T.astype(float), bias=True), rtol=1e-11, atol=1e-9)


def test_means():
    mean = np.array([1.0, 2.0])
    for target in (
        db.Target.from_covariance(np.eye(2), mean=mean),
        db.Target.from_factor(np.eye(2), mean=mean),
        db.Target.from_spectrum([2.0, 1.0], mean=mean),
        db.Target.from_operator(lambda w: w, 2, 2.0, mean=mean),
        db.Target.from_samples(mean + np.array([[1.0, 1.0], [-1.0, -1.0]])),
    ):
        np.testing.assert_array_equal(target.mean, mean)
    with pytest.raises(ValueError, match=r"mean must have shape \(2,\), but has shape \(3,\)"):
        db.Target.from_factor(np.eye(2), mean=np.zeros(3))


@pytest.mark.parametrize("traceable", [True, False])
def test_leading_spectrum_of_a_large_operator(traceable):
    """Lanczos, and never the whole matrix: fewer products than dimensions."""
    n, count = 300, []
    values = 2.0 ** -np.arange(n) + 1e-3
    q = orthonormal(np.random.default_rng(1), n, 5)
    reflect = lambda x: x - 2 * (q @ (q.T @ x))  # noqa: E731  Σ0 = R diag(values) R, R an orthogonal reflection

    def matmul(w):
        count.append(np.shape(w)[1])
        w = np.asarray(w) if not traceable else w
        return reflect(values[:, None] * reflect(w))

    target = db.Target.from_operator(matmul, n, values.sum())
    count.clear()
    found, basis = target.spectrum(6)
    assert sum(count) < n
    np.testing.assert_allclose(found, values[:6], rtol=1e-12)
    np.testing.assert_allclose(np.abs((reflect(np.eye(n)[:, :6]) * basis).sum(0)), 1, rtol=1e-12)
    everything, full = target.spectrum(200)
    np.testing.assert_allclose(everything, values[:200], rtol=1e-12)
    np.testing.assert_allclose(full.T @ full, np.eye(200), atol=1e-12)


def test_operators_that_jax_cannot_trace_work_inside_jit(rng):
    covariance = PROBLEMS["generic"].covariance

    def stubborn(w):
        return covariance @ np.asarray(w)

    target, loss = db.Target.from_operator(stubborn, 4, np.trace(covariance)), db.BuresWasserstein()
    w, dense = jnp.asarray(rng.standard_normal((4, 2))), PROBLEMS["generic"].target
    value, gradient = jax.jit(jax.value_and_grad(lambda x: loss.value(x, target)))(w)
    np.testing.assert_allclose(value, loss.value(w, dense), rtol=1e-12)
    np.testing.assert_allclose(gradient, loss.grad(w, dense), atol=1e-12)
    stack = jnp.stack([w, 2 * w])
    np.testing.assert_allclose(jax.vmap(target.matmul)(stack), covariance @ np.asarray(stack), rtol=1e-12)
    with pytest.raises(ValueError, match="cannot be computed inside a JAX transformation"):
        jax.jit(lambda t: db.Target.from_operator(lambda w: t * w, 4, t).spectrum(1)[0])(1.0)


def test_large_dense_covariances_are_used_through_products(monkeypatch, rng):
    monkeypatch.setattr("deepbures.model._target.LARGEST_DECOMPOSED", 3)
    problem = PROBLEMS["generic"]
    target = db.Target.from_covariance(problem.covariance)
    assert target.eigenvalues is None
    w = rng.standard_normal((4, 2))
    np.testing.assert_allclose(target.spectrum(2)[0], [4.0, 2.0], rtol=1e-13)
    for loss in (db.BuresWasserstein(), db.Frobenius()):
        np.testing.assert_allclose(loss.value(w, target), loss.value(w, problem.target), rtol=1e-12)
        np.testing.assert_allclose(loss.grad(w, target), loss.grad(w, problem.target), atol=1e-12)
        np.testing.assert_allclose(
            db.minimal_loss(target, 2, loss), db.minimal_loss(problem.target, 2, loss), rtol=1e-12
        )
    with pytest.raises(ValueError, match=r"positive semidefinite, but has an eigenvalue of -0\.\d+ times"):
        db.Target.from_covariance(BASIS * np.array([4.0, 2.0, 1.0, -0.5]) @ BASIS.T)
    with pytest.raises(ValueError, match=r"too large to decompose \(limit 3\): build one target for each"):
        db.Target.from_covariance(np.stack([problem.covariance] * 2))


def test_leading_spectrum_of_a_large_dense_covariance(monkeypatch, rng):
    """Truncated, with a tie at the cut, singular, and with eigenvalues below zero by rounding."""
    monkeypatch.setattr("deepbures.model._target.LARGEST_DECOMPOSED", 8)
    monkeypatch.setattr(np.linalg, "eigh", None)  # no full decomposition
    basis, values = orthonormal(rng, 40, 6), np.array([5.0, 3.0, 1.0, 1.0, 0.5, 0.1])
    covariance = basis * values @ basis.T
    target = db.Target.from_covariance((covariance + covariance.T) / 2)
    assert target.eigenvalues is None
    for k in (1, 3, 8):
        found, vectors = target.spectrum(k)
        np.testing.assert_allclose(found, [*values, 0, 0][:k], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-12)
        np.testing.assert_allclose(covariance @ vectors, vectors * found, atol=1e-12)
    np.testing.assert_allclose(db.minimal_loss(target, 3, db.BuresWasserstein()), 1.6, rtol=1e-13)
    squared = (values[3:] ** 2).sum()
    np.testing.assert_allclose(db.minimal_loss(target, 3, db.Frobenius()), squared, rtol=1e-12)
    again = target.spectrum(3)[1]
    np.testing.assert_array_equal(again, target.spectrum(3)[1])


def test_frobenius_norm_of_an_operator_by_blocks(rng):
    """More dimensions than a block of unit vectors holds."""
    n = 300
    values, w = 1 + np.arange(n) / n, rng.standard_normal((n, 2))
    target = db.Target.from_operator(lambda w: values[:, None] * w, n, values.sum())
    expected = ((w @ w.T - np.diag(values)) ** 2).sum()
    np.testing.assert_allclose(db.Frobenius().value(w, target), expected, rtol=1e-12)


def test_a_batch_of_covariances_is_its_members():
    covariances = np.stack([PROBLEMS[p].covariance for p in ("generic", "singular", "spiked")])
    batch = db.Target.from_covariance(covariances)
    w = np.random.default_rng(2).standard_normal((4, 2))
    loss = db.BuresWasserstein(0.1)
    values = jax.vmap(lambda t: loss.value(jnp.asarray(w), t))(batch)
    for i, covariance in enumerate(covariances):
        single = db.Target.from_covariance(covariance)
        np.testing.assert_allclose(batch.eigenvalues[i], single.eigenvalues, atol=1e-14)
        np.testing.assert_allclose(batch.trace[i], single.trace)
        np.testing.assert_allclose(values[i], loss.value(w, single), rtol=1e-12)


def test_random_bases_are_orthogonal_and_reproducible():
    one, same, other = (db.Target.from_spectrum([3.0, 2.0, 1.0], key=k) for k in (0, jax.random.key(0), 1))
    basis = one.covariance.basis
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-15 * 10)
    np.testing.assert_array_equal(basis, same.covariance.basis)
    assert np.abs(basis - other.covariance.basis).max() > 0.1


def test_rounding_is_removed_up_to_rtol():
    s = np.diag([1.0, 1e-7]) + np.array([[0.0, 1e-7], [0.0, 0.0]])
    s[1, 1] = -1e-7
    target = db.Target.from_covariance(s, rtol=1e-6)
    assert target.eigenvalues[1] == 0
    single = db.Target.from_covariance(np.diag([1.0, -1e-6]).astype(np.float32))
    assert single.dtype == np.float32 and single.eigenvalues[1] == 0


# ------------------------------------------------------------------ bad input

ONES = np.ones((2, 2))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: db.Target.from_covariance(np.ones((2, 3))), r"covariance must be square, but has shape \(2, 3\)"),
        (lambda: db.Target.from_covariance(np.ones(3)), r"covariance must be a matrix, but has shape \(3,\)"),
        (lambda: db.Target.from_covariance(np.ones((0, 0))), r"covariance must not be empty, but has shape \(0, 0\)"),
        (lambda: db.Target.from_covariance([[1, 0.1], [0, 1]]), r"must be symmetric .* mirror images by up to 0\.1"),
        (lambda: db.Target.from_covariance(np.diag([1, -1e-3])), r"an eigenvalue of -0\.001 times .* pass rtol=0\.002"),
        (lambda: db.Target.from_covariance(ONES * np.nan), r"4 entries that are not finite .* index \(0, 0\)"),
        (lambda: db.Target.from_covariance(np.eye(2), rtol=-1.0), r"rtol must be finite and not negative, but -1\.0"),
        (lambda: db.Target.from_factor(np.ones(3)), r"factor must be a matrix, but has shape \(3,\)"),
        (lambda: db.Target.from_factor([[1.0], [np.inf]]), r"1 entry that is not finite .* index \(1, 0\)"),
        (lambda: db.Target.from_factor(ONES, floor=-1.0), r"floor must be finite and not negative, but -1\.0"),
        (lambda: db.Target.from_samples(np.ones(3)), r"one sample a row, but have shape \(3,\)\. Reshape"),
        (lambda: db.Target.from_samples(np.ones((1, 3))), "at least two rows to have a covariance, but 1 was given"),
        (lambda: db.Target.from_samples(np.ones((0, 3))), r"samples must not be empty, but has shape \(0, 3\)"),
        (lambda: db.Target.from_samples([[1.0, 2], [np.nan, 1]]), r"the first at index \(1, 0\)\. Remove or impute"),
        (lambda: db.Target.from_spectrum([1.0, -2.0]), r"must not be negative, but the smallest given is -2\.0"),
        (lambda: db.Target.from_spectrum([]), r"non-empty list of numbers, but have shape \(0,\)"),
        (lambda: db.Target.from_spectrum([1.0, np.inf]), r"eigenvalues has 1 entry that is not finite"),
        (lambda: db.Target.from_spectrum([1.0, 2.0], ONES), r"orthonormal columns, but BᵀB differs .* by 2"),
        (lambda: db.Target.from_spectrum([1.0], ONES), r"basis must have shape \(n, 1\) with n ≥ 1"),
        (lambda: db.Target.from_spectrum([1.0], np.eye(1), key=0), "Give either a basis or a key"),
        (lambda: db.Target.from_operator(lambda w: w[:1], 2, 1.0), r"shape \(2, 1\) to the same shape.*\(1, 1\)"),
        (lambda: db.Target.from_operator(lambda w: np.asarray(w)[:1], 2, 1.0), r"same shape, but returned \(1, 1\)"),
        (lambda: db.Target.from_operator(lambda w: w, 2, -1.0), r"trace must be finite and not negative"),
        (lambda: db.Target.from_operator(lambda w: w, 0, 1.0), r"dim must be at least 1, but 0"),
        (lambda: PROBLEMS["generic"].target.spectrum(5), r"k must be at least 1 and at most 4 \(the dimension"),
        (lambda: PROBLEMS["generic"].target.spectrum(0), r"but 0 was given"),
    ],
)
def test_bad_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: db.Target.from_covariance([["a"]]), "covariance must be an array of real numbers, but has dtype"),
        (lambda: db.Target.from_covariance(np.eye(2) * 1j), "array of real numbers, not complex"),
        (lambda: db.Target.from_samples([[1.0, 2.0], [3.0]]), "samples must be a rectangular array of numbers"),
        (lambda: db.Target.from_operator(3, 2, 1.0), r"matmul must be a function w ↦ Σ0 w, but 3 was given"),
        (lambda: db.Target.from_spectrum([1.0], key="a"), r"key must be a whole number, but 'a'"),
        (lambda: PROBLEMS["generic"].target.spectrum(1.5), r"k must be a whole number, but 1\.5"),
    ],
)
def test_bad_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()
