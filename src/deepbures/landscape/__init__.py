"""What the loss looks like, without time: its minimum over bounded rank and the curvature there."""

from deepbures.landscape._classify import Classification, classify
from deepbures.landscape._critical import critical_points
from deepbures.landscape._curvature import asymptotic_rate, sharpness
from deepbures.landscape._eigenvalues import modes_of as modes_of
from deepbures.landscape._ends import SpectrumEnds as SpectrumEnds
from deepbures.landscape._ends import spectrum_ends as spectrum_ends
from deepbures.landscape._lanczos import HessianExtremes, hessian_extremes, hessian_matrix
from deepbures.landscape._minimum import minimal_loss, rank_k_minimizer
from deepbures.landscape._minimum import warn_unusable as warn_unusable
from deepbures.landscape._paths import PathProfile, QuadraticModel, loss_along_path, quadratic_model
from deepbures.landscape._points import CriticalPoint, CriticalPoints
from deepbures.landscape._problem import Problem
from deepbures.landscape._spectrum import HessianSpectrum, hessian_spectrum

__all__ = [
    "Classification",
    "CriticalPoint",
    "CriticalPoints",
    "HessianExtremes",
    "HessianSpectrum",
    "PathProfile",
    "Problem",
    "QuadraticModel",
    "asymptotic_rate",
    "classify",
    "critical_points",
    "hessian_extremes",
    "hessian_matrix",
    "hessian_spectrum",
    "loss_along_path",
    "minimal_loss",
    "quadratic_model",
    "rank_k_minimizer",
    "sharpness",
]
