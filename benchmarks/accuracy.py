"""How many digits come out: distances of awkward pairs against 60-digit arithmetic, ours and other libraries'.

`python benchmarks/accuracy.py [--quick]` prints three tables: n = 6, real and complex, and a few pairs with n = 20
(`--quick`: the first table). For each pair of tests/metric/pairs.py: the relative error of the squared distance, or,
marked "a", where the distance is tiny or zero, the error of the distance relative to √(tr A + tr B). Failures are
written out: NaN, the name of an exception, "complex", or "negative" with the value relative to tr A + tr B.

The columns of ours are the functions for factors, for covariances, and for one of each, in double and in single
precision. The others are given the covariances that ours are. The truth is that of the *factors*, in 60 digits, so the
columns of covariances show, too, what forming these in double precision has lost.
"""

import argparse
import functools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import mpmath
import numpy as np
from tests.metric import oracle, pairs

import deepbures.metric as dbm
import machine
import peers

FEW = (
    "generic",
    "near 1e-6, rotated",
    "rank 1, full",
    "rank 3, rank 2",
    "condition 1e12",
    "condition 1e12, another factor",
)


def truth(f: np.ndarray, g: np.ndarray) -> tuple[Any, Any]:
    """The distance of F Fᴴ and G Gᴴ, and its scale."""
    a, b = oracle.covariance(f), oracle.covariance(g)
    with mpmath.workdps(oracle.DIGITS):
        scale = mpmath.sqrt(oracle.trace(a) + oracle.trace(b))
        return oracle.distance(a, b), scale if scale else mpmath.mpf(1)


def mark(call: Callable[[], Any], distance: Any, scale: Any, is_far: bool) -> str:
    """The error of a squared distance, or how it failed."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            value = complex(call())
    except Exception as error:  # noqa: BLE001 - what a library raises is its entry in the table
        return type(error).__name__
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "infinite"
    if abs(value.imag) > 1e-6 * abs(value.real):
        return "complex"
    with mpmath.workdps(oracle.DIGITS):
        squared = mpmath.mpf(value.real)
        if squared < 0:
            return f"negative {float(squared / scale**2):.0e}"
        if squared == 0 and distance < mpmath.mpf(10) ** -25 * scale:  # what is left of 60 digits after a root
            return "0"
        if is_far:
            return f"{float(abs(squared - distance**2) / distance**2):.0e}"
        return f"{float(abs(mpmath.sqrt(squared) - distance) / scale):.0e} a"


def covariance(f: np.ndarray) -> np.ndarray:
    a = f @ f.conj().T
    return (a + a.conj().T) / 2


def line(name: str, n: int, is_complex: bool, others: dict[str, Callable[..., Any]]) -> list[str]:
    cells = []
    for dtype in ("complex128", "complex64") if is_complex else ("float64", "float32"):
        f, g, is_far = pairs.pair(name, n, is_complex, dtype)
        a, b = covariance(f), covariance(g)
        expected = truth(f, g)
        ours = {
            dbm.squared_bures_wasserstein_factors: (f, g),
            dbm.squared_bures_wasserstein: (a, b),
            dbm.squared_bures_wasserstein_mixed: (a, g),
        }
        for function, arguments in ours.items():
            cells.append(mark(functools.partial(function, *arguments), *expected, is_far))
        if np.finfo(dtype).eps < 1e-10:
            rest = [mark(functools.partial(function, a, b), *expected, is_far) for function in others.values()]
    return [name, *cells, *rest]


def table(n: int, is_complex: bool, names: tuple[str, ...]) -> None:
    others = peers.squared_distances(n, "complex128" if is_complex else "float64")
    kinds = ("factors", "covariances", "mixed")
    head = ["pair", *kinds, *(f"{kind}, single" for kind in kinds), *others]
    print(f"\nn = {n}, {'complex' if is_complex else 'real'}\n")
    print("| " + " | ".join(head) + " |")
    print("| --- " * len(head) + "|")
    for name in names:
        print("| " + " | ".join(line(name, n, is_complex, others)) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only n = 6, real")
    quick = parser.parse_args().quick
    print(machine.heading())
    print(peers.versions())
    if not peers.are_complete():
        print(peers.INSTALL)
    table(6, False, pairs.NAMES)
    if not quick:
        table(6, True, pairs.NAMES)
        table(20, False, FEW)


if __name__ == "__main__":
    main()
