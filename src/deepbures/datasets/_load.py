"""From what the user names to a checked data set."""

import contextlib
import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from deepbures.datasets import _files
from deepbures.datasets._assemble import (
    AS_COVARIANCE,
    check_dtype,
    check_exact,
    check_finite,
    dataset_of,
    in_memory_unless_large,
)
from deepbures.datasets._builtin import BUILTINS, load_builtin, suggestion
from deepbures.datasets._dataset import Dataset
from deepbures.datasets._images import IMAGE_SUFFIXES, read_images
from deepbures.datasets._parquet import read_parquet
from deepbures.datasets._table import Table
from deepbures.datasets._text import TEXT_SUFFIXES, read_text

Array = NDArray[Any]

_SUFFIXES = (".npy", ".npz", *TEXT_SUFFIXES, ".parquet")
_BUILTIN = "builtin"
"""Before a colon, says that the rest is a built-in name."""

_ACCEPTED = f"a file ({', '.join(_SUFFIXES)}) or a folder of images"


def known_datasets() -> tuple[str, ...]:
    """Names of the built-in data sets, for `load_dataset`.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from deepbures.datasets import known_datasets
    >>> known_datasets()
    ('digits', 'faces', 'patches', 'gaussian')
    """
    return tuple(BUILTINS)


def load_dataset(source: str | os.PathLike[str], *, covariance: bool = False, header: bool | None = None) -> Dataset:
    """Load a built-in data set, a file, or a folder of images.

    Built-in data sets, as ``name`` or ``name:option=value,option=value``:

    ``digits``
        1797 handwritten digits, 8×8 pixels from 0 to 16 (UCI, by scikit-learn).
    ``faces``
        200 crops of photographs, half of them faces, 25×25 pixels from 0 to 1 (Labeled Faces in the Wild, by
        scikit-image).
    ``patches:size=16,stride=3``
        Square windows of `size` pixels at every `stride` pixels of two photographs, luminance (ITU-R BT.709) from 0
        to 1 (by scikit-learn); 57,684 rows by default, those of the picture 'china' first, from the top left.
    ``gaussian:dim=20,spectrum=zipf,kind=eig,smin=-1,rank=20,seed=0``
        A covariance matrix with a random spectrum in a random orthonormal basis, as in the experiments of [1]_. The
        values are, for ``spectrum=random``, the singular values s of a standard normal dim×dim matrix, and for
        ``spectrum=zipf``, s_1/i + N(0, 1), i = 1, …, dim, shifted to the minimum 1/dim. Where smin ≥ 0 and the
        minimum is below it, they are shifted so that the smallest kept one is smin + 1/dim. All but the `rank` largest
        are set to zero. They are eigenvalues for ``kind=eig``, and their squares are for ``kind=sing``. The basis
        depends on `dim` and `seed` only. Drawn by `numpy.random.default_rng`; the same options give the same bits
        on the same machine.

    Files, with samples in rows:

    .npy
        In memory as float64, or memory-mapped, read-only and in its own dtype, where it is larger than 64 MiB
        and holds native float32, float64, integers or booleans.
    .npz
        ``data.npz::key`` names an array. Without a key: the only array, or the one called ``samples``, ``x``, ``X`` or
        ``data`` (with `covariance`: ``covariance`` or ``cov``).
    .csv, .tsv, .csv.gz, .tsv.gz
        Numbers, or ``true`` and ``false``, separated by commas, semicolons or tabs, in UTF-8 or UTF-16 (or UTF-32 with
        its mark). A first row without any number is a header, and so is 0, 1, …, n−1 above other data, as pandas writes
        for columns without names. A first row of numbers that looks like a header otherwise is refused: see `header`.
    .parquet
        All columns, which must be numeric and complete. A pandas row index, named or not, is left out.
    folder
        Its .png, .jpg, .jpeg, .bmp, .tif, .tiff and .webp images, sorted by name, all of one shape, turned upright as
        their EXIF data tell; values from 0 to 1. Gray stays gray, all else becomes RGB; transparent pixels and
        CMYK are refused.

    Names of columns are kept in `Dataset.feature_names`.

    Arrays of shape (N, h, w) and (N, h, w, c) with 1, 3 or 4 channels are taken for images and flattened to rows.
    Values of arrays are not scaled, whatever their shape and type. Integers, booleans and other floating types become
    float64.

    Parameters
    ----------
    source : str or path
        Name of a built-in data set, or a path. A built-in name that is a path as well is refused: write ``./digits``
        for the path, or ``builtin:digits`` for the data set.
    covariance : bool
        Read the file as the covariance matrix of the target, shape (n, n), instead of as samples.
    header : bool, optional
        Of text files: whether the first row names the columns. By default that is found out, or refused where the row
        is made of numbers (wavelengths, years) that differ from all rows below as those of a header do.

    Returns
    -------
    Dataset
        With `samples`, or with `covariance` for ``gaussian`` and where asked for.

    Raises
    ------
    ValueError
        If the source is unknown, does not exist or cannot be read (damaged, empty, pickled); or if the data are not
        real finite numbers in a matrix with at least two rows, or the covariance is not square; or if `header` is given
        for what is no text file.
    TypeError
        If `source` is not a string or path, `covariance` not a bool, or `header` neither a bool nor None.

    Warns
    -----
    UserWarning
        If the first column of a table counts its rows: that may be a row index. If samples are a symmetric matrix: that
        may be a covariance. If a folder of images holds others that are not read.
    ImportError
        If an optional dependency that the source needs is not installed.

    Examples
    --------
    >>> from deepbures.datasets import load_dataset
    >>> data = load_dataset("gaussian:dim=5,spectrum=zipf,seed=1")
    >>> data.dim, data.samples is None, data.covariance.shape
    (5, True, (5, 5))
    >>> load_dataset("digitz")
    Traceback (most recent call last):
        ...
    ValueError: unknown data 'digitz': neither a built-in data set (digits, faces, patches, gaussian) nor an existing \
path to a file (.npy, .npz, .csv, .tsv, .csv.gz, .tsv.gz, .parquet) or a folder of images. Did you mean 'digits'?

    References
    ----------
    .. [1] P. Bréchet, K. Papagiannouli, J. An, G. Montúfar, "Critical points and convergence analysis of generative
       deep linear networks trained with Bures-Wasserstein loss", ICML 2023. arXiv:2303.03027. The spectra follow the
       authors' public code, except for the generator of random numbers and the basis (there the left singular
       vectors of the matrix that gives the singular values; here drawn independently).
    """
    if not isinstance(source, str | os.PathLike) or not isinstance(os.fspath(source), str):
        raise TypeError(f"source must be a string or a path, but {source!r} was given.")
    if not isinstance(covariance, bool):
        raise TypeError(f"covariance must be True or False, but {covariance!r} was given.")
    _check_header(header)
    with _reading(source):
        name = _builtin_name(source) if isinstance(source, str) else None
        if name is None:
            return _load_path(os.fspath(source), covariance=covariance, header=header)
        data = load_builtin(name)
        if covariance and data.covariance is None:
            raise ValueError(
                f"{source!r} holds samples and cannot be read as a covariance matrix. Leave {AS_COVARIANCE} out."
            )
        if header is not None:
            raise ValueError(_no_header_message(str(source)))
        return data


def _builtin_name(source: str) -> str | None:
    """The built-in name, with its options, that is meant; None where a path is."""
    start, _, rest = source.partition(":")
    if start == _BUILTIN and not os.path.exists(source):
        if rest.partition(":")[0] not in BUILTINS:
            raise ValueError(
                f"{source!r} names no built-in data set; they are {', '.join(BUILTINS)}."
                f"{suggestion(rest.partition(':')[0], BUILTINS)}"
            )
        return rest
    if start not in BUILTINS:
        return None
    if os.path.exists(source):
        raise ValueError(
            f"{source!r} is a built-in data set, and a file or folder here as well. Write "
            f"{os.path.join('.', source)!r} for the path, or '{_BUILTIN}:{source}' for the data set."
        )
    return source


def _check_header(header: bool | None) -> None:
    if header is not None and not isinstance(header, bool):
        raise TypeError(f"header must be True, False or None, but {header!r} was given.")


def is_text(source: str | os.PathLike[str]) -> bool:
    """Whether a source is a table in text, which may have a header.

    Examples
    --------
    >>> from deepbures.datasets import is_text
    >>> is_text("x.csv.gz"), is_text("x.npy")
    (True, False)
    """
    return os.fspath(source).lower().endswith(TEXT_SUFFIXES)


def _no_header_message(source: str) -> str:
    return (
        f"{source!r} has no header: only text files have ({', '.join(TEXT_SUFFIXES)}). Leave header (on the command "
        "line: --header, --no-header) out."
    )


def load_matrix(source: str | os.PathLike[str], *, header: bool | None = None) -> Array:
    """The matrix in a file, as it is: any number of rows and columns, neither samples nor a covariance.

    Parameters
    ----------
    source : str or path
        A file with numbers, read as by `load_dataset`.
    header : bool, optional
        As for `load_dataset`.

    Returns
    -------
    ndarray (n, r)
        float64 in memory; or memory-mapped, in the dtype of the file, where a .npy file is large.

    Raises
    ------
    ValueError
        If the file cannot be read, or does not hold a non-empty matrix of real finite numbers.
    ImportError
        If an optional dependency that the file needs is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepbures.datasets import load_matrix
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "factor.csv"
    ...     _ = path.write_text("1,2,3")
    ...     load_matrix(path)
    array([[1., 2., 3.]])
    """
    text = os.fspath(source)
    _check_header(header)
    with _reading(source):
        path, key = _split(text)
        if path.is_dir():
            raise ValueError(f"{text!r} is a folder; a matrix is read from {', '.join(_SUFFIXES)}.")
        array = _read_file(path, key, text, covariance=False, header=header).array
        check_dtype(array, text)
        check_exact(array, text)
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"{text!r} must hold a non-empty matrix, but has shape {array.shape}.")
        matrix = in_memory_unless_large(array)
        check_finite(matrix, text)
        return matrix


@contextlib.contextmanager
def _reading(source: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever the system refuses, as a ValueError that names the source."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{os.fspath(source)!r} could not be read: {error.strerror or error}.") from None
    except MemoryError as error:
        raise ValueError(
            f"{os.fspath(source)!r} does not fit in memory ({error}). Save it as a float32 or float64 .npy file, which "
            "is memory-mapped, or use less of it."
        ) from None


# ---------------------------------------------------------------------- paths


def _load_path(text: str, *, covariance: bool, header: bool | None) -> Dataset:
    path, key = _split(text)
    if path.is_dir():
        if header is not None:
            raise ValueError(_no_header_message(text))
        return _load_folder(path, covariance=covariance)
    table = _read_file(path, key, str(path), covariance=covariance, header=header)
    name = path.name if key is None else f"{path.name}::{key}"
    return dataset_of(table, name, str(path), covariance=covariance)


def _split(text: str) -> tuple[Path, str | None]:
    """The existing path, and the name of an array in it if one is given."""
    key = None
    if "::" in text and not os.path.exists(text):
        text, _, key = text.rpartition("::")
    path = Path(text)
    if text == "" or "\0" in text or not os.path.exists(path):
        raise ValueError(_unknown_message(text))
    if key is not None and path.suffix.lower() != ".npz":
        raise ValueError(f"'::{key}' names an array of a .npz archive, but {text!r} is not one. Leave it out.")
    return path, key


def _suffix(path: Path) -> str:
    """The suffix in small letters, with the one before it where it tells of a compression."""
    return "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]).lower()


def _read_file(path: Path, key: str | None, text: str, *, covariance: bool, header: bool | None) -> Table:
    suffix = _suffix(path)
    if suffix not in _SUFFIXES or not path.is_file():
        hint = " Give the folder that holds the images." if suffix in IMAGE_SUFFIXES else ""
        raise ValueError(f"cannot read {text!r}: data are {_ACCEPTED}, but this is {_describe(path)}.{hint}")
    if suffix in TEXT_SUFFIXES:
        return read_text(path, header, covariance=covariance)
    if header is not None:
        raise ValueError(_no_header_message(text))
    match suffix:
        case ".npy":
            return _files.read_npy(path)
        case ".npz":
            return _files.read_npz(path, key, covariance=covariance)
        case _:
            return read_parquet(path)


def _load_folder(path: Path, *, covariance: bool) -> Dataset:
    if covariance:
        raise ValueError(f"{str(path)!r} is a folder; a covariance matrix is read from {', '.join(_SUFFIXES)}.")
    return dataset_of(Table(read_images(path)), path.resolve().name, str(path), covariance=False)


def _describe(path: Path) -> str:
    if not path.is_file():
        return "neither a file nor a folder"
    return f"a {_suffix(path)} file" if path.suffix else "a file without a suffix"


def _unknown_message(text: str) -> str:
    path = Path(text)
    if _suffix(path) in _SUFFIXES or os.sep in text:
        neighbors: list[str] = []
        if "\0" not in text and path.parent.is_dir() and os.access(path.parent, os.R_OK):
            neighbors = difflib.get_close_matches(path.name, os.listdir(path.parent), n=1)
        hint = f" Did you mean {str(path.parent / neighbors[0])!r}?" if neighbors else ""
        return f"there is no file or folder {text!r}.{hint}"
    return (
        f"unknown data {text!r}: neither a built-in data set ({', '.join(BUILTINS)}) nor an existing path to "
        f"{_ACCEPTED}.{suggestion(text.partition(':')[0], BUILTINS)}"
    )
