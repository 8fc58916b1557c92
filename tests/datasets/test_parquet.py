"""Tables in .parquet files."""

import numpy as np
import pytest

from deepbures.datasets import load_dataset

pytest.importorskip("pyarrow")


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((12, 3))


def test_parquet_round_trip(tmp_path, matrix):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    counts = np.arange(len(matrix))
    columns = [matrix[:, 0], matrix[:, 1].astype("f4"), counts, counts % 2 == 0, counts]
    names = ["a", "b", "b", "flag", "__index_level_0__"]
    table = pyarrow.Table.from_arrays([pyarrow.array(column) for column in columns], names=names)
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=3)
    data = load_dataset(tmp_path / "x.parquet")
    np.testing.assert_array_equal(data.samples, np.stack([column.astype(float) for column in columns[:4]], axis=1))
    assert data.samples.dtype == np.float64


@pytest.mark.parametrize("index", ["named", "unnamed", "two", "numbers", "numbers with a name"])
def test_the_row_index_of_pandas_is_no_feature(tmp_path, matrix, index):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    dates = pandas.date_range("2020-01-01", periods=len(matrix))
    of = {
        "named": pandas.Index(np.arange(100, 100 + len(matrix)), name="patient"),
        "unnamed": pandas.Index(np.arange(len(matrix))[::-1]),
        "two": pandas.MultiIndex.from_arrays([dates, np.arange(len(matrix))], names=["day", None]),
        "numbers": pandas.RangeIndex(len(matrix)),
        "numbers with a name": pandas.RangeIndex(5, 5 + len(matrix), name="row"),
    }[index]
    frame = pandas.DataFrame(matrix, columns=["a", "b", "c"], index=of)
    frame.to_parquet(tmp_path / "x.parquet", engine="pyarrow")
    data = load_dataset(tmp_path / "x.parquet")
    assert data.feature_names == ("a", "b", "c")
    np.testing.assert_array_equal(data.samples, matrix)


@pytest.mark.parametrize("metadata", [None, {b"pandas": b"{}"}, {b"pandas": b"no json"}, {b"pandas": b"[1]"}])
def test_columns_of_other_writers(tmp_path, matrix, metadata):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"a": matrix[:, 0], "index": matrix[:, 1]}).replace_schema_metadata(metadata)
    parquet.write_table(table, tmp_path / "x.parquet")
    assert load_dataset(tmp_path / "x.parquet").feature_names == ("a", "index")


def test_types_of_columns(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"

    def write(column):
        parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "b": column}), path)
        return load_dataset(path).samples[:, 1]

    for column in (
        pyarrow.array([1, 200], "uint8"),
        pyarrow.array([True, False]),
        pyarrow.array(np.array([0.5, 2], "f2")),
    ):
        np.testing.assert_array_equal(write(column), np.array(column.to_pylist(), float))
    np.testing.assert_array_equal(write(pyarrow.array([150, -25]).cast(pyarrow.decimal128(21, 2))), [150, -25])
    for column, message in [
        (pyarrow.array([0, 1], "timestamp[ms]"), r"column 'b' is not numeric but timestamp\[ms\]\. Drop or encode it"),
        (pyarrow.array(["x", "y"]).dictionary_encode(), "column 'b' is not numeric but dictionary"),
        (pyarrow.array([[1.0, 2.0], [3.0, 4.0]]), r"column 'b' holds lists .*numpy\.stack\(frame\['b'\]\)"),
        (pyarrow.array([1, None]), "column 'b' has 1 missing value"),
    ]:
        with pytest.raises(ValueError, match=message.replace(r"frame\['b'\]", r"frame\[name\]|frame\['b'\]")):
            write(column)
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "b": [0.5, float("nan")]}), path)
    with pytest.raises(ValueError, match=r"row 1, column 1 \(counted from 0, 'b'\)"):
        load_dataset(path)


def test_bad_parquet(tmp_path, matrix):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "city": ["Rome", "Oslo"]}), path)
    with pytest.raises(ValueError, match=r"x\.parquet: column 'city' is not numeric but string\. Drop or encode it"):
        load_dataset(path)
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "b": [3, None]}), path)
    with pytest.raises(ValueError, match=r"x\.parquet: column 'b' has 1 missing value"):
        load_dataset(path)
    parquet.write_table(pyarrow.table({"a": matrix[:, 0]}), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"x\.parquet is not a readable \.parquet file"):
        load_dataset(path)
