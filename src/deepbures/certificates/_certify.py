"""Convergence certificates of one start: hypotheses and constants of the theorems, computed."""

import jax.numpy as jnp
import numpy as np

from deepbures._precision import any_traced, numpy_in_numpy_out
from deepbures.certificates._certificate import Certificate
from deepbures.certificates._start import measure
from deepbures.certificates._theorem import AbstractTheorem
from deepbures.certificates._theorems_of import theorems_of
from deepbures.landscape import Problem
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target, check_pair


@numpy_in_numpy_out
def certify(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> tuple[Certificate, ...]:
    """Certificates of convergence for gradient flow and descent from a start.

    ========================  ======================================================================  ===========
    name                      what                                                                    kind
    ========================  ======================================================================  ===========
    flow-paper                e(t) ≤ e(0) exp(−8NKc^{p+2} t), K = √(τλ_n)/(2C0²): τ > 0, k = n        guarantee
    flow-derived              the same with K = λ_n/(2√λ_1 C^{3/2}): τ ≥ 0, k = n                     guarantee
    flow-exact                L(t) ≤ L(0) exp(−4Nc^p t): τ = 0, k = n                                 guarantee
    flow-bottleneck           below the best saddle: τ = 0, k < n                                     guarantee
    flow-global               tightens; from every full-rank start: τ < λ_n, k = n                    guarantee
    flow-any-layers           tightens; also from unbalanced layers: τ < λ_n, k = n                   guarantee
    flow-below-saddle         tightens; below the best saddle: τ = 0, k < n                           guarantee
    flow-smoothed-bottleneck  tightens; below the best saddle: 0 < τ < λ_k, k < n                     guarantee
    flow-authors-code         flow-paper with the margin of the authors' code                         comparison
    flow-asymptotic           twice the smallest positive curvature at the balanced minimizer         prediction
    descent-paper             (1 − 2ηNc^p) per step for η ≤ min(η1, η2, η3): τ = 0, k = n             guarantee
    descent-derived           (1 − 4ηNKc^{p+2}) per step for these η, K as above: τ ≥ 0, k = n        guarantee
    descent-exact             (1 − 2η)² per step for η ≤ ½: depth 1, τ = 0, k = n                     guarantee
    descent-constant          tightens; any layers, below the best saddle: τ < λ_k, k ≤ n             guarantee
    descent-sharpness         (1 − ημ)² per step for η ≤ 1/λ_max, μ the smallest positive curvature   prediction
    descent-stability         the stability limit 2/λ_max                                             prediction
    ========================  ======================================================================  ===========

    Those that tighten are solutions of scalar equations: their `rate` is that at the start, `asymptotic_rate` that late
    in the run. At full rank the margin alone carries flow-derived, flow-exact and flow-any-layers, whatever the layers.
    The other guarantees derived here for the flow are for layers that are balanced or nearly: what the unbalancedness
    costs is charged, and their constants say "unbalancedness_factor", the rate that is left over that of balanced
    layers. descent-constant is for all layers. The paper's theorems and descent-derived are for balanced starts, within
    a relative balancedness gap of 1e-8 (2e-6 if the weights are in single precision). The margin c bounds the smallest
    singular value along the flow from below: c² = (√λ_n − √L(0))² − τ, which for τ = 0 is the modified margin
    deficiency √λ_n − √L(0) of the paper.

    These are for the Bures-Wasserstein loss. Of the Frobenius loss there are flow-frobenius-global, -any-layers and
    -below-saddle, which tighten too, for the same starts. Of every other loss with closed forms the three local
    predictions are known, and what `theorems_of` was told of its class.

    Parameters
    ----------
    net : DeepLinearNetwork
        The start.
    target : Target
        λ_1 ≥ … ≥ λ_n.
    loss : AbstractLoss
        The loss that is trained.

    Returns
    -------
    tuple of Certificate
        Also those whose assumptions are not met: they say which, and by how much.

    Raises
    ------
    ValueError
        For a batch of networks or targets, or inside a JAX transformation.
    TypeError
        If net or target is something else.

    References
    ----------
    Bréchet et al. (2023), Theorems on gradient flow and finite-step descent, constants as in their public code. The
    others, and the rigorous margin for τ > 0, are derived for this project.

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0)
    >>> start = db.initialize((3, 3, 3), "close", target=target, key=1)
    >>> for certificate in db.certify(start, target, db.BuresWasserstein()):
    ...     print(certificate.name, "holds" if certificate.holds else f"not met: {len(certificate.missed)}")
    flow-paper not met: 1
    flow-derived holds
    flow-exact holds
    flow-bottleneck not met: 1
    flow-global holds
    flow-any-layers holds
    flow-below-saddle not met: 1
    flow-smoothed-bottleneck not met: 1
    flow-authors-code not met: 1
    descent-paper holds
    descent-derived holds
    descent-exact not met: 1
    descent-constant holds
    flow-asymptotic holds
    descent-sharpness holds
    descent-stability holds
    """
    check_pair(net, target)
    if net.batch_shape or np.ndim(target.mean) != 1:
        raise ValueError(
            f"certify takes one network and one target, but the networks have batch shape {net.batch_shape} and the "
            f"target's mean has shape {np.shape(target.mean)}: call it for each."
        )
    return certificates_of(net, Problem(target, loss, net.bottleneck))


def certificates_of(net: DeepLinearNetwork, problem: Problem) -> tuple[Certificate, ...]:
    """`certify`, where the minimum is known already."""
    # Within jax.jit even constants are traced as soon as they meet an operation of JAX.
    if any_traced((net, problem, jnp.zeros(()))):
        raise ValueError("certify needs concrete numbers: call it outside jax.jit, jax.vmap and the like.")
    start = measure(net, problem)
    known = theorems_of(problem.loss)
    if not isinstance(known, (tuple, list)) or not all(isinstance(theorem, AbstractTheorem) for theorem in known):
        raise TypeError(
            f"What theorems_of is told of a {type(problem.loss).__name__} must be a tuple of theorems, objects of "
            f"subclasses of AbstractTheorem, but it is {known!r}."
        )
    return tuple(Certificate(theorem, start) for theorem in known)
