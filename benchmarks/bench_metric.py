"""Distances and their gradients against other libraries, and against the LAPACK and BLAS calls that cannot be avoided.

`python benchmarks/bench_metric.py [--threads all] [--quick]`. Float64, by default one core and one thread. The other libraries
are optional: `pip install -r requirements/bench.lock`; without them, only our own column is there.
"""

import os
import sys

ALL_THREADS = "all" in sys.argv
if not ALL_THREADS:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"

import machine

if not ALL_THREADS:
    machine.one_core()

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import peers
import torch
from scipy import linalg

import deepbures as db

if not ALL_THREADS:
    torch.set_num_threads(1)

QUICK = "--quick" in sys.argv
Calls = dict[str, Callable[[], Any]]


def milliseconds(call: Callable[[], Any]) -> float:
    """The shortest of several runs; one that takes seconds is run once."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    if first > 3:
        return 1e3 * first
    times = []
    for _ in range(3 if first > 0.3 else 15):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def row(work: str, ours: Calls, others: Calls, limit: Calls) -> None:
    """Print one line: our best, the best of the others, the limit; then everything that was timed."""
    times: dict[str, float] = {}
    for name, call in {**ours, **others, **limit}.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                times[name] = milliseconds(call)
        except Exception as error:  # noqa: BLE001 - what a library cannot do is part of the result
            print(f"    {name}: {type(error).__name__}: {str(error)[:100]}")
    own = min(times[name] for name in ours)
    line = f"| {work} | {own:.3g} |"
    measured = {name: times[name] for name in others if name in times}
    if measured:
        best = min(measured, key=measured.__getitem__)
        line += f" {measured[best]:.3g} ({best}) | {measured[best] / own:.3g} |"
    else:
        line += " | |"
    if limit:
        bare = sum(times[name] for name in limit)
        line += f" {bare:.3g} | {own / bare:.2f} |"
    print(line)
    print("    " + ", ".join(f"{name} {value:.3g}" for name, value in times.items()), flush=True)


def covariance(rng: np.random.Generator, n: int, rows: int | None = None) -> np.ndarray:
    x = rng.normal(size=(rows or 2 * n, n))
    return x.T @ x / len(x)


def conditioned(rng: np.random.Generator, n: int, condition: float) -> np.ndarray:
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    s = (q * np.geomspace(1, 1 / condition, n)) @ q.T
    return (s + s.T) / 2


def full_rank(rng: np.random.Generator, sizes: tuple[int, ...]) -> None:
    for n in sizes:
        cases = {f"two covariances, n = {n}": (covariance(rng, n), covariance(rng, n))}
        if n == 1024:
            cases["the same, condition 1e8"] = (conditioned(rng, n, 1e8), conditioned(rng, n, 1e8))
        for name, (a, b) in cases.items():
            ta, tb = torch.tensor(a), torch.tensor(b)
            row(
                name,
                {
                    "ours": lambda a=a, b=b: db.squared_bures_wasserstein(a, b),
                    "ours, torch": lambda ta=ta, tb=tb: db.squared_bures_wasserstein(ta, tb),
                },
                peers.of_covariances(a, b, slow=n <= 1024),
                {
                    "Cholesky": lambda a=a: linalg.lapack.dpotrf(a.T, lower=0),
                    "eigvalsh": lambda b=b: np.linalg.eigvalsh(b),
                },
            )


def dense_against_factor(rng: np.random.Generator, sizes: tuple[int, ...]) -> None:
    for n in sizes:
        a, g = covariance(rng, n), rng.normal(size=(n, 10)) / 3
        ta, tg = torch.tensor(a), torch.tensor(g)
        b = g @ g.T
        small = np.eye(10)
        limit = {"product": lambda a=a, g=g: a @ g, "eigvalsh 10": lambda: np.linalg.eigvalsh(small)}
        row(
            f"covariance against a factor of rank 10, n = {n}",
            {"ours": lambda a=a, g=g: db.squared_bures_wasserstein_mixed(a, g)},
            peers.of_covariances(a, b, slow=n <= 1024),
            limit,
        )

        def gradient(ta: torch.Tensor = ta, tg: torch.Tensor = tg) -> torch.Tensor:
            leaf = tg.clone().requires_grad_()
            db.squared_bures_wasserstein_mixed(ta, leaf).backward()
            return leaf.grad

        row(
            "the same, value and gradient in the factor",
            {"ours, torch": gradient},
            peers.gradients_in_factor(ta, tg),
            limit,
        )


def factors(rng: np.random.Generator) -> None:
    n, r = 1024, 128
    f, g = rng.normal(size=(n, r)), rng.normal(size=(n, r))
    gram = f.T @ g
    row(
        f"two factors of rank {r}, n = {n}",
        {"ours": lambda: db.squared_bures_wasserstein_factors(f, g)},
        peers.of_covariances(f @ f.T, g @ g.T, slow=True),
        {"product": lambda: f.T @ g, "eigvalsh": lambda: np.linalg.eigvalsh(gram)},
    )


def many_small(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 1000, 20, 40))
    a, b = x @ x.mT, y @ y.mT
    ta, tb = torch.tensor(a), torch.tensor(b)
    row(
        "1000 pairs, n = 20",
        {"ours": lambda: db.squared_bures_wasserstein(a, b)},
        peers.of_stacks(a, b),
        {"batched factor route": lambda: peers.factor_route(a, b)},
    )

    def gradient() -> Any:
        first, second = ta.clone().requires_grad_(), tb.clone().requires_grad_()
        db.squared_bures_wasserstein(first, second).sum().backward()
        return first.grad, second.grad

    row(
        "the same, value and gradients",
        {"ours, torch": gradient},
        peers.gradients_of_stacks(ta, tb),
        {"batched factor route": lambda: peers.factor_route_gradients(ta, tb)},
    )


def frechet(rng: np.random.Generator, sizes: tuple[int, ...]) -> None:
    for num in sizes:
        x, y = rng.normal(size=(num, 2048)), rng.normal(size=(num, 2048)) + 0.1
        centered = x - x.mean(0)
        gram = centered @ (y - y.mean(0)).T
        row(
            f"Fréchet distance, 2048 features, {num} samples each",
            {"ours": lambda x=x, y=y: db.squared_frechet_distance(x, y, unbiased=True)},
            peers.of_samples(x, y),
            {
                "product": lambda x=centered, y=y: x @ y.T,
                "svdvals": lambda gram=gram: np.linalg.svd(gram, compute_uv=False),
            },
        )


def main() -> None:
    print(machine.heading())
    print(peers.versions())
    print(f"{'all threads' if ALL_THREADS else 'one thread'}, float64, milliseconds")
    print("| work | ours | best of the others | × faster | limit | × limit |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    rng = np.random.default_rng(0)
    full_rank(rng, (256, 1024) if QUICK else (256, 1024, 2048))
    dense_against_factor(rng, (1024,) if QUICK else (1024, 2048))
    factors(rng)
    many_small(rng)
    frechet(rng, (512,) if QUICK else (2048, 512))


if __name__ == "__main__":
    main()
