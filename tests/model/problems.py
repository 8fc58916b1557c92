"""Targets with a known covariance, made in every way a target can be made."""

import numpy as np

import deepbures as db


def orthogonal(seed, n):
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def covariance_of(values, seed=1):
    basis = orthogonal(seed, len(values))
    s = (basis * np.asarray(values, float)) @ basis.T
    return (s + s.T) / 2


N = 5
GENERIC = covariance_of([5.0, 3.0, 1.5, 0.7, 0.2])
SINGULAR = covariance_of([5.0, 3.0, 1.0, 0.0, 0.0])
REPEATED = covariance_of([2.0, 2.0, 2.0, 1.0, 1.0])
ILL_CONDITIONED = np.diag([1.0, 1e-3, 1e-6, 1e-9, 1e-12])
FACTOR = np.random.default_rng(2).standard_normal((N, 2))
SPIKED = FACTOR @ FACTOR.T + 0.3 * np.eye(N)
FEW = np.random.default_rng(3).standard_normal((4, N)) + 10
MANY = np.random.default_rng(4).standard_normal((40, N)) * [3, 2, 1, 1, 0.5] - 7
BASIS = orthogonal(5, N)


def moments(x):
    centered = x - x.mean(0)
    return centered.T @ centered / len(x)


def operator():
    return db.Target.from_operator(lambda w: GENERIC @ w, N, np.trace(GENERIC))


# name -> (target, its covariance)
TARGETS = {
    "dense": (db.Target.from_covariance(GENERIC), GENERIC),
    "singular": (db.Target.from_covariance(SINGULAR), SINGULAR),
    "repeated": (db.Target.from_covariance(REPEATED), REPEATED),
    "ill-conditioned": (db.Target.from_covariance(ILL_CONDITIONED), ILL_CONDITIONED),
    "factor": (db.Target.from_factor(FACTOR), FACTOR @ FACTOR.T),
    "wide factor": (db.Target.from_factor(np.hstack([BASIS, GENERIC])), BASIS @ BASIS.T + GENERIC @ GENERIC),
    "spiked": (db.Target.from_factor(FACTOR, floor=0.3), SPIKED),
    "few samples": (db.Target.from_samples(FEW), moments(FEW)),
    "many samples": (db.Target.from_samples(MANY), moments(MANY)),
    "spectrum": (
        db.Target.from_spectrum([0.5, 4.0, 2.0], basis=BASIS[:, :3]),
        (BASIS[:, :3] * [0.5, 4.0, 2.0]) @ BASIS[:, :3].T,
    ),
    "diagonal": (db.Target.from_spectrum([3.0, 1.0, 0.0, 2.0, 0.5]), np.diag([3.0, 1.0, 0.0, 2.0, 0.5])),
    "operator": (operator(), GENERIC),
}
