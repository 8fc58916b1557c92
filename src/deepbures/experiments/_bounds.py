"""Bounds against reality: certificates of random instances held against their runs."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from deepbures._checks import check_integer
from deepbures.certificates import VISIBLE_CONTRACTION, Check, certify, theorems_of
from deepbures.experiments._pieces import Finding, Keeper, Piece, compute_all
from deepbures.experiments._setting import check_seed, flows_until, listed
from deepbures.landscape import asymptotic_rate
from deepbures.model import BuresWasserstein, DeepLinearNetwork, Target, initialize
from deepbures.training import gradient_descent

Floats = NDArray[np.float64]

GUARANTEES = tuple(theorem.name for theorem in theorems_of(BuresWasserstein()) if theorem.kind == "guarantee")
COMPARED = (*GUARANTEES, "flow-authors-code", "flow-asymptotic")
DIMS = (2, 3, 4, 5, 6, 7, 8)
_QUICK_DIMS = (2, 5)
_NUM_STEPS = 300


class _Instance(NamedTuple):
    """A target, a start within the hypotheses, and the loss."""

    number: int
    n: int
    k: int
    depth: int
    tau_share: float
    margin_share: float


@dataclass(frozen=True)
class Bounds:
    """Certificates of random instances against their runs; one entry of every array is one instance.

    Attributes
    ----------
    number, dim, rank, depth, tau : array
        The instance.
    applies, violated, tightness : dicts from names of certificates to arrays
        Whether its assumptions hold; whether the run was above its bound; observed over certified rate (NaN where it
        does not apply, or a contraction of descent is too small to be seen).
    margin, authors_margin, smallest : array
        The rigorous margin c, that of the authors' code (NaN where there is none), and the smallest σ_k(W(t)) of the
        run.
    contraction, monotone : array
        4 η N K c^(p+2), what "descent-derived" promises of a step at the certified step size η (NaN if there is none),
        and whether the loss fell in every one of 300 steps, to rounding.

    Examples
    --------
    >>> from deepbures.experiments import bounds
    >>> few = bounds(num_instances=3, dims=(2,))
    >>> len(few), any(few.violated[name].any() for name in few.violated if name != "flow-authors-code")
    (3, False)
    """

    number: NDArray[np.int_]
    dim: NDArray[np.int_]
    rank: NDArray[np.int_]
    depth: NDArray[np.int_]
    tau: Floats
    applies: dict[str, NDArray[np.bool_]]
    violated: dict[str, NDArray[np.bool_]]
    tightness: dict[str, Floats]
    margin: Floats
    authors_margin: Floats
    smallest: Floats
    contraction: Floats
    monotone: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of instances."""
        return len(self.number)

    @property
    def guarantees(self) -> tuple[str, ...]:
        """The names of the certificates that are theorems wherever they apply; the others promise nothing."""
        return GUARANTEES

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Tightness of each certificate, and the instances."""
        rows = []
        for name in COMPARED:
            at = self.applies[name]
            tight = self.tightness[name][at & np.isfinite(self.tightness[name])]
            quantiles = np.quantile(tight, (0, 0.05, 0.5, 0.95, 1)).tolist() if tight.size else [None] * 5
            rows.append(
                {
                    "certificate": name,
                    "instances": int(at.sum()),
                    "violated": int(self.violated[name][at].sum()),
                    **dict(zip(("smallest", "5 %", "median", "95 %", "largest"), quantiles, strict=True)),
                }
            )
        columns = ("number", "dim", "rank", "depth", "tau", "margin", "authors_margin", "smallest", "contraction")
        instances = [{name: getattr(self, name)[i].item() for name in columns} for i in range(len(self))]
        for i, row in enumerate(instances):
            row |= {name: float(self.tightness[name][i]) for name in COMPARED}
        return {"tightness": rows, "instances": instances}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Whether the theorems held, and how tight they are."""
        return (
            self._guarantees(),
            self._margins(),
            self._authors(),
            self._tightest(),
            self._descents(),
            *self._unseen(),
        )

    def _guarantees(self) -> Finding:
        seen = [name for name in GUARANTEES if self.applies[name].any()]
        bad = {name: int(self.violated[name].sum()) for name in seen}
        told = "; ".join(f"{name}: {bad[name]} violations in {int(self.applies[name].sum())}" for name in seen)
        return Finding(
            "No certificate whose assumptions hold is ever violated.",
            not any(bad.values()) if seen else None,
            f"{told}." if seen else "No instance meets the assumptions of any certificate.",
        )

    def _unseen(self) -> tuple[Finding, ...]:
        """Guarantees that no instance has put to the test, which is no evidence for them."""
        unseen = [name for name in GUARANTEES if not self.applies[name].any()]
        if not unseen:
            return ()
        statement = f"Neither is one of these: {', '.join(unseen)}."
        return (Finding(statement, None, "No instance meets their assumptions."),)

    def _margins(self) -> Finding:
        known = np.isfinite(self.margin)
        kept = self.smallest[known] >= self.margin[known] * (1 - 1e-6)
        return Finding(
            "The rigorous margin bounds the smallest singular value along the flow.",
            bool(kept.all()) if known.any() else None,
            f"In {int(kept.sum())} of {int(known.sum())} runs.",
        )

    def _authors(self) -> Finding:
        known = np.isfinite(self.authors_margin) & (self.tau > 0)
        kept = self.smallest[known] >= self.authors_margin[known] * (1 - 1e-6)
        return Finding(
            "The margin of the authors' code, √λ_n − √L(0) for every τ, bounds it with smoothing too.",
            bool(kept.all()) if known.any() else None,
            f"In {int(kept.sum())} of {int(known.sum())} runs with τ > 0. Of the bounds built on it "
            f"{int(self.violated['flow-authors-code'][known].sum())} are broken.",
        )

    def _tightest(self) -> Finding:
        derived, paper = self.tightness["flow-derived"], self.tightness["flow-paper"]
        both = np.isfinite(derived) & np.isfinite(paper)
        statement = "The derived rate of the flow is nearer to what it does than the paper's, wherever both apply."
        if not both.any():
            return Finding(statement, None, "In no run both rates are known.")
        nearer = derived[both] < paper[both]
        return Finding(
            statement,
            bool(nearer.all()),
            f"In {int(nearer.sum())} of {nearer.size} runs. Median of observed over certified rate over these: "
            f"flow-derived {np.median(derived[both]):.3g}, flow-paper {np.median(paper[both]):.3g}.",
        )

    def _descents(self) -> Finding:
        seen = self.contraction >= VISIBLE_CONTRACTION
        num_unseen = int((self.contraction < VISIBLE_CONTRACTION).sum())
        return Finding(
            "Descent at the certified step size is monotone.",
            bool(self.monotone[seen].all()) if seen.any() else None,
            f"In {int(self.monotone[seen].sum())} of {int(seen.sum())} descents whose contraction per step is above "
            f"{VISIBLE_CONTRACTION:g}; in {num_unseen} more it is too small to be seen in double precision.",
        )


def bounds(
    *,
    quick: bool = False,
    seed: int = 0,
    keep: Keeper = compute_all,
    num_instances: int | None = None,
    dims: tuple[int, ...] | None = None,
) -> Bounds:
    """Random instances within the hypotheses: every certificate against the flow and descent from its start.

    Depth 1-5; λ uniform on (0.3, 4); two fifths k = n with τ = 0, three tenths k = n with τ up to 0.95 λ_n, three
    tenths k < n with τ = 0; starts "close" with 5-95 % of the largest margin there is. Each is run by gradient flow
    until the excess has fallen by 10¹¹, and by 300 steps of descent at the certified step size.

    Parameters
    ----------
    quick : bool
        20 instances of dimension 2 and 5 instead of 200 of dimension 2 to 8.
    seed : int
        Of all draws.
    keep : Keeper
        How the pieces (one for each shape) are computed.
    num_instances : int, optional
        How many.
    dims : tuple of int, optional
        Of which dimensions n, each at least 2.

    Returns
    -------
    Bounds

    Raises
    ------
    ValueError
        If there is no instance or dimension, a dimension is below 2, or the seed is negative.

    Examples
    --------
    >>> from deepbures.experiments import bounds
    >>> few = bounds(num_instances=3, dims=(2,))
    >>> bool(few.tightness["flow-asymptotic"].min() > 0.9)
    True
    """
    count = check_integer((20 if quick else 200) if num_instances is None else num_instances, "num_instances", 1)
    seed = check_seed(seed)
    chosen = listed((_QUICK_DIMS if quick else DIMS) if dims is None else dims, "dims")
    for n in chosen:
        check_integer(n, "each of dims", 2, why=", as some bottlenecks are below it")
    groups: dict[tuple[int, int, bool], list[_Instance]] = {}
    for instance in _draw(count, chosen, seed):
        groups.setdefault((instance.n, instance.k, instance.tau_share > 0), []).append(instance)
    thunks = {
        f"n={n}-k={k}-{'smoothed' if smoothed else 'exact'}": partial(_run_group, tuple(group), seed)
        for (n, k, smoothed), group in sorted(groups.items())
    }
    pieces = list(keep(thunks).values())
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    order = np.argsort(columns["number"])
    columns = {name: column[order] for name, column in columns.items()}
    nested = {
        field: {name: columns.pop(f"{field}-{name}") for name in COMPARED}
        for field in ("applies", "violated", "tightness")
    }
    return Bounds(**cast(dict[str, Any], {**columns, **nested}))


def _draw(count: int, dims: tuple[int, ...], seed: int) -> list[_Instance]:
    rng = np.random.default_rng([seed, 5])
    instances = []
    for number in range(count):
        n, depth = int(rng.choice(dims)), int(rng.integers(1, 6))
        kind = rng.choice(3, p=(0.4, 0.3, 0.3))
        # Few bottlenecks for each dimension: each is a shape to compile.
        k = n if kind < 2 else int(rng.choice(sorted({1, max(n // 2, 1), n - 1})))
        tau_share = float(rng.uniform(0.02, 0.95)) if kind == 1 else 0.0
        instances.append(_Instance(number, n, k, depth, tau_share, float(rng.uniform(0.05, 0.95))))
    return instances


def _run_group(group: tuple[_Instance, ...], seed: int) -> Piece:
    rows = [_run(instance, seed) for instance in group]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _run(instance: _Instance, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 6, instance.number])
    n, k, depth = instance.n, instance.k, instance.depth
    values = np.sort(rng.uniform(0.3, 4.0, n))[::-1]
    tau = instance.tau_share * values[-1]
    keys = rng.integers(0, 2**31, 2)
    target, loss = Target.from_spectrum(values, key=int(keys[0])), BuresWasserstein(tau)
    best = np.sqrt(values[k - 1] - tau)
    share = instance.margin_share
    start = initialize((k,) * depth + (n,), "close", key=int(keys[1]), target=target, tau=tau, margin=share * best)
    certificates = certify(start, target, loss)
    by_name = {certificate.name: certificate for certificate in certificates}
    excess = by_name["flow-asymptotic"].excess
    flow = flows_until(
        1e-11 * excess,
        start.end_to_end[None],
        np.array([depth]),
        target,
        loss,
        60 / float(asymptotic_rate(target, k, loss, depth=depth)),
        num_records=80,
    )
    checks = {c.name: c.check(flow.times[0], flow.excess[0]) for c in certificates if c.method == "flow"}
    margin = by_name["flow-bottleneck" if k < n else "flow-exact"].constants["log_margin"]
    authors = by_name["flow-authors-code"].constants["log_margin"]
    row: dict[str, Any] = {
        "number": instance.number,
        "dim": n,
        "rank": k,
        "depth": depth,
        "tau": tau,
        "margin": np.exp(margin),
        "authors_margin": np.exp(authors) if k == n else np.nan,
        "smallest": flow["smallest_singular_value"][0].min(),
    }
    descent, contraction, monotone = _descend(start, target, loss, by_name["descent-derived"])
    checks |= {name: descent[name] for name in descent}
    row |= {"contraction": contraction, "monotone": monotone}
    for name in COMPARED:
        check = checks.get(name)
        known = check is not None and check.applies
        row[f"applies-{name}"] = known
        row[f"violated-{name}"] = check is not None and known and (check.violated or _above(check))
        # A contraction that double precision cannot show has no observed rate.
        promised = 0.0 if check is None else check.certificate.constants.get("log_contraction", 0.0)
        seen = known and promised >= np.log(VISIBLE_CONTRACTION)
        row[f"tightness-{name}"] = check.tightness if check is not None and seen else np.nan
    return row


def _above(check: Check) -> bool:
    """Whether the curve of the authors' code was exceeded, which guarantees nothing."""
    return check.certificate.name == "flow-authors-code" and check.largest_ratio > 1 + 1e-6


def _descend(
    start: DeepLinearNetwork, target: Target, loss: BuresWasserstein, derived: Any
) -> tuple[dict[str, Any], float, bool]:
    """Checks of descent at the paper's certified step size, its contraction per step, and whether it was monotone."""
    if not derived.holds or derived.max_step_size < 1e-300:
        return {}, np.nan, False
    every = np.arange(_NUM_STEPS + 1)
    run = gradient_descent(
        start, target, loss, _NUM_STEPS, derived.max_step_size, steps=every, record=("loss",), tolerance=0.0
    )
    checks = {check.certificate.name: check for check in run.check(certify(start, target, loss))}
    chosen = {name: check for name, check in checks.items() if check.certificate.method == "descent" and check.applies}
    rounding = 16 * np.finfo(np.float64).eps * float(target.trace)
    monotone = bool((np.diff(run.excess) <= rounding).all())
    return chosen, float(np.exp(derived.constants["log_contraction"])), monotone
