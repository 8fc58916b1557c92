"""Index, nullity and kind of every critical point are those of its own Hessian spectrum, whatever the widths."""

import itertools

import numpy as np
import pytest

import deepbures as db
from deepbures.landscape import spectrum_ends

SPECTRA = {
    "distinct": (5.0, 3.0, 1.0),
    "repeated": (4.0, 2.0, 2.0, 1.0),
    "singular": (4.0, 1.0, 0.0),
    "at tau": (4.0, 0.5, 0.25),
}
LOSSES = {
    "exact": db.BuresWasserstein(),
    "smoothed": db.BuresWasserstein(0.5),
    "smoothed above": db.BuresWasserstein(4.5),
    "Frobenius": db.Frobenius(),
    "likelihood": db.GaussianLikelihood(0.5),
    "entropic": db.EntropicWasserstein(1.0),
    "Sinkhorn": db.SinkhornDivergence(0.7),
}
EACH = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
TARGETS = pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA)


def cases(values, loss):
    """(rank, latent_dim, depth), with latent sizes equal to the rank, above it, and above the dimension."""
    n = len(values)
    usable = sum(value > 0 for value in values)
    for rank in range(1, n + 1):
        if loss == LOSSES["exact"] and rank > usable:
            continue
        for m, depth in itertools.product(sorted({rank, rank + 1, n, n + 2} - set(range(rank))), (1, 2, 3)):
            yield rank, m, depth


@EACH
@TARGETS
def test_counts_are_those_of_the_spectrum(values, loss):
    target = db.Target.from_spectrum(values)
    for rank, m, depth in cases(values, loss):
        points = db.critical_points(target, rank, loss, latent_dim=m, depth=depth)
        for point in points:
            spectrum = point.spectrum()
            assert point.morse_index == spectrum.morse_index == (spectrum.eigenvalues < 0).sum()
            assert point.nullity == spectrum.nullity == (spectrum.eigenvalues == 0).sum()
            assert point.kind == spectrum.kind
            assert (point.kind == "minimizer") == spectrum.is_minimizer
            # A minimizer has no negative curvature; a maximum has no other.
            assert point.kind != "minimizer" or point.morse_index == 0
            assert point.kind != "maximum" or (spectrum.eigenvalues < 0).all()
            assert (point.kind in ("strict saddle", "maximum")) == (point.morse_index > 0)
        ends = spectrum_ends(points)
        np.testing.assert_array_equal(ends.smallest, [point.spectrum().smallest for point in points])
        np.testing.assert_array_equal(ends.largest, [point.spectrum().largest for point in points])


@EACH
@TARGETS
def test_the_filter_finds_exactly_the_points_of_an_index(values, loss):
    target = db.Target.from_spectrum(values)
    for rank, m, depth in cases(values, loss):
        options = {"latent_dim": m, "depth": depth}
        index = {p.eigen_indices: p.spectrum().morse_index for p in db.critical_points(target, rank, loss, **options)}
        for wanted in (0, (1, max(*index.values(), 1))):
            low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
            found = db.critical_points(target, rank, loss, morse_index=wanted, **options)
            assert {p.eigen_indices for p in found} == {j for j, count in index.items() if low <= count <= high}
            some = db.critical_points(target, rank, loss, morse_index=wanted, num=2, **options)
            assert [p.eigen_indices for p in some] == [p.eigen_indices for p in found[:2]]


def test_the_exact_minimizer_with_columns_to_spare():
    """W = 2 e_1 vᵀ in R^{3×3}: on matrices of rank one, 2 exchanges, 1 scale and 2 rotations of v."""
    target = db.Target.from_spectrum([4.0, 2.0, 1.0])
    lowest, second, _ = db.critical_points(target, 1, db.BuresWasserstein(), latent_dim=3)
    assert (lowest.kind, lowest.morse_index, lowest.nullity) == ("minimizer", 0, 2)
    assert lowest.spectrum().eigenvalues.tolist() == [0, 0, 1, 1.5, 2]
    assert (second.kind, second.morse_index, second.nullity) == ("strict saddle", 1, 2)
    assert lowest.spectrum().asymptotic_rate == 2.0


@pytest.mark.parametrize("loss", [db.BuresWasserstein(0.5), db.Frobenius()], ids=["smoothed", "Frobenius"])
def test_a_bound_on_the_rank_does_not_hide_the_way_out(loss):
    """Smooth losses are looked at on all 3×3 matrices at depth one: there the best of rank one is a saddle."""
    target = db.Target.from_spectrum([4.0, 2.0, 1.0])
    point = db.critical_points(target, 1, loss, latent_dim=3, ranks=1)[0]
    w = point.end_to_end()
    hessian = db.hessian_matrix(db.DeepLinearNetwork([w]), target, loss)
    assert (point.kind, point.morse_index) == ("strict saddle", 4)
    assert (np.linalg.eigvalsh(hessian) < -1e-9).sum() == 4
    (best,) = db.critical_points(target, 3, loss, morse_index=0, ranks=3)
    assert best.kind == "minimizer"


@EACH
@pytest.mark.parametrize("widths", [(3, 3), (2, 3), (3, 2, 3), (2, 2, 3), (3, 2, 4, 3), (2, 4, 2, 3)])
def test_the_point_that_classify_finds_agrees_with_itself(loss, widths):
    target = db.Target.from_spectrum([5.0, 3.0, 1.0])
    bottleneck = min(widths)
    modes = (0, 2)[:bottleneck] if loss != LOSSES["smoothed above"] else (0,)
    roots = np.sqrt(np.array([5.0, 3.0, 1.0])[list(modes)] - getattr(loss, "tau", 0.0))
    w = np.zeros((3, widths[0]))
    w[list(modes), range(len(modes))] = roots
    for matrix in (w, w * (np.arange(widths[0]) < 1)):  # and one of lower rank
        found = db.classify(db.balanced_network(matrix, widths), target, loss)
        spectrum = found.point.spectrum()
        assert (found.point.morse_index, found.point.nullity) == (spectrum.morse_index, spectrum.nullity)
        assert found.point.kind == spectrum.kind or (found.point.kind, spectrum.kind) == (
            "degenerate saddle",  # of the exact loss, for a network that could have a higher rank
            "minimizer",
        )


def test_extremes_by_lanczos_where_there_are_columns_to_spare():
    target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0]), db.BuresWasserstein()
    for depth in (1, 2):
        for point in db.critical_points(target, 1, loss, latent_dim=3, depth=depth):
            extremes, spectrum = db.hessian_extremes(point.network(), target, loss), point.spectrum()
            assert extremes.smallest == pytest.approx(spectrum.smallest, abs=1e-7)
            assert extremes.largest == pytest.approx(spectrum.largest, abs=1e-7)


def test_rates_at_graded_spectra_take_rounding_for_ties():
    """λ_2 and λ_3 differ by a rounding error of λ_1, as those of a decomposed matrix do: no slow direction."""
    target = db.Target.from_spectrum([1.0, 1e-6 + 3e-16, 1e-6, 1e-8])
    spectrum = db.hessian_spectrum(target, (0, 1), db.BuresWasserstein())
    rate = float(db.asymptotic_rate(target, 2, db.BuresWasserstein()))
    assert rate == pytest.approx(spectrum.asymptotic_rate, rel=1e-12) and rate > 3.9


def test_rates_in_single_precision_see_small_gaps():
    """1 − λ_2/λ_1 = 2^−18, which float32 tells apart: rate 4 · 2^−18."""
    target = db.Target.from_spectrum(np.array([1.0, 1 - 2.0**-18], np.float32))
    rate = float(db.asymptotic_rate(target, 1, db.BuresWasserstein()))
    assert rate == pytest.approx(4 * 2.0**-18, rel=1e-5)
