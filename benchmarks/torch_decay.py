"""What remembered batches do to the training of a generator: quality by decay, batch size and kind of generator.

`python benchmarks/torch_decay.py [--seeds S] [--steps N] [--generator perceptron|linear] [--batches N ...]` trains the
generator of examples/torch_generator.py, or a linear one, with each batch size and each decay, and prints a table of
squared Fréchet distances between fresh images and the digits, as the example does, averaged over seeds. On one thread.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import torch
from torch import nn

import torch_generator

DECAYS: tuple[float | str | None, ...] = (None, 0.5, 0.7, 0.8, 0.9, 0.95, "auto")
# With learning rates at which 1500 steps are enough.
GENERATORS = {"perceptron": (torch_generator.perceptron, 3e-3), "linear": (lambda: nn.Linear(32, 64), 5e-2)}


def reached(name: str, batch: int, decay: float | str | None, seeds: int, steps: int) -> float:
    """Mean distance over seeds after training."""
    values = []
    for seed in range(seeds):
        generator, _ = torch_generator.train(steps, batch, seed, decay, *GENERATORS[name])
        values.append(torch_generator.evaluate(generator)["generator"])
    return statistics.mean(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--generator", choices=GENERATORS, default="perceptron")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| batch | " + " | ".join(f"{'none' if decay is None else decay}" for decay in DECAYS) + " |", flush=True)
    print("| --- " * (len(DECAYS) + 1) + "|")
    for batch in options.batches:
        cells = [reached(options.generator, batch, decay, options.seeds, options.steps) for decay in DECAYS]
        print(f"| {batch} | " + " | ".join(f"{value:.1f}" for value in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
