"""Other libraries' ways to the same numbers, as calls to time and to check. Those that are not installed are left out.

What pytorch-fid and torch-fidelity do is written out here from their published formula, tr A + tr B − 2 tr √(A B) with
`scipy.linalg.sqrtm`, since installing them needs torchvision.
"""

import importlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from scipy import linalg

Calls = dict[str, Callable[[], Any]]


def _module(name: str) -> Any:
    """A library, or None: not installed, or not to be imported beside the versions at hand."""
    try:
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001 - whatever an import of a foreign library raises
        return None


def versions() -> str:
    found = []
    for name in ("torch", "POT", "ott-jax", "pyriemann", "torchmetrics", "geomstats"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def squared_distances() -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """Name -> squared Bures-Wasserstein distance of two covariances."""
    functions: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "scipy sqrtm (pytorch-fid)": lambda a, b: float(
            np.trace(a) + np.trace(b) - 2 * np.trace(np.real(linalg.sqrtm(a @ b)))
        )
    }
    if (pyriemann := _module("pyriemann.utils.distance")) is not None:
        functions["pyRiemann"] = lambda a, b: float(pyriemann.distance_wasserstein(a, b)) ** 2
    if (fid := _module("torchmetrics.image.fid")) is not None:

        def torchmetrics(a: np.ndarray, b: np.ndarray) -> float:
            zero = torch.zeros(len(a), dtype=torch.float64)
            return float(fid._compute_fid(zero, torch.from_numpy(a), zero, torch.from_numpy(b)))

        functions["torchmetrics"] = torchmetrics
    if (ot := _module("ot")) is not None:

        def pot(a: np.ndarray, b: np.ndarray) -> float:
            zero = np.zeros(len(a))
            return float(ot.gaussian.bures_wasserstein_distance(zero, zero, a, b)) ** 2

        functions["POT"] = pot
    if (costs := _module("ott.geometry.costs")) is not None:
        jax = _module("jax")

        def compiled(n: int) -> Any:
            cost = costs.Bures(dimension=n, sqrtm_kw={})
            return jax.jit(lambda x, y: cost(x, y))

        cache: dict[int, Any] = {}

        def ott(a: np.ndarray, b: np.ndarray) -> float:
            n = len(a)
            with jax.enable_x64(True):
                call = cache.setdefault(n, compiled(n))
                x, y = (np.concatenate([np.zeros(n), s.ravel()]) for s in (a, b))
                return float(call(x, y))

        functions["OTT-JAX"] = ott
    if (geomstats := _module("geomstats.geometry.spd_matrices")) is not None:

        def geometry(a: np.ndarray, b: np.ndarray) -> float:
            space = geomstats.SPDMatrices(len(a), equip=False)
            space.equip_with_metric(geomstats.SPDBuresWassersteinMetric)
            return float(space.metric.squared_dist(a, b))

        functions["geomstats"] = geometry
    return functions


# Minutes for n = 2048.
_SLOW = ("scipy sqrtm (pytorch-fid)", "POT", "OTT-JAX", "geomstats")


def of_covariances(a: np.ndarray, b: np.ndarray, *, slow: bool) -> Calls:
    return {
        name: lambda function=function: function(a, b)
        for name, function in squared_distances().items()
        if slow or name not in _SLOW
    }


def eigen_root(a: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(a)
    return (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.mT


def gradients_in_factor(a: torch.Tensor, g: torch.Tensor) -> Calls:
    """Value and gradient in G of B²(A, G Gᵀ) through n×n matrices, differentiated by PyTorch."""
    calls: Calls = {}
    if (ot := _module("ot")) is not None:

        def pot() -> Any:
            leaf, zero = g.clone().requires_grad_(), torch.zeros(len(a), dtype=a.dtype)
            (ot.gaussian.bures_wasserstein_distance(zero, zero, a, leaf @ leaf.T) ** 2).backward()
            return leaf.grad

        calls["POT"] = pot

    def plain() -> Any:
        leaf = g.clone().requires_grad_()
        root = eigen_root(a)
        eigenvalues = torch.linalg.eigvalsh(root @ leaf @ leaf.T @ root)
        (a.trace() + (leaf**2).sum() - 2 * eigenvalues.clamp(min=1e-30).sqrt().sum()).backward()
        return leaf.grad

    calls["roots by eigh"] = plain
    return calls


def of_stacks(a: np.ndarray, b: np.ndarray) -> Calls:
    calls: Calls = {}
    if (pyriemann := _module("pyriemann.utils.distance")) is not None:
        calls["pyRiemann"] = lambda: pyriemann.distance_wasserstein(a, b, squared=True)
    return calls


def gradients_of_stacks(a: torch.Tensor, b: torch.Tensor) -> Calls:
    """Value and both gradients of the sum over a stack, by matrix roots from eigenvectors, as pyRiemann computes it."""

    def plain() -> Any:
        first, second = a.clone().requires_grad_(), b.clone().requires_grad_()
        root = eigen_root(second)
        middle = eigen_root(root @ first @ root)
        trace = torch.diagonal(first + second - 2 * middle, dim1=-2, dim2=-1).sum()
        trace.backward()
        return first.grad, second.grad

    calls: Calls = {"roots by eigh": plain}
    if (pyriemann := _module("pyriemann.utils.distance")) is not None:

        def riemann() -> Any:
            first, second = a.clone().requires_grad_(), b.clone().requires_grad_()
            pyriemann.distance_wasserstein(first, second, squared=True).sum().backward()
            return first.grad, second.grad

        calls["pyRiemann"] = riemann
    return calls


def factor_route(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two Cholesky factorizations and singular values, nothing checked."""
    f, g = np.linalg.cholesky(a), np.linalg.cholesky(b)
    traces = np.trace(a, axis1=-2, axis2=-1) + np.trace(b, axis1=-2, axis2=-1)
    return np.asarray(traces - 2 * np.linalg.svd(f.mT @ g, compute_uv=False).sum(-1))


def factor_route_gradients(a: torch.Tensor, b: torch.Tensor) -> Any:
    """The same with singular vectors, and the gradients I − T in closed form."""
    f, g = torch.linalg.cholesky(a), torch.linalg.cholesky(b)
    u, s, vh = torch.linalg.svd(f.mT @ g)
    weight = s.rsqrt()[..., None, :]
    y, z = (g @ vh.mT) * weight, (f @ u) * weight
    eye = torch.eye(a.shape[-1], dtype=a.dtype)
    return s.sum(-1), eye - y @ y.mT, eye - z @ z.mT


def of_samples(x: np.ndarray, y: np.ndarray) -> Calls:
    """Moments, then the distance, as FID codes do."""
    calls: Calls = {}
    if (fid := _module("torchmetrics.image.fid")) is not None:

        def torchmetrics() -> Any:
            moments = []
            for samples in (torch.from_numpy(x), torch.from_numpy(y)):
                moments += [samples.mean(0), torch.cov(samples.T)]
            return fid._compute_fid(*moments)

        calls["torchmetrics"] = torchmetrics

    def scipy() -> Any:
        a, b = np.cov(x.T), np.cov(y.T)
        root = linalg.sqrtm(a @ b)
        return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a) + np.trace(b) - 2 * np.trace(np.real(root))

    if len(x) >= x.shape[1]:
        calls["scipy sqrtm (pytorch-fid)"] = scipy
    return calls
