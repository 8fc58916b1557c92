"""Names, types and image shapes of the columns: from the data into the model, and back with the samples."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import deepbures as db
from deepbures.cli import main
from deepbures.datasets import Dataset, Features, load_dataset
from deepbures.runs import RunFolder, load_features, load_model

NAMES = ("height", "weight, in kg", 'says "x"', "größe", "weight, in kg", "")
"""As names are: with commas and quotes, beyond ASCII, twice, and empty."""

TOLD_APART = (*NAMES[:4], "weight, in kg.1", "")
"""As they are in tables."""


@pytest.fixture
def network() -> db.DeepLinearNetwork:
    rng = np.random.default_rng(5)
    return db.DeepLinearNetwork([rng.standard_normal((6, 2))], mean=np.arange(6.0))


@pytest.fixture
def run(tmp_path: Path, network: db.DeepLinearNetwork) -> Callable[..., Path]:
    """A model with these features in `tmp_path`; what is sampled from it into a file of that name."""

    def sample(features: Features, name: str, *options: str) -> Path:
        RunFolder(tmp_path).write_model(network, features)
        out = tmp_path / name
        assert main(["sample", str(tmp_path), "--num", "9", "--out", str(out), *options]) == 0
        return out

    return sample


def test_features_survive_the_model_file(tmp_path, network):
    features = Features(NAMES, ("float32", "int64", "bool", "float64", "float16", "uint8"), (2, 3), (0.0, 16.0))
    RunFolder(tmp_path).write_model(network, features)
    assert load_features(tmp_path, 6) == load_features(tmp_path / "model.npz", 6) == features
    loaded = load_model(tmp_path)
    np.testing.assert_array_equal(loaded.end_to_end, network.end_to_end)
    np.testing.assert_array_equal(loaded.mean, network.mean)


def test_models_without_features_are_read_as_ever(tmp_path, network):
    network.save(tmp_path / "model.npz")
    assert load_features(tmp_path, 6) == Features()
    np.savez(tmp_path / "model.npz", weight_1=np.eye(3), feature_names=np.array(["a"]), image_shape=np.array([2, 2]))
    assert load_features(tmp_path, 3) == Features()  # what does not fit is not believed
    np.savez(tmp_path / "model.npz", weight_1=np.eye(3), image_shape=np.array([-1, -3]), feature_names=np.arange(3))
    assert load_features(tmp_path, 3) == Features()
    with pytest.raises(ValueError, match=r"beside must have names of its own, but has \['mean'\]"):
        network.save(tmp_path / "model.npz", beside={"mean": np.ones(6)})
    with pytest.raises(TypeError, match=r"beside must hold numbers or text, but \['who'\] hold Python objects"):
        network.save(tmp_path / "model.npz", beside={"who": np.array([None])})


@pytest.mark.parametrize("field", ["feature_names", "feature_dtypes"])
def test_a_dataset_has_one_name_for_each_column(field):
    with pytest.raises(ValueError, match=rf"{field} must be 2, one for each column, but 3 are given"):
        Dataset(name="x", samples=np.eye(2), **{field: ("a", "b", "c")})


def test_files_tell_the_names_and_types_of_their_columns(tmp_path):
    (tmp_path / "x.csv").write_text('a,"b, c",a\n1,2,3\n4,5,7\n')
    assert load_dataset(tmp_path / "x.csv").feature_names == ("a", "b, c", "a")
    np.save(tmp_path / "x.npy", np.eye(4, 3, dtype=">f4"))
    data = load_dataset(tmp_path / "x.npy")
    assert (data.feature_names, data.feature_dtypes) == (None, ("float32",) * 3)
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"x": np.arange(3, dtype="f4"), "n": np.arange(3), "flag": np.arange(3) > 1}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    data = load_dataset(tmp_path / "x.parquet")
    assert (data.feature_names, data.feature_dtypes) == (("x", "n", "flag"), ("float32", "int64", "bool"))


def test_the_range_of_pixels_is_that_of_the_data_unless_they_are_scaled():
    shape = {"name": "x", "image_shape": (1, 2)}
    assert Dataset(samples=np.array([[0.25, 0.5], [0.0, 0.75]]), **shape).features.pixel_range == (0.0, 1.0)
    assert Dataset(samples=np.array([[3.0, 0.0], [16.0, 1.0]]), **shape).features.pixel_range == (0.0, 16.0)
    assert Dataset(name="x", samples=np.eye(2)).features == Features()


def test_a_fit_hands_the_columns_of_its_data_to_the_samples(tmp_path, capsys):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    frame = pandas.DataFrame(rng.standard_normal((30, 3)), columns=["age", "größe", "age"])
    frame.to_csv(tmp_path / "x.csv", index=False)
    folder = tmp_path / "run"
    arguments = ["fit", tmp_path / "x.csv", "--rank", 2, "--solver", "closed-form", "--out", folder]
    assert main([str(argument) for argument in arguments]) == 0
    assert json.loads((folder / "summary.json").read_text())["data"]["feature_names"] == ["age", "größe", "age"]
    for name in ("y.csv", "y.parquet"):
        assert main(["sample", str(folder), "--num", "20", "--out", str(tmp_path / name)]) == 0
    expected = load_model(folder).sample(0, 20)
    read = pandas.read_csv(tmp_path / "y.csv")
    assert list(read) == ["age", "größe", "age.1"]  # as pandas tells columns of one name apart
    np.testing.assert_allclose(read.to_numpy(), expected, rtol=1e-15)
    data = load_dataset(tmp_path / "y.parquet")
    assert data.feature_names == ("age", "größe", "age.1")  # nothing else reads a Parquet file with a name twice
    assert list(pandas.read_parquet(tmp_path / "y.parquet")) == ["age", "größe", "age.1"]
    np.testing.assert_array_equal(data.samples, expected)


def test_a_network_saved_from_python_keeps_the_columns_of_a_dataset(tmp_path, network):
    data = Dataset(name="x", samples=np.eye(6), feature_names=NAMES)
    network.save(tmp_path / "model.npz", beside=data.features.to_arrays())
    assert main(["sample", str(tmp_path / "model.npz"), "--num", "3", "--out", str(tmp_path / "x.csv")]) == 0
    assert load_dataset(tmp_path / "x.csv").feature_names == TOLD_APART


def test_csv_has_a_header_also_where_the_data_had_no_names(run, network):
    lines = run(Features(), "x.csv").read_text().splitlines()
    assert lines[0] == "x0,x1,x2,x3,x4,x5" and len(lines) == 10
    np.testing.assert_array_equal(np.loadtxt(lines[1:], delimiter=","), network.sample(0, 9))


def test_names_of_any_kind_come_back(run):
    pytest.importorskip("pyarrow")
    for table in ("x.csv", "x.parquet"):
        assert load_dataset(run(Features(names=NAMES), table)).feature_names == TOLD_APART
    with np.load(run(Features(names=NAMES, image_shape=(2, 3)), "x.npz"), allow_pickle=False) as archive:
        assert tuple(archive["feature_names"]) == NAMES and archive["image_shape"].tolist() == [2, 3]
        assert archive["samples"].shape == (9, 6)


def test_columns_of_single_precision_come_back_in_single_precision(run, network):
    parquet = pytest.importorskip("pyarrow.parquet")
    dtypes = ("float32", "float64", "int64", "bool", "float16", "float32")
    expected = np.array(network.sample(0, 9))
    single = [0, 4, 5]
    expected[:, single] = expected[:, single].astype(np.float32)
    table = parquet.read_table(run(Features(dtypes=dtypes), "x.parquet"))
    assert [str(kind) for kind in table.schema.types] == ["float", "double", "double", "double", "float", "float"]
    np.testing.assert_array_equal(np.column_stack([column.to_numpy() for column in table.columns]), expected)
    np.testing.assert_array_equal(np.load(run(Features(dtypes=dtypes), "x.npy")), expected)
    written = np.loadtxt(run(Features(dtypes=dtypes), "x.csv"), delimiter=",", skiprows=1)
    np.testing.assert_array_equal(written[:, single].astype(np.float32), expected[:, single])
    np.testing.assert_array_equal(np.delete(written, single, 1), np.delete(expected, single, 1))
    all_single = np.load(run(Features(dtypes=("float32",) * 6), "y.npy"))
    assert all_single.dtype == np.float32
    np.testing.assert_array_equal(all_single, network.sample(0, 9).astype(np.float32))
