"""Other libraries' ways to the same numbers, as calls to time and to check. Those that are not installed are left out.

torchmetrics, POT, OTT-JAX, pyRiemann and geomstats are called. pytorch-fid and torch-fidelity need torchvision to be
imported at all; what they do once they have moments is written out here in our own words, from
tr A + tr B − 2 tr √(A B): pytorch-fid takes the root with `scipy.linalg.sqrtm`, once more with 1e-6 added to the
diagonals if that is not finite, and raises where the result is complex; torch-fidelity 0.4 sums the roots of the
eigenvalues of A B, from `numpy.linalg.eigvals`. "torch" in a name means that tensors of PyTorch are passed.
"""

import importlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from scipy import linalg

Array = Any
Calls = dict[str, Callable[[], Any]]

INSTALL = "pip install -r requirements/bench.lock (on top of dev.lock) brings the other libraries."

_LIBRARIES = {
    "torch": "torch",
    "pyriemann": "pyriemann",
    "torchmetrics": "torchmetrics.image.fid",
    "POT": "ot",
    "ott-jax": "ott.geometry.costs",
    "geomstats": "geomstats.geometry.spd_matrices",
}


def _module(name: str) -> Any:
    """A library, or None: not installed, or not to be imported beside the versions at hand."""
    try:
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001 - whatever an import of a foreign library raises
        return None


def versions() -> str:
    """The other libraries, one line: versions, and why one is not there."""
    found = []
    for name, module in _LIBRARIES.items():
        try:
            text = f"{name} {version(name)}"
        except PackageNotFoundError:
            found.append(f"no {name}")
            continue
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - the reason is what is printed
            text += f" (left out: {type(error).__name__}: {str(error).split(' (')[0]})"
        found.append(text)
    return ", ".join(found)


def are_complete() -> bool:
    """Whether all that bench.lock holds is there."""
    return all(_module(module) is not None for name, module in _LIBRARIES.items() if name != "geomstats")


def _pyriemann() -> Any:
    return _module("pyriemann.geometry.distance") or _module("pyriemann.utils.distance")


def _torch_fidelity(mean_1: Array, a: Array, mean_2: Array, b: Array) -> Any:
    difference = mean_1 - mean_2
    roots = np.sqrt(np.linalg.eigvals(a.dot(b)).astype("complex128")).real
    return difference.dot(difference) + np.trace(a) + np.trace(b) - 2 * np.sum(roots)


def _pytorch_fid(mean_1: Array, a: Array, mean_2: Array, b: Array) -> Any:
    difference = mean_1 - mean_2
    root = linalg.sqrtm(a.dot(b))
    if not np.isfinite(root).all():
        more = 1e-6 * np.eye(len(a))
        root = linalg.sqrtm((a + more).dot(b + more))
    if np.iscomplexobj(root):
        if not np.allclose(np.diagonal(root).imag, 0, atol=1e-3):
            raise ValueError("imaginary component")
        root = root.real
    return difference.dot(difference) + np.trace(a) + np.trace(b) - 2 * np.trace(root)


def _from_moments() -> dict[str, Callable[[Array, Array, Array, Array], Any]]:
    return {"torch-fidelity": _torch_fidelity, "pytorch-fid": _pytorch_fid}


# ------------------------------------------------------------------------------------------ two covariances: the value


def squared_distances(n: int, dtype: str = "float64") -> dict[str, Callable[[Array, Array], Any]]:
    """Name -> squared Bures-Wasserstein distance of two n×n covariances (NumPy); compilation is done here."""
    zero = np.zeros(n)
    functions: dict[str, Callable[[Array, Array], Any]] = {
        name: lambda a, b, function=function: function(zero, a, zero, b) for name, function in _from_moments().items()
    }
    torch = _module("torch")
    if (pyriemann := _pyriemann()) is not None:
        functions["pyRiemann"] = lambda a, b: pyriemann.distance_wasserstein(a, b, squared=True)
    if torch is not None and (fid := _module("torchmetrics.image.fid")) is not None:
        mean = torch.zeros(n, dtype=torch.float64)
        functions["torchmetrics"] = lambda a, b: fid._compute_fid(
            mean.to(torch.from_numpy(a).dtype),
            torch.from_numpy(a),
            mean.to(torch.from_numpy(b).dtype),
            torch.from_numpy(b),
        )
    if (ot := _module("ot")) is not None:
        functions["POT"] = lambda a, b: ot.gaussian.bures_wasserstein_distance(zero, zero, a, b) ** 2
    if _module("ott.geometry.costs") is not None:
        functions |= _ott(n, dtype)
    if (geomstats := _module("geomstats.geometry.spd_matrices")) is not None:
        space = geomstats.SPDMatrices(n, equip=False)
        space.equip_with_metric(geomstats.SPDBuresWassersteinMetric)
        functions["geomstats"] = space.metric.squared_dist
    return functions


def _ott(n: int, dtype: str) -> dict[str, Callable[[Array, Array], Any]]:
    """OTT's cost of two Gaussians as it is, and the same formula with its matrix root at a tolerance that is given.

    The cost of ott-jax 0.6 hands the dimension to `sqrtm` where that takes its tolerance, so its Newton-Schulz
    iteration ends at the first look, after ten steps. `Gaussian.w2_dist` calls the same cost.
    """
    jax, costs, roots = _module("jax"), _module("ott.geometry.costs"), _module("ott.math.matrix_square_root")
    xp = jax.numpy
    cost = costs.Bures(dimension=n)

    def public(a: Array, b: Array) -> Array:
        return cost(*(xp.concatenate([xp.zeros(n, c.dtype), xp.ravel(c)]) for c in (a, b)))

    def to_tolerance(a: Array, b: Array) -> Array:
        root, *_ = roots.sqrtm(a, 1e-12)
        middle, *_ = roots.sqrtm(root @ b @ root, 1e-12)
        return xp.trace(a) + xp.trace(b) - 2 * xp.trace(middle)

    def compiled(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Any]:
        with jax.enable_x64(True):
            empty = jax.ShapeDtypeStruct((n, n), dtype)
            try:
                run = jax.jit(function).lower(empty, empty).compile()
            except TypeError as error:  # complex matrices
                reason = str(error).splitlines()[0]

                def refuse(*_: Array) -> Any:
                    raise TypeError(reason)

                return refuse

        def call(a: Array, b: Array) -> Any:
            with jax.enable_x64(True):
                return np.asarray(run(a, b))

        return call

    return {"OTT-JAX": compiled(public), "OTT-JAX, root to 1e-12": compiled(to_tolerance)}


def of_covariances(a: Array, b: Array, *, slow: bool = True) -> Calls:
    """The calls above, and those of pyRiemann and POT on tensors; `slow`: also those that take minutes."""
    slow_ones = ("pytorch-fid", "OTT-JAX", "OTT-JAX, root to 1e-12")
    calls: Calls = {
        name: lambda function=function: function(a, b)
        for name, function in squared_distances(len(a)).items()
        if slow or name not in slow_ones
    }
    if (torch := _module("torch")) is not None:
        ta, tb = torch.tensor(a), torch.tensor(b)
        if (pyriemann := _pyriemann()) is not None:
            calls["pyRiemann, torch"] = lambda: pyriemann.distance_wasserstein(ta, tb, squared=True)
        if (ot := _module("ot")) is not None:
            zero = torch.zeros(len(a), dtype=ta.dtype)
            calls["POT, torch"] = lambda: ot.gaussian.bures_wasserstein_distance(zero, zero, ta, tb) ** 2
    return calls


# ------------------------------------------------------------------------------------------ values with their gradients


def _roots_by_eigh(a: Array, b: Array) -> Array:
    """The squared distance with two roots from eigenvectors, for tensors, as most codes write it."""
    torch = _module("torch")

    def root(c: Array) -> Array:
        values, vectors = torch.linalg.eigh(c)
        return (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.mT

    half = root(a)
    eigenvalues = torch.linalg.eigvalsh(half @ b @ half)
    traces = (torch.diagonal(c, dim1=-2, dim2=-1).sum(-1) for c in (a, b))
    return sum(traces) - 2 * eigenvalues.clamp(min=1e-30).sqrt().sum(-1)


def gradients_in_factor(a: Array, g: Array) -> Calls:
    """Value and gradient in G of B²(A, G Gᵀ) through n×n matrices, differentiated by PyTorch."""
    torch = _module("torch")
    zero = torch.zeros(len(a), dtype=a.dtype)

    def differentiated(function: Callable[[Array, Array], Any]) -> Callable[[], Any]:
        def call() -> Any:
            leaf = g.clone().requires_grad_()
            value = function(a, leaf @ leaf.mT)
            value.backward()
            return value.detach(), leaf.grad

        return call

    calls = {"roots by eigh": differentiated(_roots_by_eigh)}
    if (ot := _module("ot")) is not None:
        calls["POT"] = differentiated(lambda a, b: ot.gaussian.bures_wasserstein_distance(zero, zero, a, b) ** 2)
    if (fid := _module("torchmetrics.image.fid")) is not None:
        calls["torchmetrics"] = differentiated(lambda a, b: fid._compute_fid(zero, a, zero, b))
    if (pyriemann := _pyriemann()) is not None:
        calls["pyRiemann"] = differentiated(lambda a, b: pyriemann.distance_wasserstein(a, b, squared=True))
    return calls


def _of_stacks() -> dict[str, Callable[[Array, Array], Any]]:
    """Name -> squared distances of stacks of NumPy arrays or tensors."""
    functions: dict[str, Callable[[Array, Array], Any]] = {}
    if (pyriemann := _pyriemann()) is not None:
        functions["pyRiemann"] = lambda a, b: pyriemann.distance_wasserstein(a, b, squared=True)
    if (ot := _module("ot")) is not None:
        functions["POT"] = lambda a, b: ot.gaussian.bures_distance(a, b, paired=True) ** 2
    return functions


def of_stacks(a: Array, b: Array) -> Calls:
    """The values for a stack of pairs, on NumPy and on tensors."""
    calls: Calls = {name: lambda function=function: function(a, b) for name, function in _of_stacks().items()}
    if (torch := _module("torch")) is not None:
        ta, tb = torch.tensor(a), torch.tensor(b)
        for name, function in {**_of_stacks(), "roots by eigh": _roots_by_eigh}.items():
            calls[f"{name}, torch"] = lambda function=function: function(ta, tb)
    return calls


def gradients_of_stacks(a: Array, b: Array) -> Calls:
    """Values and both gradients for a stack of pairs of tensors."""

    def differentiated(function: Callable[[Array, Array], Any]) -> Callable[[], Any]:
        def call() -> Any:
            first, second = a.clone().requires_grad_(), b.clone().requires_grad_()
            values = function(first, second)
            values.sum().backward()
            return values.detach(), first.grad, second.grad

        return call

    return {
        name: differentiated(function) for name, function in {**_of_stacks(), "roots by eigh": _roots_by_eigh}.items()
    }


def factor_route(a: Array, b: Array) -> Array:
    """Two Cholesky factorizations and singular values of a stack, nothing checked."""
    f, g = np.linalg.cholesky(a), np.linalg.cholesky(b)
    traces = np.trace(a, axis1=-2, axis2=-1) + np.trace(b, axis1=-2, axis2=-1)
    return traces - 2 * np.linalg.svd(f.mT @ g, compute_uv=False).sum(-1)


def torch_factor_route(a: Array, b: Array) -> Array:
    """The same on tensors."""
    torch = _module("torch")
    f, g = torch.linalg.cholesky(a), torch.linalg.cholesky(b)
    traces = torch.diagonal(a + b, dim1=-2, dim2=-1).sum(-1)
    return traces - 2 * torch.linalg.svdvals(f.mT @ g).sum(-1)


def factor_route_gradients(a: Array, b: Array) -> Any:
    """The same with singular vectors, and the gradients I − T in closed form."""
    torch = _module("torch")
    f, g = torch.linalg.cholesky(a), torch.linalg.cholesky(b)
    u, s, vh = torch.linalg.svd(f.mT @ g)
    weight = s.rsqrt()[..., None, :]
    y, z = (g @ vh.mT) * weight, (f @ u) * weight
    eye = torch.eye(a.shape[-1], dtype=a.dtype)
    traces = torch.diagonal(a + b, dim1=-2, dim2=-1).sum(-1)
    return traces - 2 * s.sum(-1), eye - y @ y.mT, eye - z @ z.mT


# ------------------------------------------------------------------------------------------------------------- samples


def of_samples(x: Array, y: Array) -> Calls:
    """Moments, then the distance, as FID codes do."""
    torch = _module("torch")
    calls: Calls = {}
    if torch is not None and (fid := _module("torchmetrics.image.fid")) is not None:

        def torchmetrics() -> Any:
            moments = []
            for samples in (torch.from_numpy(x), torch.from_numpy(y)):
                # Its update adds up samples and their products, its compute makes moments of them.
                mean = samples.sum(0) / len(samples)
                covariance = (samples.mT @ samples - len(samples) * torch.outer(mean, mean)) / (len(samples) - 1)
                moments += [mean, covariance]
            return fid._compute_fid(*moments)

        calls["torchmetrics"] = torchmetrics
    for name, function in _from_moments().items():
        calls[name] = lambda function=function: function(
            x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)
        )
    return calls
