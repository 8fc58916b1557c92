"""What the commands say on standard error: warnings while they run, and one line for whatever ends them."""

import codecs
import contextlib
import io
import os
import re
import shlex
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

import typer


class WorkError(Exception):
    """The request was right, but the work failed: exit code 1. With what is known nevertheless."""

    def __init__(self, message: str, summary: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.summary = dict(summary or {})


@dataclass
class Invocation:
    """One call of the command line: its arguments, and the warnings that were shown."""

    arguments: list[str]
    warnings: list[str] = field(default_factory=list)
    quiet: bool = False

    @property
    def command(self) -> str:
        """As it would be typed, whatever the encoding of this process."""
        return " ".join(["deepbures", *(_typed(word) for word in self.arguments)])

    def warn(self, message: object) -> None:
        """Show a warning as one line, once; with --quiet, only keep it."""
        text = _one_line(message)
        if text not in self.warnings:
            self.warnings.append(text)
            self.note(f"warning: {text}")

    def note(self, text: str) -> None:
        """Show a line on standard error, if it is wanted."""
        if not self.quiet:
            say(f"deepbures: {text}")

    @contextlib.contextmanager
    def showing_warnings(self) -> Iterator[None]:
        """Show the warnings of everything that is called in the same form."""

        def show(message: Warning | str, *_: Any, **__: Any) -> None:
            self.warn(message)

        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            yield


_OURS = frozenset("λτμΣΔκσε²³⁶₀ᵀ→−×…·≤≥∞≈–—“”•")
"""What messages and tables of ours hold beside ASCII; the longer escapes would break tables."""


def write_anywhere(stream: TextIO) -> None:
    """Let a stream take all text: what its encoding lacks becomes ? in words of ours, and an escape in those of others.

    So the name of a file is still to be told from another one's.
    """

    def escape(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        return "".join(map(_escaped, error.object[error.start : error.end])), error.end

    codecs.register_error("deepbures", escape)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="deepbures")


def _escaped(character: str) -> str:
    if character in _OURS:
        return "?"
    code = ord(character)
    is_byte = 0xDC80 <= code <= 0xDCFF  # of an argument or a name of a file that is no text
    return f"\\x{code - 0xDC00:02x}" if is_byte else character.encode("ascii", "backslashreplace").decode()


def say(text: str) -> None:
    """One line on standard error."""
    typer.echo(text, err=True)


def explain(error: BaseException, *, debug: bool) -> tuple[int, str]:
    """Exit code and one line for what ended a command; with `debug`, the traceback on standard error as well."""
    if debug:
        say("".join(traceback.format_exception(error)).rstrip())
    # typer brings its own copy of click or uses an installed one: its errors are known by what they offer.
    if hasattr(error, "format_message"):
        return 2, f"{_usage(error).rstrip('.')}.{_where_to_look(error)}"
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return 1, "interrupted"
    if isinstance(error, OSError):
        what = _one_line(error.strerror or error)
        return 1, f"{what}." if error.filename is None else f"{error.filename}: {what}."
    text = _one_line(error) or type(error).__name__
    # What is an argument in Python is an option here.
    text = re.sub(r"\bpass rtol=(\S+\d)", r"pass --rtol \1", text)
    if isinstance(error, (ValueError, TypeError, ImportError)):
        return 2, text
    if isinstance(error, MemoryError):
        return 1, f"out of memory ({text})."
    if isinstance(error, WorkError):
        return 1, text
    return 1, f"unexpected {type(error).__name__}: {text} (--debug shows where)."


def _usage(error: Any) -> str:
    """What typer says of an argument that it cannot read, with the value that was given."""
    text = _one_line(error.format_message()).replace("Value error, ", "")
    details = getattr(error.__cause__, "errors", None)  # some versions of typer leave the reading to pydantic
    given = repr(details()[0]["input"]) if details is not None else ""
    if given in text:
        return text
    found = re.fullmatch(r"Invalid value for '(?P<name>.+?)': Input should be (?P<expected>a valid \w+)\b.*", text)
    return f"{found['name']} must be {found['expected']}, but {given} was given" if found else f"{text} ({given})"


def _where_to_look(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return "" if context is None else f" See {context.command_path} --help."


def _typed(word: str) -> str:
    """A word as a shell takes it; in $'…' where a terminal could not show its bytes.

    Where the encoding of the process is not UTF-8, Python holds what it cannot read of an argument as surrogates: the
    bytes, which are what the shell was given, are read as UTF-8 instead.
    """
    try:
        bytes_ = os.fsencode(word)
    except UnicodeEncodeError:  # not from a shell
        bytes_ = word.encode("utf-8", "surrogatepass")
    try:
        text = bytes_.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and bool(text) == bool(bytes_):
        return shlex.quote(text)
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in bytes_)
    return f"$'{''.join(plain)}'"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
