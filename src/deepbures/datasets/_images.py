"""A folder of images as a stack of arrays."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures._warn import warn
from deepbures.datasets._extras import import_extra

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_OTHER_SUFFIXES = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jfif", ".ppm", ".pgm", ".pnm", ".tga")
"""Images as well, but not read."""

_GRAY_MODES = ("1", "L", "LA")
_COLOR_MODES = ("RGB", "RGBA", "P", "PA", "YCbCr")


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
    _warn_of_other_images(folder)
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


def _warn_of_other_images(folder: Path) -> None:
    """Say what of the folder looks like data and is not read."""
    kinds = sorted({path.suffix.lower() for path in folder.iterdir()} & set(_OTHER_SUFFIXES))
    subfolders = sorted(path.name for path in folder.iterdir() if path.is_dir() and _has_images(path))
    left_out = [f"all {', '.join(kinds)} files"] * bool(kinds) + [f"the subfolders {', '.join(subfolders)}"] * bool(
        subfolders
    )
    if left_out:
        warn(
            f"of the images in {folder}, {' and '.join(left_out)} are not read. Convert or move them if they belong to "
            "the data."
        )


def _has_images(folder: Path) -> bool:
    try:
        return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())
    except OSError:  # not ours to read
        return False


def _read_image(pillow: Any, path: Path) -> NDArray[np.float64]:
    """One image, upright, with values in [0, 1]: gray (h, w) where it is stored so, else RGB (h, w, 3)."""
    try:
        with pillow.open(path) as image:
            _check_kind(path, image)
            upright = import_extra("PIL.ImageOps", f"reading {path}").exif_transpose(image)
            if upright.mode.startswith("I;16"):
                return np.asarray(upright).astype(np.float64) / 65535.0
            if image.has_transparency_data:
                upright = _opaque(path, upright)
            pixels = upright.convert("L" if image.mode in _GRAY_MODES else "RGB")
            return np.asarray(pixels).astype(np.float64) / 255.0
    except (OSError, SyntaxError, EOFError, pillow.DecompressionBombError) as error:
        # Pillow reports damaged files by any of these (a broken PNG by SyntaxError).
        raise ValueError(f"{path} could not be read as an image ({error}). Remove or replace it.") from None


def _check_kind(path: Path, image: Any) -> None:
    """Refuse what Pillow would read in part, or in another range."""
    # What cameras write as .jpg may have a preview after the picture itself (MPO).
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise ValueError(
            f"{path} holds {frames} frames or pages, but a file is one sample. Save each as a file of its own."
        )
    is_deep = any(";16" in str(part) for tile in image.tile for part in _parts(tile))
    if is_deep and not image.mode.startswith("I;16"):
        raise ValueError(
            f"{path} has 16 bits a channel in color or with transparency, of which only 8 would be read. Convert it to "
            "8 bits, or save all images as one .npy array of values from 0 to 1."
        )
    if image.mode == "CMYK":
        raise ValueError(
            f"{path} has CMYK colors, amounts of ink, of which only the color profile of the inks makes RGB. Convert "
            "it first (Pillow: ImageCms.profileToProfile with outputMode='RGB'), or save all images with their four "
            "channels as one .npy array."
        )
    if image.mode not in _GRAY_MODES + _COLOR_MODES and not image.mode.startswith("I;16"):
        raise ValueError(
            f"{path} has pixels of mode {image.mode}, whose range is not known. Convert it to 8 or 16 bits, gray or "
            "RGB, or save all images as one .npy array."
        )


def _parts(tile: Any) -> tuple[Any, ...]:
    """What the decoder of a part of an image is told: among it, how pixels are packed ("RGB;16B")."""
    arguments = tile[3]
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _opaque(path: Path, image: Any) -> Any:
    """The image without its transparency, if nothing of it is transparent."""
    full = image.convert("RGBA")
    least, _ = full.getchannel("A").getextrema()
    if least < 255:
        raise ValueError(
            f"{path} has transparent pixels, whose color is not seen. Put it on a background first (Pillow: "
            "Image.alpha_composite), or save all images with their four channels as one .npy array."
        )
    return full
