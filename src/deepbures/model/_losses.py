"""The interface of the losses, and how JAX differentiates them."""

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from deepbures._checks import as_array, check_number
from deepbures._precision import any_traced, is_tracer, numpy_in_numpy_out
from deepbures._types import Array, ArrayLike, Float
from deepbures.model._compiled import call_compiled
from deepbures.model._inputs import check_target
from deepbures.model._modes import AbstractModes
from deepbures.model._target import Target


def inner_product(a: Float[Array, "... n m"], b: Float[Array, "... n m"]) -> Float[Array, "..."]:
    """⟨A, B⟩ = tr(AᵀB)."""
    return (a * b).sum((-2, -1))


def _check_shape(w: ArrayLike, target: Target, name: str = "w") -> Float[Array, "... n m"]:
    check_target(target)
    array = as_array(w, name)
    if array.ndim < 2 or array.shape[-2] != target.dim:
        raise ValueError(
            f"{name} must be an end-to-end matrix of shape (n, m) with n = {target.dim}, the dimension of the target, "
            f"but has shape {array.shape}. (For a network pass net.end_to_end.)"
        )
    return array


def _is_compiled(known: Any, target: Target) -> bool:
    """Whether to compute at once, by a compiled program: not within a JAX transformation, which compiles by itself."""
    return not (target.covariance.calls_host or any_traced((known, target)))


# JAX's own chain rule ties the functions below together: differentiating the value calls the gradient, differentiating
# the gradient calls the Hessian-vector product. No eigenvector is differentiated.
@eqx.filter_custom_jvp
def _value(w: Float[Array, "... n m"], target: Target, loss: "AbstractLoss") -> Float[Array, "..."]:
    return loss._value(w, target)


@_value.def_jvp
def _value_jvp(primals: Any, tangents: Any) -> Any:
    (w, target, loss), direction = primals, _only_in_w(tangents)
    value = _value(w, target, loss)
    if direction is None:
        return value, jnp.zeros_like(value)
    return value, inner_product(_gradient(w, target, loss), direction)


@eqx.filter_custom_jvp
def _gradient(w: Float[Array, "... n m"], target: Target, loss: "AbstractLoss") -> Float[Array, "... n m"]:
    return loss._gradient(w, target)


@_gradient.def_jvp
def _gradient_jvp(primals: Any, tangents: Any) -> Any:
    (w, target, loss), direction = primals, _only_in_w(tangents)
    gradient = _gradient(w, target, loss)
    if direction is None:
        return gradient, jnp.zeros_like(gradient)
    return gradient, loss._hvp(w, target, direction)


def _only_in_w(tangents: Any) -> Any:
    """The direction of w; refuses to differentiate in what the losses have no closed forms for."""
    direction, of_target, of_loss = tangents
    for what, moved in (("its parameters", of_loss), ("the target", of_target)):
        if jax.tree.leaves(moved):
            raise TypeError(
                f"A loss is differentiable by JAX in w alone, but a derivative in {what} was asked for. Take "
                "differences of values for that; of both covariances, squared_bures_wasserstein is differentiable."
            )
    return direction


class AbstractLoss(eqx.Module):
    """A loss L(W) between W Wᵀ and a target: its value and exact first and second derivatives.

    With data in other units, W and the factors of Σ0 divided by c, a loss is divided by c^{2 · degree}, its parameters
    being converted by `in_units`; a degree of None says that this is not known.

    A loss of your own is a subclass with `_value`, and with `_gradient` and `_hvp` where automatic differentiation is
    not the best way. It is trained and classified like the others, and its Hessian is known to Lanczos iteration.
    What takes closed forms (minimum, critical points, spectra, rates) is known of an `AbstractSpectralLoss`, which
    gives its `modes`. Leaves of this package are not base classes: hold one as a field instead.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import deepbures as db
    >>> class Largest(db.AbstractLoss):                        # of the entries of W Wᵀ − Σ0, a smooth maximum
    ...     def _value(self, w, target):
    ...         gap = w @ w.T - target.matmul(jnp.eye(target.dim))
    ...         return jnp.log(jnp.cosh(gap)).sum()
    >>> target, w = db.Target.from_spectrum([2.0, 1.0]), np.eye(2)
    >>> float(Largest().value(w, target).round(6)), Largest().grad(w, target).round(4).tolist()
    (0.433781, [[-1.5232, 0.0], [0.0, 0.0]])
    """

    degree: ClassVar[int | None] = None
    name: ClassVar[str | None] = None
    """What `loss_named` calls it; None for a loss of your own."""
    upper_curvature: ClassVar[float | None] = None
    """κ such that L(W) − ½ κ ‖W‖² is concave; None where none is known."""
    parameters_are_arguments: ClassVar[bool] = False
    """Whether positive parameters may be traced. If so, a new value of one compiles nothing anew."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in cls.__mro__[1:]:
            is_leaf = issubclass(base, AbstractLoss) and not base.__name__.startswith("Abstract")
            if is_leaf and base.__module__.startswith("deepbures."):
                raise TypeError(
                    f"{base.__name__} is not a base class: {cls.__name__} would inherit closed forms that are not its "
                    f"own. Derive from AbstractLoss or AbstractSpectralLoss, and hold a {base.__name__} as a field."
                )

    @numpy_in_numpy_out
    def value(self, w: ArrayLike, target: Target) -> Float[Array, "..."]:
        """L(W), for W of shape (n, m); differentiable once and twice by JAX in W."""
        w = self._checked(w, target)
        if _is_compiled((self, w), target):
            return call_compiled("_value", self, target, (w,))
        return _value(jnp.asarray(w), target, self)

    @numpy_in_numpy_out
    def grad(self, w: ArrayLike, target: Target) -> Float[Array, "... n m"]:
        """∇L(W), of shape (n, m); the choice of least norm where the loss has a kink."""
        w = self._checked(w, target)
        if _is_compiled((self, w), target):
            return call_compiled("_gradient", self, target, (w,))
        return _gradient(jnp.asarray(w), target, self)

    @numpy_in_numpy_out
    def hvp(self, w: ArrayLike, target: Target, direction: ArrayLike) -> Float[Array, "... n m"]:
        """∇²L(W)[A], of shape (n, m), for a direction A of the shape of W."""
        w, direction = self._checked(w, target), _check_shape(direction, target, "direction")
        if w.shape != direction.shape:
            raise ValueError(f"direction must have the shape of w, {w.shape}, but has shape {direction.shape}.")
        if _is_compiled((self, w, direction), target):
            return call_compiled("_hvp", self, target, (w, direction))
        return self._hvp(jnp.asarray(w), target, jnp.asarray(direction))

    def _checked(self, w: ArrayLike, target: Target) -> Float[Array, "... n m"]:
        w = _check_shape(w, target)
        self._check_parameters(w.dtype)
        self._check_is_one()
        self._check_target(target)
        return w

    def check_pairing(self, target: Target) -> None:
        """Refuse a target, or a precision of it, that the loss cannot be computed for."""
        self._check_parameters(target.dtype)
        self._check_target(target)

    def _check_is_one(self) -> None:
        """Refuse a batch of losses that is not mapped over."""
        for name, value in vars(self).items():
            if self.parameters_are_arguments and isinstance(value, jax.Array) and value.ndim > 0:
                raise ValueError(
                    f"{name} has shape {value.shape}, a batch of losses: map over it with jax.vmap, as in "
                    f"jax.vmap(lambda {name}: {type(self).__name__}({name}).value(w, target))({name})."
                )

    def _check_parameters(self, dtype: Any) -> None:
        """Refuse parameters that this precision does not hold."""
        smallest, largest = float(np.finfo(dtype).tiny), float(np.finfo(dtype).max)
        for field in dataclasses.fields(self):
            value: Any = getattr(self, field.name)
            if isinstance(value, float) and value and not smallest <= abs(value) <= largest:
                raise ValueError(
                    f"{field.name} = {float(value):g} is out of the range of {np.dtype(dtype)}, the precision of w and "
                    f"target: pass one of a size between {smallest:.2g} and {largest:.2g}, or data in higher precision."
                )

    def _check_target(self, target: Target) -> None:
        """Refuse a target that the loss cannot be computed for."""

    @property
    def words(self) -> str:
        """What it is called in a sentence, before "loss"."""
        return type(self).__name__

    @property
    def parameters(self) -> dict[str, float]:
        """Its parameters that are numbers, by name."""
        fields = {field.name: as_number(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return {name: float(value) for name, value in fields.items() if _is_number(value)}

    def to_dict(self) -> dict[str, Any]:
        """What files say of it: its name, the same in words, its parameters, and the units of its values."""
        name = type(self).__name__ if self.name is None else self.name
        return {"name": name, "words": self.words, "parameters": self.parameters, "units": self.units}

    @property
    def units(self) -> str:
        """The units of its values, in words."""
        of_degree = {0: "nats", 1: "squared data units", 2: "data units to the 4th"}
        return "units of the loss" if self.degree is None else of_degree[self.degree]

    @property
    def noise_variance(self) -> float:
        """The variance of isotropic noise that the loss counts in as part of the model."""
        return 0.0

    @property
    def modes(self) -> AbstractModes | None:
        """The scalar functions of a landscape that is known in closed form; None where it is not."""
        return None

    def _excess(
        self, w: Float[Array, "n m"], target: Target, rank: int, minimal_value: Float[Array, ""] | float
    ) -> Float[Array, ""] | float:
        """L(W) − L* for W of rank at most `rank`, L* the least loss of that rank; see `Problem.excess`."""
        return self._value(w, target) - minimal_value

    def _resolution(self, target: Target, value: Float[Array, ""] | float) -> tuple[Float[Array, ""] | float, int]:
        """A size S and a power p: with operands right to a relative r, an excess of S r^p may be rounding."""
        return target.trace + value, 1

    def _largest_decomposition(self, target: Target, latent_dim: int) -> int:
        """Size of the largest matrix that is decomposed for a gradient."""
        return latent_dim

    def in_units(self, exponent: int) -> "AbstractLoss":
        """The loss of data in units of 2^exponent, for a loss with a degree and without parameters."""
        return self

    @abstractmethod
    def _value(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "..."]:
        """L(W), in operations of JAX; all that a new loss must say."""

    def _gradient(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "... n m"]:
        """∇L(W); by automatic differentiation of the value, unless a loss knows better."""
        return jax.grad(lambda x: self._value(x, target))(w)

    def _hvp(
        self, w: Float[Array, "... n m"], target: Target, direction: Float[Array, "... n m"]
    ) -> Float[Array, "... n m"]:
        """∇²L(W)[A]; the derivative of the gradient along A, unless a loss knows better."""
        product: Array = jax.jvp(lambda x: self._gradient(x, target), (w,), (direction,))[1]
        return product


class AbstractSpectralLoss(AbstractLoss):
    """A loss that is invariant under common rotations of W Wᵀ and the target: its landscape is known in closed form.

    Minimum, critical points, Hessian spectra, sharpness and rates are made of the scalar functions in `modes`.

    Examples
    --------
    >>> import deepbures as db
    >>> isinstance(db.SinkhornDivergence(0.5), db.AbstractSpectralLoss)
    True
    >>> target = db.Target.from_spectrum([4.0, 1.0])
    >>> [round(float(db.sharpness(target, 1, loss)), 6) for loss in (db.BuresWasserstein(), db.SinkhornDivergence(0.5))]
    [2.0, 1.999024]
    """

    @property
    @abstractmethod
    def modes(self) -> AbstractModes:
        """The scalar functions that its minimum, critical points, Hessian spectra and rates are made of."""


def as_number(value: Any) -> Any:
    """NumPy's numbers as Python's: under `eqx.filter_jit` they would be traced, and a traced τ counts as positive."""
    return value.item() if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0 else value


def check_parameter(value: Any, name: str, *, positive: bool = False) -> None:
    """Refuse what is no number ≥ 0, or > 0. A JAX array may hold one for each loss of a batch, mapped by `jax.vmap`."""
    check_number(value, name, positive=positive)
    if np.ndim(value) > 0 and not isinstance(value, jax.Array):
        raise ValueError(
            f"{name} must be one number, but has shape {np.shape(value)}. For several losses at once map over {name} "
            "with jax.vmap, or loop."
        )


def _is_number(value: Any) -> bool:
    """Whether it is one real number that is known."""
    if isinstance(value, jax.Array) and not is_tracer(value):
        return value.ndim == 0 and bool(jnp.issubdtype(value.dtype, jnp.floating))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_loss(loss: Any) -> None:
    """Refuse what is no loss, such as its name or its class."""
    if not isinstance(loss, AbstractLoss):
        raise TypeError(f"loss must be a loss such as BuresWasserstein(), but {loss!r} was given.")
