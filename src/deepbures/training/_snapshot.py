"""Interrupted runs: what it takes to go on with them, in memory and in files."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from deepbures._types import Array
from deepbures.training._method import State
from deepbures.training._result import NAMES, Result, code_of, result_names

_NAMES_IN_OLD_FILES = (
    "running",
    "converged",
    "stationary",
    "finished",
    "diverged",
    "stalled",
    "max_steps",
    "interrupted",
)
"""What codes stood for in files that do not say it. Never to be changed."""


class Snapshot(eqx.Module):
    """Everything needed to continue a run with the same bits: the solver's state and the records so far.

    `results` are the names that the codes of results (the last of the `leaves`) stand for.
    """

    leaves: tuple[Array, ...]
    records: dict[str, Array]
    results: tuple[str, ...] = eqx.field(static=True, default_factory=result_names)

    @classmethod
    def of(cls, state: State, records: dict[str, Array]) -> "Snapshot":
        """A run at this state."""
        return cls(tuple(np.asarray(leaf) for leaf in jax.tree.leaves(state)), records)

    def state_like(self, fresh: State) -> State:
        """The state, of the shapes of one that has not begun; refused where those are others."""
        leaves, structure = jax.tree.flatten(fresh)
        if [np.shape(leaf) for leaf in leaves] != [np.shape(leaf) for leaf in self.leaves]:
            raise ValueError(
                "The snapshot does not belong to this run: its state has other shapes. Resume with the network, "
                "target, loss and method the run was begun with."
            )
        held = (*self.leaves[:-1], self._codes())
        like = [jnp.asarray(leaf, np.asarray(old).dtype) for leaf, old in zip(held, leaves, strict=True)]
        state: State = jax.tree.unflatten(structure, like)
        return state

    def _codes(self) -> Array:
        """What the codes of the results are today."""
        unknown = [name for name in self.results if name not in NAMES]
        if unknown:
            raise ValueError(
                f"The snapshot is of another version of deepbures: it knows the results {', '.join(unknown)}, which "
                "this one does not. Resume with the version the run was begun with, or begin again."
            )
        today = np.array([int(code_of(getattr(Result, name))) for name in self.results])
        codes = np.asarray(self.leaves[-1])
        if not ((codes >= 0) & (codes < len(today))).all():
            raise ValueError(f"The snapshot is damaged: it has the codes {codes} for how runs ended. Begin again.")
        return today[codes]


def check_records(snapshot: Snapshot, state: State, names: set[str], marks: np.ndarray, *, axis: int) -> int:
    """How many records a snapshot has; refused if they are not those of a run with these names and marks."""
    held = set(snapshot.records) - {"_position", "_steps"}
    if held != names:
        raise ValueError(
            f"The snapshot does not belong to this run: it holds the records {', '.join(sorted(held))}, but "
            f"{', '.join(sorted(names))} were asked for. Resume with the same record argument."
        )
    positions = np.asarray(snapshot.records["_position"])
    count = int(positions.shape[axis])
    # As long as some run of a batch goes on, that one is at the mark; the last record may be where the last one ended.
    at_marks = count if bool(np.asarray(state.is_running).any()) else count - 1
    furthest = positions.max(tuple(range(axis)))[:at_marks]
    if count > marks.size or not np.allclose(furthest, marks[:at_marks]):
        raise ValueError(
            "The snapshot does not belong to this run: it was recorded at other steps or times. Resume with the same "
            "num_steps or horizon, and the same records."
        )
    return count


def save_snapshot(snapshot: Snapshot, path: str | Path) -> None:
    """Write a snapshot to an .npz file, without pickle."""
    state = {f"state_{i}": np.asarray(leaf) for i, leaf in enumerate(snapshot.leaves)}
    records: dict[str, np.ndarray] = {}
    for name, value in snapshot.records.items():
        if isinstance(value, tuple):
            records |= {f"tuple_{name}_{i}": np.asarray(part) for i, part in enumerate(value)}
        else:
            records[f"record_{name}"] = np.asarray(value)
    with Path(path).open("wb") as file:
        np.savez(file, **state, **records, results=np.array(snapshot.results))  # type: ignore[arg-type]


def load_snapshot(path: str | Path) -> Snapshot:
    """Read a snapshot written by `save_snapshot`."""
    with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    results = tuple(str(name) for name in arrays.pop("results", _NAMES_IN_OLD_FILES))
    count = sum(name.startswith("state_") for name in arrays)
    records: dict[str, Any] = {name[7:]: value for name, value in arrays.items() if name.startswith("record_")}
    parts = sorted(
        (name[6:].rsplit("_", 1) for name in arrays if name.startswith("tuple_")), key=lambda part: int(part[1])
    )
    for name, number in parts:
        records[name] = (*records.get(name, ()), arrays[f"tuple_{name}_{number}"])
    return Snapshot(tuple(arrays[f"state_{i}"] for i in range(count)), records, results)
