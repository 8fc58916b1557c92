"""From the bytes of a file to text: compression, and the encoding where a file tells it."""

import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from deepbures.datasets._kinds import first_bytes, refuse_other_kind

_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""Encodings, found by the mark at the beginning of the file; longer marks come first."""

_MOST_BYTES = 4096
"""Bytes that are looked at to find out the encoding."""


def check_text(path: Path) -> None:
    """Refuse a file that is empty, or of a kind that is no text."""
    start = first_bytes(path)
    is_compressed, is_named_so = start.startswith(b"\x1f\x8b"), path.suffix.lower() == ".gz"
    if is_compressed and is_named_so:
        return
    refuse_other_kind(path, start, path.suffix.lower())
    if is_named_so:
        raise ValueError(f"{path} is not compressed with gzip. Rename it to {path.stem}.")


@contextlib.contextmanager
def reading_text(path: Path) -> Iterator[None]:
    """What cannot be read as text, as a ValueError that names the file."""
    try:
        yield
    except UnicodeDecodeError as error:
        encoding = error.encoding.upper().replace("-LE", "").replace("-BE", "")
        raise ValueError(
            f"{path} is not text in {encoding} ({error.reason} at byte {error.start}). Convert it to UTF-8 first."
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}). Write it again.") from None
    except csv.Error as error:
        raise ValueError(f"{path} is not a readable {path.suffix} file ({error}). Write it again.") from None


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """The text of a file, with its line ends as they are."""
    with contextlib.ExitStack() as stack:
        file: Any = stack.enter_context(path.open("rb"))
        if path.suffix.lower() == ".gz":
            file = stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
        encoding = _encoding(path, file.peek(_MOST_BYTES)[:_MOST_BYTES])
        yield stack.enter_context(io.TextIOWrapper(file, encoding=encoding, newline=""))


def _encoding(path: Path, start: bytes) -> str:
    """The encoding of text by its mark; without one, UTF-16 by its zero bytes, or else UTF-8.

    Digits and delimiters have a zero byte each in UTF-16, always at the same side, and text in UTF-8 has none.
    """
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    firsts, seconds = start[0::2], start[1::2]
    zeros = firsts.count(0), seconds.count(0)
    if zeros[0] == 0 and 2 * zeros[1] > len(seconds):
        return "utf-16-le"
    if zeros[1] == 0 and 2 * zeros[0] > len(firsts):
        return "utf-16-be"
    if 4 * sum(zeros) > len(start):
        raise ValueError(
            f"{path} is not text in UTF-8: {sum(zeros)} of its first {len(start)} bytes are zero, as in UTF-16 or "
            "UTF-32 without a byte order mark. Convert it to UTF-8 first."
        )
    return "utf-8-sig"
