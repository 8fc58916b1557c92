"""Arrays in files of NumPy, .npy and .npz: round trips, and every bad input."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from deepbures.datasets import Dataset, _files, load_dataset


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((7, 3))


def _npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


# ---------------------------------------------------------------------- .npy


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


@pytest.mark.parametrize("length", [1, 6, 7, 9, 40, 127, 128, 200, -1])
def test_truncated_npy(tmp_path, matrix, length):
    (tmp_path / "x.npy").write_bytes(_npy_bytes(matrix)[:length])
    with pytest.raises(ValueError, match=r"x\.npy is truncated or damaged \("):
        load_dataset(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1.0, np.nan], [np.inf, 2.0]]), r"2 entries that are not finite .* first in row 0, column 1 "),
        (np.array([["a", "b"], ["c", "d"]]), r"must hold numbers, but has dtype <U1"),
        (
            np.array([["2020-01-01"]] * 2, dtype="M8[D]"),
            r"must hold numbers, but has dtype datetime64.* Make times of the d",
        ),
        (np.zeros((3, 2), "V2"), r"must hold numbers, but has dtype \|V2\. It holds bytes .* If they are bfloat16"),
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
    with pytest.raises(ValueError, match=r"1 entry that is not finite .* row 1, column 0"):
        load_dataset(tmp_path / "x.npy")


def test_structured_arrays(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(4, [("a", "f8"), ("b", "f4")]))
    with pytest.raises(ValueError, match=r"Its fields \('a', 'b'\) become columns by numpy\.lib\.recfunctions\.struct"):
        load_dataset(tmp_path / "x.npy")


# ---------------------------------------------------------------------- .npz


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
    with pytest.raises(ValueError, match=r"text\.npz is a ZIP archive \(of readme\.txt\) under the name"):
        load_dataset(tmp_path / "text.npz")


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("maker", ["eye", "eye_array"])
def test_sparse_matrices_are_refused(tmp_path, form, maker):
    sparse = pytest.importorskip("scipy.sparse")
    path = tmp_path / "x.npz"
    sparse.save_npz(path, getattr(sparse, maker)(6, 4, format=form))
    with pytest.raises(ValueError, match=r"x\.npz is a sparse matrix of SciPy\. Save it as an array, numpy\.save"):
        load_dataset(path)
    with pytest.raises(ValueError, match=r"toarray\(\)\); or, .*Target\.from_operator"):
        load_dataset(f"{path}::data")


def test_an_array_beside_its_mask(tmp_path, matrix):
    masked = np.ma.masked_less(matrix, -1.0)
    path = tmp_path / "x.npz"
    np.savez(path, data=masked.data, mask=masked.mask)
    with pytest.raises(ValueError, match=rf"holds a mask \(mask\) that hides {masked.mask.sum()} entries of data"):
        load_dataset(path)
    np.testing.assert_array_equal(load_dataset(f"{path}::data").samples, matrix)
    np.savez(path, data=matrix, mask=np.zeros(matrix.shape, bool))
    np.testing.assert_array_equal(load_dataset(path).samples, matrix)


def test_models_are_no_data(tmp_path):
    np.savez(tmp_path / "model.npz", weight_1=np.ones((3, 2)))
    with pytest.raises(
        ValueError, match=r"model\.npz is a model, not data\. Draw from it with deepbures sample, or name"
    ):
        load_dataset(tmp_path / "model.npz")
    assert load_dataset(f"{tmp_path / 'model.npz'}::weight_1").num_samples == 3


def test_names_and_image_shape_beside_the_samples(tmp_path, matrix):
    np.savez(tmp_path / "x.npz", samples=matrix, feature_names=np.array(["a", "b", "c"]), image_shape=np.array([3, 1]))
    data = load_dataset(tmp_path / "x.npz")
    assert (data.feature_names, data.image_shape) == (("a", "b", "c"), (3, 1))
    np.savez(
        tmp_path / "x.npz", samples=matrix, feature_names=np.array(["a", "b", 3], object), image_shape=np.array([2])
    )
    data = load_dataset(tmp_path / "x.npz")
    assert (data.feature_names, data.image_shape) == (None, None)


# ---------------------------------------------------------------------- what is never loaded


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


# ---------------------------------------------------------------------- of every kind of file


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
