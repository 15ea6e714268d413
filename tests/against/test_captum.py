"""Beside Captum, in double precision at identical nodes: the same numbers to 1e-10.

Both sides add the same products in another order. Captum forms its points as x′ + α(x − x′) and we by lerp: they differ
by an eps or two of x, which a net with slopes of order 1 passes on unless a kink lies in between, so 1e-10 is wide by
a factor of 10⁵, and a wrong rule or node (differences of 1e-3 and more) is far outside.

Captum rounds its quadrature weights to single precision, whatever the net's. So its sums are compared twice: to 1e-10
with ours at the same nodes and the same rounded weights, as a mixture of points; and with our `rule="gauss"` to what
the rounding can do, 2^{−24} · Σ_k w_k |G_k|, which `magnitude` over the same path gives.
"""

from __future__ import annotations

import importlib.util
import warnings

import pytest
import torch
from torch import nn

import influent as inf
from tests import oracles, worlds
from tests.worlds import noise

if importlib.util.find_spec("captum") is None:
    pytest.skip("captum is not installed: pip install --no-deps captum", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what a peer's import warns of is not ours to mend
    from captum import attr

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:captum", "ignore::UserWarning:torch.nn.modules.module")

AGREE = 1e-10
N = 10


class Encoder(nn.Module):
    """last(mean(layer(embed(x)))): one transformer layer with GELU, without the fused kernels that no peer can hook."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.last = nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.layer(self.embed(x)).mean(1))


NETS = {
    "relu conv": (lambda: worlds.relu_conv(inplace=False), lambda: noise(3, 2, 5, 5), ("conv1", "branch", "relu2")),
    "relu mlp": (worlds.relu_mlp, lambda: noise(3, 4), ("0", "1", "3")),
    "smooth mlp": (worlds.smooth_mlp, lambda: noise(3, 4), ("0", "1", "3")),
    "transformer": (lambda: worlds.built(Encoder), lambda: noise(3, 5, 3), ("embed", "layer", "layer.linear1")),
}


@pytest.fixture(params=NETS)
def world(request):
    make, x, cuts = NETS[request.param]
    return make(), x(), cuts


def close(ours, theirs):
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 1e-4  # nothing agrees with everything
    assert (ours - theirs.detach()).abs().max() < AGREE


def gauss(x, start, **more):
    return inf.Line(start, x, N, "gauss", **more)


def close_over_a_path(net, at, of, theirs, x, start, step=1.0, **more):
    """Σ_k w_k ∂of/∂at · step at the Gauss nodes from `start` to `x`: with Captum's rounded weights, and with ours."""
    nodes, weights = oracles.gauss(N)
    rounded = [float(torch.tensor(w, dtype=torch.float32)) for w in weights]
    places = [inf.Point(start + alpha * (x - start), **more) for alpha in nodes]
    mixture = rounded[0] * places[0]
    for weight, place in zip(rounded[1:], places[1:], strict=True):
        mixture = mixture + weight * place
    # A mixture's weights are divided by their sum, Captum's are not.
    close(sum(rounded) * inf.influence(net, at, of, mixture).values * step, theirs)
    words = [inf.gradient, inf.magnitude, inf.contribution]
    ours = inf.influence(net, at, of, gauss(x, start, **more), words)
    values = ours[inf.gradient].values if isinstance(step, float) else ours[inf.contribution].values
    bound = 2**-24 * ours[inf.magnitude].values * abs(step) + AGREE
    assert ((values - theirs.detach()).abs() <= bound).all()
    assert bound.max() < 1e-6


def test_saliency(world):
    net, x, _ = world
    theirs = attr.Saliency(net).attribute(x.clone().requires_grad_(), target=1, abs=False)
    close(inf.influence(net, "INPUT", inf.Class(1), inf.Point(x)).values, theirs)


def test_gradient_times_input(world):
    net, x, _ = world
    theirs = attr.InputXGradient(net).attribute(x.clone().requires_grad_(), target=1)
    ours = inf.influence(net, "INPUT", inf.Class(1), inf.Point(x), inf.gradient_times_activation)
    close(ours.values, theirs)


def test_integrated_gradients_at_the_same_gauss_nodes(world):
    net, x, _ = world
    start = noise(*x[:1].shape, seed=9).expand_as(x)
    theirs = attr.IntegratedGradients(net).attribute(x, start, target=1, n_steps=N, method="gausslegendre")
    close_over_a_path(net, "INPUT", inf.Class(1), theirs, x, start, step=x - start)


def test_internal_influence_over_a_path_at_the_same_gauss_nodes(world):
    net, x, cuts = world
    start = noise(*x[:1].shape, seed=9).expand_as(x)
    for cut in cuts:
        theirs = attr.InternalInfluence(net, net.get_submodule(cut)).attribute(
            x, start, target=1, n_steps=N, method="gausslegendre"
        )
        close_over_a_path(net, cut, inf.Class(1), theirs, x, start)


def test_integrated_gradients_at_the_layer_at_the_same_gauss_nodes(world):
    net, x, cuts = world
    start = noise(*x.shape, seed=9)
    for cut in cuts:
        theirs = attr.LayerIntegratedGradients(net, net.get_submodule(cut)).attribute(
            x, start, target=1, n_steps=N, method="gausslegendre"
        )
        y, y0 = inf.activations(net, cut, x), inf.activations(net, cut, start)
        close_over_a_path(net, cut, inf.Class(1), theirs, y, y0, step=y - y0, cut=cut, given=x)


def test_layer_activation_and_gradient_times_activation(world):
    net, x, cuts = world
    ours = inf.influence(net, list(cuts), inf.Class(1), inf.Point(x), [inf.activation, inf.gradient_times_activation])
    for cut in cuts:
        layer = net.get_submodule(cut)
        close(ours[cut][inf.activation].values, attr.LayerActivation(net, layer).attribute(x))
        theirs = attr.LayerGradientXActivation(net, layer).attribute(x.clone().requires_grad_(), target=1)
        close(ours[cut][inf.gradient_times_activation].values, theirs)


def test_neuron_integrated_gradients_are_what_drives_a_unit():
    net, x = worlds.relu_conv(inplace=False), noise(2, 2, 5, 5)
    theirs = attr.NeuronIntegratedGradients(net, net.branch).attribute(
        x, (1, 2, 3), 0 * x, n_steps=N, method="gausslegendre"
    )
    close_over_a_path(net, "INPUT", inf.Unit((1, 2, 3), "branch"), theirs, x, 0 * x, step=x)


def test_a_difference_of_one_node_would_be_seen():
    # The tolerance is not so wide that another rule fits in: 9 nodes for 10 are told apart.
    net, x = worlds.relu_conv(inplace=False), noise(3, 2, 5, 5)
    theirs = attr.IntegratedGradients(net).attribute(x, 0 * x, target=1, n_steps=N - 1, method="gausslegendre")
    ours = inf.influence(net, "INPUT", inf.Class(1), gauss(x, 0 * x), inf.contribution).values
    assert (ours - theirs).abs().max() > 1e6 * AGREE
