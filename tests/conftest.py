"""What every test stands on: one thread, reproducible examples, double precision where it is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import hypothesis
import pytest
import torch
from torch.autograd import forward_ad

torch.set_num_threads(1)

# torch compiles its own forward-mode formulas at their first use, with a function that it calls deprecated itself: let
# that happen here, so that warnings can be errors in the tests.
with warnings.catch_warnings(), forward_ad.dual_level():
    warnings.simplefilter("ignore", DeprecationWarning)
    forward_ad.make_dual(torch.ones(1), torch.ones(1))

# derandomize: a law that fails, fails for everyone and every time. No deadline: the first pass of a net is slow.
hypothesis.settings.register_profile(
    "influent",
    deadline=None,
    derandomize=True,
    max_examples=15,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("influent")


@pytest.fixture
def float64() -> Iterator[torch.dtype]:
    """Double precision as the default for one test; the default of before comes back, also after a failure."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch.float64
    torch.set_default_dtype(before)
