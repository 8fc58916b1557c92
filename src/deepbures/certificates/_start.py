"""The numbers of a start that theorems speak of."""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures.certificates._comparison import ComparedByContents
from deepbures.landscape import Problem
from deepbures.model import DeepLinearNetwork, balancedness_tolerance, largest_squared_layer, relative_balancedness_gap

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Start(ComparedByContents):
    """What theorems know of the network, target and loss that training begins with: numbers, NaN where not known.

    Attributes
    ----------
    dim, bottleneck, depth : int
        n, k and N.
    tau : float
        The eigenvalue that a mode of the target must exceed to be used, τ for a smoothed loss.
    loss, excess : float
        L(0), and e(0) = L(0) − L* over the minimum for this bottleneck.
    trace : float
        tr Σ0.
    first_eigenvalue, kept_eigenvalue, left_out_eigenvalue, last_eigenvalue : float
        λ_1, λ_k, λ_{k+1} and λ_n of the target; the third one zero for k = n.
    smallest_singular_value, largest_singular_value : float
        σ_k of the end-to-end matrix, zero where it is rounding, and σ_1.
    largest_squared_layer : float
        The largest ‖W_l‖².
    balancedness_gap, balancedness_tolerance : float
        The largest ‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖ over the largest ‖W_l‖², and up to which of it the start counts as
        balanced.
    unbalancedness : float
        A bound of what the layers are unbalanced by between the k-dimensional spaces on which W lives, rounded up.
    smallest_squared_layer : float
        The smallest squared k-th singular value of a layer, between these spaces; zero where it is not known.
    spare_inputs : int
        By how much the latent size and the first hidden width, the smaller of them, exceed k; zero at depth 1.
    sharpness, smallest_curvature : float
        Largest and smallest positive Hessian eigenvalue at the balanced minimizer.
    rounding : float
        An excess that rounding alone may show at the minimum.
    largest_layer : float
        The largest spectral norm ‖W_l‖₂.
    has_narrow_layers : bool
        Whether all hidden widths are k.

    Examples
    --------
    >>> import deepbures as db
    >>> net = db.initialize((2, 2, 2), "close", target=db.Target.from_spectrum([4.0, 1.0]), key=0)
    >>> start = db.certify(net, db.Target.from_spectrum([4.0, 1.0]), db.BuresWasserstein())[0].start
    >>> start.dim, start.depth, start.power, start.first_eigenvalue, start.sharpness
    (2, 2, 1.0, 4.0, 8.0)
    """

    dim: int
    bottleneck: int
    depth: int
    tau: float
    loss: float
    excess: float
    trace: float
    first_eigenvalue: float
    kept_eigenvalue: float
    left_out_eigenvalue: float
    last_eigenvalue: float
    smallest_singular_value: float
    largest_singular_value: float
    largest_squared_layer: float
    balancedness_gap: float
    balancedness_tolerance: float
    unbalancedness: float
    smallest_squared_layer: float
    spare_inputs: int
    sharpness: float
    smallest_curvature: float
    rounding: float
    largest_layer: float = math.inf
    has_narrow_layers: bool = False

    @property
    def power(self) -> float:
        """P = 2(N − 1)/N: the flow is faster by σ^p where all singular values are at least σ."""
        return 2 * (self.depth - 1) / self.depth

    @property
    def has_full_rank(self) -> bool:
        """Whether the bottleneck leaves nothing out, k = n."""
        return self.bottleneck == self.dim

    @property
    def largest_squared_norm(self) -> float:
        """What ‖W‖² stays below along the flow of the Bures-Wasserstein loss: (√λ_1 + √e(0))², as ‖∇L‖² ≤ 4 e."""
        return (math.sqrt(max(self.first_eigenvalue, 0)) + math.sqrt(max(self.excess, 0))) ** 2

    @property
    def gap(self) -> float:
        """λ_k − λ_{k+1}: without smoothing, the height of the best saddle over the minimum."""
        return self.kept_eigenvalue - self.left_out_eigenvalue

    def at_record(self, loss: float, excess: float, smallest: float | None, balancedness_gap: float | None) -> "Start":
        """What is known at a record of a run that began here, from L, e, σ_k and max ‖D_l‖, the last two if recorded.

        A σ_k that was not recorded counts as zero, which it is not below; layers whose gap was not, as unknown. The
        largest of N layers has ‖W_l‖² ≥ k σ_k^{2/N}, since the product of their k leading singular values is no less
        than that of W. Along a balanced flow σ_1 stays below the larger of σ_1(0) and √λ_1.
        """
        known = 0.0 if smallest is None else smallest
        largest = max(self.largest_singular_value, math.sqrt(max(self.first_eigenvalue, 0.0)))
        squared = self.bottleneck * max(known, 1e-140) ** (2 / self.depth)  # gaps stay finite relative to it
        gap = 0.0 if self.depth == 1 else math.nan if balancedness_gap is None else balancedness_gap
        apart = max(self.unbalancedness, gap * (1 if self.has_narrow_layers else self.depth - 1))
        apart = math.nan if math.isnan(gap) else apart
        return dataclasses.replace(
            self,
            unbalancedness=apart,
            smallest_squared_layer=0.0,
            loss=loss,
            excess=max(excess, 0.0),
            smallest_singular_value=known if known > self.dim * np.finfo(np.float64).eps * largest else 0.0,
            largest_singular_value=largest,
            largest_squared_layer=squared,
            balancedness_gap=gap / squared,
            largest_layer=math.inf,
        )


def measure(net: DeepLinearNetwork, problem: Problem) -> Start:
    """The numbers of a start; NaN where they are not known in closed form."""
    target, loss = problem.target, problem.loss
    w, k, n = net.end_to_end, net.bottleneck, net.dim
    known = problem.eigenvalues is not None
    values = np.asarray(problem.eigenvalues, np.float64) if known else np.full(n, np.nan)
    value = float(loss.value(w, target))
    smallest, largest = _singular_values(w, k)
    sharpness, smallest_curvature = problem.extremes(net.depth, net.latent_dim)
    unbalancedness, smallest_squared_layer = _of_layers([np.asarray(layer, np.float64) for layer in net.weights], k)
    return Start(
        dim=n,
        bottleneck=k,
        depth=net.depth,
        tau=float(loss.modes.threshold()) if loss.modes is not None else math.nan,
        loss=value,
        excess=max(float(problem.excess(w)), 0.0),
        trace=float(target.trace),
        first_eigenvalue=float(values[0]),
        kept_eigenvalue=float(values[k - 1]),
        left_out_eigenvalue=float(values[k]) if k < n else 0.0,
        last_eigenvalue=float(values[-1]) if len(values) == n else math.nan,
        smallest_singular_value=smallest,
        largest_singular_value=largest,
        largest_squared_layer=largest_squared_layer(net),
        balancedness_gap=relative_balancedness_gap(net),
        balancedness_tolerance=balancedness_tolerance(net),
        unbalancedness=unbalancedness,
        smallest_squared_layer=smallest_squared_layer,
        spare_inputs=min(net.latent_dim, net.widths[1]) - k if net.depth > 1 else 0,
        sharpness=float(sharpness),
        smallest_curvature=float(smallest_curvature),
        rounding=_rounding(net, problem, value),
        largest_layer=max(float(np.linalg.norm(np.asarray(weight, np.float64), 2)) for weight in net.weights),
        has_narrow_layers=all(width == k for width in net.widths[1:-1]),
    )


def _singular_values(w: Any, k: int) -> tuple[float, float]:
    """σ_k, zero where it is rounding, and σ_1."""
    s = np.linalg.svd(np.asarray(w, np.float64), compute_uv=False)
    smallest = float(s[k - 1]) if s[k - 1] > max(w.shape) * np.finfo(np.float64).eps * s[0] else 0.0
    return smallest, float(s[0])


def _of_layers(layers: list[NDArray[np.float64]], k: int) -> tuple[float, float]:
    """The unbalancedness, and the smallest squared k-th singular value of a layer.

    Where a hidden width exceeds k, between the spaces that lead to and come from the first layer of width k, and with
    the unbalancedness (N − 1) times: what layers have beside these spaces adds up.
    """
    sizes = [layers[0].shape[1], *(layer.shape[0] for layer in layers)]
    apart = max((_gap(below, above) for below, above in itertools.pairwise(layers)), default=0.0)
    waist = sizes.index(k)
    smallest = math.inf
    ways = (layers[waist:], [layer.T for layer in layers[:waist][::-1]])
    for way in ways:
        space = np.eye(k)
        for layer in way:
            space, s, _ = np.linalg.svd(layer @ space, full_matrices=False)
            smallest = min(smallest, float(s[k - 1]) ** 2)
    return apart if max(sizes[1:-1], default=k) == k else (len(layers) - 1) * apart, smallest


def _gap(below: NDArray[np.float64], above: NDArray[np.float64]) -> float:
    """‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖₂, with the errors of sums of d products each and of their difference."""
    error = (above.shape[0] + below.shape[1] + 2) * _EPS * ((above**2).sum() + (below**2).sum())
    return float(np.linalg.norm(above.T @ above - below @ below.T, 2) + error)


def _rounding(net: DeepLinearNetwork, problem: Problem, value: float) -> float:
    """An excess that rounding alone may show at the minimum: factors and W are right to about (n + N) eps."""
    eps = max(float(np.finfo(np.asarray(array).dtype).eps) for array in (*net.weights, problem.target.mean))
    return problem.excess_of_rounding(32 * (net.dim + net.depth) * eps, value)
