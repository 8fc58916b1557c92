"""The interface of the losses, and how JAX differentiates them."""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from deepbures._checks import as_array
from deepbures._precision import numpy_in_numpy_out
from deepbures.model._inputs import check_target
from deepbures.model._target import Target

Array = Any


def inner_product(a: Array, b: Array) -> Array:
    """⟨A, B⟩ = tr(AᵀB)."""
    return (a * b).sum((-2, -1))


def _check_shape(w: Array, target: Target, name: str = "w") -> Array:
    check_target(target)
    array = as_array(w, name)
    if array.ndim < 2 or array.shape[-2] != target.dim:
        raise ValueError(
            f"{name} must be an end-to-end matrix of shape (n, m) with n = {target.dim}, the dimension of the target, "
            f"but has shape {array.shape}. (For a network pass net.end_to_end.)"
        )
    return jnp.asarray(array)


# JAX's own chain rule ties the functions below together: differentiating the value calls the gradient, differentiating
# the gradient calls the Hessian-vector product. No eigenvector is differentiated.
@eqx.filter_custom_jvp
def _value(w: Array, *, target: Target, loss: "AbstractLoss") -> Array:
    return loss._value(w, target)


@_value.def_jvp
def _value_jvp(primals: Any, tangents: Any, *, target: Target, loss: "AbstractLoss") -> Any:
    (w,), (direction,) = primals, tangents
    value = _value(w, target=target, loss=loss)
    if direction is None:
        return value, jnp.zeros_like(value)
    return value, inner_product(_gradient(w, target=target, loss=loss), direction)


@eqx.filter_custom_jvp
def _gradient(w: Array, *, target: Target, loss: "AbstractLoss") -> Array:
    return loss._gradient(w, target)


@_gradient.def_jvp
def _gradient_jvp(primals: Any, tangents: Any, *, target: Target, loss: "AbstractLoss") -> Any:
    (w,), (direction,) = primals, tangents
    gradient = _gradient(w, target=target, loss=loss)
    if direction is None:
        return gradient, jnp.zeros_like(gradient)
    return gradient, loss._hvp(w, target, direction)


class AbstractLoss(eqx.Module):
    """A loss L(W) between W Wᵀ and a target: its value and exact first and second derivatives.

    With data in other units, W and the factors of Σ0 divided by c, a loss is divided by c^{2 · degree}, its parameters
    being converted by `in_units`.
    """

    degree: ClassVar[int]

    @numpy_in_numpy_out
    def value(self, w: Array, target: Target) -> Array:
        """L(W), for W of shape (n, m); differentiable once and twice by JAX in W."""
        return _value(_check_shape(w, target), target=target, loss=self)

    @numpy_in_numpy_out
    def grad(self, w: Array, target: Target) -> Array:
        """∇L(W), of shape (n, m); the choice of least norm where the loss has a kink."""
        return _gradient(_check_shape(w, target), target=target, loss=self)

    @numpy_in_numpy_out
    def hvp(self, w: Array, target: Target, direction: Array) -> Array:
        """∇²L(W)[A], of shape (n, m), for a direction A of the shape of W."""
        w, direction = _check_shape(w, target), _check_shape(direction, target, "direction")
        if w.shape != direction.shape:
            raise ValueError(f"direction must have the shape of w, {w.shape}, but has shape {direction.shape}.")
        return self._hvp(w, target, direction)

    @abstractmethod
    def in_units(self, exponent: int) -> "AbstractLoss":
        """The loss of data in units of 2^exponent."""

    @abstractmethod
    def _value(self, w: Array, target: Target) -> Array:
        """See the public method."""

    @abstractmethod
    def _gradient(self, w: Array, target: Target) -> Array:
        """See the public method."""

    @abstractmethod
    def _hvp(self, w: Array, target: Target, direction: Array) -> Array:
        """See the public method."""


def check_loss(loss: Any) -> None:
    """Refuse what is no loss, such as its name or its class."""
    if not isinstance(loss, AbstractLoss):
        raise TypeError(f"loss must be a loss such as BuresWasserstein(), but {loss!r} was given.")
