"""`deepbures distance`: between two files or built-in data sets."""

import math
from typing import Any

import deepbures as db
from deepbures.datasets import Dataset, load_dataset


def run_distance(a: str, b: str, kind: str) -> dict[str, Any]:
    """Load both, check that they fit, and compute the distance and its square."""
    first, second = (_load(source, kind) for source in (a, b))
    if first.dim != second.dim:
        raise ValueError(
            f"{a} and {b} must have the same dimension, but have {first.dim} and {second.dim}: compare {kind} of the "
            "same features."
        )
    if kind == "covariances":
        squared = db.squared_bures_wasserstein(first.covariance, second.covariance)
        value = db.bures_wasserstein_distance(first.covariance, second.covariance)
    elif kind == "factors":
        squared = db.squared_bures_wasserstein_factors(first.samples, second.samples)
        value = db.bures_wasserstein_distance_factors(first.samples, second.samples)
    else:
        squared = db.squared_frechet_distance(first.samples, second.samples)
        value = math.sqrt(float(squared))
    return {
        "a": first.name,
        "b": second.name,
        "kind": kind,
        "dim": first.dim,
        "distance": float(value),
        "squared_distance": float(squared),
    }


class _Factor:
    """A factor (n, r) read by the readers of samples: its dimension is the number of rows."""

    def __init__(self, dataset: Dataset) -> None:
        self.name, self.samples, self.covariance = dataset.name, dataset.samples, None
        self.dim = 0 if dataset.samples is None else dataset.samples.shape[0]


def _load(source: str, kind: str) -> Dataset | _Factor:
    dataset = load_dataset(source, covariance=kind == "covariances")
    if kind != "covariances" and dataset.samples is None:
        raise ValueError(f"{source} is a covariance matrix, not {kind}: pass --covariances to compare covariances.")
    return _Factor(dataset) if kind == "factors" else dataset
