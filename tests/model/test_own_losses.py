"""Losses of a user's own: the page that tells of them runs, and what follows from their modes is theirs."""

import re
from pathlib import Path

import numpy as np
import pytest

import deepbures as db

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"


@pytest.fixture(scope="module")
def page():
    """The names of the page after all of its code has run."""
    names = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), names)
    return names


def twice(page, loss):
    return page["Twice"](loss)


@pytest.mark.parametrize("loss", [db.BuresWasserstein(0.5), db.Frobenius()], ids=str)
def test_twice_a_loss_has_twice_its_numbers(page, loss):
    target, double, depth = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0), twice(page, loss), 2
    once = db.critical_points(target, 2, loss, depth=depth)
    found = db.critical_points(target, 2, double, depth=depth)
    np.testing.assert_allclose(found.value, 2 * once.value, atol=1e-14)
    assert found.morse_index.tolist() == once.morse_index.tolist()
    for point, single in zip(found, once, strict=True):
        expected = 2 * single.spectrum().eigenvalues
        np.testing.assert_allclose(point.spectrum().eigenvalues, expected, rtol=1e-13, atol=1e-13)
    assert db.sharpness(target, 2, double, depth=depth) == pytest.approx(
        2 * float(db.sharpness(target, 2, loss, depth=depth)), rel=1e-14
    )


def test_twice_the_exact_loss_has_the_sharpness_four(page):
    assert float(db.sharpness(db.Target.from_spectrum([4.0, 2.0, 1.0]), 2, twice(page, db.BuresWasserstein()))) == 4.0


@pytest.mark.parametrize("solver", ["flow", "descent"])
def test_twice_a_loss_is_trained_to_its_minimum(page, solver):
    target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0), twice(page, db.BuresWasserstein())
    start = db.initialize((2, 2, 3), "balanced", key=1)
    if solver == "flow":
        run = db.gradient_flow(start, target, loss, 50.0)
    else:
        run = db.gradient_descent(start, target, loss, 2000)  # step 1/λ_max, from its modes
    assert run.result == db.Result.converged and run.excess[-1] < 1e-9
    names = [certificate.name for certificate in db.certify(start, target, loss) if not certificate.is_guarantee]
    assert names[-3:] == ["flow-asymptotic", "descent-sharpness", "descent-stability"]
    assert db.classify(run.network, target, loss).point.kind == "minimizer"


@pytest.mark.parametrize("loss", [db.BuresWasserstein(), db.BuresWasserstein(0.2)], ids=str)
def test_the_theorems_of_a_loss_are_those_of_twice_it_in_half_the_time(page, loss):
    target, double = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0), twice(page, loss)
    start = db.initialize((3, 3, 3), "close", target=target, tau=loss.noise_variance, key=1)
    once, found = ({c.name: c for c in db.certify(start, target, each)} for each in (loss, double))
    assert list(found) == ["flow-twice", *once]
    for name, certificate in once.items():
        if certificate.holds and certificate.method == "flow":
            np.testing.assert_allclose(found[name].rate, 2 * certificate.rate, rtol=1e-9)
            np.testing.assert_allclose(found[name].bound([0.3, 2.0]), 2 * certificate.bound([0.6, 4.0]), rtol=1e-9)
        elif certificate.holds:
            np.testing.assert_allclose(found[name].log_rate, certificate.log_rate, rtol=1e-9)
            np.testing.assert_allclose(found[name].max_step_size, certificate.max_step_size / 2, rtol=1e-9)


def test_runs_under_twice_a_loss_keep_its_theorems(page):
    target, double = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0), twice(page, db.BuresWasserstein())
    start = db.initialize((3, 3, 3), "close", target=target, key=1)
    flow = db.gradient_flow(start, target, double, 2.0, num_records=20, record=("loss",))
    descent = db.gradient_descent(start, target, double, 100, "certified", num_records=20, record=("loss",))
    certificates = db.certify(start, target, double)
    kept = [check for run in (flow, descent) for check in run.check(certificates) if check.applies]
    names = {check.certificate.name for check in kept if check.certificate.is_guarantee}
    tightening = {"flow-global", "flow-any-layers"}
    assert names == {"flow-derived", "flow-exact", "descent-constant"} | tightening
    assert not any(check.violated for check in kept)


def test_the_theorem_of_the_page_is_an_equality(page):
    exact, *_ = page["flow"].check(db.certify(page["shallow"], page["target"], page["twice"]))
    assert exact.certificate.name == "flow-twice" and exact.applies and not exact.violated
    assert exact.tightness == pytest.approx(1, rel=1e-6)


def test_a_loss_without_modes_trains_and_says_what_is_not_known(page):
    target, loss, run = page["target"], page["LogCosh"](), page["run"]
    assert run.losses[-1] < 1e-2 * run.losses[0] and np.isnan(run.excess).all()
    flow = db.gradient_flow(page["start"], target, loss, 20.0)
    assert flow.losses[-1] < 1e-2 * flow.losses[0]
    assert np.isnan(db.minimal_loss(target, 2, loss)) and db.certify(page["start"], target, loss) == ()
    with pytest.raises(ValueError, match=r"not known for a LogCosh .* pass a number"):
        db.gradient_descent(page["start"], target, loss, 10)
    with pytest.raises(TypeError, match="landscape of a LogCosh is not known in closed form"):
        db.critical_points(target, 2, loss)


def test_leaves_are_no_base_classes():
    with pytest.raises(TypeError, match="BuresWasserstein is not a base class: Doubled would inherit"):

        class Doubled(db.BuresWasserstein):
            pass


@pytest.mark.parametrize(
    "loss",
    [db.GaussianLikelihood(0.5), db.EntropicWasserstein(1.0), db.SinkhornDivergence(0.5)],
    ids=lambda loss: type(loss).__name__,
)
@pytest.mark.parametrize("solver", ["closed-form", "flow", "descent"])
def test_fits_of_every_loss_reach_the_minimum(loss, solver):
    target = db.Target.from_spectrum([4.0, 2.0, 1.0, 0.25], key=0)
    fitted = db.fit(target, 2, depth=2, loss=loss, solver=solver)
    assert fitted.result == db.Result.converged and abs(fitted.relative_excess) < 1e-6
    shrunk = loss.modes.used(np.array([4.0, 2.0]))
    singular = np.linalg.svd(fitted.network.end_to_end, compute_uv=False)
    np.testing.assert_allclose(np.sort(singular**2)[::-1][:2], shrunk, rtol=1e-2)


def test_fits_of_a_loss_without_modes(page):
    loss, target = page["LogCosh"](), page["target"]
    with pytest.raises(ValueError, match=r"How long to train is not known for a LogCosh, .* pass horizon"):
        db.fit(target, 3, loss=loss)
    fitted = db.fit(target, 3, depth=2, loss=loss, horizon=20.0)
    assert fitted.final_loss < 1e-2 * fitted.trajectory.losses[0] and np.isnan(fitted.relative_excess)
    with pytest.raises(ValueError, match=r"tau = 0\.1 belongs to the name of a loss, but a .* was given, which"):
        db.fit(target, 3, loss=loss, tau=0.1)
