"""Pieces of an experiment in a folder: computed by several threads, each kept as soon as it is there.

A piece that is computed is written first and then read again: what an experiment gets is the content of the file,
whether the piece was computed just now or by a run that was interrupted long ago.
"""

import contextlib
import contextvars
import json
import time
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from deepbures import _atomic
from deepbures.experiments import Piece
from deepbures.reproduce._names import check_file_name, is_file_name

_KINDS = "biufcSU"
"""Kinds of dtypes that a file holds without pickle."""

_SECONDS_PER_LOOK = 0.5
"""The main thread wakes at least this often: where waiting cannot be interrupted, Ctrl-C is seen then."""


class PartsFailedError(Exception):
    """Some pieces or figures of an experiment failed; the others are done, and kept."""

    def __init__(self, what: str, errors: Mapping[str, Exception], total: int) -> None:
        self.errors = dict(errors)
        name, error = next(iter(self.errors.items()))
        reason = f"{name}: {type(error).__name__}: {error}"
        super().__init__(
            f"{what} {reason}" if len(self.errors) == 1 else f"{len(self.errors)} of {total} {what}s, first {reason}"
        )
        self.__cause__ = ExceptionGroup(f"every {what} that failed", list(self.errors.values()))


class UnwritableError(Exception):
    """A file could not be written: no use to go on."""


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make the folder of a file that is written within; whatever keeps it from being written is an UnwritableError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UnwritableError(f"{path}: {error.strerror or error}.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, and the folder that it is in.

    Raises
    ------
    UnwritableError
        If it cannot be written.
    """
    with _writing(path):
        _atomic.write_text(path, text)


class Watcher(Protocol):
    """Is told what goes on."""

    def stage(self, description: str) -> None:
        """Something begins of which it is not known how long it takes."""

    def advance(self, description: str, done: float, where: str) -> None:
        """What goes on, the share of it that is done, in [0, 1], and where that is."""


class FolderKeeper:
    """Computes the pieces of one experiment that its folder does not hold yet: a `deepbures.experiments.Keeper`.

    Parameters
    ----------
    folder : Path
        Where the files KEY.npz are, and KEY.json with the seconds that the piece took.
    name : str
        The experiment, for those who watch.
    workers : int
        How many threads compute. Pieces are independent, so results do not depend on it.
    watcher : Watcher
        Is told about every piece.
    warn : callable
        Is told of damaged files, which are computed again.

    Attributes
    ----------
    seconds : dict of str to float
        The seconds each piece took, whenever it was computed.
    computed : int
        How many were computed by this keeper rather than found.
    elapsed : float
        Seconds that passed within it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from deepbures.cli._progress import Display
    >>> from deepbures.reproduce import FolderKeeper
    >>> pieces = {"depth=1": lambda: {"rate": np.array(2.0)}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for _ in range(2):
    ...         keep = FolderKeeper(Path(folder), name="rates", workers=2, watcher=Display(), warn=print)
    ...         keep(pieces), keep.computed
    ({'depth=1': {'rate': array(2.)}}, 1)
    ({'depth=1': {'rate': array(2.)}}, 0)
    """

    def __init__(self, folder: Path, *, name: str, workers: int, watcher: Watcher, warn: Callable[[str], None]) -> None:
        self.folder, self.name, self.workers, self.watcher, self.warn = folder, name, workers, watcher, warn
        self.seconds: dict[str, float] = {}
        self.computed = 0
        self.elapsed = 0.0
        self._keys: set[str] = set()
        self._done = 0
        self._fatal: BaseException | None = None

    def __call__(self, pieces: Mapping[str, Callable[[], Piece]]) -> dict[str, Piece]:
        """The result of every piece, in the order given.

        Raises
        ------
        PartsFailedError
            If some failed, after all the others are done.
        UnwritableError
            If a file cannot be written; no more pieces are begun then.
        """
        begun = time.perf_counter()
        try:
            return self._get(pieces)
        finally:
            self.elapsed += time.perf_counter() - begun

    def _get(self, pieces: Mapping[str, Callable[[], Piece]]) -> dict[str, Piece]:
        self._check(pieces)
        found = {key: piece for key in pieces if (piece := self._find(key)) is not None}
        self._done += len(found)
        self._show(next(reversed(found), ""))
        failed: dict[str, Exception] = {}
        missing = {key: compute for key, compute in pieces.items() if key not in found}
        with contextlib.closing(self._run(missing)) as running:
            for key, future in running:
                error = future.exception()
                if error is None:
                    found[key] = future.result()
                    self._done += 1
                    self.computed += 1
                    self._show(key)
                elif isinstance(error, Exception) and not isinstance(error, UnwritableError):
                    failed[key] = error
                else:
                    raise error
        self.seconds |= {key: self._seconds(key) for key in pieces if key in found}
        if failed:
            raise PartsFailedError("piece", {key: failed[key] for key in pieces if key in failed}, len(pieces))
        return {key: found[key] for key in pieces}

    def _check(self, pieces: Mapping[str, object]) -> None:
        for key in pieces:
            check_file_name(key, "a piece")
            if key in self._keys:
                raise ValueError(f"an experiment has two pieces {key!r}: keys must differ from call to call.")
            self._keys.add(key)

    def _show(self, key: str) -> None:
        total = len(self._keys)
        newest = f", newest: {key}" if key else ""
        self.watcher.advance(self.name, self._done / max(total, 1), f"{self._done} of {total} pieces{newest}")

    def _run(self, pieces: Mapping[str, Callable[[], Piece]]) -> Generator[tuple[str, Future[Piece]], None, None]:
        """Every piece as it is done; whatever ends this, no more are begun, and those under way are finished."""
        if not pieces:
            return
        x64 = bool(jax.config.read("jax_enable_x64"))
        pool = ThreadPoolExecutor(min(self.workers, len(pieces)), thread_name_prefix=f"deepbures-{self.name}")
        try:
            keys = {
                # Each in its own copy of the settings of whoever asks (of numpy.errstate, say), as if it ran there.
                pool.submit(contextvars.copy_context().run, self._compute, key, compute, x64): key
                for key, compute in pieces.items()
            }
            pending = set(keys)
            while pending:
                done, pending = wait(pending, _SECONDS_PER_LOOK, FIRST_COMPLETED)
                for future in done:
                    yield keys[future], future
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _compute(self, key: str, compute: Callable[[], Piece], x64: bool) -> Piece:
        if self._fatal is not None:  # seen here first: the main thread is yet to wake
            raise self._fatal
        try:
            return self._compute_and_keep(key, compute, x64)
        except (UnwritableError, KeyboardInterrupt) as error:
            self._fatal = error
            raise

    def _compute_and_keep(self, key: str, compute: Callable[[], Piece], x64: bool) -> Piece:
        begun = time.perf_counter()
        with jax.enable_x64(x64):  # a setting of the thread
            piece = _plain(compute())
        seconds = time.perf_counter() - begun
        # The seconds first: where there is a piece, there are its seconds.
        write_text(self._path(key, "json"), json.dumps({"seconds": seconds}))
        path = self._path(key, "npz")
        with _writing(path):
            _atomic.write_atomically(path, lambda file: _save(file, piece))
        return read_piece(path)

    def _path(self, key: str, suffix: str) -> Path:
        return self.folder / f"{key}.{suffix}"

    def _find(self, key: str) -> Piece | None:
        path = self._path(key, "npz")
        if not path.exists():
            return None
        try:
            return read_piece(path)
        except Exception as error:  # noqa: BLE001 — whatever a damaged archive raises, the piece is computed again
            self.warn(f"{path} is damaged ({error}): it is computed again.")
            return None

    def _seconds(self, key: str) -> float:
        """Zero where the file is gone: a result is worth more than how long it took."""
        try:
            return float(json.loads(self._path(key, "json").read_text(encoding="utf-8"))["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0


def _plain(piece: Piece) -> Piece:
    """The arrays of a piece, after a check that a file can hold them."""
    if not isinstance(piece, Mapping) or not all(isinstance(name, str) for name in piece):
        raise TypeError(f"a piece must be a dict of arrays by name, but is {piece!r:.200}.")
    arrays = {name: np.asarray(value) for name, value in piece.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"arrays of a piece must hold numbers or text, but {name!r} has dtype {array.dtype}.")
    return arrays


def _save(path: Path, piece: Piece) -> None:
    # Not numpy.savez, which takes some names for its own arguments, and in older versions pickles.
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in piece.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def read_piece(path: Path) -> Piece:
    """The arrays of a file, after all their checksums.

    Raises
    ------
    Exception
        Of many kinds, if it is damaged.
    """
    piece: dict[str, np.ndarray[Any, Any]] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                piece[name.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
                if file.read():  # and the end of the file, where its checksum is compared
                    raise ValueError(f"{name} goes on after its end")
    return piece


def remove_pieces(folder: Path) -> None:
    """Remove what a keeper wrote, whole or half, and the folder if nothing else is in it."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        name = path.name.removeprefix(".").removesuffix(".tmp") if path.name.startswith(".") else path.name
        stem, _, suffix = name.rpartition(".")
        if suffix in ("npz", "json") and is_file_name(stem):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
