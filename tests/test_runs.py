"""The folder of a run: never half a file, never somebody else's file."""

import errno
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

import deepbures as db
from deepbures import runs
from deepbures.runs import FILES, RunFolder, load_model, plain, write_atomically


@pytest.fixture
def network() -> db.DeepLinearNetwork:
    return db.DeepLinearNetwork([np.eye(2), np.arange(6.0).reshape(3, 2)], mean=np.ones(3))


@pytest.fixture
def trajectory() -> db.Trajectory:
    target = db.Target.from_spectrum([2.0, 1.0])
    return db.gradient_descent(db.initialize((1, 1, 2), key=0), target, db.BuresWasserstein(), 5, 1e-3)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---------------------------------------------------------------------- atomic writes


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("first", "second"):
        write_atomically(path, lambda file, text=text: file.write_text(text) and None)
        assert path.read_text() == text
    assert names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, function):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(path, lambda file: file.write_text("new") and None)
    assert caught.value.filename == str(path) and caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old" and names(tmp_path) == {"a.txt"}


def test_a_short_write_of_numpy_names_the_file(tmp_path):
    def short(_: Path) -> None:
        raise OSError("100 requested and 50 written")  # as numpy.ndarray.tofile, without a number

    with pytest.raises(OSError, match="100 requested and 50 written") as caught:
        write_atomically(tmp_path / "a.npy", short)
    assert caught.value.filename == str(tmp_path / "a.npy")


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted(file: Path) -> None:
        file.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.txt", interrupted)
    assert names(tmp_path) == set()


# ---------------------------------------------------------------------- JSON


def test_plain_values():
    value = {
        "number": np.float64(0.5),
        "count": np.int64(3),
        "nan": float("nan"),
        "zero_dim": np.array(np.inf),
        "array": np.array([[1.0, np.nan]]),
        "tuple": (1, None, True, "x"),
        "path": Path("a") / "b",
        2: {"nested": np.bool_(True)},
    }
    assert plain(value) == {
        "number": 0.5,
        "count": 3,
        "nan": None,
        "zero_dim": None,
        "array": [[1.0, None]],
        "tuple": [1, None, True, "x"],
        "path": str(Path("a") / "b"),
        "2": {"nested": True},
    }
    json.dumps(plain(value), allow_nan=False)


def test_environment_names_what_numbers_depend_on():
    told = runs.environment()
    assert {"deepbures", "python", "jax", "jaxlib", "numpy", "scipy"} <= set(told["versions"])
    assert told["devices"] and told["devices"][0].startswith("cpu")
    json.dumps(told, allow_nan=False)


# ---------------------------------------------------------------------- the folder


def test_a_new_folder_is_made_and_discarded(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "new")
    folder.prepare(overwrite=False, resume=False)
    assert names(folder.path) == set()
    folder.discard()
    assert names(tmp_path) == set()


def test_discarding_spares_folders_that_were_there_or_are_used(tmp_path):
    (tmp_path / "runs").mkdir()
    folder = RunFolder(tmp_path / "runs" / "new")
    folder.prepare(overwrite=False, resume=False)
    folder.discard()
    assert names(tmp_path) == {"runs"}
    folder.prepare(overwrite=False, resume=False)
    (folder.path / "mine.txt").write_text("")
    folder.discard()
    assert names(folder.path) == {"mine.txt"}


def test_an_empty_folder_is_used_and_a_used_one_refused(tmp_path):
    RunFolder(tmp_path).prepare(overwrite=False, resume=False)
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ValueError, match="exists and is not empty: choose another --out, or pass --overwrite"):
        RunFolder(tmp_path).prepare(overwrite=False, resume=False)
    (tmp_path / "request.json").write_text("{}")
    with pytest.raises(ValueError, match="or --resume to go on with the interrupted run in it"):
        RunFolder(tmp_path).prepare(overwrite=False, resume=False)


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_file_in_place_of_a_folder(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"is a file|cannot be written to"):
            RunFolder(file / below).prepare(overwrite=overwrite, resume=False)
    assert file.read_text() == "mine"


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"cannot be written to \(Permission denied\): choose another --out"):
        RunFolder(tmp_path / "new").prepare(overwrite=False, resume=False)
    assert names(tmp_path) == set()


def test_clearing_removes_only_files_of_a_run(tmp_path):
    others = {"notes.txt", "samples.npy", ".model.npy", "sub"}
    (tmp_path / "sub").mkdir()
    for name in (others - {"sub"}) | set(FILES) | {".model.npz.tmp", ".report.html.17.tmp"}:
        (tmp_path / name).write_text("x")
    folder = RunFolder(tmp_path)
    folder.prepare(overwrite=True, resume=False)
    assert set(FILES) <= names(tmp_path)  # not before the new run begins
    folder.clear()
    assert names(tmp_path) == others


# ---------------------------------------------------------------------- what is written is read


def test_model_and_trajectory(tmp_path, network, trajectory):
    folder = RunFolder(tmp_path)
    folder.write_model(network)
    folder.write_trajectory(trajectory)
    for source in (tmp_path, tmp_path / "model.npz"):
        loaded = load_model(source)
        assert loaded.widths == network.widths
        np.testing.assert_array_equal(loaded.end_to_end, network.end_to_end)
        np.testing.assert_array_equal(loaded.mean, network.mean)
    with np.load(tmp_path / "trajectory.npz", allow_pickle=False) as file:
        assert set(file.files) == set(trajectory.to_dict())
        np.testing.assert_array_equal(file["loss"], trajectory.losses)


def test_no_model(tmp_path):
    with pytest.raises(ValueError, match=r"MODEL must be the folder of a run, .* has no model\.npz"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        load_model(tmp_path / "nowhere")


def test_a_damaged_model(tmp_path, network):
    RunFolder(tmp_path).write_model(network)
    path = tmp_path / "model.npz"
    whole = path.read_bytes()
    for damaged in (b"", b"PK half", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.npz cannot be read as a model"):
            load_model(tmp_path)
    np.savez(path, weight_1=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"allow_pickle=False"):
        load_model(tmp_path)
    np.savez(path, other=np.eye(2))
    with pytest.raises(ValueError, match=r"holds no network: expected arrays weight_1"):
        load_model(tmp_path)


def test_requests_and_checkpoints(tmp_path, trajectory):
    folder = RunFolder(tmp_path)
    with pytest.raises(ValueError, match=r"no interrupted run to resume .*leave --resume out"):
        folder.prepare(overwrite=False, resume=True)
    request = {"data": "x", "rank": 2, "hidden": None}
    folder.write_json("request.json", request)
    folder.prepare(overwrite=False, resume=True)
    assert folder.read_checkpoint(request) is None  # stopped before the first checkpoint: starts again
    folder.write_checkpoint(trajectory.snapshot)
    snapshot = folder.read_checkpoint(request)
    for read, written in zip(snapshot.leaves, trajectory.snapshot.leaves, strict=True):
        np.testing.assert_array_equal(read, written)
    with pytest.raises(ValueError, match=r"rank was 2, now 3; tau was None, now 0\.5\): repeat them"):
        folder.read_checkpoint({"data": "x", "rank": 3, "hidden": None, "tau": 0.5})
    whole = (tmp_path / "checkpoint.npz").read_bytes()
    for damaged in (b"", whole[:100], b"not an archive"):
        (tmp_path / "checkpoint.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint\.npz is damaged .*--overwrite"):
            folder.read_checkpoint(request)
    folder.remove_checkpoint()
    assert names(tmp_path) == set()


def test_a_pickled_checkpoint_is_refused(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json("request.json", {})
    np.savez(tmp_path / "checkpoint.npz", state_0=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"is damaged .*allow_pickle=False"):
        folder.read_checkpoint({})


@pytest.mark.parametrize(
    "text, message", [("{", "cannot be read"), ("[1]", "does not hold a request"), ("\udcff", "cannot be read")]
)
def test_a_damaged_request(tmp_path, text, message):
    (tmp_path / "request.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=f"request.json {message}.*--overwrite"):
        RunFolder(tmp_path).read_request()
