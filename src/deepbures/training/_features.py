"""What a model has of the variance of its target: in all, and feature by feature."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from deepbures._types import Array, Float, Floats
from deepbures.model import BuresWasserstein, DeepLinearNetwork, Target

HALF = 0.5
"""A feature with a smaller share of its standard deviation in the model counts as lost."""

MIXED = 10.0
"""Scales are mixed where a lost feature has a standard deviation this many times below the largest one."""


class FeatureDeviations(NamedTuple):
    """Standard deviations of each feature in the target and in the model.

    `data` and `model` are arrays (n,) in the units of the data: √diag Σ0, zero where it is rounding, and
    √diag(W Wᵀ + τ I), with the noise τ that a smoothed loss counts in.

    Examples
    --------
    Two features of the same scale that the model has, and one whose small variance it left out:

    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_covariance(np.diag([9.0, 4.0, 0.01]))
    >>> deviations = db.fit(target, rank=2, solver="closed-form").feature_deviations
    >>> deviations.data.round(9).tolist(), deviations.model.round(9).tolist()
    ([3.0, 2.0, 0.1], [3.0, 2.0, 0.0])
    >>> deviations.lost.tolist(), deviations.mixed_scales
    ([2], True)
    """

    data: Floats
    model: Floats

    @property
    def ratio(self) -> Floats:
        """Model over data; NaN where the data are constant."""
        known = self.data > 0
        return np.where(known, self.model / np.where(known, self.data, 1), np.nan)

    @property
    def worst_first(self) -> NDArray[np.intp]:
        """Indices of the features that vary, by how far the ratio is from 1 in either direction, worst first."""
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.abs(np.log(self.ratio))
        order = np.argsort(-np.nan_to_num(distance, nan=-1.0, posinf=np.inf), kind="stable")
        return order[: int((self.data > 0).sum())]

    @property
    def lost(self) -> NDArray[np.intp]:
        """Indices of the features with less than half of their standard deviation in the model."""
        return np.flatnonzero(self.ratio < HALF)

    @property
    def mixed_scales(self) -> bool:
        """Whether a lost feature has a standard deviation below a tenth of the largest one of the data."""
        lost = self.lost
        return bool(lost.size and self.data[lost].min() * MIXED < self.data.max())

    @property
    def advice(self) -> str:
        """What to do where features are lost since scales are mixed, in words; empty where they are not."""
        if not self.mixed_scales:
            return ""
        varying = self.data[self.data > 0]
        count = len(self.lost)
        return (
            f"{count} of {len(varying)} features {'has' if count == 1 else 'have'} less than half of the standard "
            f"deviation in the model, and scales are mixed (standard deviations from {varying.min():.3g} to "
            f"{varying.max():.3g}): the large ones decide. Standardize the features, dividing each by its standard "
            "deviation, if the small ones matter, or raise the rank."
        )


def feature_deviations(network: DeepLinearNetwork, target: Target, tau: float) -> FeatureDeviations | None:
    """Of a network with noise τ and its target; None for a target known through products (no diagonal at hand)."""
    eigenvalues = target.eigenvalues
    if eigenvalues is None:
        return None
    values = np.asarray(eigenvalues, np.float64)
    # Σ0 = Ω diag(λ − floor) Ωᵀ + floor · I, with the smallest eigenvalue as floor.
    rank = max(int((values > values[-1]).sum()), 1)
    leading, basis = (np.asarray(part, np.float64) for part in target.spectrum(rank))
    data = np.sqrt((basis**2) @ (leading - values[-1]) + values[-1])
    # Rows of Ω are known to eps, of λ to n eps λ_1 at worst: below that a feature is constant.
    data = np.where(data > target.dim * np.finfo(target.dtype).eps * data.max(), data, 0.0)
    w = np.asarray(network.end_to_end, np.float64)
    with np.errstate(over="ignore"):  # of a run that diverged
        return FeatureDeviations(data, np.sqrt((w**2).sum(1) + tau))


def explained_variance(w: Float[Array, "n m"], target: Target, tau: float) -> Float[Array, ""]:
    """1 − B²(W Wᵀ + τ I, Σ0)/tr Σ0; see `Fit`."""
    return 1 - BuresWasserstein(tau).value(w, target) / jnp.asarray(target.trace)
