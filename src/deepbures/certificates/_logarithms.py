"""Arithmetic of constants that are kept as natural logarithms."""

import math

import numpy as np


def root(x: float) -> float:
    """√x, zero where rounding has made x negative."""
    return math.sqrt(max(x, 0.0))


def log(x: float) -> float:
    """Ln x: −∞ at zero, NaN below."""
    return math.log(x) if x > 0 else -math.inf if x == 0 else math.nan


def exp(log_x: float) -> float:
    """e^{ln x}, zero and infinite beyond the range of floating point."""
    return math.exp(log_x) if not log_x > 709 else math.inf


def log_of_sum(log_a: float, log_b: float) -> float:
    """ln(a + b)."""
    return math.nan if math.isnan(log_a) or math.isnan(log_b) else float(np.logaddexp(log_a, log_b))


def log_of_minus_log1m(log_q: float) -> float:
    """ln(−ln(1 − q)): from the logarithm of the share that a step takes to that of its rate."""
    if log_q < -30:  # −ln(1 − q) = q + q²/2 + …
        return log_q
    return math.log(-math.log1p(-math.exp(log_q))) if log_q < 0 else math.nan if math.isnan(log_q) else math.inf
