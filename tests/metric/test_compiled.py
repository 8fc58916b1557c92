"""PyTorch's compiler: one program without breaks, with the values and gradients of the same call without it."""

import pytest
import torch

import deepbures.metric as dbm
from deepbures.torch import BuresWassersteinLoss

# PyTorch's compiler warns of caches that it looks through, which are those of array-api-compat.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning"),
]


@pytest.mark.parametrize("name", ["factors", "loss"])
def test_without_breaks(name):
    x, y = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = BuresWassersteinLoss(y, tau=0.1)
    function = loss if name == "loss" else lambda x: dbm.squared_bures_wasserstein_factors(x, y)
    x.requires_grad_()
    results = [
        (value := f(x), *torch.autograd.grad(value, x))
        for f in (function, torch.compile(function, fullgraph=True, backend="aot_eager"))
    ]
    for result, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.func.vmap(function)(x.detach()[None])[0], function(x.detach()))
