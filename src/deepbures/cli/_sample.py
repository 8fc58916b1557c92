"""`deepbures sample`: draws from a model, to a file."""

import contextlib
import csv
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import typer

from deepbures.cli._messages import Invocation, WorkError
from deepbures.cli._progress import Display
from deepbures.cli._show import count
from deepbures.datasets import Features
from deepbures.model import DeepLinearNetwork
from deepbures.runs import StoredModel, plain, read_model, write_atomically

_VALUES_PER_BLOCK = 2**22
"""Numbers that are in memory at once. Part of what "same seed, same bits" means: draws of other blocks differ."""

_FAR = 0.01
"""Relative excess above which samples come with a warning: their loss is more than a hundredth above the least."""


class _Draws:
    """Draws in blocks of rows; the first is that of `DeepLinearNetwork.sample(seed, …)`, each has a key of its own.

    The columns are as the features tell: named as in the data (x0, x1, … where those had no names), and float32 where
    they were float32 or float16 in the data; otherwise of the type of the model.
    """

    def __init__(
        self,
        network: DeepLinearNetwork,
        features: Features,
        *,
        num: int,
        seed: int,
        noise_variance: float,
        display: Display,
    ) -> None:
        self.network, self.features, self.display = network, features, display
        self.num, self.seed, self.noise_variance = num, seed, noise_variance
        model = np.dtype(network.weights[0].dtype)
        stored = features.dtypes or (model.name,) * network.dim
        self.dtypes = [np.dtype(np.float32) if name in ("float16", "float32") else model for name in stored]
        self.dtype = np.result_type(*self.dtypes)
        self.names = list(features.names or (f"x{i}" for i in range(network.dim)))

    def __iter__(self) -> Iterator[np.ndarray]:
        rows = max(1, _VALUES_PER_BLOCK // self.network.dim)
        for index, start in enumerate(range(0, self.num, rows)):
            stop = min(start + rows, self.num)
            block = self.network.sample(self._key(index), stop - start, noise_variance=self.noise_variance)
            yield self._as_stored(block)
            self.display.advance("sampling", stop / self.num, f"{stop} of {self.num} samples")

    def _as_stored(self, block: np.ndarray) -> np.ndarray:
        """Draws rounded to the types of their columns, in one array of a type that holds them all."""
        rounded = np.array(block, dtype=self.dtype, order="C")
        for narrow in {dtype for dtype in self.dtypes if dtype != self.dtype}:
            columns = [dtype == narrow for dtype in self.dtypes]
            rounded[:, columns] = rounded[:, columns].astype(narrow)
        return rounded

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


def _write_csv(path: Path, draws: _Draws) -> None:
    # Enough digits to read the same bits again.
    formats = [f"%.{9 if dtype.itemsize == 4 else 17}g" for dtype in draws.dtypes]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(draws.names)
        for block in draws:
            np.savetxt(file, block, delimiter=",", fmt=formats)


def _write_parquet(path: Path, draws: _Draws) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = zip(draws.names, draws.dtypes, strict=True)
    schema = pa.schema([(name, pa.from_numpy_dtype(dtype)) for name, dtype in pairs])
    with pq.ParquetWriter(path, schema) as writer:
        for block in draws:
            columns = [column.astype(dtype) for column, dtype in zip(block.T, draws.dtypes, strict=True)]
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


def run_sample(
    model: Path,
    num: int,
    out: Path,
    seed: int,
    *,
    noise: str | None,
    overwrite: bool,
    call: Invocation,
    display: Display,
) -> dict[str, Any]:
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
    stored = read_model(model)
    noise_variance = _noise_variance(stored, noise, model)
    doubt = _doubt(stored, model)
    if doubt is not None:
        call.warn(doubt)
    display.stage("sampling")
    draws = _Draws(stored.network, stored.features, num=num, seed=seed, noise_variance=noise_variance, display=display)
    _check_space(out, draws)
    write_atomically(out, lambda path: writer(path, draws))
    result = {
        "model": str(model),
        "out": str(out),
        "num": num,
        "dim": stored.network.dim,
        "seed": seed,
        "noise_variance": noise_variance,
        "tau": stored.noise_variance,
        "status": stored.status,
        "relative_excess": stored.relative_excess,
        "warnings": list(call.warnings),
    }
    return dict(plain(result))


def _noise_variance(stored: StoredModel, noise: str | None, model: Path) -> float:
    """The variance to draw with: the tau of the fit, unless that is not wanted or not known."""
    if noise == "none":
        return 0.0
    if noise == "tau" and stored.noise_variance is None:
        raise ValueError(
            f"--noise tau was given, but {model} does not say with which tau it was fitted (it was saved without, and "
            "no summary.json of it lies beside it): leave --noise out to draw from N(mean, W Wᵀ)."
        )
    return stored.noise_variance or 0.0


def _doubt(stored: StoredModel, model: Path) -> str | None:
    """What there is to say of a model that is far from a fitted one; None if nothing is known against it."""
    excess = stored.relative_excess
    where = "" if excess is None else f" at a relative excess of {excess:.2g} over the theoretical minimum"
    if stored.status == "interrupted":
        return (
            f"the run of {model} was interrupted{where}: these are samples of an unfinished model. Finish the fit with "
            "deepbures fit --resume first."
        )
    if excess is not None and excess > _FAR:
        return (
            f"the run of {model} ended{where} (status {stored.status}): these are samples of a model that is far from "
            "the best of its rank. Its summary.json says what ended it and what to try."
        )
    return None


def show_sample(result: dict[str, Any]) -> None:
    """One line: how many draws, of what, and where they are."""
    variance = result["noise_variance"]
    if variance:
        noise = f", with the smoothing tau = {variance:g} as noise"
    elif result["tau"] is None:
        noise = ", without noise (the model does not say its tau)"
    else:
        noise = f", without the smoothing tau = {result['tau']:g}" if result["tau"] else ""
    typer.echo(f"{count(result['num'], 'sample')} of {count(result['dim'], 'feature')}{noise}: {result['out']}")


def _require_pyarrow() -> None:
    with contextlib.suppress(ImportError):
        import pyarrow.parquet  # noqa: F401

        return
    raise ImportError('Writing .parquet needs pyarrow: pip install "deepbures[data]", or choose .npy.')
