"""What a run records of a network, against the definitions in plain NumPy."""

import equinox as eqx
import jax
import numpy as np
import pytest

import deepbures as db
from deepbures.landscape import Problem
from deepbures.training._observables import DEFAULT_RECORD, OBSERVABLES, observer

from . import naive
from .problems import BASIS, COVARIANCE, SPECTRUM, TARGET, unbalanced


def look(name, net, loss, target=TARGET):
    """An observable, compiled as in a run."""
    problem = Problem(target, loss, net.bottleneck)
    return jax.tree.map(np.asarray, eqx.filter_jit(OBSERVABLES[name])(net, problem))


LOSSES = {"tau=0": db.BuresWasserstein(), "tau=0.1": db.BuresWasserstein(0.1)}


@pytest.mark.parametrize("tau", [0.0, 0.1])
def test_loss_excess_and_gradient_norm(tau, rng):
    net = unbalanced(rng, 3, rank=2)
    loss, w = db.BuresWasserstein(tau), net.end_to_end
    value = naive.bures_wasserstein_loss(w, COVARIANCE, tau)
    least = ((np.sqrt(SPECTRUM[2:]) - np.sqrt(tau)) ** 2).sum()
    np.testing.assert_allclose(
        look("loss", net, loss), value, rtol=1e-7
    )  # the naive root of a singular matrix is that good
    np.testing.assert_allclose(look("excess", net, loss), value - least, rtol=1e-6)
    gradients = naive.layer_gradients(net.weights, naive.bures_wasserstein_gradient(w, COVARIANCE, tau))
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    np.testing.assert_allclose(look("gradient_norm", net, loss), norm, rtol=1e-12)


@pytest.mark.parametrize("loss", [db.BuresWasserstein(), db.BuresWasserstein(0.1), db.Frobenius()])
def test_gradient_norm_is_that_of_the_loss_differentiated_by_the_layers(loss, rng):
    """By central differences of the loss along the gradient that JAX finds, so that its chain rule is held as well."""
    net = unbalanced(rng, 3, rank=3)
    of_layers = lambda weights: loss.value(db.DeepLinearNetwork(weights).end_to_end, TARGET)  # noqa: E731
    gradients = jax.grad(of_layers)(net.weights)
    norm = np.sqrt(sum((np.asarray(gradient) ** 2).sum() for gradient in gradients))
    np.testing.assert_allclose(look("gradient_norm", net, loss), norm, rtol=1e-11)
    h = 1e-4
    along = [
        of_layers([w + t * h * np.asarray(g) / norm for w, g in zip(net.weights, gradients, strict=True)])
        for t in (1, -1)
    ]
    np.testing.assert_allclose((along[0] - along[1]) / (2 * h), norm, rtol=1e-6)


def network_with(values, rng):
    """A network of widths (4, 3, 4) with the given singular values (three of them) from end to end."""
    u, v = (np.linalg.qr(rng.standard_normal((4, 4)))[0][:, :3] for _ in range(2))
    return db.DeepLinearNetwork([np.sqrt(values)[:, None] * v.T, u * np.sqrt(values)])


@pytest.mark.parametrize(
    "values, rank, effective",
    [
        ([3.0, 3.0, 3.0], 3, 3.0),
        ([2.0, 1.0, 1.0], 3, 2 * np.sqrt(2)),  # shares ½, ¼, ¼: entropy (3/2) ln 2
        ([5.0, 0.0, 0.0], 1, 1.0),
        ([1.0, 1.0, 1e-20], 2, 2.0),
        ([1.0, 1.0, 1e-12], 3, 2.0),  # small, but 5000 times above rounding: counts for the rank
        ([0.0, 0.0, 0.0], 0, 0.0),
    ],
)
def test_rank_effective_rank_and_smallest_singular_value(values, rank, effective, rng):
    values = np.array(values)
    net = network_with(values, rng)
    loss = LOSSES["tau=0"]
    assert look("rank", net, loss) == rank
    np.testing.assert_allclose(look("effective_rank", net, loss), effective, rtol=1e-9)
    # The bottleneck is 3: the third singular value, not the fourth (which is zero).
    np.testing.assert_allclose(look("smallest_singular_value", net, loss), values[2], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(look("singular_values", net, loss), [*values, 0.0], rtol=1e-12, atol=1e-14)


def test_effective_rank_is_exp_of_the_entropy(rng):
    net = unbalanced(rng, 2)
    s = np.linalg.svd(net.end_to_end, compute_uv=False)
    share = s / s.sum()
    np.testing.assert_allclose(
        look("effective_rank", net, LOSSES["tau=0"]), np.exp(-(share * np.log(share)).sum()), rtol=1e-12
    )


def test_balancedness_gap_is_the_largest_frobenius_norm(rng):
    net = unbalanced(rng, 3)
    gaps = [np.sqrt((gap**2).sum()) for gap in naive.conserved(net.weights)]
    assert gaps[0] != gaps[1]
    np.testing.assert_allclose(look("balancedness_gap", net, LOSSES["tau=0"]), max(gaps), rtol=1e-13)
    assert look("balancedness_gap", unbalanced(rng, 1), LOSSES["tau=0"]) == 0


def test_alignment_holds_cosines_between_eigenvectors_and_singular_vectors():
    """Singular vectors turned by 30 degrees in the plane of eigenvectors 1 and 2; the third is eigenvector 4."""
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    u = BASIS @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 0], [0, 0, 1]])
    net = db.DeepLinearNetwork([np.diag([3.0, 2.0, 1.0]), u])
    expected = [[c, s, 0], [s, c, 0], [0, 0, 0]]
    np.testing.assert_allclose(look("alignment", net, LOSSES["tau=0"]), expected, atol=1e-12)


def test_matrices_are_recorded_as_they_are(rng):
    net = unbalanced(rng, 3)
    np.testing.assert_allclose(look("end_to_end", net, LOSSES["tau=0"]), naive.product(net.weights), rtol=1e-13)
    for recorded, weight in zip(look("weights", net, LOSSES["tau=0"]), net.weights, strict=True):
        np.testing.assert_array_equal(recorded, weight)


def test_excess_is_zero_at_the_minimizer_and_resolves_far_below_rounding_of_the_loss():
    """W* turned by θ into the first unused mode has an excess of order θ²: here 1e-24, below a loss of 1.5."""
    values, theta = SPECTRUM, 1e-12
    turned = BASIS[:, :2].copy()
    turned[:, 1] = np.cos(theta) * BASIS[:, 1] + np.sin(theta) * BASIS[:, 2]
    # The best scale for a direction u is √(uᵀΣ0u), and then L = tr Σ0 − Σ uᵀΣ0u: excess (λ_2 − λ_3) sin²θ.
    scale = np.sqrt([values[0], values[1] - (values[1] - values[2]) * np.sin(theta) ** 2])
    net = db.DeepLinearNetwork([np.eye(2), turned * scale])
    excess = look("excess", net, LOSSES["tau=0"])
    np.testing.assert_allclose(excess, (values[1] - values[2]) * np.sin(theta) ** 2, rtol=1e-3)
    exact = db.DeepLinearNetwork([np.eye(2), BASIS[:, :2] * np.sqrt(values[:2])])
    assert 0 <= look("excess", exact, LOSSES["tau=0"]) < 1e-29


def test_choices_of_records():
    always = ("loss", "excess", "gradient_norm")
    assert tuple(name for name, _ in observer(None)) == DEFAULT_RECORD
    assert tuple(name for name, _ in observer("rank")) == (*always, "rank")
    assert tuple(name for name, _ in observer(("alignment", "loss"))) == (*always, "alignment")
    assert tuple(name for name, _ in observer({"mine": lambda net, target, loss: 0.0})) == (*always, "mine")


def test_unknown_observables_are_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"Unknown observable 'los' in record: choose from loss, excess, .*weights, or pass a mapping"
    ):
        observer(("los",))
    with pytest.raises(TypeError, match=r"record\['mine'\] must be a function .* but 3 was given"):
        observer({"mine": 3})
