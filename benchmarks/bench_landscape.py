"""The landscape in closed form and in runs: speed, where descents end, and the curvature of the two losses compared.

`python benchmarks/bench_landscape.py [speed] [stability] [comparison] [descents] [--figure FILE.svg]`; all by default.
"""

import machine

machine.one_core()

import sys
import time
from collections import Counter

import numpy as np

import deepbures as db
from machine import heading

TIGHT = {"rtol": 1e-10, "atol": 1e-12, "tolerance": 0.0}


def seconds(call, repeats: int = 5) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def zipf(n: int, seed: int) -> np.ndarray:
    """Eigenvalues s_1/i + noise, sorted, shifted to a minimum of 1/n; s_1 that of a random matrix (Bréchet et al.)."""
    rng = np.random.default_rng(seed)
    largest = np.linalg.svd(rng.standard_normal((n, n)), compute_uv=False)[0]
    values = np.sort(largest / np.arange(1, n + 1) + rng.standard_normal(n))[::-1]
    return values - values.min() + 1 / n


def speed() -> None:
    print("\n| work | seconds |\n| --- | ---: |")
    wide = db.Target.from_spectrum(1 / np.sqrt(np.arange(1, 1001.0)), key=0)
    small = db.Target.from_spectrum(np.linspace(5, 0.7, 40) ** 2)
    loss, smoothed = db.BuresWasserstein(), db.BuresWasserstein(0.05)
    rows = {
        "spectrum of one critical point, n = 1000, k = 50, all columns": lambda: db.hessian_spectrum(
            wide, range(0, 100, 2), loss
        ),
        "all 91,390 critical points, n = 40, k = 4": lambda: db.critical_points(small, 4, loss),
        "the 100,000 lowest of 1.4e11, n = 40, k = 20": lambda: db.critical_points(small, 20, loss, num=100_000),
        "the 1000 lowest of 1e85, n = 1000, k = 50": lambda: db.critical_points(wide, 50, loss, num=1000),
    }
    for name, call in rows.items():
        print(f"| {name} | {seconds(call):.3g} |")
    net = db.initialize((200,) * 6, "xavier", key=0)
    target = db.Target.from_spectrum(10 / np.arange(1, 201.0), key=0)
    for each, name in ((loss, "τ = 0"), (smoothed, "τ = 0.05")):
        taken = seconds(lambda each=each: db.hessian_extremes(net, target, each), 1)
        products = db.hessian_extremes(net, target, each).num_products
        print(f"| extremes at depth 5, width 200 (200,000 weights), {name}, {products} products | {taken:.3g} |")
    net = db.initialize((20,) * 6, "xavier", key=0)
    target = db.Target.from_spectrum(10 / np.arange(1, 21.0), key=0)
    lanczos = seconds(lambda: db.hessian_extremes(net, target, smoothed), 2)
    matrix = db.hessian_matrix(net, target, smoothed)
    dense = seconds(lambda: np.linalg.eigvalsh(matrix), 1)
    forming = seconds(lambda: db.hessian_matrix(net, target, smoothed), 1)
    print(f"| extremes at depth 5, width 20 (2000 weights) | {lanczos:.3g} |")
    print(f"| the same, dense Hessian {forming:.3g} + eigvalsh {dense:.3g} | {forming + dense:.3g} |")


def descents(runs: int = 1000, n: int = 6, k: int = 3) -> None:
    """Random descents from small Gaussian starts, n = 6: where do they end?"""
    print(f"\n{runs} descents for each row, n = {n}, bottleneck {k}, random targets and starts")
    print("| loss | depth | minimizer | strict saddle | degenerate saddle | not at a critical point |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    batch = 250
    for loss, name in (
        (db.BuresWasserstein(), "BW, τ = 0"),
        (db.BuresWasserstein(0.1), "BW, τ = 0.1"),
        (db.Frobenius(), "Frobenius"),
    ):
        for depth in (1, 2, 4):
            widths = (k,) * depth + (n,)
            kinds: Counter[str] = Counter()
            for number in range(0, runs, batch):
                rng = np.random.default_rng(number + depth)
                target = db.Target.from_spectrum(np.sort(rng.uniform(0.3, 4.0, n))[::-1], key=number)
                starts = db.stack_networks([db.initialize(widths, "gaussian", key=number + i) for i in range(batch)])
                run = db.gradient_descent(starts, target, loss, num_steps=20_000)
                for i in range(batch):
                    net = db.DeepLinearNetwork([np.asarray(w)[i] for w in run.network.weights])
                    found = db.classify(net, target, loss)
                    kinds[found.point.kind if found.is_at else "none"] += 1
            shares = [
                f"{100 * kinds[kind] / runs:.1f} %"
                for kind in ("minimizer", "strict saddle", "degenerate saddle", "none")
            ]
            print(f"| {name} | {depth} | " + " | ".join(shares) + " |", flush=True)


def stability(cases: int = 20, n: int = 5, k: int = 2) -> None:
    """Near the balanced minimizer: descent below and above 2/λ_max, and the late rate of the flow."""
    loss = db.BuresWasserstein()
    below, above, ratios = [], [], []
    for case in range(cases):
        rng = np.random.default_rng(case)
        depth = 1 + case % 4
        target = db.Target.from_spectrum(np.cumsum(rng.uniform(0.5, 2.0, n))[::-1], key=case)
        widths = (k,) * depth + (n,)
        net = db.balanced_network(db.rank_k_minimizer(target, k, loss), widths)
        sharpest = db.hessian_extremes(net, target, loss).largest_direction
        near = db.DeepLinearNetwork([w + 1e-5 * d for w, d in zip(net.weights, sharpest, strict=True)])
        limit = 2 / float(db.sharpness(target, k, loss, depth=depth))
        changes = []
        for factor in (0.98, 1.02):
            run = db.gradient_descent(near, target, loss, 400, factor * limit, tolerance=0.0)
            changes.append(float(run.excess[-1] / run.excess[0]))
        below.append(changes[0])
        above.append(changes[1])
        rate = float(db.asymptotic_rate(target, k, loss, depth=depth))
        # The last column turned towards the first mode that is not used: the slowest direction.
        w, basis = np.array(net.end_to_end), target.spectrum(k + 1)[1]
        w += 0.03 * np.linalg.norm(w[:, -1:]) * basis[:, k:] * (basis[:, k - 1] @ w) / np.linalg.norm(w[:, -1])
        start = db.balanced_network(w, widths)
        times = np.array([8.0, 11.0]) / rate
        flow = db.gradient_flow(
            start, target, loss, float(times[1]), times=times, solver="dopri8", rtol=1e-10, atol=1e-12
        )
        ratios.append(float(np.log(flow.excess[1] / flow.excess[2]) / (times[1] - times[0]) / rate))
    print(
        f"\n{cases} random targets, n = {n}, k = {k}, depth 1 to 4, from 1e-5 beside the balanced minimizer, 400 steps"
    )
    print(f"step 0.98 · 2/λ_max: the excess changes by a factor of {min(below):.1e} to {max(below):.1e}")
    print(f"step 1.02 · 2/λ_max: by {min(above):.1e} to {max(above):.1e}")
    print(f"late rate of the flow / predicted rate: {min(ratios):.4f} to {max(ratios):.4f}")


def comparison(
    figure_path: str | None, num: int = 100, n: int = 10, k: int = 4, depth: int = 3, tau: float = 0.1
) -> None:
    """Extremes and condition numbers at the critical points {1 … k−1, i}, balanced lifts, over random Zipf targets."""
    print(
        f"\n{num} Zipf targets, n = {n}, k = {k}, depth {depth}, critical points with modes 1..{k - 1}, i; mean ± std"
    )
    print("| loss | i | λ_min | λ_max | λ_max / |λ_min| | λ_max / least nonzero |λ| |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    losses = {f"BW, τ = {tau:g}": db.BuresWasserstein(tau), "Frobenius": db.Frobenius()}
    means: dict[str, list[list[float]]] = {name: [] for name in losses}
    largest_gap = 0.0
    for name, loss in losses.items():
        for i in range(k - 1, n):
            rows = []
            for seed in range(num):
                values = zipf(n, seed) + tau  # every mode can be used
                target = db.Target.from_spectrum(values, key=seed)
                indices = (*range(k - 1), i)
                s = db.hessian_spectrum(target, indices, loss, latent_dim=k, depth=depth)
                rows.append((s.smallest, s.largest, s.relative_condition, s.absolute_condition))
                if seed < 2:
                    basis, squares = target.spectrum(n)[1], values - (tau if name.startswith("BW") else 0)
                    w = basis[:, list(indices)] * np.sqrt(squares[list(indices)])
                    net = db.balanced_network(w, (k,) * depth + (n,))
                    e = db.hessian_extremes(net, target, loss)
                    for lanczos, closed in ((e.smallest, s.smallest), (e.largest, s.largest)):
                        largest_gap = max(largest_gap, abs(lanczos - closed) / e.largest)
            table = np.array(rows)
            cells = []
            for column in table.T:
                finite = column[np.isfinite(column)]
                cells.append(f"{finite.mean():.3g} ± {finite.std():.2g}" if len(finite) else "∞")
            means[name].append([float(np.median(column)) for column in table.T])
            print(f"| {name} | {i + 1} | " + " | ".join(cells) + " |")
    print(f"largest difference of closed form and Lanczos, relative to λ_max: {largest_gap:.1e}")
    if figure_path:
        draw(figure_path, means, list(range(k, n + 1)))


def draw(path: str, means: dict[str, list[list[float]]], indices: list[int]) -> None:
    from pathlib import Path

    from deepbures.plot import PALETTE, to_svg
    from deepbures.plot._style import drawing

    with drawing((10.4, 3.4)) as figure:
        panels = figure.subplots(1, 3)
        titles = ("λ_min", "λ_max", "λ_max / least nonzero |λ|")
        for axes, column, title in zip(panels, (0, 1, 3), titles, strict=True):
            for (name, rows), color, style in zip(
                means.items(), (PALETTE["run"], PALETTE["theory"]), ("-", "--"), strict=True
            ):
                axes.plot(indices, [row[column] for row in rows], style, marker="o", ms=4, color=color, label=name)
            axes.set_title(title)
            axes.set_xlabel("last mode of the critical point, i")
            if column:
                axes.set_yscale("log")
            else:
                axes.set_yscale("symlog", linthresh=0.1)
        panels[0].legend(frameon=False, fontsize=8)
        Path(path).write_text(to_svg(figure), encoding="utf-8")


def main(arguments: list[str]) -> None:
    print(heading())
    figure = arguments[arguments.index("--figure") + 1] if "--figure" in arguments else None
    parts = {"speed": speed, "stability": stability, "comparison": lambda: comparison(figure), "descents": descents}
    for name in [name for name in parts if name in arguments] or parts:
        parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
