"""Shapes that are annotated are checked: what does not fit them is an error while the tests run."""

import jaxtyping
import numpy as np
import pytest

import deepbures as db
from deepbures.landscape import PathProfile
from deepbures.landscape._eigenvalues import geometric_sum, group_starts

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


def test_what_people_give_is_looked_at_by_the_function():
    with pytest.raises(TypeError, match="target must be a Target"):
        db.classify(db.DeepLinearNetwork([np.eye(2)]), np.eye(2), db.Frobenius())
