"""Critical points and Hessian spectra: against brute force, automatic differentiation and 60-digit arithmetic."""

import itertools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import deepbures as db
from deepbures.landscape import spectrum_ends

EXACT, SMOOTHED, FROBENIUS = db.BuresWasserstein(), db.BuresWasserstein(0.5), db.Frobenius()
LOSSES = {"exact": EXACT, "smoothed": SMOOTHED, "frobenius": FROBENIUS}
EVERY_LOSS = {
    **LOSSES,
    "likelihood": db.GaussianLikelihood(0.5),
    "entropic": db.EntropicWasserstein(1.0),
    "sinkhorn": db.SinkhornDivergence(0.7),
}
THRESHOLDS = {"smoothed": 0.5, "likelihood": 0.5, "entropic": 0.5}
SPECTRA = {
    "distinct": (5.0, 3.2, 2.1, 1.0, 0.3),
    "repeated": (4.0, 2.5, 2.5, 1.0, 0.3),
    "singular": (4.0, 2.5, 1.0, 0.0, 0.0),
    "at tau": (4.0, 2.5, 1.0, 0.5, 0.2),
}


def target_of(name, key=1):
    return db.Target.from_spectrum(SPECTRA[name], key=key)


CASES = [
    (loss, spectrum, k, m, depth)
    for loss in EVERY_LOSS
    for spectrum in SPECTRA
    for k, m, depth in ((2, 4, 1), (3, 6, 1), (2, 3, 2), (3, 3, 3), (2, 2, 4))
    if not (loss == "exact" and depth == 1) and not (spectrum == "at tau" and loss not in THRESHOLDS)
]


@pytest.mark.parametrize("loss, spectrum, k, m, depth", CASES)
def test_spectra_are_those_of_automatic_differentiation(loss, spectrum, k, m, depth):
    target, loss = target_of(spectrum), EVERY_LOSS[loss]
    points = db.critical_points(target, k, loss, latent_dim=m, depth=depth)
    # The lowest, the highest and some between: all kinds occur in the cases together.
    for place in sorted({0, 1, len(points) // 2, len(points) - 1} & set(range(len(points)))):
        point = points[place]
        widths = (m, *[k] * (depth - 1), target.dim)
        net = point.network(widths)
        # By automatic differentiation of the loss of the weights, with nothing of the closed forms.
        gradient, hessian = loss.grad(net.end_to_end, target), db.hessian_matrix(net, target, loss)
        closed = db.hessian_spectrum(target, point.eigen_indices, loss, widths=widths)
        np.testing.assert_allclose(gradient, 0, atol=1e-11)
        np.testing.assert_allclose(np.linalg.eigvalsh(hessian), closed.eigenvalues, atol=1e-8)
        assert (closed.morse_index, closed.nullity) == (point.morse_index, point.nullity)
        assert point.network().widths == widths
        np.testing.assert_array_equal(point.spectrum().eigenvalues, closed.eigenvalues)
        assert float(loss.value(net.end_to_end, target)) == pytest.approx(point.value, rel=1e-12, abs=1e-12)


def test_widths_above_the_rank():
    target, widths = target_of("distinct"), (3, 5, 4, 5)
    for loss in (SMOOTHED, FROBENIUS):
        point = db.critical_points(target, 3, loss, ranks=2)[1]
        hessian = db.hessian_matrix(point.network(widths), target, loss)
        closed = db.hessian_spectrum(target, point.eigen_indices, loss, widths=widths)
        np.testing.assert_allclose(np.linalg.eigvalsh(hessian), closed.eigenvalues, atol=1e-8)


def test_exact_loss_on_matrices_of_its_rank():
    # On the manifold of rank-2 matrices: W = (I + X) W_0 (I + Y) parametrizes a neighborhood; its Hessian at the
    # critical point has the closed-form eigenvalues after removing the directions that do not move W.
    target, point = target_of("distinct"), db.critical_points(target_of("distinct"), 2, EXACT)[2]
    w0 = point.end_to_end()
    u, s, vh = np.linalg.svd(w0, full_matrices=False)
    n = len(w0)
    free = np.linalg.qr(np.hstack([u, np.eye(n)]))[0][:, 2:n]

    def at(flat):
        core, side = flat[:4].reshape(2, 2), flat[4:].reshape(n - 2, 2)
        return EXACT.value((jnp.asarray(u) @ (jnp.diag(jnp.asarray(s)) + core) + jnp.asarray(free) @ side) @ vh, target)

    hessian = np.asarray(jax.hessian(at)(jnp.zeros(4 + 2 * (n - 2))))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), point.spectrum().eigenvalues, atol=1e-8)


def test_one_hessian_entry_in_sixty_digits():
    # Exchange of mode 2 into the place of mode 1 (from 0) along a rotation of the column, by differences.
    with mpmath.workdps(60):
        lam = [mpmath.mpf(5), mpmath.mpf("3.2"), mpmath.mpf("2.1")]
        tau, step = mpmath.mpf("0.5"), mpmath.mpf(10) ** -20

        def loss(t):
            # W = (√(λ_1 − τ) e_1 + t e_2): W Wᵀ + τ I in the plane of modes 1 and 2, mode 0 unused.
            w = mpmath.matrix([mpmath.sqrt(lam[1] - tau), t])
            s = w * w.T + tau * mpmath.eye(2)
            root = mpmath.diag([mpmath.sqrt(lam[1]), mpmath.sqrt(lam[2])])
            values = mpmath.eigsy(root * s * root, eigvals_only=True)
            rest = (mpmath.sqrt(lam[0]) - mpmath.sqrt(tau)) ** 2
            return s[0, 0] + s[1, 1] + lam[1] + lam[2] - 2 * sum(mpmath.sqrt(v) for v in values) + rest

        second = (loss(step) - 2 * loss(mpmath.mpf(0)) + loss(-step)) / step**2
    closed = db.hessian_spectrum(db.Target.from_spectrum([5.0, 3.2, 2.1]), (1,), db.BuresWasserstein(0.5))
    entry = closed.values[(closed.directions == "exchange") & (closed.first == 2)]
    assert float(second) == pytest.approx(float(entry[0]), rel=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("spectrum", ["distinct", "singular"])
def test_all_points_by_brute_force(loss, spectrum):
    values, k = np.array(SPECTRA[spectrum]), 3
    loss = LOSSES[loss]
    threshold = getattr(loss, "tau", 0.0)
    usable = [i for i, value in enumerate(values) if value > threshold]
    sizes = range(k + 1) if loss is not EXACT else [k]
    cost = {EXACT: values, SMOOTHED: (np.sqrt(values) - np.sqrt(0.5)) ** 2, FROBENIUS: values**2}[loss]
    expected = sorted(
        (float(cost[[i for i in range(5) if i not in chosen]].sum()), chosen)
        for size in sizes
        for chosen in itertools.combinations(usable, size)
    )
    points = db.critical_points(target_of(spectrum), k, loss)
    assert points.total == len(points) == len(expected)
    np.testing.assert_allclose(points.value, [value for value, _ in expected], atol=1e-12)
    assert {point.eigen_indices for point in points} == {chosen for _, chosen in expected}
    lowest = db.critical_points(target_of(spectrum), k, loss, num=4)
    assert [p.eigen_indices for p in lowest] == [p.eigen_indices for p in points[:4]]


def test_lowest_of_very_many():
    # Against a heap over all single exchanges: every point but the lowest is one exchange above a lower one.
    values = np.linspace(3, 1, 60) ** 3
    target = db.Target.from_spectrum(values)
    points = db.critical_points(target, 20, EXACT, num=500)
    assert points.total == math.comb(60, 20)
    assert len(points) == 500 and (np.diff(points.value) >= 0).all()
    found = {point.eigen_indices for point in points}
    highest = points.value[-1]
    for point in points[:100]:
        outside = sorted(set(range(60)) - set(point.eigen_indices))
        for i, j in itertools.product(outside, point.eigen_indices):
            neighbor = tuple(sorted({*point.eigen_indices, i} - {j}))
            value = values.sum() - values[list(neighbor)].sum()
            assert value > highest * (1 - 1e-12) or neighbor in found


def test_hundred_thousand_points_have_all_columns():
    target = db.Target.from_spectrum(np.linspace(5, 0.7, 40) ** 2)
    points = db.critical_points(target, 4, EXACT)
    assert len(points) == math.comb(40, 4)
    index = [sum(i not in p.eigen_indices and i < j for j in p.eigen_indices for i in range(40)) for p in points[:50]]
    assert points.morse_index[:50].tolist() == index
    assert (points.kind[1:] == "strict saddle").all() and points.kind[0] == "minimizer"


@pytest.mark.parametrize("loss", LOSSES)
def test_filters_agree_with_the_whole_table(loss):
    target, loss = target_of("distinct"), LOSSES[loss]
    everything = db.critical_points(target, 3, loss)
    for index in (0, 1, (1, 3)):
        low, high = (index, index) if isinstance(index, int) else index
        some = db.critical_points(target, 3, loss, morse_index=index)
        expected = [p.eigen_indices for p in everything if low <= p.morse_index <= high]
        assert [p.eigen_indices for p in some] == expected
    level = float(np.median(everything.value))
    below = db.critical_points(target, 3, loss, max_value=level)
    assert [p.eigen_indices for p in below] == [p.eigen_indices for p in everything if p.value <= level]
    full = db.critical_points(target, 3, loss, ranks=3)
    assert [p.eigen_indices for p in full] == [p.eigen_indices for p in everything if p.rank == 3]


def test_families_of_equal_eigenvalues():
    points = db.critical_points(db.Target.from_spectrum([4.0, 2.0, 2.0, 2.0, 1.0]), 2, EXACT)
    table = {point.eigen_indices: point for point in points}
    assert set(table) == {(0, 1), (0, 4), (1, 2), (1, 4)}
    assert [table[j].family_dim for j in ((0, 1), (0, 4), (1, 2), (1, 4))] == [2, 0, 2, 2]
    assert table[(0, 1)].kind == "minimizer" and table[(0, 1)].nullity == 1 + 2


def test_index_filter_where_there_are_too_many_points():
    target = db.Target.from_spectrum(1 / np.arange(1, 301.0))
    points = db.critical_points(target, 30, EXACT, morse_index=5)
    assert len(points) == 7  # the partitions of 5
    assert (points.morse_index == 5).all()
    with pytest.raises(ValueError, match=r"critical points of these ranks.*num=1000"):
        db.critical_points(target, 30, EXACT)


def test_degenerate_saddles_and_maxima():
    target = target_of("distinct")
    assert db.critical_points(target, 2, FROBENIUS, latent_dim=5, ranks=0)[0].kind == "maximum"
    assert db.critical_points(target, 2, SMOOTHED, depth=2, ranks=0)[0].kind == "degenerate saddle"
    assert db.critical_points(target, 2, SMOOTHED, ranks=1)[0].kind == "strict saddle"


def test_what_follows_from_a_spectrum():
    target = target_of("distinct")
    for loss in LOSSES.values():
        for depth in (1, 3):
            spectrum = db.critical_points(target, 3, loss, depth=depth)[0].spectrum()
            assert spectrum.largest == pytest.approx(float(db.sharpness(target, 3, loss, depth=depth)), rel=1e-12)
            assert spectrum.asymptotic_rate == pytest.approx(
                float(db.asymptotic_rate(target, 3, loss, depth=depth)), rel=1e-12
            )
            assert spectrum.stability_limit == 2 / spectrum.largest
    saddle = db.hessian_spectrum(target, (0, 2), EXACT)
    assert math.isnan(saddle.asymptotic_rate)
    assert saddle.relative_condition == pytest.approx(2 / (2 * (3.2 / 2.1 - 1)))
    assert saddle.absolute_condition == pytest.approx(2 / (2 * (1 - 3.2 / 5.0)))


@pytest.mark.parametrize("loss", [EXACT, SMOOTHED, db.BuresWasserstein(9.0), FROBENIUS], ids=str)
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("m, depth", [(2, 1), (3, 1), (2, 3), (3, 2)])
def test_ends_of_many_spectra_are_those_of_each(loss, spectrum, m, depth, monkeypatch):
    monkeypatch.setattr("deepbures.landscape._ends._ENTRIES", 50)  # several blocks
    points = db.critical_points(target_of(spectrum), 2, loss, latent_dim=m, depth=depth)
    ends, spectra = spectrum_ends(points), [point.spectrum() for point in points]
    for name in ("smallest", "largest", "relative_condition", "absolute_condition"):
        expected = [getattr(each, name) for each in spectra]
        np.testing.assert_allclose(getattr(ends, name), expected, rtol=1e-13, atol=1e-15, err_msg=name)


def test_depths_beyond_all_networks():
    # At N → ∞, g(w, w) = N w^p with p → 2, and g(a, b) / N → (a² − b²) / ln(a²/b²).
    target, depth = target_of("distinct"), 10**15
    spectrum = db.critical_points(target, 2, EXACT, depth=depth)[0].spectrum()
    table = dict(zip(spectrum.directions.tolist(), spectrum.values.tolist(), strict=True))
    assert table["scale"] == pytest.approx(2 * depth * 3.2, rel=1e-12)  # the last one, of mode 1
    assert table["pair"] == pytest.approx(2 * depth * 1.8 / math.log(5.0 / 3.2), rel=1e-12)
    assert spectrum.nullity == 2 * 2 * (depth - 1) + 2 * 5 - 9
    with pytest.raises(ValueError, match=r"depth must be at least 1 and at most \d+ \(for less than 2⁶³ weights\)"):
        db.critical_points(target, 2, EXACT, depth=10**30)


def test_blow_up_of_the_hessian_as_smoothing_vanishes():
    target = target_of("distinct")
    for tau in (1e-2, 1e-4, 1e-6):
        lowest = db.hessian_spectrum(target, (0,), db.BuresWasserstein(tau), latent_dim=2).smallest
        assert lowest == pytest.approx(2 * (1 - np.sqrt(3.2 / tau)), rel=1e-12)


def test_lifts_share_the_end_to_end_matrix():
    point = db.critical_points(target_of("distinct"), 2, EXACT, depth=3)[1]
    rng = np.random.default_rng(0)
    net = point.lift([rng.normal(size=(2, 2)), rng.normal(size=(2, 2))])
    np.testing.assert_allclose(net.end_to_end, point.end_to_end(), atol=1e-12)
    assert net.balancedness_gap() > 0.1
    with pytest.raises(ValueError, match=r"2 hidden layers .* but holds 1"):
        point.lift([np.eye(2)])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda t: db.critical_points(t, 0, EXACT), "rank must be at least 1 and at most 5"),
        (lambda t: db.critical_points(t, 6, EXACT), "rank must be at least 1 and at most 5"),
        (lambda t: db.critical_points(t, 2, EXACT, latent_dim=1), "latent_dim must be at least 2"),
        (lambda t: db.critical_points(t, 2, EXACT, ranks=1), "Ask for rank=1 instead"),
        (lambda t: db.critical_points(t, 2, EXACT, num=0), "num must be at least 1"),
        (lambda t: db.critical_points(target_of("singular"), 4, EXACT), "3 positive eigenvalues"),
        (lambda t: db.hessian_spectrum(t, (0, 0), EXACT), r"must not repeat, but \(0, 0\) has \[0\]"),
        (lambda t: db.hessian_spectrum(t, (5,), EXACT), "at most 4"),
        (lambda t: db.hessian_spectrum(t, (4,), SMOOTHED), "above 0.5, the first 4 of them: eigenvalue 4 is 0.3"),
        (lambda t: db.hessian_spectrum(target_of("singular"), (3,), EXACT), "above 0"),
        (lambda t: db.hessian_spectrum(t, (0,), EXACT, widths=(2, 2, 5)), "kink: there is no Hessian"),
        (lambda t: db.hessian_spectrum(t, (0, 1), SMOOTHED, widths=(2, 1, 5)), "must be at least 2"),
        (lambda t: db.hessian_spectrum(t, (), EXACT), "at least one mode: without smoothing"),
        (lambda t: db.hessian_spectrum(t, (0,), EXACT, depth=10**30), "less than 2⁶³ weights"),
        (lambda t: db.critical_points(t, 2, SMOOTHED, ranks=[]), r"at least one, but \[\] was given"),
        (
            lambda t: db.critical_points(t, 2, EXACT, morse_index=(0, 1, 2)),
            r"a pair .* but is \(0, 1, 2\)",
        ),
        (lambda t: db.critical_points(t, 2, EXACT, morse_index=(2, 1)), "morse_index must be at least 2"),
        (lambda t: db.critical_points(t, 2, EXACT, max_value=math.nan), "max_value must be a number, but nan"),
        (lambda t: db.critical_points(t, 2, db.BuresWasserstein(jnp.array([0.1, 0.2]))), "batch of losses"),
        (lambda t: db.critical_points(db.Target.from_spectrum(np.zeros(3)), 1, EXACT), "0 positive .* Use smoothing"),
        (
            lambda t: db.critical_points(t, 2, EXACT, depth=2)[0].lift([np.ones((2, 2))]),
            "must be invertible",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(target_of("distinct"))


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda t: db.critical_points(np.eye(3), 1, EXACT),
            "must be a Target, but a ndarray was given",
        ),
        (lambda t: db.hessian_spectrum(np.eye(3), (0,), EXACT), "must be a Target"),
        (
            lambda t: db.critical_points(t, 1, "bw"),
            "loss must be a loss such as BuresWasserstein\\(\\), but .bw. was given",
        ),
        (lambda t: db.critical_points(t, 2.0, EXACT), "rank must be a whole number, but 2.0"),
        (lambda t: db.critical_points(t, 2, EXACT, ranks=2.0), "ranks must be a whole number, but 2.0"),
        (lambda t: db.critical_points(t, 2, EXACT, morse_index=1.0), "morse_index must be a whole number, but 1.0"),
        (lambda t: db.critical_points(t, 2, EXACT, max_value="low"), "max_value must be a number, but 'low'"),
        (lambda t: db.hessian_spectrum(t, 1, EXACT), "eigen_indices must be a sequence of whole numbers, but 1"),
        (lambda t: db.hessian_spectrum(t, "01", EXACT), "eigen_indices must be a sequence of whole numbers, but '01'"),
        (lambda t: db.hessian_spectrum(t, (0,), EXACT, depth=1.5), "depth must be a whole number, but 1.5"),
    ],
)
def test_bad_types(call, message):
    with pytest.raises(TypeError, match=message):
        call(target_of("distinct"))


def test_targets_without_variance_and_smoothing_above_all_eigenvalues():
    # Zero is then the only critical point of the smooth losses, and their minimizer.
    for values, loss, value in (
        (np.zeros(3), SMOOTHED, 1.5),
        (np.zeros(3), FROBENIUS, 0.0),
        ([2.0, 1.0], db.BuresWasserstein(2.0), (math.sqrt(2) - 1) ** 2),
        ([2.0, 1.0], db.BuresWasserstein(4.5), (math.sqrt(4.5) - math.sqrt(2)) ** 2 + (math.sqrt(4.5) - 1) ** 2),
    ):
        for depth in (1, 3):
            (point,) = db.critical_points(db.Target.from_spectrum(values), 2, loss, depth=depth)
            assert (point.eigen_indices, point.kind, point.morse_index) == ((), "minimizer", 0)
            assert point.value == pytest.approx(value, rel=1e-14)


def test_a_large_matrix_is_decomposed(monkeypatch, rng):
    factor = rng.normal(size=(30, 12))
    matrix = factor @ factor.T
    small = db.Target.from_covariance(matrix)
    monkeypatch.setattr("deepbures.model._target.LARGEST_DECOMPOSED", 10)
    large = db.Target.from_covariance(matrix)
    assert large.eigenvalues is None
    points, expected = (db.critical_points(target, 3, EXACT, num=4) for target in (large, small))
    np.testing.assert_allclose(points.value, expected.value, rtol=1e-12)
    np.testing.assert_array_equal(points.eigen_indices, expected.eigen_indices)
    assert (points.target.eigenvalues > 0).sum() == 12
    spectra = (db.hessian_spectrum(target, (0, 2), EXACT).eigenvalues for target in (large, small))
    np.testing.assert_allclose(*spectra, atol=1e-12)
    found = db.classify(points[1].network(), large, EXACT)
    assert found.is_at and found.point.eigen_indices == points[1].eigen_indices


def test_target_known_through_products_is_refused():
    target = db.Target.from_operator(lambda w: 2 * w, 5, 10.0)
    with pytest.raises(ValueError, match="known through products only"):
        db.critical_points(target, 2, EXACT)
    with pytest.raises(TypeError, match="loss must be a loss such as"):
        db.critical_points(target_of("distinct"), 2, object())


def test_dataframe():
    pandas = pytest.importorskip("pandas")
    points = db.critical_points(target_of("distinct"), 2, EXACT)
    frame = points.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.eigen_indices.tolist() == [p.eigen_indices for p in points]
    assert len(points[1:3]) == 2 and points[-1].kind == "strict saddle"
    with pytest.raises(IndexError, match="but there are 10"):
        points[10]


@pytest.mark.parametrize("above", [0, 4, 100], ids=lambda above: f"{above}eps")
@pytest.mark.parametrize("loss", EVERY_LOSS.values(), ids=EVERY_LOSS)
def test_all_agree_on_which_modes_can_be_used(loss, above):
    """Within 64 eps λ_1 of a positive threshold none can; above a threshold of zero, all that are not zero."""
    threshold, eps = float(loss.modes.threshold()), np.finfo(float).eps
    target = db.Target.from_spectrum([1.0, threshold + above * eps, threshold / 2])
    usable = 1 + (above > 64 if threshold > 0 else above > 0)
    problem = db.Problem(target, loss, 2)
    assert int(problem.used.sum()) == usable and len(problem.unusable_modes()) == (2 - usable if threshold > 0 else 0)
    if usable == 1 and not loss.modes.is_smooth:
        with pytest.raises(ValueError, match="has 1 positive eigenvalues"):
            db.critical_points(target, 2, loss)
        return
    points = db.critical_points(target, 2, loss, latent_dim=3)
    assert points.rank.max() == usable
    for point in points:
        assert (point.morse_index, point.nullity, point.kind) == (
            point.spectrum().morse_index,
            point.spectrum().nullity,
            point.spectrum().kind,
        )
    assert db.classify(db.DeepLinearNetwork([np.asarray(problem.minimizer())]), target, loss).point.rank == usable
