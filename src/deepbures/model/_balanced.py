"""The balanced factorization of a matrix into layers."""

from collections.abc import Sequence

import numpy as np

from deepbures._checks import as_array, check_finite, check_matrix, check_widths
from deepbures._precision import is_tracer
from deepbures._types import Array, ArrayLike, Float
from deepbures.linalg import namespace
from deepbures.model._network import DeepLinearNetwork


def balanced_network(
    end_to_end: ArrayLike, widths: Sequence[int], *, mean: ArrayLike | None = None
) -> DeepLinearNetwork:
    """The balanced network of given widths whose end-to-end matrix is the given one.

    With W = U S Vᵀ: W_1 = S^{1/N} Vᵀ, W_l = S^{1/N}, W_N = U S^{1/N}, padded with zeros to the widths. Then
    W_{l+1}ᵀ W_{l+1} = W_l W_lᵀ for every l, and no factorization of W has a smaller sum of squares of all layers.

    Parameters
    ----------
    end_to_end : array (..., n, m)
        W.
    widths : sequence of int
        (d_0, …, d_N) with d_0 = m, d_N = n; every width at least the rank of W.
    mean : array (n,), optional
        Mean of the network's output.

    Raises
    ------
    ValueError
        If the outer widths are not the shape of W, or a hidden width is smaller than its rank (more than the
        rounding error of the singular values would be lost).

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> net = db.balanced_network(np.diag([8.0, 1.0, 0.0]), widths=(3, 2, 5, 3))
    >>> bool(np.allclose(net.end_to_end, np.diag([8.0, 1.0, 0.0])))
    True
    >>> bool(net.balancedness_gap() < 1e-12)
    True
    """
    w = as_array(end_to_end, "end_to_end")
    check_matrix(w, "end_to_end")
    check_finite(w, "end_to_end")
    sizes = check_widths(widths)
    if (sizes[0], sizes[-1]) != (w.shape[-1], w.shape[-2]):
        raise ValueError(
            f"widths must begin with {w.shape[-1]} and end with {w.shape[-2]}, the shape of end_to_end (dim, "
            f"latent_dim) read from the latent side, but {sizes} was given."
        )
    depth, bottleneck = len(sizes) - 1, min(sizes)
    if depth == 1:
        return DeepLinearNetwork([w], mean)
    xp = namespace(w)
    u, s, vh = xp.linalg.svd(w, full_matrices=False)
    if not is_tracer(s) and bottleneck < s.shape[-1]:
        s_host = np.asarray(s)
        lost = s_host[..., bottleneck]
        if np.any(lost > max(w.shape[-2:]) * np.finfo(s_host.dtype).eps * s_host[..., 0]):
            raise ValueError(
                f"end_to_end has rank above {bottleneck}, the smallest of the widths {sizes} (singular value "
                f"{bottleneck + 1} is {float(np.max(lost)):.3g}): widen the hidden layers or lower the rank first."
            )
    return DeepLinearNetwork(balanced_layers(u, s, vh, sizes), mean)


def balanced_layers(
    u: Float[Array, "... n r"], s: Float[Array, "... r"], vh: Float[Array, "... r m"], sizes: Sequence[int]
) -> list[Float[Array, "... _ _"]]:
    """The layers of the balanced lift of U diag(s) Vᵀ to at least two layers, without what the widths cannot carry."""
    xp = namespace(s)
    k = min(*sizes, s.shape[-1])
    root = s[..., :k] ** (1 / (len(sizes) - 1))
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    first = _pad(root[..., :, None] * vh[..., :k, :], shapes[0])
    last = _pad(u[..., :, :k] * root[..., None, :], shapes[-1])
    diagonal = root[..., :, None] * xp.eye(k, dtype=s.dtype)
    return [first, *(_pad(diagonal, shape) for shape in shapes[1:-1]), last]


def _pad(block: Float[Array, "... _ _"], shape: tuple[int, int]) -> Float[Array, "... {shape[0]} {shape[1]}"]:
    missing = [(0, 0)] * (block.ndim - 2) + [
        (0, size - have) for size, have in zip(shape, block.shape[-2:], strict=True)
    ]
    return namespace(block).pad(block, missing)
