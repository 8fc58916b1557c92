"""The sections of a report: figures of the run and of the spectra, certificates, images."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures import plot
from deepbures.datasets import Dataset
from deepbures.report._features import feature_section
from deepbures.report._images import image_sections
from deepbures.report._section import Figure, Section
from deepbures.report._words import find
from deepbures.training import Fit, Trajectory

Floats = NDArray[np.float64]


def sections_of(fit: Fit, dataset: Dataset, summary: Mapping[str, Any]) -> Iterator[Section]:
    w = np.asarray(fit.network.end_to_end, np.float64)
    sound = bool(np.isfinite(w).all())
    left, singular, _ = np.linalg.svd(w if sound else np.zeros_like(w), full_matrices=False)
    best = _least_spectrum(fit)
    if fit.trajectory is not None:
        references = {} if best is None else {"smallest_singular_value": float(np.sqrt(best[-1]))}
        yield from _run_sections(fit, fit.trajectory, references)
    yield _spectrum_section(fit, singular[: fit.rank] ** 2, best)
    if sound:
        yield feature_section(fit, dataset)
    if dataset.image_shape is not None and len(dataset.image_shape) in (2, 3) and sound:
        seed = find(summary, "seed")
        yield from image_sections(fit, dataset, (left, singular), seed if isinstance(seed, int) else 0)


def _least_spectrum(fit: Fit) -> Floats | None:
    """The eigenvalues of W Wᵀ at the minimum, where the loss knows them."""
    modes = fit.loss.modes
    if modes is None:
        return None
    return np.maximum(np.asarray(modes.used(fit.target.spectrum(fit.rank)[0]), np.float64), 0)


def _run_sections(fit: Fit, run: Trajectory, references: Mapping[str, float]) -> Iterator[Section]:
    rate = float(fit.asymptotic_rate)
    bounds = _bounds(fit, run)
    approach = plot.plot_excess(run, rate=rate, bounds=bounds, units=fit.loss.units)
    if fit.loss.modes is None:
        slope = "It is not known for this loss, which has no closed forms."
    elif rate <= 0:
        slope = "Theory predicts no exponential rate here but a power of t, a straight line on these logarithmic axes."
    elif plot.prediction_height(run, rate) is not None:
        slope = (
            "The dashed line is the predicted asymptotic slope, anchored at the late part of the run: a prediction for "
            "late times, not a bound."
        )
    else:
        slope = "The run has no late part to hold the predicted asymptotic slope against."
    if bounds:
        names = ", ".join(bounds)
        slope += f" Guaranteed from this start, and not to be crossed: {names}."
    figures = [
        Figure(
            plot.to_svg(plot.plot_loss(run, units=fit.loss.units)),
            "The loss of the run (solid) and the least that any network of this bottleneck can reach (dashed, where it "
            "is known). Plateaus are passages near saddles.",
        ),
        Figure(
            plot.to_svg(approach),
            f"Distance of the loss from the theoretical minimum. {slope}",
        ),
    ]
    yield Section("Loss against theory", figures, pair=True)
    if plot.panel_names(run):
        svg = plot.to_svg(plot.plot_records(run, references=references))
        caption = (
            "Effective rank is the exponential of the entropy of the normalized singular values. Gradient flow "
            "conserves Wₗ₊₁ᵀWₗ₊₁ − WₗWₗᵀ, which the gap measures; each step of "
            "descent changes it in second order of the step size."
        )
        yield Section("Other records of the run", [Figure(svg, caption)])


def _bounds(fit: Fit, run: Trajectory) -> dict[str, Floats]:
    """The bounds of the guarantees that apply to the run, at its records."""
    step = None if run.step_size is None else float(run.step_size)
    return {
        f"bound {check.certificate.name}": check.certificate.bound(run.positions, step_size=step)
        for check in fit.checks
        if check.applies and check.certificate.is_guarantee
    }


def _spectrum_section(fit: Fit, model: Floats, best: Floats | None) -> Section:
    dim = fit.target.dim
    known = fit.target.eigenvalues
    values = fit.target.spectrum(min(dim, fit.rank + 16))[0] if known is None else known
    svg = plot.to_svg(plot.plot_spectra(np.asarray(values), model, rank=fit.rank, minimizer=best, dim=dim))
    caption = "Eigenvalues of the target covariance and of the model's, W Wᵀ."
    modes = fit.loss.modes
    if modes is not None:
        zero = " (zero where that is negative)" if np.any(np.asarray(modes.threshold()) > 0) else ""
        caption += (
            f" At the theoretical minimum the leading k are {modes.used_formula}{zero}. The right panel shows how far "
            "the model's are from that, relative to each."
        )
    return Section("Spectra", [Figure(svg, caption)])
