"""`deepbures sample`: draws from a model, to a file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepbures.model import DeepLinearNetwork
from deepbures.runs import load_model, write_atomically

_ROWS_PER_BLOCK = 65_536


def _blocks(network: DeepLinearNetwork, num: int, seed: int) -> Iterator[np.ndarray]:
    """Draws in blocks; the first block is that of `DeepLinearNetwork.sample(seed, …)`."""
    for index, start in enumerate(range(0, num, _ROWS_PER_BLOCK)):
        key = seed if index == 0 else int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        yield network.sample(key, min(_ROWS_PER_BLOCK, num - start))


def _write_npy(path: Path, network: DeepLinearNetwork, num: int, seed: int) -> None:
    dtype = network.weights[0].dtype
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(num, network.dim))
    start = 0
    for block in _blocks(network, num, seed):
        array[start : start + len(block)] = block
        start += len(block)
    array.flush()


def _write_npz(path: Path, network: DeepLinearNetwork, num: int, seed: int) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, samples=np.concatenate(list(_blocks(network, num, seed))))


def _write_csv(path: Path, network: DeepLinearNetwork, num: int, seed: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for block in _blocks(network, num, seed):
            np.savetxt(file, block, delimiter=",", fmt="%.17g")


def _write_parquet(path: Path, network: DeepLinearNetwork, num: int, seed: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"x{i}" for i in range(network.dim)]
    schema = pa.schema([(name, pa.from_numpy_dtype(network.weights[0].dtype)) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        for block in _blocks(network, num, seed):
            columns = [np.ascontiguousarray(column) for column in block.T]
            writer.write_table(pa.table(columns, schema=schema))


_WRITERS: dict[str, Callable[[Path, DeepLinearNetwork, int, int], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}


def run_sample(model: Path, num: int, out: Path, seed: int, *, overwrite: bool) -> dict[str, Any]:
    """Check the arguments, draw and write."""
    writer = _WRITERS.get(out.suffix.lower())
    if writer is None:
        raise ValueError(f"--out must end in {', '.join(_WRITERS)}, but {out} was given.")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: choose another --out, or pass --overwrite to replace it.")
    if not out.parent.is_dir():
        raise ValueError(f"The folder {out.parent} does not exist: make it, or choose another --out.")
    if writer is _write_parquet:
        _require_pyarrow()
    network = load_model(model)
    write_atomically(out, lambda path: writer(path, network, num, seed))
    return {"model": str(model), "out": str(out), "num": num, "dim": network.dim, "seed": seed}


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ImportError('Writing .parquet needs pyarrow: pip install "deepbures[data]", or choose .npy.') from None
