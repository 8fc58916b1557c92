"""The closed forms use nothing beyond the array API standard: they take any library that follows it."""

import array_api_strict as strict
import numpy as np
import pytest

import deepbures.metric as dbm

from . import pairs


def given(is_complex):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return pairs.normal(rng, shape, is_complex)

    def gram(x):
        a = x @ x.conj().mT
        return (a + a.conj().mT) / 2

    wide, other, f, g = draw(3, 5, 8), draw(3, 5, 8), draw(3, 5, 2), draw(3, 5, 3)
    a, b, large, larger, singular = gram(wide), gram(other), gram(draw(200, 400)), gram(draw(200, 400)), gram(f)
    return {
        "covariances": (dbm.squared_bures_wasserstein, (a, b)),
        "large covariances": (dbm.squared_bures_wasserstein, (large, larger)),
        "singular covariance": (dbm.squared_bures_wasserstein, (singular, b)),
        "equal covariances": (dbm.bures_wasserstein_distance, (a, a)),
        "factors": (dbm.squared_bures_wasserstein_factors, (f, g)),
        "wide factors": (dbm.squared_bures_wasserstein_factors, (wide, g)),
        "close factors": (dbm.bures_wasserstein_distance_factors, (f, f * 1.000001)),
        "map": (dbm.transport_map, (a, b)),
        "samples": (dbm.squared_frechet_distance, (wide, other)),
        "moments": (dbm.squared_frechet_distance_from_moments, (wide[..., 0], a, other[..., 0], b)),
        "one of each": (dbm.squared_bures_wasserstein_mixed, (a, g)),
        "within a stack": (dbm.pairwise_squared_bures_wasserstein, (a,)),
        "between stacks": (dbm.pairwise_bures_wasserstein_distance_factors, (f, g)),
    }


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("name", list(given(False)))
def test_results_are_those_of_numpy(name, is_complex):
    function, arguments = given(is_complex)[name]
    result = function(*(strict.asarray(argument) for argument in arguments))
    assert type(result).__module__.startswith("array_api_strict")
    np.testing.assert_allclose(np.asarray(result), function(*arguments), rtol=1e-13)
