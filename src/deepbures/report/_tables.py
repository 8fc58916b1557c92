"""The tables of a report: what was asked, what came out, everything that was recorded."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deepbures._words import in_percent
from deepbures.datasets import Dataset
from deepbures.plot import format_number
from deepbures.report._words import find, symbol, text_of
from deepbures.training import Fit, Trajectory


def tables(fit: Fit, dataset: Dataset, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    net, rate, sharp = fit.network, float(fit.asymptotic_rate), float(fit.sharpness)
    total, share = float(fit.target.trace), float(fit.explained_variance)
    leading = np.asarray(fit.target.spectrum(fit.rank)[0], np.float64)
    step_size = None if fit.trajectory is None else fit.trajectory.step_size
    asked = [
        ("Data", dataset.name),
        ("Samples", None if dataset.num_samples is None else str(dataset.num_samples)),
        ("Dimension n", str(net.dim)),
        ("Rank k (bottleneck)", str(fit.rank)),
        ("Depth N", str(net.depth)),
        ("Widths", " → ".join(map(str, net.widths))),
        ("Loss", fit.loss.words),
        *((f"Parameter {symbol(name)}", f"{value:g}") for name, value in fit.loss.parameters.items()),
        ("Solver", fit.solver.name),
        ("Step size", None if step_size is None or np.ndim(step_size) else format_number(float(step_size))),
        ("Seed", text_of(find(summary, "seed"))),
    ]
    reached = [
        ("Loss L", format_number(float(fit.final_loss), 10)),
        ("Theoretical minimum L*", number_or_not_known(fit.minimal_loss, 10)),
        ("Excess L − L*", number_or_not_known(fit.excess, 3)),
        ("Relative excess", number_or_not_known(fit.relative_excess, 3)),
        ("Total variance tr Σ₀", format_number(total, 5)),
        ("Variance explained by the model", in_percent(share) if np.isfinite(share) else None),
        ("Variance in the leading k modes", in_percent(leading.sum() / total) if total > 0 else None),
        ("Balancedness gap", None if net.depth == 1 else format_number(float(net.balancedness_gap()), 2)),
        ("Sharpness λₘₐₓ", number_or_not_known(sharp)),
        ("Stability limit of the step size, 2/λₘₐₓ", format_number(2 / sharp) if sharp > 0 else None),
        ("Asymptotic rate r", number_or_not_known(rate) if rate != 0 else "0 (slower than exponential)"),
        ("Time scale 1/r", format_number(1 / rate) if rate > 0 else None),
        *_run_rows(fit.trajectory),
        ("Seconds", _seconds(summary)),
    ]
    tables = [("What was asked", asked), ("What came out", reached)]
    return [{"caption": name, "rows": [row for row in rows if row[1] is not None]} for name, rows in tables]


def number_or_not_known(value: Any, digits: int = 4) -> str:
    """A number for readers; NaN stands for what no closed form tells."""
    return "not known" if np.isnan(float(value)) else format_number(float(value), digits)


def _run_rows(run: Trajectory | None) -> list[tuple[str, str | None]]:
    if run is None:
        return []
    time = None if run.times is None else format_number(float(np.asarray(run.times)[-1]))
    return [("Time run", time), ("Steps taken", str(int(np.asarray(run.steps)[-1])))]


def _seconds(summary: Mapping[str, Any]) -> str | None:
    value = find(summary, "seconds", "timing", "elapsed_seconds", "duration")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text_of(part)}" for name, part in value.items())
    return text_of(value)


def command(summary: Mapping[str, Any]) -> str:
    value = find(summary, "command", "command_line")
    if isinstance(value, str):
        return value
    return " ".join(map(str, value)) if isinstance(value, Sequence) else ""


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """A nested mapping as lines: dotted name, value. Parts of a list of mappings go by their name, or their number."""
    parts: Mapping[Any, Any] = {}
    if isinstance(value, Mapping):
        parts = value
    elif isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(x, Mapping) for x in value):
        parts = {part.get("name", i) if isinstance(part, Mapping) else i: part for i, part in enumerate(value)}
    if parts:
        for key, part in parts.items():
            yield from flatten(part, f"{name}.{key}" if name else str(key))
    elif name:
        simple = isinstance(value, Sequence) and not isinstance(value, str)
        yield name, ", ".join(map(str, value)) if simple else str(value)
