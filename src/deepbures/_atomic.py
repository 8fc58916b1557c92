"""Files that are whole or not there: written under a temporary name, flushed to the disk, and moved into place."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place.

    Raises
    ------
    OSError
        If it cannot be written (a full disk, say), with `path` as its file name; nothing of it is left then, and what
        was at `path` stays.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepbures.runs import write_atomically
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "note.txt"
    ...     write_atomically(path, lambda file: file.write_text("done") and None)
    ...     path.read_text(), len(list(Path(folder).iterdir()))
    ('done', 1)
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # NumPy reports a short write without an error number.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; lines end alike on every platform."""

    # The name of a file need not be text: what UTF-8 cannot hold becomes \udc80 or the like, as JSON would escape it.
    def fill(file: Path) -> None:
        file.write_bytes(text.encode(errors="backslashreplace"))

    write_atomically(path, fill)
