"""Linear algebra that knows no covariance: what several rooms need of arrays of NumPy and JAX."""

from deepbures.linalg._namespace import namespace as namespace
from deepbures.linalg._namespace import transpose as transpose
