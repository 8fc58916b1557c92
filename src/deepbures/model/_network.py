"""The deep linear network z ↦ W_N ⋯ W_1 z + mean."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from deepbures._checks import as_array, check_finite, check_integer, check_matrix, check_number
from deepbures._precision import any_traced, is_tracer, numpy_in_numpy_out
from deepbures._types import Array, ArrayLike, Float
from deepbures.linalg import namespace, transpose
from deepbures.model._random import as_key

_NOISE_STREAM = 0x6E6F6973
"""Folded into the key of a sample for its noise: draws of the latent variables are the same with and without."""


def multiply_layers(weights: Sequence[Float[Array, "... _ _"]]) -> Float[Array, "... n m"]:
    """The end-to-end matrix W_N ⋯ W_1, from the narrow (latent) side."""
    product = weights[0]
    for weight in weights[1:]:
        product = weight @ product
    return product


class DeepLinearNetwork(eqx.Module):
    """The generator z ~ N(0, I_m) ↦ x = W_N ⋯ W_1 z + mean, so that x ~ N(mean, W Wᵀ), W = W_N ⋯ W_1.

    An equinox module: a pytree whose leaves are its arrays. Weights with leading batch dimensions are a batch of
    networks.

    Parameters
    ----------
    weights : sequence of arrays
        W_1 first; W_l has shape (d_l, d_{l−1}), with d_0 = m the latent size and d_N = n the data size.
    mean : array (n,), optional
        Added to every output. None stands for zero.

    Raises
    ------
    ValueError
        If there is no layer, a layer is not a finite matrix, or neighboring shapes do not fit.
    TypeError
        If a layer is not an array of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> net = db.DeepLinearNetwork([np.ones((2, 3)), np.ones((4, 2))])
    >>> net.widths, net.depth, net.bottleneck, net.latent_dim, net.dim
    ((3, 2, 4), 2, 2, 3, 4)
    >>> net.end_to_end.shape
    (4, 3)
    """

    weights: tuple[Float[Array, "... _ _"], ...]
    mean: Float[Array, "... n"] | None = None

    def __init__(self, weights: Sequence[ArrayLike], mean: ArrayLike | None = None) -> None:
        if isinstance(weights, (str, bytes)) or not isinstance(weights, Sequence):
            raise TypeError(f"weights must be a list of matrices, W_1 first, but a {type(weights).__name__} was given.")
        if len(weights) == 0:
            raise ValueError("A network needs at least one layer (depth ≥ 1), but no weights were given.")
        layers = tuple(as_array(weight, f"weights[{i}]") for i, weight in enumerate(weights))
        for i, layer in enumerate(layers):
            check_matrix(layer, f"weights[{i}]")
            check_finite(layer, f"weights[{i}]")
        for i in range(1, len(layers)):
            below, above = layers[i - 1].shape, layers[i].shape
            if above[-1] != below[-2] or above[:-2] != below[:-2]:
                raise ValueError(
                    f"weights[{i}] has shape {above}, but must take the {below[-2]} outputs of weights[{i - 1}], of "
                    f"shape {below} (and have the same leading dimensions). The layer next to the latent space comes "
                    "first."
                )
        self.weights = layers
        if mean is None:
            self.mean = None
        else:
            location = as_array(mean, "mean")
            expected = (*layers[-1].shape[:-2], layers[-1].shape[-2])
            if location.shape != expected:
                raise ValueError(f"mean must have shape {expected}, but has shape {location.shape}.")
            check_finite(location, "mean")
            self.mean = location

    @property
    def widths(self) -> tuple[int, ...]:
        """(d_0, …, d_N): latent size, hidden widths, data size."""
        return (int(self.weights[0].shape[-1]), *(int(weight.shape[-2]) for weight in self.weights))

    @property
    def depth(self) -> int:
        """Number of layers N."""
        return len(self.weights)

    @property
    def latent_dim(self) -> int:
        """Latent size m = d_0."""
        return self.widths[0]

    @property
    def dim(self) -> int:
        """Data size n = d_N."""
        return self.widths[-1]

    @property
    def bottleneck(self) -> int:
        """min_l d_l: the largest rank that the end-to-end matrix can have."""
        return min(self.widths)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading dimensions of the weights: () for a single network."""
        return tuple(self.weights[0].shape[:-2])

    @property
    def end_to_end(self) -> Float[Array, "... n m"]:
        """The product W = W_N ⋯ W_1, of shape (n, m)."""
        return multiply_layers(self.weights)

    def conserved_quantities(self) -> tuple[Float[Array, "... _ _"], ...]:
        """W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ for l = 1..N−1: what gradient flow conserves (empty for depth 1)."""
        return tuple(
            transpose(above) @ above - below @ transpose(below)
            for below, above in zip(self.weights[:-1], self.weights[1:], strict=True)
        )

    def balancedness_gap(self) -> Float[Array, "..."]:
        """max_l ‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖ (Frobenius): zero iff the network is balanced, or has depth 1.

        Examples
        --------
        >>> import numpy as np
        >>> import deepbures as db
        >>> float(db.DeepLinearNetwork([np.eye(1), 2 * np.eye(1)]).balancedness_gap())     # 2² − 1²
        3.0
        """
        xp = namespace(*self.weights)
        gaps = [xp.sqrt((gap * gap).sum((-2, -1))) for gap in self.conserved_quantities()]
        if not gaps:
            return xp.zeros(self.batch_shape, self.weights[0].dtype)
        return xp.stack(gaps).max(0)

    def __call__(self, z: ArrayLike) -> Float[Array, "... {self.dim}"]:
        """Outputs x = W z + mean for latent vectors z in rows, (…, m) ↦ (…, n).

        A batch of networks takes z of shape (…, rows, m), whose leading dimensions broadcast against those of the
        weights, or (m,), one vector for all.

        Raises
        ------
        ValueError
            If z has another width than the latent size, or its leading dimensions do not fit.
        TypeError
            If z is not an array of real numbers.
        """
        x = as_array(z, "z")
        if x.ndim < 1 or x.shape[-1] != self.latent_dim:
            swapped = " Pass z.T: vectors are in rows." if x.ndim == 2 and x.shape[0] == self.latent_dim else ""
            raise ValueError(
                f"z must have shape (…, {self.latent_dim}), latent vectors in rows with the latent size of the network "
                f"(widths {self.widths}), but has shape {x.shape}.{swapped}"
            )
        if self.batch_shape and not _broadcast(x.shape[:-2], self.batch_shape):
            raise ValueError(
                f"z of shape {x.shape} does not fit a batch of networks of shape {self.batch_shape}: pass (…, rows, "
                f"{self.latent_dim}) with leading dimensions that broadcast against it."
            )
        are_rows = x.ndim > 1
        for weight in self.weights:
            x = x @ transpose(weight)
        if self.mean is None:
            return x
        # The means of a batch belong to its members, not to the rows of z.
        mean = self.mean[..., None, :] if self.batch_shape and are_rows else self.mean
        return x + mean.reshape((1,) * (x.ndim - mean.ndim) + mean.shape)

    @numpy_in_numpy_out
    def sample(self, key: Any, num: int, *, noise_variance: Any = 0.0) -> Float[Array, "{num} {self.dim}"]:
        """Draw `num` outputs, in rows: (num, n), from N(mean, W Wᵀ + noise_variance I).

        The Bures-Wasserstein loss smoothed by τ is that of N(mean, W Wᵀ + τ I): draws from what was fitted with
        smoothing have ``noise_variance=tau``.

        Parameters
        ----------
        key : jax.random key or int
            Seed; the same seed gives the same bits. The outputs W z + mean that the noise is added to do not depend on
            the noise.
        num : int
            Number of draws, at least 1.
        noise_variance : float
            Variance, in squared units of the data, of independent Gaussian noise added to each feature.

        Raises
        ------
        ValueError
            If `num` is below 1, `noise_variance` is negative or not finite, or the network is a batch.

        Examples
        --------
        >>> import numpy as np
        >>> import deepbures as db
        >>> net = db.DeepLinearNetwork([np.ones((2, 1))], mean=np.array([5.0, 5.0]))
        >>> x = net.sample(0, 3)
        >>> x.shape, bool(np.all(x[:, 0] == x[:, 1]))
        ((3, 2), True)
        >>> noise = net.sample(0, 10_000, noise_variance=0.25) - net.sample(0, 10_000)
        >>> bool(np.allclose(np.cov(noise.T), 0.25 * np.eye(2), atol=0.02))
        True
        """
        if self.batch_shape:
            raise ValueError(
                f"A batch of networks (batch shape {self.batch_shape}) cannot be sampled at once: use jax.vmap."
            )
        num = check_integer(num, "num", 1)
        if np.ndim(noise_variance):
            raise ValueError(f"noise_variance must be one number, but has shape {np.shape(noise_variance)}.")
        check_number(noise_variance, "noise_variance")
        key, dtype = as_key(key), self.weights[0].dtype
        z = jax.random.normal(key, (num, self.latent_dim), dtype)
        draws = z @ transpose(jnp.asarray(self.end_to_end))
        if is_tracer(noise_variance) or noise_variance > 0:
            noise = jax.random.normal(jax.random.fold_in(key, _NOISE_STREAM), (num, self.dim), dtype)
            draws = draws + jnp.sqrt(jnp.asarray(noise_variance, dtype)) * noise
        return draws if self.mean is None else draws + jnp.asarray(self.mean)[None, :]

    def save(self, path: str | Path, *, beside: Mapping[str, ArrayLike] | None = None) -> None:
        """Write the network to an .npz file (arrays ``weight_1`` … ``weight_N`` and ``mean``), without pickle.

        Parameters
        ----------
        path : str or path
            File to write.
        beside : mapping of str to array, optional
            Arrays to keep in the same file under names of their own (those of the features, say); `load` does not read
            them. ``noise_variance``, the τ that the network was fitted with, is what ``deepbures sample`` draws with.

        Raises
        ------
        ValueError
            If one of the further names is a name of the network's own arrays.
        TypeError
            If a further array holds Python objects.
        """
        arrays = {f"weight_{i}": np.asarray(weight) for i, weight in enumerate(self.weights, 1)}
        if self.mean is not None:
            arrays["mean"] = np.asarray(self.mean)
        further = {name: np.asarray(array) for name, array in (beside or {}).items()}
        taken = [name for name in further if name.startswith("weight_") or name in ("mean", "file")]
        if taken:
            raise ValueError(f"beside must have names of its own, but has {taken}, which are taken. Rename them.")
        objects = [name for name, array in further.items() if array.dtype.hasobject]
        if objects:
            raise TypeError(f"beside must hold numbers or text, but {objects} hold Python objects. Convert them.")
        with Path(path).open("wb") as file:
            # Not with allow_pickle=False: NumPy before 2.2 would take that for an array.
            np.savez(file, **arrays, **further)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> "DeepLinearNetwork":
        """Read a network written by `save`. Files that hold pickled objects are refused.

        Raises
        ------
        ValueError
            If the file cannot be read or holds no network.
        """
        try:
            # Opened here: given a path, np.load leaves the file open if it turns out to be damaged.
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, AttributeError, TypeError, KeyError, BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} cannot be read as a model (.npz written by save): {error}") from None
        depth = sum(name.startswith("weight_") for name in arrays)
        names = [f"weight_{i}" for i in range(1, depth + 1)]
        if depth == 0 or any(name not in arrays for name in names):
            raise ValueError(f"{path} holds no network: expected arrays weight_1, weight_2, …, found {sorted(arrays)}.")
        return cls([arrays[name] for name in names], mean=arrays.get("mean"))


def _broadcast(*shapes: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def check_network(net: Any, *, batches: bool = False) -> None:
    """Refuse what is no network, such as a bare matrix, and batches unless they are taken."""
    if not isinstance(net, DeepLinearNetwork):
        raise TypeError(
            f"net must be a DeepLinearNetwork, but a {type(net).__name__} was given. Build one with "
            "DeepLinearNetwork([W_1, …, W_N])."
        )
    if net.batch_shape and not batches:
        raise ValueError(f"One network is asked for, but a batch of shape {net.batch_shape} was given: use indexing.")


def stack_networks(networks: Sequence[DeepLinearNetwork]) -> DeepLinearNetwork:
    """A batch of networks of equal widths, stacked along a new leading dimension.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> nets = [db.DeepLinearNetwork([s * np.eye(2), np.ones((3, 2))]) for s in (1.0, 2.0)]
    >>> db.stack_networks(nets).batch_shape
    (2,)
    """
    if not networks or len({net.widths for net in networks}) != 1 or len({net.mean is None for net in networks}) != 1:
        raise ValueError(
            f"Networks to stack must be at least one, of equal widths, all with or all without a mean, but have widths "
            f"{[net.widths for net in networks]}."
        )
    xp = jnp if any_traced(networks) else namespace(*(net.weights[0] for net in networks))
    stacked: DeepLinearNetwork = jax.tree.map(lambda *leaves: xp.stack(leaves), *networks)
    return stacked
