"""Errors and lines shared by the commands."""

import typer


class WorkError(Exception):
    """The request was right, but the work failed: exit code 1."""


def say(text: str) -> None:
    """One line on standard error."""
    typer.echo(text, err=True)
