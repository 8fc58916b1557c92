"""Certificates held against runs, the paper's grid, descent against flow, depth 100.

    python benchmarks/bench_dynamics.py [certificates] [grid] [depth] [descent] [loop] [deep] [steps]
        [proofs] [adversary --minutes M --seed S]

Without names, all of them. `grid`, `certificates` and `proofs` take minutes each, `adversary` as many as it is given.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import deepbures as db
from adversary import adversary
from bench_fits import RANKS
from deepbures.datasets import load_dataset
from deepbures.experiments import Piece, bounds, descent, grid
from deepbures.experiments._setting import DEPTHS, DIM, HORIZON, STOP, close_start, flows_until, zipf_target
from machine import heading


def certificates(num_instances: int = 500) -> None:
    """Random instances: violations and tightness of every certificate."""
    start = time.perf_counter()
    record = bounds(num_instances=num_instances, keep=on_all_cores)
    print(f"\n{len(record)} random instances, {time.perf_counter() - start:.0f} s")
    print("| certificate | instances | violated | smallest | 5 % | median | 95 % | largest |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in record.tables()["tightness"]:
        name, count, bad, *quantiles = row.values()
        print(f"| {name} | {count} | {bad} | " + " | ".join(f"{q:.3g}" for q in quantiles) + " |")
    for finding in record.findings:
        print(f"{'held' if finding.held else 'DID NOT HOLD'}: {finding.statement} {finding.evidence}")


def on_all_cores(pieces: Any) -> dict[str, Piece]:
    """Pieces side by side, one thread for each core."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(pieces, pool.map(lambda compute: compute(), pieces.values()), strict=True))


def whole_grid() -> None:
    """The paper's grid, both losses: wall time and core-seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    record = grid(keep=on_all_cores)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    clipped = int(((record.loss == "bw") & ~record.clipped & (record.tau > record.smallest_eigenvalue)).sum())
    print(f"\ngrid: {len(record)} runs ({clipped} of them cells with tau above the smallest eigenvalue, as asked)")
    print(f"{wall:.0f} s of wall time, {cpu:.0f} core-seconds, {1000 * cpu / len(record):.0f} ms a run")
    for finding in record.findings:
        print(f"{'held' if finding.held else 'DID NOT HOLD'}: {finding.statement} {finding.evidence}")


def by_depth() -> None:
    """Core-seconds of one run by depth, for an ordinary and for the slowest kind of cell."""
    print("\n| depth | s, smin = 2, τ = 0.5 | steps | s, smin = −1, τ = λ_n | steps |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for depth in DEPTHS[::4]:
        cells = []
        for smin, tau in ((2.0, 0.5), (-1.0, 0.05)):
            target = zipf_target(smin, 0)
            loss, start = db.BuresWasserstein(tau), close_start(target, tau, 0)
            for _ in range(2):  # the first call compiles
                begun = time.process_time()
                runs = flows_until(STOP, start[None], np.array([depth]), target, loss, HORIZON)
                taken = time.process_time() - begun
            cells.append(f"{taken:.3f} | {int(runs.steps[0, -1])}")
        print(f"| {depth} | " + " | ".join(cells) + " |")


def spot_checks() -> None:
    """Slopes of descent at the paper's step against the flow; a whole descent of 300,000 steps at depth 10."""
    record = descent()
    print("\n| depth | smin | τ | slope of the flow | slope of descent | off by | steps |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in record.tables()["slopes"]:
        print(
            f"| {row['depth']} | {row['smin']:g} | {row['tau']:g} | {row['flow_slope']:.5g} | "
            f"{row['descent_slope']:.5g} | {100 * (row['ratio'] - 1):.3f} % | {row['steps']:,} |"
        )
    target = zipf_target(-1.0, 0)
    loss = db.BuresWasserstein(0.05)
    start = db.balanced_network(close_start(target, 0.05, 0), (DIM,) * 11)
    begun = time.perf_counter()
    run = db.gradient_descent(start, target, loss, 300_000, 1e-5, tolerance=0.0)
    print(f"depth 10, {int(run.steps[-1]):,} steps of 1e-5: {time.perf_counter() - begun:.1f} s")


def against_a_loop() -> None:
    """1000 steps of the authors' setting against a plain NumPy loop."""
    print("\n| depth | bottleneck | τ | largest difference of a weight, relative |")
    print("| ---: | ---: | ---: | ---: |")
    target = zipf_target(1.0, 0)
    for depth in (1, 2, 3, 10):
        for k in (20, 5):
            for tau in (0.0, 0.1):
                widths = (k,) * depth + (DIM,)
                start = db.initialize(widths, "gaussian", key=depth)
                run = db.gradient_descent(start, target, db.BuresWasserstein(tau), 1000, 1e-5, num_records=1)
                expected = plain_loop(start.weights, target.factor(), tau, 1e-5, 1000)
                off = max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(run.weights, expected, strict=True))
                print(f"| {depth} | {k} | {tau} | {off:.1e} |")


def plain_loop(weights: Any, factor: Any, tau: float, step_size: float, num_steps: int) -> list[Any]:
    """Descent as one would write it down: ∇L_τ(W) = 2 (W − F Q[:, :m]), Q the polar factor of Fᵀ[W, √τ I]."""
    layers = [np.array(weight) for weight in weights]
    for _ in range(num_steps):
        products = [np.eye(layers[0].shape[1])]
        for layer in layers:
            products.append(layer @ products[-1])
        w = products[-1]
        smoothed = np.concatenate([w, np.sqrt(tau) * np.eye(len(w))], axis=1) if tau else w
        u, _, vh = np.linalg.svd(factor.T @ smoothed, full_matrices=False)
        back = 2 * (w - factor @ (u @ vh)[:, : w.shape[1]])
        gradients = []
        for layer, below in zip(reversed(layers), reversed(products[:-1]), strict=True):
            gradients.append(back @ below.T)
            back = layer.T @ back
        layers = [layer - step_size * g for layer, g in zip(layers, reversed(gradients), strict=True)]
    return layers


def deep() -> None:
    """Depth 100, n = 20: from near the target, and from a small start past the saddles."""
    target = zipf_target(1.0, 0)
    print("\n| depth 100 | τ | space | first call, s | again, s | steps | time of 1e-8 L(0) |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for tau in (0.0, 0.5):
        loss = db.BuresWasserstein(tau)
        start = db.initialize((DIM,) * 101, "close", target=target, tau=tau, key=0)
        for space in ("layers", "end-to-end"):
            took = []
            for _ in range(2):
                begun = time.perf_counter()
                run = db.gradient_flow(
                    start, target, loss, 3.0, space=space, num_records=60, record=("loss",), tolerance=1e-14
                )
                took.append(time.perf_counter() - begun)
            reached = run.times[np.argmax(run.excess <= 1e-8 * run.excess[0])]
            print(f"| near | {tau} | {space} | {took[0]:.1f} | {took[1]:.2f} | {run.steps[-1]} | {reached:.4f} |")
    separated = db.Target.from_spectrum(8.0 * 0.5 ** np.arange(DIM), key=0)
    loss = db.BuresWasserstein()
    start = db.initialize((5,) * 100 + (DIM,), "balanced", scale=1e-3, key=0)
    begun = time.perf_counter()
    run = db.gradient_flow(start, separated, loss, 1e3, space="end-to-end", num_records=480, record=("loss",))
    print(f"small start: {time.perf_counter() - begun:.1f} s with compilation, {run.steps[-1]} steps, {run.message}")
    for stay in db.plateaus(run, separated, loss):
        print(f"  near the saddle of rank {stay.rank} from {stay.begin:.3g} to {stay.end:.3g}")


def steps(num_targets: int = 20) -> None:
    """The certified constant step over 1/λ_max, for random targets and starts near them."""
    print("\n| depth | k = n | k = n/2 |\n| ---: | ---: | ---: |")
    for depth in (1, 2, 3, 5, 10, 30, 100):
        cells = []
        for share in (1, 2):
            found = []
            for key in range(num_targets):
                rng = np.random.default_rng(key)
                dim = int(rng.integers(2, 9))
                target = db.Target.from_spectrum(np.sort(np.exp(rng.uniform(-2, 2, dim)))[::-1], key=key)
                start = db.initialize((max(1, dim // share),) * depth + (dim,), "close", target=target, key=key)
                known = {c.name: c for c in db.certify(start, target, db.BuresWasserstein())}["descent-constant"]
                if known.holds:
                    found.append(known.max_step_size * known.start.sharpness)
            cells.append(f"{np.median(found):.2f} (least {min(found):.2f}, {len(found)} starts)")
        print(f"| {depth} | " + " | ".join(cells) + " |")


def proofs() -> None:
    """From when on a flow to real data is proved to converge, and how the rest of the run keeps that."""
    print(
        "\n| data | depth | certificate | from | until | excess over gap there | before | held | decay over bound | s |"
    )
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |")
    for name, rank in RANKS.items():
        target = db.Target.from_samples(load_dataset(name).samples)
        for depth in (1, 3, 10):
            begun = time.perf_counter()
            fitted = db.fit(target, rank, depth=depth, solver="flow")
            taken, proof, run = time.perf_counter() - begun, fitted.proof, fitted.trajectory
            if not proof:
                print(f"| {name} | {depth} | none: {'; '.join(proof.missed)} | | | | | | | {taken:.0f} |", flush=True)
                continue
            gap, at = proof.certificate.start.gap, proof.record
            before = f"{run.excess[at - 1] / gap:.3g}" if at else "at the start"
            print(
                f"| {name} | {depth} | {proof.certificate.name} | {proof.position:.4g} | {run.times[-1]:.4g} | "
                f"{proof.certificate.excess / gap:.3g} | {before} | {'NO' if proof.check.violated else 'yes'} | "
                f"{proof.check.tightness:.3f} | {taken:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {
        "loop": against_a_loop,
        "deep": deep,
        "steps": steps,
        "depth": by_depth,
        "descent": spot_checks,
        "grid": whole_grid,
        "certificates": certificates,
        "proofs": proofs,
        "adversary": lambda: adversary(chosen.minutes, chosen.seed),
    }
    parser.add_argument("names", nargs="*", choices=[*known, []], metavar="name")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the adversary searches")
    parser.add_argument("--seed", type=int, default=0, help="of the adversary")
    chosen = parser.parse_args()
    print(heading())
    for name in chosen.names or known:
        known[name]()
