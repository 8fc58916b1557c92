"""Distances and their gradients against other libraries, and against the LAPACK and BLAS calls that cannot be avoided.

`python benchmarks/bench_metric.py [--threads one|all] [--quick] [--only TEXT]`. Float64; one core and one thread by
default. The other libraries are optional (requirements/bench.lock, on top of dev.lock).

All calls of a row take turns, so that each meets the same load; the best of each counts, and ratios are taken within
the row. One that takes more than five seconds is called once. With one thread, time is processor time, which other work
on the machine adds little to; with all threads it is the wall clock's. "Best of the others" is the fastest of those
whose result is within 1e-3 of ours; how far the others are off, if by more than 1e-6, is printed beside their times.
"""

import argparse
import os

PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("--threads", choices=("one", "all"), default="one")
PARSER.add_argument("--only", metavar="TEXT", default="", help="only groups of rows whose name contains this")
PARSER.add_argument("--quick", action="store_true", help="small sizes only")
OPTIONS = PARSER.parse_args()
ONE_THREAD = OPTIONS.threads == "one"
if ONE_THREAD:  # before any of them is loaded
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"

import machine

if ONE_THREAD:
    machine.one_core()

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import linalg

import deepbures.metric as dbm
import peers

if ONE_THREAD:
    torch.set_num_threads(1)

Calls = dict[str, Callable[[], Any]]
CLOCK = time.process_time if ONE_THREAD else time.perf_counter
RATING = ("pyRiemann", "pyRiemann, torch", "torchmetrics", "torch-fidelity")


@dataclasses.dataclass
class Aim:
    """A ratio to reach: that many times faster than the best of `others`, or no more than `most` limits."""

    faster: float = 0
    others: tuple[str, ...] | None = None
    most: float = 0


def numbers(result: Any) -> np.ndarray:
    parts = result if isinstance(result, tuple) else (result,)
    return np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in parts])


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = CLOCK()
    result = call()
    return CLOCK() - start, result


def measure(calls: Calls) -> tuple[dict[str, float], dict[str, np.ndarray], dict[str, str]]:
    """Milliseconds, results, and what went wrong, by name."""
    times: dict[str, float] = {}
    results, failures = {}, {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, call in calls.items():
            try:
                times[name], result = timed(call)
                results[name] = numbers(result)
            except Exception as error:  # noqa: BLE001 - what a library cannot do is part of the result
                times.pop(name, None)
                failures[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"
        again = [name for name in times if times[name] < 5]
        rounds = 3 if any(times[name] > 0.5 for name in again) else 7
        warm = dict.fromkeys(again, np.inf)
        for _ in range(rounds):
            for name in again:
                for _ in range(int(np.clip(0.2 / max(times[name], 1e-6), 1, 40))):
                    warm[name] = min(warm[name], timed(calls[name])[0])
        times.update(warm)
    return {name: 1e3 * value for name, value in times.items()}, results, failures


def deviation(result: np.ndarray, ours: np.ndarray) -> float:
    return float(np.linalg.norm(result - ours) / np.linalg.norm(ours))


def row(
    work: str, ours: Calls, others: Calls, limits: dict[str, tuple[str, ...]], bare: Calls, aims: list[Aim]
) -> None:
    """One line, then all that was timed. `limits`: name -> the bare calls it adds up; the first is the aim's."""
    times, results, failures = measure({**ours, **others, **bare})
    first = next(iter(ours))
    own = times[first]
    off = {name: deviation(results[name], results[first]) for name in (*ours, *others) if name in times}
    right = {name: times[name] for name in others if name in times and off[name] < 1e-3}  # NaN compares false
    line = f"| {work} | {own:.3g} |"
    if right:
        best = min(right, key=right.__getitem__)
        line += f" {right[best]:.3g} ({best}) | {right[best] / own:.3g} |"
    else:
        line += " none | |"
    sums = {name: sum(times[part] for part in parts) for name, parts in limits.items()}
    limit = next(iter(sums.values()))
    print(line + f" {limit:.3g} | {own / limit:.2f} | {'; '.join(verdicts(own, right, limit, aims))} |")

    def note(name: str) -> str:
        if np.isnan(off.get(name, 0)):
            return " (NaN)"
        return f" (off by {off[name]:.0e})" if off.get(name, 0) > 1e-6 else ""

    details = ", ".join(f"{name} {value:.3g}{note(name)}" for name, value in times.items())
    ratios = [f"{name} / ({limit_name}) {times[name] / sums[limit_name]:.2f}" for name in ours for limit_name in sums]
    print(f"    {details}\n    {', '.join(ratios)}")
    for name, message in failures.items():
        print(f"    {name} fails: {message}")
    print(end="", flush=True)


def verdicts(own: float, right: dict[str, float], limit: float, aims: list[Aim]) -> list[str]:
    found = []
    for aim in aims:
        if aim.most:
            met = own / limit <= aim.most
            found.append(f"≤ {aim.most:g} × limit: {'met' if met else 'NOT met'} ({own / limit:.2f})")
            continue
        rivals = {name: value for name, value in right.items() if aim.others is None or name in aim.others}
        if not rivals:
            found.append(f"{aim.faster:g} ×: nothing to compare with")
            continue
        name = min(rivals, key=rivals.__getitem__)
        ratio = rivals[name] / own
        found.append(f"≥ {aim.faster:g} × {name}: {'met' if ratio >= aim.faster else 'NOT met'} ({ratio:.3g})")
    return found


def covariance(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.normal(size=(2 * n, n))
    return x.T @ x / len(x)


def conditioned(rng: np.random.Generator, n: int, condition: float) -> np.ndarray:
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    s = (q * np.geomspace(1, 1 / condition, n)) @ q.T
    return (s + s.T) / 2


def full_rank(rng: np.random.Generator, n: int, condition: float | None = None) -> None:
    a, b = (conditioned(rng, n, condition) if condition else covariance(rng, n) for _ in range(2))
    ta, tb = torch.tensor(a), torch.tensor(b)
    row(
        f"two covariances, n = {n}" + (f", condition {condition:.0e}" if condition else ""),
        {
            "ours": lambda: dbm.squared_bures_wasserstein(a, b),
            "ours, torch": lambda: dbm.squared_bures_wasserstein(ta, tb),
        },
        peers.of_covariances(a, b, slow=n <= 1024),
        {"Cholesky + eigvalsh": ("dpotrf", "eigvalsh"), "in torch": ("torch cholesky", "torch eigvalsh")},
        {
            "dpotrf": lambda: linalg.lapack.dpotrf(a.T, lower=0),
            "eigvalsh": lambda: np.linalg.eigvalsh(b),
            "torch cholesky": lambda: torch.linalg.cholesky(ta),
            "torch eigvalsh": lambda: torch.linalg.eigvalsh(tb),
        },
        [Aim(faster=2.7, others=RATING), Aim(most=1.25)],
    )


def dense_against_factor(rng: np.random.Generator, n: int) -> None:
    a, g = covariance(rng, n), rng.normal(size=(n, 10)) / 3
    ta, tg, small = torch.tensor(a), torch.tensor(g), np.eye(10)
    limit = {"product + eigvalsh 10": ("product", "eigvalsh 10")}
    bare: Calls = {"product": lambda: a @ g, "eigvalsh 10": lambda: np.linalg.eigvalsh(small)}

    def gradient() -> Any:
        leaf = tg.clone().requires_grad_()
        value = dbm.squared_bures_wasserstein_mixed(ta, leaf)
        value.backward()
        return value.detach(), leaf.grad

    row(
        f"covariance against a factor of rank 10, n = {n}",
        {
            "ours": lambda: dbm.squared_bures_wasserstein_mixed(a, g),
            "ours, torch": lambda: dbm.squared_bures_wasserstein_mixed(ta, tg),
        },
        peers.of_covariances(a, g @ g.T, slow=n <= 1024),
        limit,
        bare,
        [Aim(faster=290 if n == 1024 else 350)],
    )
    row(
        "the same, value and gradient in the factor",
        {"ours, torch": gradient},
        peers.gradients_in_factor(ta, tg),
        limit,
        bare,
        [Aim(faster=300)],
    )


def factors(rng: np.random.Generator, n: int = 1024) -> None:
    r = n // 8
    f, g = rng.normal(size=(2, n, r))
    tf, tg = torch.tensor(f), torch.tensor(g)
    gram = f.T @ g
    gram = gram.T @ gram
    row(
        f"two factors of rank {r}, n = {n}",
        {
            "ours": lambda: dbm.squared_bures_wasserstein_factors(f, g),
            "ours, torch": lambda: dbm.squared_bures_wasserstein_factors(tf, tg),
        },
        peers.of_covariances(f @ f.T, g @ g.T),
        {"product + eigvalsh": ("product", f"eigvalsh {r}")},
        {"product": lambda: f.T @ g, f"eigvalsh {r}": lambda: np.linalg.eigvalsh(gram)},
        [Aim(faster=300)],
    )


def many_small(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 1000, 20, 40))
    a, b = x @ x.mT, y @ y.mT
    ta, tb = torch.tensor(a), torch.tensor(b)
    row(
        "1000 pairs, n = 20",
        {
            "ours": lambda: dbm.squared_bures_wasserstein(a, b),
            "ours, torch": lambda: dbm.squared_bures_wasserstein(ta, tb),
        },
        peers.of_stacks(a, b),
        {"factor route": ("factor route",), "factor route, torch": ("factor route, torch",)},
        {
            "factor route": lambda: peers.factor_route(a, b),
            "factor route, torch": lambda: peers.torch_factor_route(ta, tb),
        },
        [Aim(faster=4, others=("pyRiemann", "pyRiemann, torch")), Aim(most=1)],
    )

    def gradient() -> Any:
        first, second = ta.clone().requires_grad_(), tb.clone().requires_grad_()
        values = dbm.squared_bures_wasserstein(first, second)
        values.sum().backward()
        return values.detach(), first.grad, second.grad

    row(
        "the same, values and gradients",
        {"ours, torch": gradient},
        peers.gradients_of_stacks(ta, tb),
        {"factor route": ("factor route",)},
        {"factor route": lambda: peers.factor_route_gradients(ta, tb)},
        [Aim(faster=2.2, others=("pyRiemann",)), Aim(faster=2.2), Aim(most=1)],
    )


def frechet(rng: np.random.Generator, num: int, n: int = 2048) -> None:
    x, y = rng.normal(size=(num, n)), rng.normal(size=(num, n)) + 0.1
    tx, ty = torch.tensor(x), torch.tensor(y)
    product = x @ y.T
    gram = product.T @ product
    row(
        f"Fréchet distance, {n} features, {num} samples each",
        {
            "ours": lambda: dbm.squared_frechet_distance(x, y, unbiased=True),
            "ours, torch": lambda: dbm.squared_frechet_distance(tx, ty, unbiased=True),
        },
        peers.of_samples(x, y),
        {"product + eigvalsh": ("product", "eigvalsh"), "product + svdvals": ("product", "svdvals")},
        {
            "product": lambda: x @ y.T,
            "eigvalsh": lambda: np.linalg.eigvalsh(gram),
            "svdvals": lambda: np.linalg.svd(product, compute_uv=False),
        },
        [Aim(faster=1.5 if num >= n else 40, others=("torchmetrics",))],
    )


def main() -> None:
    print(machine.heading())
    print(peers.versions())
    if not peers.are_complete():
        print(peers.INSTALL)
    kind = "one thread, processor time" if ONE_THREAD else "all threads, wall clock"
    print(f"{kind}, milliseconds, float64; load of the machine at the start {os.getloadavg()[0]:.1f}")
    print("| work | ours | best of the others | × faster | limit | ours / limit | aims |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    groups: list[tuple[str, Callable[[np.random.Generator], None]]] = [
        ("covariances 256", lambda rng: full_rank(rng, 256)),
        ("covariances 1024", lambda rng: full_rank(rng, 1024)),
        ("covariances 1024 condition", lambda rng: full_rank(rng, 1024, condition=1e8)),
        ("mixed 1024", lambda rng: dense_against_factor(rng, 1024)),
        ("factors 1024", factors),
        ("small", many_small),
        ("frechet 512", lambda rng: frechet(rng, 512)),
        ("covariances 2048", lambda rng: full_rank(rng, 2048)),
        ("mixed 2048", lambda rng: dense_against_factor(rng, 2048)),
        ("frechet 2048", lambda rng: frechet(rng, 2048)),
    ]
    for name, group in groups:
        if OPTIONS.only in name and not (OPTIONS.quick and name.endswith("2048")):
            group(np.random.default_rng(0))


if __name__ == "__main__":
    main()
