"""From what the user names to a checked data set."""

import contextlib
import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures.datasets import _files
from deepbures.datasets._builtin import BUILTINS, load_builtin, suggestion
from deepbures.datasets._dataset import Dataset, row_blocks
from deepbures.datasets._files import Table
from deepbures.datasets._images import IMAGE_SUFFIXES, read_images

Array = NDArray[Any]

_SUFFIXES = (".npy", ".npz", ".csv", ".parquet")
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


def load_dataset(source: str | os.PathLike[str], *, covariance: bool = False) -> Dataset:
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
    .csv
        UTF-8, separated by commas, semicolons or tabs. A first row without any number is a header, and so is
        0, 1, …, n−1 with n ≥ 3, as pandas writes for columns without names.
    .parquet
        All columns, which must be numeric and complete. A pandas row index is left out.
    folder
        Its .png, .jpg, .jpeg, .bmp, .tif, .tiff and .webp images, sorted by name, all of one shape; values from 0 to 1.
        Gray stays gray, all else becomes RGB without transparency.

    Arrays of shape (N, h, w) and (N, h, w, c) with 1, 3 or 4 channels are taken for images and flattened to rows;
    stacks of uint8 are then divided by 255 (and never memory-mapped). Other values are not scaled. Integers, booleans
    and other floating types become float64.

    Parameters
    ----------
    source : str or path
        Name of a built-in data set, or a path. A string that begins with a built-in name means that; write ``./digits``
        for a folder of that name.
    covariance : bool
        Read the file as the covariance matrix of the target, shape (n, n), instead of as samples.

    Returns
    -------
    Dataset
        With `samples`, or with `covariance` for ``gaussian`` and where asked for.

    Raises
    ------
    ValueError
        If the source is unknown, does not exist or cannot be read (damaged, empty, pickled); or if the data are not
        real finite numbers in a matrix with at least two rows, or the covariance is not square.
    TypeError
        If `source` is not a string or path, or `covariance` not a bool.
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
path to a file (.npy, .npz, .csv, .parquet) or a folder of images. Did you mean 'digits'?

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
    with _reading(source):
        if isinstance(source, str) and source.partition(":")[0] in BUILTINS:
            data = load_builtin(source)
            if covariance and data.covariance is None:
                raise ValueError(
                    f"{source!r} holds samples and cannot be read as a covariance matrix. Leave covariance (on the "
                    "command line: --covariance) out."
                )
            return data
        return _load_path(os.fspath(source), covariance=covariance)


def load_matrix(source: str | os.PathLike[str]) -> Array:
    """The matrix in a file, as it is: any number of rows and columns, neither samples nor a covariance.

    Parameters
    ----------
    source : str or path
        A .npy, .npz, .csv or .parquet file, read as by `load_dataset`.

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
    with _reading(source):
        path, key = _split(text)
        if path.is_dir():
            raise ValueError(f"{text!r} is a folder; a matrix is read from {', '.join(_SUFFIXES)}.")
        array = _read_file(path, key, text, covariance=False).array
        _check_dtype(array, text)
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"{text!r} must hold a non-empty matrix, but has shape {array.shape}.")
        matrix = _in_memory_unless_large(array)
        _check_finite(matrix, text)
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


def _load_path(text: str, *, covariance: bool) -> Dataset:
    path, key = _split(text)
    if path.is_dir():
        return _load_folder(path, covariance=covariance)
    table = _read_file(path, key, str(path), covariance=covariance)
    name = path.name if key is None else f"{path.name}::{key}"
    return _dataset(table, name, str(path), covariance=covariance)


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


def _read_file(path: Path, key: str | None, text: str, *, covariance: bool) -> Table:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES or not path.is_file():
        hint = " Give the folder that holds the images." if suffix in IMAGE_SUFFIXES else ""
        raise ValueError(f"cannot read {text!r}: data are {_ACCEPTED}, but this is {_describe(path)}.{hint}")
    match suffix:
        case ".npy":
            return _files.read_npy(path)
        case ".npz":
            return _files.read_npz(path, key, covariance=covariance)
        case ".csv":
            return _files.read_csv(path)
        case _:
            return _files.read_parquet(path)


def _load_folder(path: Path, *, covariance: bool) -> Dataset:
    if covariance:
        raise ValueError(f"{str(path)!r} is a folder; a covariance matrix is read from {', '.join(_SUFFIXES)}.")
    return _dataset(Table(read_images(path)), path.resolve().name, str(path), covariance=False)


def _describe(path: Path) -> str:
    if not path.is_file():
        return "neither a file nor a folder"
    return f"a {path.suffix} file" if path.suffix else "a file without a suffix"


def _unknown_message(text: str) -> str:
    path = Path(text)
    if path.suffix.lower() in _SUFFIXES or os.sep in text:
        neighbors: list[str] = []
        if "\0" not in text and path.parent.is_dir() and os.access(path.parent, os.R_OK):
            neighbors = difflib.get_close_matches(path.name, os.listdir(path.parent), n=1)
        hint = f" Did you mean {str(path.parent / neighbors[0])!r}?" if neighbors else ""
        return f"there is no file or folder {text!r}.{hint}"
    return (
        f"unknown data {text!r}: neither a built-in data set ({', '.join(BUILTINS)}) nor an existing path to "
        f"{_ACCEPTED}.{suggestion(text.partition(':')[0], BUILTINS)}"
    )


# ---------------------------------------------------------------------- checks


def _dataset(table: Table, name: str, source: str, *, covariance: bool) -> Dataset:
    """The data set of a table read from a source, checked."""
    array = table.array
    _check_dtype(array, source)
    if covariance:
        _check_square(array, source)
        matrix = _in_memory_unless_large(array)
        _check_finite(matrix, source)
        return Dataset(
            name=name,
            covariance=matrix,
            description=f"Covariance matrix read from {name}.",
            feature_names=table.names,
            feature_dtypes=_dtypes(table, matrix.shape[1]),
        )
    image_shape = _check_shape(array, source)
    is_image_bytes = image_shape is not None and array.dtype == np.uint8
    samples = np.array(array, np.float64, subok=False) / 255.0 if is_image_bytes else _in_memory_unless_large(array)
    if samples.ndim > 2:
        samples = samples.reshape(len(samples), -1)
    _check_finite(samples, source)
    kind = "Samples" if image_shape is None else "Images"
    return Dataset(
        name=name,
        samples=samples,
        image_shape=image_shape,
        description=f"{kind} read from {name}.",
        feature_names=table.names,
        feature_dtypes=_dtypes(table, samples.shape[1]),
    )


def _dtypes(table: Table, dim: int) -> tuple[str, ...] | None:
    return (table.dtypes,) * dim if isinstance(table.dtypes, str) else table.dtypes


def _check_dtype(array: Array, source: str) -> None:
    if array.dtype.kind in "biuf":
        return
    if array.dtype.kind == "c":
        raise ValueError(
            f"{source!r} must hold real numbers, but has dtype {array.dtype}. Give the real and the imaginary part as "
            "separate columns."
        )
    raise ValueError(f"{source!r} must hold numbers, but has dtype {array.dtype}. Drop what is not a number.")


def _check_square(array: Array, source: str) -> None:
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(
            f"{source!r} must hold a square matrix to be read as a covariance, but has shape {array.shape}. If it "
            "holds samples in rows, leave covariance (on the command line: --covariance) out."
        )


def _check_shape(array: Array, source: str) -> tuple[int, ...] | None:
    """Refuse what are not at least two samples; the image shape where the array is a stack of images."""
    shape = array.shape
    is_stack = array.ndim == 3 or (array.ndim == 4 and shape[3] in (1, 3, 4))
    if array.ndim != 2 and not is_stack:
        reshape = "reshape(-1, 1) if these are samples of one number" if array.ndim < 2 else "reshape(len(x), -1)"
        raise ValueError(
            f"{source!r} must hold a matrix with one sample a row, or images as (N, h, w) or (N, h, w, 3), but has "
            f"shape {shape}. Reshape it first: x.{reshape}."
        )
    if 0 in shape:
        raise ValueError(f"{source!r} is empty: it has shape {shape}. Give at least two samples.")
    if shape[0] < 2:
        raise ValueError(
            f"{source!r} holds one sample only (shape {shape}), which has no covariance. Give at least two, one a row."
        )
    if not is_stack:
        return None
    return shape[1:3] if array.ndim == 3 or shape[3] == 1 else shape[1:]


def _in_memory_unless_large(array: Array) -> Array:
    """float64 in memory; or the memory map itself if it is large and of a dtype that is computed with as it is."""
    is_usable = array.dtype.isnative and (array.dtype.kind in "biu" or array.dtype.itemsize in (4, 8))
    is_viewable = array.ndim == 2 or array.flags.c_contiguous  # flattening images would copy otherwise
    is_large = isinstance(array, np.memmap) and array.nbytes > _files.MEMORY_MAP_BYTES
    if is_large and is_usable and is_viewable:
        return array
    with np.errstate(over="ignore"):  # extended precision beyond the range of float64: found by the finite check
        return np.array(array, dtype=np.float64, order="C", subok=False)


def _check_finite(matrix: Array, source: str) -> None:
    """Refuse NaN and infinities, block by block."""
    if matrix.dtype.kind != "f":
        return
    count, first = 0, None
    for start, block in row_blocks(matrix):
        finite = np.isfinite(block)
        if not finite.all():
            count += int(finite.size - finite.sum())
            if first is None:
                row, column = (int(i) for i in np.argwhere(~finite)[0])
                first = (start + row, column)
    if first is not None:
        raise ValueError(
            f"{source!r} has {count} entries that are not finite (NaN or infinite), the first in row {first[0]}, "
            f"column {first[1]} (counted from 0). Remove or impute them first."
        )
