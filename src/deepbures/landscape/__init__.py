"""What the loss looks like, without time: its minimum over bounded rank and the curvature there."""

from deepbures.landscape._curvature import asymptotic_rate as asymptotic_rate
from deepbures.landscape._curvature import sharpness as sharpness
from deepbures.landscape._minimum import minimal_loss as minimal_loss
from deepbures.landscape._minimum import rank_k_minimizer as rank_k_minimizer
