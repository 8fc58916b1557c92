"""Runge-Kutta-Chebyshev: an explicit method for gradient flows whose time scales lie far apart."""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from deepbures._types import Array, Float, Int

Tree = Any

_DAMPING = 2 / 13
_SAFETY = 1.2
_MAX_STAGES = 1000
_FIRST_ITERATIONS = 12


class ChebyshevState(eqx.Module):
    """The vector field at the current point, and the eigenvector estimate of the power method."""

    slope: Tree
    direction: Tree
    radius: Array


class RungeKuttaChebyshev(diffrax.AbstractAdaptiveSolver[ChebyshevState]):
    """Second-order Runge-Kutta-Chebyshev method with as many stages as stability asks for.

    A step of size h from y_0, with F_j = f(Y_j), has the stages

        Y_1 = y_0 + μ̃_1 h F_0,
        Y_j = (1 − μ_j − ν_j) y_0 + μ_j Y_{j−1} + ν_j Y_{j−2} + μ̃_j h F_{j−1} + γ̃_j h F_0,   j = 2 … s,   y_1 = Y_s,

    with T_j the Chebyshev polynomials, w_0 = 1 + ε/s², ε = 2/13, w_1 = T_s'(w_0)/T_s''(w_0),
    b_j = T_j''(w_0)/T_j'(w_0)² (but b_0 = b_2 and b_1 = 1/w_0), a_j = 1 − b_j T_j(w_0) and

        μ̃_1 = b_1 w_1,   μ_j = 2 b_j w_0/b_{j−1},   ν_j = −b_j/b_{j−2},   μ̃_j = 2 b_j w_1/b_{j−1},   γ̃_j = −a_{j−1} μ̃_j,

    and the estimate of its error 0.8 (y_0 − y_1) + 0.4 h (f(y_0) + f(y_1)). On y' = λy the stages are
    Y_j = (a_j + b_j T_j(w_0 + w_1 hλ)) y_0, which is stable for negative real λ down to −0.65 s²/h: the cost of
    crossing a time span T at spectral radius ρ grows like √(ρT) instead of ρT. The number of stages is
    s = 1 + ⌈√(1 + 1.54 h · 1.2 ρ)⌉.

    The linearization of a gradient flow is minus a Hessian: its eigenvalues are real, which is what the method is for.
    ρ is followed by one iteration of the nonlinear power method a step, d ← (f(y + δ d) − f(y))/δ with
    δ = √eps ‖y‖/‖d‖, and ρ ≈ ‖d‖ after over ‖d‖ before: differences of the vector field, which may not be
    differentiable (it may go through singular vectors). For autonomous fields, as gradient flows are: every stage is
    taken at the time of the step's beginning.

    References
    ----------
    Sommeijer, Shampine, Verwer (1998), "RKC: an explicit solver for parabolic PDEs", Journal of Computational and
    Applied Mathematics 88, 315-326.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def order(self, terms: Any) -> int:
        """Order of convergence."""
        return 2

    def error_order(self, terms: Any) -> float:
        """Order of the error estimate: it scales like h³."""
        return 3

    def init(self, terms: Any, t0: Array, t1: Array, y0: Tree, args: Any) -> ChebyshevState:
        """Evaluate the vector field, and run the power method from a fixed direction."""
        slope = terms.vf(t0, y0, args)
        leaves, structure = jax.tree.flatten(y0)
        draws = [jax.random.normal(jax.random.key(i), leaf.shape, leaf.dtype) for i, leaf in enumerate(leaves)]
        direction = jax.tree.unflatten(structure, draws)
        state = ChebyshevState(slope, direction, jnp.zeros((), leaves[0].dtype))
        iterate = lambda _, s: self._follow_radius(terms, t0, y0, args, s)  # noqa: E731
        result: ChebyshevState = jax.lax.fori_loop(0, _FIRST_ITERATIONS, iterate, state)
        return result

    def func(self, terms: Any, t0: Array, y0: Tree, args: Any) -> Tree:
        """The vector field."""
        return terms.vf(t0, y0, args)

    def _follow_radius(self, terms: Any, t: Array, y: Tree, args: Any, state: ChebyshevState) -> ChebyshevState:
        before, size = _norm(state.direction), _norm(y)
        small = (
            float(jnp.finfo(size.dtype).eps) ** 0.5 * jnp.where(size > 0, size, 1) / jnp.where(before > 0, before, 1)
        )
        moved = terms.vf(t, jax.tree.map(lambda a, d: a + small * d, y, state.direction), args)
        image = jax.tree.map(lambda a, b: (a - b) / small, moved, state.slope)
        after = _norm(image)
        ok = jnp.isfinite(after) & (after > 0)
        # Rescaled to unit length, so that the next iteration neither over- nor underflows.
        scale = jnp.where(ok, 1 / jnp.where(ok, after, 1), 0)
        direction = jax.tree.map(lambda old, new: jnp.where(ok, new * scale, old), state.direction, image)
        return ChebyshevState(state.slope, direction, jnp.where(ok, after / before, state.radius))

    def step(
        self, terms: Any, t0: Array, t1: Array, y0: Tree, args: Any, solver_state: ChebyshevState, made_jump: Any
    ) -> tuple[Tree, Tree, dict[str, Tree], ChebyshevState, Any]:
        """One step from t0 to t1, with the error estimate."""
        del made_jump
        h = t1 - t0
        state = self._follow_radius(terms, t0, y0, args, solver_state)
        f0 = state.slope
        stages = jnp.ceil(jnp.sqrt(1 + 1.54 * h * _SAFETY * state.radius)).astype(int) + 1
        too_many = stages > _MAX_STAGES
        stages = jnp.clip(stages, 2, _MAX_STAGES)
        y1 = _chebyshev_stages(lambda y: terms.vf(t0, y, args), y0, f0, h, stages)
        f1 = terms.vf(t1, y1, args)
        error = jax.tree.map(lambda a, b, fa, fb: 0.8 * (a - b) + 0.4 * h * (fa + fb), y0, y1, f0, f1)
        # A step that would need more stages than are numerically stable is refused: the controller halves it.
        error = jax.tree.map(lambda e: jnp.where(too_many, jnp.inf, e), error)
        dense = {"y0": y0, "y1": y1}
        return y1, error, dense, ChebyshevState(f1, state.direction, state.radius), diffrax.RESULTS.successful


def _norm(tree: Tree) -> Float[Array, ""]:
    return jnp.sqrt(sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(tree)))


def _chebyshev_stages(field: Any, y0: Tree, f0: Tree, h: Float[Array, ""], stages: Int[Array, ""]) -> Tree:
    """The s stages, from the three-term recurrences of the Chebyshev polynomials and their derivatives at w0 > 1."""
    dtype = h.dtype
    w0 = 1 + _DAMPING / stages.astype(dtype) ** 2

    def advance(polynomials: tuple[Array, ...]) -> tuple[Array, ...]:
        t1, t0, d1, d0, c1, c0 = polynomials
        return 2 * w0 * t1 - t0, t1, 2 * t1 + 2 * w0 * d1 - d0, d1, 4 * d1 + 2 * w0 * c1 - c0, c1

    one, zero = jnp.ones((), dtype), jnp.zeros((), dtype)
    first = (w0, one, one, zero, zero, zero)
    last = jax.lax.fori_loop(1, stages, lambda _, p: advance(p), first)
    w1 = last[2] / last[4]
    second = advance(first)
    b2 = second[4] / second[2] ** 2
    b1 = 1 / w0

    y1 = jax.tree.map(lambda y, f: y + b1 * w1 * h * f, y0, f0)

    def body(_: Array, carry: Any) -> Any:
        polynomials, y_now, y_before, b_now, b_before, a_now = carry
        polynomials = advance(polynomials)
        b = polynomials[4] / polynomials[2] ** 2
        mu, nu, mu_t = 2 * b * w0 / b_now, -b / b_before, 2 * b * w1 / b_now
        slope = field(y_now)
        y_next = jax.tree.map(
            lambda y, yn, yb, f, fs: (1 - mu - nu) * y + mu * yn + nu * yb + mu_t * h * (f - a_now * fs),
            y0,
            y_now,
            y_before,
            slope,
            f0,
        )
        return polynomials, y_next, y_now, b, b_now, 1 - b * polynomials[0]

    carry = (first, y1, y0, b1, b2, 1 - b1 * w0)
    return jax.lax.fori_loop(2, stages + 1, body, carry)[1]
