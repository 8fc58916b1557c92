"""`deepbures landscape`: critical points of a target as a table, files and figures."""

import csv
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import deepbures as db
from deepbures._atomic import write_atomically, write_text
from deepbures.cli._messages import Invocation
from deepbures.cli._progress import Display
from deepbures.cli._show import loss_in_words, number, show_table
from deepbures.cli._target import loss_of, target_of
from deepbures.cli.requests import LandscapeRequest
from deepbures.landscape import CriticalPoints, spectrum_ends
from deepbures.runs import environment, plain

TABLE, SUMMARY = "landscape.csv", "landscape.json"
FIGURES = ("critical_points.svg", "spectra.svg", "paths.svg")

# Rows of the table on a terminal, and of the figures of spectra and paths.
_MOST_SHOWN, _MOST_DRAWN = 20, 8


def run(request: LandscapeRequest, call: Invocation, display: Display) -> dict[str, Any]:
    """Find the critical points, write what was asked for, and return the summary."""
    target, loss, rank, depth = target_of(request), loss_of(request), request.rank, request.depth
    display.stage("finding critical points")
    points = db.critical_points(target, rank, loss, depth=depth, num=request.num, morse_index=request.morse_index)
    target = points.target  # a large matrix is decomposed in it
    display.stage("computing spectra")
    rows = _rows(points)
    summary: dict[str, Any] = {
        "data": {"name": request.dataset.name, "dim": target.dim},
        "request": request.record(),
        "loss": loss.to_dict(),
        "minimal_loss": float(db.minimal_loss(target, rank, loss)),
        "sharpness": float(db.sharpness(target, rank, loss, depth=depth)),
        "asymptotic_rate": float(db.asymptotic_rate(target, rank, loss, depth=depth)),
        "total": points.total,
        "points": rows,
        "warnings": list(call.warnings),
        **environment(),
    }
    if request.out is not None:
        display.stage("drawing")
        summary["folder"] = str(request.out)
        try:
            figures = _draw(points, target, loss)
        except ImportError as error:
            call.note(f"the figures were left out. {error}")
            figures = {}
        _write(request.out, rows, summary, figures)
    return dict(plain(summary))


def _rows(points: CriticalPoints) -> list[dict[str, Any]]:
    ends = spectrum_ends(points)
    columns = {
        **{name: np.asarray(column).tolist() for name, column in points.columns().items() if name != "eigen_indices"},
        "lambda_min": ends.smallest.tolist(),
        "lambda_max": ends.largest.tolist(),
        "relative_condition": ends.relative_condition.tolist(),
        "absolute_condition": ends.absolute_condition.tolist(),
    }
    indices = [list(modes) for modes in points.columns()["eigen_indices"]]
    return [
        {"eigen_indices": modes, **dict(zip(columns, row, strict=True))}
        for modes, row in zip(indices, zip(*columns.values(), strict=True), strict=True)
    ]


def _write(out: Path, rows: list[dict[str, Any]], summary: dict[str, Any], figures: Mapping[str, str]) -> None:
    """Write the table, the figures and the summary, which lists them."""

    def table(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["eigen_indices"])
            writer.writeheader()
            for row in rows:
                writer.writerow({**row, "eigen_indices": " ".join(str(index) for index in row["eigen_indices"])})

    write_atomically(out / TABLE, table)
    for name in FIGURES:
        if name in figures:
            write_text(out / name, figures[name])
        else:
            (out / name).unlink(missing_ok=True)  # of what was overwritten
    summary["files"] = [TABLE, SUMMARY, *figures]
    text = json.dumps(plain(summary), indent=2, allow_nan=False)
    write_text(out / SUMMARY, text)


def _draw(points: CriticalPoints, target: db.Target, loss: Any) -> dict[str, str]:
    """The figures by the name of their file, as SVG, as far as there are points for them."""
    from deepbures.plot import plot_critical_points, plot_hessian_spectra, plot_paths, to_svg

    drawn = points[:_MOST_DRAWN]
    figures = [plot_critical_points(points)] if len(points) else []
    if drawn:
        figures.append(plot_hessian_spectra({_modes(point.eigen_indices): point.spectrum() for point in drawn}))
    if len(drawn) > 1:
        figures.append(
            plot_paths(
                {
                    f"{_modes(high.eigen_indices)} → {_modes(low.eigen_indices)}": db.loss_along_path(
                        high, low, target, loss, kind="bures"
                    )
                    for low, high in itertools.pairwise(drawn)
                }
            )
        )
    return {name: to_svg(figure) for name, figure in zip(FIGURES, figures, strict=False)}


def _modes(indices: Any) -> str:
    """Modes as people count them: from 1; runs in short."""
    numbers = [int(index) + 1 for index in indices]
    parts: list[str] = []
    start = 0
    for position in range(1, len(numbers) + 1):
        if position == len(numbers) or numbers[position] != numbers[position - 1] + 1:
            first, last = numbers[start], numbers[position - 1]
            parts.append(str(first) if first == last else f"{first}-{last}" if last > first + 1 else f"{first}, {last}")
            start = position
    return "{" + ", ".join(parts) + "}"


def show(summary: dict[str, Any]) -> None:
    """The table on a terminal."""
    import typer

    request, data = summary["request"], summary["data"]
    network = f"rank {request['rank']}, depth {request['depth']}"
    typer.echo(f"{data['name']}: {data['dim']} features; {loss_in_words(summary)}; {network}")
    sharpness = summary["sharpness"]  # None or zero where the minimizer is flat in every direction
    typer.echo(
        f"minimal loss {number(summary['minimal_loss'], 6)}, sharpness {number(sharpness or 0.0)}, stability limit "
        f"{number(2 / sharpness if sharpness else None)}, asymptotic rate {number(summary['asymptotic_rate'])}\n"
    )
    shown = summary["points"][:_MOST_SHOWN]
    columns = {
        "modes": [_modes(row["eigen_indices"]) for row in shown],
        "loss": [number(row["value"], 6) for row in shown],
        "rank": [str(row["rank"]) for row in shown],
        "index": [str(row["morse_index"]) for row in shown],
        "nullity": [str(row["nullity"]) for row in shown],
        "kind": [row["kind"] for row in shown],
        "λ min": [number(row["lambda_min"]) for row in shown],
        "λ max": [number(row["lambda_max"]) for row in shown],
    }
    if any(row["family_dim"] for row in shown):
        columns["family"] = [str(row["family_dim"]) for row in shown]
    show_table(
        columns,
        right=set(columns) - {"modes", "kind"},
        least_needed=("family", "rank", "nullity", "λ max", "λ min", "kind", "index", "loss"),
    )
    found = len(summary["points"])
    others = f"in {TABLE}" if "folder" in summary else f"shown by --json, and written by --out into {TABLE}"
    rest = f"; {found} found, the others are {others}" if found > _MOST_SHOWN else ""
    typer.echo(f"\n{len(shown)} of {summary['total']:,} critical points{rest}.")
    if "family" in columns:
        typer.echo("Points of a family differ by a rotation among equal eigenvalues; its dimension is given.")
    if "folder" in summary:
        typer.echo(f"{summary['folder']}: {', '.join(summary['files'])}")
