"""PyTorch's compiler and exporter: one program without breaks, with the values and gradients of the same call without.

Of every function of the metric and of the loss, in its ways. The programs are run as they are traced ("aot_eager"):
which machine code they become is not ours.
"""

import pytest
import torch

import deepbures.metric as dbm
from deepbures.torch import BuresWassersteinLoss

# PyTorch's compiler warns of caches that it looks through, which are those of array-api-compat.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning"),
]

DRAWS = torch.randn(4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
X, Y = DRAWS[0], DRAWS[1]
FIRST, SECOND = (f.mT @ f / 6 + 0.1 * torch.eye(5, dtype=torch.float64) for f in (DRAWS[2], DRAWS[3]))
STACK = torch.stack([FIRST, SECOND])

FUNCTIONS = {
    "covariances": (lambda a: dbm.squared_bures_wasserstein(a, SECOND), FIRST),
    "covariances with an rtol": (lambda a: dbm.squared_bures_wasserstein(a, SECOND, rtol=1e-3), FIRST),
    "distance": (lambda a: dbm.bures_wasserstein_distance(a, SECOND), FIRST),
    "map": (lambda a: dbm.transport_map(a, SECOND).sum(), FIRST),
    "factors": (lambda f: dbm.squared_bures_wasserstein_factors(f, Y), X),
    "mixed": (lambda a: dbm.squared_bures_wasserstein_mixed(a, SECOND[:, :2]), FIRST),
    "samples": (lambda x: dbm.squared_frechet_distance(x, Y), X),
    "moments": (lambda m: dbm.squared_frechet_distance_from_moments(m, FIRST, Y[0], SECOND), X[0]),
    "pairs": (lambda a: dbm.pairwise_squared_bures_wasserstein(a[None], STACK).sum(), FIRST),
    "loss": (BuresWassersteinLoss(Y), X),
    "smoothed loss": (BuresWassersteinLoss(Y, tau=0.1, unbiased=True), X),
    "loss with memory, evaluated": (BuresWassersteinLoss(Y, decay=0.5).eval(), X),
}


def value_and_gradient(function, x):
    x = x.clone().requires_grad_()
    value = function(x)
    return value.detach(), *torch.autograd.grad(value, x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_without_breaks(name):
    torch._dynamo.reset()
    function, x = FUNCTIONS[name]
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for found, expected in zip(value_and_gradient(compiled, x), value_and_gradient(function, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_compiled_loss_remembers():
    """Values and gradients of three batches, all of which a memory of one batch only would change."""
    torch._dynamo.reset()
    plain, module = BuresWassersteinLoss(Y, decay=0.5), BuresWassersteinLoss(Y, decay=0.5)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for x in (X, DRAWS[2], DRAWS[3]):
        for found, expected in zip(value_and_gradient(compiled, x), value_and_gradient(plain, x), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert module.running_weight.item() == 1.75


@pytest.mark.parametrize("name", ["factors", "covariances", "smoothed loss"])
def test_mapped(name):
    function, x = FUNCTIONS[name]
    stack = torch.stack([x, 2 * x])
    for mapped in (function, torch.func.grad(function)):
        expected = torch.stack([mapped(each) for each in stack])
        torch.testing.assert_close(torch.func.vmap(mapped)(stack), expected, rtol=0, atol=1e-12)


class OfFactors(torch.nn.Module):
    def forward(self, x):
        return dbm.squared_bures_wasserstein_factors(x, Y)


@pytest.mark.parametrize("module", [OfFactors(), BuresWassersteinLoss(Y, tau=0.1).eval()], ids=["factors", "loss"])
def test_exported(module):
    torch._dynamo.reset()
    program = torch.export.export(module, (X,))
    torch.testing.assert_close(program.module()(2 * X), module(2 * X), rtol=0, atol=1e-12)


def test_exported_for_batches_of_any_size():
    torch._dynamo.reset()
    loss = BuresWassersteinLoss(Y, tau=0.1).eval()
    sizes = {0: torch.export.Dim("batch", min=3)}
    program = torch.export.export(loss, (X,), dynamic_shapes=(sizes,), strict=True)
    for num in (3, 6, 40):
        x = torch.randn(num, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(num))
        torch.testing.assert_close(program.module()(x), loss(x), rtol=0, atol=1e-12)
