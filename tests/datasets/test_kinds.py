"""Files whose bytes are not what their name, or nothing, says: encodings without a mark, and files of other kinds."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile

import numpy as np
import pytest

from deepbures.datasets import load_dataset

ROWS = np.array([[1.5, -2.0], [3.25, 4.0], [0.0, 7.5]])
TEXT = "height,größe\n1.5,-2\n3.25,4\n0,7.5\n"


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------------- encodings


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(tmp_path, encoding, suffix):
    content = TEXT.encode(encoding)
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == "csv.gz" else content)
    data = load_dataset(path)
    assert data.feature_names == ("height", "größe")
    np.testing.assert_array_equal(data.samples, ROWS)


def test_text_that_may_be_in_several_encodings(tmp_path):
    path = tmp_path / "x.csv"
    for text, encoding in ((TEXT, "utf-32-le"), (TEXT, "utf-32-be"), ("温度Ā,力Ā\n" * 2 + TEXT, "utf-16-le")):
        path.write_bytes(text.encode(encoding))
        refused(
            path, r"is not text in UTF-8: \d+ of its first \d+ bytes are zero, as in UTF-16 or UTF-32 without a byte"
        )
    path.write_bytes(codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")[:-1])
    refused(path, r"is not text in UTF-16 \(truncated data at byte \d+\)\. Convert it to UTF-8 first")
    path.write_bytes(TEXT.encode("latin-1"))
    refused(path, r"is not text in UTF-8 \(invalid \w+ byte at byte \d+\)\. Convert it")


# ---------------------------------------------------------------------- files of other kinds


def archive_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def numpy_bytes(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer, ROWS)
    return buffer.getvalue()


OTHERS = {
    "npy": (lambda: numpy_bytes(np.save), r"is an array of NumPy under the name of a {} file\. Rename it to x\.npy\."),
    "npz": (lambda: numpy_bytes(np.savez), r"is a \.npz archive under the name of a {} file\. Rename it to x\.npz\."),
    "workbook": (lambda: archive_of("[Content_Types].xml", "xl/workbook.xml"), "is a workbook of Excel .* read_excel"),
    "old workbook": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "is a workbook of Excel .* read_excel"),
    "zip": (lambda: archive_of("a.csv", "b.csv"), r"is a ZIP archive \(of a\.csv, b\.csv\) under .* Unpack it first"),
    "half a zip": (lambda: archive_of("a.csv")[:40], r"is a damaged ZIP archive under .* Write it again"),
    "bzip2": (lambda: bz2.compress(TEXT.encode()), "is compressed with bzip2 under .* Unpack it first"),
    "xz": (lambda: lzma.compress(TEXT.encode()), "is compressed with xz under .* Unpack it first"),
    "Git LFS": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        "is a pointer of Git LFS under .* Fetch the file itself: git lfs pull",
    ),
    "web page": (lambda: b"\n<!DOCTYPE html>\n<html>404</html>\n", "is a web page under .* Download the file itself"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), r"is an HDF5 file under .* as \.npy"),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".parquet"])
def test_files_of_another_kind(tmp_path, kind, suffix):
    make, message = OTHERS[kind]
    if suffix == f".{kind}":
        return
    if (suffix, kind) == (".npz", "half a zip"):
        message = "is truncated or damaged"
    path = tmp_path / f"x{suffix}"
    path.write_bytes(make())
    refused(path, message.replace("{}", rf"\{suffix}"))


def test_parquet_and_compressed_text_under_other_names(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = tmp_path / "table.csv"
    parquet.write_table(pyarrow.table({"a": ROWS[:, 0]}), table)
    refused(table, r"is a Parquet file under the name of a \.csv file\. Rename it to table\.parquet\.")
    for name in ("x.csv", "x.TSV"):
        (tmp_path / name).write_bytes(gzip.compress(TEXT.encode()))
        refused(tmp_path / name, rf"is compressed with gzip under .* Rename it to {name}\.gz\.")
    (tmp_path / "x.npy").write_bytes(gzip.compress(b"x"))
    refused(tmp_path / "x.npy", r"is compressed with gzip under the name of a \.npy file\. Unpack it first")
    (tmp_path / "x.csv.gz").write_bytes(archive_of("x.csv"))
    refused(tmp_path / "x.csv.gz", r"is a ZIP archive \(of x\.csv\) under the name of a \.gz file\. Unpack it first")


@pytest.mark.parametrize("name", ["PAR1", "BZh", "PK", "ARROW1", "SQLite format 3"])
def test_names_of_columns_that_are_like_those_of_other_kinds(tmp_path, name):
    (tmp_path / "x.csv").write_text(f"{name},b\n1,2\n3,4\n")
    assert load_dataset(tmp_path / "x.csv").feature_names == (name, "b")
