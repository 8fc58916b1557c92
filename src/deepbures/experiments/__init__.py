"""The experiments of the paper, and some of our own: functions that return records; `deepbures.plot` draws them."""

from deepbures.experiments._bounds import Bounds, bounds
from deepbures.experiments._curves import Curve, Curves, curves
from deepbures.experiments._descent import Descent, descent
from deepbures.experiments._grid import Grid, grid
from deepbures.experiments._hessian_parts import Curvatures as Curvatures
from deepbures.experiments._hessian_record import Hessians as Hessians
from deepbures.experiments._hessians import hessians
from deepbures.experiments._image_record import Generator as Generator
from deepbures.experiments._image_record import Images as Images
from deepbures.experiments._images import images
from deepbures.experiments._losses import losses
from deepbures.experiments._losses_record import Losses
from deepbures.experiments._losses_record import LossesOnTarget as LossesOnTarget
from deepbures.experiments._pieces import Finding, Keeper, compute_all
from deepbures.experiments._pieces import Piece as Piece
from deepbures.experiments._smoothing import Smoothing, smoothing

__all__ = [
    "Bounds",
    "Curve",
    "Curves",
    "Descent",
    "Finding",
    "Grid",
    "Keeper",
    "Losses",
    "Smoothing",
    "bounds",
    "compute_all",
    "curves",
    "descent",
    "grid",
    "hessians",
    "images",
    "losses",
    "smoothing",
]
