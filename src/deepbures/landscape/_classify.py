"""Which critical point a network is at or near, and where it can leave."""

import dataclasses
import math
from typing import Any

import numpy as np

from deepbures._checks import check_number
from deepbures._types import Array, Float64
from deepbures.landscape._eigenvalues import modes_of
from deepbures.landscape._lanczos import HessianExtremes, hessian_extremes
from deepbures.landscape._matched import matched_point
from deepbures.landscape._points import CriticalPoint
from deepbures.linalg import effective_rank
from deepbures.model import (
    AbstractLoss,
    DeepLinearNetwork,
    Target,
    check_loss,
    check_network,
    check_target,
    layer_gradients,
)


@dataclasses.dataclass(frozen=True)
class Classification:
    """What `classify` finds.

    Attributes
    ----------
    point : CriticalPoint, or None
        The critical point whose modes match the singular vectors of the network best, of the depth of the network
        (index and nullity at its balanced lift): the nearest one if the network is close to one, and far from all of
        them not always. None where it is not known: the landscape of a loss without `modes` has no closed form.
    value : float
        The loss L(W).
    distance : float
        Bures-Wasserstein distance of W Wᵀ and the nearest member of the family of that point: min over V of
        ‖W − Ω_J diag(w_J) Vᵀ‖. NaN without a point.
    relative_distance : float
        That over √tr Σ0; where Σ0 is zero, 0 or infinite.
    is_at : bool
        Whether the relative distance is within the tolerance asked for. Without a point, whether the gradient is that
        of a distance within it, ‖∇L^N‖ ≤ tol · |λ|_max · √N (tr Σ0)^{1/2N}, with |λ|_max the largest curvature at the
        network and the last factor the size of the layers of a balanced network that has the total variance.
    gradient_norm : float
        ‖∇L^N‖ in the weights: the residual.
    rank : int
        Number of singular values of W above the tolerance times the largest.
    effective_rank : float
        exp(entropy) of the singular values divided by their sum.
    alignments : float array (|J|,)
        |cos| between each mode of J and the singular vector of W that stands for it; empty without a point.
    escape : tuple (i, j), or None
        The modes of the steepest way down from the point: i in the place of j, or in a column that no mode uses if j is
        None. None if there is no negative curvature, or no point.
    escape_curvature : float
        The curvature there, negative; 0 without any. Without a point, the least curvature at the network where it is
        negative beyond the tolerance; NaN if Lanczos iteration does not find it.
    extremes : HessianExtremes, or None
        Without a point: the ends of the Hessian spectrum at the network itself, with the directions of the weights.
        None with a point, whose spectrum is `point.spectrum()`, or if Lanczos iteration does not converge.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 1.0])
    >>> found = db.classify(db.DeepLinearNetwork([np.array([[0.0], [1.0]])]), target, db.BuresWasserstein())
    >>> found.point.kind, found.escape, found.escape_curvature     # mode 0 in the place of mode 1
    ('strict saddle', (0, 1), -6.0)
    """

    point: CriticalPoint | None
    value: float
    distance: float
    relative_distance: float
    is_at: bool
    gradient_norm: float
    rank: int
    effective_rank: float
    alignments: Float64[Array, "modes"]
    escape: tuple[int, int | None] | None
    escape_curvature: float
    extremes: HessianExtremes | None = dataclasses.field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """That of the point; without one "strict saddle" if the network is at one, and "not known" else."""
        if self.point is not None:
            return self.point.kind
        return "strict saddle" if self.is_at and self.escape_curvature < 0 else "not known"

    @property
    def is_stalled(self) -> bool:
        """Whether the network is at a critical point that is no minimizer, as far as is known."""
        return self.is_at and self.kind not in ("minimizer", "not known")

    @property
    def message(self) -> str:
        """One sentence for people; modes counted from 1."""
        if self.point is None:
            return self._message_without_a_point()
        modes = ", ".join(str(j + 1) for j in self.point.eigen_indices) or "none"
        place = "At" if self.is_at else "At no critical point; matched best by"
        text = f"{place} the {self.kind} with modes {modes} (distance {self.relative_distance:.1e} of √tr Σ0)."
        if self.kind == "minimizer" or not self.is_at:
            return text
        if self.escape is None:
            return f"{text} {_slope_of_unused_modes(self.point)}."
        i, j = self.escape
        way = f"in the place of mode {j + 1}" if j is not None else "in a column that no mode uses"
        return f"{text} Steepest way down: mode {i + 1} {way} (curvature {self.escape_curvature:.3g})."

    def _message_without_a_point(self) -> str:
        norm = f"gradient norm {self.gradient_norm:.1e}"
        if not self.is_at:
            return f"At no critical point ({norm}); those of this loss are not known in closed form."
        if self.kind == "strict saddle":
            return f"At a strict saddle ({norm}). Steepest way down: curvature {self.escape_curvature:.3g}."
        if self.extremes is None:
            return f"At a critical point ({norm}); its curvature is not known."
        return f"At a critical point ({norm}) without negative curvature: a minimizer, or flat to second order."


def _slope_of_unused_modes(point: CriticalPoint) -> str:
    """A mode of size s = a^N in the weights takes 2 √λ a^N off the exact loss, and less than a² off the others."""
    if not modes_of(point.loss).is_smooth and point.depth <= 2:
        order = ("first", "second")[point.depth - 1]
        return f"The loss has a kink here: letting in a mode that is not used lowers it to {order} order"
    return "It is flat to second order: training leaves it slowly, by modes that are not used"


def classify(net: DeepLinearNetwork, target: Target, loss: AbstractLoss, *, tol: float = 1e-3) -> Classification:
    """Which critical point of the loss a network is at, or which one matches it best.

    Modes of the target are matched to singular vectors of W = W_N ⋯ W_1 by an optimal assignment: the set J, of at most
    as many modes as the bottleneck, for which Σ_j (2 s_i(j) w_j |cos_ij| − w_j²) is largest, that is, ‖W − W_J‖
    smallest up to what singular vectors share. Close to a critical point that finds this point. Far from all of them,
    where a singular vector is made of several modes, another one can be nearer: `distance` is that of the point that is
    named, and an upper bound of the least.

    Of a loss without closed forms the point is not known. Whether the network is at one, and at a saddle, is told from
    the gradient and from the extreme curvatures at the network, found by Lanczos iteration.

    Parameters
    ----------
    net : DeepLinearNetwork
        One network. A stack of PyTorch layers becomes one by `deepbures.torch.from_torch`.
    target : Target
        Any but `from_operator`, for losses with closed forms; a dense matrix larger than 1024 is decomposed.
    loss : AbstractLoss
        The loss.
    tol : float
        The distance, relative to √tr Σ0, up to which the network counts as being at a critical point; and the size of
        singular values, relative to the largest, from which on they count for the rank. Without a point, also the size
        of a negative curvature, relative to the largest, that makes a saddle.

    Returns
    -------
    Classification
        The point, the distance, and the way out.

    Raises
    ------
    ValueError
        If net and target do not fit, or are batches.

    References
    ----------
    The critical points are those of Bréchet et al. (2023), see `critical_points`; the assignment is this project's own.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0]), db.BuresWasserstein()
    >>> saddle = db.critical_points(target, 2, loss, depth=2)[1]
    >>> found = db.classify(saddle.network(), target, loss)
    >>> found.point.eigen_indices, found.is_stalled, found.escape
    ((0, 2), True, (1, 2))
    """
    check_number(tol, "tol", positive=True)
    check_network(net)
    check_target(target)
    check_loss(loss)
    if net.dim != target.dim:
        raise ValueError(f"net has dimension {net.dim}, but the target has {target.dim}.")
    found = _at_matched_point if loss.modes is not None else _without_a_point
    s = np.linalg.svd(np.asarray(net.end_to_end, np.float64), compute_uv=False)
    return found(
        net,
        target,
        loss,
        tol,
        value=float(loss.value(np.asarray(net.end_to_end, np.float64), target)),
        gradient_norm=_gradient_norm(net, target, loss),
        rank=int((s > tol * s[0]).sum()) if s.any() else 0,
        effective_rank=float(effective_rank(s)),
    )


def _at_matched_point(
    net: DeepLinearNetwork, target: Target, loss: AbstractLoss, tol: float, **here: Any
) -> Classification:
    matched = matched_point(net, target, loss)
    scale = float(target.trace) ** 0.5
    escape, curvature = matched.steepest_descent()
    return Classification(
        point=matched.point,
        distance=matched.distance,
        relative_distance=matched.distance / scale if scale else math.inf if matched.distance else 0.0,
        is_at=matched.distance <= tol * scale,
        alignments=matched.alignments,
        escape=escape,
        escape_curvature=curvature,
        **here,
    )


def _without_a_point(
    net: DeepLinearNetwork, target: Target, loss: AbstractLoss, tol: float, **here: Any
) -> Classification:
    extremes = _extremes(net, target, loss)
    size = net.depth**0.5 * float(target.trace) ** (0.5 / net.depth)
    steepest = 0.0 if extremes is None else max(abs(extremes.smallest), abs(extremes.largest))
    curvature = math.nan
    if extremes is not None:
        curvature = extremes.smallest if extremes.smallest < -tol * steepest else 0.0
    return Classification(
        point=None,
        distance=math.nan,
        relative_distance=math.nan,
        is_at=here["gradient_norm"] <= tol * steepest * size,
        alignments=np.zeros(0),
        escape=None,
        escape_curvature=curvature,
        extremes=extremes,
        **here,
    )


def _extremes(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> HessianExtremes | None:
    """Both ends of the Hessian spectrum, where iteration finds them and the loss has finite second derivatives."""
    try:
        return hessian_extremes(net, target, loss, tol=1e-6)
    except (RuntimeError, np.linalg.LinAlgError):
        return None


def _gradient_norm(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> float:
    weights = [np.asarray(weight, np.float64) for weight in net.weights]
    return float(np.sqrt(sum(float((gradient**2).sum()) for gradient in layer_gradients(weights, loss, target)[0])))
