"""A folder of images as a stack of arrays."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures.datasets._extras import import_extra

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_GRAY_MODES = ("1", "L", "LA")
_COLOR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")


def read_images(folder: Path) -> NDArray[np.float64]:
    """The images of a folder, sorted by file name, as (N, h, w) or (N, h, w, 3) with values in [0, 1]."""
    paths = sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")),
        key=lambda path: path.name,
    )
    if not paths:
        raise ValueError(
            f"the folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)}). Images in its subfolders are not read."
        )
    pillow = import_extra("PIL.Image", f"reading the images in {folder}")
    first = _read_image(pillow, paths[0])
    stack = np.empty((len(paths), *first.shape))
    for i, path in enumerate(paths):
        image = _read_image(pillow, path)
        if image.shape != first.shape:
            raise ValueError(
                f"all images of a folder must have the same shape, but {paths[0]} has {first.shape} and {path} has "
                f"{image.shape} (height, width and, for color, 3). Resize or convert them first."
            )
        stack[i] = image
    return stack


def _read_image(pillow: Any, path: Path) -> NDArray[np.float64]:
    """One image with values in [0, 1]: gray (h, w) where it is stored so, else RGB (h, w, 3) without transparency."""
    try:
        with pillow.open(path) as image:
            if image.mode.startswith("I;16"):
                return np.asarray(image).astype(np.float64) / 65535.0
            if image.mode not in _GRAY_MODES + _COLOR_MODES:
                raise ValueError(
                    f"{path} has pixels of mode {image.mode}, whose range is not known. Convert it to 8 or 16 bits, "
                    "gray or RGB, or save all images as one .npy array."
                )
            if image.mode in _GRAY_MODES:
                pixels = image.convert("L")
            elif image.mode.startswith("P"):  # by way of RGBA: Pillow warns of a transparent palette otherwise
                pixels = image.convert("RGBA").convert("RGB")
            else:
                pixels = image.convert("RGB")
            return np.asarray(pixels).astype(np.float64) / 255.0
    except (OSError, SyntaxError, EOFError, pillow.DecompressionBombError) as error:
        # Pillow reports damaged files by any of these (a broken PNG by SyntaxError).
        raise ValueError(f"{path} could not be read as an image ({error}). Remove or replace it.") from None
