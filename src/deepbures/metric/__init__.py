"""Distances and optimal maps between covariances: of matrices, factors and samples, in any array library.

Nothing here knows of targets or networks. Arguments are plain arrays of NumPy, PyTorch or JAX (CuPy by the array API),
of one library and dtype (NumPy's beside JAX's become JAX's), with leading batch dimensions that broadcast; results are
of the same library and precision.
"""

from deepbures.metric._covariances import bures_wasserstein_distance as bures_wasserstein_distance
from deepbures.metric._covariances import squared_bures_wasserstein as squared_bures_wasserstein
from deepbures.metric._covariances import transport_map as transport_map
from deepbures.metric._factors import bures_wasserstein_distance_factors as bures_wasserstein_distance_factors
from deepbures.metric._factors import squared_bures_wasserstein_factors as squared_bures_wasserstein_factors
from deepbures.metric._frechet import squared_frechet_distance as squared_frechet_distance
from deepbures.metric._frechet import (
    squared_frechet_distance_from_moments as squared_frechet_distance_from_moments,
)
from deepbures.metric._mixed import bures_wasserstein_distance_mixed as bures_wasserstein_distance_mixed
from deepbures.metric._mixed import squared_bures_wasserstein_mixed as squared_bures_wasserstein_mixed
from deepbures.metric._nearest import NearestCovariance as NearestCovariance
from deepbures.metric._nearest import nearest_covariance as nearest_covariance
from deepbures.metric._pairwise import pairwise_bures_wasserstein_distance as pairwise_bures_wasserstein_distance
from deepbures.metric._pairwise import (
    pairwise_bures_wasserstein_distance_factors as pairwise_bures_wasserstein_distance_factors,
)
from deepbures.metric._pairwise import pairwise_squared_bures_wasserstein as pairwise_squared_bures_wasserstein
from deepbures.metric._pairwise import (
    pairwise_squared_bures_wasserstein_factors as pairwise_squared_bures_wasserstein_factors,
)
