"""Losses by their names."""

from typing import Any

from deepbures._loss_names import LossName
from deepbures.model._bures_wasserstein import BuresWasserstein
from deepbures.model._entropic import EntropicWasserstein, SinkhornDivergence
from deepbures.model._frobenius import Frobenius
from deepbures.model._likelihood import GaussianLikelihood
from deepbures.model._losses import AbstractLoss

_LOSSES: tuple[Any, ...] = (BuresWasserstein, Frobenius, GaussianLikelihood, EntropicWasserstein, SinkhornDivergence)
_OF_NAME = {loss.name: loss for loss in _LOSSES}


def loss_named(name: str, *, tau: float = 0.0, epsilon: float | None = None) -> AbstractLoss:
    """The loss of a name, as the command line and files know it.

    ============  =======================  ==============================================
    name          loss                     parameter
    ============  =======================  ==============================================
    "bw"          `BuresWasserstein`       tau ≥ 0, its smoothing
    "frobenius"   `Frobenius`
    "likelihood"  `GaussianLikelihood`     tau > 0, the variance of the model's noise
    "entropic"    `EntropicWasserstein`    epsilon > 0, the regularization of the transport
    "sinkhorn"    `SinkhornDivergence`     epsilon > 0, the regularization of the transport
    ============  =======================  ==============================================

    Parameters
    ----------
    name : str
        One of these.
    tau, epsilon : float
        The parameter of the loss, in the units of the covariance. 0 and None: not given.

    Raises
    ------
    ValueError
        For another name; for a parameter that the loss does not take, or that is out of range; where it needs one.
    TypeError
        For a parameter that is no number.

    Examples
    --------
    >>> import deepbures as db
    >>> db.loss_named("sinkhorn", epsilon=0.5)
    SinkhornDivergence(epsilon=0.5)
    """
    known = LossName.__members__.get(name) if isinstance(name, str) else None
    if known is None:
        names = ", ".join(f'"{other}"' for other in LossName)
        raise ValueError(
            f"loss must be one of {names}, or a loss such as SinkhornDivergence(0.1), but {name!r} was given."
        )
    loss: AbstractLoss = _OF_NAME[known](**known.arguments(tau=tau, epsilon=epsilon))
    return loss


def as_loss(loss: str | AbstractLoss, *, tau: float = 0.0, epsilon: float | None = None) -> AbstractLoss:
    """A loss as it is, or that of a name.

    Raises
    ------
    ValueError
        As `loss_named` does; for parameters beside a loss that has its own.
    """
    if not isinstance(loss, AbstractLoss):
        return loss_named(loss, tau=tau, epsilon=epsilon)
    for parameter, value in (("tau", tau), ("epsilon", epsilon)):
        if value:
            raise ValueError(
                f"{parameter} = {value} belongs to the name of a loss, but a {type(loss).__name__} was given, which "
                "has parameters of its own: leave it out."
            )
    return loss
