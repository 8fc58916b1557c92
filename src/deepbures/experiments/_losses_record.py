"""What `losses` found: five losses side by side, and what theory says of each."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures.experiments._pieces import Finding

Floats = NDArray[np.float64]
Row = dict[str, float | int | str]

LOSSES = ("bures-wasserstein", "frobenius", "likelihood", "entropic", "sinkhorn")
DEGREES = np.array([1, 2, 0, 1, 1])
"""Powers of the variance that the losses are measured in."""
BIASED = np.array([True, False, True, True, False])
"""Whether the minimizer takes λ − τ in place of λ."""
OF_SPREAD = np.array([0.0, 1.0, 1.0, 0.0, 0.0])
"""Powers of λ_1/λ_k that the condition at the minimizer grows with, at depth 1."""
OF_SHARE = np.array([-0.5, 0.0, -1.0, -1.0, -1.0])
"""Powers of τ that the curvature towards a missing mode, in units of the sharpness, grows with as τ → 0."""


@dataclasses.dataclass(frozen=True)
class LossesOnTarget:
    """One target and what the losses make of it; losses first, then depths.

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
    >>> none = np.zeros((5, 1))
    >>> lam = np.array([4.0, 2.0, 1.0])
    >>> one = LossesOnTarget(lam, 2, 0.5, none, none, none, none, none[:, 0], none[:, 0], none[:, 0])
    >>> one.least, one.bias.round(4).tolist()     # (2 − √3.5)² + (√2 − √1.5)²
    (1.0, [0.0525, 0.0, 0.0525, 0.0525, 0.0])
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
    def bias(self) -> Floats:
        """What the minimizer of each loss should lose over that: Σ_{j≤k} (√λ_j − √(λ_j − τ))², or nothing."""
        used = self.eigenvalues[: self.rank]
        return BIASED * float(((np.sqrt(used) - np.sqrt(used - self.tau)) ** 2).sum())

    @property
    def spread(self) -> float:
        """λ_1/λ_k."""
        return float(self.eigenvalues[0] / self.eigenvalues[self.rank - 1])


@dataclasses.dataclass(frozen=True)
class Losses:
    """Five losses side by side; arrays have the losses first, in the order of `names`.

    Attributes
    ----------
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
    >>> record = losses(quick=True, depths=(1,))
    >>> record.by_scale[:, 0, -1].round(3).tolist()     # variances 16 times as large: ×1, ×16, /16, ×1, ×1
    [1.967, 768.0, 0.612, 1.983, 2.0]
    """

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
    def names(self) -> tuple[str, ...]:
        """The losses."""
        return LOSSES

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
                row: Row = {"target": target, "loss": LOSSES[at[0]], "depth": int(self.depths[at[1]])}
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
                    "bias": float(side.bias[i]),
                }
                for i, name in enumerate(LOSSES)
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
        return (("small", self.small), ("digits", self.digits))

    def _measured(self) -> list[Row]:
        side, slope = self.small, self.escape_slope
        return [
            {
                "loss": LOSSES[at[0]],
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
            rows.append({"loss": LOSSES[at[0]], **where, "value": float(value)})
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
        predicted = DEGREES[:, None] - 1 / self.depths
        off = np.abs(found - predicted).max()
        return Finding(
            "With variances c times as large the sharpness is multiplied by c^(degree − 1/N): at depth 1 it has no "
            "units for the transport losses, grows with c for the Frobenius loss and falls with c for the likelihood.",
            bool(off < 1e-6),
            f"Exponents at depth {self.depths[0]}: {_told(found[:, 0])}; at depth {self.depths[-1]}: "
            f"{_told(found[:, -1])}. They differ from the predicted ones by at most {off:.1e}.",
        )

    def _spread(self) -> Finding:
        last = self.spreads >= 100
        found = _slope(self.spreads[last], self.by_spread[:, last])
        return Finding(
            "At depth 1 the condition at the minimizer grows in proportion to λ_1/λ_k for the Frobenius loss and the "
            "likelihood, and does not depend on it for the transport losses.",
            bool((np.abs(found - OF_SPREAD) < 0.02).all()),
            f"Exponents for λ_1/λ_k from {self.spreads[last][0]:g} to {self.spreads[-1]:g}: {_told(found)}. On the "
            f"digits (λ_1/λ_k = {self.digits.spread:.3g}) the condition at depth {self.depths[0]} is "
            f"{_told(self.digits.condition[:, 0])}.",
        )

    def _approach(self) -> Finding:
        ratio = self.approach.max(1) / self.approach.min(1)
        side = self.digits
        most = 1 / (1 - side.tau / side.eigenvalues[side.rank - 1])
        transport = ratio[[0, 3, 4]]
        square = np.abs(self.approach[1] / side.eigenvalues[: side.rank] / 8 - 1).max()
        return Finding(
            "At depth 1 all used modes of the digits come to rest at the same rate under the transport losses, up to "
            "1/(1 − τ/λ_k); under the Frobenius loss at rates 8 λ_j, in proportion to their variance.",
            bool((transport <= 1.02 * most).all() and square < 0.02),
            f"Fastest over slowest: {_told(ratio)}; 1/(1 − τ/λ_k) = {most:.3g}, λ_1/λ_k = {side.spread:.3g}. The rates "
            f"of the Frobenius loss are 8 λ_j within {100 * square:.2g} %.",
        )

    def _blow_up(self) -> Finding:
        first = self.shares <= 1e-4
        found = _slope(self.shares[first], np.abs(self.by_share_found[:, first]))
        at = int(np.argmax(self.shares == 0.1)) if (self.shares == 0.1).any() else -1
        return Finding(
            "The curvature towards a missing mode, in units of the sharpness at the minimizer, blows up as τ → 0 for "
            "every loss but the square loss: like τ^(−1/2) for Bures-Wasserstein, like 1/τ for the others.",
            bool((np.abs(found - OF_SHARE) < 0.01).all()),
            f"Exponents for τ/λ_k from {self.shares[0]:g} to {self.shares[first][-1]:g}: {_told(found)}. At "
            f"τ = {self.shares[at]:g} λ_k the ratio is {_told(self.by_share_found[:, at])}.",
        )

    def _bias(self) -> Finding:
        told, off = [], []
        for target, side in self._sides:
            found = (side.minimizer,) if np.isnan(side.reached).all() else (side.minimizer, side.reached)
            off += [np.abs(each - side.least - side.bias) / side.least for each in found]
            told.append(
                f"{target}: {100 * side.bias[0] / side.least:.3g} % above the best of rank {side.rank}, and with the "
                f"noise τ counted in {100 * (1 - side.with_noise[0] / side.least):.3g} % below it"
            )
        worst = np.max(off)  # NaN, which is not below anything, where a flow of some losses has failed
        return Finding(
            "Smoothed, likelihood and entropic losses with τ = ε/2 have one minimizer, biased in the true distance by "
            "Σ (√λ_j − √(λ_j − τ))²; Frobenius loss and Sinkhorn divergence have the best one of rank k.",
            bool(worst < 1e-4),
            f"{_capital('; '.join(told))}. Closed forms and ends of flows agree with this to {worst:.1e} of the least "
            "distance.",
        )

    def _escape(self) -> Finding:
        ratio = self.escape_slope * np.abs(self.small.saddle)
        off = np.abs(ratio - 1).max()
        steps = self.escape[:, 0, -1] * self.small.sharpness[:, 0]
        return Finding(
            "A flow that begins δ beside the lowest saddle needs ln(1/δ)/|λ_min| more time the smaller δ is.",
            bool(off < 0.01),
            f"In {ratio.size} pairs of runs the slope times |λ_min| is {ratio.min():.4f} to {ratio.max():.4f}. From "
            f"δ = {self.deltas[-1]:g} at depth {self.depths[0]} it takes, in units of 1/λ_max, {_told(steps)}.",
        )

    def _rate(self) -> Finding:
        ratio = self.observed / self.small.rate
        off = np.abs(ratio - 1).max()
        relative = self.small.rate / self.small.sharpness
        return Finding(
            "At every depth the flow ends at the asymptotic rate of its loss.",
            bool(off < 0.01),
            f"In {ratio.size} runs observed over predicted rate is {ratio.min():.4f} to {ratio.max():.4f}. In units of "
            f"λ_max the rate at depth {self.depths[0]} is {_told(relative[:, 0])}; at depth {self.depths[-1]} "
            f"{_told(relative[:, -1])}.",
        )


def _slope(positions: Floats, values: Floats) -> Floats:
    """Slope of log values against log positions between first and last."""
    return np.asarray(np.log(values[..., -1] / values[..., 0]) / np.log(positions[-1] / positions[0]))


def _told(values: Floats) -> str:
    """One number for each loss."""
    return ", ".join(f"{name} {round(float(value), 6) + 0.0:.3g}" for name, value in zip(LOSSES, values, strict=True))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
