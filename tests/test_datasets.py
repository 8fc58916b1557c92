"""Data sets: known answers by construction, round trips through every kind of file, and every bad input."""

import dataclasses
import io
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deepbures.datasets import Dataset, _files, known_datasets, load_dataset

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((7, 3))


def _npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _write_images(folder: Path, images: dict[str, np.ndarray]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    folder.mkdir()
    for name, image in images.items():
        pillow.fromarray(image).save(folder / name)


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


# ---------------------------------------------------------------------- built-in data sets


def test_known_datasets():
    assert known_datasets() == ("digits", "faces", "patches", "gaussian")


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    data = load_dataset("digits")
    np.testing.assert_array_equal(data.samples, datasets.load_digits().data)
    assert data.samples.shape == (1797, 64)
    assert data.samples.dtype == np.float64
    assert data.image_shape == (8, 8)
    assert "UCI" in data.description
    assert data.digest() == load_dataset("digits").digest()


def test_faces():
    skimage_data = pytest.importorskip("skimage.data")
    data = load_dataset("faces")
    np.testing.assert_array_equal(data.samples[17].reshape(data.image_shape), skimage_data.lfw_subset()[17])
    assert data.samples.shape == (200, 625)
    assert data.samples.min() >= 0
    assert data.samples.max() <= 1
    assert "Labeled Faces in the Wild" in data.description


def test_patches_are_windows_of_the_pictures():
    datasets = pytest.importorskip("sklearn.datasets")
    pytest.importorskip("PIL")
    data = load_dataset("patches")
    pictures = [np.asarray(image) / 255 for image in datasets.load_sample_images().images]
    height, width = pictures[0].shape[:2]
    rows, columns = (height - 16) // 3 + 1, (width - 16) // 3 + 1
    assert data.samples.shape == (2 * rows * columns, 256)
    assert len(data.samples) >= 50_000
    for picture, i, j in [(0, 0, 0), (0, 5, 7), (1, rows - 1, columns - 1)]:
        window = pictures[picture][3 * i : 3 * i + 16, 3 * j : 3 * j + 16]
        luminance = 0.2126 * window[..., 0] + 0.7152 * window[..., 1] + 0.0722 * window[..., 2]
        row = data.samples[(picture * rows + i) * columns + j].reshape(data.image_shape)
        np.testing.assert_allclose(row, luminance, rtol=0, atol=1e-14)
    assert data.samples.min() >= 0
    assert data.samples.max() <= 1 + 1e-12
    assert data.num_samples == len(data.samples)


def test_patches_options():
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    data = load_dataset("patches:stride=100,size=30")
    assert data.name == "patches:size=30,stride=100"
    assert data.samples.shape == (2 * 4 * 7, 900)
    assert data.image_shape == (30, 30)
    with pytest.raises(ValueError, match=r"size of 'patches' must be at most 427, .* but 428 was given"):
        load_dataset("patches:size=428")
    with pytest.raises(ValueError, match=r"size=200 and stride=1 would take \d+ GiB .* Raise the stride"):
        load_dataset("patches:size=200,stride=1")


# ---------------------------------------------------------------------- synthetic targets


def _eigenvalues(source: str) -> np.ndarray:
    data = load_dataset(source)
    assert data.samples is None
    np.testing.assert_array_equal(data.covariance, data.covariance.T)
    return np.linalg.eigvalsh(data.covariance)[::-1]


def _drawn(dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Singular values of a normal matrix and Zipf values before any shift, drawn as the data set draws them."""
    rng = np.random.default_rng(seed).spawn(2)[0]
    singular = np.linalg.svd(rng.standard_normal((dim, dim)), compute_uv=False)
    zipf = np.sort(singular[0] / np.arange(1, dim + 1) + rng.standard_normal(dim))[::-1]
    return singular, zipf


@pytest.mark.parametrize("dim", [1, 2, 20])
@pytest.mark.parametrize("seed", [0, 3])
def test_zipf_spectrum_is_the_drawn_one_with_minimum_one_over_dim(dim, seed):
    values = _eigenvalues(f"gaussian:dim={dim},spectrum=zipf,seed={seed}")
    _, zipf = _drawn(dim, seed)
    np.testing.assert_allclose(values, zipf - zipf.min() + 1 / dim, rtol=0, atol=1e-13 * (1 + values[0]))
    np.testing.assert_allclose(values[-1], 1 / dim, rtol=1e-10)


def test_random_spectrum_and_its_squares():
    singular, _ = _drawn(12, 5)
    np.testing.assert_allclose(_eigenvalues("gaussian:dim=12,spectrum=random,seed=5"), singular, atol=1e-13)
    squares = _eigenvalues("gaussian:dim=12,spectrum=random,kind=sing,seed=5")
    np.testing.assert_allclose(squares, singular**2, atol=1e-12)


@pytest.mark.parametrize("smin", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("rank", [20, 8])
@pytest.mark.parametrize("kind", ["eig", "sing"])
def test_smin_shifts_the_smallest_kept_value(smin, rank, kind):
    values = _eigenvalues(f"gaussian:dim=20,smin={smin},rank={rank},kind={kind},seed=1")
    unshifted = _eigenvalues("gaussian:dim=20,seed=1")
    expected = smin + 1 / 20
    np.testing.assert_allclose(values[rank - 1], expected if kind == "eig" else expected**2, rtol=1e-12)
    np.testing.assert_allclose(values[rank:], 0, atol=1e-12)
    if kind == "eig":  # gaps are kept
        np.testing.assert_allclose(np.diff(values[:rank]), np.diff(unshifted[:rank]), atol=1e-12)


@pytest.mark.parametrize("smin", [-1, 0, 0.04])
def test_smin_below_the_minimum_changes_nothing(smin):
    np.testing.assert_array_equal(load_dataset(f"gaussian:smin={smin}").covariance, load_dataset("gaussian").covariance)


def test_basis_depends_on_dim_and_seed_only():
    def basis(source: str) -> np.ndarray:
        vectors = np.linalg.eigh(load_dataset(source).covariance)[1][:, ::-1]
        return np.abs(vectors[:, :3])

    first = basis("gaussian:dim=6,spectrum=zipf,seed=2")
    np.testing.assert_allclose(basis("gaussian:dim=6,spectrum=random,seed=2"), first, atol=1e-10)
    np.testing.assert_allclose(basis("gaussian:dim=6,kind=sing,rank=4,seed=2"), first, atol=1e-10)
    assert np.abs(basis("gaussian:dim=6,seed=4") - first).max() > 0.1


def test_gaussian_name_is_complete_and_gives_the_same_bits():
    data = load_dataset("gaussian:seed=7, rank=3 ,dim=9")
    assert data.name == "gaussian:dim=9,spectrum=zipf,kind=eig,smin=-1.0,rank=3,seed=7"
    again = load_dataset(data.name)
    np.testing.assert_array_equal(again.covariance, data.covariance)
    assert again.digest() == data.digest()
    assert load_dataset("gaussian:dim=9,rank=3,seed=8").digest() != data.digest()
    assert load_dataset("gaussian", covariance=True).digest() == load_dataset("gaussian").digest()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "gaussian:dimm=3",
            "no option 'dimm'; its options are dim, spectrum, kind, smin, rank, seed. Did you mean 'dim'",
        ),
        ("gaussian:20", "written name=value and separated by commas, but '20' was given in 'gaussian:20'"),
        ("gaussian:", "written name=value"),
        ("gaussian:dim=3,", "written name=value"),
        ("gaussian:dim=3,dim=4", "option dim of 'gaussian' is given twice"),
        ("gaussian:dim=0", "dim of 'gaussian' must be a whole number of at least 1, but '0' was given"),
        ("gaussian:dim=2.5", "dim of 'gaussian' must be a whole number of at least 1, but '2.5' was given"),
        ("gaussian:seed=-1", "seed of 'gaussian' must be a whole number of at least 0, but '-1' was given"),
        ("gaussian:spectrum=flat", "spectrum of 'gaussian' must be 'zipf' or 'random', but 'flat' was given"),
        ("gaussian:kind=", "kind of 'gaussian' must be 'eig' or 'sing', but '' was given"),
        ("gaussian:smin=nan", "smin of 'gaussian' must be a finite number, but 'nan' was given"),
        ("gaussian:dim=3,rank=4", "rank of 'gaussian' must be at most dim = 3, but 4 was given"),
        ("patches:stride=0", "stride of 'patches' must be a whole number of at least 1"),
        ("digits:size=3", "'digits' has no options, but 'digits:size=3' was given"),
        ("digits:", "'digits' has no options"),
    ],
)
def test_bad_options(source, message):
    with pytest.raises(ValueError, match=re.escape(message).replace(r"\.\*", ".*")):
        load_dataset(source)


# ---------------------------------------------------------------------- round trips through files


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "u1", "?", ">f8", ">i4", "g"])
def test_npy_becomes_float64(tmp_path, dtype):
    array = np.arange(12).reshape(4, 3).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    data = load_dataset(tmp_path / "x.npy")
    assert type(data.samples) is np.ndarray
    assert data.samples.dtype == np.float64
    assert data.samples.dtype.isnative
    np.testing.assert_array_equal(data.samples, array.astype(float))
    assert (data.name, data.image_shape, data.num_samples) == ("x.npy", None, 4)


def test_path_as_string_and_suffix_in_capitals(tmp_path, matrix):
    (tmp_path / "X.NPY").write_bytes(_npy_bytes(matrix))
    np.testing.assert_array_equal(load_dataset(str(tmp_path / "X.NPY")).samples, matrix)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_large_npy_stays_memory_mapped(tmp_path, matrix, monkeypatch, dtype, order):
    monkeypatch.setattr(_files, "MEMORY_MAP_BYTES", 40)
    array = np.asarray(100 * matrix, dtype=dtype, order=order)
    np.save(tmp_path / "x.npy", array)
    data = load_dataset(tmp_path / "x.npy")
    assert isinstance(data.samples, np.memmap)
    assert not data.samples.flags.writeable
    assert data.samples.dtype == array.dtype
    np.testing.assert_array_equal(data.samples, array)
    assert data.digest() == Dataset(name="x", samples=array).digest()


@pytest.mark.parametrize("dtype", ["f2", ">f8"])
def test_large_npy_of_an_awkward_dtype_is_converted(tmp_path, matrix, monkeypatch, dtype):
    monkeypatch.setattr(_files, "MEMORY_MAP_BYTES", 40)
    np.save(tmp_path / "x.npy", matrix.astype(dtype))
    data = load_dataset(tmp_path / "x.npy")
    assert type(data.samples) is np.ndarray
    assert data.samples.dtype == np.float64


def test_large_npy_is_scanned_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "MEMORY_MAP_BYTES", 40)
    monkeypatch.setattr("deepbures.datasets._dataset._BLOCK_BYTES", 50)
    array = np.zeros((9, 3))
    array[4, 2], array[8, 0] = np.nan, -np.inf
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=r"2 entries that are not finite .* first in row 4, column 2 "):
        load_dataset(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((5, 4, 3), (4, 3)), ((5, 4, 2, 3), (4, 2, 3)), ((5, 4, 2, 4), (4, 2, 4)), ((5, 4, 2, 1), (4, 2))],
)
@pytest.mark.parametrize("is_large", [False, True])
def test_npy_stack_of_images(tmp_path, monkeypatch, shape, image_shape, is_large):
    if is_large:
        monkeypatch.setattr(_files, "MEMORY_MAP_BYTES", 10)
    bytes_ = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "bytes.npy", bytes_)
    np.save(tmp_path / "floats.npy", bytes_ / 255)
    images, floats = load_dataset(tmp_path / "bytes.npy"), load_dataset(tmp_path / "floats.npy")
    assert images.image_shape == floats.image_shape == image_shape
    assert isinstance(images.samples, np.memmap) == isinstance(floats.samples, np.memmap) == is_large
    np.testing.assert_array_equal(images.samples, bytes_.reshape(5, -1))
    np.testing.assert_array_equal(floats.samples, bytes_.reshape(5, -1) / 255)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_are_never_scaled(tmp_path, dtype, suffix):
    stack = np.random.default_rng(1).integers(0, 256, (5, 4, 3)).astype(dtype)
    write = np.save if suffix == "npy" else np.savez
    for name, array in {"stack": stack, "rows": stack.reshape(5, -1)}.items():
        write(tmp_path / f"{name}.{suffix}", array)
    np.testing.assert_array_equal(load_dataset(tmp_path / f"stack.{suffix}").samples, stack.reshape(5, -1))
    data, rows = (load_dataset(tmp_path / f"{name}.{suffix}") for name in ("stack", "rows"))
    np.testing.assert_array_equal(data.samples, rows.samples)
    assert data.features.pixel_range == (stack.min(), stack.max())


def test_npz_keys(tmp_path, matrix):
    np.savez(tmp_path / "one.npz", anything=matrix)
    np.testing.assert_array_equal(load_dataset(tmp_path / "one.npz").samples, matrix)
    np.savez_compressed(tmp_path / "two.npz", samples=matrix, labels=np.arange(7))
    np.testing.assert_array_equal(load_dataset(tmp_path / "two.npz").samples, matrix)
    np.savez(tmp_path / "named.npz", a=matrix, b=2 * matrix, covariance=np.eye(3))
    named = load_dataset(f"{tmp_path / 'named.npz'}::b")
    np.testing.assert_array_equal(named.samples, 2 * matrix)
    assert named.name == "named.npz::b"
    np.testing.assert_array_equal(load_dataset(tmp_path / "named.npz", covariance=True).covariance, np.eye(3))


@pytest.mark.parametrize("header", ["", "a,b,c\n", '"a, first","b","c"\n', "0,1,2\n", "\ufeffa,b,c\n", "\n\na,b,c\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_round_trip(tmp_path, matrix, header, newline):
    text = header + "\n".join(",".join(repr(float(value)) for value in row) for row in matrix) + "\n\n"
    (tmp_path / "x.csv").write_text(text, encoding="utf-8", newline=newline)
    data = load_dataset(tmp_path / "x.csv")
    np.testing.assert_array_equal(data.samples, matrix)
    assert data.samples.dtype == np.float64


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_delimiters(tmp_path, delimiter):
    rows = [["x", "y"], ["1", "2e-3"], [" 4 ", '"5"']]
    (tmp_path / "x.csv").write_text("\n".join(delimiter.join(row) for row in rows))
    np.testing.assert_array_equal(load_dataset(tmp_path / "x.csv").samples, [[1, 2e-3], [4, 5]])


def test_csv_of_one_column(tmp_path):
    (tmp_path / "x.csv").write_text("height\n1.5\n2.5\n3.5\n")
    np.testing.assert_array_equal(load_dataset(tmp_path / "x.csv").samples, [[1.5], [2.5], [3.5]])


def test_parquet_round_trip(tmp_path, matrix):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = [matrix[:, 0], matrix[:, 1].astype("f4"), np.arange(7), np.arange(7) % 2 == 0, np.arange(7)]
    names = ["a", "b", "b", "flag", "__index_level_0__"]
    table = pyarrow.Table.from_arrays([pyarrow.array(column) for column in columns], names=names)
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=3)
    data = load_dataset(tmp_path / "x.parquet")
    np.testing.assert_array_equal(data.samples, np.stack([column.astype(float) for column in columns[:4]], axis=1))
    assert data.samples.dtype == np.float64


def test_the_same_numbers_have_the_same_digest_from_every_kind_of_file(tmp_path, matrix):
    np.save(tmp_path / "x.npy", matrix)
    np.savez(tmp_path / "x.npz", matrix)
    np.savetxt(tmp_path / "x.csv", matrix, delimiter=",", fmt="%.17g")
    digests = {load_dataset(tmp_path / f"x.{suffix}").digest() for suffix in ("npy", "npz", "csv")}
    assert len(digests) == 1


def test_folder_of_gray_images(tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    _write_images(tmp_path / "pictures", {"b.png": images[1], "a.PNG": images[0], "c.bmp": images[2]})
    (tmp_path / "pictures" / "notes.txt").write_text("not an image")
    (tmp_path / "pictures" / ".hidden.png").write_text("not an image either")
    data = load_dataset(tmp_path / "pictures")
    np.testing.assert_array_equal(data.samples, images.reshape(3, -1) / 255)
    assert (data.name, data.image_shape) == ("pictures", (5, 4))


def test_folder_of_color_images(tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    with_alpha = np.concatenate([images[1], np.full((5, 4, 1), 255, np.uint8)], axis=-1)  # nothing is transparent
    _write_images(tmp_path / "pictures", {"a.png": images[0], "b.png": with_alpha})
    data = load_dataset(str(tmp_path / "pictures"))
    np.testing.assert_array_equal(data.samples, images.reshape(2, -1) / 255)
    assert data.image_shape == (5, 4, 3)


def test_folder_of_16_bit_palette_and_bilevel_images(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    deep = np.random.default_rng(2).integers(0, 65536, (2, 5, 4), dtype=np.uint16)
    _write_images(tmp_path / "deep", {"a.png": deep[0], "b.tif": deep[1]})
    np.testing.assert_array_equal(load_dataset(tmp_path / "deep").samples, deep.reshape(2, -1) / 65535)
    flat = np.zeros((2, 2, 3), np.uint8)
    flat[0, 0] = (255, 0, 0)
    _write_images(tmp_path / "palette", {"a.png": flat})
    pillow.fromarray(flat).quantize(2).save(tmp_path / "palette" / "b.png", transparency=b"\xff\xff")
    rows = load_dataset(tmp_path / "palette").samples
    np.testing.assert_array_equal(rows[0], rows[1])
    _write_images(tmp_path / "bilevel", {"a.png": np.eye(3) > 0, "b.png": np.eye(3) <= 0})
    np.testing.assert_array_equal(load_dataset(tmp_path / "bilevel").samples.sum(axis=0), np.ones(9))


def test_covariance_file(tmp_path, monkeypatch):
    covariance = np.array([[2, 1], [1, 3]])
    np.save(tmp_path / "c.npy", covariance)
    data = load_dataset(tmp_path / "c.npy", covariance=True)
    assert data.samples is None
    assert data.image_shape is None
    np.testing.assert_array_equal(data.covariance, covariance)
    assert data.covariance.dtype == np.float64
    (tmp_path / "c.csv").write_text("a,b\n2,1\n1,3\n")
    assert load_dataset(tmp_path / "c.csv", covariance=True).digest() == data.digest()
    monkeypatch.setattr(_files, "MEMORY_MAP_BYTES", 10)
    assert isinstance(load_dataset(tmp_path / "c.npy", covariance=True).covariance, np.memmap)


# ---------------------------------------------------------------------- bad input: names and paths


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


# ---------------------------------------------------------------------- bad input: contents of files


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
def test_empty_file(tmp_path, suffix):
    (tmp_path / f"x.{suffix}").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"x\.{suffix} is empty \(0 bytes\)"):
        load_dataset(tmp_path / f"x.{suffix}")


@pytest.mark.parametrize("length", [1, 6, 7, 9, 40, 127, 128, 200, -1])
def test_truncated_npy(tmp_path, matrix, length):
    (tmp_path / "x.npy").write_bytes(_npy_bytes(matrix)[:length])
    with pytest.raises(ValueError, match=r"x\.npy is truncated or damaged \("):
        load_dataset(tmp_path / "x.npy")


@pytest.mark.parametrize("length", [4, 30, 150, -30, -1])
def test_truncated_npz(tmp_path, matrix, length):
    np.savez(tmp_path / "whole.npz", matrix)
    (tmp_path / "x.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:length])
    with pytest.raises(ValueError, match=r"x\.npz is truncated or damaged"):
        load_dataset(tmp_path / "x.npz")


def test_damaged_npz(tmp_path, matrix):
    np.savez(tmp_path / "x.npz", samples=matrix)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[200] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.npz::samples is truncated or damaged \(Bad CRC"):
        load_dataset(tmp_path / "x.npz")


class _Trap:
    """Unpickling this is caught."""

    def __reduce__(self):
        return pytest.fail, ("a file was unpickled",)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_pickle_is_never_loaded(tmp_path, suffix):
    (tmp_path / f"x.{suffix}").write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(ValueError, match=rf"is not a \.{suffix} .*looks like a pickle, which is never loaded"):
        load_dataset(tmp_path / f"x.{suffix}")


def test_object_arrays_are_never_loaded(tmp_path):
    objects = np.array([[_Trap(), 1.0], [2.0, 3.0]], dtype=object)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    with pytest.raises(ValueError, match=r"x\.npy holds Python objects \(a pickle\), which are never loaded"):
        load_dataset(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", objects)
    with pytest.raises(ValueError, match=r"x\.npz::arr_0 holds Python objects \(a pickle\), which are never loaded"):
        load_dataset(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.npy", r"x\.npy is not a \.npy file\. Write it with numpy\.save"),
        ("x.npz", r"x\.npz is not a \.npz archive\. Write it with numpy\.savez"),
        ("x.parquet", r"x\.parquet is not a readable \.parquet file \("),
    ],
)
def test_wrong_magic(tmp_path, name, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text("these are not the numbers that you are looking for")
    with pytest.raises(ValueError, match=message):
        load_dataset(tmp_path / name)


def test_npz_under_the_name_of_npy(tmp_path, matrix):
    np.savez(tmp_path / "x.npz", matrix)
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"x\.npy is a \.npz archive under the name of a \.npy file\. Rename it"):
        load_dataset(tmp_path / "x.npy")


def test_npz_without_a_clear_choice(tmp_path, matrix):
    np.savez(tmp_path / "x.npz", a=matrix, b=matrix)
    with pytest.raises(ValueError, match=r"several arrays \(a, b\)\. Name one, as in '.*x\.npz::a'"):
        load_dataset(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"has no array 'c'; its arrays are a, b"):
        load_dataset(f"{tmp_path / 'x.npz'}::c")
    np.savez(tmp_path / "x.npz", x=matrix, data=matrix)
    with pytest.raises(ValueError, match="several arrays"):
        load_dataset(tmp_path / "x.npz")


def test_npz_without_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "none.npz", "w"):
        pass
    with pytest.raises(ValueError, match=r"none\.npz holds no arrays"):
        load_dataset(tmp_path / "none.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"text\.npz::readme\.txt is not an array"):
        load_dataset(tmp_path / "text.npz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,b\n1,2\n3,x\n",
            r"line 3, column 2 \('b'\) is 'x', not a number\. Leave out columns that are not numbers, or encode",
        ),
        ("1,2\n3,x\n", r"line 2, column 2 is 'x', not a number"),
        ("a,b\n1,2\n,4\n", r"line 3, column 1 \('a'\) is empty"),
        ("1,2\n3,4,5\n", r"line 2 has 3 columns where those before it have 2"),
        ("1,2\n\n3\n", r"line 3 has 1 columns where those before it have 2"),
        ("1,\n3,4\n", r"the first row is neither a header .* column 2 is ''"),
        ("year,2019\n3,4\n", r"the first row is neither a header .* column 1 is 'year'\. Name all columns"),
        (",a,b\n0,1,2\n1,3,4\n", "first column has no name, as pandas writes the row index. Write it with index=False"),
        (",0,1\n0,1,2\n1,3,4\n", "first column has no name, as pandas writes the row index"),
        ("a,b\n", "holds no rows of numbers"),
        ("\n \n", "holds no rows of numbers"),
        ("a,b\n1,2\n", r"holds one sample only \(shape \(1, 2\)\)"),
        ("1,nan\n3,inf\n", r"2 entries that are not finite .* the first in row 0, column 1"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_dataset(tmp_path / "x.csv")


def test_csv_that_is_not_text(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"caf\xe9,b\n1,2\n3,4\n")
    with pytest.raises(ValueError, match=r"x\.csv is not text in UTF-8"):
        load_dataset(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_bytes(b"1,2\n3,\x004\n")
    with pytest.raises(ValueError, match=r"x\.csv: line 2, column 2 is .* not a number"):
        load_dataset(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_bytes(b"1,2\n" * 100_000 + b"3,\xe9\n")
    with pytest.raises(ValueError, match=r"x\.csv is not text in UTF-8"):
        load_dataset(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("x" * 200_000)
    with pytest.raises(ValueError, match=r"x\.csv is not a readable \.csv file \(field larger than field limit"):
        load_dataset(tmp_path / "x.csv")


def test_bad_parquet(tmp_path, matrix):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "city": ["Rome", "Oslo"]}), path)
    with pytest.raises(ValueError, match=r"x\.parquet: column 'city' is not numeric but string\. Drop or encode it"):
        load_dataset(path)
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "b": [3, None]}), path)
    with pytest.raises(ValueError, match=r"x\.parquet: column 'b' has 1 missing values"):
        load_dataset(path)
    parquet.write_table(pyarrow.table({"a": matrix[:, 0]}), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"x\.parquet is not a readable \.parquet file"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1.0, np.nan], [np.inf, 2.0]]), r"2 entries that are not finite .* first in row 0, column 1 "),
        (np.array([["a", "b"], ["c", "d"]]), r"must hold numbers, but has dtype <U1"),
        (np.array([["2020-01-01"]] * 2, dtype="M8[D]"), r"must hold numbers, but has dtype datetime64"),
        (np.zeros(4, dtype=[("a", "f8")]), r"must hold numbers, but has dtype \[\('a', '<f8'\)\]"),
        (np.eye(3) * 1j, r"must hold real numbers, but has dtype complex128.*real and the imaginary part"),
        (np.float64(3.0), r"one sample a row, .* but has shape \(\)"),
        (np.zeros(5), r"one sample a row, .* but has shape \(5,\)\. Reshape it first: x\.reshape\(-1, 1\)"),
        (np.zeros((2, 3, 4, 5)), r"but has shape \(2, 3, 4, 5\)\. Reshape it first: x\.reshape\(len\(x\), -1\)"),
        (np.zeros((2, 3, 4, 5, 3)), r"Reshape it first"),
        (np.zeros((0, 3)), r"is empty: it has shape \(0, 3\)"),
        (np.zeros((3, 0)), r"is empty: it has shape \(3, 0\)"),
        (np.zeros((1, 3)), r"holds one sample only \(shape \(1, 3\)\), which has no covariance"),
        (np.zeros((1, 3, 3)), r"holds one sample only"),
    ],
)
@pytest.mark.parametrize("is_large", [False, True])
def test_bad_arrays(tmp_path, monkeypatch, array, message, is_large):
    if is_large:
        monkeypatch.setattr(_files, "MEMORY_MAP_BYTES", 0)
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=rf"x\.npy' .*{message}"):
        load_dataset(tmp_path / "x.npy")


@pytest.mark.skipif(np.finfo(np.longdouble).max <= np.finfo(float).max, reason="long double is double here")
def test_extended_precision_beyond_float64(tmp_path):
    array = np.ones((2, 2), np.longdouble)
    array[1, 0] = np.longdouble("1e400")
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=r"1 entries that are not finite .* row 1, column 0"):
        load_dataset(tmp_path / "x.npy")


@pytest.mark.parametrize("shape", [(3, 2), (3,), (2, 3, 3), (0, 0)])
def test_covariance_that_is_not_square(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.zeros(shape))
    with pytest.raises(ValueError, match=rf"square matrix .*, but has shape {re.escape(str(shape))}"):
        load_dataset(tmp_path / "x.npy", covariance=True)


def test_covariance_that_is_not_finite(tmp_path):
    np.save(tmp_path / "x.npy", np.diag([1.0, np.inf]))
    with pytest.raises(ValueError, match="1 entries that are not finite"):
        load_dataset(tmp_path / "x.npy", covariance=True)


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(
        ValueError, match=r"holds no images \(\.png, .*\.webp\)\. Images in its subfolders are not read"
    ):
        load_dataset(tmp_path)


def test_images_of_different_shapes(tmp_path):
    gray = np.zeros((4, 5), np.uint8)
    _write_images(tmp_path / "sizes", {"a.png": gray, "b.png": gray, "c.png": gray.T})
    with pytest.raises(ValueError, match=r"a\.png has \(4, 5\) and .*c\.png has \(5, 4\)"):
        load_dataset(tmp_path / "sizes")
    _write_images(tmp_path / "modes", {"a.png": gray, "b.png": np.zeros((4, 5, 3), np.uint8)})
    with pytest.raises(ValueError, match=r"a\.png has \(4, 5\) and .*b\.png has \(4, 5, 3\)"):
        load_dataset(tmp_path / "modes")


def test_bad_images(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    _write_images(tmp_path / "one", {"a.png": picture})
    with pytest.raises(ValueError, match="holds one sample only"):
        load_dataset(tmp_path / "one")
    for name in ("b.png", "b.jpg", "b.bmp", "b.tif", "b.webp"):
        folder = tmp_path / name.replace(".", "_")
        _write_images(folder, {"a.png": picture, name: picture})
        whole = (folder / name).read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"not an image"):
            (folder / name).write_bytes(content)
            with pytest.raises(ValueError, match=rf"{re.escape(name)} could not be read as an image \("):
                load_dataset(folder)
    _write_images(tmp_path / "floats", {"a.tif": np.zeros((2, 2), np.float32)})
    with pytest.raises(ValueError, match=r"a\.tif has pixels of mode F, whose range is not known"):
        load_dataset(tmp_path / "floats")


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


def test_nothing_is_written_or_printed(tmp_path, matrix, capsys):
    np.save(tmp_path / "x.npy", matrix)
    before = (tmp_path / "x.npy").read_bytes()
    data = load_dataset(tmp_path / "x.npy")
    data.samples[0, 0] = 99.0  # in memory: the file is untouched
    assert (tmp_path / "x.npy").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_integers_that_float64_does_not_hold_are_refused(suffix, tmp_path):
    values = np.array([[2**60, 2**60], [0, 1], [2**60 + 1, 3]])
    path, exact = tmp_path / f"x{suffix}", tmp_path / f"y{suffix}"
    for where, x in ((path, values), (exact, values[:2])):
        match suffix:
            case ".npy":
                np.save(where, x)
            case ".npz":
                np.savez(where, x=x)
            case ".csv":
                np.savetxt(where, x, fmt="%d", delimiter=",", header="a,b", comments="")
            case _:
                pytest.importorskip("pyarrow.parquet").write_table(
                    pytest.importorskip("pyarrow").table({"a": x[:, 0], "b": x[:, 1]}), where
                )
    place = {".csv": r"in line 4, column 1 \('a'\)", ".parquet": "in row 2"}.get(suffix, "in row 2, column 0")
    with pytest.raises(ValueError, match=rf"the whole number 1152921504606846977 {place}.*, which float64 cannot hold"):
        load_dataset(path)
    np.testing.assert_array_equal(load_dataset(exact).samples, [[2.0**60, 2.0**60], [0, 1]])
