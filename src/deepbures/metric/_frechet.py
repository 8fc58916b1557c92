"""The Fréchet distance: Bures-Wasserstein with means, from samples or from moments."""

from array_api_compat import array_namespace

from deepbures._arrays import refuse_other_order
from deepbures._types import Array, ArrayLike, Float, Inexact
from deepbures.linalg import squared_norm
from deepbures.metric._covariances import CovarianceKernel
from deepbures.metric._factors import FACTORS
from deepbures.metric._libraries import detached
from deepbures.metric._moments import moments_of
from deepbures.metric._nearest import checked_covariances
from deepbures.metric._rules import distance
from deepbures.metric._scaled import squared_at_any_scale
from deepbures.metric._scaling import common_scale, equal, is_one, squared
from deepbures.metric._validation import (
    align,
    check_finite,
    check_matrices,
    check_same_dimension,
    floating_arrays,
)


def squared_frechet_distance(x: ArrayLike, y: ArrayLike, *, unbiased: bool = False) -> Float[Array, "..."]:
    """Squared Fréchet distance of two sets of samples: that of the Gaussians with their means and covariances.

        ‖x̄ − ȳ‖² + B²(A, B),  A = (1/N) Σ_i (x_i − x̄)(x_i − x̄)ᴴ,  B likewise,

    with B² the squared Bures-Wasserstein distance. The centred samples over √N are a factor of their covariance, so
    where N, M < n it costs O(N M n), and no n×n matrix is formed. (Where B² is less than a tenth of tr A + tr B,
    or under `jax.jit`, O((N² + M²) n).)

    Parameters
    ----------
    x : array of shape (..., N, n)
        Samples in rows. With features of the Inception network this is the FID of Heusel et al.
    y : array of shape (..., M, n)
        Samples in rows; the leading dimensions broadcast.
    unbiased : bool
        Divide by N − 1 and M − 1 instead of N and M. The FID codes of the literature do.

    Returns
    -------
    array of shape (...)
        Real, never negative, in the precision of the input (integers are promoted to the default float).

    Raises
    ------
    TypeError
        If the arrays are not numeric, or of two libraries or two dtypes.
    ValueError
        If the shapes do not fit, an entry is not finite (not checked inside a JAX transformation), there are no
        samples, or just one where `unbiased`. With 1/N one sample is all right: its covariance is zero.

    References
    ----------
    Dowson, Landau (1982), J. Multivariate Anal. 12; Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter (2017), NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> x = np.array([[0.0, 0.0], [2.0, 0.0]])
    >>> round(float(dbm.squared_frechet_distance(x, 3 * x)), 12)     # means (1, 0) and (3, 0), deviations 1 and 3
    8.0
    >>> round(float(dbm.squared_frechet_distance(x, 3 * x, unbiased=True)), 12)
    12.0
    """
    refuse_other_order(samples={"x": x, "y": y})
    x, y = floating_arrays(x=x, y=y)
    check_matrices("(..., samples, n)", x=x, y=y)
    check_same_dimension(-1, x=x, y=y)
    for name, samples in (("x", x), ("y", y)):
        _check_sample_count(samples.shape, name, unbiased)
    check_finite(x=x, y=y)
    x, y = align(x=x, y=y)
    same = equal(x, y)
    scale = common_scale(x, y)
    if not is_one(scale):
        x, y = x / scale, y / scale
    of_x, of_y = moments_of(x), moments_of(y)
    value = distance(FACTORS, of_x.columns(unbiased), of_y.columns(unbiased))
    value = value + _squared_length(of_x.distance_of_means(of_y))
    xp = array_namespace(value)
    # Taken away as a constant: the derivatives at equal samples are those of the formula.
    rounding = detached(xp.where(same, value, xp.zeros_like(value)))
    return squared(value - rounding, scale[..., 0, 0])


def squared_frechet_distance_from_moments(
    mean_x: ArrayLike, cov_x: ArrayLike, mean_y: ArrayLike, cov_y: ArrayLike, *, rtol: float | None = None
) -> Float[Array, "..."]:
    """Squared Fréchet distance of two Gaussians, from their means and covariances.

        ‖m_x − m_y‖² + B²(C_x, C_y),

    with B² the squared Bures-Wasserstein distance: the squared 2-Wasserstein distance of N(m_x, C_x) and N(m_y, C_y).

    Parameters
    ----------
    mean_x : array of shape (..., n)
        m_x.
    cov_x : array of shape (..., n, n)
        C_x, positive semidefinite, singular or not.
    mean_y : array of shape (..., n)
        m_y.
    cov_y : array of shape (..., n, n)
        C_y.
    rtol : float, optional
        Asymmetry and negative eigenvalues up to rtol times the largest entry of a covariance are put down to rounding,
        and taken away first: the result is that of `nearest_covariance`. Default: 100 n eps of the dtype. Moments that
        were summed in float32 need about 1e-5, more where the mean is large against the standard deviation; the message
        says how much.

    Returns
    -------
    array of shape (...)
        Real, never negative, in the precision of the input (integers are promoted to the default float).

    Raises
    ------
    TypeError, ValueError
        As `squared_bures_wasserstein`; also if a mean does not fit its covariance.

    References
    ----------
    Dowson, Landau (1982), J. Multivariate Anal. 12; Heusel et al. (2017), NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> eye = np.eye(2)
    >>> float(dbm.squared_frechet_distance_from_moments(np.zeros(2), eye, np.ones(2), 4 * eye))
    4.0
    """
    refuse_other_order(covariances={"cov_x": cov_x, "cov_y": cov_y}, means={"mean_x": mean_x, "mean_y": mean_y})
    mean_x, cov_x, mean_y, cov_y = floating_arrays(mean_x=mean_x, cov_x=cov_x, mean_y=mean_y, cov_y=cov_y)
    cov_x, cov_y = checked_covariances(rtol, cov_x=cov_x, cov_y=cov_y)
    check_same_dimension(-1, cov_x=cov_x, cov_y=cov_y)
    for name, mean, covariance in (("mean_x", mean_x, cov_x), ("mean_y", mean_y, cov_y)):
        if mean.ndim < 1 or mean.shape[-1] != covariance.shape[-1]:
            raise ValueError(
                f"{name} must have shape (..., {covariance.shape[-1]}) to fit its covariance of shape "
                f"{tuple(covariance.shape)}, but has shape {tuple(mean.shape)}."
            )
    check_finite(mean_x=mean_x, mean_y=mean_y)
    rows = {"mean_x": mean_x[..., None, :], "mean_y": mean_y[..., None, :]}
    row_x, row_y, cov_x, cov_y = align(**rows, cov_x=cov_x, cov_y=cov_y)
    value = squared_at_any_scale(CovarianceKernel(("cov_x", "cov_y")), cov_x, cov_y)
    mean_scale = common_scale(row_x, row_y)
    means = _squared_length(row_x / mean_scale - row_y / mean_scale)
    return value + squared(means, mean_scale[..., 0, 0])


def _check_sample_count(shape: tuple[int, ...], name: str, unbiased: bool) -> None:
    num_samples, shape = shape[-2], tuple(shape)
    if num_samples == 0 or shape[-1] == 0:
        raise ValueError(f"{name} must hold at least one sample with at least one feature, but has shape {shape}.")
    if unbiased and num_samples == 1:
        raise ValueError(
            f"{name} holds one sample (shape {shape}), and unbiased=True divides by N - 1 = 0. Give more samples, or "
            "use unbiased=False, where the covariance of one sample is zero."
        )


def _squared_length(row: Inexact[Array, "... 1 n"]) -> Float[Array, "..."]:
    return squared_norm(row)  # |·|² would lose its second derivative at zero
