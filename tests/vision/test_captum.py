"""Beside Captum on a resnet and a vision transformer, in double precision at identical points, to 1e-10.

Captum's layer attributions hold what its hooks saw, and an in-place ReLU overwrites that: it is shown a copy of the
resnet with `inplace=False`, and ours the net as torchvision builds it.
"""

from __future__ import annotations

import copy
import dataclasses

import pytest
from torch import nn

import influent as inf
from tests.captums import WARNS, N, attr, close, close_over_a_path
from tests.vision.architectures import ROWS
from tests.vision.by_hand import build

pytestmark = WARNS
F = inf.Class(1)
CUTS = {
    "resnet18": ("layer2", "layer3.0.bn1"),
    "vision transformer": ("conv_proj", "encoder.layers.encoder_layer_1", "encoder.layers.encoder_layer_3.mlp"),
}


@pytest.fixture(scope="module", params=CUTS)
def world(request, vision):
    row = ROWS[request.param]
    built = build(dataclasses.replace(row, shape=(3, 32, 32)) if request.param == "resnet18" else row, vision)
    theirs = copy.deepcopy(built.net)
    for module in theirs.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return built, theirs, CUTS[request.param]


def size(theirs):
    """The largest number: what 1e-10 is counted in, for nets whose slopes are not of order 1."""
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    return float(theirs.detach().abs().max())


def test_saliency(world):
    built, net, _ = world
    theirs = attr.Saliency(net).attribute(built.end.clone().requires_grad_(), target=1, abs=False)
    close(inf.influence(built.net, "INPUT", F, inf.Point(built.end)).values, theirs, size(theirs))


def test_integrated_gradients(world):
    built, net, _ = world
    x, start = built.end, built.start
    theirs = attr.IntegratedGradients(net).attribute(x, start, target=1, n_steps=N, method="gausslegendre")
    close_over_a_path(built.net, "INPUT", F, theirs, x, start, step=x - start, unit=size(theirs))


def test_internal_influence(world):
    built, net, cuts = world
    x, start = built.end, built.start
    for cut in cuts:
        theirs = attr.InternalInfluence(net, net.get_submodule(cut)).attribute(
            x, start, target=1, n_steps=N, method="gausslegendre"
        )
        close_over_a_path(built.net, cut, F, theirs, x, start, unit=size(theirs))


def test_integrated_gradients_at_a_layer(world):
    built, net, cuts = world
    for cut in cuts:
        theirs = attr.LayerIntegratedGradients(net, net.get_submodule(cut)).attribute(
            built.end, built.start, target=1, n_steps=N, method="gausslegendre"
        )
        y, y0 = (inf.activations(built.net, cut, x) for x in (built.end, built.start))
        close_over_a_path(
            built.net, cut, F, theirs, y, y0, step=y - y0, unit=size(theirs), cut=cut, given=built.end
        )  # fmt: skip


def test_another_layer_would_be_seen(world):
    # The tolerance is not so wide that another place fits in.
    built, net, cuts = world
    module = net.get_submodule(cuts[-1])
    theirs = attr.LayerGradientXActivation(net, module).attribute(built.end.clone().requires_grad_(), target=1)
    ours = inf.influence(built.net, cuts[-1], F, inf.Point(built.end), [inf.gradient, inf.gradient_times_activation])
    close(ours[inf.gradient_times_activation].values, theirs, size(theirs))
    with pytest.raises(AssertionError):
        close(ours[inf.gradient].values, theirs, size(theirs))
