"""What can be refused before any data are read or anything heavy is loaded."""

import math
import os
from pathlib import Path

from deepbures._loss_names import LossName

SEEDS = 2**63
"""Seeds are below this: JAX takes them as signed 64-bit integers."""


def check_fit(
    *,
    rank: int,
    depth: int,
    hidden: int | None,
    tau: float,
    loss: str,
    epsilon: float | None,
    solver: str,
    init: str,
    horizon: float | None,
    num_steps: int | None,
    step_size: str,
    tolerance: float,
    seed: int,
    overwrite: bool,
    resume: bool,
) -> float | str:
    """Refuse what `fit` cannot do whatever the data; the step size as `deepbures.fit` takes it."""
    _check_network(rank, depth, hidden)
    _check_loss(loss, tau, epsilon)
    _require(
        math.isfinite(tolerance) and tolerance >= 0,
        f"--tolerance must be finite and not negative, but {tolerance} was given.",
    )
    _require(
        horizon is None or (math.isfinite(horizon) and horizon > 0),
        f"--horizon must be finite and positive, but {horizon} was given.",
    )
    _require(
        num_steps is None or 1 <= num_steps < 2**31,
        f"--num-steps must be at least 1 and below 2³¹, but {num_steps} was given.",
    )
    step = _step_size(step_size)
    for option, is_given, owners in (
        ("--horizon", horizon is not None, ("flow",)),
        ("--num-steps", num_steps is not None, ("descent",)),
        ("--step-size", step != "sharpness", ("descent",)),
        ("--init", init != "balanced", ("flow", "descent")),
        ("--resume", resume, ("flow", "descent")),
    ):
        _require(
            not is_given or solver in owners,
            f"{option} belongs to --solver {' and '.join(owners)}, but --solver {solver} was given: leave it out.",
        )
    check_seed(seed)
    _require(
        not (overwrite and resume),
        "--overwrite starts again and --resume goes on, but both were given: choose one.",
    )
    return step


def check_landscape(
    *,
    rank: int,
    tau: float,
    depth: int,
    loss: str,
    epsilon: float | None,
    num: int,
    morse_index: int | None,
) -> None:
    """Refuse what `landscape` cannot do whatever the data."""
    _check_network(rank, depth)
    _check_loss(loss, tau, epsilon)
    _require(1 <= num <= 1_000_000, f"--num must be between 1 and 1000000, but {num} was given.")
    _require(morse_index is None or morse_index >= 0, f"--morse-index must be at least 0, but {morse_index} was given.")


def check_certify(
    *,
    model: Path | None,
    rank: int | None,
    depth: int | None,
    hidden: int | None,
    tau: float,
    loss: str,
    epsilon: float | None,
    init: str | None,
    seed: int | None,
) -> None:
    """Refuse what `certify` cannot do whatever the data."""
    if model is not None:
        given = {"--rank": rank, "--depth": depth, "--hidden": hidden, "--init": init, "--seed": seed}
        for option, value in given.items():
            _require(
                value is None,
                f"{option} {value} was given, but --model is a start of its own: leave out one of the two.",
            )
    elif rank is None:
        raise ValueError(
            "--rank is missing: give the bottleneck of the start to certify, or a trained network with --model."
        )
    else:
        _check_network(rank, 1 if depth is None else depth, hidden)
        check_seed(0 if seed is None else seed)
    _check_loss(loss, tau, epsilon)


def check_reproduce(*, seed: int, workers: int | None) -> int:
    """Refuse what `reproduce` cannot do; the number of workers, which is that of the cores where none is given."""
    check_seed(seed)
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _require(1 <= workers <= 1024, f"--workers must be at least 1 and at most 1024, but {workers} was given.")
    return workers


def check_seed(seed: int) -> None:
    """Refuse what is no seed."""
    _require(0 <= seed < SEEDS, f"--seed must be at least 0 and below 2⁶³, but {seed} was given.")


def check_num(num: int) -> None:
    """Refuse what is no number of draws."""
    _require(1 <= num < 2**63, f"--num must be at least 1 and below 2⁶³, but {num} was given.")


def _check_network(rank: int, depth: int, hidden: int | None = None) -> None:
    _require(rank >= 1, f"--rank must be at least 1, but {rank} was given.")
    _require(depth >= 1, f"--depth must be at least 1, but {depth} was given.")
    if hidden is not None:
        _require(
            hidden >= rank,
            f"--hidden must be at least the rank {rank} (narrower layers cannot carry it), but {hidden} was given.",
        )
        _require(
            depth > 1,
            f"--hidden {hidden} was given, but a network of depth 1 has no hidden layer: raise --depth or leave "
            "--hidden out.",
        )


def _check_loss(loss: str, tau: float, epsilon: float | None) -> None:
    LossName[loss].arguments(tau=tau, epsilon=epsilon, spell=lambda name: f"--{name}")


def _step_size(text: str) -> float | str:
    if text in ("sharpness", "certified", "accelerated"):
        return text
    number = _number(text)
    _require(
        math.isfinite(number) and number > 0,
        f'--step-size must be "sharpness", "certified", "accelerated" or a positive number, but {text!r} was given.',
    )
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
