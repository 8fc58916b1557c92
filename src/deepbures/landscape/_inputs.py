"""What the functions of this room take, one network, one target, a loss: as `model` checks them."""

from deepbures.model import check_loss as check_loss
from deepbures.model import check_network as check_network
from deepbures.model import check_target as check_target
