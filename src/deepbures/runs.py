"""The folder of a run: what `deepbures fit` writes, and what `deepbures sample` and `--resume` read.

Every file is written under a temporary name, flushed to the disk and moved into place, so that a kill or a full disk
never leaves half a file.
"""

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepbures.model import DeepLinearNetwork
from deepbures.training import Snapshot, Trajectory, load_snapshot, save_snapshot

MODEL, TRAJECTORY, SUMMARY, REPORT = "model.npz", "trajectory.npz", "summary.json", "report.html"
CHECKPOINT, REQUEST = "checkpoint.npz", "request.json"
FILES = (MODEL, TRAJECTORY, SUMMARY, REPORT, CHECKPOINT, REQUEST)
"""The files of a run; `overwrite` touches no others."""


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place.

    Raises
    ------
    OSError
        If it cannot be written (a full disk, say); nothing of it is left then, and what was at `path` stays.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def plain(value: Any) -> Any:
    """A nested value as JSON can hold it: arrays as numbers and lists, what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


class RunFolder:
    """A folder that holds one run.

    Parameters
    ----------
    path : Path
        The folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepbures.runs import RunFolder
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = RunFolder(Path(parent) / "run")
    ...     folder.prepare(overwrite=False, resume=False)
    ...     folder.write_json("request.json", {"rank": 2})
    ...     folder.read_request()
    {'rank': 2}
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def prepare(self, *, overwrite: bool, resume: bool) -> None:
        """Make the folder, or check that it may be used; try that it can be written to. Before any long work.

        Raises
        ------
        ValueError
            If it holds something and neither `overwrite` nor `resume` is set, is no folder, or cannot be written to.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file, but a folder for the run is needed: choose another --out.")
        if not (overwrite or resume) and self.path.is_dir() and any(self.path.iterdir()):
            raise ValueError(
                f"{self.path} exists and is not empty: choose another --out, or pass --overwrite to replace the run in "
                "it (or --resume to go on with one that was interrupted)."
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / "writable", lambda path: _fill(path, "x"))
            (self.path / "writable").unlink()
        except OSError as error:
            raise ValueError(f"{self.path} cannot be written to ({error.strerror}): choose another --out.") from None
        if overwrite and not resume:
            for name in FILES:
                (self.path / name).unlink(missing_ok=True)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file; numbers that are not finite become null."""
        text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(self.path / name, lambda path: _fill(path, text))

    def write_model(self, network: DeepLinearNetwork) -> None:
        """Write model.npz."""
        write_atomically(self.path / MODEL, network.save)

    def write_trajectory(self, trajectory: Trajectory) -> None:
        """Write trajectory.npz: the grid and the records, as plain arrays."""

        def write(path: Path) -> None:
            with path.open("wb") as file:
                arrays = {name: np.asarray(value) for name, value in trajectory.to_dict().items()}
                np.savez(file, allow_pickle=False, **arrays)

        write_atomically(self.path / TRAJECTORY, write)

    def write_checkpoint(self, snapshot: Snapshot) -> None:
        """Write checkpoint.npz, from which `--resume` goes on with the same bits."""
        write_atomically(self.path / CHECKPOINT, lambda path: save_snapshot(snapshot, path))

    def remove_checkpoint(self) -> None:
        """Remove checkpoint.npz and request.json, once the run has ended."""
        for name in (CHECKPOINT, REQUEST):
            (self.path / name).unlink(missing_ok=True)

    def read_request(self) -> dict[str, Any]:
        """What the run in this folder was asked to do.

        Raises
        ------
        ValueError
            If there is nothing to resume here.
        """
        path = self.path / REQUEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(
                f"There is no interrupted run to resume in {self.path} (no {REQUEST}): leave --resume out to start one."
            ) from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} cannot be read ({error}): start the run again with --overwrite.") from None
        if not isinstance(content, dict):
            raise ValueError(f"{path} does not hold a request: start the run again with --overwrite.")
        return content

    def read_checkpoint(self, request: Mapping[str, Any]) -> Snapshot | None:
        """The snapshot to go on from, after a check that the request is the one the run was begun with.

        None if the run was stopped before its first checkpoint: it starts again.

        Raises
        ------
        ValueError
            If the requests differ (naming where), or the checkpoint cannot be read.
        """
        old, new = self.read_request(), plain(request)
        differing = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if differing:
            told = "; ".join(f"{name} was {old.get(name)!r}, now {new.get(name)!r}" for name in differing)
            raise ValueError(
                f"The run in {self.path} was begun with other arguments ({told}): repeat them to resume, or pass "
                "--overwrite to start again."
            )
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        try:
            return load_snapshot(path)
        except Exception as error:  # noqa: BLE001 — whatever a damaged archive raises, the user's way on is the same
            raise ValueError(f"{path} is damaged ({error}): start the run again with --overwrite.") from None


def load_model(path: Path) -> DeepLinearNetwork:
    """The network of a run folder, or of a model file.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepbures as db
    >>> from deepbures.runs import RunFolder, load_model
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = RunFolder(Path(parent))
    ...     folder.write_model(db.DeepLinearNetwork([np.eye(2)]))
    ...     load_model(Path(parent)).widths
    (2, 2)
    """
    path = Path(path)
    file = path / MODEL if path.is_dir() else path
    if not file.exists():
        what = f"the folder {path} has no {MODEL}" if path.is_dir() else f"{path} does not exist"
        raise ValueError(f"MODEL must be the folder of a run, or a {MODEL} file, but {what}.")
    return DeepLinearNetwork.load(file)
