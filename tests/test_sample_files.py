"""Files of samples: what other programs read from them, images that are seen as the data are, and folders kept safe."""

import gzip
import json
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import deepbures as db
from deepbures.cli import main
from deepbures.datasets import Features, load_dataset
from deepbures.runs import RunFolder, load_model

GRAY = Features(image_shape=(2, 3), pixel_range=(0.0, 16.0))


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    """A run of six outputs whose data had these features."""

    def write(features: Features, scale: float = 1.0) -> Path:
        rng = np.random.default_rng(2)
        network = db.DeepLinearNetwork([scale * rng.standard_normal((6, 2))], mean=np.full(6, 8.0))
        RunFolder(tmp_path).write_model(network, features)
        return tmp_path

    return write


def sample(folder: Path, out: Path, *options: str) -> int:
    return main(["sample", str(folder), "--num", "12", "--seed", "1", "--out", str(out), *options])


def expected(folder: Path) -> np.ndarray:
    return np.asarray(load_model(folder).sample(1, 12))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "tsv.gz"])
def test_tables_are_read_by_others_and_by_us(tmp_path, model, suffix):
    pandas = pytest.importorskip("pandas")
    names = ("a", "b, c", "größe", "d", "e", "f")
    folder, out = model(Features(names=names)), tmp_path / f"x.{suffix}"
    assert sample(folder, out) == 0
    read = pandas.read_csv(out, sep="\t" if "tsv" in suffix else ",")
    assert tuple(read) == names
    np.testing.assert_allclose(read.to_numpy(), expected(folder), rtol=1e-15)
    data = load_dataset(out)
    assert data.feature_names == names
    np.testing.assert_array_equal(data.samples, expected(folder))


def test_compressed_tables_have_the_same_bytes_every_time(tmp_path, model):
    folder = model(Features())
    for name in ("x.csv.gz", "y.csv.gz", "x.csv"):
        assert sample(folder, tmp_path / name) == 0
    assert (tmp_path / "x.csv.gz").read_bytes() == (tmp_path / "y.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "x.csv.gz").read_bytes()) == (tmp_path / "x.csv").read_bytes()


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3)])
def test_images_are_written_as_the_data_are_seen(tmp_path, model, capsys, shape):
    pillow = pytest.importorskip("PIL.Image")
    folder = model(Features(image_shape=shape, pixel_range=(0.0, 16.0)))
    assert sample(folder, tmp_path / "pictures", "--images", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    draws = expected(folder)
    assert result["clipped"] == np.mean((draws < 0) | (draws > 16))
    assert result["pixel_range"] == [0, 16] and result["image_shape"] == list(shape)
    paths = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in paths] == [f"{number:02}.png" for number in range(1, 13)]
    for path, draw in zip(paths, draws, strict=True):
        with pillow.open(path) as image:
            assert image.mode == ("L" if len(shape) == 2 else "RGB")
            pixels = np.asarray(image)
        assert pixels.dtype == np.uint8 and pixels.shape == shape
        assert np.abs(pixels.ravel() - 255 * np.clip(draw / 16, 0, 1)).max() <= 0.5
    data = load_dataset(tmp_path / "pictures")
    assert data.image_shape == shape
    assert np.abs(data.samples - np.clip(draws / 16, 0, 1)).max() <= 0.5 / 255 + 1e-12


def test_how_much_was_clipped_is_said(tmp_path, model, capsys):
    pytest.importorskip("PIL")
    folder = model(GRAY, scale=100.0)
    draws = expected(folder)
    share = np.mean((draws < 0) | (draws > 16))
    assert share > 0.5
    assert sample(folder, tmp_path / "pictures", "--images") == 0
    assert f"{100 * share:.3g} % of the values clipped to the range of the data, 0 to 16" in capsys.readouterr().out


def test_images_of_digits_look_like_digits(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    arguments = ["fit", "digits", "--rank", "8", "--solver", "closed-form", "--out", str(tmp_path / "run")]
    assert main(arguments) == 0
    assert sample(tmp_path / "run", tmp_path / "pictures", "--images") == 0
    images, digits = load_dataset(tmp_path / "pictures"), load_dataset("digits")
    assert images.image_shape == (8, 8)
    spread = digits.samples.std(axis=0).mean() / 16
    assert np.abs(images.samples.mean(axis=0) - digits.samples.mean(axis=0) / 16).max() < 4 * spread / 12**0.5


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_names_that_repeat_are_told_apart_in_tables(tmp_path, model, capsys, suffix):
    pandas = pytest.importorskip("pandas")
    names, apart = ["a", "a", "b", "a.1", "a", "c"], ["a", "a.2", "b", "a.1", "a.3", "c"]
    folder, out = model(Features(names=tuple(names))), tmp_path / f"x.{suffix}"
    assert sample(folder, out, "--json") == 0
    read = pandas.read_csv if suffix == "csv" else pandas.read_parquet
    assert read(out).columns.tolist() == list(load_dataset(out).feature_names) == apart
    shown = capsys.readouterr()
    message = "names of columns repeat: the column 'a' that comes again is written as 'a.2', and 1 other likewise."
    assert json.loads(shown.out)["warnings"] == [message] and message in shown.err
    assert sample(folder, tmp_path / "x.npz", "--json") == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []
    assert list(load_dataset(tmp_path / "x.npz").feature_names) == names


def test_images_of_bytes_are_shown_in_their_range(tmp_path, capsys):
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(3)
    stack = rng.integers(60, 200, (40, 3, 4), dtype=np.uint8)
    np.save(tmp_path / "stack.npy", stack)
    arguments = ["fit", str(tmp_path / "stack.npy"), "--rank", "12", "--solver", "closed-form"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    low, high = float(stack.min()), float(stack.max())
    assert load_model(tmp_path / "run").mean == pytest.approx(stack.reshape(40, -1).mean(0))
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8").replace("\u00a0", " ")
    # Of the pictures that are shown, which are some of them: bytes as they are, not shares of 255.
    shown = [float(end) for end in re.search(r"clipped to (\S+) … (\S+) for display only", page).groups()]
    assert low <= shown[0] < low + 10 and high - 10 < shown[1] <= high
    capsys.readouterr()
    assert sample(tmp_path / "run", tmp_path / "pictures", "--images", "--json") == 0
    assert json.loads(capsys.readouterr().out)["pixel_range"] == [low, high]
    for path, draw in zip(sorted((tmp_path / "pictures").iterdir()), expected(tmp_path / "run"), strict=True):
        with pillow.open(path) as image:
            pixels = np.asarray(image).ravel()
        assert np.abs(pixels - 255 * np.clip((draw - low) / (high - low), 0, 1)).max() <= 0.5 + 1e-9


def test_folders_of_images_are_replaced_with_care(tmp_path, model, capsys):
    pytest.importorskip("PIL")
    folder, pictures = model(GRAY), tmp_path / "pictures"
    pictures.mkdir()
    assert sample(folder, pictures, "--images") == 0  # an empty folder may be used
    (pictures / "notes.txt").write_text("mine")
    (pictures / "99.png").write_bytes(b"old")
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    assert sample(folder, pictures, "--images") == 2
    assert "is not empty: choose another --out, or pass --overwrite" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before
    assert sample(folder, pictures, "--images", "--overwrite") == 0
    del before["99.png"]
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("features", "name", "message"),
    [
        (Features(), "pictures", "was fitted to data that are not images, as far as it knows: leave --images out"),
        (Features(image_shape=(1, 3, 2)), "pictures", "was fitted to arrays of shape (1, 3, 2), which are no images"),
        (GRAY, "model.npz", "model.npz is a file, but --images writes a folder"),
        (GRAY, "nowhere/pictures", "make it, or choose another --out"),
    ],
)
def test_images_that_are_refused(tmp_path, model, capsys, features, name, message):
    folder = model(features)
    assert sample(folder, tmp_path / name, "--images") == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_a_failed_write_of_images_leaves_nothing(tmp_path, model, capsys, monkeypatch):
    pillow = pytest.importorskip("PIL.Image")

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    folder = model(GRAY)
    monkeypatch.setattr(pillow.Image, "save", fail)
    assert sample(folder, tmp_path / "pictures", "--images") == 1
    assert "pictures: No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


@pytest.mark.parametrize("name", ["x.tsv", "x.csv.gz", "pictures"])
def test_what_does_not_fit_on_the_disk_leaves_nothing(tmp_path, model, capsys, name):
    pytest.importorskip("PIL")
    folder = model(GRAY)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))  # a write beyond it fails as on a full disk
    try:
        code = sample(folder, tmp_path / name, *(["--images"] if name == "pictures" else []))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    error = capsys.readouterr().err
    assert error.startswith(f"deepbures: error: {tmp_path / name}: ") and "File too large" in error
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_images_without_pillow(tmp_path, model, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert sample(model(GRAY), tmp_path / "pictures", "--images") == 2
    assert 'Writing images needs pillow: pip install "deepbures[data]"' in capsys.readouterr().err


def test_draws_beyond_single_precision_are_an_error(tmp_path, model, capsys):
    folder = model(Features(dtypes=("float32",) * 6), scale=1e39)
    assert sample(folder, tmp_path / "x.npy") == 1
    assert "beyond the range of float32, the type of the data" in capsys.readouterr().err
    assert not (tmp_path / "x.npy").exists()
