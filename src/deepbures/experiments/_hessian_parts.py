"""What `hessians` looks at: curvatures at critical points, paths between them, models along directions, blow-ups."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A quadratic model is trusted as far as the loss differs from it by at most this part of its own change.
_TRUSTED = 0.25


@dataclasses.dataclass(frozen=True)
class Curvatures:
    """Hessian extremes of one loss at a sequence of critical points of many targets.

    Attributes
    ----------
    eigen_indices : int array (targets, points, k)
        Modes of each point, from 0.
    value, smallest, largest, least_nonzero : arrays (targets, points)
        The loss, λ_min, λ_max, and the smallest |λ| that is not zero.
    morse_index : int array (targets, points)
        How many are negative.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbures.experiments import Curvatures
    >>> modes, two = np.array([[[0], [1]], [[0], [1]]]), np.ones((2, 2))     # two targets, two points of rank 1
    >>> largest = np.array([[8.0, 4.0], [6.0, 4.0]])
    >>> curvatures = Curvatures(modes, two, -2 * two, largest, two / 2, np.array([[0, 1], [0, 1]]))
    >>> curvatures.relative_condition.tolist(), curvatures.absolute_condition.tolist()
    ([[4.0, 2.0], [3.0, 2.0]], [[16.0, 8.0], [12.0, 8.0]])
    >>> [each.tolist() for each in curvatures.statistics("largest")]
    [[7.0, 4.0], [1.0, 0.0], [7.0, 4.0]]
    """

    eigen_indices: NDArray[np.int64]
    value: Floats
    smallest: Floats
    largest: Floats
    least_nonzero: Floats
    morse_index: NDArray[np.int64]

    @property
    def relative_condition(self) -> Floats:
        """λ_max / |λ_min|; infinite where λ_min is zero."""
        with np.errstate(divide="ignore"):
            return self.largest / np.abs(self.smallest)

    @property
    def absolute_condition(self) -> Floats:
        """λ_max over the smallest |λ| that is not zero."""
        return self.largest / self.least_nonzero

    def statistics(self, quantity: str) -> tuple[Floats, Floats, Floats]:
        """Mean, standard deviation and median over the targets at each point; infinite, NaN, infinite if λ_min = 0."""
        values = np.asarray(getattr(self, quantity))
        with np.errstate(invalid="ignore"):
            return values.mean(0), values.std(0), np.median(values, axis=0)


@dataclasses.dataclass(frozen=True)
class Paths:
    """One loss along the way from each critical point of the "swap" sequence to the next, for the targets shown.

    Attributes
    ----------
    positions : array (num,)
        From 0 at point i to 1 at point i + 1.
    losses : array (targets shown, kinds, steps, num)
        The loss; kinds are "straight" and "bures".
    start_curvature : array (targets shown, steps)
        Second derivative of the loss at the higher end of the geodesic, in closed form.
    """

    positions: Floats
    losses: Floats
    start_curvature: Floats

    @property
    def barriers(self) -> Floats:
        """How far each path climbs above the higher one of its ends, (targets shown, kinds, steps)."""
        return np.asarray(self.losses.max(-1) - self.losses[..., [0, -1]].max(-1))


@dataclasses.dataclass(frozen=True)
class Models:
    """One loss along eigenvectors of its Hessian, against the second-order model, for the targets shown.

    Attributes
    ----------
    fractions : array (num,)
        Step as a part of the length of the mode that it moves, −1 to 1.
    points : tuple of int
        Which points of the "swap" sequence.
    rise, model : arrays (targets shown, points, directions, num)
        What the loss and its model change by, in units of |λ|/2 · length²: the model is the parabola ± fraction².
    curvature, closed_form : arrays (targets shown, points, directions)
        By automatic differentiation, and from the closed-form spectrum.
    """

    fractions: Floats
    points: tuple[int, ...]
    rise: Floats
    model: Floats
    curvature: Floats
    closed_form: Floats

    @property
    def trusted(self) -> Floats:
        """Largest |fraction| up to which loss and model differ by at most a quarter of what the model changes by."""
        reach = np.ones(self.curvature.shape)
        for at in np.ndindex(self.curvature.shape):
            reach[at] = _reach(self.fractions, np.abs(self.rise[at] - self.model[at]), np.abs(self.model[at]))
        return reach


@dataclasses.dataclass(frozen=True)
class BlowUp:
    """λ_min of the Bures-Wasserstein loss as a function of W, where it goes to minus infinity; for the first target.

    Attributes
    ----------
    taus, by_tau, by_tau_found : arrays (taus,)
        At the critical point with the first k − 1 modes in k columns, against the smoothing: 2 (1 − √(λ_k/τ)) in closed
        form, and by automatic differentiation.
    scales, levels : arrays (scales,), (levels,)
        Last singular value over that of the minimizer, s/√λ_k, and smoothings (the first is zero).
    by_scale, by_scale_found : arrays (levels, scales)
        At the minimizer of rank k with its last singular value lowered to s: the least curvature of the directions that
        change it, in closed form; and λ_min by automatic differentiation, which is that where it is below the others.
    """

    taus: Floats
    by_tau: Floats
    by_tau_found: Floats
    scales: Floats
    levels: Floats
    by_scale: Floats
    by_scale_found: Floats


def _reach(fractions: Floats, difference: Floats, change: Floats) -> float:
    """The first |fraction| on either side at which the difference exceeds its share of the change, interpolated."""
    reach = 1.0
    for side in (fractions >= 0, fractions <= 0):
        order = np.argsort(np.abs(fractions[side]))
        at = np.abs(fractions[side])[order]
        # 0/0 at the point itself, where the share vanishes.
        share = np.append(0.0, difference[side][order][1:] / change[side][order][1:])
        beyond = np.flatnonzero(share > _TRUSTED)
        if beyond.size:
            j = int(beyond[0])
            part = (_TRUSTED - share[j - 1]) / (share[j] - share[j - 1])
            reach = min(reach, float(at[j - 1] + part * (at[j] - at[j - 1])))
    return reach
