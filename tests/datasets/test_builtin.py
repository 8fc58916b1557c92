"""Built-in data sets, and random Gaussian targets: known answers by construction."""

import re

import numpy as np
import pytest

from deepbures.datasets import known_datasets, load_dataset


def test_known_datasets():
    assert known_datasets() == ("digits", "faces", "patches", "gaussian")


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    data = load_dataset("digits")
    np.testing.assert_array_equal(data.samples, datasets.load_digits().data)
    assert data.samples.shape == (1797, 64)
    assert data.samples.dtype == np.float64
    assert data.image_shape == (8, 8)
    assert "UCI" in data.description
    assert data.digest() == load_dataset("digits").digest()


def test_faces():
    skimage_data = pytest.importorskip("skimage.data")
    data = load_dataset("faces")
    np.testing.assert_array_equal(data.samples[17].reshape(data.image_shape), skimage_data.lfw_subset()[17])
    assert data.samples.shape == (200, 625)
    assert data.samples.min() >= 0
    assert data.samples.max() <= 1
    assert "Labeled Faces in the Wild" in data.description


def test_patches_are_windows_of_the_pictures():
    datasets = pytest.importorskip("sklearn.datasets")
    pytest.importorskip("PIL")
    data = load_dataset("patches")
    pictures = [np.asarray(image) / 255 for image in datasets.load_sample_images().images]
    height, width = pictures[0].shape[:2]
    rows, columns = (height - 16) // 3 + 1, (width - 16) // 3 + 1
    assert data.samples.shape == (2 * rows * columns, 256)
    assert len(data.samples) >= 50_000
    for picture, i, j in [(0, 0, 0), (0, 5, 7), (1, rows - 1, columns - 1)]:
        window = pictures[picture][3 * i : 3 * i + 16, 3 * j : 3 * j + 16]
        luminance = 0.2126 * window[..., 0] + 0.7152 * window[..., 1] + 0.0722 * window[..., 2]
        row = data.samples[(picture * rows + i) * columns + j].reshape(data.image_shape)
        np.testing.assert_allclose(row, luminance, rtol=0, atol=1e-14)
    assert data.samples.min() >= 0
    assert data.samples.max() <= 1 + 1e-12
    assert data.num_samples == len(data.samples)


def test_patches_options():
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    data = load_dataset("patches:stride=100,size=30")
    assert data.name == "patches:size=30,stride=100"
    assert data.samples.shape == (2 * 4 * 7, 900)
    assert data.image_shape == (30, 30)
    with pytest.raises(ValueError, match=r"size of 'patches' must be at most 427, .* but 428 was given"):
        load_dataset("patches:size=428")
    with pytest.raises(ValueError, match=r"size=200 and stride=1 would take \d+ GiB .* Raise the stride"):
        load_dataset("patches:size=200,stride=1")


# ---------------------------------------------------------------------- synthetic targets


def _eigenvalues(source: str) -> np.ndarray:
    data = load_dataset(source)
    assert data.samples is None
    np.testing.assert_array_equal(data.covariance, data.covariance.T)
    return np.linalg.eigvalsh(data.covariance)[::-1]


def _drawn(dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Singular values of a normal matrix and Zipf values before any shift, drawn as the data set draws them."""
    rng = np.random.default_rng(seed).spawn(2)[0]
    singular = np.linalg.svd(rng.standard_normal((dim, dim)), compute_uv=False)
    zipf = np.sort(singular[0] / np.arange(1, dim + 1) + rng.standard_normal(dim))[::-1]
    return singular, zipf


@pytest.mark.parametrize("dim", [1, 2, 20])
@pytest.mark.parametrize("seed", [0, 3])
def test_zipf_spectrum_is_the_drawn_one_with_minimum_one_over_dim(dim, seed):
    values = _eigenvalues(f"gaussian:dim={dim},spectrum=zipf,seed={seed}")
    _, zipf = _drawn(dim, seed)
    np.testing.assert_allclose(values, zipf - zipf.min() + 1 / dim, rtol=0, atol=1e-13 * (1 + values[0]))
    np.testing.assert_allclose(values[-1], 1 / dim, rtol=1e-10)


def test_random_spectrum_and_its_squares():
    singular, _ = _drawn(12, 5)
    np.testing.assert_allclose(_eigenvalues("gaussian:dim=12,spectrum=random,seed=5"), singular, atol=1e-13)
    squares = _eigenvalues("gaussian:dim=12,spectrum=random,kind=sing,seed=5")
    np.testing.assert_allclose(squares, singular**2, atol=1e-12)


@pytest.mark.parametrize("smin", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("rank", [20, 8])
@pytest.mark.parametrize("kind", ["eig", "sing"])
def test_smin_shifts_the_smallest_kept_value(smin, rank, kind):
    values = _eigenvalues(f"gaussian:dim=20,smin={smin},rank={rank},kind={kind},seed=1")
    unshifted = _eigenvalues("gaussian:dim=20,seed=1")
    expected = smin + 1 / 20
    np.testing.assert_allclose(values[rank - 1], expected if kind == "eig" else expected**2, rtol=1e-12)
    np.testing.assert_allclose(values[rank:], 0, atol=1e-12)
    if kind == "eig":  # gaps are kept
        np.testing.assert_allclose(np.diff(values[:rank]), np.diff(unshifted[:rank]), atol=1e-12)


@pytest.mark.parametrize("smin", [-1, 0, 0.04])
def test_smin_below_the_minimum_changes_nothing(smin):
    np.testing.assert_array_equal(load_dataset(f"gaussian:smin={smin}").covariance, load_dataset("gaussian").covariance)


def test_basis_depends_on_dim_and_seed_only():
    def basis(source: str) -> np.ndarray:
        vectors = np.linalg.eigh(load_dataset(source).covariance)[1][:, ::-1]
        return np.abs(vectors[:, :3])

    first = basis("gaussian:dim=6,spectrum=zipf,seed=2")
    np.testing.assert_allclose(basis("gaussian:dim=6,spectrum=random,seed=2"), first, atol=1e-10)
    np.testing.assert_allclose(basis("gaussian:dim=6,kind=sing,rank=4,seed=2"), first, atol=1e-10)
    assert np.abs(basis("gaussian:dim=6,seed=4") - first).max() > 0.1


def test_gaussian_name_is_complete_and_gives_the_same_bits():
    data = load_dataset("gaussian:seed=7, rank=3 ,dim=9")
    assert data.name == "gaussian:dim=9,spectrum=zipf,kind=eig,smin=-1.0,rank=3,seed=7"
    again = load_dataset(data.name)
    np.testing.assert_array_equal(again.covariance, data.covariance)
    assert again.digest() == data.digest()
    assert load_dataset("gaussian:dim=9,rank=3,seed=8").digest() != data.digest()
    assert load_dataset("gaussian", covariance=True).digest() == load_dataset("gaussian").digest()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "gaussian:dimm=3",
            "no option 'dimm'; its options are dim, spectrum, kind, smin, rank, seed. Did you mean 'dim'",
        ),
        ("gaussian:20", "written name=value and separated by commas, but '20' was given in 'gaussian:20'"),
        ("gaussian:", "written name=value"),
        ("gaussian:dim=3,", "written name=value"),
        ("gaussian:dim=3,dim=4", "option dim of 'gaussian' is given twice"),
        ("gaussian:dim=0", "dim of 'gaussian' must be a whole number of at least 1, but '0' was given"),
        ("gaussian:dim=2.5", "dim of 'gaussian' must be a whole number of at least 1, but '2.5' was given"),
        ("gaussian:seed=-1", "seed of 'gaussian' must be a whole number of at least 0, but '-1' was given"),
        ("gaussian:spectrum=flat", "spectrum of 'gaussian' must be 'zipf' or 'random', but 'flat' was given"),
        ("gaussian:kind=", "kind of 'gaussian' must be 'eig' or 'sing', but '' was given"),
        ("gaussian:smin=nan", "smin of 'gaussian' must be a finite number, but 'nan' was given"),
        ("gaussian:dim=3,rank=4", "rank of 'gaussian' must be at most dim = 3, but 4 was given"),
        ("patches:stride=0", "stride of 'patches' must be a whole number of at least 1"),
        ("digits:size=3", "'digits' has no options, but 'digits:size=3' was given"),
        ("digits:", "'digits' has no options"),
    ],
)
def test_bad_options(source, message):
    with pytest.raises(ValueError, match=re.escape(message).replace(r"\.\*", ".*")):
        load_dataset(source)
