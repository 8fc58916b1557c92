"""How many digits come out: distances of awkward pairs against 60-digit arithmetic, ours and other libraries'.

`python benchmarks/accuracy.py [n]` prints the table of docs/metric.md, for n = 6 by default. For each kind of pair: the relative error
of the squared distance, or, marked "a", where the distance is tiny or zero, the error of the distance relative to √(tr A + tr C). What
others give is for the covariances, the same that ours is given in the third column. The truth is that of the *factors*, so the columns
of covariances show what forming these has lost, too.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import mpmath
import numpy as np
import peers

import deepbures as db
from tests.metric import oracle, pairs


def mark(call: Callable[[], Any], truth: Any, scale: Any, is_far: bool) -> str:
    """The error of a squared distance, or how it failed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = call()
    except Exception as error:  # noqa: BLE001 - what a library raises is its entry in the table
        return type(error).__name__
    if not np.isfinite(value):
        return "NaN"
    if value < 0:
        return f"negative, {float(value / scale**2):.0e}"
    if is_far:
        return f"{float(abs(mpmath.mpf(float(value)) - truth**2) / truth**2):.0e}"
    return f"{float(abs(mpmath.sqrt(mpmath.mpf(float(value))) - truth) / scale):.0e} a"


def line(name: str, n: int) -> list[str]:
    f, g, is_far = pairs.pair(name, n, False)
    a, b = (x @ x.T for x in (f, g))
    a, b = (a + a.T) / 2, (b + b.T) / 2
    exact = oracle.covariance(f), oracle.covariance(g)
    with mpmath.workdps(oracle.DIGITS):
        truth, scale = oracle.distance(*exact), mpmath.sqrt(oracle.trace(exact[0]) + oracle.trace(exact[1]))
        scale = scale if scale else mpmath.mpf(1)
        calls: list[Callable[[], Any]] = [
            lambda: db.squared_bures_wasserstein_factors(f, g),
            lambda: db.squared_bures_wasserstein(a, b),
            lambda: db.squared_bures_wasserstein_mixed(a, g),
        ]
        calls += [lambda function=function: function(a, b) for function in peers.squared_distances().values()]
        return [name, *(mark(call, truth, scale, is_far) for call in calls)]


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    print(f"n = {n}, real, float64; {peers.versions()}")
    head = ["pair", "ours, factors", "ours, covariances", "ours, one of each", *peers.squared_distances()]
    print("| " + " | ".join(head) + " |")
    print("| --- " * len(head) + "|")
    for name in pairs.NAMES:
        print("| " + " | ".join(line(name, n)) + " |", flush=True)


if __name__ == "__main__":
    main()
