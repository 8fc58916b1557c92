"""Networks: sizes, products, balanced lifts, samples, files."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures as db

from .oracle import orthonormal


def network(rng, widths=(3, 2, 6, 4), mean=True):
    shapes = zip(widths[1:], widths[:-1], strict=True)
    return db.DeepLinearNetwork([rng.standard_normal(s) for s in shapes], rng.standard_normal(4) if mean else None)


def test_sizes_and_product(rng):
    net = network(rng)
    assert (net.widths, net.depth, net.bottleneck, net.latent_dim, net.dim) == ((3, 2, 6, 4), 3, 2, 3, 4)
    w1, w2, w3 = net.weights
    np.testing.assert_allclose(net.end_to_end, w3 @ w2 @ w1, rtol=1e-12)
    z = rng.standard_normal((5, 3))
    np.testing.assert_allclose(net(z), z @ net.end_to_end.T + net.mean, rtol=1e-12)
    np.testing.assert_allclose(network(rng, mean=False)(np.zeros((2, 3))), np.zeros((2, 4)))


def test_balancedness_gap_is_its_definition(rng):
    net = network(rng)
    w1, w2, w3 = net.weights
    gaps = [np.linalg.norm(w2.T @ w2 - w1 @ w1.T), np.linalg.norm(w3.T @ w3 - w2 @ w2.T)]
    np.testing.assert_allclose(net.balancedness_gap(), max(gaps), rtol=1e-13)
    for quantity, gap in zip(net.conserved_quantities(), gaps, strict=True):
        np.testing.assert_allclose(np.linalg.norm(quantity), gap, rtol=1e-13)
    assert db.DeepLinearNetwork([np.ones((2, 3))]).balancedness_gap() == 0


def test_a_batch_is_its_members(rng):
    nets = [network(rng) for _ in range(3)]
    batch = db.stack_networks(nets)
    assert batch.batch_shape == (3,) and batch.widths == nets[0].widths
    for i, net in enumerate(nets):
        np.testing.assert_allclose(batch.end_to_end[i], net.end_to_end, rtol=1e-12)
        np.testing.assert_allclose(batch.balancedness_gap()[i], net.balancedness_gap(), rtol=1e-13)
    with pytest.raises(ValueError, match=r"batch shape \(3,\)\) cannot be sampled at once: use jax\.vmap"):
        batch.sample(0, 2)


# ------------------------------------------------------------------ balanced lifts


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("widths", [(5, 4), (5, 3, 4), (5, 9, 4), (5, 3, 7, 3, 4), (5, *[4] * 9, 4)])
def test_balanced_lift(rank, widths, rng):
    w = orthonormal(rng, 4, rank) * [3.0, 0.5, 0.01][:rank] @ orthonormal(rng, 5, rank).T
    net = db.balanced_network(w, widths, mean=np.arange(4.0))
    assert net.widths == widths
    np.testing.assert_allclose(net.end_to_end, w, atol=1e-13)
    assert net.balancedness_gap() < 1e-13
    np.testing.assert_array_equal(net.mean, np.arange(4.0))
    # Nothing factorizes W with less: each layer has the singular values s^{1/N}. (Depth 1: W itself.)
    for layer in net.weights:
        s = np.linalg.svd(layer, compute_uv=False)[:rank]
        np.testing.assert_allclose(s, np.array([3.0, 0.5, 0.01])[:rank] ** (1 / net.depth), rtol=1e-11)


def test_balanced_lift_of_a_batch_and_inside_jit(rng):
    w = rng.standard_normal((2, 4, 3))
    batch = db.balanced_network(w, (3, 3, 4))
    np.testing.assert_allclose(batch.end_to_end, w, atol=1e-13)
    traced = jax.jit(lambda x: db.balanced_network(x, (3, 3, 4)))(jnp.asarray(w[0]))
    for one, other in zip(traced.weights, batch.weights, strict=True):
        np.testing.assert_allclose(one, other[0], atol=1e-13)


def test_balanced_lift_of_zero_is_zero():
    net = db.balanced_network(np.zeros((4, 3)), (3, 1, 4))
    assert all(not layer.any() for layer in net.weights)


def test_too_narrow_for_the_rank():
    w = np.diag([3.0, 2.0, 1e-3])
    with pytest.raises(ValueError, match=r"rank above 2, the smallest of the widths \(3, 2, 3\) \(singular"):
        db.balanced_network(w, (3, 2, 3))
    with pytest.raises(ValueError, match=r"widths must begin with 3 and end with 3, .* but \(2, 2, 3\) was given"):
        db.balanced_network(w, (2, 2, 3))
    with pytest.raises(ValueError, match=r"widths\[1\] must be at least 1, but 0 was given"):
        db.balanced_network(w, (3, 0, 3))
    with pytest.raises(ValueError, match=r"at least latent_dim and dim, but \(3,\) was given"):
        db.balanced_network(w, (3,))
    with pytest.raises(TypeError, match=r"widths must be a sequence .* but 3 was given"):
        db.balanced_network(w, 3)


# ------------------------------------------------------------------ samples


def test_samples_have_the_mean_and_covariance_of_the_network(rng):
    """Six standard deviations: Var of entry (i, j) of the empirical covariance is (Σ_ii Σ_jj + Σ_ij²)/num.

    One of 14 numbers beyond it by chance: 3e-8; and the seed is fixed.
    """
    net, num = network(rng), 100_000
    x = net.sample(3, num)
    sigma = net.end_to_end @ net.end_to_end.T
    variances = np.diag(sigma)
    assert (np.abs(x.mean(0) - net.mean) < 6 * np.sqrt(variances / num)).all()
    found = (x - net.mean).T @ (x - net.mean) / num
    assert (np.abs(found - sigma) < 6 * np.sqrt((np.outer(variances, variances) + sigma**2) / num)).all()


def test_the_same_seed_gives_the_same_bits(rng):
    net = network(rng)
    one = net.sample(7, 10)
    np.testing.assert_array_equal(one, net.sample(7, 10))
    np.testing.assert_array_equal(one, net.sample(jax.random.key(7), 10))
    assert (one != net.sample(8, 10)).all()
    with pytest.raises(ValueError, match="num must be at least 1, but 0 was given"):
        net.sample(7, 0)
    with pytest.raises(TypeError, match=r"key must be a whole number, but 1\.5 was given"):
        net.sample(1.5, 1)


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("mean", [True, False])
def test_round_trip(mean, rng, tmp_path):
    net = network(rng, mean=mean)
    net.save(tmp_path / "model")  # no ending is added
    again = db.DeepLinearNetwork.load(tmp_path / "model")
    assert again.widths == net.widths and (again.mean is None) != mean
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(net), strict=True):
        np.testing.assert_array_equal(one, other)


def test_twelve_layers_come_back_in_order(tmp_path):
    net = db.DeepLinearNetwork([np.full((1, 1), float(i)) for i in range(12)])
    net.save(tmp_path / "m.npz")
    assert [float(w[0, 0]) for w in db.DeepLinearNetwork.load(tmp_path / "m.npz").weights] == list(range(12))


class Touched:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def pickled(path, mark):
    path.write_bytes(pickle.dumps(Touched(mark)))


def pickled_array(path, mark):
    with path.open("wb") as file:
        np.savez(file, weight_1=np.array([Touched(mark)], dtype=object))


def pickled_npy(path, mark):
    with path.open("wb") as file:
        np.save(file, np.array([Touched(mark)], dtype=object))


def truncated(path, mark):
    db.DeepLinearNetwork([np.ones((50, 50))]).save(path)
    path.write_bytes(path.read_bytes()[:1000])


def flipped(path, mark):
    db.DeepLinearNetwork([np.ones((50, 50))]).save(path)
    content = bytearray(path.read_bytes())
    content[5000] ^= 255
    path.write_bytes(bytes(content))


def empty(path, mark):
    path.touch()


def text(path, mark):
    path.write_text("weights")


def plain_npy(path, mark):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


DAMAGES = [pickled, pickled_array, pickled_npy, truncated, flipped, empty, text, plain_npy]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damaged_files_are_refused_and_nothing_is_unpickled(damage, tmp_path):
    damage(tmp_path / "model.npz", tmp_path / "mark")
    with pytest.raises(ValueError, match=r"model\.npz cannot be read as a model \(\.npz written by save\): ."):
        db.DeepLinearNetwork.load(tmp_path / "model.npz")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("names", [["x"], ["weight_2"], ["weight_1", "weight_3"]])
def test_files_without_a_network(names, tmp_path):
    np.savez(tmp_path / "m.npz", **{name: np.ones((2, 2)) for name in names})
    with pytest.raises(ValueError, match=r"holds no network: expected arrays weight_1, weight_2, …, found \["):
        db.DeepLinearNetwork.load(tmp_path / "m.npz")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.npz cannot be read as a model.*No such file"):
        db.DeepLinearNetwork.load(tmp_path / "nowhere.npz")


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "weights, mean, message",
    [
        ([], None, r"at least one layer \(depth ≥ 1\)"),
        ([np.ones(3)], None, r"weights\[0\] must be a matrix, but has shape \(3,\)"),
        ([np.ones((2, 0))], None, r"weights\[0\] must not be empty, but has shape \(2, 0\)"),
        ([np.ones((2, 2)), np.full((2, 2), np.inf)], None, r"weights\[1\] has 4 entries that are not finite"),
        ([np.ones((2, 3)), np.ones((4, 3))], None, r"weights\[1\] has shape \(4, 3\), but must take the 2 outputs"),
        ([np.ones((2, 2, 3)), np.ones((4, 2))], None, r"and have the same leading dimensions"),
        ([np.ones((2, 3))], np.ones(3), r"mean must have shape \(2,\), but has shape \(3,\)"),
        ([np.ones((2, 3))], [np.nan, 0], r"mean has 1 entry that is not finite"),
    ],
)
def test_bad_weights(weights, mean, message):
    with pytest.raises(ValueError, match=message):
        db.DeepLinearNetwork(weights, mean)


def test_bad_types(rng):
    with pytest.raises(TypeError, match="weights must be a list of matrices, W_1 first, but a ndarray was given"):
        db.DeepLinearNetwork(np.ones((2, 2)))
    with pytest.raises(TypeError, match=r"weights\[0\] must be an array of real numbers, but has dtype"):
        db.DeepLinearNetwork([["a"]])
    with pytest.raises(ValueError, match=r"Networks to stack must be at least one, of equal widths"):
        db.stack_networks([])
    with pytest.raises(ValueError, match=r"have widths \[\(3, 2, 6, 4\), \(3, 4\)\]"):
        db.stack_networks([network(rng), network(rng, (3, 4))])
