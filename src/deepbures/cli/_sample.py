"""`deepbures sample`: draws from a model, to a file."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer

from deepbures._claim import claimed_file
from deepbures._words import counted
from deepbures.cli._messages import Invocation, WorkError
from deepbures.cli._options import Noise
from deepbures.cli._progress import Display
from deepbures.cli._writers import check_images, check_out, least_bytes, write_file, write_images
from deepbures.cli.requests import SampleRequest
from deepbures.datasets import Features
from deepbures.model import DeepLinearNetwork
from deepbures.runs import StoredModel, plain, read_model

_VALUES_PER_BLOCK = 2**22
"""Numbers that are in memory at once. Part of what "same seed, same bits" means: draws of other blocks differ."""

_FAR = 0.01
"""Relative excess above which samples come with a warning: their loss is more than a hundredth above the least."""


class _Draws:
    """Draws in blocks of rows; the first is that of `DeepLinearNetwork.sample(seed, …)`, each has a key of its own.

    The columns are as the features tell: named as in the data (x0, x1, … where those had no names), and float32 where
    they were float32 or float16 in the data; otherwise of the type of the model.
    """

    def __init__(
        self,
        network: DeepLinearNetwork,
        features: Features,
        *,
        num: int,
        seed: int,
        noise_variance: float,
        display: Display,
    ) -> None:
        self.network, self.features, self.display = network, features, display
        self.num, self.seed, self.noise_variance = num, seed, noise_variance
        model = np.dtype(network.weights[0].dtype)
        stored = features.dtypes or (model.name,) * network.dim
        self.dtypes = [np.dtype(np.float32) if name in ("float16", "float32") else model for name in stored]
        self.dtype = np.result_type(*self.dtypes)
        self.names = list(features.names or (f"x{i}" for i in range(network.dim)))

    def __iter__(self) -> Iterator[np.ndarray]:
        rows = max(1, _VALUES_PER_BLOCK // self.network.dim)
        for index, start in enumerate(range(0, self.num, rows)):
            stop = min(start + rows, self.num)
            block = self.network.sample(self._key(index), stop - start, noise_variance=self.noise_variance)
            yield self._as_stored(block)
            self.display.advance("sampling", stop / self.num, f"{stop} of {self.num} samples")

    def _as_stored(self, block: np.ndarray) -> np.ndarray:
        """Draws rounded to the types of their columns, in one array of a type that holds them all."""
        try:
            with np.errstate(over="raise"):
                rounded = np.array(block, dtype=self.dtype, order="C")
                for narrow in {dtype for dtype in self.dtypes if dtype != self.dtype}:
                    columns = [dtype == narrow for dtype in self.dtypes]
                    rounded[:, columns] = rounded[:, columns].astype(narrow)
        except FloatingPointError:
            raise WorkError(
                "The draws are beyond the range of float32, the type of the data: scale the data down, or fit them as "
                "float64."
            ) from None
        return rounded

    def _key(self, index: int) -> int:
        if index == 0:
            return self.seed
        words = np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)
        return int(words[0] >> np.uint64(1))


def _check_space(out: Path, draws: _Draws) -> None:
    """Refuse what cannot fit on the disk, before hours of writing. What is compressed is not judged."""
    needed, free = least_bytes(out, draws), shutil.disk_usage(out.parent).free
    if needed > free:
        raise WorkError(
            f"{out} would take {needed / 2**30:.3g} GiB, but {free / 2**30:.3g} GiB are free there: lower --num, or "
            "choose another --out."
        )


def run(request: SampleRequest, call: Invocation, display: Display) -> dict[str, Any]:
    """Check what can be checked before the work, draw and write."""
    check_out(request.out, as_images=request.images, overwrite=request.overwrite)
    with claimed_file(request.out):
        # Another one may have written it meanwhile.
        check_out(request.out, as_images=request.images, overwrite=request.overwrite)
        return _sample(request, call, display)


def _sample(request: SampleRequest, call: Invocation, display: Display) -> dict[str, Any]:
    model, out = request.model, request.out
    stored = read_model(model)
    noise_variance = _noise_variance(stored, request.noise, model)
    if request.images:
        check_images(stored.features, model)
    doubt = _doubt(stored, model)
    if doubt is not None:
        call.warn(doubt)
    display.stage("sampling")
    draws = _Draws(
        stored.network,
        stored.features,
        num=request.num,
        seed=request.seed,
        noise_variance=noise_variance,
        display=display,
    )
    _check_space(out, draws)
    written = write_images(out, draws) if request.images else write_file(out, draws)
    result = {
        "model": str(model),
        "out": str(out),
        "num": request.num,
        "dim": stored.network.dim,
        "seed": request.seed,
        "noise_variance": noise_variance,
        "tau": stored.noise_variance,
        "status": stored.status,
        "relative_excess": stored.relative_excess,
        "dtype": str(draws.dtype),
        **written,
        "warnings": list(call.warnings),
    }
    return dict(plain(result))


def _noise_variance(stored: StoredModel, noise: Noise | None, model: Path) -> float:
    """The variance to draw with: the tau of the fit, unless that is not wanted or not known."""
    if noise is Noise.none:
        return 0.0
    if noise is Noise.tau and stored.noise_variance is None:
        raise ValueError(
            f"--noise tau was given, but {model} does not say with which tau it was fitted (it was saved without, and "
            "no summary.json of it lies beside it): leave --noise out to draw from N(mean, W Wᵀ)."
        )
    return stored.noise_variance or 0.0


def _doubt(stored: StoredModel, model: Path) -> str | None:
    """What there is to say of a model that is far from a fitted one; None if nothing is known against it."""
    excess = stored.relative_excess
    where = "" if excess is None else f" at a relative excess of {excess:.2g} over the theoretical minimum"
    if stored.status == "interrupted":
        return (
            f"the run of {model} was interrupted{where}: these are samples of an unfinished model. Finish the fit with "
            "deepbures fit --resume first."
        )
    if excess is not None and excess > _FAR:
        return (
            f"the run of {model} ended{where} (status {stored.status}): these are samples of a model that is far from "
            "the best of its rank. Its summary.json says what ended it and what to try."
        )
    return None


def show(result: dict[str, Any]) -> None:
    """One line: how many draws, of what, and where they are."""
    variance = result["noise_variance"]
    if variance:
        noise = f", with noise of variance {variance:g}"
    elif result["tau"] is None:
        noise = ", without noise (the model does not say its tau)"
    else:
        noise = f", without the noise of variance {result['tau']:g}" if result["tau"] else ""
    typer.echo(f"{counted(result['num'], 'sample')} of {counted(result['dim'], 'feature')}{noise}: {result['out']}")
    if result.get("clipped"):
        low, high = result["pixel_range"]
        share = f"{100 * result['clipped']:.3g} % of the values"
        typer.echo(f"{share} clipped to the range of the data, {low:g} to {high:g}.")
