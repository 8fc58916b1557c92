"""Experiments that are fakes; `deepbures.experiments` has tests of its own."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from deepbures.experiments import Finding, Keeper, Piece, compute_all
from deepbures.reproduce import Drawing, Experiment

TRAP: dict[str, Callable[[], None]] = {}
"""What to do before a piece, a record or a figure of this name is made: raise, or wait."""


def spring(name: str) -> None:
    TRAP.get(name, lambda: None)()


class Rates(NamedTuple):
    rates: np.ndarray
    total: float

    @property
    def findings(self) -> tuple[Finding, ...]:
        spring("findings")
        return (
            Finding("Rates grow with depth.", np.bool_(self.rates[-1] > self.rates[0]), "Twice as fast at depth 2."),
            Finding("The <total> is zero.", False, f"It is {self.total:.3f}."),
            Finding("Wide networks are alike.", None, "Shown in the figure.", is_shown_only=True),
        )

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        rows = [
            {"depth": i + 1, "rate": rate, "kind": "odd" if i % 2 else "even", "stable": bool(i % 2)}
            for i, rate in enumerate(self.rates)
        ]
        return {
            "rates": rows,
            "short_one": [{"sizes": [1, 2], "x": None}, {"x": -1.5e-8, "y": np.int64(-3)}],
            "none": [],
        }


def rates(*, quick: bool, seed: int, keep: Keeper = compute_all) -> Rates:
    num = 4 if quick else 40

    def piece(depth: int) -> Piece:
        spring(f"depth={depth}")
        draws = np.random.default_rng([seed, depth]).standard_normal(1000)
        return {"rate": depth * np.abs(draws).mean(), "label": np.array(f"τ={depth}")}

    found = keep({f"depth={depth}": lambda depth=depth: piece(depth) for depth in range(1, num + 1)})
    values = np.array([float(result["rate"]) for result in found.values()])
    total = keep({"total": lambda: {"total": values.sum()}})
    return Rates(values, float(total["total"]["total"]))


class Means(NamedTuple):
    value: float
    findings: tuple[Finding, ...] = (Finding("A mean is a number.", True, "It is."),)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        return {"means": [{"mean": self.value}]}


def means(*, quick: bool, seed: int, keep: Keeper = compute_all, data: Any) -> Means:
    samples = np.arange(float(data)) if isinstance(data, int) else data.samples

    def piece() -> Piece:
        spring("means")
        return {"mean": samples.mean() + seed}

    return Means(float(keep({"mean": piece})["mean"]["mean"]))


def draw_rates(record: Rates) -> Figure:
    spring("draw_rates")
    figure = Figure(figsize=(2, 1))
    figure.add_axes((0, 0, 1, 1)).plot(record.rates, color="#0072b2")
    return figure


def draw_total(record: Rates, *, color: str) -> Figure:
    spring("draw_total")
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.1, f"{record.total:.3f}", color=color)
    return figure


FAKES = (
    Experiment(
        "rates",
        "Rates over depth",
        "How fast deeper networks learn.",
        f"{__name__}:rates",
        (
            Drawing("rates.svg", "Rate of each depth.", f"{__name__}:draw_rates"),
            Drawing("total.svg", "How the rates are <spread>.", f"{__name__}:draw_total", {"color": "#d55e00"}),
        ),
    ),
    Experiment("means", "Means", "Means of images.", f"{__name__}:means", arguments={"data": 6}, faces="data"),
)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, but those that hold seconds."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not re.search("timing|pieces.*json", name)}


def fail(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


class Page(HTMLParser):
    """A page taken apart: its text and links; complains of tags that do not match and identifiers that repeat."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open, self.ids, self.links, self.labels = "", [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open and len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag != "meta":
            self.open.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.labels += [values["aria-label"]] if tag == "svg" else []
        self.links += [values[name] for name in ("href", "src", "xlink:href") if name in values]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag != "meta":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open and self.open[-1] == "style" else f"{data} "


def read_page(folder: Path) -> Page:
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!#)|<script|Undefined", text)
    page = Page(text)
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids)
    outside = [link for link in page.links if not link.startswith("#")]
    assert all((folder / link).is_file() for link in outside)  # tables and figures beside it, and nothing else
    return page
