"""Whole numbers that a float does not hold are refused, and not rounded."""

import numpy as np
import pandas as pd
import pytest
import torch

import deepbures as db
from deepbures.datasets import load_dataset

each = pytest.mark.parametrize


BIG = 2**60 + 2 * np.arange(12).reshape(6, 2) + 1  # odd, and so not multiples of 2**8, which is what float64 has there


@each("dtype", ["int64", "uint64", ">i8"])
@each("sign", [1, -1])
def test_integers_that_float64_does_not_hold(dtype, sign, tmp_path):
    """Rounded in silence, their variance would be that of the rounding."""
    if sign < 0 and dtype == "uint64":
        return
    x = np.full((20_000, 2), sign * 2**60, dtype)
    x[17_000, 1] = sign * BIG[0, 1]
    held = np.memmap(tmp_path / "x.dat", dtype=dtype, mode="w+", shape=x.shape)
    held[:] = x
    message = r"has the whole number -?1152921504606846979 at index \(17000, 1\), which float64 cannot .* Subtract"
    for given in (x, held, pd.DataFrame(x.astype(x.dtype.newbyteorder("=")))):
        with pytest.raises(ValueError, match=message):
            db.Target.from_samples(given)
    with pytest.raises(ValueError, match=message):
        db.squared_frechet_distance(np.zeros((2, 2)), x)
    with pytest.raises(ValueError, match=message):
        db.Target.from_factor(x)
    with pytest.raises(ValueError, match=r"column 'a' of samples has the whole number -?11.* at index \(17000,\)"):
        db.Target.from_samples(pd.DataFrame({"a": x[:, 1].astype(x.dtype.newbyteorder("=")), "b": 0.5}))


@each("extreme", [2**63 - 1, -(2**63) + 1, 2**64 - 1, 2**53 + 1])
def test_the_first_and_last_integers_are_refused(extreme):
    x = np.array([[0, 0], [0, extreme]], np.uint64 if extreme >= 2**63 else np.int64)
    with pytest.raises(ValueError, match=rf"the whole number {extreme} at index \(1, 1\)"):
        db.Target.from_samples(x)


@each("extreme", [2**53 + 1, -(2**53) - 1])
def test_in_text_too(extreme, tmp_path):
    """These are rounded to ±2**53, which is held exactly."""
    path = tmp_path / "x.csv"
    path.write_text(f"a,b\n1,2\n{extreme},3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"the whole number {extreme} in line 3, column 1 \('a'\)"):
        load_dataset(path)
    path.write_text(f"a,b\n1,2\n{2**53},3\n", encoding="utf-8")
    assert load_dataset(path).samples[1, 0] == 2**53


@each("value", [2**53, 2**63 - 2**10, -(2**63), 3 * 2**60, 2**63, 2**64 - 2**11])
def test_integers_that_float64_holds_are_taken(value):
    x = np.array([[0], [value]], np.uint64 if value >= 2**63 else np.int64)
    assert db.Target.from_samples(x).eigenvalues[0] == pytest.approx((value / 2) ** 2, rel=1e-14)
    assert db.squared_frechet_distance(x, x.astype(float)) == 0


def test_integers_of_other_libraries():
    """Their default float may be single, which holds whole numbers up to 2**24."""
    with pytest.raises(
        ValueError, match=r"x has the whole number 16777217 at index \(0, 1\), which float32 .* float64"
    ):
        db.squared_frechet_distance(torch.tensor([[0, 2**24 + 1], [0, 0]]), torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"samples has the whole number 1152921504606846977 at index \(0, 0\)"):
        db.Target.from_samples(torch.tensor(BIG))
