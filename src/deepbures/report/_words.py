"""What a report says of a fit in sentences, and what it looks up in the summary of a run."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from deepbures._words import in_percent
from deepbures.certificates import violation
from deepbures.datasets import Dataset
from deepbures.plot import format_number
from deepbures.training import FeatureDeviations, Fit, Result


def lead(fit: Fit, dataset: Dataset) -> str:
    net = fit.network
    what = (
        f"{dataset.num_samples} samples of dimension {dataset.dim}"
        if dataset.samples is not None
        else f"a covariance matrix of dimension {dataset.dim}"
    )
    layers = "one layer" if net.depth == 1 else f"{net.depth} layers"
    return (
        f"A linear network of {layers}, {' → '.join(map(str, net.widths))}, fitted to {what} by {fit.solver.words} "
        f"under the {fit.loss.words} loss{_with_parameters(fit)}. {dataset.description}".strip()
    )


def short(name: str) -> str:
    """A name for a heading: options of a built-in data set left out."""
    return name if len(name) <= 32 else name.partition(":")[0]


def symbol(name: str) -> str:
    """A parameter, or a term made of one, as formulas have it."""
    return name.replace("epsilon", "ε").replace("tau", "τ").replace(" / ", "/")


def _with_parameters(fit: Fit) -> str:
    given = [f"{symbol(name)} = {value:g}" for name, value in fit.loss.parameters.items() if value]
    return f" with {', '.join(given)}" if given else ""


_BAD: tuple[Any, ...] = (Result.diverged, Result.stalled)


def _ended(fit: Fit, *results: Any) -> bool:
    return any(bool(np.all(np.asarray(fit.result == result))) for result in results)


def verdict(fit: Fit) -> dict[str, str]:
    """One sentence on the outcome, what to do where it is not good, and a status for the eye."""
    final, least, excess, relative = (
        float(x) for x in (fit.final_loss, fit.minimal_loss, fit.excess, fit.relative_excess)
    )
    of_what = "" if least > 0 else " of the loss of the zero network"
    gap = f"a relative excess of {format_number(relative, 2)}{of_what}"
    message = str(cast(Any, Result)[fit.result])
    if fit.loss.modes is None and np.isfinite(final):
        sentence = f"Ended at loss {format_number(final, 5)}. The least that can be reached is not known for this loss."
        return {"status": "bad" if _ended(fit, *_BAD) else "caution", "sentence": sentence, "detail": message}
    if not np.isfinite(final) or not np.isfinite(excess):
        return {"status": "bad", "sentence": "The run left the range of finite numbers.", "detail": message}
    if _ended(fit, Result.converged):
        if fit.start is None:
            sentence = f"The theoretical minimum {format_number(least, 5)}, in closed form: {gap}."
        else:
            sentence = f"Reached the theoretical minimum {format_number(least, 5)} to {gap}."
        return {"status": "good", "sentence": sentence, "detail": ""}
    sentence = (
        f"Ended at loss {format_number(final, 5)}, {format_number(excess, 2)} above the theoretical minimum "
        f"{format_number(least, 5)} ({gap})."
    )
    return {"status": "bad" if _ended(fit, *_BAD) else "caution", "sentence": sentence, "detail": message}


def shown_features(fit: Fit, dataset: Dataset) -> FeatureDeviations | None:
    """The deviations of features that mean something one by one: not those of pixels, which are shown as images."""
    return fit.feature_deviations if dataset.image_shape is None else None


def verdict_on_model(fit: Fit, dataset: Dataset) -> tuple[str, str]:
    """How much of the data the model has, in a sentence; and what to do where scales are mixed, empty if not."""
    share = float(fit.explained_variance)
    if not np.isfinite(share):
        return "", ""
    sentence = f"The model explains {in_percent(share)} of the variance."
    deviations = shown_features(fit, dataset)
    if deviations is None or deviations.advice:
        return sentence, "" if deviations is None else deviations.advice
    lost, all_ = len(deviations.lost), len(deviations.worst_first)
    if not lost:
        return f"{sentence} Every feature has at least half of its standard deviation in it.", ""
    has = "feature has" if lost == 1 else "features have"
    return f"{sentence} {lost} of {all_} {has} less than half of the standard deviation in it.", ""


def violations(fit: Fit) -> list[str]:
    return [violation(check) for check in fit.checks if check.violated]


def warnings_of(fit: Fit, dataset: Dataset, summary: Mapping[str, Any]) -> list[str]:
    given = find(summary, "warnings")
    texts = [given] if isinstance(given, str) else [str(text) for text in given or ()]
    elsewhere = [*violations(fit), verdict_on_model(fit, dataset)[1]]
    texts = [text for text in texts if text not in elsewhere]
    form = fit.loss.modes
    if form is not None and fit.unusable_modes and not any("cannot be used" in text for text in texts):
        modes = ", ".join(str(mode) for mode in fit.unusable_modes)
        level = symbol(form.threshold_name)
        texts.append(
            f"{level} = {float(form.threshold()):g} is not below the eigenvalue of mode(s) {modes} of the leading "
            f"{fit.rank}: they cannot be used and stay at zero. Lower {level} or the rank to use every mode."
        )
    return texts


def text_of(value: Any) -> str | None:
    if value is None:
        return None
    return format_number(value) if isinstance(value, float) else str(value)


def find(summary: Mapping[str, Any], *names: str) -> Any:
    """The first entry of one of these names, at the top of the summary or one level below."""
    levels = [summary, *(part for part in summary.values() if isinstance(part, Mapping))]
    found = (level.get(name) for name in names for level in levels)
    return next((value for value in found if value is not None), None)
