"""What the commands about data make of them: a target, and the loss that was named."""

import deepbures as db
from deepbures.cli.requests import CertifyRequest, FitRequest, LandscapeRequest


def target_of(request: FitRequest | LandscapeRequest | CertifyRequest) -> db.Target:
    """The Gaussian of the data; with what is put down to rounding, where that is a covariance."""
    dataset, rtol = request.dataset, request.rtol
    if dataset.samples is None:
        return db.Target.from_covariance(dataset.covariance, rtol=rtol)
    if rtol is not None:
        raise ValueError(
            f"--rtol is about covariances, but {dataset.name} holds samples. Leave it out, or read the data with "
            "--covariance."
        )
    return db.Target.from_samples(dataset.samples)


def loss_of(request: FitRequest | LandscapeRequest | CertifyRequest) -> db.AbstractLoss:
    """The loss of a name, with its parameter."""
    return db.loss_named(request.loss.value, tau=request.tau, epsilon=request.epsilon)
