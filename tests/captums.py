"""What comparisons with Captum share: its import, and how its sums over a path are compared with ours.

Captum rounds its quadrature weights to single precision, whatever the net's. So its sums are compared twice: to 1e-10
with ours at the same nodes and the same rounded weights, as a mixture of points; and with our `rule="gauss"` to what
the rounding can do, 2^{−24} · Σ_k w_k |G_k|, which `magnitude` over the same path gives.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import influent as inf
from tests import oracles

if importlib.util.find_spec("captum") is None:
    pytest.skip("captum is not installed: pip install --no-deps captum", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what a peer's import warns of is not ours to mend
    from captum import attr

__all__ = ["AGREE", "WARNS", "N", "attr", "close", "close_over_a_path", "gauss"]

AGREE = 1e-10
N = 10
WARNS = pytest.mark.filterwarnings("ignore::UserWarning:captum", "ignore::UserWarning:torch.nn.modules.module")


def close(ours: Tensor, theirs: Any, unit: float = 1.0) -> None:
    """The same numbers to 1e-10, in units of what they are made of, and not nothing."""
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 1e-4 * unit  # nothing agrees with everything
    assert (ours - theirs.detach()).abs().max() < AGREE * unit


def gauss(x: Tensor, start: Tensor, **more: Any) -> inf.Line:
    """The path from `start` to `x` at the nodes of both libraries."""
    return inf.Line(start, x, N, "gauss", **more)


def close_over_a_path(
    net: Any, at: str, of: Any, theirs: Any, x: Tensor, start: Tensor, step: Any = 1.0, unit: float = 1.0, **more: Any
) -> None:
    """Σ_k w_k ∂of/∂at · step at the Gauss nodes from `start` to `x`: with Captum's rounded weights, and with ours."""
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    nodes, weights = oracles.gauss(N)
    rounded = [float(torch.tensor(w, dtype=torch.float32)) for w in weights]
    places = [inf.Point(start + alpha * (x - start), **more) for alpha in nodes]
    mixture = rounded[0] * places[0]
    for weight, place in zip(rounded[1:], places[1:], strict=True):
        mixture = mixture + weight * place
    # A mixture's weights are divided by their sum, Captum's are not.
    close(sum(rounded) * inf.influence(net, at, of, mixture).values * step, theirs, unit)
    words = [inf.gradient, inf.magnitude, inf.contribution]
    ours = inf.influence(net, at, of, gauss(x, start, **more), words)
    values = ours[inf.gradient].values if isinstance(step, float) else ours[inf.contribution].values
    bound = 2**-24 * ours[inf.magnitude].values * abs(step) + AGREE * unit
    assert ((values - theirs.detach()).abs() <= bound).all()
    assert bound.max() < 1e-6 * unit
