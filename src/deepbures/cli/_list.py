"""`deepbures reproduce --list`: the experiments there are."""

from typing import Any

import typer

from deepbures.cli._messages import Invocation
from deepbures.cli._progress import Display
from deepbures.cli.requests import ReproduceRequest


def run(request: ReproduceRequest, call: Invocation, display: Display) -> dict[str, Any]:
    """Names, titles and descriptions."""
    rows = [{"name": e.name, "title": e.title, "description": e.description} for e in request.chosen]
    return {"experiments": rows}


def show(summary: dict[str, Any]) -> None:
    """A line for each."""
    width = max((len(row["name"]) for row in summary["experiments"]), default=0)
    for row in summary["experiments"]:
        typer.echo(f"{row['name']:{width}}  {row['description']}")
