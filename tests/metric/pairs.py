"""Pairs of factors, most of them awkward, with names: the table that every form of the distance is held against."""

import numpy as np


def normal(rng, shape, is_complex):
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape)) / np.sqrt(2) if is_complex else x


def unitary(rng, n, is_complex):
    return np.linalg.qr(normal(rng, (n, n), is_complex))[0]


def conditioned(rng, n, is_complex, condition):
    """A dense n×n factor whose covariance has this condition number."""
    scales = np.geomspace(1, condition**-0.5, n)
    return unitary(rng, n, is_complex) * scales @ unitary(rng, n, is_complex)


def pairs(n, is_complex):
    """Name -> (f, g, whether the distance is far from zero compared with its scale)."""
    rng = np.random.default_rng(n + 1000 * is_complex)

    def draw(*shape):
        return normal(rng, shape, is_complex)

    w, rotation = draw(n, n), unitary(rng, n, is_complex)
    ill, basis = conditioned(rng, n, is_complex, 1e12), unitary(rng, n, is_complex)
    scales = np.geomspace(1, 1e-6, n)
    left, right = draw(n, 3), draw(n, 2)
    right[:3], left[3:] = 0, 0
    decades = np.geomspace(1e-8, 1e8, n)
    return {
        "generic": (w, draw(n, n), True),
        "tall": (draw(n, 2), draw(n, 3), True),
        "wide": (draw(n, 2 * n), draw(n, n + 3), True),
        "identical": (w, w.copy(), False),
        "another factor": (w, w @ rotation, False),
        "identical, rank 3": (draw(n, 3) @ draw(3, n), None, False),
        "near 1e-6": (w, w * (1 + 1e-6), False),
        "near 1e-6, rotated": (w, w @ rotation * (1 + 1e-6), False),
        "near 1e-9": (w, w + 1e-9 * draw(n, n), False),
        "rank 1, full": (draw(n, 1), w, True),
        "rank 0, full": (np.zeros((n, 2), w.dtype), w, True),
        "no columns, full": (np.zeros((n, 0), w.dtype), w, True),
        "zero, zero": (np.zeros((n, 2), w.dtype), np.zeros((n, 3), w.dtype), False),
        "rank 3, rank 2": (draw(n, 3) @ draw(3, n), draw(n, 2) @ draw(2, n), True),
        "orthogonal ranges": (left, right, True),
        "condition 1e12, commuting": (basis * scales, basis * scales[::-1], True),
        "condition 1e12": (ill, conditioned(rng, n, is_complex, 1e12), True),
        "condition 1e12, near": (ill, ill @ rotation * (1 + 1e-6), False),
        "condition 1e12, another factor": (ill, ill @ rotation, False),
        "condition 1e20, another factor": ((bad := conditioned(rng, n, is_complex, 1e20)), bad @ rotation, False),
        "scale 1e-8": (1e-8 * w, 1e-8 * draw(n, n), True),
        "scale 1e8": (1e8 * w, 1e8 * draw(n, n), True),
        "scales 1e8, 1e-8": (1e8 * w, 1e-8 * draw(n, n), True),
        "columns 1e-8 to 1e8": (w * decades, draw(n, n) * decades, True),
        "rows 1e-8 to 1e8": (w * decades[:, None], draw(n, n) * decades[:, None], True),
    }


NAMES = tuple(pairs(6, False))


def pair(name, n, is_complex, dtype=None):
    f, g, is_far = pairs(n, is_complex)[name]
    g = f.copy() if g is None else g
    return (f, g, is_far) if dtype is None else (f.astype(dtype), g.astype(dtype), is_far)
