"""What `losses` found: five losses side by side, and what theory says of each."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepbures.experiments._pieces import Finding
from deepbures.model import LossName

Floats = NDArray[np.float64]
Row = dict[str, float | int | str]


class Claim(NamedTuple):
    """What theory says of a loss."""

    label: str
    degree: int
    """Power of the variance that it is measured in."""
    is_biased: bool
    """Whether its minimizer takes λ − τ in place of λ."""
    of_spread: float
    """Power of λ_1/λ_k that the condition at the minimizer grows with, at depth 1."""
    of_mode: float
    """Power of λ_j that mode j comes to rest with at depth 1, up to a factor 1/(1 − τ/λ_j)."""
    of_share: float
    """Power of τ that the curvature towards a missing mode, in units of the sharpness, goes with as τ → 0."""


CLAIMS: dict[str, Claim] = {
    LossName.bw: Claim("Bures-Wasserstein", 1, True, 0, 0, -0.5),
    LossName.frobenius: Claim("Frobenius", 2, False, 1, 1, 0),
    LossName.likelihood: Claim("Gaussian likelihood", 0, True, 1, -1, -1),
    LossName.entropic: Claim("entropic transport", 1, True, 0, 0, -1),
    LossName.sinkhorn: Claim("Sinkhorn", 1, False, 0, 0, -1),
}
"""The losses, in the order of every record."""


@dataclasses.dataclass(frozen=True)
class LossesOnTarget:
    """One target and what some losses make of it; losses first, then depths.

    Attributes
    ----------
    eigenvalues, rank, tau
        λ of the target, k and τ.
    sharpness, condition, rate : arrays (losses, depths)
        λ_max at the balanced minimizer, λ_max over the smallest positive Hessian eigenvalue, and the asymptotic rate.
    saddle : array (losses, depths)
        λ_min at the lowest saddle, that of the modes 1, …, k − 1, k + 1.
    minimizer, with_noise, reached : arrays (losses,)
        B²(W Wᵀ, Σ0) of the minimizer; B²(W Wᵀ + noise, Σ0) with the noise that the loss counts in; and B²(W Wᵀ, Σ0) at
        the end of a flow (NaN where there was none).

    Examples
    --------
    >>> import numpy as np
    >>> from deepbures.experiments import LossesOnTarget
    >>> unknown = np.full((1, 1), np.nan)
    >>> one = LossesOnTarget(np.array([4.0, 2.0, 1.0]), 2, 0.5, *[unknown] * 4, *[unknown[0]] * 3)
    >>> one.least, round(one.bias, 4)     # (2 − √3.5)² + (√2 − √1.5)²
    (1.0, 0.0526)
    """

    eigenvalues: Floats
    rank: int
    tau: float
    sharpness: Floats
    condition: Floats
    rate: Floats
    saddle: Floats
    minimizer: Floats
    with_noise: Floats
    reached: Floats

    @property
    def least(self) -> float:
        """Σ_{i>k} λ_i, the least squared distance of a matrix of rank k."""
        return float(self.eigenvalues[self.rank :].sum())

    @property
    def bias(self) -> float:
        """What a minimizer with the eigenvalues λ_j − τ loses over that: Σ_{j≤k} (√λ_j − √(λ_j − τ))²."""
        used = self.eigenvalues[: self.rank]
        return float(((np.sqrt(used) - np.sqrt(used - self.tau)) ** 2).sum())

    @property
    def spread(self) -> float:
        """λ_1/λ_k."""
        return float(self.eigenvalues[0] / self.eigenvalues[self.rank - 1])


@dataclasses.dataclass(frozen=True)
class Losses:
    """Five losses side by side; arrays have the losses first, in the order of `names`.

    Attributes
    ----------
    names : tuple of str
        The losses.
    depths : array
        N.
    small, digits : LossesOnTarget
        Closed forms and ends of flows, for the eigenvalues 6, 1, ½, ¼, ⅛ with rank 2 and for the digits with rank 8.
    dense : array (losses, depths, 2)
        Smallest positive and largest eigenvalue of the dense Hessian at the balanced minimizer of the first target.
    scales, by_scale : arrays (scales,), (losses, depths, scales)
        λ_max of that Hessian where target and τ are multiplied by the scale.
    spreads, by_spread : arrays (spreads,), (losses, spreads)
        Condition number of that Hessian at depth 1 where λ_1 = spread · λ_k.
    shares, by_share, by_share_found : arrays (shares,), (losses, shares)
        λ_min at depth 1 at the saddle that lacks the k-th mode, over λ_max at the minimizer, for τ = share · λ_k: in
        closed form, and from the dense Hessian.
    observed : array (losses, depths)
        Late rate of a flow to the minimizer, when its excess is 1e-8 of that of its start.
    deltas, escape : arrays (deltas,), (losses, depths, deltas)
        Time after which a flow that began a random δ √λ_k beside the lowest saddle has lost half its excess; NaN if
        never.
    approach : array (losses, modes)
        Rates at which the singular values of the digits come to rest at depth 1.

    Examples
    --------
    >>> from deepbures.experiments import losses
    >>> record = losses(quick=True, depths=(1,), names=("frobenius",))
    >>> record.by_scale.round(9).tolist()     # 8 λ_1, for λ_1 = 6/16, 6 and 96
    [[[3.0, 48.0, 768.0]]]
    """

    names: tuple[str, ...]
    depths: NDArray[np.int_]
    small: LossesOnTarget
    digits: LossesOnTarget
    dense: Floats
    scales: Floats
    by_scale: Floats
    spreads: Floats
    by_spread: Floats
    shares: Floats
    by_share: Floats
    by_share_found: Floats
    observed: Floats
    deltas: Floats
    escape: Floats
    approach: Floats

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What theory says of each loss."""
        return tuple(CLAIMS[name] for name in self.names)

    @property
    def escape_slope(self) -> Floats:
        """What a δ smaller by the factor e adds to the time of escape, between the two smallest, (losses, depths)."""
        steps = self.escape[..., -1] - self.escape[..., -2]
        return np.asarray(steps / np.log(self.deltas[-2] / self.deltas[-1]))

    def tables(self) -> dict[str, list[Row]]:
        """By depth and target; distances; the sweeps over scale, spread and τ; escapes; approach of the digits."""
        by_depth: list[Row] = []
        distances: list[Row] = []
        for target, side in self._sides:
            for at in np.ndindex(side.sharpness.shape):
                row: Row = {"target": target, "loss": self.names[at[0]], "depth": int(self.depths[at[1]])}
                for name in ("sharpness", "condition", "rate", "saddle"):
                    row[name] = float(getattr(side, name)[at])
                row["rate_over_sharpness"] = float(side.rate[at] / side.sharpness[at])
                row["saddle_over_sharpness"] = float(side.saddle[at] / side.sharpness[at])
                by_depth.append(row)
            distances += [
                {
                    "target": target,
                    "loss": name,
                    "least": side.least,
                    "minimizer": float(side.minimizer[i]),
                    "with_noise": float(side.with_noise[i]),
                    "reached": float(side.reached[i]),
                    "bias": float(bias),
                }
                for i, (name, bias) in enumerate(zip(self.names, self._biases(side), strict=True))
            ]
        return {
            "depths": by_depth,
            "distances": distances,
            "measured": self._measured(),
            "scales": self._long(self.by_scale, depth=self.depths, scale=self.scales),
            "spreads": self._long(self.by_spread, spread=self.spreads),
            "missing": self._long(self.by_share, share=self.shares),
            "escapes": self._long(self.escape, depth=self.depths, delta=self.deltas),
            "approach": self._long(self.approach, mode=np.arange(1, self.approach.shape[1] + 1)),
        }

    @property
    def _sides(self) -> tuple[tuple[str, LossesOnTarget], ...]:
        return (("five modes", self.small), ("digits", self.digits))

    def _claimed(self, what: str) -> Floats:
        """One number of theory for each loss."""
        return np.array([getattr(claim, what) for claim in self.claims], np.float64)

    def _biases(self, side: LossesOnTarget) -> Floats:
        return self._claimed("is_biased") * side.bias

    def _told(self, values: Floats) -> str:
        """One number of what was found for each loss."""
        numbers = [f"{value:.3g}".replace("-", "−") for value in values.round(6) + 0.0]
        return ", ".join(f"{claim.label} {number}" for claim, number in zip(self.claims, numbers, strict=True))

    def _measured(self) -> list[Row]:
        side, slope = self.small, self.escape_slope
        return [
            {
                "loss": self.names[at[0]],
                "depth": int(self.depths[at[1]]),
                "sharpness": float(side.sharpness[at]),
                "sharpness_found": float(self.dense[at][1]),
                "condition": float(side.condition[at]),
                "condition_found": float(self.dense[at][1] / self.dense[at][0]),
                "rate": float(side.rate[at]),
                "rate_found": float(self.observed[at]),
                "escape": float(1 / abs(side.saddle[at])),
                "escape_found": float(slope[at]),
            }
            for at in np.ndindex(side.sharpness.shape)
        ]

    def _long(self, values: Floats, **axes: NDArray[Any]) -> list[Row]:
        """One row for each entry."""
        rows: list[Row] = []
        for at, value in np.ndenumerate(values):
            where = {name: axis[i].item() for (name, axis), i in zip(axes.items(), at[1:], strict=True)}
            rows.append({"loss": self.names[at[0]], **where, "value": float(value)})
        return rows

    # ------------------------------------------------------------------------------------------------------- findings

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What theory claims, and what came out."""
        return (
            self._agreement(),
            self._scale(),
            self._spread(),
            self._approach(),
            self._blow_up(),
            self._bias(),
            self._escape(),
            self._rate(),
        )

    def _agreement(self) -> Finding:
        side = self.small
        sharp = np.abs(self.dense[..., 1] / side.sharpness - 1).max()
        condition = np.abs(self.dense[..., 1] / self.dense[..., 0] / side.condition - 1).max()
        missing = np.abs(self.by_share_found / self.by_share - 1).max()
        return Finding(
            "Sharpness, condition and curvature towards a missing mode are what the closed forms say, for all losses.",
            bool(max(sharp, condition, missing) < 1e-6),
            f"Dense Hessians of {self.dense[..., 0].size} networks differ by at most {sharp:.1e} and {condition:.1e}, "
            f"at {self.by_share.size} saddles by {missing:.1e}.",
        )

    def _scale(self) -> Finding:
        found = _slope(self.scales, self.by_scale)
        predicted = self._claimed("degree")[:, None] - 1 / self.depths
        off = np.abs(found - predicted).max()
        return Finding(
            "With variances (τ, too) c times as large the sharpness is multiplied by c^(degree − 1/N): at depth 1 it "
            "has no units for the transport losses, grows with c for the Frobenius loss and falls with c for the "
            "likelihood.",
            bool(off < 1e-6),
            f"Exponents at depth {self.depths[0]}: {self._told(found[:, 0])}; at depth {self.depths[-1]}: "
            f"{self._told(found[:, -1])}. They differ from the predicted ones by at most {off:.1e}.",
        )

    def _spread(self) -> Finding:
        last = self.spreads >= 100
        found = _slope(self.spreads[last], self.by_spread[:, last])
        return Finding(
            "At depth 1 the condition at the minimizer grows in proportion to λ_1/λ_k for the Frobenius loss and the "
            "likelihood, and does not depend on it for the transport losses.",
            bool((np.abs(found - self._claimed("of_spread")) < 0.02).all()),
            f"Exponents for λ_1/λ_k from {self.spreads[last][0]:g} to {self.spreads[-1]:g}: {self._told(found)}. On "
            f"the digits (λ_1/λ_k = {self.digits.spread:.3g}) the condition at depth {self.depths[0]} is "
            f"{self._told(self.digits.condition[:, 0])}.",
        )

    def _approach(self) -> Finding:
        side = self.digits
        used = side.eigenvalues[: side.rank]
        most = 1 / (1 - side.tau / used[-1])
        left = self.approach / used ** self._claimed("of_mode")[:, None]
        return Finding(
            "At depth 1 all used modes of the digits come to rest at the same rate under the transport losses, in "
            "proportion to their variance λ_j under the Frobenius loss, and to 1/λ_j under the likelihood, each up to "
            "a factor 1/(1 − τ/λ_k).",
            bool((_range(left) <= 1.01 * most).all()),
            f"Fastest over slowest: {self._told(_range(self.approach))}, where λ_1/λ_k = {side.spread:.3g}. With these "
            f"powers of λ_j taken out: {self._told(_range(left))}; 1/(1 − τ/λ_k) = {most:.3g}.",
        )

    def _blow_up(self) -> Finding:
        first = self.shares <= 1e-4
        found = _slope(self.shares[first], np.abs(self.by_share_found[:, first]))
        at = int(np.argmax(self.shares == 0.1)) if (self.shares == 0.1).any() else -1
        return Finding(
            "The curvature towards a missing mode, in units of the sharpness at the minimizer, blows up as τ → 0 for "
            "every loss but the square loss: like τ^(−1/2) for Bures-Wasserstein, like 1/τ for the others.",
            bool((np.abs(found - self._claimed("of_share")) < 0.01).all()),
            f"Exponents for τ/λ_k from {self.shares[0]:g} to {self.shares[first][-1]:g}: {self._told(found)}. At "
            f"τ = {self.shares[at]:g} λ_k the ratio is {self._told(self.by_share_found[:, at])}.",
        )

    def _bias(self) -> Finding:
        told, off = [], []
        for target, side in self._sides:
            found = (side.minimizer,) if np.isnan(side.reached).all() else (side.minimizer, side.reached)
            off += [np.abs(each - side.least - self._biases(side)) / side.least for each in found]
            above, below = self._biases(side).max() / side.least, 1 - side.with_noise.min() / side.least
            told.append(
                f"{target}, {100 * above:.3g} % above the best of rank {side.rank}, and with the noise τ counted in "
                f"{100 * below:.3g} % below it"
            )
        worst = np.max(off)  # NaN, which is not below anything, where a flow of some losses has failed
        return Finding(
            "Smoothed, likelihood and entropic losses with τ = ε/2 have one minimizer, biased in the true distance by "
            "Σ (√λ_j − √(λ_j − τ))²; Frobenius loss and Sinkhorn divergence have the best one of rank k.",
            bool(worst < 1e-4),
            f"True distance of the former: {'; '.join(told)}. Closed forms and ends of flows agree with this to "
            f"{worst:.1e} of the least distance.",
        )

    def _escape(self) -> Finding:
        ratio = self.escape_slope * np.abs(self.small.saddle)
        off = np.abs(ratio - 1).max()
        steps = self.escape[:, 0, -1] * self.small.sharpness[:, 0]
        return Finding(
            "A flow that begins δ beside the lowest saddle needs ln(1/δ)/|λ_min| more time the smaller δ is.",
            bool(off < 0.01),
            f"In {ratio.size} pairs of runs the slope times |λ_min| is {ratio.min():.4f} to {ratio.max():.4f}. From "
            f"δ = {self.deltas[-1]:g} at depth {self.depths[0]} it takes, in units of 1/λ_max, {self._told(steps)}.",
        )

    def _rate(self) -> Finding:
        ratio = self.observed / self.small.rate
        off = np.abs(ratio - 1).max()
        relative = self.small.rate / self.small.sharpness
        return Finding(
            "At every depth the flow ends at the asymptotic rate of its loss.",
            bool(off < 0.01),
            f"In {ratio.size} runs observed over predicted rate is {ratio.min():.4f} to {ratio.max():.4f}. In units of "
            f"λ_max the rate at depth {self.depths[0]} is {self._told(relative[:, 0])}; at depth {self.depths[-1]} "
            f"{self._told(relative[:, -1])}.",
        )


def _slope(positions: Floats, values: Floats) -> Floats:
    """Slope of log values against log positions between first and last."""
    return np.asarray(np.log(values[..., -1] / values[..., 0]) / np.log(positions[-1] / positions[0]))


def _range(values: Floats) -> Floats:
    """Largest over smallest, for each loss."""
    return np.asarray(values.max(-1) / values.min(-1))
