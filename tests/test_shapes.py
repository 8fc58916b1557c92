"""Shapes that are annotated are checked: what does not fit them is an error while the tests run."""

import jaxtyping
import numpy as np
import pytest

import deepbures as db
from deepbures.landscape import PathProfile
from deepbures.landscape._eigenvalues import geometric_sum, group_starts
from deepbures.linalg import polar_factor
from deepbures.metric._covariances import congruence
from deepbures.metric._factors import squared_distance_of_graded
from deepbures.metric._moments import moments_from
from deepbures.metric._nuclear import root_difference

pytest.importorskip("beartype", reason="without beartype, annotated shapes are not checked")


def test_arguments_results_and_records_are_checked():
    with pytest.raises(jaxtyping.TypeCheckError, match="group_starts"):
        group_starts(np.ones((2, 2)), db.Frobenius().modes)
    with pytest.raises(jaxtyping.TypeCheckError, match="geometric_sum"):
        geometric_sum(np.ones(2), np.ones(3), 2)
    with pytest.raises(jaxtyping.TypeCheckError, match="PathProfile"):
        PathProfile(np.zeros(3), np.zeros(4))
    with pytest.raises(jaxtyping.TypeCheckError, match="PathProfile"):
        PathProfile(np.zeros(3, np.float32), np.zeros(3))


def test_linear_algebra_and_distances_are_checked():
    with pytest.raises(jaxtyping.TypeCheckError, match="polar_factor"):
        polar_factor(np.eye(3, 2), np.ones(3), np.eye(2))
    with pytest.raises(jaxtyping.TypeCheckError, match="root_difference"):
        root_difference(np.ones(3, complex), np.ones(()))


def test_covariances_factors_and_samples_are_checked():
    with pytest.raises(jaxtyping.TypeCheckError, match="congruence"):
        congruence(np.eye(3), np.eye(2))
    with pytest.raises(jaxtyping.TypeCheckError, match="squared_distance_of_graded"):
        squared_distance_of_graded(np.ones((3, 1)), np.ones((2, 1)))
    with pytest.raises(jaxtyping.TypeCheckError, match="moments_from"):
        moments_from(1, np.ones(3), np.ones((2, 1)))


def test_what_people_give_is_looked_at_by_the_function():
    with pytest.raises(TypeError, match="target must be a Target"):
        db.classify(db.DeepLinearNetwork([np.eye(2)]), np.eye(2), db.Frobenius())
