"""Train a nonlinear PyTorch generator on the digits with the Bures-Wasserstein loss.

A perceptron maps noise to 8×8 images. The loss sees their mean and covariance only; with 64 images per batch the
covariance of a batch is as good as singular, so moments are remembered over batches (`decay="auto"`). A generator that
matches both moments reaches zero. At the end, a fresh set of images is compared with the data, beside what 1797 draws
of the Gaussian with the very moments of the data would reach.

Run: python examples/torch_generator.py [STEPS [PICTURE.png]]
"""

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import deepbures as db
from deepbures.datasets import load_dataset
from deepbures.torch import BuresWassersteinLoss


def perceptron() -> nn.Module:
    """From 32 latent dimensions to 8×8 pixels."""
    return nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 64))


def train(
    num_steps: int = 1500,
    batch: int = 64,
    seed: int = 0,
    decay: float | str | None = "auto",
    make: Callable[[], nn.Module] = perceptron,
    rate: float = 3e-3,
) -> tuple[nn.Module, list[float]]:
    """The trained generator, and the loss at each step."""
    torch.manual_seed(seed)
    digits = torch.tensor(load_dataset("digits").samples, dtype=torch.float32)
    loss = BuresWassersteinLoss(digits, decay=decay)
    generator = make()
    optimizer = torch.optim.Adam(generator.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    losses = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        value = loss(generator(torch.randn(batch, 32)))
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    return generator, losses


def evaluate(generator: nn.Module, seed: int = 1) -> dict[str, float]:
    """Squared Fréchet distances to the digits: of fresh images, and of draws from the Gaussian with their moments."""
    digits = load_dataset("digits").samples
    torch.manual_seed(seed)
    with torch.no_grad():
        images = generator(torch.randn(len(digits), 32)).double().numpy()
    gaussian = np.random.default_rng(seed).multivariate_normal(digits.mean(0), np.cov(digits.T), len(digits))
    return {
        "generator": float(db.squared_frechet_distance(images, digits)),
        "Gaussian draws": float(db.squared_frechet_distance(gaussian, digits)),
        "mean image alone": float(db.squared_frechet_distance(digits.mean(0, keepdims=True), digits)),
    }


def picture(generator: nn.Module, path: str) -> None:
    """Digits above, images of the generator below."""
    from deepbures.plot import plot_images

    dataset = load_dataset("digits")
    torch.manual_seed(2)
    with torch.no_grad():
        images = generator(torch.randn(12, 32)).numpy()
    figure = plot_images({"digits": dataset.samples[:12], "generator": images}, dataset.image_shape, limits=(0, 16))
    figure.savefig(path, dpi=150)


def main(arguments: list[str]) -> None:
    num_steps = int(arguments[0]) if arguments else 1500
    generator, losses = train(num_steps)
    for step in sorted({0, num_steps // 30, num_steps // 5, num_steps - 1}):
        print(f"step {step:5}: loss {losses[step]:8.2f}")
    for name, value in evaluate(generator).items():
        print(f"squared Fréchet distance to the digits, {name}: {value:.2f}")
    if len(arguments) > 1:
        picture(generator, arguments[1])


if __name__ == "__main__":
    main(sys.argv[1:])
