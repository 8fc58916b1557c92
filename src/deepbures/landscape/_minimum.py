"""The best approximation of bounded rank: its loss and where it is, as public functions."""

import numpy as np

from deepbures._checks import check_integer, format_list
from deepbures._precision import any_traced, numpy_in_numpy_out, times_power_of_two
from deepbures._types import Array, Float
from deepbures._warn import warn
from deepbures.landscape._problem import Problem
from deepbures.model import AbstractLoss, Target, check_target


@numpy_in_numpy_out
def minimal_loss(target: Target, rank: int, loss: AbstractLoss) -> Float[Array, "..."]:
    """The smallest loss of any matrix of rank at most k: what a network with bottleneck k can reach.

    BuresWasserstein(τ=0): Σ_{i>k} λ_i. BuresWasserstein(τ): Σ over the modes not used of (√λ_i − √τ)², where the k
    largest eigenvalues above τ are used. Frobenius: Σ_{i>k} λ_i².

    Parameters
    ----------
    target : Target
        Its eigenvalues are λ_1 ≥ … ≥ λ_n.
    rank : int
        k, in 1..n.
    loss : BuresWasserstein or Frobenius
        The loss; smoothing needs a target with a known spectrum.

    Returns
    -------
    array, scalar
        In the units of the loss. For a target known through products it is a difference, right to eps · tr Σ0.

    Raises
    ------
    ValueError
        If the rank is not in 1..n.

    References
    ----------
    Bréchet et al. (2023) for the Bures-Wasserstein values, Eckart-Young-Mirsky for the Frobenius loss.

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0])
    >>> float(db.minimal_loss(target, 1, db.BuresWasserstein()))
    3.0
    >>> float(db.minimal_loss(target, 1, db.Frobenius()))
    5.0
    """
    return Problem(target, loss, rank).minimal_value


@numpy_in_numpy_out
def rank_k_minimizer(target: Target, k: int, loss: AbstractLoss) -> Float[Array, "... n {k}"]:
    """The factor (n, k) of the best approximation of rank at most k: the closed-form solution.

    W = Ω_k diag(λ_1, …, λ_k)^½ for BuresWasserstein(τ=0) and Frobenius; W = Ω_k diag(λ_j − τ)_+^½ for
    BuresWasserstein(τ), whose modes with λ_j ≤ τ stay at zero. Every other minimizer is W Vᵀ with VᵀV = I.
    Targets known through products are answered by a truncated eigensolver.

    Parameters
    ----------
    target : Target
        Its leading eigenpairs are Ω_k, λ_1..λ_k.
    k : int
        In 1..n.
    loss : BuresWasserstein or Frobenius
        The loss.

    Returns
    -------
    array (n, k)
        In the units of the data.

    Warns
    -----
    UserWarning
        If modes cannot be used since their eigenvalue is not above τ (named).

    Raises
    ------
    ValueError
        If k is not in 1..n.

    References
    ----------
    Bréchet et al. (2023).

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0])
    >>> w = db.rank_k_minimizer(target, 2, db.BuresWasserstein(tau=0.5))
    >>> np.linalg.svd(w, compute_uv=False).round(12).tolist()     # √3.5 and √1.5
    [1.870828693387, 1.224744871392]
    """
    check_target(target)
    check_integer(k, "k", 1, target.dim, why=" (the dimension of the target)")
    problem = Problem(target, loss, k)
    if not any_traced(problem):
        warn_unusable(problem)
    return problem.minimizer()


def warn_unusable(problem: Problem) -> None:
    """Warn of the leading modes that the smoothing keeps at zero."""
    modes = problem.unusable_modes()
    if modes:
        form = problem.modes
        values = times_power_of_two(np.asarray(problem.eigenvalues), 2 * problem.exponent)
        threshold = times_power_of_two(np.asarray(form.threshold()), 2 * problem.exponent)
        example = float(values[..., modes[0] - 1].min())
        warn(
            f"{form.threshold_name} = {threshold} is not below {len(modes)} of the {problem.rank} leading "
            f"eigenvalues of the target: mode(s) {format_list(modes)} (λ_{modes[0]} = {example:.4g}) cannot be used, "
            f"and stay at zero in the minimizer. Lower {form.threshold_name} or the rank to use every mode."
        )
