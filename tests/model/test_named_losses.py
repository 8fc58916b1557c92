"""Losses by name: one table for Python, the command line and files, and what each says of itself."""

import numpy as np
import pytest

import deepbures as db
from deepbures.model import LossName, as_loss

GIVEN = {
    "bw": (db.BuresWasserstein, {"tau": 0.25}),
    "frobenius": (db.Frobenius, {}),
    "likelihood": (db.GaussianLikelihood, {"tau": 0.25}),
    "entropic": (db.EntropicWasserstein, {"epsilon": 0.5}),
    "sinkhorn": (db.SinkhornDivergence, {"epsilon": 0.5}),
}


def test_every_name_makes_its_loss_and_every_loss_knows_its_name():
    assert list(GIVEN) == [name.value for name in LossName]
    for name, (make, parameters) in GIVEN.items():
        loss = db.loss_named(name, **parameters)
        assert type(loss) is make and loss.parameters == parameters and loss.name == name
        told = loss.to_dict()
        assert told["name"] == name and db.loss_named(told["name"], **told["parameters"]) == loss
    assert db.loss_named("bw") == db.BuresWasserstein()


def test_units_are_those_of_scaled_data():
    # With the data and W multiplied by c, a loss is multiplied by c^(2 degree): "data units to the 4th" for degree 2.
    c, w = 3.0, np.array([[1.0], [0.5]])
    spectrum = np.array([4.0, 1.0])
    powers = {"nats": 0, "squared data units": 2, "data units to the 4th": 4}
    for name, (_, parameters) in GIVEN.items():
        loss = db.loss_named(name, **parameters)
        scaled = db.loss_named(name, **{key: c**2 * value for key, value in parameters.items()})
        value = loss.value(w, db.Target.from_spectrum(spectrum))
        assert scaled.value(c * w, db.Target.from_spectrum(c**2 * spectrum)) == pytest.approx(
            float(value) * c ** powers[loss.units], rel=1e-12
        )


def test_the_law_of_the_model_has_the_noise_that_the_loss_counts_in():
    noise = {name: db.loss_named(name, **parameters).noise_variance for name, (_, parameters) in GIVEN.items()}
    assert noise == {"bw": 0.25, "frobenius": 0.0, "likelihood": 0.25, "entropic": 0.0, "sinkhorn": 0.0}


@pytest.mark.parametrize(
    "name, parameters, message",
    [
        (
            "square",
            {},
            r'loss must be one of "bw", "frobenius", "likelihood", "entropic", "sinkhorn", or a loss such as',
        ),
        (db.Frobenius, {}, "loss must be one of"),
        ("frobenius", {"tau": 0.1}, r"tau 0\.1 was given, but loss frobenius does not take it .of the losses, bw"),
        (
            "bw",
            {"epsilon": 0.1},
            r"epsilon 0\.1 was given, but loss bw does not take it .of the losses, entr",
        ),
        ("likelihood", {}, "loss likelihood needs tau, the variance of the noise of the model, but it was not given"),
        ("sinkhorn", {"epsilon": 0.0}, "loss sinkhorn needs epsilon, .*: pass a positive epsilon"),
        ("entropic", {"epsilon": -1.0}, r"epsilon must be finite and not negative, but -1\.0 was given"),
        ("bw", {"tau": np.nan}, "tau must be finite and not negative, but nan was given"),
    ],
)
def test_what_a_name_does_not_take(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        db.loss_named(name, **parameters)


@pytest.mark.parametrize("value", ["0.5", b"1", True, None])
def test_text_and_truth_values_are_no_parameters_of_a_name_either(value):
    with pytest.raises(TypeError, match="tau must be a number, but"):
        db.loss_named("bw", tau=value)


def test_a_parameter_that_is_no_number():
    with pytest.raises(TypeError, match="tau must be a number, but 'large' was given"):
        db.loss_named("bw", tau="large")


def test_a_loss_of_ones_own_says_what_it_can():
    class Own(db.AbstractLoss):
        inner: db.AbstractLoss
        weight: float
        is_shown: bool = True

        def _value(self, w, target):
            return self.weight * self.inner.value(w, target)

    own = Own(db.Frobenius(), 2.0)
    assert own.to_dict() == {
        "name": "Own",
        "words": "Own",
        "parameters": {"weight": 2.0},
        "units": "units of the loss",
    }
    assert as_loss(own) is own
    with pytest.raises(ValueError, match=r"epsilon = 1\.0 belongs to the name of a loss, but a Own was given"):
        as_loss(own, epsilon=1.0)
