"""Trained generators of images: their eigen-images and what they draw."""

import numpy as np
from matplotlib.figure import Figure

from deepbures._checks import check_integer
from deepbures.experiments import Images
from deepbures.plot._images import plot_images


def plot_eigen_images(record: Images, *, num: int = 16) -> Figure:
    """Leading eigenvectors of the data above the left singular vectors of the generators.

    Parameters
    ----------
    record : Images
        What `images` found.
    num : int
        At most so many modes.

    Returns
    -------
    matplotlib.figure.Figure
        Each image on its own symmetric scale. Modes that a generator does not use are blank.

    Examples
    --------
    >>> from deepbures.experiments import images
    >>> from deepbures.plot import plot_eigen_images
    >>> figure = plot_eigen_images(images(quick=True, rank=3))
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['target', 'closed-form', 'descent']
    """
    shown = slice(check_integer(num, "num", 1))
    rows = {"target": record.eigen_images[shown]}
    rows.update({solver: run.eigen_images[shown] for solver, run in record.generators.items()})
    labels = [str(mode + 1) for mode in range(len(rows["target"]))]
    return plot_images(rows, record.image_shape, signed=True, column_labels=labels)


def plot_generated_images(record: Images, *, num: int = 16) -> Figure:
    """Samples of the generators below some of the data.

    Parameters
    ----------
    record : Images
        What `images` found.
    num : int
        At most so many of each; 16 were drawn.

    Returns
    -------
    matplotlib.figure.Figure
        All in the range of the data shown, clipped for display. The generators have drawn from the same latent noise.

    Examples
    --------
    >>> from deepbures.experiments import images
    >>> from deepbures.plot import plot_generated_images
    >>> figure = plot_generated_images(images(quick=True, rank=3), num=4)
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['data', 'closed-form', 'descent']
    """
    shown = slice(check_integer(num, "num", 1))
    rows = {"data": record.data_samples[shown]}
    rows.update({solver: run.samples[shown] for solver, run in record.generators.items()})
    limits = (float(np.min(record.data_samples)), float(np.max(record.data_samples)))
    return plot_images(rows, record.image_shape, limits=limits)
