"""Linear algebra that knows no covariance: what several rooms need, of arrays of NumPy, JAX and PyTorch.

JAX and SciPy's sparse solvers are loaded by the functions that need them, so that the metric starts quickly.
"""

from deepbures.linalg._lanczos import extreme_eigenpairs as extreme_eigenpairs
from deepbures.linalg._lanczos import leading_eigenpairs as leading_eigenpairs
from deepbures.linalg._lanczos import seeded_eigsh as seeded_eigsh
from deepbures.linalg._namespace import namespace as namespace
from deepbures.linalg._namespace import transpose as transpose
from deepbures.linalg._norms import adjoint as adjoint
from deepbures.linalg._norms import squared_norm as squared_norm
from deepbures.linalg._orthogonal import haar_orthogonal as haar_orthogonal
from deepbures.linalg._procrustes import polar_derivative as polar_derivative
from deepbures.linalg._procrustes import polar_factor as polar_factor
from deepbures.linalg._procrustes import squared_procrustes_distance as squared_procrustes_distance
from deepbures.linalg._rank import effective_rank as effective_rank
from deepbures.linalg._rank import nonzero as nonzero
from deepbures.linalg._rank import rank_size as rank_size
from deepbures.linalg._rank import svd_noise as svd_noise
from deepbures.linalg._rank import without_noise as without_noise
from deepbures.linalg._svd import thin_svd as thin_svd
from deepbures.linalg._triangle import triangle as triangle
