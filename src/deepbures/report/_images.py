"""Sections for data that are images."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures import plot
from deepbures.datasets import Dataset
from deepbures.plot import format_number
from deepbures.report._section import Figure, Section
from deepbures.training import Fit

Floats = NDArray[np.float64]

_MOST_IMAGES = 16


def image_sections(fit: Fit, dataset: Dataset, svd: tuple[Floats, Floats], seed: int) -> Iterator[Section]:
    shape = dataset.image_shape
    assert shape is not None  # by the caller; tells the type checker
    yield _eigen_images(fit, shape, *svd)
    num = _MOST_IMAGES
    mean = np.asarray(fit.target.mean, np.float64)
    noise = fit.loss.noise_variance
    deviations = {"model st. dev.": np.sqrt((np.asarray(fit.network.end_to_end, np.float64) ** 2).sum(1) + noise)}
    draws = np.asarray(fit.network.sample(seed, num, noise_variance=noise), np.float64)
    rows: dict[str, Any] = {"model": draws}
    limits = (float(draws.min()), float(draws.max()))
    if dataset.samples is not None:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(dataset.samples))[:num])
        data = np.asarray(dataset.samples[chosen], np.float64)
        limits = (float(data.min()), float(data.max()))
        rows = {"data": data, **rows}
        with suppress(ValueError):  # a target known through products only has no factor
            factor = np.asarray(fit.target.factor(), np.float64)
            deviations = {"data st. dev.": np.sqrt((factor**2).sum(1)), **deviations}
    largest = max(float(image.max()) for image in deviations.values())
    drawn = (
        f"Samples, drawn with seed {seed}. The model is a Gaussian: it has the mean and the leading covariance "
        "of the data, not their shape. "
        f"{f'Noise of the variance τ = {noise:g}, which the loss counts in, is part of it. ' if noise > 0 else ''}"
        "Values are clipped to "
        f"{format_number(limits[0])} … {format_number(limits[1])} for display only."
    )
    moments = (
        "The mean, which the model takes over, in the range of the samples above; the standard deviation of each "
        f"pixel, black for 0 and white for {format_number(largest)}: what the model lacks there lies outside its rank."
    )
    figures = [Figure(plot.to_svg(plot.plot_images(rows, shape, limits=limits)), drawn, wide=False)]
    yield Section("Samples", figures)
    # One row of one scale: the deviations, from zero to the largest, in the range of the mean.
    spread = (limits[1] - limits[0]) / (largest if largest > 0 else 1)
    row = np.stack([mean, *(limits[0] + image * spread for image in deviations.values())])
    picture = plot.plot_images({"": row}, shape, limits=limits, column_labels=["mean", *deviations])
    yield Section("Mean and standard deviation", [Figure(plot.to_svg(picture), moments, wide=False)])


def _eigen_images(fit: Fit, shape: Sequence[int], left: Floats, singular: Floats) -> Section:
    num = min(fit.rank, _MOST_IMAGES)
    vectors = np.asarray(fit.target.spectrum(fit.rank)[1], np.float64)[:, :num]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(num)])
    own = left[:, :num]
    cosines = (vectors * own).sum(0)
    own = own * np.where(cosines < 0, -1, 1)
    used = singular[:num] > np.finfo(np.float64).eps * max(left.shape) * singular[0]
    own = np.where(used, own, np.nan)
    labels = [str(j + 1) for j in range(num)]
    figure = plot.plot_images({"target": vectors.T, "model": own.T}, shape, signed=True, column_labels=labels)
    closest = f"Smallest |cos| between the two rows: {np.abs(cosines[used]).min():.6f}. " if used.any() else ""
    blank = "" if used.all() else "Blank: modes that the model does not use. "
    caption = (
        f"Leading eigenvectors of the target and left singular vectors of W as images, each on its own scale, signs "
        f"made to agree. {closest}{blank}Where eigenvalues are nearly equal, only the span "
        "of their vectors is determined."
    )
    return Section("Eigen-images", [Figure(plot.to_svg(figure), caption, wide=False)])
