"""Tables as people have them: they are read as other programs read them, or refused with what to do."""

import csv
import gzip
import re

import numpy as np
import pytest

from deepbures.datasets import known_datasets, load_dataset
from deepbures.reproduce import EXPERIMENTS


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((12, 3))


def lines_of(matrix: np.ndarray, delimiter: str = ",") -> str:
    return "".join(delimiter.join(map(repr, row)) + "\n" for row in matrix.tolist())


# ---------------------------------------------------------------------- text


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "tsv.gz", "TSV.GZ"])
def test_text_of_every_suffix(tmp_path, matrix, suffix):
    path = tmp_path / f"x.{suffix}"
    content = (
        "a\tb\tc\n" + lines_of(matrix, "\t") if "tsv" in suffix.lower() else "a,b,c\n" + lines_of(matrix)
    ).encode()
    path.write_bytes(gzip.compress(content) if suffix.lower().endswith("gz") else content)
    data = load_dataset(path)
    assert (data.feature_names, data.name) == (("a", "b", "c"), path.name)
    np.testing.assert_array_equal(data.samples, matrix)


def test_damaged_compressed_text(tmp_path, matrix):
    whole = gzip.compress(lines_of(matrix).encode())
    for content in (whole[:-20], b"a,b\n1,2\n3,4\n", whole[:40] + b"\xff" * 20 + whole[60:]):
        (tmp_path / "x.csv.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.csv\.gz is truncated or damaged, or not compressed with gzip \("):
            load_dataset(tmp_path / "x.csv.gz")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark(tmp_path, matrix, encoding):
    (tmp_path / "x.csv").write_text("größe,b,c\n" + lines_of(matrix), encoding=encoding)
    data = load_dataset(tmp_path / "x.csv")
    assert data.feature_names == ("größe", "b", "c")
    np.testing.assert_array_equal(data.samples, matrix)


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', ""])
def test_files_of_spreadsheets(tmp_path, matrix, first):
    (tmp_path / "x.csv").write_text(first + "height, cm;weight, kg;a,b,c,d\n" + lines_of(matrix, ";"), newline="")
    data = load_dataset(tmp_path / "x.csv")
    assert data.feature_names == ("height, cm", "weight, kg", "a,b,c,d")
    np.testing.assert_array_equal(data.samples, matrix)


def test_numbers_in_quotes(tmp_path, matrix):
    with (tmp_path / "x.csv").open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(['says "x"', "b", "c"])
        writer.writerows(matrix.tolist())
    data = load_dataset(tmp_path / "x.csv")
    assert data.feature_names == ('says "x"', "b", "c")
    np.testing.assert_array_equal(data.samples, matrix)


@pytest.mark.parametrize("header", ["", "x,flag,on\n"])
def test_truth_values(tmp_path, header):
    (tmp_path / "x.csv").write_text(header + "1.5,true,0\n2.5,False,TRUE\n-3,TRUE, false \n")
    data = load_dataset(tmp_path / "x.csv")
    np.testing.assert_array_equal(data.samples, [[1.5, 1, 0], [2.5, 0, 1], [-3, 1, 0]])
    assert data.feature_dtypes == ("float64", "bool", "bool")


def test_truth_values_of_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [0.5, 1.5, 2.5], "b": [True, False, True]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    np.testing.assert_array_equal(load_dataset(tmp_path / "x.csv").samples, frame.to_numpy(float))


def test_wide_text(tmp_path):
    """A line beyond what the csv module takes for one field."""
    wide = np.random.default_rng(0).standard_normal((2, 9000))
    (tmp_path / "x.csv").write_text(lines_of(wide))
    np.testing.assert_array_equal(load_dataset(tmp_path / "x.csv").samples, wide)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b\n1,5;2,5\n3,5;4,5\n", r"line 2, column 1 \('a'\) is '1,5', not a number\. Write a decimal point"),
        ("1,5;2,5\n3,5;4,5\n", r"the first row holds '1,5'\. If that is a number, write a decimal point"),
        ("1,5;2,5\n3;4\n", r"the first row holds '1,5'\. If that is a number, write a decimal point"),
        ("x\n1,5\n2,5\n", r"the header has 1 names, but line 2 has 2 columns.*write decimal points, not commas"),
        ('a,b\n"1,234.5",2\n3,4\n', r"line 2, column 1 \('a'\) is '1,234\.5', .*nothing between thousands"),
        ("a,b\n1 234,2\n3,4\n", r"line 2, column 1 \('a'\) is '1 234', not a number"),
        ("a,b,\n1,2,\n3,4,\n", r"line 2, column 3 \(''\) is empty, as every row ends with the delimiter ','"),
        ("1,2\n3,4\n# end\n", r"line 3, column 1 is '# end', a comment\. Remove comments that come after"),
        ("name,a,b\ns1,1,2\ns2,3,4\n", r"line 2, column 1 \('name'\) is 's1', .* not numbers \(labels of rows\)"),
        ("a,b\n1,1,2\n2,3,4\n", r"the header has 2 names, but line 2 has 3 columns\. The first column may be labels"),
        ("a b\n1 2\n3 4\n", r"line 2 is '1 2'\. Separate numbers by commas, semicolons or tabs, not by spaces or bars"),
        ("1 2\n3 4\n", r"line 1 is '1 2'\. Separate numbers"),
        ("a|b\n1|2\n3|4\n", r"line 2 is '1\|2'\. Separate numbers"),
        ("NA,NA\n1,2\n3,4\n", r"all of the first row is missing \('NA'\)\. Leave it out"),
        ("a,b\n1,NA\n3,4\n", r"line 2, column 2 \('b'\) is 'NA', a missing value\. Drop the rows .*dropna, fillna"),
        ("a,b\n1,\n3,4\n", r"line 2, column 2 \('b'\) is empty\. Drop the rows that are not complete, or impute"),
        ("a,b\n1,nan\n3,4\n", r"1 entries that are not finite .*row 0, column 1 \(counted from 0, 'b'\)"),
        ("a,b\n1,yes\n3,no\n", r"line 2, column 2 \('b'\) is 'yes', not a number\. .*encode them first"),
        ("a,b\n1,true\n3,2.5\n", r"column 2 \('b'\) has both truth values and numbers \('2\.5' in line 3\)\."),
        ("true,false\n0.1,0.9\n", r"column 1 has both truth values .*first row names the columns, pass header=True"),
        ("a,b\n1,2\n3,4,5\n", r"line 3 has 3 columns where those before it have 2\. Give the same number"),
        ("a,b\n1_000,2\n3,4\n", r"line 2, column 1 \('a'\) is '1_000', not a number"),
        ("a,b\n5%,2\n3,4\n", r"line 2, column 1 \('a'\) is '5%', not a number"),
    ],
)  # fmt: skip
def test_text_that_is_refused(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(tmp_path / "x.csv")
    assert "\n" not in str(caught.value) and "x.csv" in str(caught.value)


def test_an_index_that_cannot_be_told_from_a_feature_is_a_warning(tmp_path, matrix):
    numbered = np.column_stack([np.arange(len(matrix)), matrix])
    (tmp_path / "x.csv").write_text("id,a,b,c\n" + lines_of(numbered))
    with pytest.warns(
        UserWarning, match=r"the first column \('id'\) of '.*x\.csv' counts the rows, and is taken for a f"
    ):
        data = load_dataset(tmp_path / "x.csv")
    np.testing.assert_array_equal(data.samples, numbered)


# ---------------------------------------------------------------------- .parquet


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
        (pyarrow.array([1, None]), "column 'b' has 1 missing values"),
    ]:
        with pytest.raises(ValueError, match=message.replace(r"frame\['b'\]", r"frame\[name\]|frame\['b'\]")):
            write(column)
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "b": [0.5, float("nan")]}), path)
    with pytest.raises(ValueError, match=r"row 1, column 1 \(counted from 0, 'b'\)"):
        load_dataset(path)


# ---------------------------------------------------------------------- .npz


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
    np.savez(tmp_path / "model.npz", weight_1=np.eye(3))
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


def test_structured_arrays(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(4, [("a", "f8"), ("b", "f4")]))
    with pytest.raises(ValueError, match=r"Make columns of its fields: numpy\.lib\.recfunctions\.structured_to_unstr"):
        load_dataset(tmp_path / "x.npy")


# ---------------------------------------------------------------------- names that mean two things


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
