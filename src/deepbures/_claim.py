"""Folders and files that one process writes at a time.

Two runs in one folder would mix their files. Whoever writes holds a lock of the operating system on a small file there,
not a file whose mere presence says "in use": the system takes the lock back when its holder ends, also by a kill or a
crash, so that nothing is left to be cleaned up by hand. Nothing heavy is imported here: a folder is claimed before any
work.
"""

import contextlib
import errno
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from deepbures._warn import warn

if sys.platform == "win32":
    import msvcrt
else:
    try:
        import fcntl
    except ImportError:  # a platform without file locks
        fcntl = None  # type: ignore[assignment]

LOCK = ".deepbures.lock"
"""The file in a folder that is locked while it is in use. A kill leaves it behind, unlocked: it means nothing then."""

REQUEST = "request.json"
"""What an unfinished run was asked to do; it is there while a run can be gone on with."""

_BUSY = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
_MOST_ATTEMPTS = 100
_WINDOWS_OFFSET = 1 << 30
"""Where Windows locks a byte: those that are locked cannot be read, and the beginning of the file names the holder."""


class InUseError(ValueError):
    """Another process writes there."""


def _lock(descriptor: int) -> None:
    """Lock an open file, or raise OSError at once."""
    if sys.platform == "win32":
        os.lseek(descriptor, _WINDOWS_OFFSET, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    elif fcntl is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Lock:
    """A lock on a file, which is made for it and removed when it is released.

    Where a filesystem has no locks, this is a warning and nothing is locked.

    Parameters
    ----------
    file : Path
        The file to make and lock.
    what : Path
        What is protected by it, for messages.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepbures._claim import Lock
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "lock"
    ...     with Lock(file, Path("results")):
    ...         try:
    ...             Lock(file, Path("results")).acquire()
    ...         except ValueError as error:
    ...             print(str(error).partition(" (")[0])
    ...     file.exists()
    results is in use by another run
    False
    """

    def __init__(self, file: Path, what: Path) -> None:
        self.file, self.what = file, what
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Lock, or say who has.

        Raises
        ------
        InUseError
            If another process, or another `Lock` of this one, holds it.
        OSError
            If the file cannot be made.
        """
        for _ in range(_MOST_ATTEMPTS):
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._lock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if self._is_at_its_place(descriptor):
                self._descriptor = descriptor
                with contextlib.suppress(OSError):  # a full disk: nobody is named then
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"{os.getpid()} {platform.node()}".encode())
                return
            os.close(descriptor)  # whoever held it has removed the file meanwhile
        raise InUseError(
            f"{self.what} is in use by other runs, one after the other: try again, or choose another --out."
        )

    def _lock(self, descriptor: int) -> None:
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _BUSY:
                raise InUseError(
                    f"{self.what} is in use by another run{_holder(descriptor)}: wait until it has ended, or choose "
                    "another --out."
                ) from None
            warn(
                f"{self.what} cannot be locked ({error.strerror or error}): see to it that no other run writes there "
                "at the same time."
            )

    def _is_at_its_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.file))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the file and release the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # While it is locked: nobody else can hold the file that is removed. Windows removes no file that is open.
        if sys.platform != "win32":
            self._remove()
        os.close(descriptor)
        if sys.platform == "win32":
            self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _holder(descriptor: int) -> str:
    """The process that holds a lock, as it has written it down; nothing where it has not."""
    try:
        number, _, host = os.read(descriptor, 300).decode().partition(" ")
    except (OSError, UnicodeDecodeError):
        return ""
    if not number.isdecimal():
        return ""
    return f" (process {number}{'' if host == platform.node() else f' on {host}'})"


@contextlib.contextmanager
def claimed_file(path: Path) -> Iterator[None]:
    """A file (or a folder that is written whole) for this process alone, by a lock beside it.

    Raises
    ------
    InUseError
        If another process writes it.
    ValueError
        If its folder cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepbures._claim import claimed_file
    >>> with tempfile.TemporaryDirectory() as folder, claimed_file(Path(folder) / "x.npy"):
    ...     [path.name for path in Path(folder).iterdir()]
    ['.x.npy.lock']
    """
    lock = Lock(path.with_name(f".{path.name}.lock"), path)
    try:
        lock.acquire()
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror or error}): choose another --out.") from None
    try:
        yield
    finally:
        lock.release()


class ClaimedFolder:
    """A folder for this process alone, from `claim` to `release`: made if it is missing, tried, and locked.

    Parameters
    ----------
    path : Path
        The folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepbures._claim import ClaimedFolder, contents
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     with ClaimedFolder(Path(parent) / "runs" / "new") as folder:
    ...         folder.path.is_dir(), contents(folder.path)
    ...     (Path(parent) / "runs").exists()  # nothing was written into it
    (True, [])
    False
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = Lock(self.path / LOCK, self.path)
        self._made: list[Path] = []

    def make(self) -> None:
        """Make the folder and try that it can be written to, without locking it.

        Raises
        ------
        ValueError
            If it is no folder, or cannot be written to.
        """
        with self._explained():
            self._make()
            with tempfile.TemporaryFile(dir=self.path):
                pass

    def claim(self) -> None:
        """Make the folder and lock it.

        Raises
        ------
        InUseError
            If another process has claimed it.
        ValueError
            If it is no folder, or cannot be written to.
        """
        with self._explained():
            for _ in range(_MOST_ATTEMPTS):
                with contextlib.suppress(FileNotFoundError):  # whoever made it has just discarded it
                    self._make()
                    self._lock.acquire()
                    return
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _make(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file, but a folder for the results is needed: choose another --out.")
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self._made = list(dict.fromkeys([*self._made, *missing]))
        self.path.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.release()
            raise ValueError(
                f"{self.path} cannot be written to ({error.strerror or error}): choose another --out."
            ) from None
        except ValueError:
            self.release()
            raise

    def release(self) -> None:
        """Release the lock, and remove the folders that were made here, as far as they are empty."""
        self._lock.release()
        self.discard()

    def discard(self) -> None:
        """Remove the folders that were made here, as far as they are empty."""
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._made = []

    def __enter__(self) -> Self:
        self.claim()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def contents(path: Path) -> list[str]:
    """What is in a folder, by name, but for its lock; nothing if there is no such folder."""
    return sorted(entry.name for entry in path.iterdir() if entry.name != LOCK) if path.is_dir() else []


def check_vacant(path: Path, *, overwrite: bool, resume: bool = False, what: str = "run") -> None:
    """Refuse a folder that holds something which is neither to be replaced nor to be gone on with.

    Raises
    ------
    ValueError
        If it holds something and neither `overwrite` nor `resume` is set, or there is nothing to resume.
    """
    try:
        can_resume, is_used = (path / REQUEST).exists(), bool(contents(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}): choose another --out.") from None
    if resume and not can_resume:
        raise ValueError(
            f"There is no interrupted run to resume in {path} (no {REQUEST}): leave --resume out to start one."
        )
    if is_used and not (overwrite or resume):
        hint = " (or --resume to go on with the interrupted run in it)" if can_resume and what == "run" else ""
        raise ValueError(
            f"{path} exists and is not empty: choose another --out, or pass --overwrite to replace the {what} in "
            f"it{hint}."
        )
