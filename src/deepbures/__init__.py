"""Generative deep linear networks under the Bures-Wasserstein loss: fit, explain, certify.

Public names are resolved on first use, so that importing the package is quick and loads nothing that is not needed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepbures.landscape import Classification as Classification
    from deepbures.landscape import CriticalPoint as CriticalPoint
    from deepbures.landscape import CriticalPoints as CriticalPoints
    from deepbures.landscape import HessianExtremes as HessianExtremes
    from deepbures.landscape import HessianSpectrum as HessianSpectrum
    from deepbures.landscape import PathProfile as PathProfile
    from deepbures.landscape import Problem as Problem
    from deepbures.landscape import QuadraticModel as QuadraticModel
    from deepbures.landscape import asymptotic_rate as asymptotic_rate
    from deepbures.landscape import classify as classify
    from deepbures.landscape import critical_points as critical_points
    from deepbures.landscape import hessian_extremes as hessian_extremes
    from deepbures.landscape import hessian_matrix as hessian_matrix
    from deepbures.landscape import hessian_spectrum as hessian_spectrum
    from deepbures.landscape import loss_along_path as loss_along_path
    from deepbures.landscape import minimal_loss as minimal_loss
    from deepbures.landscape import quadratic_model as quadratic_model
    from deepbures.landscape import rank_k_minimizer as rank_k_minimizer
    from deepbures.landscape import sharpness as sharpness
    from deepbures.metric import NearestCovariance as NearestCovariance
    from deepbures.metric import bures_wasserstein_distance as bures_wasserstein_distance
    from deepbures.metric import bures_wasserstein_distance_factors as bures_wasserstein_distance_factors
    from deepbures.metric import bures_wasserstein_distance_mixed as bures_wasserstein_distance_mixed
    from deepbures.metric import nearest_covariance as nearest_covariance
    from deepbures.metric import pairwise_bures_wasserstein_distance as pairwise_bures_wasserstein_distance
    from deepbures.metric import (
        pairwise_bures_wasserstein_distance_factors as pairwise_bures_wasserstein_distance_factors,
    )
    from deepbures.metric import pairwise_squared_bures_wasserstein as pairwise_squared_bures_wasserstein
    from deepbures.metric import (
        pairwise_squared_bures_wasserstein_factors as pairwise_squared_bures_wasserstein_factors,
    )
    from deepbures.metric import squared_bures_wasserstein as squared_bures_wasserstein
    from deepbures.metric import squared_bures_wasserstein_factors as squared_bures_wasserstein_factors
    from deepbures.metric import squared_bures_wasserstein_mixed as squared_bures_wasserstein_mixed
    from deepbures.metric import squared_frechet_distance as squared_frechet_distance
    from deepbures.metric import squared_frechet_distance_from_moments as squared_frechet_distance_from_moments
    from deepbures.metric import transport_map as transport_map
    from deepbures.model import AbstractLoss as AbstractLoss
    from deepbures.model import AbstractModes as AbstractModes
    from deepbures.model import AbstractSpectralLoss as AbstractSpectralLoss
    from deepbures.model import BuresWasserstein as BuresWasserstein
    from deepbures.model import DeepLinearNetwork as DeepLinearNetwork
    from deepbures.model import EntropicWasserstein as EntropicWasserstein
    from deepbures.model import Frobenius as Frobenius
    from deepbures.model import GaussianLikelihood as GaussianLikelihood
    from deepbures.model import SinkhornDivergence as SinkhornDivergence
    from deepbures.model import Target as Target
    from deepbures.model import balanced_network as balanced_network
    from deepbures.model import initialize as initialize
    from deepbures.model import stack_networks as stack_networks
    from deepbures.training import Assumption as Assumption
    from deepbures.training import Certificate as Certificate
    from deepbures.training import Check as Check
    from deepbures.training import Fit as Fit
    from deepbures.training import Plateau as Plateau
    from deepbures.training import Result as Result
    from deepbures.training import Trajectory as Trajectory
    from deepbures.training import aligned_flow as aligned_flow
    from deepbures.training import certify as certify
    from deepbures.training import fit as fit
    from deepbures.training import gradient_descent as gradient_descent
    from deepbures.training import gradient_flow as gradient_flow
    from deepbures.training import plateaus as plateaus

__version__ = "0.1.0"

_ROOMS = {
    "metric": (
        "squared_bures_wasserstein",
        "bures_wasserstein_distance",
        "squared_bures_wasserstein_factors",
        "bures_wasserstein_distance_factors",
        "squared_bures_wasserstein_mixed",
        "bures_wasserstein_distance_mixed",
        "pairwise_squared_bures_wasserstein",
        "pairwise_bures_wasserstein_distance",
        "pairwise_squared_bures_wasserstein_factors",
        "pairwise_bures_wasserstein_distance_factors",
        "transport_map",
        "squared_frechet_distance",
        "squared_frechet_distance_from_moments",
        "nearest_covariance",
        "NearestCovariance",
    ),
    "model": (
        "Target",
        "DeepLinearNetwork",
        "balanced_network",
        "stack_networks",
        "initialize",
        "BuresWasserstein",
        "Frobenius",
        "GaussianLikelihood",
        "EntropicWasserstein",
        "SinkhornDivergence",
        "AbstractLoss",
        "AbstractSpectralLoss",
        "AbstractModes",
    ),
    "landscape": (
        "Problem",
        "rank_k_minimizer",
        "minimal_loss",
        "sharpness",
        "asymptotic_rate",
        "CriticalPoint",
        "CriticalPoints",
        "critical_points",
        "HessianSpectrum",
        "hessian_spectrum",
        "HessianExtremes",
        "hessian_extremes",
        "hessian_matrix",
        "Classification",
        "classify",
        "PathProfile",
        "loss_along_path",
        "QuadraticModel",
        "quadratic_model",
    ),
    "training": (
        "fit",
        "gradient_flow",
        "gradient_descent",
        "aligned_flow",
        "certify",
        "Fit",
        "Trajectory",
        "Result",
        "Certificate",
        "Assumption",
        "Check",
        "plateaus",
        "Plateau",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = ["__version__", *_ROOM_OF]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'deepbures' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"deepbures.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
