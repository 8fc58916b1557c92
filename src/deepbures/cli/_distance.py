"""`deepbures distance`: between two files or built-in data sets."""

import functools
import math
from typing import Any

import typer

import deepbures as db
from deepbures.cli._messages import Invocation
from deepbures.cli._progress import Display
from deepbures.cli.requests import DistanceRequest
from deepbures.datasets import is_text, load_dataset, load_matrix, require_same_order
from deepbures.runs import plain


def run(request: DistanceRequest, call: Invocation, display: Display) -> dict[str, Any]:
    """Load both, check that they fit, and compute the distance and its square.

    A header is of those of the two that are text; where neither is, reading says so.
    """
    display.stage("comparing")
    a, b, kind, header, rtol = request.a, request.b, request.kind, request.header, request.rtol
    is_for_all = not any(map(is_text, (a, b)))
    (name_a, array_a, columns_a), (name_b, array_b, columns_b) = (
        _load(source, kind, header if is_for_all or is_text(source) else None) for source in (a, b)
    )
    axis = 0 if kind == "factors" else 1
    dims = array_a.shape[axis], array_b.shape[axis]
    if dims[0] != dims[1]:
        what = "rows (a factor F stands for F Fᵀ)" if kind == "factors" else "columns"
        raise ValueError(f"{a} and {b} must have equally many {what}, but have {dims[0]} and {dims[1]}.")
    require_same_order(columns_a, columns_b, (a, b))
    functions: dict[str, Any] = {
        "samples": functools.partial(db.squared_frechet_distance, unbiased=request.unbiased),
        "covariances": functools.partial(db.squared_bures_wasserstein, rtol=rtol),
        "factors": db.squared_bures_wasserstein_factors,
    }
    squared = float(functions[kind](array_a, array_b))
    result = {
        "a": name_a,
        "b": name_b,
        "kind": kind,
        "dim": dims[0],
        "distance": math.sqrt(squared),
        "squared_distance": squared,
        "warnings": list(call.warnings),
    }
    if kind == "samples":
        result["unbiased"] = request.unbiased
    if rtol is not None:
        result["rtol"] = rtol
    return dict(plain(result))


def _load(source: str, kind: str, header: bool | None) -> tuple[str, Any, tuple[str, ...] | None]:
    """Its name, the array, and the names of its columns if these are features."""
    if kind == "factors":
        return source, load_matrix(source, header=header), None
    dataset = load_dataset(source, covariance=kind == "covariances", header=header)
    if kind == "covariances":
        return dataset.name, dataset.covariance, dataset.feature_names
    if dataset.samples is None:
        raise ValueError(f"{source} is a covariance matrix, not samples: pass --covariances to compare covariances.")
    return dataset.name, dataset.samples, dataset.feature_names


def show(summary: dict[str, Any]) -> None:
    """Two lines."""
    typer.echo(f"distance          {summary['distance']}")
    typer.echo(f"squared distance  {summary['squared_distance']}")
