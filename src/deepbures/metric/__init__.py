"""Distances and optimal maps between covariances: of matrices, factors and samples, in any array library.

Nothing here knows of targets or networks. Arguments are plain arrays of NumPy, PyTorch or JAX (CuPy by the array API),
of one library and dtype (NumPy's beside JAX's become JAX's), with leading batch dimensions that broadcast; results are
of the same library and precision.
"""

from deepbures.metric._covariances import bures_wasserstein_distance, squared_bures_wasserstein, transport_map
from deepbures.metric._differentiable import differentiable
from deepbures.metric._factors import bures_wasserstein_distance_factors, squared_bures_wasserstein_factors
from deepbures.metric._factors import squared_distance_of_graded as squared_distance_of_graded
from deepbures.metric._frechet import squared_frechet_distance, squared_frechet_distance_from_moments
from deepbures.metric._kernel import Kernel
from deepbures.metric._libraries import in_full_precision as in_full_precision
from deepbures.metric._libraries import values_of as values_of
from deepbures.metric._mixed import bures_wasserstein_distance_mixed, squared_bures_wasserstein_mixed
from deepbures.metric._moments import Moments
from deepbures.metric._moments import moments_from as moments_from
from deepbures.metric._moments import moments_of as moments_of
from deepbures.metric._moments import remembered as remembered
from deepbures.metric._nearest import NearestCovariance, nearest_covariance
from deepbures.metric._nearest import checked_covariances as checked_covariances
from deepbures.metric._pairwise import (
    pairwise,
    pairwise_bures_wasserstein_distance,
    pairwise_bures_wasserstein_distance_factors,
    pairwise_squared_bures_wasserstein,
    pairwise_squared_bures_wasserstein_factors,
)
from deepbures.metric._rules import constant_product as constant_product
from deepbures.metric._validation import check_eigenvalues as check_eigenvalues

__all__ = [
    "Kernel",
    "Moments",
    "NearestCovariance",
    "bures_wasserstein_distance",
    "bures_wasserstein_distance_factors",
    "bures_wasserstein_distance_mixed",
    "differentiable",
    "nearest_covariance",
    "pairwise",
    "pairwise_bures_wasserstein_distance",
    "pairwise_bures_wasserstein_distance_factors",
    "pairwise_squared_bures_wasserstein",
    "pairwise_squared_bures_wasserstein_factors",
    "squared_bures_wasserstein",
    "squared_bures_wasserstein_factors",
    "squared_bures_wasserstein_mixed",
    "squared_frechet_distance",
    "squared_frechet_distance_from_moments",
    "transport_map",
]
