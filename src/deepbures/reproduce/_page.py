"""The page of a reproduction: every experiment that is complete in a folder, from its files alone."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from deepbures._html import inline_svg, render
from deepbures._words import counted
from deepbures.experiments import Finding
from deepbures.plot import format_number
from deepbures.reproduce._folder import Complete, Options
from deepbures.reproduce._registry import Experiment

# Longer tables are folded, and their first rows shown: the file holds them all.
_LONGEST_OPEN, _FIRST = 12, 8

_MARKS = {True: ("held", "held"), False: ("did not hold", "failed"), None: ("too little to judge", "shown")}
"""Words and class for whether a statement held; of what is shown only, `_SHOWN`."""
_SHOWN = ("shown only", "shown")


def render_index(complete: Sequence[Complete], request: Options, registry: Sequence[Experiment]) -> str:
    """The page as text: the same files give the same text, whenever and in whatever order they came about.

    Parameters
    ----------
    complete : sequence of Complete
        What to show.
    request : Options
        What it was asked for.
    registry : sequence of Experiment
        All experiments there are, to name those that are not shown.
    """
    shown = [item.experiment.name for item in complete]
    missing = [experiment.name for experiment in registry if experiment.name not in shown]
    return render(
        "reproduce.html.jinja",
        title="Bures-Wasserstein loss and deep linear networks: the experiments",
        lead=_lead(request, registry, shown),
        verdict=_verdict([finding for item in complete for finding in item.findings]),
        unheld=[
            {"name": item.experiment.name, "title": item.experiment.title, "statement": finding.statement}
            for item in complete
            for finding in item.findings
            if finding.held is False
        ],
        quick=request.quick,
        missing=missing,
        sections=[_section(item) for item in complete],
        command=_command(request, shown if missing else []),
    )


def _lead(request: Options, registry: Sequence[Experiment], shown: Sequence[str]) -> str:
    number = f"{len(shown)} of {len(registry)} experiments" if len(shown) < len(registry) else "All experiments"
    faces = f", faces {request.faces[:12]}…" if request.faces else ""
    return f"{number}, computed with seed {request.seed}{faces}."


def _verdict(findings: Sequence[Finding]) -> dict[str, str]:
    marks = [finding.held for finding in findings if not finding.is_shown_only]
    held, unjudged, shown = marks.count(True), marks.count(None), len(findings) - len(marks)
    told = (
        f"Of {counted(unjudged, 'statement', 'statements')} there is too little to judge." if unjudged else "",
        f"{counted(shown, 'more statement is', 'more statements are')} shown without a verdict." if shown else "",
    )
    detail = " ".join(part for part in told if part)
    if len(marks) == unjudged:
        return {"status": "caution", "sentence": "No statement is decided here.", "detail": detail}
    if held == len(marks):
        what = counted(held, "statement held", "statements held")
        return {"status": "good", "sentence": f"{what}." if held == 1 else f"All {what}.", "detail": detail}
    return {"status": "caution", "sentence": f"{held} of {len(marks)} statements held.", "detail": detail}


def tally(findings: Iterable[Finding]) -> str:
    """How many statements held, of how many.

    Examples
    --------
    >>> from deepbures.experiments import Finding
    >>> from deepbures.reproduce import tally
    >>> tally([Finding("", True, ""), Finding("", None, ""), Finding("", None, "", is_shown_only=True)])
    '1 of 2, 1 too little to judge, 1 shown only'
    """
    findings = tuple(findings)
    marks = [finding.held for finding in findings if not finding.is_shown_only]
    unjudged, shown = marks.count(None), len(findings) - len(marks)
    told = (
        f"{marks.count(True)} of {len(marks)}" if marks else "",
        f"{unjudged} too little to judge" if unjudged else "",
        f"{shown} shown only" if shown else "",
    )
    return ", ".join(part for part in told if part) or "none"


def _mark(finding: Finding) -> tuple[str, str]:
    return _SHOWN if finding.is_shown_only else _MARKS[finding.held]


def _command(request: Options, names: Sequence[str]) -> str:
    faces = ["--faces", "PATH"] if request.faces else []
    quick = ["--quick"] if request.quick else []
    return " ".join(["deepbures", "reproduce", *names, "--seed", str(request.seed), *quick, *faces])


def _section(item: Complete) -> dict[str, Any]:
    experiment = item.experiment
    figures = [
        {
            "svg": inline_svg(svg, f"{experiment.name}-{i}", f"{experiment.title}. {drawing.caption}"),
            "caption": drawing.caption,
            "link": f"{experiment.name}/{drawing.file}",
            "file": drawing.file,
        }
        for i, (drawing, svg) in enumerate(zip(experiment.drawings, item.figures, strict=True))
    ]
    return {
        "name": experiment.name,
        "title": experiment.title,
        "description": experiment.description,
        "tally": tally(item.findings),
        "findings": [
            {"mark": _mark(finding)[0], "kind": _mark(finding)[1], "finding": finding} for finding in item.findings
        ],
        "figures": figures,
        "tables": [_table(experiment.name, name, cells) for name, cells in item.tables.items()],
    }


def _table(experiment: str, file: str, cells: Sequence[Sequence[str]]) -> dict[str, Any]:
    columns, rows = (list(cells[0]), cells[1:]) if cells else ([], [])
    is_folded = len(rows) > _LONGEST_OPEN
    return {
        "name": file.removesuffix(".csv").replace("_", " "),
        "file": file,
        "link": f"{experiment}/{file}",
        "columns": [
            {"name": name.replace("_", " "), "numeric": all(_is_number(row[i]) for row in rows)}
            for i, name in enumerate(columns)
        ],
        "rows": [[_shown(cell) for cell in row] for row in (rows[:_FIRST] if is_folded else rows)],
        "size": f"{counted(len(rows), 'row', 'rows')}, {counted(len(columns), 'column', 'columns')}",
        "folded": is_folded,
    }


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _shown(cell: str) -> str:
    """A number as readers want it; counts, and what is no number, as they are."""
    if not _is_number(cell) or cell == "" or re.fullmatch(r"[+-]?\d+", cell):
        return cell.replace("-", "−") if re.fullmatch(r"-\d+", cell) else cell
    value = float(cell)
    return "–" if math.isnan(value) else format_number(value)
