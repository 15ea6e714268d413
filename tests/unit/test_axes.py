"""Which axis counts channels: derived from the widths of the layers at a place and the shape that came out."""

import pytest
import torch
from torch import nn

from influent import Net, Point, Unit, cuts, influence
from influent.axes import axis_names
from influent.cut import Cut

FIRST, LAST, TOKENS = ("channel", "row", "column"), ("row", "column", "channel"), ("token", "channel")


class Patches(nn.Module):
    """[point, 3, 8, 8] → tokens [point, 4, 6], as a ViT's patch embedding makes them."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 6, 4, 4)
        self.norm = nn.Identity()

    def forward(self, x):
        return self.norm(self.proj(x).flatten(2).transpose(1, 2))


class Turned(nn.Module):
    def forward(self, x):
        return x.movedim(1, -1)


class Back(nn.Module):
    def forward(self, x):
        return x.movedim(-1, 1)


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Twice(nn.Module):
    """A concatenation: as wide as no layer in it."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1)

    def forward(self, x):
        return torch.cat([self.a(x), self.b(x)], 1)


class Attention(nn.Module):
    """The weights [point, head, token, token] beside the values."""

    def __init__(self):
        super().__init__()
        self.qkv, self.weigh, self.proj = nn.Linear(6, 18), nn.Softmax(-1), nn.Linear(6, 6)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        return self.proj((self.weigh(q @ k.transpose(-1, -2)) @ v).transpose(1, 2).flatten(2))


def axes_of(module, x):
    return {c.name: c.axes for c in cuts(module.eval(), x)}


def test_tokens_made_by_a_convolution_are_tokens():
    found = axes_of(nn.Sequential(Patches(), nn.GELU()), torch.zeros(1, 3, 8, 8))
    assert found == {"0.proj": FIRST, "0.norm": TOKENS, "0": TOKENS, "1": TOKENS}


def test_channels_last_inside_a_convolution_net_and_back():
    net = nn.Sequential(nn.Conv2d(3, 6, 1), Turned(), nn.LayerNorm(6), nn.Linear(6, 7), nn.GELU(), Back(), nn.ReLU())
    found = axes_of(net, torch.zeros(1, 3, 4, 5))
    assert [found[str(k)] for k in range(7)] == [FIRST, LAST, LAST, LAST, LAST, FIRST, FIRST]


def test_a_layer_norm_that_is_called_2d_counts_channels_first():
    found = axes_of(nn.Sequential(nn.Conv2d(3, 6, 1), LayerNorm2d(6)), torch.zeros(1, 3, 6, 6))
    assert found == {"0": FIRST, "1": FIRST}  # rows, columns and channels are all 6: widths alone do not tell


def test_a_concatenation_of_convolutions_counts_channels_first():
    assert axes_of(nn.Sequential(Twice()), torch.zeros(1, 3, 2, 2))["0"] == FIRST


def test_the_weights_of_an_attention_have_no_channel():
    found = axes_of(nn.Sequential(Attention()), torch.zeros(1, 5, 6))
    assert found == {"0.qkv": TOKENS, "0.weigh": None, "0.proj": TOKENS, "0": TOKENS}


def test_two_axes_of_the_right_width_are_decided_by_the_layer_or_not_at_all():
    assert axis_names(nn.Linear(6, 6), Cut("OUTPUT"), (1, 6, 6), {}) == TOKENS
    mixed = nn.Sequential(nn.Sequential(nn.Conv1d(6, 6, 1), nn.Linear(6, 6)))
    assert axis_names(mixed, Cut("0"), (1, 6, 6), {}) is None


def test_a_pooled_picture_of_one_pixel_is_all_channel():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 9)))
    assert axis_names(net, Cut("0"), (1, 77, 1, 1), {}) == FIRST


@pytest.mark.parametrize(("recurrent", "width"), [(nn.LSTM(3, 4, batch_first=True, bidirectional=True), 8),
                                                  (nn.LSTM(3, 4, proj_size=2, batch_first=True), 2),
                                                  (nn.GRU(3, 4, batch_first=True), 4)])  # fmt: skip
def test_a_recurrent_layer_counts_both_directions(recurrent, width):
    assert axis_names(nn.Sequential(recurrent), Cut("0[0]"), (1, 5, width), {}) == TOKENS


def test_a_declaration_comes_first_and_is_passed_over_where_it_does_not_fit():
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    assert axis_names(net, Cut("0"), (1, 4, 2, 2), {"0": ("map", "y", "x")}) == ("map", "y", "x")
    assert axis_names(net, Cut("0"), (1, 4, 2, 2), {"*": ("token", "channel")}) == FIRST


def test_a_unit_is_a_channel_by_the_same_knowledge():
    net, x = nn.Sequential(Patches(), nn.Flatten(), nn.Linear(24, 2)).eval(), torch.randn(1, 3, 8, 8)
    found = influence(net, "INPUT", Unit(5, "0"), Point(x)).values
    # Channel 5 of the tokens is filter 5 of the convolution, summed over its four places: each pixel meets it once.
    by_hand = net[0].proj.weight[5].repeat(1, 2, 2)
    assert torch.allclose(found[0], by_hand)
    assert repr(Unit(5, "0").bind(Net(net))) == repr(Unit(5, "0"))


def test_a_picture_with_as_many_columns_as_a_layer_has_channels_is_still_a_picture():
    # 9 channels of 4 × 5 and 5 × 5 pixels, out of layers that are 4 and 5 wide.
    for size in ((4, 5), (5, 5)):
        assert axes_of(nn.Sequential(Twice()), torch.zeros(1, 3, *size))["0"] == FIRST


def test_the_input_of_a_module_has_the_channels_that_it_takes():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()), nn.Flatten(2), nn.Linear(64, 5)).eval()
    # Eight rows, eight columns, and layers that make eight channels out of three.
    for cut, shape in (("0:in", (1, 3, 8, 8)), ("0.0:in", (1, 3, 8, 8)), ("0.1:in", (1, 8, 8, 8))):
        assert axis_names(net, Cut(cut), shape, {}) == FIRST
    assert axis_names(net, Cut("2:in"), (1, 8, 64), {}) == TOKENS


@pytest.mark.parametrize(("shape", "names"), [
    ((1, 3, 8, 8), ("channel", "row", "column")), ((6, 1, 28, 28), ("channel", "row", "column")),
    ((1, 1, 5, 8, 8), ("channel", "depth", "row", "column")), ((2, 7), ("channel",)), ((2, 7, 16), None),
])  # fmt: skip
def test_inputs_are_pictures_with_channels_first(shape, names):
    assert axis_names(nn.Sequential(nn.Conv2d(3, 8, 3)), Cut("INPUT"), shape, {}) == names
