"""The experiments of the paper, and some of our own: functions that return records; `deepbures.plot` draws them."""

from deepbures.experiments._bounds import Bounds as Bounds
from deepbures.experiments._bounds import bounds as bounds
from deepbures.experiments._curves import Curve as Curve
from deepbures.experiments._curves import Curves as Curves
from deepbures.experiments._curves import curves as curves
from deepbures.experiments._descent import Descent as Descent
from deepbures.experiments._descent import descent as descent
from deepbures.experiments._grid import Grid as Grid
from deepbures.experiments._grid import grid as grid
from deepbures.experiments._hessian_parts import Curvatures as Curvatures
from deepbures.experiments._hessian_record import Hessians as Hessians
from deepbures.experiments._hessians import hessians as hessians
from deepbures.experiments._image_record import Generator as Generator
from deepbures.experiments._image_record import Images as Images
from deepbures.experiments._images import images as images
from deepbures.experiments._pieces import Finding as Finding
from deepbures.experiments._pieces import Keeper as Keeper
from deepbures.experiments._pieces import Piece as Piece
from deepbures.experiments._pieces import compute_all as compute_all
from deepbures.experiments._smoothing import Smoothing as Smoothing
from deepbures.experiments._smoothing import smoothing as smoothing
