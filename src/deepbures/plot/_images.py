"""Rows of images."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from deepbures.plot._style import STYLE, Floats

_LARGEST_TILE = 96
_SMALLEST_TILE = 40


def plot_images(
    rows: Mapping[str, ArrayLike],
    image_shape: Sequence[int],
    *,
    signed: bool = False,
    limits: tuple[float, float] | None = None,
    column_labels: Sequence[str] = (),
) -> Figure:
    """Rows of images, each row with its label.

    Parameters
    ----------
    rows : mapping from labels to arrays (m, n)
        Flattened images. An image with values that are not finite is left blank.
    image_shape : (height, width) or (height, width, channels)
        Gray with no or one channel, color with three or four (the fourth is opacity).
    signed : bool
        Each image on its own symmetric scale, for eigenvectors: gray images blue below zero and red above, color images
        as deviations from middle gray.
    limits : (low, high), optional
        Values shown as black and as white if not `signed`; values beyond are clipped for display. Default: those of the
        first row.
    column_labels : sequence of str
        Above the columns.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no image, or the shape is not that of gray or color images.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbures.plot import plot_images
    >>> figure = plot_images({"data": np.eye(4), "model": np.ones((4, 4))}, (2, 2))
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['data', 'model']
    """
    shape = tuple(image_shape)
    stacks = {label: np.atleast_2d(np.asarray(row, np.float64)) for label, row in rows.items()}
    if not stacks or not all(stack.size for stack in stacks.values()):
        raise ValueError("rows must hold at least one image each.")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise ValueError(f"image_shape must be (height, width) or (height, width, 1, 3 or 4), but {shape} was given.")
    if limits is None and not signed:
        first = next(iter(stacks.values()))
        limits = (float(np.nanmin(first)), float(np.nanmax(first)))
    columns = max(len(stack) for stack in stacks.values())
    tiles = [[_tile(image, shape, None if signed else limits) for image in stack] for stack in stacks.values()]
    height, width = tiles[0][0].shape[:2]
    gap = max(2, round(0.06 * max(height, width)))
    mosaic = np.zeros((len(tiles) * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for i, row in enumerate(tiles):
        for j, tile in enumerate(row):
            mosaic[i * (height + gap) : i * (height + gap) + height, j * (width + gap) : j * (width + gap) + width] = (
                tile
            )
    return _draw_mosaic(mosaic, list(stacks), column_labels, (height, width, gap))


def _tile(image: Floats, shape: tuple[int, ...], limits: tuple[float, float] | None) -> NDArray[np.uint8]:
    """One image as RGBA bytes, enlarged or thinned to a size for the eye; signed where there are no limits."""
    height, width = shape[:2]
    channels = 1 if len(shape) == 2 else shape[2]
    pixels = image.reshape(height, width, channels)
    thin = -(-max(height, width) // _LARGEST_TILE)
    pixels = pixels[::thin, ::thin]
    tile = np.zeros((*pixels.shape[:2], 4), np.uint8)
    if np.isfinite(pixels).all():
        tile[:] = np.round(255 * _colors(pixels, limits))
    repeat = -(-_SMALLEST_TILE // max(tile.shape[:2]))
    return tile.repeat(repeat, 0).repeat(repeat, 1)


def _colors(pixels: Floats, limits: tuple[float, float] | None) -> Floats:
    colors = np.ones((*pixels.shape[:2], 4))
    channels = pixels.shape[2]
    if limits is None:
        largest = np.abs(pixels[..., :3]).max()
        scaled = 0.5 + 0.5 * pixels / (largest if largest > 0 else 1)
        colors[..., :3] = mpl.colormaps["RdBu_r"](scaled[..., 0])[..., :3] if channels == 1 else scaled[..., :3]
    else:
        low, high = limits
        scaled = np.clip((pixels - low) / (high - low if high > low else 1), 0, 1)
        colors[..., :3] = scaled[..., :3]
        if channels == 4:
            colors[..., 3] = scaled[..., 3]
    return colors


def _draw_mosaic(
    mosaic: NDArray[np.uint8], labels: Sequence[str], column_labels: Sequence[str], tile: tuple[int, int, int]
) -> Figure:
    """The mosaic at about 0.6 inch a tile (1 inch where there are few), labels at its left and above."""
    height, width, gap = tile
    columns = (mosaic.shape[1] + gap) // (width + gap)
    scale = min(9.6 / mosaic.shape[1], (0.6 if columns > 8 else 1.0) / width)
    left, top, pad = 1.15, 0.28 if column_labels else 0.06, 0.06
    size = (left + mosaic.shape[1] * scale + pad, top + mosaic.shape[0] * scale + pad)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=size)
        axes = figure.add_axes((left / size[0], pad / size[1], 1 - (left + pad) / size[0], 1 - (top + pad) / size[1]))
        axes.imshow(mosaic, interpolation="none", aspect="auto")
        axes.set_frame_on(False)
        axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
        axes.set_yticks([i * (height + gap) + height / 2 for i in range(len(labels))], labels)
        places = [j * (width + gap) + width / 2 for j in range(len(column_labels))]
        axes.set_xticks(places, column_labels)
    return figure
