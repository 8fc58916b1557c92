"""What the commands say on standard error: warnings while they run, and one line for whatever ends them."""

import contextlib
import re
import shlex
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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

    @property
    def command(self) -> str:
        """As it would be typed."""
        return shlex.join(["deepbures", *self.arguments])

    def warn(self, message: object) -> None:
        """Show a warning as one line, once."""
        text = _one_line(message)
        if text not in self.warnings:
            self.warnings.append(text)
            say(f"deepbures: warning: {text}")

    @contextlib.contextmanager
    def showing_warnings(self) -> Iterator[None]:
        """Show the warnings of everything that is called in the same form."""

        def show(message: Warning | str, *_: Any, **__: Any) -> None:
            self.warn(message)

        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            yield


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


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
