"""Built-in data sets: their names, their options, and where they come from."""

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deepbures.datasets._dataset import Dataset
from deepbures.datasets._extras import import_extra
from deepbures.datasets._synthetic import KINDS, SPECTRA, gaussian

_PATCHES_LIMIT_BYTES = 8 * 2**30
"""Patches larger than this in memory are refused: a small stride is easily asked for by mistake."""

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Weights of red, green and blue in the luminance (ITU-R BT.709)."""


@dataclasses.dataclass(frozen=True)
class _Option:
    """One option of a built-in data set: its default, its parser (ValueError if it cannot), and the allowed values."""

    default: Any
    parse: Callable[[str], Any]
    expected: str


def _whole_number(default: int | None, minimum: int) -> _Option:
    def parse(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise ValueError
        return value

    return _Option(default, parse, f"a whole number of at least {minimum}")


def _number(default: float) -> _Option:
    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError
        return value

    return _Option(default, parse, "a finite number")


def _choice(*values: str) -> _Option:
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return _Option(values[0], parse, " or ".join(repr(value) for value in values))


@dataclasses.dataclass(frozen=True)
class _Builtin:
    load: Callable[..., Dataset]
    options: Mapping[str, _Option]


# ---------------------------------------------------------------------- the data sets


def _digits() -> Dataset:
    datasets = import_extra("sklearn.datasets", "the data set 'digits'")
    return Dataset(
        name="digits",
        samples=np.asarray(datasets.load_digits().data, dtype=np.float64),
        image_shape=(8, 8),
        description=(
            "1797 gray 8×8 images of handwritten digits, pixels 0 to 16: test set of the UCI 'Optical Recognition of "
            "Handwritten Digits' (E. Alpaydin and C. Kaynak, 1998; CC BY 4.0), as distributed with scikit-learn."
        ),
    )


def _faces() -> Dataset:
    data = import_extra("skimage.data", "the data set 'faces'")
    images = np.asarray(data.lfw_subset(), dtype=np.float64)
    return Dataset(
        name="faces",
        samples=images.reshape(len(images), -1),
        image_shape=images.shape[1:],
        description=(
            "200 gray 25×25 crops, pixels 0 to 1, the first 100 of faces and the others of background: from Labeled "
            "Faces in the Wild (G. B. Huang et al., University of Massachusetts, 2007), as distributed with "
            "scikit-image."
        ),
    )


def _patches(*, size: int, stride: int) -> Dataset:
    import_extra("PIL", "the data set 'patches'")
    datasets = import_extra("sklearn.datasets", "the data set 'patches'")
    pictures = [np.asarray(image) @ _LUMINANCE / 255.0 for image in datasets.load_sample_images().images]
    smallest = min(min(picture.shape) for picture in pictures)
    if size > smallest:
        raise ValueError(
            f"option size of 'patches' must be at most {smallest}, the height of the pictures, but {size} was given."
        )
    windows = [np.lib.stride_tricks.sliding_window_view(picture, (size, size)) for picture in pictures]
    windows = [window[::stride, ::stride] for window in windows]
    num_bytes = sum(window.size for window in windows) * windows[0].itemsize
    if num_bytes > _PATCHES_LIMIT_BYTES:
        raise ValueError(
            f"'patches' with size={size} and stride={stride} would take {num_bytes / 2**30:.0f} GiB of memory (limit "
            f"{_PATCHES_LIMIT_BYTES / 2**30:.0f}). Raise the stride or lower the size."
        )
    samples = np.concatenate([window.reshape(-1, size * size) for window in windows])
    return Dataset(
        name=f"patches:size={size},stride={stride}",
        samples=samples,
        image_shape=(size, size),
        description=(
            f"{len(samples)} gray {size}×{size} patches, luminance 0 to 1, of two natural images: 'china' by "
            "danielbuechele and 'flower' by vultilion (Flickr, CC BY 2.0), as distributed with scikit-learn."
        ),
    )


BUILTINS: Mapping[str, _Builtin] = {
    "digits": _Builtin(_digits, {}),
    "faces": _Builtin(_faces, {}),
    "patches": _Builtin(_patches, {"size": _whole_number(16, 1), "stride": _whole_number(3, 1)}),
    "gaussian": _Builtin(
        gaussian,
        {
            "dim": _whole_number(20, 1),
            "spectrum": _choice(*SPECTRA),
            "kind": _choice(*KINDS),
            "smin": _number(-1.0),
            "rank": _whole_number(None, 1),
            "seed": _whole_number(0, 0),
        },
    ),
}


# ---------------------------------------------------------------------- reading a name with options


def load_builtin(source: str) -> Dataset:
    """The data set of a source `name` or `name:option=value,option=value` whose name is known."""
    name, colon, text = source.partition(":")
    builtin = BUILTINS[name]
    given = _parse_options(source, name, text, builtin.options) if colon else {}
    defaults = {key: option.default for key, option in builtin.options.items()}
    return builtin.load(**(defaults | given))


def _parse_options(source: str, name: str, text: str, options: Mapping[str, _Option]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if not options:
        raise ValueError(f"the data set {name!r} has no options, but {source!r} was given. Write just {name!r}.")
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ValueError(
                f"options are written name=value and separated by commas, but {part!r} was given in {source!r}. "
                f"The options of {name!r} are {_list(options)}."
            )
        if key not in options:
            raise ValueError(
                f"the data set {name!r} has no option {key!r}; its options are {_list(options)}."
                f"{suggestion(key, options)}"
            )
        if key in given:
            raise ValueError(f"option {key} of {name!r} is given twice in {source!r}. Give it once.")
        try:
            given[key] = options[key].parse(value)
        except ValueError:
            raise ValueError(
                f"option {key} of {name!r} must be {options[key].expected}, but {value!r} was given."
            ) from None
    return given


def _list(options: Mapping[str, _Option]) -> str:
    return ", ".join(options)


def suggestion(given: str, known: Any) -> str:
    """' Did you mean …?' where a known name is close to what was given, else nothing."""
    close = difflib.get_close_matches(given, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
