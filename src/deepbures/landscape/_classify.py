"""Which critical point a network is at or near, and where it can leave."""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from deepbures._checks import check_number
from deepbures.landscape._counts import kinds_of
from deepbures.landscape._eigenvalues import (
    all_eigenvalues,
    checked_landscape,
    group_of,
    group_starts,
    leading_spectrum,
    modes_of,
    num_usable,
)
from deepbures.landscape._points import CriticalPoint
from deepbures.landscape._spectrum import HessianSpectrum, spectrum_at_lift
from deepbures.linalg import effective_rank
from deepbures.metric import bures_wasserstein_distance_factors
from deepbures.model import (
    AbstractLoss,
    AbstractModes,
    DeepLinearNetwork,
    Target,
    check_network,
    check_target,
    layer_gradients,
)

Array = Any
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Classification:
    """What `classify` finds.

    Attributes
    ----------
    point : CriticalPoint
        The nearest critical point, of the depth of the network (index and nullity at its balanced lift).
    distance : float
        Bures-Wasserstein distance of W Wᵀ and the nearest member of the family of that point: min over V of
        ‖W − Ω_J diag(w_J) Vᵀ‖.
    relative_distance : float
        That over √tr Σ0; where Σ0 is zero, 0 or infinite.
    is_at : bool
        Whether the relative distance is within the tolerance asked for.
    gradient_norm : float
        ‖∇L^N‖ in the weights: the residual.
    rank : int
        Number of singular values of W above the tolerance times the largest.
    effective_rank : float
        exp(entropy) of the singular values divided by their sum.
    alignments : float array (|J|,)
        |cos| between each mode of J and the singular vector of W that stands for it.
    escape : tuple (i, j), or None
        The modes of the steepest way down from the point: i in the place of j, or in a column that no mode uses if j is
        None. None if there is no negative curvature.
    escape_curvature : float
        The curvature there, negative; 0 without any.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 1.0])
    >>> found = db.classify(db.DeepLinearNetwork([np.array([[0.0], [1.0]])]), target, db.BuresWasserstein())
    >>> found.point.kind, found.escape, found.escape_curvature     # mode 0 in the place of mode 1
    ('strict saddle', (0, 1), -6.0)
    """

    point: CriticalPoint
    distance: float
    relative_distance: float
    is_at: bool
    gradient_norm: float
    rank: int
    effective_rank: float
    alignments: Floats
    escape: tuple[int, int | None] | None
    escape_curvature: float

    @property
    def is_stalled(self) -> bool:
        """Whether the network is at a critical point that is no minimizer."""
        return self.is_at and self.point.kind != "minimizer"

    @property
    def message(self) -> str:
        """One sentence for people; modes counted from 1."""
        modes = ", ".join(str(j + 1) for j in self.point.eigen_indices) or "none"
        place = "At" if self.is_at else "Nearest, but not at"
        text = f"{place} the {self.point.kind} with modes {modes} (distance {self.relative_distance:.1e} of √tr Σ0)."
        if self.point.kind == "minimizer" or not self.is_at:
            return text
        if self.escape is None:
            return f"{text} {self._slope_of_unused_modes()}."
        i, j = self.escape
        way = f"in the place of mode {j + 1}" if j is not None else "in a column that no mode uses"
        return f"{text} Steepest way down: mode {i + 1} {way} (curvature {self.escape_curvature:.3g})."

    def _slope_of_unused_modes(self) -> str:
        """A mode of size s = a^N in the weights takes 2 √λ a^N off the exact loss, and less than a² off the others."""
        if not modes_of(self.point.loss).is_smooth and self.point.depth <= 2:
            order = ("first", "second")[self.point.depth - 1]
            return f"The loss has a kink here: letting in a mode that is not used lowers it to {order} order"
        return "It is flat to second order: training leaves it slowly, by modes that are not used"


def classify(net: DeepLinearNetwork, target: Target, loss: AbstractLoss, *, tol: float = 1e-3) -> Classification:
    """Which critical point of the loss a network is at, or nearest to.

    Modes of the target are matched to singular vectors of W = W_N ⋯ W_1 by an optimal assignment: the set J, of at most
    as many modes as the bottleneck, for which Σ_j (2 s_i(j) w_j |cos_ij| − w_j²) is largest, that is, ‖W − W_J‖
    smallest up to what singular vectors share.

    Parameters
    ----------
    net : DeepLinearNetwork
        One network. A stack of PyTorch layers becomes one by `deepbures.torch.from_torch`.
    target : Target
        Any but `from_operator`; a dense matrix larger than 1024 is decomposed.
    loss : BuresWasserstein or Frobenius
        The loss.
    tol : float
        The distance, relative to √tr Σ0, up to which the network counts as being at a critical point; and the size of
        singular values, relative to the largest, from which on they count for the rank.

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
    if net.dim != target.dim:
        raise ValueError(f"net has dimension {net.dim}, but the target has {target.dim}.")
    target, modes, *_ = checked_landscape(target, min(net.bottleneck, target.dim), loss, None, net.depth)
    values = all_eigenvalues(target)
    w = np.asarray(net.end_to_end, np.float64)
    left, s, _ = np.linalg.svd(w, full_matrices=False)
    usable = num_usable(values, modes)
    basis = _aligned_basis(values, leading_spectrum(target, usable)[1], w)
    roots = np.sqrt(modes.used(values[:usable]))
    cosines = np.abs(basis.T @ left)
    chosen, partners = _assign(cosines, roots, s, min(net.bottleneck, usable))
    total = float(np.sqrt(values.sum()))
    nearest = basis[:, chosen] * roots[chosen]
    distance = float(bures_wasserstein_distance_factors(w, nearest))
    point, spectrum = _point(_canonical(values, chosen), values, modes, net, target, loss)
    down = np.flatnonzero(spectrum.values < 0)
    steepest = int(down[np.argmin(spectrum.values[down])]) if len(down) else None
    return Classification(
        point=point,
        distance=distance,
        relative_distance=distance / total if total else math.inf if distance else 0.0,
        is_at=distance <= tol * total,
        gradient_norm=_gradient_norm(net, target, loss),
        rank=int((s > tol * s[0]).sum()) if s.any() else 0,
        effective_rank=float(effective_rank(s)),
        alignments=cosines[chosen, partners],
        escape=None if steepest is None else _pair(spectrum, steepest),
        escape_curvature=0.0 if steepest is None else float(spectrum.values[steepest]),
    )


def _pair(spectrum: HessianSpectrum, entry: int) -> tuple[int, int | None]:
    j = int(spectrum.second[entry])
    return int(spectrum.first[entry]), j if j >= 0 else None


def _aligned_basis(values: Floats, basis: Array, w: Floats) -> Floats:
    """The eigenvectors, turned within each group of equal eigenvalues towards the columns of W."""
    aligned = np.array(basis, np.float64)
    starts = [*group_starts(values).tolist(), len(values)]
    for start, stop in itertools.pairwise(starts):
        if stop - start > 1 and stop <= basis.shape[1]:
            block = aligned[:, start:stop]
            aligned[:, start:stop] = block @ np.linalg.svd(block.T @ w, full_matrices=True)[0]
    return aligned


def _assign(cosines: Floats, roots: Floats, s: Floats, most: int) -> tuple[Ints, Ints]:
    """The modes J, ascending, and the singular vectors that stand for them."""
    gain = 2 * cosines * roots[:, None] * s[None, :] - roots[:, None] ** 2
    # Each singular vector takes one mode or none: columns of zeros for none.
    padded = np.concatenate([gain.T, np.zeros((gain.shape[1], gain.shape[1]))], axis=1)
    vectors, picked = linear_sum_assignment(padded, maximize=True)
    real = picked < gain.shape[0]
    vectors, picked = vectors[real], picked[real]
    worth = gain[picked, vectors]
    best = np.argsort(-worth, kind="stable")[:most]
    best = best[worth[best] > 0]
    order = np.argsort(picked[best])
    return picked[best][order], vectors[best][order]


def _canonical(values: Floats, chosen: Ints) -> tuple[int, ...]:
    """The first modes of each group, as many as were chosen of it."""
    groups, starts = group_of(values), group_starts(values)
    numbers, counts = np.unique(groups[chosen], return_counts=True)
    return tuple(
        int(starts[g]) + place for g, count in zip(numbers, counts, strict=True) for place in range(int(count))
    )


def _point(
    indices: tuple[int, ...],
    values: Floats,
    modes: AbstractModes,
    net: DeepLinearNetwork,
    target: Target,
    loss: AbstractLoss,
) -> tuple[CriticalPoint, HessianSpectrum]:
    r, usable = len(indices), num_usable(values, modes)
    most = min(net.bottleneck, target.dim)
    # Without smoothing, the Hessian of a point of lower rank is the one on the matrices of its own rank.
    bottleneck = most if modes.is_smooth else max(r, 1)
    if r or modes.is_smooth:
        spectrum = spectrum_at_lift(target, indices, loss, net.latent_dim, bottleneck, net.depth)
    else:
        none = np.zeros(0, np.int64)
        spectrum = HessianSpectrum(np.zeros(0), none, np.zeros(0, np.str_), none, none, is_minimizer=usable == 0)
    groups = group_of(values)
    outside = np.setdiff1d(np.arange(len(values)), indices)
    taken = np.bincount(groups[list(indices)], minlength=groups[-1] + 1)
    sizes = np.bincount(groups)
    is_minimizer = spectrum.is_minimizer and r == min(most, usable)
    return (
        CriticalPoint(
            eigen_indices=indices,
            value=float(np.sum(modes.cost(values[outside])) + np.sum(modes.rest(values[list(indices)]))),
            rank=r,
            morse_index=spectrum.morse_index,
            nullity=spectrum.nullity,
            kind=str(kinds_of(is_minimizer, spectrum.morse_index, spectrum.nullity, spectrum.dim)),
            family_dim=int((taken * (sizes - taken)).sum()),
            latent_dim=net.latent_dim,
            bottleneck=bottleneck,
            depth=net.depth,
            target=target,
            loss=loss,
        ),
        spectrum,
    )


def _gradient_norm(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> float:
    with jax.enable_x64(True):
        weights = tuple(jnp.asarray(np.asarray(weight, np.float64)) for weight in net.weights)
        gradients, _ = layer_gradients(weights, loss, target)
        return float(np.sqrt(sum(float((gradient**2).sum()) for gradient in gradients)))
