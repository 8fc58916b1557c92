"""The folder of a run: what `deepbures fit` writes, and what `deepbures sample` and `--resume` read.

Every file is written under a temporary name, flushed to the disk and moved into place, so that a kill or a full disk
never leaves half a file.
"""

import contextlib
import json
import math
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np

from deepbures import __version__
from deepbures._atomic import write_atomically as write_atomically
from deepbures._atomic import write_text
from deepbures._claim import REQUEST as REQUEST
from deepbures._claim import ClaimedFolder, check_vacant
from deepbures._stored import MODEL as MODEL
from deepbures._stored import SUMMARY as SUMMARY
from deepbures._stored import StoredModel as StoredModel
from deepbures._stored import check_archive, loss_to_arrays
from deepbures._stored import load_features as load_features
from deepbures._stored import load_model as load_model
from deepbures._stored import read_model as read_model
from deepbures.datasets import Features
from deepbures.model import AbstractLoss, DeepLinearNetwork
from deepbures.training import Snapshot, Trajectory, load_snapshot, save_snapshot

TRAJECTORY, REPORT = "trajectory.npz", "report.html"
CHECKPOINT = "checkpoint.npz"
FILES = (MODEL, TRAJECTORY, SUMMARY, REPORT, CHECKPOINT, REQUEST)
"""The files of a run; `overwrite` touches no others (but temporary ones of these names that a kill left behind)."""


def plain(value: Any) -> Any:
    """A nested value as JSON can hold it: arrays as numbers and lists, what is not finite as None.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbures.runs import plain
    >>> plain({"loss": np.float64(0.5), "rates": np.array([1.0, np.inf])})
    {'loss': 0.5, 'rates': [1.0, None]}
    """
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


def environment() -> dict[str, Any]:
    """What a run was computed with: versions, platform, devices.

    Examples
    --------
    >>> from deepbures.runs import environment
    >>> sorted(environment())
    ['cpu_count', 'devices', 'platform', 'versions']
    """
    versions = {"deepbures": __version__, "python": platform.python_version()}
    for name in ("jax", "jaxlib", "numpy", "scipy", "equinox", "diffrax", "optax"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "versions": versions,
        "platform": platform.platform(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "cpu_count": os.cpu_count(),
    }


class RunFolder:
    """A folder that holds one run.

    Within ``with RunFolder(path) as folder:`` it is this process's alone: made if it is missing, and locked. Whoever
    else would write there, also with ``deepbures fit``, is refused until the block ends, or the process does, by a kill
    or otherwise. A folder that was made here and is still empty then is removed.

    Parameters
    ----------
    path : Path
        The folder.

    Raises
    ------
    ValueError
        By ``with``: if another run uses the folder, or it cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepbures.runs import RunFolder
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     with RunFolder(Path(parent) / "run") as folder:
    ...         folder.prepare(overwrite=False, resume=False)
    ...         folder.write_json("request.json", {"rank": 2})
    ...         folder.read_request()
    {'rank': 2}
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._claim = ClaimedFolder(self.path)

    def __enter__(self) -> Self:
        self._claim.claim()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claim.release()

    def prepare(self, *, overwrite: bool, resume: bool) -> None:
        """Make the folder, or check that it may be used; try that it can be written to. Before any long work.

        Nothing in it is changed; see `clear`.

        Raises
        ------
        ValueError
            If it holds something and neither `overwrite` nor `resume` is set, is no folder, cannot be written to, or
            holds no run to resume.
        """
        check_vacant(self.path, overwrite=overwrite, resume=resume)
        self._claim.make()

    def discard(self) -> None:
        """Remove the folders that were made, as far as they are empty."""
        self._claim.discard()

    def clear(self) -> None:
        """Remove the files of a run, and no others."""
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)
        self.remove_temporary()

    def remove_temporary(self) -> None:
        """Remove temporary files that a kill left behind."""
        for name in FILES:
            for path in self.path.glob(f".{name}.*tmp"):
                path.unlink(missing_ok=True)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file; numbers that are not finite become null."""
        text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_text(self.path / name, text)

    def write_model(
        self,
        network: DeepLinearNetwork,
        features: Features | None = None,
        *,
        noise_variance: float | None = None,
        loss: AbstractLoss | None = None,
    ) -> None:
        """Write model.npz, with what is known of the columns of the data, of the noise of the model, and of its loss.

        The noise is that of the loss, where one is given.
        """
        beside: dict[str, Any] = {} if features is None else features.to_arrays()
        if loss is not None:
            beside.update(loss_to_arrays(loss))
            noise_variance = loss.noise_variance
        if noise_variance is not None:
            beside["noise_variance"] = np.float64(noise_variance)
        write_atomically(self.path / MODEL, lambda path: network.save(path, beside=beside))

    def write_trajectory(self, trajectory: Trajectory) -> None:
        """Write trajectory.npz: the grid and the records, as plain arrays."""

        def write(path: Path) -> None:
            with path.open("wb") as file:
                arrays = {name: np.asarray(value) for name, value in trajectory.to_dict().items()}
                np.savez(file, **arrays)  # type: ignore[arg-type]

        write_atomically(self.path / TRAJECTORY, write)

    def write_checkpoint(self, snapshot: Snapshot) -> None:
        """Write checkpoint.npz, from which `--resume` goes on with the same bits."""
        write_atomically(self.path / CHECKPOINT, lambda path: save_snapshot(snapshot, path))

    def remove_checkpoint(self) -> None:
        """Remove checkpoint.npz and request.json, once the run has ended."""
        for name in (CHECKPOINT, REQUEST):
            (self.path / name).unlink(missing_ok=True)
        self.remove_temporary()

    def read_request(self) -> dict[str, Any]:
        """What the run in this folder was asked to do.

        Raises
        ------
        ValueError
            If it cannot be read.
        """
        path = self.path / REQUEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
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
            check_archive(path)
            return load_snapshot(path)
        except Exception as error:  # noqa: BLE001 — whatever a damaged archive raises, the user's way on is the same
            raise ValueError(f"{path} is damaged ({error}): start the run again with --overwrite.") from None
