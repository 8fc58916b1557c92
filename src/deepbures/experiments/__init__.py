"""The experiments of the paper, and some of our own: functions that return records; `deepbures.plot` draws them."""

from deepbures.experiments._hessian_record import Curvatures as Curvatures
from deepbures.experiments._hessian_record import Hessians as Hessians
from deepbures.experiments._hessians import hessians as hessians
from deepbures.experiments._pieces import Finding as Finding
from deepbures.experiments._pieces import Keeper as Keeper
from deepbures.experiments._pieces import Piece as Piece
from deepbures.experiments._pieces import compute_all as compute_all
