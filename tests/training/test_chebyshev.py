"""The Runge-Kutta-Chebyshev solver by itself, on equations whose solutions are known."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepbures.training._chebyshev import RungeKuttaChebyshev

SOLVER = RungeKuttaChebyshev()

RATES = np.array([0.3, 1.0, 4.0])
START = np.array([1.0, -2.0, 0.5])


def linear(t, y, args):
    return -RATES * y


def cubic(t, y, args):
    """y' = −y³ (so y = y0 / √(1 + 2 y0² t)), in coordinates that mix the components."""
    return -(y**3)


def solve(field, start, horizon, num_steps):
    """Constant steps; the solver keeps its state from step to step, as in a run."""
    term = diffrax.ODETerm(field)
    h = jnp.asarray(horizon / num_steps)

    @jax.jit
    def all_steps(y):
        state = SOLVER.init(term, jnp.zeros(()), h, y, None)

        def one(carry, i):
            y, state = carry
            y, error, _, state, _ = SOLVER.step(term, i * h, (i + 1) * h, y, None, state, False)
            return (y, state), error

        (y, _), errors = jax.lax.scan(one, (y, state), jnp.arange(num_steps, dtype=float))
        return y, errors

    return all_steps(jnp.asarray(start))


EXACT = {
    "linear": (linear, lambda t: START * np.exp(-RATES * t)),
    "cubic": (cubic, lambda t: START / np.sqrt(1 + 2 * START**2 * t)),
}


@pytest.mark.parametrize("name", EXACT)
def test_halving_the_step_quarters_the_error(name):
    field, exact = EXACT[name]
    errors = [np.abs(np.asarray(solve(field, START, 2.0, n)[0]) - exact(2.0)).max() for n in (100, 200, 400)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.15)


@pytest.mark.parametrize("name", EXACT)
def test_the_error_estimate_is_of_third_order_and_of_the_size_of_the_error(name):
    field, exact = EXACT[name]
    steps = np.array([0.04, 0.02, 0.01])
    taken = [solve(field, START, h, 1) for h in steps]
    estimates = np.array([np.abs(np.asarray(errors)).max() for _, errors in taken])
    truths = np.array([np.abs(np.asarray(y) - exact(h)).max() for (y, _), h in zip(taken, steps, strict=True)])
    np.testing.assert_allclose(np.log2(estimates[:-1] / estimates[1:]), SOLVER.error_order(None), atol=0.25)
    # The true error of a step lies within a small factor of the estimate: the controller can rely on it.
    assert np.all(truths < 2 * estimates)
    assert np.all(estimates < 20 * truths)


@pytest.mark.parametrize("largest", [1e3, 1e6])
def test_stable_where_the_step_is_many_times_the_fastest_scale(largest):
    rates = np.geomspace(1.0, largest, 7)
    y, _ = solve(lambda t, y, args: -rates * y, np.ones(7), 1.0, 20)
    y = np.asarray(y)
    # Slow modes are resolved (λh = 0.05: order 2), stiff ones are damped, by a factor of 0.95 a step at least; 20
    # steps of a method that is unstable there, such as explicit Euler, would reach 1e33 and 1e93.
    np.testing.assert_allclose(y[0], np.exp(-1.0), rtol=1e-3)
    assert np.abs(y[rates > 20]).max() < 0.95**20


def test_stages_grow_like_the_square_root_of_the_stiffness():
    """Counted in evaluations of the vector field: 4 times the rate at the same step, twice the stages."""

    def evaluations(rate):
        count = 0

        def field(t, y, args):
            def look(y):
                nonlocal count
                count += 1
                return y

            return -rate * jax.pure_callback(look, jax.ShapeDtypeStruct(y.shape, y.dtype), y)

        # Jacobian-vector products cannot pass through a callback: give the solver a radius it need not look for.
        term = diffrax.ODETerm(jax.custom_jvp(field, nondiff_argnums=(0, 2)))
        term.vector_field.defjvp(lambda t, args, primals, tangents: (-rate * primals[0], -rate * tangents[0]))
        y = jnp.ones(2)
        state = SOLVER.init(term, jnp.zeros(()), jnp.ones(()), y, None)
        count = 0
        jax.block_until_ready(SOLVER.step(term, jnp.zeros(()), jnp.ones(()), y, None, state, False)[0])
        return count

    few, many = evaluations(1e3), evaluations(1.6e4)
    assert 30 < few < 60
    assert 3.6 < many / few < 4.4


def test_a_step_that_would_need_too_many_stages_is_refused():
    """1000 stages are stable to λh of about 5e5; at 1e8 the error is infinite: the controller shortens the step."""
    term = diffrax.ODETerm(lambda t, y, args: -1e8 * y)
    y, zero, one = jnp.ones(2), jnp.zeros(()), jnp.ones(())
    state = SOLVER.init(term, zero, one, y, None)
    assert np.all(np.isinf(SOLVER.step(term, zero, one, y, None, state, False)[1]))
    assert np.all(np.isfinite(SOLVER.step(term, zero, 1e-4 * one, y, None, state, False)[1]))


def test_inside_diffrax_with_adaptive_steps():
    """y' = −λ (y − y²) for each component: y = 1 / (1 + (1/y0 − 1) e^{λt}) decays to 0, over six decades of rates."""
    rates = np.geomspace(1.0, 1e6, 7)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: -rates * (y - y**2)),
        SOLVER,
        0.0,
        1.0,
        1e-7,
        jnp.full(7, 0.5),
        stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-8),
        max_steps=10_000,
    )
    exact = np.exp(-np.logaddexp(0, rates))
    np.testing.assert_allclose(np.asarray(solution.ys[0]), exact, atol=2e-5)
    # An explicit method of order 5 would need about λ T / 3.3 = 300,000 steps.
    assert int(solution.stats["num_steps"]) < 3000
