"""A search for starts that break a guarantee: random restarts, then local search, with SciPy's integrator.

The equations are those of `tests/certificates/layers.py`: of the package only certificates and
their bounds are used.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import DOP853
from scipy.linalg import expm

import deepbures as db

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.certificates.layers import balanced_layers, descend, exact_bures_wasserstein, gradients

SHAPES = ((2, 1), (4, 2), (2, 2), (4, 4))  # n, k
DEPTHS = (1, 2, 3, 10)
NUM_DRAWS = 20  # until a start is within the hypotheses
NUM_TRIALS = 25  # of a local search
NUM_EVALUATIONS = 8_000  # of the gradient, before a run is given up
NUM_STEPS = 200  # of a descent
CONTROL = "flow-authors-code"  # no guarantee, known to be broken: the search must find that


class Setting(NamedTuple):
    """What a local search leaves as it is."""

    n: int
    k: int
    depth: int
    smoothed: bool
    frobenius: bool

    @property
    def num_numbers(self) -> int:
        """λ, τ, the amounts by which the start is off and unbalanced, and in which directions."""
        return self.n + 3 + self.n * self.k + (self.depth - 1) * self.k**2


class Instance(NamedTuple):
    """A start, and what it is trained for."""

    eigenvalues: Any
    tau: float
    layers: list[Any]
    frobenius: bool

    def loss_of(self, w: Any) -> tuple[float, Any]:
        """L and ∇L."""
        if not self.frobenius:
            return exact_bures_wasserstein(w, self.eigenvalues, self.tau)
        off = w @ w.T - np.diag(self.eigenvalues)
        return np.sum(off**2), 4 * off @ w

    @property
    def minimum(self) -> float:
        """L* for τ < λ_k."""
        rest = self.eigenvalues[self.layers[0].shape[1] :]
        return float(np.sum(rest**2 if self.frobenius else (np.sqrt(rest) - math.sqrt(self.tau)) ** 2))

    @property
    def size(self) -> float:
        """What rounding is relative to."""
        trace = float(np.sum(self.eigenvalues))
        return gradients(self.layers, self.loss_of)[0] + (trace**2 if self.frobenius else trace)

    def certificates(self) -> dict[str, Any]:
        """What the package says of it."""
        target = db.Target.from_spectrum(self.eigenvalues, basis=np.eye(len(self.eigenvalues)))
        loss = db.Frobenius() if self.frobenius else db.BuresWasserstein(self.tau)
        return {c.name: c for c in db.certify(db.DeepLinearNetwork(self.layers), target, loss)}


def instance_of(setting: Setting, x: Any) -> Instance:
    """The instance with these numbers."""
    n, k, depth, smoothed, frobenius = setting
    spectrum, (share, off, apart), rest = np.split(x, (n, n + 3))
    eigenvalues = np.sort(np.exp(np.clip(spectrum, -12, 12)))[::-1]
    tau = float(eigenvalues[k - 1] / (1 + math.exp(-share))) if smoothed else 0.0
    around, gauges = rest[: n * k].reshape(n, k), rest[n * k :].reshape(depth - 1, k, k)
    minimizer = np.eye(n, k) * np.sqrt(eigenvalues[:k] - tau)
    layers = balanced_layers(minimizer + math.exp(min(off, 4.0)) * around, k, depth)
    for at, direction in enumerate(gauges):
        direction = math.exp(min(apart, 0.0)) * direction
        layers[at], layers[at + 1] = expm(direction) @ layers[at], layers[at + 1] @ expm(-direction)
    return Instance(eigenvalues, tau, layers, frobenius)


def setting_for(name: str, rng: np.random.Generator) -> Setting:
    """Drawn among those that a certificate speaks of; every new shape compiles."""
    bottlenecked = rng.random() < 0.5 if name == "descent-constant" else "bottleneck" in name or "saddle" in name
    exact = "exact" in name or name in ("descent-paper", "flow-below-saddle", "flow-bottleneck")
    smoothed = "smoothed" in name or name in ("flow-paper", CONTROL) or (not exact and rng.random() < 0.5)
    n, k = SHAPES[rng.integers(2) + (0 if bottlenecked else 2)]
    depth = 1 if name == "descent-exact" else int(rng.choice(DEPTHS))
    return Setting(n, k, depth, smoothed and "frobenius" not in name, "frobenius" in name)


def draw(setting: Setting, rng: np.random.Generator) -> Any:
    """Numbers near and far, balanced and not."""
    x = rng.standard_normal(setting.num_numbers)
    x[setting.n : setting.n + 3] = rng.uniform(-4, 3), rng.uniform(-5, 2), rng.choice([-40.0, rng.uniform(-9, 0)])
    return x


def flow(instance: Instance, times: Any, accuracy: float, floor: float) -> Any:
    """The excess at times by the flow of all layers, 0 once it is below a floor; None if it takes too long."""
    shapes = [layer.shape for layer in instance.layers]
    ends = np.cumsum([layer.size for layer in instance.layers])[:-1]

    def at(x: Any) -> tuple[float, Any]:
        parts = [part.reshape(shape) for part, shape in zip(np.split(x, ends), shapes, strict=True)]
        loss, slopes = gradients(parts, instance.loss_of)
        return loss - instance.minimum, -np.concatenate([slope.ravel() for slope in slopes])

    x, found, now = np.concatenate([layer.ravel() for layer in instance.layers]), np.zeros(len(times)), 0.0
    evaluations = 0
    for record, until in enumerate(times):  # each record is the end of a step, as interpolants are less accurate
        if until > now:
            steps = DOP853(lambda _, x: at(x)[1], now, x, until, rtol=accuracy, atol=accuracy * 1e-2)
            while steps.status == "running":
                steps.step()
                if steps.status == "failed" or evaluations + steps.nfev > NUM_EVALUATIONS:
                    return None
            x, now, evaluations = steps.y, until, evaluations + steps.nfev
        found[record] = at(x)[0]
        if found[record] < floor:
            return found
    return found


@dataclass
class Tally:
    """What was seen of one certificate."""

    instances: int = 0
    skipped: int = 0
    decay: float = math.inf
    ratio: float = 0.0
    broken: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def run_of(instance: Instance, certificate: Any, accuracy: float, floor: float) -> tuple[Any, Any]:
    """Times or steps, and the excess there; None if the run takes too long."""
    if certificate.method == "descent":
        losses, _ = descend(instance.layers, instance.loss_of, certificate.max_step_size, NUM_STEPS)
        return np.arange(NUM_STEPS + 1.0), losses - instance.minimum
    latest = certificate.time_to(1e-4 * certificate.excess)
    curvature = certificate.start.smallest_curvature
    if curvature > 0:
        latest = min(latest, 20 / curvature)
    times = np.concatenate([[0], latest * np.geomspace(1e-3, 1, 16)])
    return times, flow(instance, times, accuracy, floor)


def judge(instance: Instance, certificate: Any, tally: Tally) -> float:
    """Ln (e/bound) over ln (e(0)/bound), the largest of the run: above 0 the guarantee is broken."""
    floor = 1e-12 * instance.size
    if certificate.excess < 1e4 * floor or not certificate.rate > 0 or certificate.max_step_size == 0:
        tally.skipped += 1
        return -math.inf
    positions, excess = run_of(instance, certificate, 1e-9, floor)
    if excess is None:
        tally.skipped += 1
        return -math.inf
    bound = certificate.bound(positions)
    above = excess > bound * (1 + 1e-6) + floor
    if above.any() and certificate.method == "flow":  # again, as accurate as it can be
        positions, accurate = run_of(instance, certificate, 1e-12, floor)
        excess = excess if accurate is None else accurate
        above = excess > bound * (1 + 1e-6) + floor
    if not np.isfinite(excess).all():
        above, excess = np.ones_like(above), np.where(np.isfinite(excess), excess, math.inf)
    tally.instances += 1
    if above.any():
        at = int(above.argmax())
        found = {"eigenvalues": instance.eigenvalues.tolist(), "tau": instance.tau, "frobenius": instance.frobenius}
        found |= {"position": float(positions[at]), "excess": float(excess[at]), "bound": float(bound[at])}
        found["layers"] = [layer.tolist() for layer in instance.layers]
        tally.broken.append(json.dumps(found))
    seen = (excess > floor) & (bound > floor) & (bound < certificate.excess) & (np.log(excess[0] / excess) > 1e-3)
    seen |= above
    half = (bound <= certificate.excess / 2) & (excess > floor) & (bound > 0)
    if half.any():
        tally.ratio = max(tally.ratio, float((excess[half] / bound[half]).max()))
    if not seen.any():
        return -math.inf
    decays = (np.log(excess[0] / excess[seen])) / np.log(certificate.excess / bound[seen])
    tally.decay = min(tally.decay, float(decays.min()))
    return 1 - float(decays.min())


def search(name: str, rng: np.random.Generator, tally: Tally, until: float) -> int:
    """One restart and its local search; how many draws were outside the hypotheses."""

    def value(x: Any) -> float | None:
        try:
            instance = instance_of(setting, x)
            certificate = instance.certificates()[name]
            return judge(instance, certificate, tally) if certificate.holds else None
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            tally.failures.append(f"{type(error).__name__}: {error}"[:200])
            return None

    outside, setting = 0, setting_for(name, rng)
    for _ in range(NUM_DRAWS):
        x = draw(setting, rng)
        best = value(x)
        if best is not None or time.monotonic() > until:
            break
        outside += 1
    if best is None:
        return outside
    step = 0.3
    for _ in range(NUM_TRIALS):
        if time.monotonic() > until:
            break
        moved = x + step * rng.standard_normal(len(x)) * (rng.random(len(x)) < rng.choice([0.2, 1.0]))
        found = value(moved)
        outside += found is None
        better = found is not None and found >= best
        x, best, step = (moved, found, min(step * 1.6, 1.0)) if better else (x, best, max(step * 0.87, 1e-4))
    return outside


def adversary(minutes: float, seed: int, print_line: Callable[[str], None] = print) -> dict[str, Tally]:
    """Search for so long, in turn for each guarantee, and print what was found."""
    known = {theorem.name for loss in (db.BuresWasserstein(), db.Frobenius()) for theorem in db.theorems_of(loss)
             if theorem.kind == "guarantee"}  # fmt: skip
    names = [*sorted(known), CONTROL]
    tallies, outside = {name: Tally() for name in names}, dict.fromkeys(names, 0)
    until, restart = time.monotonic() + 60 * minutes, 0
    while time.monotonic() < until:
        name = names[restart % len(names)]
        outside[name] += search(name, np.random.default_rng([seed, restart]), tallies[name], until)
        restart += 1
    print_line(f"\nseed {seed}, {minutes:g} minutes, {restart} restarts")
    print_line(
        "| certificate | instances | not judged | outside | least decay over certified | largest e/bound | violated |"
    )
    print_line("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, tally in tallies.items():
        label = f"{name} (no guarantee)" if name == CONTROL else name
        counts = f"{tally.instances} | {tally.skipped} | {outside[name]}"
        print_line(f"| {label} | {counts} | {tally.decay:.6g} | {tally.ratio:.6g} | {len(tally.broken)} |")
    for name, tally in tallies.items():
        if tally.failures:
            print_line(f"{name}: {len(tally.failures)} failed, the first with {tally.failures[0]}")
        for broken in tally.broken[: 1 if name == CONTROL else None]:
            print_line(f"{name} BROKEN by {broken}")
    return tallies
