"""Files of samples: a writer for each suffix, and a folder of images."""

import contextlib
import csv
import gzip
import importlib
import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from deepbures._warn import warn
from deepbures._words import counted
from deepbures.datasets import Features
from deepbures.runs import write_atomically


class Draws(Protocol):
    """Samples in blocks of rows, and what their columns are.

    Every column is rounded to its type in `dtypes`; `dtype` holds them all. `names` are those of a table, which always
    has some; `features` tells which of them the data had.
    """

    num: int
    names: list[str]
    dtypes: list[np.dtype]
    dtype: np.dtype
    features: Features

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks of rows."""


def _stream_npy(file: IO[bytes], draws: Draws) -> None:
    # Not a memory map: on a full disk, writing to one ends the process without an error.
    header = {"descr": np.lib.format.dtype_to_descr(draws.dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, header | {"shape": (draws.num, len(draws.names))})
    for block in draws:
        file.write(block.data)


def _write_npy(path: Path, draws: Draws) -> None:
    with path.open("wb") as file:
        _stream_npy(file, draws)


def _write_npz(path: Path, draws: Draws) -> None:
    known = draws.features.to_arrays()
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(_entry("samples"), "w", force_zip64=True) as file:
            _stream_npy(file, draws)
        for name in ("feature_names", "image_shape"):
            if name in known:
                with archive.open(_entry(name), "w") as file:
                    np.lib.format.write_array(file, known[name], allow_pickle=False)


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{name}.npy")  # with its fixed date: same seed, same bytes


def _text_writer(delimiter: str, *, is_compressed: bool) -> Callable[[Path, Draws], None]:
    def write(path: Path, draws: Draws) -> None:
        # Enough digits to read the same bits again.
        formats = [f"%.{9 if dtype.itemsize == 4 else 17}g" for dtype in draws.dtypes]
        with contextlib.ExitStack() as stack:
            raw: Any = stack.enter_context(path.open("wb"))
            if is_compressed:  # without name and date: same seed, same bytes
                raw = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
            file = stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
            csv.writer(file, delimiter=delimiter, lineterminator="\n").writerow(_told_apart(draws.names))
            for block in draws:
                np.savetxt(file, block, delimiter=delimiter, fmt=formats)

    return write


def unique(names: Sequence[str]) -> list[str]:
    """Names of which none is there twice, made as pandas makes them of a header: a, a.1, a.2.

    From a Parquet file with names that repeat, pandas and Arrow read nothing; of text, pandas makes these names.
    """
    taken, found = set(names), dict[str, None]()
    for name in names:
        other, count = name, 0
        while other in found or (count and other in taken):
            count += 1
            other = f"{name}.{count}"
        found[other] = None
    return list(found)


def _told_apart(names: Sequence[str]) -> list[str]:
    """The names of the columns of a table, with a warning where they are not those of the data."""
    other = unique(names)
    changed = [pair for pair in zip(names, other, strict=True) if pair[0] != pair[1]]
    if changed:
        before, after = changed[0]
        more = "" if len(changed) == 1 else f", and {counted(len(changed) - 1, 'other')} likewise"
        warn(f"names of columns repeat: the column {before!r} that comes again is written as {after!r}{more}.")
    return other


def _write_parquet(path: Path, draws: Draws) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = zip(_told_apart(draws.names), draws.dtypes, strict=True)
    schema = pa.schema([(name, pa.from_numpy_dtype(dtype)) for name, dtype in pairs])
    with pq.ParquetWriter(path, schema) as writer:
        for block in draws:
            columns = [column.astype(dtype) for column, dtype in zip(block.T, draws.dtypes, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))


WRITERS: dict[str, Callable[[Path, Draws], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".csv": _text_writer(",", is_compressed=False),
    ".tsv": _text_writer("\t", is_compressed=False),
    ".csv.gz": _text_writer(",", is_compressed=True),
    ".tsv.gz": _text_writer("\t", is_compressed=True),
    ".parquet": _write_parquet,
}


def suffix_of(out: Path) -> str:
    """The suffix in small letters, with the one before it where it tells of a compression."""
    return "".join(out.suffixes[-2:] if out.suffix.lower() == ".gz" else out.suffixes[-1:]).lower()


def least_bytes(out: Path, draws: Draws) -> int:
    """What a file takes at least; in text, a number takes two bytes. Zero for what is compressed."""
    item = {".npy": draws.dtype.itemsize, ".npz": draws.dtype.itemsize, ".csv": 2, ".tsv": 2}.get(suffix_of(out), 0)
    return draws.num * len(draws.names) * item


def check_out(out: Path, *, as_images: bool, overwrite: bool) -> None:
    """Refuse what cannot be written, before any work."""
    if as_images:
        _check_folder(out, overwrite=overwrite)
    else:
        _check_file(out, overwrite=overwrite)
    if not out.parent.is_dir():
        raise ValueError(f"There is no folder {out.parent}: make it, or choose another --out.")
    module = "PIL.Image" if as_images else {".parquet": "pyarrow.parquet"}.get(suffix_of(out))
    try:
        importlib.import_module(module or "numpy")
    except ImportError:
        what, package = ("images", "pillow") if as_images else (".parquet", "pyarrow")
        raise ImportError(f'Writing {what} needs {package}: pip install "deepbures[data]", or choose .npy.') from None


def _check_file(out: Path, *, overwrite: bool) -> None:
    if suffix_of(out) not in WRITERS:
        raise ValueError(f"--out must end in {', '.join(WRITERS)}, or be a folder with --images, but {out} was given.")
    if out.is_dir():
        raise ValueError(f"--out must be a file, but {out} is a folder.")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: choose another --out, or pass --overwrite to replace it.")


def _check_folder(out: Path, *, overwrite: bool) -> None:
    if out.is_file():
        raise ValueError(f"{out} is a file, but --images writes a folder: choose another --out.")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise ValueError(
            f"{out} is not empty: choose another --out, or pass --overwrite to replace the numbered images in it."
        )


def write_file(out: Path, draws: Draws) -> dict[str, Any]:
    """Write the draws as the suffix tells; there is nothing more to say of them."""
    write_atomically(out, lambda path: WRITERS[suffix_of(out)](path, draws))
    return {}


# ---------------------------------------------------------------------- images


def write_images(folder: Path, draws: Draws) -> dict[str, Any]:
    """Write each draw as an image 1.png, 2.png, … (with leading zeros); return their shape, range and share clipped.

    The range of the pixels is that of the data; 8 bits a channel. The images are written into a temporary folder, and
    moved when all are whole. Of an existing folder, numbered images are replaced, and nothing else is touched.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        clipped = _fill(temporary, draws)
        if folder.exists():
            for path in _numbered(folder):
                path.unlink()
            for path in temporary.iterdir():
                os.replace(path, folder / path.name)
        else:
            os.replace(temporary, folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(folder)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    features = draws.features
    return {"image_shape": features.image_shape, "pixel_range": _pixel_range(features), "clipped": clipped}


def _pixel_range(features: Features) -> tuple[float, float]:
    return features.pixel_range or (0.0, 1.0)


def _fill(folder: Path, draws: Draws) -> float:
    from PIL import Image

    shape, (low, high) = draws.features.image_shape, _pixel_range(draws.features)
    assert shape is not None  # by the check of the arguments; tells the type checker
    digits, number, clipped = len(str(draws.num)), 0, 0
    for block in draws:
        pixels = (block - low) / ((high - low) or 1.0)
        clipped += int(((pixels < 0) | (pixels > 1)).sum())
        bytes_ = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
        for row in bytes_:
            number += 1
            Image.fromarray(row.reshape(shape)).save(folder / f"{number:0{digits}}.png")
    return clipped / (draws.num * len(draws.names))


def _numbered(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if re.fullmatch(r"\d+\.png", path.name)]


def check_images(features: Features, model: Path) -> None:
    """Refuse to write images of what are none."""
    shape = features.image_shape
    if shape is None:
        raise ValueError(
            f"{model} was fitted to data that are not images, as far as it knows: leave --images out, and choose --out "
            "samples.npy or another file."
        )
    if len(shape) != 2 and not (len(shape) == 3 and shape[2] in (3, 4)):
        raise ValueError(f"{model} was fitted to arrays of shape {shape}, which are no images: leave --images out.")
