"""`deepbures sample`: draws from a model, to a file."""

import contextlib
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from deepbures.cli._messages import WorkError
from deepbures.cli._progress import Display
from deepbures.model import DeepLinearNetwork
from deepbures.runs import load_model, write_atomically

_VALUES_PER_BLOCK = 2**22
"""Numbers that are in memory at once. Part of what "same seed, same bits" means: draws of other blocks differ."""


class _Draws:
    """Draws in blocks of rows; the first is that of `DeepLinearNetwork.sample(seed, …)`, each has a key of its own."""

    def __init__(self, network: DeepLinearNetwork, num: int, seed: int, display: Display) -> None:
        self.network, self.num, self.seed, self.display = network, num, seed, display
        self.dtype = np.dtype(network.weights[0].dtype)

    def __iter__(self) -> Iterator[np.ndarray]:
        rows = max(1, _VALUES_PER_BLOCK // self.network.dim)
        for index, start in enumerate(range(0, self.num, rows)):
            stop = min(start + rows, self.num)
            yield np.ascontiguousarray(self.network.sample(self._key(index), stop - start))
            self.display.advance("sampling", stop / self.num, f"{stop} of {self.num} samples")

    def _key(self, index: int) -> int:
        if index == 0:
            return self.seed
        words = np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)
        return int(words[0] >> np.uint64(1))


def _stream_npy(file: IO[bytes], draws: _Draws) -> None:
    # Not a memory map: on a full disk, writing to one ends the process without an error.
    header = {"descr": np.lib.format.dtype_to_descr(draws.dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, header | {"shape": (draws.num, draws.network.dim)})
    for block in draws:
        file.write(block.data)


def _write_npy(path: Path, draws: _Draws) -> None:
    with path.open("wb") as file:
        _stream_npy(file, draws)


def _write_npz(path: Path, draws: _Draws) -> None:
    entry = zipfile.ZipInfo("samples.npy")  # with its fixed date: same seed, same bytes
    with zipfile.ZipFile(path, "w") as archive, archive.open(entry, "w", force_zip64=True) as file:
        _stream_npy(file, draws)


def _write_csv(path: Path, draws: _Draws) -> None:
    digits = 9 if draws.dtype.itemsize == 4 else 17  # enough to read the same bits again
    with path.open("w", encoding="utf-8") as file:
        for block in draws:
            np.savetxt(file, block, delimiter=",", fmt=f"%.{digits}g")


def _write_parquet(path: Path, draws: _Draws) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"x{i}" for i in range(draws.network.dim)]
    schema = pa.schema([(name, pa.from_numpy_dtype(draws.dtype)) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        for block in draws:
            columns = [np.ascontiguousarray(column) for column in block.T]
            writer.write_table(pa.table(columns, schema=schema))


_WRITERS: dict[str, Callable[[Path, _Draws], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}


def _check_space(out: Path, draws: _Draws) -> None:
    """Refuse what cannot fit on the disk, before hours of writing. In text, a number takes two bytes at least.

    Parquet files are not judged: they are compressed.
    """
    least = {".npy": draws.dtype.itemsize, ".npz": draws.dtype.itemsize, ".csv": 2}.get(out.suffix.lower(), 0)
    needed, free = draws.num * draws.network.dim * least, shutil.disk_usage(out.parent).free
    if needed > free:
        raise WorkError(
            f"{out} would take {needed / 2**30:.3g} GiB, but {free / 2**30:.3g} GiB are free there: lower --num, or "
            "choose another --out."
        )


def run_sample(model: Path, num: int, out: Path, seed: int, display: Display, *, overwrite: bool) -> dict[str, Any]:
    """Check the arguments, draw and write."""
    writer = _WRITERS.get(out.suffix.lower())
    if writer is None:
        raise ValueError(f"--out must end in {', '.join(_WRITERS)}, but {out} was given.")
    if out.is_dir():
        raise ValueError(f"--out must be a file, but {out} is a folder.")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: choose another --out, or pass --overwrite to replace it.")
    if not out.parent.is_dir():
        raise ValueError(f"There is no folder {out.parent}: make it, or choose another --out.")
    if writer is _write_parquet:
        _require_pyarrow()
    network = load_model(model)
    display.stage("sampling")
    draws = _Draws(network, num, seed, display)
    _check_space(out, draws)
    write_atomically(out, lambda path: writer(path, draws))
    return {"model": str(model), "out": str(out), "num": num, "dim": network.dim, "seed": seed}


def _require_pyarrow() -> None:
    with contextlib.suppress(ImportError):
        import pyarrow.parquet  # noqa: F401

        return
    raise ImportError('Writing .parquet needs pyarrow: pip install "deepbures[data]", or choose .npy.')
