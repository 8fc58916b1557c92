"""What a distance knows of itself: its value, its gradients and their derivatives, in closed form.

The derivative rules of JAX and PyTorch are written once, over this interface.
"""

from abc import ABC, abstractmethod

from deepbures._types import Array, Float, Inexact

First = Inexact[Array, "... m n"]
Second = Inexact[Array, "... p q"]
"""The two arguments of a distance, and what has their shapes: gradients and directions."""

THIRD_DERIVATIVE = (
    "Distances have first and second derivatives; a third one was asked for. Differentiate twice at most, or take "
    "differences of second derivatives."
)


class Kernel(ABC):
    """A function D(x, y) of two matrices in closed form: its value, its gradients and their derivatives.

    To add a distance, subclass it, write four methods in the array API standard, and let `differentiable` make a
    function of it, for arrays of NumPy, JAX and PyTorch, with first and second derivatives. None of the four is ever
    differentiated itself: each derivative is put together from the same `decompose`, whose vectors may turn by any
    angle where singular values meet.

    Gradients are for the inner product Re tr(Pᴴ Q): the differential of D is Re tr(∂D/∂xᴴ dx) + Re tr(∂D/∂yᴴ dy).

    Raises
    ------
    TypeError
        If the subclass lacks one of the four methods.

    Examples
    --------
    The squared Euclidean distance; `deepbures.differentiable` has one that decomposes:

    >>> import numpy as np
    >>> from array_api_compat import array_namespace
    >>> import deepbures as db
    >>> class Euclidean(db.Kernel):
    ...     def decompose(self, x, y):
    ...         return (x - y,)
    ...
    ...     def value(self, x, y, pieces):
    ...         return array_namespace(x, y).sum(pieces[0] ** 2, axis=(-2, -1))
    ...
    ...     def gradient(self, which, x, y, pieces):
    ...         return -2 * pieces[0] if which else 2 * pieces[0]
    ...
    ...     def hessian_product(self, x, y, pieces, dx, dy):
    ...         return 2 * (dx - dy), 2 * (dy - dx)
    >>> float(db.differentiable(Euclidean())(np.eye(2), np.zeros((2, 2))))
    2.0
    """

    @abstractmethod
    def decompose(self, x: First, y: Second) -> tuple[Array, ...]:
        """What value and derivatives are put together from.

        Parameters
        ----------
        x : array of shape (..., m, n)
            The first argument.
        y : array of shape (..., p, q)
            The second, with as many leading axes.

        Returns
        -------
        tuple of arrays
            The pieces, each with the leading axes of x and y.
        """

    @abstractmethod
    def value(self, x: First, y: Second, pieces: tuple[Array, ...]) -> Float[Array, "..."]:
        """D(x, y), of shape (...) and real."""

    @abstractmethod
    def gradient(self, which: int, x: First, y: Second, pieces: tuple[Array, ...]) -> Array:
        """∂D/∂x if `which` is 0, ∂D/∂y if it is 1."""

    @abstractmethod
    def hessian_product(
        self, x: First, y: Second, pieces: tuple[Array, ...], dx: First, dy: Second
    ) -> tuple[First, Second]:
        """The derivatives of ∂D/∂x and of ∂D/∂y in a direction (dx, dy), in which they are linear."""

    def value_alone(self, x: First, y: Second) -> Float[Array, "..."]:
        """D(x, y) where no derivative is asked for: the cheapest way that is accurate, if there is a cheaper one."""
        return self.value(x, y, self.decompose(x, y))

    def adjoint_product(
        self, x: First, y: Second, pieces: tuple[Array, ...], px: First, py: Second
    ) -> tuple[First, Second]:
        """The adjoint of `hessian_product`: the same, as the Hessian is symmetric."""
        return self.hessian_product(x, y, pieces, px, py)
