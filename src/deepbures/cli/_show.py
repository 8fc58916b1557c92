"""What the commands say on standard output."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer


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


def count(number: int, noun: str) -> str:
    """A number of things, in words that agree with it."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _rows(summary: Mapping[str, Any]) -> dict[str, str]:
    from deepbures.training._features import in_percent

    data, request = summary["data"], summary["request"]
    size, dim = data["shape"]
    features = count(dim, "feature")
    what = f"{size} samples of {features}" if data["kind"] == "samples" else f"covariance of {features}"
    loss = "squared Bures-Wasserstein" if request["loss"] == "bw" else "squared Frobenius"
    smoothing = f", tau {request['tau']:g}" if request["tau"] else ""
    rows = {
        "data": f"{data['name']}: {what}",
        "network": f"widths {' → '.join(str(width) for width in summary['widths'])}",
        "loss": f"{loss}{smoothing}",
        "model": f"N(mean, W Wᵀ + {request['tau']:g} I)" if request["tau"] else "N(mean, W Wᵀ)",
        "solver": request["solver"],
        "loss reached": f"{summary['final_loss']:.10g}",
        "theoretical minimum": f"{summary['minimal_loss']:.10g}",
        "relative excess": f"{summary['relative_excess']:.2e}",
        "variance explained": in_percent(summary["explained_variance"]),
        "sharpness": f"{summary['sharpness']:.5g}",
        "asymptotic rate": f"{summary['asymptotic_rate']:.5g}",
    }
    if summary["unusable_modes"]:
        rows["unusable modes"] = ", ".join(str(mode) for mode in summary["unusable_modes"])
    if summary["steps"] is not None:
        reached = "" if summary["time"] is None else f", time {summary['time']:.5g}"
        rows["steps"] = f"{summary['steps']}{reached}"
        if len(summary["widths"]) > 2:
            rows["balancedness gap"] = f"{summary['largest_balancedness_gap']:.2e} at most"
    rows["result"] = summary["result"]
    rows["seconds"] = f"{summary['seconds']:.1f}"
    return rows
