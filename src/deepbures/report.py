"""One self-contained page about a fit: what was asked, what came out, and how that compares with theory."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from deepbures import plot
from deepbures._html import inline_svg, render
from deepbures.datasets import Dataset
from deepbures.model import BuresWasserstein
from deepbures.plot import format_number
from deepbures.training import Certificate, Check, Fit, Result, Trajectory
from deepbures.training._verification import in_words, kind, violation

Floats = NDArray[np.float64]

_MOST_IMAGES = 16


class _Figure(NamedTuple):
    svg: str
    caption: str
    wide: bool = True


class _Section(NamedTuple):
    title: str
    figures: Sequence[_Figure] = ()
    text: str = ""
    pair: bool = False
    table: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()


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
    path = Path(path)
    text = render_report(fit, dataset, summary)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # The name of a file need not be text: what UTF-8 cannot hold is shown as \udc80 or the like.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def render_report(fit: Fit, dataset: Dataset, summary: Mapping[str, Any]) -> str:
    """The page of `write_report` as text."""
    sections = [section for section in _sections(fit, dataset, summary) if section.figures or section.table]
    return render(
        "report.html.jinja",
        title=f"{_short(dataset.name)}: rank {fit.rank}, depth {fit.network.depth}",
        lead=_lead(fit, dataset),
        verdict=_verdict(fit),
        violations=_violations(fit),
        warnings=_warnings(fit, summary),
        tables=_tables(fit, dataset, summary),
        sections=[
            section._replace(
                figures=[
                    figure._replace(svg=inline_svg(figure.svg, f"s{i}f{j}", f"{section.title}. {figure.caption}"))
                    for j, figure in enumerate(section.figures)
                ]
            )
            for i, section in enumerate(sections)
        ],
        command=_command(summary),
        record=list(_flatten(summary)),
    )


# --------------------------------------------------------------------------------------------------------------- words


def _lead(fit: Fit, dataset: Dataset) -> str:
    net = fit.network
    what = (
        f"{dataset.num_samples} samples of dimension {dataset.dim}"
        if dataset.samples is not None
        else f"a covariance matrix of dimension {dataset.dim}"
    )
    how = {
        "closed-form": "the closed-form minimizer",
        "flow": "gradient flow",
        "descent": "gradient descent",
    }.get(fit.solver, fit.solver)
    layers = "one layer" if net.depth == 1 else f"{net.depth} layers"
    return (
        f"A linear network of {layers}, {' → '.join(map(str, net.widths))}, fitted to {what} by {how} under the "
        f"{_loss_name(fit)} loss{f' with τ = {_tau(fit):g}' if _tau(fit) > 0 else ''}. {dataset.description}".strip()
    )


def _short(name: str) -> str:
    """A name for a heading: options of a built-in data set left out."""
    return name if len(name) <= 32 else name.partition(":")[0]


def _loss_name(fit: Fit) -> str:
    if not isinstance(fit.loss, BuresWasserstein):
        return "squared Frobenius"
    return "squared Bures-Wasserstein" if _tau(fit) == 0 else "smoothed squared Bures-Wasserstein"


def _tau(fit: Fit) -> float:
    return float(np.asarray(getattr(fit.loss, "tau", 0.0)))


def _units(fit: Fit) -> str:
    return "squared data units" if isinstance(fit.loss, BuresWasserstein) else "data units to the 4th"


_BAD: tuple[Any, ...] = (Result.diverged, Result.stalled)


def _ended(fit: Fit, *results: Any) -> bool:
    return any(bool(np.all(np.asarray(fit.result == result))) for result in results)


def _verdict(fit: Fit) -> dict[str, str]:
    """One sentence on the outcome, what to do where it is not good, and a status for the eye."""
    final, least, excess, relative = (
        float(x) for x in (fit.final_loss, fit.minimal_loss, fit.excess, fit.relative_excess)
    )
    of_what = "" if least > 0 else " of the loss of the zero network"
    gap = f"a relative excess of {format_number(relative, 2)}{of_what}"
    message = str(cast(Any, Result)[fit.result])
    if not np.isfinite(final) or not np.isfinite(excess):
        return {"status": "bad", "sentence": "The run left the range of finite numbers.", "detail": message}
    if _ended(fit, Result.converged):
        if fit.solver == "closed-form":
            sentence = f"The theoretical minimum {format_number(least, 5)}, in closed form: {gap}."
        else:
            sentence = f"Reached the theoretical minimum {format_number(least, 5)} to {gap}."
        return {"status": "good", "sentence": sentence, "detail": ""}
    sentence = (
        f"Ended at loss {format_number(final, 5)}, {format_number(excess, 2)} above the theoretical minimum "
        f"{format_number(least, 5)} ({gap})."
    )
    return {"status": "bad" if _ended(fit, *_BAD) else "caution", "sentence": sentence, "detail": message}


def _violations(fit: Fit) -> list[str]:
    return [violation(check) for check in fit.checks if check.violated]


def _warnings(fit: Fit, summary: Mapping[str, Any]) -> list[str]:
    given = _find(summary, "warnings")
    texts = [given] if isinstance(given, str) else [str(text) for text in given or ()]
    texts = [text for text in texts if text not in _violations(fit)]  # which have a place of their own
    if fit.unusable_modes and not any("cannot be used" in text for text in texts):
        modes = ", ".join(str(mode) for mode in fit.unusable_modes)
        texts.append(
            f"τ = {_tau(fit):g} is not below the eigenvalue of mode(s) {modes} of the leading {fit.rank}: they cannot "
            "be used and stay at zero. Lower τ or the rank to use every mode."
        )
    return texts


# -------------------------------------------------------------------------------------------------------------- tables


def _tables(fit: Fit, dataset: Dataset, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    net, rate, sharp = fit.network, float(fit.asymptotic_rate), float(fit.sharpness)
    total = float(fit.target.trace)
    leading = np.asarray(fit.target.spectrum(fit.rank)[0], np.float64)
    step_size = None if fit.trajectory is None else fit.trajectory.step_size
    asked = [
        ("Data", dataset.name),
        ("Samples", None if dataset.num_samples is None else str(dataset.num_samples)),
        ("Dimension n", str(net.dim)),
        ("Rank k (bottleneck)", str(fit.rank)),
        ("Depth N", str(net.depth)),
        ("Widths", " → ".join(map(str, net.widths))),
        ("Loss", _loss_name(fit)),
        ("Smoothing τ", f"{_tau(fit):g}" if isinstance(fit.loss, BuresWasserstein) else None),
        ("Solver", fit.solver),
        ("Step size", None if step_size is None or np.ndim(step_size) else format_number(float(step_size))),
        ("Seed", _text(_find(summary, "seed"))),
    ]
    reached = [
        ("Loss L", format_number(float(fit.final_loss), 10)),
        ("Theoretical minimum L*", format_number(float(fit.minimal_loss), 10)),
        ("Excess L − L*", format_number(float(fit.excess), 3)),
        ("Relative excess", format_number(float(fit.relative_excess), 3)),
        ("Total variance tr Σ₀", format_number(total, 5)),
        ("Variance in the leading k modes", f"{100 * leading.sum() / total:.2f} %" if total > 0 else None),
        ("Balancedness gap", None if net.depth == 1 else format_number(float(net.balancedness_gap()), 2)),
        ("Sharpness λₘₐₓ", format_number(sharp)),
        ("Stability limit of the step size, 2/λₘₐₓ", format_number(2 / sharp) if sharp > 0 else None),
        ("Asymptotic rate r", format_number(rate) if rate > 0 else "0 (slower than exponential)"),
        ("Time scale 1/r", format_number(1 / rate) if rate > 0 else None),
        *_run_rows(fit.trajectory),
        ("Seconds", _seconds(summary)),
    ]
    tables = [("What was asked", asked), ("What came out", reached)]
    return [{"caption": name, "rows": [row for row in rows if row[1] is not None]} for name, rows in tables]


def _run_rows(run: Trajectory | None) -> list[tuple[str, str | None]]:
    if run is None:
        return []
    time = None if run.times is None else format_number(float(np.asarray(run.times)[-1]))
    return [("Time run", time), ("Steps taken", str(int(np.asarray(run.steps)[-1])))]


def _seconds(summary: Mapping[str, Any]) -> str | None:
    value = _find(summary, "seconds", "timing", "elapsed_seconds", "duration")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return _text(value)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return format_number(value) if isinstance(value, float) else str(value)


def _find(summary: Mapping[str, Any], *names: str) -> Any:
    """The first entry of one of these names, at the top of the summary or one level below."""
    levels = [summary, *(part for part in summary.values() if isinstance(part, Mapping))]
    found = (level.get(name) for name in names for level in levels)
    return next((value for value in found if value is not None), None)


def _command(summary: Mapping[str, Any]) -> str:
    value = _find(summary, "command", "command_line")
    if isinstance(value, str):
        return value
    return " ".join(map(str, value)) if isinstance(value, Sequence) else ""


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """A nested mapping as lines: dotted name, value. Parts of a list of mappings go by their name, or their number."""
    parts: Mapping[Any, Any] = {}
    if isinstance(value, Mapping):
        parts = value
    elif isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(x, Mapping) for x in value):
        parts = {part.get("name", i) if isinstance(part, Mapping) else i: part for i, part in enumerate(value)}
    if parts:
        for key, part in parts.items():
            yield from _flatten(part, f"{name}.{key}" if name else str(key))
    elif name:
        simple = isinstance(value, Sequence) and not isinstance(value, str)
        yield name, ", ".join(map(str, value)) if simple else str(value)


# ------------------------------------------------------------------------------------------------------------- figures


def _sections(fit: Fit, dataset: Dataset, summary: Mapping[str, Any]) -> Iterator[_Section]:
    w = np.asarray(fit.network.end_to_end, np.float64)
    sound = bool(np.isfinite(w).all())
    left, singular, _ = np.linalg.svd(w if sound else np.zeros_like(w), full_matrices=False)
    best = np.asarray(fit.target.spectrum(fit.rank)[0], np.float64)
    best = np.maximum(best - _tau(fit), 0)
    if fit.trajectory is not None:
        yield from _run_sections(fit, fit.trajectory, float(np.sqrt(best[-1])))
    yield _spectrum_section(fit, singular[: fit.rank] ** 2, best)
    if dataset.image_shape is not None and len(dataset.image_shape) in (2, 3) and sound:
        seed = _find(summary, "seed")
        yield from _image_sections(fit, dataset, (left, singular), seed if isinstance(seed, int) else 0)


def _run_sections(fit: Fit, run: Trajectory, least_singular_value: float) -> Iterator[_Section]:
    rate = float(fit.asymptotic_rate)
    bounds = _bounds(fit, run)
    approach = plot.plot_excess(run, rate=rate, bounds=bounds, units=_units(fit))
    if rate <= 0:
        slope = "Theory predicts no exponential rate here but a power of t, a straight line on these logarithmic axes."
    elif len(approach.axes[0].lines) > 1 + len(bounds):
        slope = (
            "The dashed line is the predicted asymptotic slope, anchored at the late part of the run: a prediction for "
            "late times, not a bound."
        )
    else:
        slope = "The run has no late part to hold the predicted asymptotic slope against."
    if bounds:
        names = ", ".join(bounds)
        slope += f" Guaranteed from this start, and not to be crossed: {names}."
    figures = [
        _Figure(
            plot.to_svg(plot.plot_loss(run, units=_units(fit))),
            "The loss of the run (solid) and the least that any network of this bottleneck can reach (dashed). "
            "Plateaus are passages near saddles.",
        ),
        _Figure(
            plot.to_svg(approach),
            f"Distance of the loss from the theoretical minimum. {slope}",
        ),
    ]
    yield _Section("Loss against theory", figures, pair=True)
    yield _certificate_section(fit)
    if plot.panel_names(run):
        svg = plot.to_svg(plot.plot_records(run, references={"smallest_singular_value": least_singular_value}))
        caption = (
            "Effective rank is the exponential of the entropy of the normalized singular values. Gradient flow "
            "conserves Wₗ₊₁ᵀWₗ₊₁ − WₗWₗᵀ, which the gap measures; each step of "
            "descent changes it in second order of the step size."
        )
        yield _Section("Other records of the run", [_Figure(svg, caption)])


def _bounds(fit: Fit, run: Trajectory) -> dict[str, Floats]:
    """The bounds of the guarantees that apply to the run, at its records."""
    at, step = (run.times, None) if run.step_size is None else (run.steps, float(run.step_size))
    return {
        f"bound {check.certificate.name}": check.certificate.bound(at, step_size=step)
        for check in fit.checks
        if check.applies and check.certificate.is_guarantee
    }


def _certificate_section(fit: Fit) -> _Section:
    """What theory promised of this run, whether it was kept, and what is missing for the rest."""
    missed: dict[str, list[str]] = {}
    for certificate in fit.certificates:
        for assumption in certificate.missed:
            missed.setdefault(in_words(assumption), []).append(certificate.name)
    text = (
        "What theory says of training from this start: guarantees are theorems wherever their assumptions are met, "
        "predictions are local, for late times or small perturbations. Rates are per unit of time (flow), or per step "
        "of the largest size (descent)."
    )
    return _Section(
        "Certificates",
        text=text,
        table=[_certificate_row(*pair, list(missed)) for pair in zip(fit.certificates, fit.checks, strict=True)],
        notes=[f"{words} (in {', '.join(names)})" for words, names in missed.items()],
    )


def _certificate_row(certificate: Certificate, check: Check, missed: Sequence[str]) -> dict[str, Any]:
    step = certificate.log_max_step_size
    holds = certificate.holds
    notes = ", ".join(f"[{missed.index(in_words(assumption)) + 1}]" for assumption in certificate.missed)
    return {
        "name": certificate.name,
        "statement": certificate.statement,
        "kind": kind(certificate),
        "holds": "yes" if holds else f"no: {notes}",
        "rate": _power(certificate.log_rate) if holds else "",
        "step": _power(step) if holds and step is not None else "",
        "run": _outcome(check) if holds else "",
        "violated": check.violated,
    }


def _power(log: float) -> str:
    """A positive number of a given natural logarithm, also where it is beyond the range of floating point."""
    if np.isnan(log):
        return ""
    if abs(log) < 690 or np.isinf(log):
        return format_number(float(np.exp(log)))
    return f"10^{log / np.log(10):.1f}".replace("-", "−")


def _outcome(check: Check) -> str:
    if not check.applies:
        return check.reason
    if check.violated:
        return (
            f"VIOLATED: first at {format_number(float(check.first_violation or 0.0))}, excess up to "
            f"{format_number(check.largest_ratio)} times the bound"
        )
    if np.isnan(check.tightness):
        return "too short a run to compare rates"
    speed = f"observed rate {format_number(check.tightness, 3)} times this one"
    return f"kept; {speed}" if check.certificate.is_guarantee else speed


def _spectrum_section(fit: Fit, model: Floats, best: Floats) -> _Section:
    dim = fit.target.dim
    known = fit.target.eigenvalues
    values = fit.target.spectrum(min(dim, fit.rank + 16))[0] if known is None else known
    svg = plot.to_svg(plot.plot_spectra(np.asarray(values), model, rank=fit.rank, minimizer=best, dim=dim))
    tau = _tau(fit)
    reference = "λⱼ − τ (zero where that is negative)" if tau > 0 else "λⱼ"
    caption = (
        f"Eigenvalues of the target covariance and of the model's, W Wᵀ. At the theoretical minimum the leading k are "
        f"{reference}. The right panel shows how far the model's are from that, relative to each."
    )
    return _Section("Spectra", [_Figure(svg, caption)])


def _image_sections(fit: Fit, dataset: Dataset, svd: tuple[Floats, Floats], seed: int) -> Iterator[_Section]:
    shape = dataset.image_shape
    assert shape is not None  # by the caller; tells the type checker
    yield _eigen_images(fit, shape, *svd)
    num = _MOST_IMAGES
    mean = np.asarray(fit.target.mean, np.float64)
    tau = _tau(fit)
    deviations = {"model st. dev.": np.sqrt((np.asarray(fit.network.end_to_end, np.float64) ** 2).sum(1) + tau)}
    draws = np.asarray(fit.network.sample(seed, num, noise_variance=tau), np.float64)
    rows: dict[str, Any] = {"model": draws}
    limits = (float(draws.min()), float(draws.max()))
    if dataset.samples is not None:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(dataset.samples))[:num])
        data = np.asarray(dataset.samples[chosen], np.float64)
        limits = (float(data.min()), float(data.max()))
        rows = {"data": data, **rows}
        with suppress(ValueError):  # a target known through products only has no factor
            factor = np.asarray(fit.target.factor(), np.float64)
            deviations = {"data st. dev.": np.sqrt((factor**2).sum(1)), **deviations}
    largest = max(float(image.max()) for image in deviations.values())
    drawn = (
        f"Samples, drawn with seed {seed}. The model is a Gaussian: it has the mean and the leading covariance "
        "of the data, not their shape. "
        f"{f'Noise of the variance τ = {tau:g}, which the loss counts in, is part of it. ' if tau > 0 else ''}"
        "Values are clipped to "
        f"{format_number(limits[0])} … {format_number(limits[1])} for display only."
    )
    moments = (
        "The mean, which the model takes over, in the range of the samples above; the standard deviation of each "
        f"pixel, black for 0 and white for {format_number(largest)}: what the model lacks there lies outside its rank."
    )
    figures = [_Figure(plot.to_svg(plot.plot_images(rows, shape, limits=limits)), drawn, wide=False)]
    yield _Section("Samples", figures)
    # One row of one scale: the deviations, from zero to the largest, in the range of the mean.
    spread = (limits[1] - limits[0]) / (largest if largest > 0 else 1)
    row = np.stack([mean, *(limits[0] + image * spread for image in deviations.values())])
    picture = plot.plot_images({"": row}, shape, limits=limits, column_labels=["mean", *deviations])
    yield _Section("Mean and standard deviation", [_Figure(plot.to_svg(picture), moments, wide=False)])


def _eigen_images(fit: Fit, shape: Sequence[int], left: Floats, singular: Floats) -> _Section:
    num = min(fit.rank, _MOST_IMAGES)
    vectors = np.asarray(fit.target.spectrum(fit.rank)[1], np.float64)[:, :num]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(num)])
    own = left[:, :num]
    cosines = (vectors * own).sum(0)
    own = own * np.where(cosines < 0, -1, 1)
    used = singular[:num] > np.finfo(np.float64).eps * max(left.shape) * singular[0]
    own = np.where(used, own, np.nan)
    labels = [str(j + 1) for j in range(num)]
    figure = plot.plot_images({"target": vectors.T, "model": own.T}, shape, signed=True, column_labels=labels)
    closest = f"Smallest |cos| between the two rows: {np.abs(cosines[used]).min():.6f}. " if used.any() else ""
    blank = "" if used.all() else "Blank: modes that the model does not use. "
    caption = (
        f"Leading eigenvectors of the target and left singular vectors of W as images, each on its own scale, signs "
        f"made to agree. {closest}{blank}Where eigenvalues are nearly equal, only the span "
        "of their vectors is determined."
    )
    return _Section("Eigen-images", [_Figure(plot.to_svg(figure), caption, wide=False)])
