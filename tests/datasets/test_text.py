"""Tables in text as people have them: they are read as other programs read them, or refused with what to do."""

import csv
import gzip

import numpy as np
import pytest

from deepbures.datasets import load_dataset


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((12, 3))


def lines_of(matrix: np.ndarray, delimiter: str = ",") -> str:
    return "".join(delimiter.join(map(repr, row)) + "\n" for row in matrix.tolist())


# ---------------------------------------------------------------------- accepted


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


def test_an_index_that_cannot_be_told_from_a_feature_is_a_warning(tmp_path, matrix):
    numbered = np.column_stack([np.arange(len(matrix)), matrix])
    (tmp_path / "x.csv").write_text("id,a,b,c\n" + lines_of(numbered))
    with pytest.warns(
        UserWarning, match=r"the first column \('id'\) of '.*x\.csv' counts the rows, and is taken for a f"
    ):
        data = load_dataset(tmp_path / "x.csv")
    np.testing.assert_array_equal(data.samples, numbered)


# ---------------------------------------------------------------------- refused


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
        ("1,2\n\n3\n", r"line 3 has 1 column where those before it have 2"),
        ("1,\n3,4\n", r"the first row is neither a header .* column 2 is ''"),
        ("year,2019\n3,4\n", r"the first row is neither a header .* column 1 is 'year'\. Name all columns"),
        (",a,b\n0,1,2\n1,3,4\n", "first column has no name, as pandas writes the row index. Write it with index=False"),
        (",0,1\n0,1,2\n1,3,4\n", "first column has no name, as pandas writes the row index"),
        ("a,b\n", "holds no rows of numbers"),
        ("\n \n", "holds no rows of numbers"),
        ("a,b\n1,2\n", r"holds one sample only \(shape \(1, 2\)\)"),
        ("1,2\n3,4\n\n5,nan\ninf,6", r"2 entries that are not finite .* the first in line 4, column 2, counted from 1"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_dataset(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b\n1,5;2,5\n3,5;4,5\n", r"line 2, column 1 \('a'\) is '1,5', not a number\. Write a decimal point"),
        ("1,5;2,5\n3,5;4,5\n", r"the first row holds '1,5'\. If that is a number, write a decimal point"),
        ("1,5;2,5\n3;4\n", r"the first row holds '1,5'\. If that is a number, write a decimal point"),
        ("x\n1,5\n2,5\n", r"the header has 1 name, but line 2 has 2 columns.*write decimal points, not commas"),
        ('a,b\n"1,234.5",2\n3,4\n', r"line 2, column 1 \('a'\) is '1,234\.5', .*nothing between thousands"),
        ("a,b\n1 234,2\n3,4\n", r"line 2, column 1 \('a'\) is '1 234', not a number"),
        ("a,b,\n1,2,\n3,4,\n", r"rows end with the delimiter ',', as line 3 does, .* Remove it from the end of all"),
        ("a,b\n1,2,\n3,4, \n", r"rows end with the delimiter ',', as line 3 does"),
        ("1,2,\n3,4,\n", r"rows end with the delimiter ',', as line 2 does"),
        (",1,2\n,3,4\n", r"rows begin with the delimiter ',', as line 2 does, .* from the beginning of all lines"),
        (",a,b\n,1,2\n,3,4\n", r"rows begin with the delimiter ',', as line 3 does"),
        ('a,b\n1,"2\n3,4\n', r"line 3, column 2 \('b'\) is '2\\n3,4', which goes over the end of a line\. Close"),
        ("1;2;\n", r"rows end with the delimiter ';', as line 1 does"),
        ("a,b,c\n1,2,\n3,4,\n", r"line 2, column 3 \('c'\) is empty, as that column is in every row\. Leave the c"),
        ("a,b,c\n1,,2\n3,,4\n", r"line 2, column 2 \('b'\) is empty, as that column is in every row\. Leave the c"),
        ("1,2,3\n4,5,\n", r"line 2, column 3 is empty\. Drop the rows that are not complete"),
        ("1,2\n3,4\n# end\n", r"line 3, column 1 is '# end', a comment\. Remove comments that come after"),
        ("name,a,b\ns1,1,2\ns2,3,4\n", r"line 2, column 1 \('name'\) is 's1', .* not numbers \(labels of rows\)"),
        ("a,b\n1,1,2\n2,3,4\n", r"the header has 2 names, but line 2 has 3 columns\. The first column may be labels"),
        ("a b\n1 2\n3 4\n", r"line 2 is '1 2'\. Separate numbers by commas, semicolons or tabs, not by spaces or bars"),
        ("1 2\n3 4\n", r"line 1 is '1 2'\. Separate numbers"),
        ("a|b\n1|2\n3|4\n", r"line 2 is '1\|2'\. Separate numbers"),
        ("NA,NA\n1,2\n3,4\n", r"all of the first row is missing \('NA'\)\. Leave it out"),
        ("a,b\n1,NA\n3,4\n", r"line 2, column 2 \('b'\) is 'NA', a missing value\. Drop the rows .*dropna, fillna"),
        ("a,b\n1,\n3,4\n", r"line 2, column 2 \('b'\) is empty\. Drop the rows that are not complete, or impute"),
        ("a,b\n1,nan\n3,4\n", r"1 entry that is not finite .* in line 2, column 2 \('b'\), counted from 1\. Rem"),
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


def test_damaged_compressed_text(tmp_path, matrix):
    whole = gzip.compress(lines_of(matrix).encode())
    for content, message in (
        (whole[:-20], r"x\.csv\.gz is truncated or damaged \("),
        (whole[:40] + b"\xff" * 20 + whole[60:], r"x\.csv\.gz is truncated or damaged \("),
        (b"a,b\n1,2\n3,4\n", r"x\.csv\.gz is not compressed with gzip\. Rename it to x\.csv\."),
    ):
        (tmp_path / "x.csv.gz").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_dataset(tmp_path / "x.csv.gz")
