"""Arrays from files of NumPy, .npy and .npz. Nothing is ever unpickled."""

import contextlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures._words import counted
from deepbures.datasets._features import Features
from deepbures.datasets._kinds import first_bytes, refuse_other_kind
from deepbures.datasets._table import Table

Array = NDArray[Any]

MEMORY_MAP_BYTES = 64 * 2**20
"""Arrays in .npy files larger than this stay on disk, memory-mapped."""

_PREFERRED_KEYS = ("samples", "x", "X", "data")
_PREFERRED_KEYS_COVARIANCE = ("covariance", "cov")


def read_npy(path: Path) -> Table:
    """The array of a .npy file, memory-mapped (even where it is small: then a truncated file is an error)."""
    start = first_bytes(path)
    if len(start) < 8 and b"\x93NUMPY".startswith(start[:6]):
        raise ValueError(f"{path} is truncated or damaged ({len(start)} bytes). Write it again.")
    if not start.startswith(b"\x93NUMPY"):
        refuse_other_kind(path, start, ".npy")
        raise ValueError(f"{path} is not a .npy file{_pickle_hint(start)}. Write it with numpy.save.")
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        if "Python objects" in str(error):
            raise ValueError(_object_message(str(path))) from None
        raise ValueError(f"{path} is truncated or damaged ({error}). Write it again.") from None
    return Table(array, dtypes=array.dtype.name)


def read_npz(path: Path, key: str | None, *, covariance: bool) -> Table:
    """One array of a .npz archive: the one named, the only one, or the one with a customary name."""
    start = first_bytes(path)
    keys = _keys(path, start)
    _refuse_sparse(path, keys)
    chosen = _choose_key(path, keys, key, covariance=covariance)
    array = _read_entry(path, chosen)
    if key is None:
        _refuse_mask(path, chosen, array, keys)
    beside = {}
    for name in {"feature_names", "image_shape"} & set(keys) - {chosen}:
        with contextlib.suppress(ValueError):  # objects, say: then they are not known
            beside[name] = _read_entry(path, name)
    return _with_features(array, beside)


def _keys(path: Path, start: bytes) -> list[str]:
    """The names of the arrays of an archive; refuses what is none."""
    if not zipfile.is_zipfile(path):
        if start.startswith(b"PK"):
            raise ValueError(f"{path} is truncated or damaged. Write it with numpy.savez.")
        refuse_other_kind(path, start, ".npz")
        raise ValueError(f"{path} is not a .npz archive{_pickle_hint(start)}. Write it with numpy.savez.")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not any(name.endswith(".npy") for name in names):
        refuse_other_kind(path, start, ".npz")
    return [name.removesuffix(".npy") for name in names]


def _read_entry(path: Path, name: str) -> Array:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            array = arrays[name]
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        # RuntimeError: an encrypted archive, or a compression that Python does not know.
        if "Object arrays" in str(error):
            raise ValueError(_object_message(f"{path}::{name}")) from None
        raise ValueError(f"{path}::{name} is truncated or damaged ({error}). Write it again.") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}::{name} is not an array. Write the archive with numpy.savez.")
    return array


def _with_features(array: Array, beside: Mapping[str, Array]) -> Table:
    """The array with the names and the image shape that `deepbures sample` writes beside it."""
    if array.ndim != 2:
        return Table(array, dtypes=array.dtype.name)
    features = Features.from_arrays(beside, array.shape[1])
    return Table(array, features.names, array.dtype.name, features.image_shape)


def _refuse_sparse(path: Path, keys: list[str]) -> None:
    """The parts of a sparse matrix are arrays too, but none of them is the matrix."""
    if {"format", "shape", "data"} <= set(keys) and {"indptr", "row", "coords", "offsets"} & set(keys):
        raise ValueError(
            f"{path} is a sparse matrix of SciPy. Save it as an array, numpy.save('x.npy', "
            f"scipy.sparse.load_npz({str(path)!r}).toarray()); or, where that is too large, make a target of products "
            "with its covariance in Python: deepbures.Target.from_operator."
        )


def _refuse_mask(path: Path, chosen: str, array: Array, keys: list[str]) -> None:
    """Refuse an array that lies beside its mask, if that hides anything."""
    for name in {"mask", f"{chosen}_mask", f"{chosen}.mask"} & set(keys) - {chosen}:
        mask = _read_entry(path, name)
        if mask.dtype == np.bool_ and mask.shape == array.shape and mask.any():
            raise ValueError(
                f"{path} holds a mask ({name}) that hides {counted(int(mask.sum()), 'entry', 'entries')} of {chosen}. "
                f"Drop or impute what is hidden first; or name the array, as in '{path}::{chosen}', to take it without "
                "the mask."
            )


def _choose_key(path: Path, keys: list[str], key: str | None, *, covariance: bool) -> str:
    listing = ", ".join(keys)
    if not keys:
        raise ValueError(f"{path} holds no arrays.")
    if key is not None:
        if key not in keys:
            raise ValueError(f"{path} has no array {key!r}; its arrays are {listing}.")
        return key
    if "weight_1" in keys:
        raise ValueError(
            f"{path} is a model, not data. Draw from it with deepbures sample, or name an array, as in "
            f"'{path}::weight_1'."
        )
    if len(keys) == 1:
        return keys[0]
    customary = [name for name in (_PREFERRED_KEYS_COVARIANCE if covariance else _PREFERRED_KEYS) if name in keys]
    if len(customary) == 1:
        return customary[0]
    raise ValueError(f"{path} holds several arrays ({listing}). Name one, as in '{path}::{keys[0]}'.")


def _pickle_hint(start: bytes) -> str:
    is_pickle = start.startswith(b"\x80")
    return " but looks like a pickle, which is never loaded because that can run any code" if is_pickle else ""


def _object_message(what: str) -> str:
    return (
        f"{what} holds Python objects (a pickle), which are never loaded because that can run any code. Save it as an "
        "array of numbers, for instance with array.astype(float)."
    )
