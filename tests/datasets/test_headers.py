"""Which first rows of a text file are names: headers of numbers are no samples, and samples no headers."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from deepbures.cli import main
from deepbures.datasets import load_dataset, load_matrix
from deepbures.datasets._header import first_row_is_header

RNG_SEED = 11


def text_of(rows: np.ndarray, fmt: str = "%.6g", delimiter: str = ",") -> str:
    buffer = io.StringIO()
    np.savetxt(buffer, rows, fmt=fmt, delimiter=delimiter)
    return buffer.getvalue()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(RNG_SEED)


def smooth(rng: np.random.Generator, num: int, dim: int) -> np.ndarray:
    """Curves like spectra: sums of three bumps."""
    grid = np.linspace(0, 1, dim)
    centers, heights = rng.random((num, 3, 1)), rng.random((num, 3, 1))
    return (heights * np.exp(-30 * (grid - centers) ** 2)).sum(1)


HEADERS = {
    "wavelengths": lambda rng: (",".join(f"{w:.1f}" for w in 400 + np.arange(60)), smooth(rng, 40, 60), "%.6f"),
    "wavenumbers, falling": lambda rng: (
        ",".join(f"{3999.7 - 1.929 * i:.1f}" for i in range(40)), smooth(rng, 9, 40), "%.4f"),
    "few rows of spectra": lambda rng: (",".join(str(w) for w in range(400, 700, 10)), smooth(rng, 3, 30), "%.4f"),
    "years above temperatures": lambda rng: ("1990,1991,1992", 15 + rng.standard_normal((12, 3)), "%.1f"),
    "years above counts of that size": lambda rng: ("2018,2019,2020,2021", rng.integers(1500, 2600, (30, 4)), "%d"),
    "years above growing values": lambda rng: (
        ",".join(map(str, range(1990, 2000))), np.cumsum(rng.random((20, 10)), axis=1) * 400, "%.1f"),
    "two years above few counts": lambda rng: ("2019,2020", rng.integers(2200, 5000, (6, 2)), "%d"),
    "years backwards": lambda rng: ("2021,2020,2019", rng.integers(2200, 5000, (6, 3)), "%d"),
    "times of a signal": lambda rng: (
        ",".join(f"{t / 10:.1f}" for t in range(20)), rng.standard_normal((50, 20)), "%.3f"),
    "gene numbers": lambda rng: ("1017,7157,672,5290", rng.gamma(2.0, size=(25, 4)), "%.3f"),
    "mass to charge": lambda rng: ("100.2,103.7,110.1,111.3,140.9,160.2,171.8", rng.integers(0, 500, (40, 7)), "%d"),
    "pixels from one": lambda rng: (",".join(map(str, range(1, 65))), rng.integers(0, 17, (30, 64)), "%d"),
    "one year": lambda rng: ("2020", rng.random((40, 1)), "%.3f"),
    "two years": lambda rng: ("2020,2021", rng.random((40, 2)), "%.3f"),
    "hours above flags": lambda rng: (",".join(map(str, range(1, 25))), rng.random((10, 24)) < 0.5, "%d"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADERS)
def test_numbers_that_look_like_a_header_are_refused_until_one_says(tmp_path, rng, kind):
    header, rows, fmt = HEADERS[kind](rng)
    path = tmp_path / "x.csv"
    path.write_text(header + "\n" + text_of(rows, fmt))
    with pytest.raises(
        ValueError, match=r"looks like a header: .*header=True .*--header.* header=False \(--no-header\)"
    ):
        load_dataset(path)
    data = load_dataset(path, header=True)
    assert data.feature_names == tuple(header.split(","))
    np.testing.assert_array_equal(data.samples, np.loadtxt(io.StringIO(text_of(rows, fmt)), delimiter=",", ndmin=2))
    data = load_dataset(path, header=False)
    assert data.feature_names is None and data.num_samples == len(rows) + 1
    np.testing.assert_array_equal(data.samples[0], [float(name) for name in header.split(",")])


DATA = {
    "increasing by chance": lambda rng: (np.vstack([np.sort(rng.random(3)), rng.random((40, 3))]), "%.6f"),
    "increasing by chance, five columns": lambda rng: (np.vstack([np.sort(rng.random(5)), rng.random((9, 5))]), "%.6f"),
    "growth curves": lambda rng: (np.cumsum(rng.random((30, 12)), axis=1), "%.6f"),
    "quantiles": lambda rng: (np.sort(rng.standard_normal((30, 9)), axis=1), "%.6f"),
    "counting integers": lambda rng: (np.arange(12).reshape(4, 3), "%d"),
    "counting from one": lambda rng: (np.arange(1, 13).reshape(3, 4), "%d"),
    "small integers": lambda rng: (np.vstack([[1, 2, 5, 7], rng.integers(0, 10, (40, 4))]), "%d"),
    "a table of three": lambda rng: (np.array([[1, 2, 3], [4, 4, 6], [7, 1, 9], [0, 2, 2]]), "%d"),
    "increasing scales": lambda rng: (rng.standard_normal((50, 8)) + 100.0 ** np.arange(8), "%.8g"),
    "whole numbers now and then": lambda rng: (np.vstack([[5, 3, 1], np.round(5 * rng.random((60, 3)), 1)]), "%g"),
    "an outlier first": lambda rng: (np.vstack([5 * rng.standard_normal(4), rng.standard_normal((50, 4))]), "%.4f"),
    "zeros first": lambda rng: (np.vstack([np.zeros(5), rng.random((50, 5))]), "%g"),
    "equal numbers first": lambda rng: (np.vstack([np.full(5, 7), rng.random((50, 5))]), "%g"),
    "two rows": lambda rng: (np.array([[1.0, 2.0, 3.0, 4.0], [0.3, 7.1, 2.2, 1.0]]), "%.1f"),
    "one column": lambda rng: (rng.standard_normal((40, 1)), "%.3f"),
    "images": lambda rng: (rng.integers(0, 256, (30, 64)), "%d"),
    "flags": lambda rng: (rng.random((30, 6)) < 0.5, "%d"),
    "ages and incomes": lambda rng: (
        np.column_stack([rng.integers(18, 90, 50), rng.integers(1, 60, 50), np.round(rng.random(50), 2)]), "%g"),
    "years": lambda rng: (np.sort(rng.integers(1900, 2020, (30, 2)), axis=1), "%d"),
    "smooth spectra": lambda rng: (smooth(rng, 30, 50), "%.5f"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DATA)
def test_rows_of_data_are_no_header(tmp_path, rng, kind):
    rows, fmt = DATA[kind](rng)
    path = tmp_path / "x.csv"
    path.write_text(text_of(rows, fmt))
    data = load_dataset(path)
    assert data.feature_names is None
    np.testing.assert_array_equal(data.samples, np.loadtxt(io.StringIO(path.read_text()), delimiter=",", ndmin=2))


def test_quotation_marks_tell_names(tmp_path):
    for names in ("1,2", "3,1"):
        quoted = ",".join(f'"{name}"' for name in names.split(","))
        (tmp_path / "x.csv").write_text(f"{quoted}\n5,3\n7,1\n")
        with pytest.raises(ValueError, match="in quotation marks, and the rows below are not"):
            load_dataset(tmp_path / "x.csv")
        (tmp_path / "x.csv").write_text(f'{quoted}\n"5","3"\n"7","1"\n')
        assert load_dataset(tmp_path / "x.csv").num_samples == 3


@pytest.mark.parametrize("draw", ["normal", "integers", "rounded"])
@pytest.mark.parametrize("dim", [2, 3, 4, 8])
def test_random_data_are_hardly_ever_in_doubt(rng, draw, dim):
    """Of files of 30 rows in no order, at most 1 in 50 is refused (integers in three columns; all others far less)."""
    doubts = 0
    for _ in range(300):
        x = rng.standard_normal((30, dim))
        rows = {"normal": x, "integers": np.round(4 * x), "rounded": np.round(x, 1)}[draw]
        first, *others = (
            line.split(",") for line in text_of(rows, "%d" if draw == "integers" else "%.6g").splitlines()
        )
        try:
            assert not first_row_is_header(first, others)
        except ValueError:
            doubts += 1
    assert doubts <= (6 if (draw, dim) == ("integers", 3) else 2)


@pytest.mark.parametrize("dim", [2, 3, 10])
@pytest.mark.parametrize("fmt", ["%.3f", "%d"])
def test_column_numbers_of_pandas_are_a_header(tmp_path, rng, dim, fmt):
    rows = rng.integers(0, 17, (50, dim)) if fmt == "%d" else rng.random((50, dim))
    (tmp_path / "x.csv").write_text(",".join(map(str, range(dim))) + "\n" + text_of(rows, fmt))
    if fmt == "%d" and dim == 2:
        assert load_dataset(tmp_path / "x.csv").num_samples == 51  # two small integers are nothing special
        return
    if fmt == "%d" and dim == 3:
        with pytest.raises(ValueError, match="counts from 0 to 2, as pandas writes"):
            load_dataset(tmp_path / "x.csv")
        return
    data = load_dataset(tmp_path / "x.csv")
    assert data.feature_names == tuple(map(str, range(dim))) and data.num_samples == 50


def test_column_numbers_that_may_be_data_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("0,1,2\n5,3,9\n7,7,1\n")
    with pytest.raises(ValueError, match="counts from 0 to 2, as pandas writes for columns without names"):
        load_dataset(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("0\n0.5\n0.25\n0.1\n2.5\n1.5\n")
    with pytest.raises(ValueError, match="whole and distinct, and the others are written with decimals"):
        load_dataset(tmp_path / "x.csv")


def test_a_header_that_is_asked_for_is_taken_whatever_it_is(tmp_path):
    for header, names in [
        ("5.1,3.5", ("5.1", "3.5")),
        ("id,400.0", ("id", "400.0")),
        (",a", ("", "a")),
        ("a,b", ("a", "b")),
        ('"a\nb",c', ("a\nb", "c")),
        ("true,false", ("true", "false")),
    ]:
        (tmp_path / "x.csv").write_text(f"{header}\n1,2\n4,3\n")
        data = load_dataset(tmp_path / "x.csv", header=True)
        assert data.feature_names == names
        np.testing.assert_array_equal(data.samples, [[1, 2], [4, 3]])
    for header in ("id,400.0", "5.1,", ",a"):
        (tmp_path / "x.csv").write_text(f"{header}\n1,2\n4,3\n")
        with pytest.raises(ValueError, match="--header"):
            load_dataset(tmp_path / "x.csv")


def test_names_that_are_said_to_be_data_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n4,3\n")
    with pytest.raises(ValueError, match=r"line 1, column 1 is 'a', .*leave header=False \(--no-header\) out"):
        load_dataset(tmp_path / "x.csv", header=False)


def test_the_size_of_a_covariance_tells_its_header(tmp_path):
    """min(i, j) has an evenly spaced first row that no other row has, and n + 1 rows can only be a header and n."""
    covariance = np.minimum.outer(np.arange(6, 0, -1), np.arange(6, 0, -1))
    (tmp_path / "c.csv").write_text(text_of(covariance, "%d"))
    data = load_dataset(tmp_path / "c.csv", covariance=True)
    assert data.feature_names is None
    np.testing.assert_array_equal(data.covariance, covariance)
    (tmp_path / "c.csv").write_text("0,1,2,3,4,5\n" + text_of(covariance, "%d"))
    data = load_dataset(tmp_path / "c.csv", covariance=True)
    assert data.feature_names == ("0", "1", "2", "3", "4", "5")
    np.testing.assert_array_equal(data.covariance, covariance)


def test_comments_before_the_first_row(tmp_path, rng):
    rows = rng.random((5, 2))
    np.savetxt(tmp_path / "x.csv", rows, delimiter=",", header="400,500", fmt="%.17g")  # a header after "# "
    data = load_dataset(tmp_path / "x.csv")
    assert data.feature_names == ("400", "500")
    np.testing.assert_array_equal(data.samples, rows)
    (tmp_path / "x.csv").write_text("# measured on Monday\n\n# by hand\na,b\n1,2\n4,3\n")
    data = load_dataset(tmp_path / "x.csv")
    assert data.feature_names == ("a", "b") and data.num_samples == 2
    (tmp_path / "x.csv").write_text("# measured on Monday\n1,2\n4,3\n")
    assert load_dataset(tmp_path / "x.csv").feature_names is None


@pytest.mark.parametrize("source", ["digits", "x.npy", "folder", "x.parquet"])
def test_a_header_is_of_text_files_only(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.eye(3))
    Path("folder").mkdir()
    Path("x.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=rf"'{source}' has no header: only text files have"):
        load_dataset(source, header=False)
    with pytest.raises(TypeError, match="header must be True, False or None, but 'yes' was given"):
        load_dataset(source, header="yes")


@pytest.mark.parametrize(
    "command",
    [
        ["fit", "x.csv", "--rank", "1", "--solver", "closed-form", "--overwrite"],
        ["landscape", "x.csv", "--rank", "1"],
        ["certify", "x.csv", "--rank", "1"],
        ["distance", "x.csv", "y.npy"],
        ["distance", "x.csv", "z.npy", "--factors"],
    ],
)
def test_every_command_takes_a_header(tmp_path, monkeypatch, capsys, rng, command):
    monkeypatch.chdir(tmp_path)
    rows = rng.random((12, 3))
    Path("x.csv").write_text("2019,2020,2021\n" + text_of(rows, "%.6f"))
    np.save("y.npy", rows)
    np.save("z.npy", rows[:12, :1])
    assert main([*command, "--json"]) == 2
    message = json.loads(capsys.readouterr().out)["error"]
    assert "x.csv: the first row is made of numbers, but looks like a header" in message
    assert main([*command, "--json", "--header"]) == 0
    if command[0] == "distance" and "--factors" not in command:
        assert json.loads(capsys.readouterr().out)["distance"] < 1e-5  # as many digits as were written
    assert main([*command, "--json", "--no-header"]) == (2 if "--factors" in command else 0)


def test_distance_without_any_text_has_no_header(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.eye(3))
    assert main(["distance", "x.npy", "x.npy", "--header"]) == 2
    assert "'x.npy' has no header" in capsys.readouterr().err


def test_matrices_have_headers_too(tmp_path):
    (tmp_path / "x.csv").write_text("1,2,3\n")
    np.testing.assert_array_equal(load_matrix(tmp_path / "x.csv"), [[1, 2, 3]])
    (tmp_path / "x.csv").write_text("1,2\n3,4\n")
    np.testing.assert_array_equal(load_matrix(tmp_path / "x.csv", header=True), [[3, 4]])


@pytest.mark.parametrize("options", [[], ["--covariances"]])
def test_columns_in_another_order_are_not_compared(tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    rows = "2,1\n1,3\n"
    for name, header in {"x": "age,size", "y": "size,age", "z": "age,height"}.items():
        Path(f"{name}.csv").write_text(f"{header}\n{rows}")
    assert main(["distance", "x.csv", "y.csv", *options]) == 2
    assert "'age' is column 1 of x.csv, but column 2 of y.csv: give the same columns" in capsys.readouterr().err
    assert main(["distance", "x.csv", "z.csv", *options]) == 0


def test_a_model_is_certified_on_its_own_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, header in {"x": "age,size", "y": "size,age"}.items():
        Path(f"{name}.csv").write_text(f"{header}\n2,1\n1,3\n0,5\n7,1\n")
    assert main(["fit", "x.csv", "--rank", "1", "--solver", "closed-form", "--out", "run"]) == 0
    assert main(["certify", "x.csv", "--model", "run"]) == 0
    assert main(["certify", "y.csv", "--model", "run"]) == 2
    assert "'age' is column 1 of run, but column 2 of y.csv" in capsys.readouterr().err
