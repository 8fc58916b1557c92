"""What is fitted to what: targets, networks, their initialization, and losses."""

from deepbures.model._balanced import balanced_layers as balanced_layers
from deepbures.model._balanced import balanced_network as balanced_network
from deepbures.model._bures_wasserstein import BuresWasserstein as BuresWasserstein
from deepbures.model._entropic import EntropicWasserstein as EntropicWasserstein
from deepbures.model._entropic import SinkhornDivergence as SinkhornDivergence
from deepbures.model._frobenius import Frobenius as Frobenius
from deepbures.model._initialization import initialize as initialize
from deepbures.model._inputs import as_target as as_target
from deepbures.model._inputs import check_target as check_target
from deepbures.model._likelihood import GaussianLikelihood as GaussianLikelihood
from deepbures.model._losses import AbstractLoss as AbstractLoss
from deepbures.model._losses import AbstractSpectralLoss as AbstractSpectralLoss
from deepbures.model._losses import check_loss as check_loss
from deepbures.model._modes import AbstractModes as AbstractModes
from deepbures.model._network import DeepLinearNetwork as DeepLinearNetwork
from deepbures.model._network import check_network as check_network
from deepbures.model._network import multiply_layers as multiply_layers
from deepbures.model._network import stack_networks as stack_networks
from deepbures.model._target import Target as Target
