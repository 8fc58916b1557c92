"""What a file is by its first bytes, whatever its name says."""

import re
import zipfile
from pathlib import Path

_COMPRESSED = "Unpack it first"
_SIGNATURES = (
    (rb"\x93NUMPY", "an array of NumPy", ".npy"),
    (rb"ARROW1\0", "a Feather file", "Write it as .parquet (pandas: read_feather, to_parquet)"),
    (rb"\x89HDF", "an HDF5 file", "Write its array as .npy (h5py, numpy.save)"),
    (rb"\xd0\xcf\x11\xe0", "a workbook of Excel", "Save the sheet as .csv (pandas: read_excel, to_csv)"),
    (rb"SQLite format 3\0", "a data base of SQLite", "Write the table as .csv or .parquet"),
    (rb"%PDF-", "a document", "Write its table as .csv"),
    (rb"\x89PNG|\xff\xd8\xff", "an image", "Give the folder that holds the images"),
    (rb"version https://git-lfs", "a pointer of Git LFS", "Fetch the file itself: git lfs pull"),
    (rb"(?i)\s*<(!doctype|html|\?xml)", "a web page", "Download the file itself"),
    (rb"BZh[1-9]1AY&SY", "compressed with bzip2", _COMPRESSED),
    (rb"\xfd7zXZ\0", "compressed with xz", _COMPRESSED),
    (rb"\x28\xb5\x2f\xfd", "compressed with Zstandard", _COMPRESSED),
)
"""The first bytes, as a pattern; what they tell; and the suffix that the file should have, or what else to do."""


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file that must not be empty."""
    with path.open("rb") as file:
        start = file.read(32)
    if not start:
        raise ValueError(f"{path} is empty (0 bytes). Write it again.")
    return start


def refuse_other_kind(path: Path, start: bytes, suffix: str) -> None:
    """Refuse a file that begins like one of another kind than its suffix says."""
    what, remedy = _kind(path, start)
    if remedy.startswith("."):
        remedy = f"Rename it to {path.name.removesuffix(path.suffix)}{remedy}"
    if what:
        raise ValueError(f"{path} is {what} under the name of a {suffix} file. {remedy}.")


def _kind(path: Path, start: bytes) -> tuple[str, str]:
    """What a file is, and its suffix or what else to do; nothing where that is not known, as of text."""
    if start.startswith(b"PAR1") and _last_bytes(path) == b"PAR1":  # a name in a header might begin so as well
        return "a Parquet file", ".parquet"
    if start.startswith(b"\x1f\x8b"):
        return "compressed with gzip", f"{path.suffix}.gz" if path.suffix.lower() in (".csv", ".tsv") else _COMPRESSED
    if start.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path)
    for pattern, what, remedy in _SIGNATURES:
        if re.match(pattern, start):
            return what, remedy
    return "", ""


def _kind_of_archive(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a damaged ZIP archive", "Write it again"
    if any(name.startswith("xl/") for name in names):
        return "a workbook of Excel", "Save the sheet as .csv (pandas: read_excel, to_csv)"
    if names and all(name.endswith(".npy") for name in names):
        return "a .npz archive", ".npz"
    return f"a ZIP archive (of {', '.join(names[:3])}{', …' * (len(names) > 3)})", _COMPRESSED


def _last_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-4, 2)
        return file.read()
