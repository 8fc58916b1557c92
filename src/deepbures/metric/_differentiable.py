"""What makes a function of a kernel."""

import dataclasses
import functools
from collections.abc import Callable

from array_api_compat import array_namespace

from deepbures._types import Array, ArrayLike, Float, Inexact, Shaped
from deepbures.metric._kernel import First, Kernel, Second
from deepbures.metric._rules import distance
from deepbures.metric._scaling import plain
from deepbures.metric._validation import align, check_finite, check_matrices, floating_arrays


@dataclasses.dataclass(frozen=True)
class _Checked(Kernel):
    """A kernel that is held to the shapes it should return: others would broadcast without a word.

    It may return what it was given.
    """

    inner: Kernel

    def decompose(self, x: First, y: Second) -> tuple[Array, ...]:
        return tuple(_another(piece) for piece in self.inner.decompose(x, y))

    def value(self, x: First, y: Second, pieces: tuple[Array, ...]) -> Float[Array, "..."]:
        return self._of_shape(x.shape[:-2], self.inner.value(x, y, pieces), "value")

    def value_alone(self, x: First, y: Second) -> Float[Array, "..."]:
        return self._of_shape(x.shape[:-2], self.inner.value_alone(x, y), "value_alone")

    def gradient(self, which: int, x: First, y: Second, pieces: tuple[Array, ...]) -> Inexact[Array, "... _ _"]:
        return self._of_shape((x, y)[which].shape, self.inner.gradient(which, x, y, pieces), f"gradient({which}, …)")

    def hessian_product(
        self, x: First, y: Second, pieces: tuple[Array, ...], dx: First, dy: Second
    ) -> tuple[First, Second]:
        return self._pair("hessian_product", x, y, self.inner.hessian_product(x, y, pieces, dx, dy))

    def adjoint_product(
        self, x: First, y: Second, pieces: tuple[Array, ...], px: First, py: Second
    ) -> tuple[First, Second]:
        return self._pair("adjoint_product", x, y, self.inner.adjoint_product(x, y, pieces, px, py))

    def _pair(self, method: str, x: First, y: Second, found: tuple[Array, Array]) -> tuple[First, Second]:
        first, second = found
        return self._of_shape(x.shape, first, f"{method}[0]"), self._of_shape(y.shape, second, f"{method}[1]")

    def _of_shape(self, shape: tuple[int, ...], found: Array, method: str) -> Array:
        given = getattr(found, "shape", None)
        if given is None or tuple(given) != tuple(shape):
            raise ValueError(
                f"{type(self.inner).__name__}.{method} must return an array of shape {tuple(shape)}, but returned "
                f"{type(found).__name__ if given is None else f'shape {tuple(given)}'}."
            )
        return _another(found)


def _another(array: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
    """The same entries as another object: PyTorch refuses rules that hand back their own arguments."""
    return array[...]


def differentiable(kernel: Kernel) -> Callable[[Array, Array], Array]:
    """The function D(x, y) of a kernel, for arrays of any library, with first and second derivatives.

    Parameters
    ----------
    kernel : Kernel
        The closed forms of D and of its derivatives.

    Returns
    -------
    callable
        Takes two arrays of shapes (..., m, n) and (..., p, q), of one library and dtype, whose leading axes broadcast,
        and returns an array of shape (...). Arrays of NumPy are computed as they are; in JAX and PyTorch the function
        has first and second derivatives, by the kernel's formulas, under `jax.jit`, `jax.vmap`, `torch.func` and
        `torch.compile` (there first ones) too. A third derivative is refused. It refuses what is no number or not
        finite, shapes that do not broadcast, and arrays of two libraries or dtypes; what else a kernel asks of its
        arguments is checked by its `decompose`.

    Raises
    ------
    TypeError
        If `kernel` is no Kernel.

    Examples
    --------
    The squared Euclidean distance of the logarithms of two positive numbers, as matrices of size 1:

    >>> import jax
    >>> import numpy as np
    >>> from array_api_compat import array_namespace
    >>> import deepbures as db
    >>> class Logarithmic(db.Kernel):
    ...     def decompose(self, x, y):
    ...         return (array_namespace(x, y).log(y / x),)
    ...
    ...     def value(self, x, y, pieces):
    ...         return pieces[0][..., 0, 0] ** 2
    ...
    ...     def gradient(self, which, x, y, pieces):
    ...         return 2 * pieces[0] / y if which else -2 * pieces[0] / x
    ...
    ...     def hessian_product(self, x, y, pieces, dx, dy):
    ...         moved = dy / y - dx / x
    ...         return 2 * (pieces[0] * dx / x - moved) / x, 2 * (moved - pieces[0] * dy / y) / y
    >>> distance = db.differentiable(Logarithmic())
    >>> one, e = np.ones((1, 1)), np.full((1, 1), np.e)
    >>> float(distance(one, e))
    1.0
    >>> jax.grad(distance)(jax.numpy.ones((1, 1)), jax.numpy.full((1, 1), np.e)).tolist()
    [[-2.0]]
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be an instance of a subclass of deepbures.Kernel, but {kernel!r} was given.")

    return functools.partial(_evaluate, _Checked(kernel))


def _evaluate(kernel: Kernel, x: ArrayLike, y: ArrayLike) -> Float[Array, "..."]:
    # Of a module, so that it can be pickled wherever its kernel can.
    x, y = floating_arrays(x=x, y=y)
    check_matrices("(..., m, n)", x=x, y=y)
    check_finite(x=x, y=y)
    x, y = align(x=x, y=y)
    xp = array_namespace(x, y)
    batch = tuple(max(sizes) if 0 not in sizes else 0 for sizes in zip(x.shape[:-2], y.shape[:-2], strict=True))
    x, y = (xp.broadcast_to(z, (*batch, *z.shape[-2:])) for z in (x, y))
    return plain(distance(kernel, x, y))
