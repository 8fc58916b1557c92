"""One self-contained page about a fit: what was asked, what came out, and how that compares with theory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepbures._atomic import write_text
from deepbures._html import inline_svg, render
from deepbures.datasets import Dataset
from deepbures.report._proof import proved_of
from deepbures.report._section import Figure
from deepbures.report._sections import sections_of
from deepbures.report._tables import command, flatten, tables
from deepbures.report._words import lead, short, verdict, verdict_on_model, violations, warnings_of
from deepbures.training import Fit


def write_report(path: Path, fit: Fit, dataset: Dataset, summary: Mapping[str, Any]) -> None:
    """Write a fit as one HTML page that needs no other file and no network.

    The same fit and summary give the same bytes. The page is written to a temporary name and moved into place.

    Parameters
    ----------
    path : Path
        The file to write; an existing one is replaced.
    fit : Fit
        What `deepbures.fit` returned.
    dataset : Dataset
        What it was fitted to: its name, and samples to show where they are images.
    summary : mapping
        What else is known of the run, as plain values (the content of ``summary.json``): shown in full, and searched
        for ``seed``, ``warnings``, ``command``, ``seconds`` and ``versions``. May be empty.

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import deepbures as db
    >>> from deepbures.datasets import load_dataset
    >>> from deepbures.report import write_report
    >>> data = load_dataset("gaussian:dim=5")
    >>> fitted = db.fit(db.Target.from_covariance(data.covariance), rank=2, solver="closed-form")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = pathlib.Path(folder) / "report.html"
    ...     write_report(page, fitted, data, {"seed": 0})
    ...     "theoretical minimum" in page.read_text(encoding="utf-8")
    True
    """
    write_text(Path(path), render_report(fit, dataset, summary))


def render_report(fit: Fit, dataset: Dataset, summary: Mapping[str, Any]) -> str:
    """The page of `write_report` as text."""
    sections = [section for section in sections_of(fit, dataset, summary) if section.has_content]
    proved = proved_of(fit)
    outcome, (model, advice) = verdict(fit), verdict_on_model(fit, dataset)
    if advice and outcome["status"] == "good":
        outcome["status"] = "caution"
    return render(
        "report.html.jinja",
        title=f"{short(dataset.name)}: rank {fit.rank}, depth {fit.network.depth}",
        lead=lead(fit, dataset),
        verdict={**outcome, "model": model, "advice": advice},
        violations=violations(fit),
        proved=proved if proved is None else proved._replace(figures=_inline("What is proved", proved.figures, "p")),
        warnings=warnings_of(fit, dataset, summary),
        tables=tables(fit, dataset, summary),
        sections=[
            section._replace(figures=_inline(section.title, section.figures, f"s{i}f"))
            for i, section in enumerate(sections)
        ],
        command=command(summary),
        record=list(flatten(summary)),
    )


def _inline(title: str, figures: Sequence[Figure], prefix: str) -> list[Figure]:
    """Figures as parts of the page, with identifiers that begin with a prefix."""
    return [
        figure._replace(svg=inline_svg(figure.svg, f"{prefix}{i}", f"{title}. {figure.caption}"))
        for i, figure in enumerate(figures)
    ]
