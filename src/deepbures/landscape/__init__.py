"""What the loss looks like, without time: its minimum over bounded rank and the curvature there."""

from deepbures.landscape._classify import Classification as Classification
from deepbures.landscape._classify import classify as classify
from deepbures.landscape._critical import critical_points as critical_points
from deepbures.landscape._curvature import asymptotic_rate as asymptotic_rate
from deepbures.landscape._curvature import sharpness as sharpness
from deepbures.landscape._eigenvalues import modes_of as modes_of
from deepbures.landscape._ends import SpectrumEnds as SpectrumEnds
from deepbures.landscape._ends import spectrum_ends as spectrum_ends
from deepbures.landscape._lanczos import HessianExtremes as HessianExtremes
from deepbures.landscape._lanczos import hessian_extremes as hessian_extremes
from deepbures.landscape._lanczos import hessian_matrix as hessian_matrix
from deepbures.landscape._minimum import minimal_loss as minimal_loss
from deepbures.landscape._minimum import rank_k_minimizer as rank_k_minimizer
from deepbures.landscape._minimum import warn_unusable as warn_unusable
from deepbures.landscape._paths import PathProfile as PathProfile
from deepbures.landscape._paths import QuadraticModel as QuadraticModel
from deepbures.landscape._paths import loss_along_path as loss_along_path
from deepbures.landscape._paths import quadratic_model as quadratic_model
from deepbures.landscape._points import CriticalPoint as CriticalPoint
from deepbures.landscape._points import CriticalPoints as CriticalPoints
from deepbures.landscape._problem import Problem as Problem
from deepbures.landscape._spectrum import HessianSpectrum as HessianSpectrum
from deepbures.landscape._spectrum import hessian_spectrum as hessian_spectrum
