"""The table of features: what of each one's standard deviation the model has."""

from deepbures.datasets import Dataset
from deepbures.plot import format_number
from deepbures.report._section import Section
from deepbures.report._words import shown_features
from deepbures.training import Fit

_MOST_ROWS = 30


def feature_section(fit: Fit, dataset: Dataset) -> Section:
    """The features whose standard deviation the model has least right, worst first; empty where there is none."""
    deviations = shown_features(fit, dataset)
    if deviations is None:
        return Section("Features")
    order, names = deviations.worst_first, dataset.feature_names
    rows = [
        (
            names[i] if names is not None else f"column {i}",
            format_number(float(deviations.ratio[i]), 3),
            format_number(float(deviations.data[i])),
            format_number(float(deviations.model[i])),
        )
        for i in order[:_MOST_ROWS]
    ]
    constant, left_out = len(deviations.data) - len(order), len(order) - len(rows)
    parts = ["Standard deviation of each feature in the data and in the model, those furthest apart first."]
    if names is None:
        parts.append("Columns are counted from 0.")
    if left_out:
        parts.append(f"The {left_out} others are closer, and left out.")
    if constant:
        parts.append("One feature is constant." if constant == 1 else f"{constant} features are constant.")
    columns = [{"name": name, "numeric": name != "feature"} for name in ("feature", "model / data", "data", "model")]
    return Section("Features", text=" ".join(parts), columns=columns, rows=rows)
