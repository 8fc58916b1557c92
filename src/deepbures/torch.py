"""PyTorch: a loss that trains any generator towards a Gaussian target or the moments of data, and linear stacks.

The functions of `deepbures.metric` take tensors as they are and are differentiable; this module is for training loops.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepbures import metric
from deepbures.model import DeepLinearNetwork, Target, check_network, samples_for_target

__all__ = ["BuresWassersteinLoss", "from_torch", "to_torch"]

AUTO = "auto"
SAMPLES_PER_DIMENSION = 6
"""Of the memory with decay = "auto", for each dimension of the target."""


class BuresWassersteinLoss(nn.Module):
    """Squared Fréchet distance of a batch of features to a target, as a loss for any generator.

        L = ‖m − μ‖² + B²(C + τ I, Σ0),

    m and C the mean and the covariance of the batch, N(μ, Σ0) the target, B² the squared Bures-Wasserstein distance.
    With features of an Inception network this is the FID; with pixels, or what any other network makes of them, the
    same distance there. Gradients are exact, finite where C or Σ0 is singular, and exist to second order.

    Parameters
    ----------
    target : Target, or tensor, array or frame of shape (N, n)
        The target Gaussian, or samples in rows whose mean and covariance it has.
    tau : float
        Smoothing τ ≥ 0, in the units of Σ0 (a variance): the generator is seen through noise N(0, τ I). Batches with
        fewer than n samples have a singular C; τ > 0 makes the loss smooth there.
    include_mean : bool
        Whether the term ‖m − μ‖² is there.
    decay : float or "auto", optional
        For small batches: m and C are those of all batches so far, with weights that decay by this factor with each
        batch, 0 < decay < 1. "auto" takes (6 r − N)/(6 r + N) for a batch of N < 6 r samples, r the rank of the target,
        and forgets what was before with larger ones: about 6 r samples count. Gradients are as if all remembered
        batches moved with the current one: they have the size they have without memory. In `eval` mode batches stand
        for themselves.
    unbiased : bool
        Divide by N − 1, for batches and for samples given as `target`. FID codes do.

    Raises
    ------
    TypeError
        If `target` is neither a Target nor samples, or an option has the wrong type.
    ValueError
        If an option is out of range, the target is a batch of targets, or the samples are unusable; in `forward`, if
        the features do not fit.

    Notes
    -----
    `forward(features)` takes a tensor (N, n), or (N, ...) with n numbers per sample, and returns a scalar. It computes
    in the dtype of the target: features of another precision are cast, and their gradient is cast back. `.float()`,
    `.double()` and `.to(device)` move the module as usual.

    The target is held as eigenvectors and roots of its r nonzero eigenvalues, n×r numbers. A step costs O(n r N) with
    τ = 0 (and O(n N²), N the batch), and O(r³) more with τ > 0. With `decay` another n×n matrix is kept, and a step
    costs O(n² (n + N)).

    With weights w_s of the remembered batches, (Σ w_s)²/Σ w_s² of them count as one full batch would: N (1 + decay)/
    (1 − decay) samples after the first steps. The expected ‖·‖_* of M samples of a Gaussian in r dimensions is about
    1 − r/(8M) of that of its covariance, so the generator of least expected loss has standard deviations too small by
    that share: 2 % with "auto".

    References
    ----------
    Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter (2017), NeurIPS, for the distance. Bréchet, Papagiannouli, An,
    Montúfar (2023), ICML, for the smoothing.

    Examples
    --------
    >>> import torch
    >>> from deepbures.torch import BuresWassersteinLoss
    >>> _ = torch.manual_seed(0)
    >>> data = torch.randn(500, 3, dtype=torch.float64) @ torch.diag(torch.tensor([3.0, 1.0, 0.0]).double()) + 1.0
    >>> loss = BuresWassersteinLoss(data)
    >>> generator = torch.nn.Linear(2, 3).double()
    >>> optimizer = torch.optim.Adam(generator.parameters(), lr=0.05)
    >>> for _ in range(400):
    ...     optimizer.zero_grad()
    ...     value = loss(generator(torch.randn(256, 2, dtype=torch.float64)))
    ...     value.backward()
    ...     optimizer.step()
    >>> bool(value < 0.2)
    True
    """

    basis: Tensor
    roots: Tensor
    mean: Tensor
    running_mean: Tensor
    running_factor: Tensor
    running_weight: Tensor

    def __init__(
        self,
        target: Target | Tensor | np.ndarray[Any, Any],
        *,
        tau: float = 0.0,
        include_mean: bool = True,
        decay: float | str | None = None,
        unbiased: bool = False,
    ) -> None:
        super().__init__()
        self.tau = _number(tau, "tau")
        if self.tau < 0:
            raise ValueError(f"tau must be at least 0, but is {tau}.")
        self.decay = _checked_decay(decay)
        self.include_mean, self.unbiased = bool(include_mean), bool(unbiased)
        mean, roots, basis = _spectrum(target, self.unbiased)
        self.register_buffer("mean", mean)
        self.register_buffer("roots", roots)
        self.register_buffer("basis", basis)
        if self.decay is not None:
            self.register_buffer("running_mean", torch.zeros_like(mean))
            self.register_buffer("running_factor", mean.new_zeros((len(mean), len(mean))))
            self.register_buffer("running_weight", mean.new_zeros(()))

    @property
    def dim(self) -> int:
        """Number of features n."""
        return len(self.mean)

    def forward(self, features: Tensor) -> Tensor:
        """The loss of a batch (N, n) or (N, ...): a scalar."""
        x = self._checked(features)
        with metric.in_full_precision(x):
            return self._of_batch(x)

    def _of_batch(self, x: Tensor) -> Tensor:
        moments = metric.moments_of(x)
        if self.decay is None or not self.training:
            return self._squared_frechet(moments.mean, moments.columns(self.unbiased))
        joint = self._remember(moments, self._decay_of(len(x)))
        value = self._squared_frechet(joint.mean, joint.columns())
        # Adds zero to the value: only its derivatives are multiplied.
        return value + (joint.count - 1) * (value - value.detach())

    def reset(self) -> None:
        """Forget the batches seen so far (with `decay`)."""
        if self.decay is not None:
            self.running_mean.zero_()
            self.running_factor.zero_()
            self.running_weight.zero_()

    def extra_repr(self) -> str:
        """What `print` shows."""
        return (
            f"dim={self.dim}, target_rank={len(self.roots)}, tau={self.tau}, include_mean={self.include_mean}, "
            f"decay={self.decay}, unbiased={self.unbiased}"
        )

    def _squared_frechet(self, mean: Tensor, factor: Tensor) -> Tensor:
        value = self._squared_distance(factor)
        return value + ((mean - self.mean) ** 2).sum() if self.include_mean else value

    def _squared_distance(self, factor: Tensor) -> Tensor:
        if self.tau == 0:
            return metric.squared_distance_of_graded(self.basis * self.roots, factor)
        # The exact loss of [G, √τ I]. In the eigenbasis of the target it splits: there, and outside of its range, where
        # the target is zero and each direction costs its own variance.
        inside = metric.constant_product(self.basis.mT, factor)
        noise = math.sqrt(self.tau) * torch.eye(len(self.roots), dtype=factor.dtype, device=factor.device)
        value = metric.squared_distance_of_graded(torch.diag(self.roots), torch.cat([inside, noise], dim=-1))
        if missing := self.dim - len(self.roots):
            outside = factor - metric.constant_product(self.basis, inside)
            # (A tensor: to a number PyTorch gives a tangent in double precision.)
            value = value + (outside**2).sum() + value.new_full((), missing * self.tau)
        return value

    def _decay_of(self, num: int) -> float:
        if self.decay != AUTO:
            return float(self.decay)  # type: ignore[arg-type]
        enough = SAMPLES_PER_DIMENSION * len(self.roots)
        return max(0.0, (enough - num) / (enough + num))

    def _remember(self, now: metric.Moments, decay: float) -> metric.Moments:
        """Moments of all batches so far, each with a weight: that of the present one is 1.

        The weights add up to S = 1 + decay · S', S' the sum before, so derivatives of the moments come out 1/S times
        too small: had all batches been made by the generator as it is now, all would move.
        """
        memory = metric.moments_from(decay * self.running_weight, self.running_mean, self.running_factor)
        joint = metric.remembered(memory, metric.moments_from(1, now.mean, now.columns(self.unbiased)))
        with torch.no_grad():
            for name, value in (("mean", joint.mean), ("factor", joint.factor()), ("weight", joint.count)):
                if torch.compiler.is_compiling():
                    # A backward that PyTorch 2.13 compiles reads what a forward has written over.
                    setattr(self, f"running_{name}", value.detach())
                else:
                    self.get_buffer(f"running_{name}").copy_(value)
        return joint

    def _checked(self, features: Tensor) -> Tensor:
        if not isinstance(features, Tensor):
            raise TypeError(f"features must be a torch.Tensor, but {type(features).__name__} was given.")
        if not features.dtype.is_floating_point:
            raise TypeError(f"features must be real floating-point numbers, but have dtype {features.dtype}.")
        if features.is_meta:
            raise TypeError(
                "features are on the device 'meta', where tensors have no values. Make them on another one."
            )
        if features.ndim < 2 or math.prod(features.shape[1:]) != self.dim:
            raise ValueError(
                f"features must have shape (N, {self.dim}), samples in rows with as many features as the target, or "
                f"(N, ...) with {self.dim} numbers per sample, but have shape {tuple(features.shape)}."
            )
        why = "unbiased=True" if self.unbiased else "decay" if self.decay is not None and self.training else ""
        if len(features) < (2 if why else 1):
            least = f"2 samples ({why})" if why else "1 sample"
            raise ValueError(f"features must hold at least {least}, but have shape {tuple(features.shape)}.")
        if features.device != self.mean.device:
            raise ValueError(
                f"features are on {features.device}, the target on {self.mean.device}. Move the loss with "
                f".to({str(features.device)!r})."
            )
        x = features.flatten(1).to(self.mean.dtype)
        with metric.values_of(x) as can_look:
            if can_look and not bool(x.isfinite().all()):
                raise ValueError(
                    f"features hold {int((~x.isfinite()).sum())} values that are not finite (NaN or infinite): the "
                    "generator has diverged. Lower its learning rate, or clip its gradients."
                )
        return x


def from_torch(module: nn.Module) -> DeepLinearNetwork:
    """A stack of `nn.Linear` layers as a `DeepLinearNetwork`: to classify, certify, sample or save it.

    Parameters
    ----------
    module : nn.Linear, or nn.Sequential of them (nested ones too; nn.Identity is skipped)
        Biases are allowed: together they make the mean of the network.

    Returns
    -------
    DeepLinearNetwork
        With copies of the weights, in their precision (at least float32).

    Raises
    ------
    TypeError
        If there is any other layer: a nonlinear network is no deep linear network. Or a layer is complex.
    ValueError
        If a layer does not take as many inputs as the one before has outputs, or is lazy and has no weights yet.

    Examples
    --------
    >>> import torch
    >>> from deepbures.torch import from_torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 3, bias=False), torch.nn.Linear(3, 5))
    >>> from_torch(module).widths
    (2, 3, 5)
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"A stack of nn.Linear layers is asked for, but a {type(module).__name__} was given.")
    layers = _linear_layers(module)
    if not layers:
        raise TypeError(f"A stack of nn.Linear layers is asked for, but {type(module).__name__} holds none.")
    _check_stack(layers)
    weights = [_on_host(layer.weight) for layer in layers]
    mean = None
    if any(layer.bias is not None for layer in layers):
        mean = torch.zeros(weights[0].shape[1], dtype=weights[0].dtype)
        for layer, weight in zip(layers, weights, strict=True):
            mean = weight @ mean
            if layer.bias is not None:
                mean = mean + _on_host(layer.bias).to(weight.dtype)
    return DeepLinearNetwork([weight.numpy() for weight in weights], None if mean is None else mean.numpy())


def to_torch(net: DeepLinearNetwork) -> nn.Sequential:
    """A `DeepLinearNetwork` as a stack of `nn.Linear` layers, the last one with the mean as its bias.

    Parameters
    ----------
    net : DeepLinearNetwork
        One network.

    Returns
    -------
    nn.Sequential
        With copies of the weights, as parameters to train.

    Raises
    ------
    ValueError
        If a batch of networks is given.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> from deepbures.torch import to_torch
    >>> module = to_torch(db.DeepLinearNetwork([np.ones((2, 1)), np.ones((3, 2))], mean=np.zeros(3)))
    >>> [tuple(parameter.shape) for parameter in module.parameters()]
    [(2, 1), (3, 2), (3,)]
    """
    check_network(net)
    layers = []
    for number, weight in enumerate(net.weights, start=1):
        values = torch.tensor(np.array(weight))
        bias = net.mean is not None and number == net.depth
        layer = nn.Linear(values.shape[1], values.shape[0], bias=bias, dtype=values.dtype)
        with torch.no_grad():
            layer.weight.copy_(values)
            if bias:
                layer.bias.copy_(torch.tensor(np.array(net.mean)))
        layers.append(layer)
    return nn.Sequential(*layers)


def _on_host(parameter: Tensor) -> Tensor:
    """A copy without gradient, in double precision if it has that, else in single."""
    values = parameter.detach().cpu().clone()
    return values if values.dtype == torch.float64 else values.float()


def _check_stack(layers: list[nn.Linear]) -> None:
    """Refuse layers that do not follow each other, have no sizes yet, or are not real."""
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.LazyLinear):
            raise ValueError(f"Layer {number} of the stack is lazy and has no weights yet: call the module once first.")
        if layer.weight.is_meta:
            raise ValueError(
                f"Layer {number} of the stack is on the device 'meta', where weights have no values: load the stack "
                "on another one first (to_empty, load_state_dict)."
            )
        if not layer.weight.dtype.is_floating_point:
            raise TypeError(f"Layer {number} of the stack must be real, but has dtype {layer.weight.dtype}.")
        if number and layer.in_features != layers[number - 1].out_features:
            raise ValueError(
                f"Layer {number} of the stack takes {layer.in_features} inputs, but layer {number - 1} has "
                f"{layers[number - 1].out_features} outputs: they must be equal."
            )


def _linear_layers(module: nn.Module) -> list[nn.Linear]:
    if isinstance(module, nn.Linear):
        return [module]
    if isinstance(module, nn.Identity):
        return []
    if isinstance(module, nn.Sequential):
        return [layer for child in module for layer in _linear_layers(child)]
    raise TypeError(
        f"A stack of nn.Linear layers is asked for, but it has a {type(module).__name__}. A network with nonlinear or "
        "other layers is no deep linear network."
    )


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, but {type(value).__name__} was given.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, but is {value}.")
    return float(value)


def _checked_decay(decay: Any) -> float | str | None:
    if decay is None or decay == AUTO:
        return AUTO if decay else None
    if isinstance(decay, str):
        raise ValueError(f'decay must be a number or "{AUTO}", but {decay!r} was given.')
    value = _number(decay, "decay")
    if not 0 < value < 1:
        raise ValueError(
            f"decay must lie strictly between 0 and 1, but is {decay}. For batches that stand for themselves leave it "
            "out."
        )
    return value


def _spectrum(target: Any, unbiased: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, roots of the nonzero eigenvalues, descending, and their eigenvectors."""
    device, scale = target.device if isinstance(target, Tensor) else None, 1.0
    if not isinstance(target, Target):
        samples = samples_for_target(target)
        num = samples.shape[0] if samples.ndim else 0
        if unbiased and num == 1:
            raise ValueError("target holds one sample, and unbiased=True divides by N - 1 = 0. Give more samples.")
        target, scale = Target.from_samples(samples), math.sqrt(num / (num - 1)) if unbiased else 1.0
    if np.ndim(target.mean) != 1:
        raise ValueError(f"target must be one target, but is a batch of shape {np.shape(target.mean)[:-1]}.")
    eigenvalues = target.eigenvalues
    rank = target.dim if eigenvalues is None else int((np.asarray(eigenvalues) > 0).sum())
    values, vectors = (np.asarray(part) for part in target.spectrum(max(rank, 1)))
    roots = scale * np.sqrt(np.maximum(values, 0))
    return (
        torch.tensor(np.array(target.mean), device=device),
        torch.tensor(roots.astype(vectors.dtype), device=device),
        torch.tensor(vectors.copy(), device=device),
    )
