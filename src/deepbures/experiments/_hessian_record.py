"""What `hessians` found, and what follows from it."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from deepbures.experiments._hessian_parts import BlowUp, Curvatures, Floats, Models, Paths
from deepbures.experiments._pieces import Finding
from deepbures.experiments._setting import BW, FROBENIUS

Row = dict[str, float | int | str]

LOSSES = (BW, FROBENIUS)
ORDERS = ("swap", "loss")
KINDS = ("straight", "bures")
DIRECTIONS = ("exchange", "scale")
QUANTITIES = ("smallest", "largest", "relative_condition", "absolute_condition")


@dataclasses.dataclass(frozen=True)
class Hessians:
    """What `hessians` found.

    Attributes
    ----------
    rank, depth, tau
        k, N and τ.
    eigenvalues : array (targets, n)
        Of the targets, each descending to τ + 1/n.
    curvatures : dict from (order, loss) to Curvatures
        "swap" or "loss"; "bw" or "frobenius".
    lanczos, dense : dict from loss to arrays (targets shown, points checked)
        Largest difference of the closed form from Lanczos iteration (both ends), and from all eigenvalues of the dense
        Hessian, over λ_max.
    paths, models : dict from loss to Paths, to Models
        For the targets shown, the first ones.
    blow_up : BlowUp
        For the first target.

    Examples
    --------
    >>> from deepbures.experiments import hessians
    >>> record = hessians(quick=True, dim=4, rank=2, depth=2, num_targets=2)
    >>> record.curvatures["swap", "bw"].eigen_indices[0].tolist()
    [[0, 1], [0, 2], [0, 3]]
    """

    rank: int
    depth: int
    tau: float
    eigenvalues: Floats
    curvatures: dict[tuple[str, str], Curvatures]
    lanczos: dict[str, Floats]
    dense: dict[str, Floats]
    paths: dict[str, Paths]
    models: dict[str, Models]
    blow_up: BlowUp

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was claimed, and what came out."""
        return (
            self._signs(),
            self._conditioning(),
            self._sharpness(),
            self._agreement(),
            self._barriers(),
            *self._trust(),
            self._blow_up_in_tau(),
            self._blow_up_in_rank(),
        )

    def tables(self) -> dict[str, list[Row]]:
        """Rows for files: curvatures, paths, models, and the two blow-ups."""
        tables: dict[str, list[Row]] = {name: [] for name in ("curvatures", "paths", "models")}
        for (order, loss), curvatures in self.curvatures.items():
            rows: list[Row] = [{"order": order, "loss": loss, "i": i} for i in range(curvatures.value.shape[1])]
            for quantity in QUANTITIES:
                for name, column in zip(("mean", "std", "median"), curvatures.statistics(quantity), strict=True):
                    for row, entry in zip(rows, column.tolist(), strict=True):
                        row[f"{quantity}_{name}"] = entry
            tables["curvatures"] += rows
        for loss in LOSSES:
            paths, models = self.paths[loss], self.models[loss]
            for (target, kind, step), barrier in np.ndenumerate(paths.barriers):
                where: Row = {"loss": loss, "target": target, "kind": KINDS[kind], "i": step, "barrier": float(barrier)}
                tables["paths"].append(where)
            for (target, point, direction), trusted in np.ndenumerate(models.trusted):
                at = (target, point, direction)
                tables["models"].append(
                    {
                        "loss": loss,
                        "target": target,
                        "i": models.points[point],
                        "direction": DIRECTIONS[direction],
                        "curvature": float(models.curvature[at]),
                        "closed_form": float(models.closed_form[at]),
                        "trusted": float(trusted),
                    }
                )
        b = self.blow_up
        tables["blow-up-smoothing"] = _rows(tau=b.taus, closed_form=b.by_tau, automatic=b.by_tau_found)
        tables["blow-up-singular-value"] = [
            {"tau": float(level), **row}
            for level, closed, found in zip(b.levels, b.by_scale, b.by_scale_found, strict=True)
            for row in _rows(scale=b.scales, closed_form=closed, automatic=found)
        ]
        return tables

    def _signs(self) -> Finding:
        smallest = [np.asarray(each.smallest) for each in self.curvatures.values()]
        minimizers = np.concatenate([each[:, 0] for each in smallest])
        others = np.concatenate([each[:, 1:].ravel() for each in smallest])
        return Finding(
            "Of the critical points of full rank, the minimizer alone has no negative curvature, for both losses.",
            bool((minimizers >= 0).all() and (others < 0).all()),
            f"λ_min is negative at {_count(others < 0)} other points and at {_count(minimizers < 0)} minimizers. It is "
            f"zero at {_count(minimizers == 0)} minimizers, where the relative condition number is infinite.",
        )

    def _conditioning(self) -> Finding:
        bw, frobenius = (self.curvatures["swap", loss].absolute_condition for loss in LOSSES)
        better = bw < frobenius
        exact = 2 * self.eigenvalues[:, 0] / self.eigenvalues[:, self.rank - 1]
        return Finding(
            "At the minimizer the smoothed Bures-Wasserstein loss is better conditioned than the Frobenius loss.",
            bool(better[:, 0].all()),
            f"λ_max over the least nonzero |λ| is {_mean(bw[:, 0])} (mean ± std; median {_median(bw[:, 0])}) against "
            f"{_mean(frobenius[:, 0])} ({_median(frobenius[:, 0])}), smaller for {_count(better[:, 0])} targets, by a "
            f"median factor of {_median(frobenius[:, 0] / bw[:, 0])}; without smoothing the factor would be 2 λ_1/λ_k, "
            f"median {_median(exact)}. At the other points of the sequence it is smaller in "
            f"{_count(better[:, 1:])} cases.",
        )

    def _sharpness(self) -> Finding:
        bw, frobenius = (self.curvatures["swap", loss].largest for loss in LOSSES)
        return Finding(
            "In these units of data the Frobenius loss is sharper: its λ_max is larger at every critical point.",
            bool((bw < frobenius).all()),
            f"In {_count(bw < frobenius)} cases; at the minimizer λ_max is {_mean(bw[:, 0])} against "
            f"{_mean(frobenius[:, 0])}. Without smoothing the factor there is 4 λ_1, in squared units of the data.",
        )

    def _agreement(self) -> Finding:
        lanczos, dense = (max(float(each.max()) for each in part.values()) for part in (self.lanczos, self.dense))
        models = max(
            float((np.abs(each.curvature - each.closed_form) / np.abs(each.closed_form)).max())
            for each in self.models.values()
        )
        num_points = sum(each.size for each in self.lanczos.values())
        num_vectors = sum(each.curvature.size for each in self.models.values())
        return Finding(
            "The closed-form spectrum agrees with what automatic differentiation finds.",
            max(lanczos, dense) < 1e-6 and models < 1e-6,
            f"At {num_points} critical points: extremes by Lanczos iteration differ by at most {lanczos:.1e} of λ_max, "
            f"all eigenvalues of the dense Hessian by {dense:.1e}; curvatures along {num_vectors} eigenvectors by "
            f"{models:.1e} of themselves.",
        )

    def _barriers(self) -> Finding:
        agree, texts = [], []
        for loss, name in zip(LOSSES, ("Bures-Wasserstein", "Frobenius"), strict=True):
            paths = self.paths[loss]
            climbs = paths.barriers > 1e-12 * paths.losses.max()
            agree.append(climbs[:, 1] == (paths.start_curvature > 0))
            texts.append(f"{name} {_count(climbs[:, 1])} geodesics and {_count(climbs[:, 0])} straight lines")
        return Finding(
            "The Bures geodesic to the next lower critical point climbs first exactly where its second derivative at "
            "the higher end is positive (without smoothing: unless one eigenvalue exceeds the other by more than the "
            "golden ratio).",
            bool(np.all(agree)),
            f"Sign and barrier agree for {_count(np.array(agree))} geodesics. With a barrier: {'; '.join(texts)} to a "
            "point that is turned at random.",
        )

    def _trust(self) -> tuple[Finding, Finding]:
        bw, frobenius = (self.models[loss].trusted for loss in LOSSES)
        texts = [
            f"Farther in {_count(bw[..., d] > frobenius[..., d])} cases; right to a quarter up to a median part of "
            f"{_median(bw[..., d])} of the mode's length, against {_median(frobenius[..., d])}."
            for d in range(len(DIRECTIONS))
        ]
        return (
            Finding(
                "Along the sharpest direction, the scale of the largest mode, the second-order model of the smoothed "
                "Bures-Wasserstein loss holds farther than that of the Frobenius loss.",
                bool((bw[..., 1] > frobenius[..., 1]).all()),
                texts[1],
            ),
            Finding(
                "Along the exchange of the last mode (λ_min at saddles), the same comparison depends on the target and "
                "the point.",
                None,
                texts[0],
                is_shown_only=True,
            ),
        )

    def _blow_up_in_tau(self) -> Finding:
        b = self.blow_up
        slope = _slope(b.taus, -b.by_tau)
        error = float(np.abs(b.by_tau_found / b.by_tau - 1).max())
        return Finding(
            "At a critical point of lower rank the Hessian of the smoothed loss blows up as τ → 0, like τ^(−1/2).",
            abs(slope + 0.5) < 0.01 and error < 1e-6,
            f"λ_min falls to {_number(b.by_tau[0])} at τ = {b.taus[0]:g}, slope {_number(slope)} in logarithms; "
            f"automatic differentiation differs by at most {error:.1e} of it.",
        )

    def _blow_up_in_rank(self) -> Finding:
        b = self.blow_up
        slope = _slope(b.scales, -b.by_scale[0])
        steep = b.by_scale < -2
        error = float(np.abs(b.by_scale_found[steep] / b.by_scale[steep] - 1).max())
        limits = 2 * (1 - np.sqrt(self.eigenvalues[0, self.rank - 1] / b.levels[1:]))
        reached = ", ".join(
            f"{_number(each[0])} for τ = {level:g} (limit {_number(limit)})"
            for level, each, limit in zip(b.levels[1:], b.by_scale[1:], limits, strict=True)
        )
        return Finding(
            "Without smoothing the Hessian blows up as a singular value s goes to zero, like 1/s; smoothing bounds it "
            "by 2 (1 − √(λ_k/τ)).",
            abs(slope + 1) < 0.01 and error < 1e-6 and bool((b.by_scale[1:] >= limits[:, None] * (1 + 1e-9)).all()),
            f"Without smoothing λ_min is {_number(b.by_scale[0, 0])} at {b.scales[0]:g} of the minimizer's singular "
            f"value, slope {_number(slope)} in logarithms; with it {reached}. Automatic differentiation differs by at "
            f"most {error:.1e} where the curvature is below −2.",
        )


def _slope(positions: Floats, values: Floats) -> float:
    """Slope of log values against log positions between the two smallest positions."""
    return float(np.log(values[1] / values[0]) / np.log(positions[1] / positions[0]))


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _median(values: Floats) -> str:
    return _number(float(np.median(values)))


def _mean(values: Floats) -> str:
    return f"{values.mean():.4g} ± {values.std():.2g}"


def _count(held: NDArray[np.bool_]) -> str:
    return f"{int(held.sum())} of {held.size}"


def _rows(**columns: Floats) -> list[Row]:
    return [
        dict(zip(columns, row, strict=True)) for row in zip(*(each.tolist() for each in columns.values()), strict=True)
    ]
