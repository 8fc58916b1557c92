"""Every solver on real data: seconds, steps, and the excess over the theoretical minimum relative to it.

`python benchmarks/bench_fits.py [digits|faces|patches ...]`; everything takes about half an hour on two cores.
"""

import sys
import time
import warnings

import deepbures as db
from deepbures.datasets import load_dataset
from machine import heading

RANKS = {"digits": 16, "faces": 32, "patches": 64}
TAUS = {"digits": 1.0, "faces": 0.01, "patches": 0.001}


def main(names: list[str]) -> None:
    print(heading())
    print(
        f"{'data':8} {'depth':>5} {'tau':>6} {'solver':24} {'seconds':>8} {'steps':>8} {'relative excess':>15} "
        f"{'balancedness gap':>16}"
    )
    for name in names or RANKS:
        target = db.Target.from_samples(load_dataset(name).samples)
        for tau in (0.0, TAUS[name]):
            for depth in (1, 2, 3, 10):
                for solver in ("closed-form", "flow", "descent"):
                    options = {}
                    if solver == "descent":
                        options["step_size"] = "sharpness" if depth == 1 else "accelerated"
                    start = time.perf_counter()
                    with warnings.catch_warnings():
                        warnings.simplefilter("error")
                        fitted = db.fit(target, RANKS[name], depth=depth, tau=tau, solver=solver, **options)
                    seconds = time.perf_counter() - start
                    run = fitted.trajectory
                    steps = "" if run is None else int(run.steps[-1])
                    gap = "" if run is None else f"{run['balancedness_gap'].max():.1e}"
                    label = f"{solver} {options.get('step_size', '')}"
                    print(
                        f"{name:8} {depth:5} {tau:6} {label:24} {seconds:8.1f} {steps:>8} "
                        f"{float(fitted.relative_excess):15.1e} {gap:>16}",
                        flush=True,
                    )


if __name__ == "__main__":
    main(sys.argv[1:])
