"""Data to fit: built-in data sets, synthetic Gaussian targets, and files.

Edge of the package: turns what a user names into arrays, and knows nothing of what is done with them. Importing it
loads neither JAX nor any optional dependency.
"""

from deepbures.datasets._dataset import Dataset
from deepbures.datasets._features import Features
from deepbures.datasets._features import require_same_order as require_same_order
from deepbures.datasets._load import is_text as is_text
from deepbures.datasets._load import known_datasets, load_dataset
from deepbures.datasets._load import load_matrix as load_matrix

__all__ = [
    "Dataset",
    "Features",
    "known_datasets",
    "load_dataset",
]
