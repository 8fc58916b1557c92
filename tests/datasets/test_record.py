"""The record that every source is turned into, and names and paths that mean no data: known answers by construction."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepbures.datasets import Dataset, known_datasets, load_dataset
from deepbures.reproduce import EXPERIMENTS


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((7, 3))


# ---------------------------------------------------------------------- the record


def test_dataset_is_frozen_and_knows_its_sizes(matrix):
    data = Dataset(name="m", samples=matrix)
    assert (data.dim, data.num_samples, data.image_shape) == (3, 7, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"
    square = Dataset(name="c", covariance=np.eye(4))
    assert (square.dim, square.num_samples) == (4, None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one"),
        ({"samples": np.eye(2), "covariance": np.eye(2)}, "exactly one"),
        ({"samples": np.zeros(3)}, r"must be a matrix, but has shape \(3,\)"),
        ({"covariance": np.zeros((2, 3))}, r"must be square, but has shape \(2, 3\)"),
        ({"samples": np.zeros((2, 5)), "image_shape": (2, 2)}, r"image_shape \(2, 2\) does not fit .* dimension 5"),
    ],
)
def test_dataset_refuses_inconsistent_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Dataset(name="bad", **fields)


def test_digest_depends_on_contents_only(matrix, monkeypatch):
    digest = Dataset(name="a", samples=matrix).digest()
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    for same in (np.asfortranarray(matrix), matrix.astype(">f8"), np.repeat(matrix, 2, axis=0)[::2]):
        assert Dataset(name="b", samples=same, description="other").digest() == digest
    monkeypatch.setattr("deepbures.datasets._dataset._BLOCK_BYTES", 50)  # two rows a block
    assert Dataset(name="a", samples=matrix).digest() == digest
    changed = matrix.copy()
    changed[3, 1] = np.nextafter(changed[3, 1], np.inf)
    others = [changed, matrix.astype(np.float32), matrix.reshape(3, 7), matrix[::-1]]
    assert digest not in [Dataset(name="a", samples=other).digest() for other in others]
    assert Dataset(name="a", samples=np.eye(2)).digest() != Dataset(name="a", covariance=np.eye(2)).digest()


def test_digest_is_pinned():
    # Recorded runs are compared by it: it must not change between versions.
    data = Dataset(name="pinned", samples=np.arange(6.0).reshape(2, 3))
    assert data.digest() == "5a554bd7606b24bf769626043c09b8b9918ade800fa5d4e8faaef4931437eb50"


def test_the_same_numbers_have_the_same_digest_from_every_kind_of_file(tmp_path, matrix):
    np.save(tmp_path / "x.npy", matrix)
    np.savez(tmp_path / "x.npz", matrix)
    np.savetxt(tmp_path / "x.csv", matrix, delimiter=",", fmt="%.17g")
    digests = {load_dataset(tmp_path / f"x.{suffix}").digest() for suffix in ("npy", "npz", "csv")}
    assert len(digests) == 1


def test_nothing_is_written_or_printed(tmp_path, matrix, capsys):
    np.save(tmp_path / "x.npy", matrix)
    before = (tmp_path / "x.npy").read_bytes()
    data = load_dataset(tmp_path / "x.npy")
    data.samples[0, 0] = 99.0  # in memory: the file is untouched
    assert (tmp_path / "x.npy").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy"]
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------------- names and paths


def test_path_as_string_and_suffix_in_capitals(tmp_path, matrix):
    np.save(tmp_path / "x.npy", matrix)
    (tmp_path / "x.npy").rename(tmp_path / "X.NPY")
    np.testing.assert_array_equal(load_dataset(str(tmp_path / "X.NPY")).samples, matrix)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digist", r"unknown data 'digist': neither a built-in data set \(digits, faces, patches, gaussian\) nor an "),
        ("digist", r"\.npy, \.npz, \.csv, .*, \.parquet\) or a folder of images\. Did you mean 'digits'\?"),
        ("gausian:dim=3", r"unknown data 'gausian:dim=3'.*Did you mean 'gaussian'\?"),
        ("", "unknown data ''"),
        ("a\0b", "unknown data"),
        ("no/such/thing", "there is no file or folder 'no/such/thing'"),
        ("nothing.npy", "there is no file or folder 'nothing.npy'"),
        ("nothing.npz::key", "there is no file or folder 'nothing.npz'"),
        ("x" * 5000, "unknown data"),
    ],
)
def test_unknown_source(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_dataset(source)


def test_missing_file_suggests_a_neighbor(tmp_path, matrix):
    np.save(tmp_path / "samples.npy", matrix)
    with pytest.raises(ValueError, match=r"there is no file .*sample\.npy.* Did you mean '.*samples\.npy'\?"):
        load_dataset(tmp_path / "sample.npy")


@pytest.mark.parametrize("source", [3, None, b"digits", ["digits"], np.eye(2)])
def test_source_of_a_wrong_type(source):
    with pytest.raises(TypeError, match="source must be a string or a path"):
        load_dataset(source)


def test_covariance_of_a_wrong_type():
    with pytest.raises(TypeError, match="covariance must be True or False, but 1 was given"):
        load_dataset("digits", covariance=1)


def test_other_kinds_of_files(tmp_path):
    for name, what in [("a.xlsx", r"a \.xlsx file"), ("b", "a file without a suffix"), ("c.png", r"Give the folder")]:
        (tmp_path / name).write_text("x")
        with pytest.raises(ValueError, match=rf"cannot read .*data are a file \(\.npy.*folder of images.*{what}"):
            load_dataset(tmp_path / name)


def test_key_of_what_is_not_an_archive(tmp_path, matrix):
    np.save(tmp_path / "x.npy", matrix)
    with pytest.raises(ValueError, match=r"'::a' names an array of a \.npz archive, but '.*x\.npy' is not one"):
        load_dataset(f"{tmp_path / 'x.npy'}::a")


def test_samples_asked_for_as_a_covariance(tmp_path):
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match="'digits' holds samples and cannot be read as a covariance"):
        load_dataset("digits", covariance=True)
    with pytest.raises(ValueError, match=r"is a folder; a covariance matrix is read from \.npy"):
        load_dataset(tmp_path, covariance=True)


def test_unreadable_file(tmp_path, matrix, monkeypatch):
    np.save(tmp_path / "x.npy", matrix)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValueError, match=r"x\.npy' could not be read: Permission denied\."):
        load_dataset(tmp_path / "x.npy")


def test_too_large_for_memory(tmp_path, matrix, monkeypatch):
    np.savez(tmp_path / "x.npz", matrix)

    def exhaust(*args, **kwargs):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(np, "load", exhaust)
    with pytest.raises(ValueError, match=r"x\.npz' does not fit in memory \(Unable to allocate 9 TiB\)"):
        load_dataset(tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
def test_empty_file(tmp_path, suffix):
    (tmp_path / f"x.{suffix}").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"x\.{suffix} is empty \(0 bytes\)"):
        load_dataset(tmp_path / f"x.{suffix}")


def test_a_built_in_name_that_is_a_path_as_well(tmp_path, monkeypatch, matrix):
    monkeypatch.chdir(tmp_path)
    assert load_dataset("builtin:gaussian:dim=3").digest() == load_dataset("gaussian:dim=3").digest()
    for name in ("faces", "gaussian"):
        (tmp_path / name).mkdir()
        with pytest.raises(
            ValueError, match=re.escape(f"Write './{name}' for the path, or 'builtin:{name}' for the data")
        ):
            load_dataset(name)
    assert load_dataset("builtin:gaussian").dim == 20
    assert load_dataset("gaussian:dim=4").dim == 4  # cannot be the folder
    with pytest.raises(ValueError, match="the folder faces holds no images"):
        load_dataset("./faces")
    with pytest.raises(
        ValueError, match=r"'builtin:face' names no built-in data set; they are digits.* Did you mean 'faces'"
    ):
        load_dataset("builtin:face")


def test_experiments_do_not_depend_on_the_folder_they_run_in(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    for name in known_datasets():
        (tmp_path / name).mkdir()
    sources = [e.arguments["data"] for e in EXPERIMENTS if "data" in e.arguments]
    assert {load_dataset(source).name for source in sources} == {"digits", "faces"}


# ---------------------------------------------------------------------- optional dependencies


@pytest.mark.parametrize(
    ("source", "module", "package"),
    [
        ("digits", "sklearn.datasets", "scikit-learn"),
        ("faces", "skimage.data", "scikit-image"),
        ("patches", "PIL", "pillow"),
        ("x.parquet", "pyarrow", "pyarrow"),
        ("pictures", "PIL.Image", "pillow"),
    ],
)
def test_missing_extra(tmp_path, monkeypatch, source, module, package):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)  # makes its import fail
    with pytest.raises(ImportError, match=rf'needs {package}, .*pip install "deepbures\[data\]"'):
        load_dataset(source)


def test_names_are_refused_before_anything_heavy_is_imported():
    code = (
        "import sys\n"
        "from deepbures.datasets import load_dataset\n"
        "for bad in ('digist', 'digits:a=1', 'gaussian:dim=x', 'none.npy'):\n"
        "    try:\n"
        "        load_dataset(bad)\n"
        "    except ValueError:\n"
        "        continue\n"
        "    raise SystemExit(f'{bad} was accepted')\n"
        "print(sorted({'jax', 'sklearn', 'skimage', 'pyarrow', 'PIL', 'scipy', 'torch'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
