"""What the commands say on standard output."""

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from deepbures._words import counted, in_percent


def show_json(content: Mapping[str, Any]) -> None:
    """One object on one line, of plain values, in ASCII: right in whatever encoding a pipe has."""
    typer.echo(json.dumps(content, allow_nan=False))


def show_summary(summary: Mapping[str, Any]) -> None:
    """A fit as a table, and where its files lie."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(summary).items():
        table.add_row(name, value)
    console = Console(highlight=False, markup=False)
    console.print(table)
    folder = Path(summary["folder"])
    typer.echo(f"\n{folder}: {', '.join(summary['files'])}")
    if "report.html" in summary["files"]:
        typer.echo(f"Report: {folder / 'report.html'}")


def show_table(columns: Mapping[str, Sequence[str]], *, right: Collection[str], least_needed: Sequence[str]) -> None:
    """A table, as wide as it has to be where there is no terminal.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        The cells of each column. The first one tells the rows apart: where the terminal is too narrow it is folded, and
        never left out.
    right : collection of str
        Columns of numbers.
    least_needed : sequence of str
        Columns that are left out of a narrow terminal, in this order; a line below the table names them.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    first, *others = columns
    widths = {name: max(map(cell_len, (name, *cells))) for name, cells in columns.items()}
    console = Console(highlight=False, markup=False, width=None if _width_is_given() else 10_000)
    needed = min(widths[first], max(_NARROWEST, console.width // 2))
    left_out: list[str] = []
    for name in least_needed:
        if needed + sum(_GAP + widths[other] for other in others) <= console.width:
            break
        if name in others:
            others.remove(name)
            left_out.append(name)
    room = console.width - sum(_GAP + widths[other] for other in others)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold", width=max(1, min(widths[first], room)))
    for name in others:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for cells in zip(*(columns[name] for name in (first, *others)), strict=True):
        table.add_row(*cells)
    console.print(table)
    if left_out:
        names = ", ".join(name for name in columns if name in left_out)
        console.print(f"\nToo narrow for: {names}. Widen the terminal, or see --json.", soft_wrap=True)


_GAP = 2
"""Between columns."""
_NARROWEST = 12
"""To which the first column is folded at most while another one could be left out."""


def _width_is_given() -> bool:
    return sys.stdout.isatty() or "COLUMNS" in os.environ


def loss_in_words(summary: Mapping[str, Any]) -> str:
    """The loss of a command, with its parameters."""
    loss = summary["loss"]
    return ", ".join([loss["words"], *(f"{name} {value:g}" for name, value in loss["parameters"].items() if value)])


def number(value: float | None, digits: int = 4, kind: str = "g") -> str:
    """As on a terminal; in a summary, what is infinite or undefined is None."""
    return "none" if value is None else f"{value:.{digits}{kind}}"


def _rows(summary: Mapping[str, Any]) -> dict[str, str]:
    data, request = summary["data"], summary["request"]
    size, dim = data["shape"]
    features = counted(dim, "feature")
    what = f"{size} samples of {features}" if data["kind"] == "samples" else f"covariance of {features}"
    rows = {
        "data": f"{data['name']}: {what}",
        "network": f"widths {' → '.join(str(width) for width in summary['widths'])}",
        "loss": loss_in_words(summary),
        "model": f"N(mean, W Wᵀ + {summary['noise_variance']:g} I)" if summary["noise_variance"] else "N(mean, W Wᵀ)",
        "solver": request["solver"],
        "loss reached": number(summary["final_loss"], 10),
        "theoretical minimum": number(summary["minimal_loss"], 10),
        "relative excess": number(summary["relative_excess"], 2, "e"),
        "variance explained": in_percent(summary["explained_variance"]),
        "sharpness": number(summary["sharpness"], 5),
        "asymptotic rate": number(summary["asymptotic_rate"], 5),
    }
    if summary["unusable_modes"]:
        rows["unusable modes"] = ", ".join(str(mode) for mode in summary["unusable_modes"])
    if summary["steps"] is not None:
        reached = "" if summary["time"] is None else f", time {summary['time']:.5g}"
        rows["steps"] = f"{summary['steps']}{reached}"
        if len(summary["widths"]) > 2:
            rows["balancedness gap"] = f"{summary['largest_balancedness_gap']:.2e} at most"
    rows["result"] = summary["result"]
    if summary["proof"] is not None:
        rows["proved"] = summary["proof"]
    rows["seconds"] = f"{summary['seconds']:.1f}"
    return rows
