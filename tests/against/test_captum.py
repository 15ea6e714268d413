"""Beside Captum, in double precision at identical nodes: the same numbers to 1e-10.

Both sides add the same products in another order. Captum forms its points as x′ + α(x − x′) and we by lerp: they differ
by an eps or two of x, which a net with slopes of order 1 passes on unless a kink lies in between, so 1e-10 is wide by
a factor of 10⁵, and a wrong rule or node (differences of 1e-3 and more) is far outside.
"""

from __future__ import annotations

import pytest
from torch import nn

import influent as inf
from tests import worlds
from tests.captums import AGREE, WARNS, N, attr, close, close_over_a_path, gauss
from tests.worlds import noise

pytestmark = WARNS


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


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_guided_backpropagation_and_deconvolution_of_modules_that_run_once():
    net = worlds.built(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3)
        )
    )
    x = noise(3, 2, 8, 8)
    for rule, method in ((inf.Guided(), attr.GuidedBackprop), (inf.Deconvnet(), attr.Deconvolution)):
        ours = inf.influence(net, "INPUT", inf.Class(1), inf.Point(x), inf.Ruled(inf.gradient, rule))
        close(ours.values, method(net).attribute(x.clone().requires_grad_(), target=1))
