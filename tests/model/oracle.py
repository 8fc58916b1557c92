"""Slow and naive truth for losses, in 120-digit arithmetic, and targets whose spectrum is known by construction.

Nothing here shares a formula with the package: the loss is the definition tr A + tr C − 2 tr (C^½ A C^½)^½, its
derivatives are differences. A zero eigenvalue costs half of the digits in its root (1e-60), second differences with
h = 1e-15 another 30; what is left is far below a double.
"""

import dataclasses

import mpmath
import numpy as np

import deepbures as db

DIGITS = 120
STEP = mpmath.mpf("1e-15")


def exact(array):
    """The doubles of a matrix as they are, without rounding."""
    return mpmath.matrix(np.asarray(array, float).tolist())


def _root(s):
    values, vectors = mpmath.eigsy(s)
    half = vectors.copy()
    for j, value in enumerate(values):
        for i in range(s.rows):
            half[i, j] = vectors[i, j] * mpmath.sqrt(max(value, mpmath.mpf(0)))
    return half * vectors.T


def _trace(s):
    return mpmath.fsum(s[i, i] for i in range(s.rows))


class Oracle:
    """A loss of a target covariance F Fᵀ + floor·I: `tau` a number for Bures-Wasserstein, None for Frobenius."""

    def __init__(self, factor, floor=0.0, tau=0.0):
        with mpmath.workdps(DIGITS):
            f = exact(factor)
            self.covariance = f * f.T + mpmath.mpf(floor) * mpmath.eye(f.rows)
            self.root = None if tau is None else _root(self.covariance)
        self.tau = tau

    def _loss(self, w):
        a = w * w.T
        if self.tau is None:
            gap = a - self.covariance
            return mpmath.fsum(x * x for x in gap)
        a += mpmath.mpf(self.tau) * mpmath.eye(w.rows)
        values = mpmath.eigsy(self.root * a * self.root, eigvals_only=True)
        fidelity = mpmath.fsum(mpmath.sqrt(max(x, mpmath.mpf(0))) for x in values)
        return _trace(a) + _trace(self.covariance) - 2 * fidelity

    def value(self, w, minus=0):
        """L(W) − `minus`, rounded once, at the end; `minus` is a number of mpmath or exact."""
        with mpmath.workdps(DIGITS):
            return float(self._loss(exact(w)) - minus)

    def slope(self, w, direction):
        """⟨∇L(W), A⟩ by a central difference."""
        with mpmath.workdps(DIGITS):
            w, move = exact(w), exact(direction) * STEP
            return float((self._loss(w + move) - self._loss(w - move)) / (2 * STEP))

    def slope_ahead(self, w, direction):
        """The one-sided derivative of L at W in direction A, at a kink too."""
        with mpmath.workdps(DIGITS):
            w, move = exact(w), exact(direction) * STEP
            return float((self._loss(w + move) - self._loss(w)) / STEP)

    def curvature(self, w, one, other):
        """⟨∇²L(W)[A], B⟩ by central differences."""
        with mpmath.workdps(DIGITS):
            w, a, b = exact(w), exact(one) * STEP, exact(other) * STEP
            terms = self._loss(w + a + b) - self._loss(w + a - b) - self._loss(w - a + b) + self._loss(w - a - b)
            return float(terms / (4 * STEP**2))

    def curvature_along(self, path):
        """Second derivative at t = 0 of L along a curve t ↦ W(t) of mpmath matrices."""
        with mpmath.workdps(DIGITS):
            terms = self._loss(path(STEP)) - 2 * self._loss(path(mpmath.mpf(0))) + self._loss(path(-STEP))
            return float(terms / STEP**2)


class EntropicOracle(Oracle):
    """OT_ε of Janati et al. (2020), tr A + tr C − tr D + n σ²(1 − ln 2σ²) + σ² ln det(D + σ²I), or the divergence."""

    def __init__(self, factor, floor, epsilon, debiased):
        super().__init__(factor, floor, 0.0)
        self.noise, self.debiased = mpmath.mpf(epsilon) / 2, debiased

    def _cost(self, a, b_root):
        noise, n = self.noise, a.rows
        values = mpmath.eigsy(4 * b_root * a * b_root, eigvals_only=True)
        d = [mpmath.sqrt(max(x, mpmath.mpf(0)) + noise**2) for x in values]
        total = _trace(a) + _trace(b_root * b_root) - mpmath.fsum(d)
        return total + n * noise * (1 - mpmath.log(2 * noise)) + noise * mpmath.fsum(mpmath.log(x + noise) for x in d)

    def _loss(self, w):
        a = w * w.T
        value = self._cost(a, self.root)
        return (
            value - (self._cost(a, _root(a)) + self._cost(self.covariance, self.root)) / 2 if self.debiased else value
        )


class LikelihoodOracle(Oracle):
    """½ (tr S⁻¹ C − n + ln det S − ln det C); a zero eigenvalue of C counts as ½ ln(s/τ) − ½ + ½ in its place."""

    def __init__(self, factor, floor, tau, eigenvalues):
        super().__init__(factor, floor, tau)
        with mpmath.workdps(DIGITS):
            zero = sum(value == 0 for value in eigenvalues)
            known = mpmath.fsum(1 + mpmath.log(mpmath.mpf(float(value))) for value in eigenvalues if value > 0)
            self.constant = known + zero * mpmath.log(mpmath.mpf(tau))

    def _loss(self, w):
        s = w * w.T + mpmath.mpf(self.tau) * mpmath.eye(w.rows)
        log_det = mpmath.fsum(mpmath.log(x) for x in mpmath.eigsy(s, eigvals_only=True))
        return (_trace(mpmath.inverse(s) * self.covariance) + log_det - self.constant) / 2


def orthonormal(rng, rows, columns):
    """Orthonormal columns."""
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


BASIS = orthonormal(np.random.default_rng(7), 4, 4)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A target, and Σ0 = F Fᵀ + floor·I with all its eigenvalues, as it was constructed."""

    target: db.Target
    factor: np.ndarray
    eigenvalues: np.ndarray
    floor: float = 0.0

    @property
    def covariance(self):
        return self.factor @ self.factor.T + self.floor * np.eye(len(self.factor))

    @property
    def is_operator(self):
        return self.target.eigenvalues is None

    def oracle(self, loss):
        if isinstance(loss, db.EntropicWasserstein | db.SinkhornDivergence):
            return EntropicOracle(self.factor, self.floor, loss.epsilon, isinstance(loss, db.SinkhornDivergence))
        if isinstance(loss, db.GaussianLikelihood):
            return LikelihoodOracle(self.factor, self.floor, loss.tau, self.eigenvalues)
        return Oracle(self.factor, self.floor, getattr(loss, "tau", None))


def samples_with(eigenvalues, basis, num, mean, seed=0):
    """`num` rows with exactly this mean and 1/N covariance: columns of H orthonormal and orthogonal to 1."""
    draws = np.random.default_rng(seed).standard_normal((num, len(eigenvalues)))
    h = np.linalg.qr(np.concatenate([np.ones((num, 1)), draws], axis=1))[0][:, 1:]
    return mean + np.sqrt(num) * (h * np.sqrt(eigenvalues)) @ basis.T


def _dense(values):
    factor = BASIS * np.sqrt(values)
    return Problem(db.Target.from_covariance(factor @ factor.T), factor, np.array(values))


def _problems():
    generic = np.array([4.0, 2.0, 1.0, 0.5])
    graded = np.array([1.0, 1e-3, 1e-6, 1e-12])
    root = BASIS * np.sqrt(generic)
    low, few = BASIS[:, :2] * np.sqrt([3.0, 1.0]), BASIS[:, :2] * np.sqrt([2.0, 1.0])
    mixed = low @ np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0]])  # another factor of the same, with a column too many
    mean = np.array([1.0, -2.0, 0.0, 5.0])
    return {
        "generic": _dense([4.0, 2.0, 1.0, 0.5]),
        "singular": _dense([4.0, 2.0, 1.0, 0.0]),
        "repeated": _dense([2.0, 2.0, 2.0, 0.5]),
        "condition 1e12": Problem(db.Target.from_spectrum(graded, BASIS), BASIS * np.sqrt(graded), graded),
        "low rank": Problem(db.Target.from_factor(mixed), low, np.array([3.0, 1.0, 0.0, 0.0])),
        "spiked": Problem(db.Target.from_factor(mixed, 0.25), low, np.array([3.25, 1.25, 0.25, 0.25]), 0.25),
        "few samples": Problem(
            db.Target.from_samples(samples_with([2.0, 1.0], BASIS[:, :2], 3, mean)), few, np.array([2.0, 1.0, 0, 0])
        ),
        "samples": Problem(db.Target.from_samples(samples_with(generic, BASIS, 9, mean)), root, generic),
        "spectrum": Problem(
            db.Target.from_spectrum([1.0, 4.0, 0.5, 2.0]), np.diag([1.0, 2, 0.5**0.5, 2**0.5]), generic
        ),
        "operator": Problem(db.Target.from_operator(lambda w: root @ (root.T @ w), 4, generic.sum()), root, generic),
    }


PROBLEMS = _problems()
LOSSES = {
    "tau=0": db.BuresWasserstein(),
    "tau=0.1": db.BuresWasserstein(0.1),
    "tau=1.5": db.BuresWasserstein(1.5),  # above some eigenvalues of every target of the table
    "frobenius": db.Frobenius(),
    "likelihood": db.GaussianLikelihood(0.5),
    "entropic": db.EntropicWasserstein(0.5),
    "sinkhorn": db.SinkhornDivergence(0.5),
}
NEED_THE_SPECTRUM = ("tau=0.1", "tau=1.5", "likelihood", "sinkhorn")


def cases():
    """Every target crossed with every loss that it has."""
    return [(p, loss) for p in PROBLEMS for loss in LOSSES if not (p == "operator" and loss in NEED_THE_SPECTRUM)]
