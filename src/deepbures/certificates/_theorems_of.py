"""Which theorems are known of which loss."""

from functools import singledispatch

from deepbures.certificates._descent_theorems import DescentConstant, DescentDerived, DescentExact, DescentPaper
from deepbures.certificates._flow_theorems import FlowAuthorsCode, FlowBottleneck, FlowDerived, FlowExact, FlowPaper
from deepbures.certificates._frobenius_theorems import FrobeniusAnyLayers, FrobeniusBelowSaddle, FrobeniusGlobal
from deepbures.certificates._predictions import DescentSharpness, DescentStability, FlowAsymptotic
from deepbures.certificates._smoothed_bottleneck import FlowSmoothedBottleneck
from deepbures.certificates._theorem import AbstractTheorem
from deepbures.certificates._tightening import FlowAnyLayers, FlowBelowSaddle, FlowGlobal
from deepbures.model import AbstractLoss, BuresWasserstein, Frobenius


def predictions_of(loss: AbstractLoss) -> tuple[AbstractTheorem, ...]:
    """What the curvature at the minimizer predicts; nothing, of a loss of which that is not known in closed form.

    Examples
    --------
    >>> import deepbures as db
    >>> [theorem.name for theorem in db.predictions_of(db.Frobenius())]
    ['flow-asymptotic', 'descent-sharpness', 'descent-stability']
    """
    return () if loss.modes is None else (FlowAsymptotic(), DescentSharpness(), DescentStability())


@singledispatch
def theorems_of(loss: AbstractLoss) -> tuple[AbstractTheorem, ...]:
    """All that `certify` tells of the training of a loss.

    `theorems_of.register` is how a loss gets theorems of its own: they are found by its class.

    Examples
    --------
    >>> import deepbures as db
    >>> [theorem.name for theorem in db.theorems_of(db.BuresWasserstein()) if theorem.method == "descent"]
    ['descent-paper', 'descent-derived', 'descent-exact', 'descent-constant', 'descent-sharpness', 'descent-stability']
    """
    return predictions_of(loss)


@theorems_of.register
def _of_bures_wasserstein(loss: BuresWasserstein) -> tuple[AbstractTheorem, ...]:
    return (
        FlowPaper(),
        FlowDerived(),
        FlowExact(),
        FlowBottleneck(),
        FlowGlobal(),
        FlowAnyLayers(),
        FlowBelowSaddle(),
        FlowSmoothedBottleneck(),
        FlowAuthorsCode(),
        DescentPaper(),
        DescentDerived(),
        DescentExact(),
        DescentConstant(),
        *predictions_of(loss),
    )


@theorems_of.register
def _of_frobenius(loss: Frobenius) -> tuple[AbstractTheorem, ...]:
    return (FrobeniusGlobal(), FrobeniusAnyLayers(), FrobeniusBelowSaddle(), *predictions_of(loss))
