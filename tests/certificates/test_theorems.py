"""Theorems and certificates as values: compared, copied, printed; and theorems that are written wrongly."""

import copy
import dataclasses
import json
import math
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

import deepbures as db

TARGET = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0)
PRODUCTS = db.Target.from_operator(lambda w: np.array([[4.0], [2.0], [1.0]]) * w, 3, 7.0)
LOSSES = [
    db.BuresWasserstein(),
    db.BuresWasserstein(0.2),
    db.Frobenius(),
    db.GaussianLikelihood(0.5),
    db.EntropicWasserstein(1.0),
    db.SinkhornDivergence(0.5),
]


class Slow(db.AbstractTheorem):
    """A made-up theorem with a number of its own."""

    share: float

    name = "flow-slow"
    method = "flow"
    kind = "guarantee"
    statement = "e(t) ≤ e(0) exp(−share · t)"
    source = "a test"

    def assumptions(self, start):
        return (db.Assumption("depth N", start.depth, "=", 2),)

    def log_rate(self, start):
        return math.log(self.share)


class Spread(db.AbstractLoss):
    """A loss of which nothing is known in closed form."""

    def _value(self, w, target):
        return jnp.log(jnp.cosh(w @ w.T - target.matmul(jnp.eye(target.dim)))).sum()


@db.theorems_of.register
def _of_spread(loss: Spread):
    return (Slow(1e-3), db.RescaledTheorem(Slow(1e-3), 2.0))


def started(loss, target=TARGET, widths=(3, 3, 3), seed=1):
    return db.certify(db.initialize(widths, "balanced", key=seed), target, loss)


@pytest.mark.parametrize(
    ("loss", "target"),
    [*((loss, TARGET) for loss in (*LOSSES, Spread())), (LOSSES[0], PRODUCTS)],
    ids=lambda value: type(value).__name__,
)
def test_certificates_are_values(loss, target):
    """Also those with undefined numbers, and what holds a run against them."""
    certificates = started(loss, target, (2, 2, 3))
    assert certificates == started(loss, target, (2, 2, 3)) and certificates
    assert len(set(certificates)) == len(certificates)
    assert certificates != started(loss, target, (2, 2, 3), seed=2)
    for certificate in certificates:
        again = pickle.loads(pickle.dumps(certificate))
        assert again == certificate and hash(again) == hash(certificate) and repr(again) == repr(certificate)
        json.dumps([list(map(dataclasses.astuple, again.assumptions)), again.holds, dict(again.constants), again.rate])
        assert copy.deepcopy(certificate) == certificate != certificate.name
        assert again.assumptions == certificate.assumptions and str(again) == str(certificate)
        check = certificate.check([0.0, 1.0], [certificate.excess] * 2) if certificate.excess >= 0 else None
        assert pickle.loads(pickle.dumps(check)) == check
        np.testing.assert_array_equal(again.bound([0.0, 1.0]), certificate.bound([0.0, 1.0]))


def test_undefined_numbers_are_equal_and_defined_ones_are_not():
    nan = float("nan")
    one, other = (db.Assumption("gap", value, ">", 0.0) for value in (nan, float("nan")))
    assert one == other and hash(one) == hash(other)
    assert one != db.Assumption("gap", 1.0, ">", 0.0) != db.Assumption("gap", 1.0, "<", 0.0)
    assert one.__eq__("gap") is NotImplemented


def test_certificates_in_print():
    found = {certificate.name: str(certificate) for certificate in started(db.BuresWasserstein())}
    assert found["descent-stability"].startswith("descent-stability: prediction, holds: descent stays at")
    assert found["flow-paper"].startswith("flow-paper: guarantee, does not hold (not met: squared margin")


def test_a_theorem_that_lacks_something_says_what():
    class Unfinished(db.AbstractTheorem):
        name = "flow-unfinished"

        def assumptions(self, start):
            return ()

    with pytest.raises(TypeError, match=r"abstract class Unfinished with abstract methods .*kind.*log_rate.*source"):
        Unfinished()


def test_a_relation_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"relation must be one of <, ≤, =, >, but '>=' was given"):
        db.Assumption("gap", 1.0, ">=", 0.0)


def test_the_least_a_theorem_says():
    """Excess where the minimum is not known is NaN, as are bounds; what the theorem needs is there."""
    slow, twice = started(Spread())
    assert slow.holds and math.isnan(slow.excess) and slow.constants == {} and slow.max_step_size is None
    assert (slow.rate, twice.rate) == (pytest.approx(1e-3), pytest.approx(2e-3))
    assert not started(Spread(), widths=(3, 3))[0].holds
    told = db.Certificate(Slow(0.5), started(db.BuresWasserstein())[0].start)
    np.testing.assert_allclose(told.bound([0.0, 2.0]), told.excess * np.exp([0.0, -1.0]), rtol=1e-15)


class Told(db.AbstractLoss):
    """A loss whose theorems are what it holds."""

    theorems: object

    def _value(self, w, target):
        return (w**2).sum()


db.theorems_of.register(Told, lambda loss: loss.theorems)


@pytest.mark.parametrize("told", [Slow(0.5), (Slow,), None], ids=["one", "a class", "nothing"])
def test_what_is_no_tuple_of_theorems_is_refused(told):
    assert [c.name for c in db.certify(db.initialize((3, 3), key=0), TARGET, Told((Slow(0.5),)))] == [Slow(0.5).name]
    with pytest.raises(TypeError, match="told of a Told must be a tuple of theorems, objects of subclasses of Abstr"):
        db.certify(db.initialize((3, 3), key=0), TARGET, Told(told))


@pytest.mark.parametrize("attribute", ["method", "kind"])
def test_a_theorem_of_another_kind_or_method_is_refused(attribute):
    wrong = type("Wrong", (Slow,), {attribute: "promise"})
    with pytest.raises(ValueError, match=rf"Wrong\.{attribute} must be .* but is 'promise'"):
        wrong(0.5)


class WithoutRate(Slow):
    """Its rate is not defined where its assumptions hold."""

    name = "flow-without-rate"

    def log_rate(self, start):
        return math.nan


def test_a_guarantee_that_holds_without_a_rate_is_refused_by_name():
    certificates = [
        db.Certificate(
            WithoutRate(0.5),
            db.certify(db.initialize(widths, "close", target=TARGET, key=1), TARGET, LOSSES[0])[0].start,
        )
        for widths in ((3, 3, 3), (3, 3))
    ]
    holds, missed = certificates
    uses = (str, lambda c: c.rate, lambda c: c.bound(1.0), lambda c: c.time_to(0.1))
    for use in uses:
        with pytest.raises(
            ValueError, match=r"theorem flow-without-rate \(WithoutRate\) is a guarantee .* log_rate is NaN"
        ):
            use(holds)
    assert math.isnan(missed.rate) and missed.bound(1.0) == math.inf  # nothing is promised there
