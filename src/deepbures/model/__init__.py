"""What is fitted to what: targets, networks, their initialization, and losses."""

from deepbures._loss_names import LossName as LossName
from deepbures.model._balanced import balanced_layers as balanced_layers
from deepbures.model._balanced import balanced_network
from deepbures.model._balancedness import balancedness_tolerance as balancedness_tolerance
from deepbures.model._balancedness import largest_squared_layer as largest_squared_layer
from deepbures.model._balancedness import relative_balancedness_gap as relative_balancedness_gap
from deepbures.model._bures_wasserstein import BuresWasserstein
from deepbures.model._entropic import EntropicWasserstein, SinkhornDivergence
from deepbures.model._frobenius import Frobenius
from deepbures.model._initialization import initialize
from deepbures.model._initialization import perturbed_minimizers as perturbed_minimizers
from deepbures.model._inputs import as_target as as_target
from deepbures.model._inputs import check_pair as check_pair
from deepbures.model._inputs import check_target as check_target
from deepbures.model._inputs import samples_for_target as samples_for_target
from deepbures.model._layers import layer_gradients as layer_gradients
from deepbures.model._likelihood import GaussianLikelihood
from deepbures.model._losses import AbstractLoss, AbstractSpectralLoss
from deepbures.model._losses import check_loss as check_loss
from deepbures.model._margin import squared_margin as squared_margin
from deepbures.model._margin import unsmoothed_margin as unsmoothed_margin
from deepbures.model._modes import AbstractModes
from deepbures.model._named import as_loss as as_loss
from deepbures.model._named import loss_named
from deepbures.model._network import DeepLinearNetwork, stack_networks
from deepbures.model._network import check_network as check_network
from deepbures.model._network import multiply_layers as multiply_layers
from deepbures.model._target import Target

__all__ = [
    "AbstractLoss",
    "AbstractModes",
    "AbstractSpectralLoss",
    "BuresWasserstein",
    "DeepLinearNetwork",
    "EntropicWasserstein",
    "Frobenius",
    "GaussianLikelihood",
    "SinkhornDivergence",
    "Target",
    "balanced_network",
    "initialize",
    "loss_named",
    "stack_networks",
]
