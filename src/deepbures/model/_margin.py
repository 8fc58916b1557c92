"""The margin: how far singular values stay from zero, known from the loss alone.

With B the Bures-Wasserstein distance, whose square is the loss, every factor of a matrix at distance B from Σ0 has
singular values of at least √λ_n − B, and [W, √τ I] is a factor, so that for k = n

    σ_n(W)² ≥ c² = (√λ_n − √L_τ(W))² − τ     wherever √L_τ < √λ_n and c² > 0.

Without smoothing c = √λ_n − √L is the modified margin deficiency of Bréchet et al. (2023). Through a bottleneck k < n
the excess e = L − L* takes the place of the loss: σ_k(W) ≥ √λ_k − √e for e < λ_k − λ_{k+1}.
"""

import math


def unsmoothed_margin(eigenvalue: float, loss: float) -> float:
    """√λ − √L, negative where the loss is larger than the eigenvalue."""
    return math.sqrt(max(eigenvalue, 0.0)) - math.sqrt(max(loss, 0.0))


def squared_margin(eigenvalue: float, loss: float, tau: float) -> float:
    """c² = (√λ − √L_τ)² − τ, negative where √L_τ ≥ √λ or the smoothing takes it all: then there is no margin."""
    distance = unsmoothed_margin(eigenvalue, loss)
    return math.copysign(distance**2, distance) - tau
