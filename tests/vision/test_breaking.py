"""What users do with nets as libraries build them: chunks, short floats, elements, checkpoints, attention, axes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import influent as inf
from tests.vision import own
from tests.vision.architectures import CLASSES, LAST, PICTURE, ROWS, SEQUENCE, mean_of_a_map
from tests.vision.by_hand import AGREE, Built, build, relative

F = inf.Class(1)


def made(name: str, vision: Any) -> Built:
    return build(ROWS[name], vision)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("list of features", "adaptive"), ("vision transformer", "uniform"), ("vision transformer", "adaptive"),
     ("vision transformer", "gauss")],
)  # fmt: skip
def test_points_per_pass_change_nothing(vision, name, rule):
    built = made(name, vision)
    places = [f"{built.row.trunk}/channel", built.row.later, "INPUT"]
    over = built.line(11, rule)
    one, many = (
        inf.influence(built.net, places, built.row.of, over, inf.contribution, chunk=chunk) for chunk in (1, 16)
    )
    for cut in places:
        assert relative(one[cut].values, many[cut].values) < AGREE
        assert relative(one[cut].gap.change, many[cut].gap.change) < AGREE
        assert one[cut].cost == many[cut].cost


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_are_pointed_out_and_answered(vision, dtype):
    built = made("resnet18", vision)
    with pytest.warns(inf.InfluentWarning, match=f"Influence in {str(dtype).removeprefix('torch.')} is coarse"):
        a = inf.influence(built.plain.to(dtype), "layer2", F, inf.Point(built.end))
    exact = made("resnet18", vision)
    # A hundred layers with an eps of 2⁻⁸ and kinks between: the direction is right, the digits are not.
    want = inf.influence(exact.net, "layer2", F, inf.Point(exact.end)).values.flatten()
    assert a.values.dtype == torch.float32
    assert float(torch.nn.functional.cosine_similarity(a.values.flatten().double(), want, dim=0)) > 0.5


def test_a_net_in_place_answers_as_the_functional_one(vision):
    built = made("functional ReLU", vision)
    with torch.random.fork_rng():
        other = own.Plain(CLASSES, functional=False).double().eval()
    other.load_state_dict(built.plain.state_dict())
    places = [built.row.inner, built.row.trunk, built.row.later, *built.row.full, *built.row.branches]
    measures = [inf.activation, inf.contribution]
    over = built.line(5, "uniform")
    plain, inplace = (inf.influence(net, places, F, over, measures) for net in (built.net, other))
    for cut in places:
        for measure in measures:
            assert relative(inplace[cut][measure].values, plain[cut][measure].values) < AGREE


def test_an_element_of_the_output_and_of_the_backbone(vision):
    built = made("lraspp_mobilenet_v3", vision)
    x, size = built.end, built.row.shape[1] * built.row.shape[2]
    found = inf.influence(
        built.net, ["OUTPUT[out]", "OUTPUT", "backbone[low]", "backbone[high]"], mean_of_a_map, inf.Point(x)
    )
    want = torch.zeros(2, CLASSES, *built.row.shape[1:], dtype=torch.float64)
    want[:, 1] = 1 / size
    assert relative(found["OUTPUT[out]"].values, want) < AGREE
    assert relative(found["OUTPUT"].values, want) < AGREE
    for cut in ("backbone[low]", "backbone[high]"):
        _, slope, _ = built.slope(cut, x[1:], 1)
        assert relative(found[cut].values[1:], slope) < AGREE
    y = inf.activations(built.net, "backbone[high]", x)
    a = inf.influence(
        built.net,
        "backbone[high]",
        mean_of_a_map,
        inf.Line(0.9 * y, y, 9, cut="backbone[high]", given=x),
        inf.contribution,
    )
    change = [built.number(y[1:] * f, 1, "backbone[high]") for f in (0.9, 1.0)]
    assert abs(float(a.gap.change[1]) - (change[1] - change[0])) < AGREE
    assert bool((a.gap.absolute <= a.residual + AGREE).all())
    with pytest.raises(inf.CutError, match=r"Name an element: backbone\[low\], backbone\[high\]"):
        inf.influence(built.net, "backbone", mean_of_a_map, inf.Point(x))


def test_attention_is_cut_where_it_runs(vision):
    built = made("vision transformer", vision)
    at = "encoder.layers.encoder_layer_1.self_attention"
    with pytest.raises(inf.CutError, match=rf'Cut after the attention, at "{at}\[0\]"'):
        inf.influence(built.net, f"{at}.out_proj", F, inf.Point(built.end))
    _, slope, _ = built.slope(f"{at}[0]", built.end[1:], 1)
    for cut in (at, f"{at}[0]"):
        assert relative(inf.influence(built.net, cut, F, inf.Point(built.end)).values[1:], slope) < AGREE


def test_axes_that_are_not_known_are_asked_for_and_can_be_declared(vision):
    built = made("timm vit_tiny", vision)
    at = "blocks.4.attn.q_norm"
    with pytest.raises(inf.QuestionError, match=rf"'{at}/head' asks for units by 'head', but its axes are not known"):
        inf.influence(built.net, f"{at}/head", F, inf.Point(built.end))
    net = inf.Net(
        built.net, axes={"blocks.*.attn.q_norm": ("head", "token", "channel"), at: ("head", "token", "channel")}
    )
    _, slope, _ = built.slope(at, built.end[1:], 1)
    for axis, others in (("head", (2, 3)), ("token", (1, 3)), ("channel", (1, 2))):
        a = inf.influence(net, f"{at}/{axis}", F, inf.Point(built.end))
        assert relative(a.values[1:], slope.sum(others)) < AGREE


@pytest.mark.parametrize("size", [64, 128])
def test_a_picture_as_wide_as_a_layer_does_not_turn_the_axes(vision, size):
    # Inside a dense block all layers are 32 or 128 wide, and the block is 32 × 32 pixels large for pictures of 128.
    with torch.random.fork_rng():
        net = vision.models.densenet121(num_classes=CLASSES).double().eval()
    x = torch.zeros(1, 3, size, size, dtype=torch.float64)
    a = inf.influence(net, ["features.denseblock1/channel", "features:in/channel"], F, inf.Point(x))
    assert a["features.denseblock1/channel"].values.shape == (1, 256)
    assert a["features:in/channel"].values.shape == (1, 3)


def test_where_every_side_is_as_long_a_turned_picture_is_not_taken_for_one_that_is_not(vision):
    # Two of a block's modules turn pictures around and back: 16 rows, 16 columns and 16 channels do not show it.
    net = torch.nn.Sequential(vision.models.convnext.CNBlock(16, 1.0, 0.0)).eval()
    found = {c.name: c.axes for c in inf.cuts(net, torch.zeros(1, 16, 16, 16))}
    assert (found["0.block.0"], found["0.block.2"], found["0.block.5"]) == (PICTURE, LAST, LAST)
    assert found["0.block.1"] in (LAST, None)
    assert found["0.block.6"] in (PICTURE, None)


class Stem(torch.nn.Module):
    """A picture → tokens [point, 16, 8], by two convolutions, the first of which is as wide as there are tokens."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 16, 2, 2), torch.nn.Conv2d(16, 8, 2, 2)

    def forward(self, x):
        return self.second(self.first(x)).flatten(2).transpose(1, 2)


def test_pictures_that_become_tokens_or_are_turned_are_not_taken_for_what_they_were(vision):
    net = vision.timm.create_model("test_vit", img_size=64).eval()
    found = {c.name: c.axes for c in inf.cuts(net, torch.zeros(1, 3, 64, 64))}
    assert found["patch_embed.proj"] == PICTURE
    assert found["patch_embed"] in (LAST, None)  # [point, 4, 4, 64]
    found = {c.name: c.axes for c in inf.cuts(torch.nn.Sequential(Stem()).eval(), torch.zeros(1, 3, 16, 16))}
    assert (found["0.first"], found["0.second"]) == (PICTURE, PICTURE)
    assert found["0"] in (SEQUENCE, None)


def test_one_score_a_word_is_one_channel_of_many_words():
    found = {c.name: c.axes for c in inf.cuts(own.Reader(CLASSES).eval(), torch.zeros(2, 12, dtype=torch.long))}
    assert (found["turn"], found["score"]) == (SEQUENCE, SEQUENCE)


def test_checkpointed_blocks_are_cut_around_not_inside(vision):
    built = made("timm vit_tiny", vision)
    around = ["patch_embed", "blocks.3", "blocks.3.mlp", "blocks.8", "norm"]
    plain = inf.influence(built.net, around, F, inf.Point(built.end))
    built.net.set_grad_checkpointing(True)
    again = inf.influence(built.net, around, F, inf.Point(built.end))
    for cut in around:
        assert relative(again[cut].values, plain[cut].values) < AGREE
    with pytest.raises(inf.CutError, match=r"'blocks\.3\.attn' runs again when the pass is over: .*checkpointing"):
        inf.influence(built.net, ["INPUT", "blocks.3.attn"], F, inf.Point(built.end))


def test_a_net_that_trains_is_refused_and_gives_three_outputs_then(vision):
    with torch.random.fork_rng():
        net = vision.models.googlenet(num_classes=CLASSES, aux_logits=True, init_weights=False).double()
    x = torch.zeros(2, 3, 64, 64, dtype=torch.float64)
    with pytest.raises(inf.NetError, match=r"is in training mode: .*net\.eval\(\)"):
        inf.influence(net, "inception4a", F, inf.Point(x))
    assert [c.name for c in inf.cuts(net.eval(), x) if c.name.startswith("aux")] == []
    with pytest.raises(inf.CutError, match=r"'aux1' never ran"):
        inf.influence(net, "aux1", F, inf.Point(x))


def test_many_words_at_once_are_those_one_by_one(vision):
    built = made("resnet18", vision)
    at, of = (
        ["layer1", "layer3/channel"],
        [inf.Predicted(), inf.Class(2) - inf.RunnerUp(), inf.Unit(3, "layer3.0.conv1")],
    )
    over = built.line(4, "uniform")
    together = inf.influence(built.net, "layer1", of, over, inf.contribution)
    for q in of:
        alone = inf.influence(built.net, "layer1", q, over, inf.contribution)
        assert relative(together[q].values, alone.values) < AGREE
    both = inf.influence(built.net, at, inf.Classes([1, 2]), over, inf.contribution)
    assert both["layer3/channel"].values.shape == (2, 2, 256)
    assert (
        relative(
            both["layer1"].values[:, 1], inf.influence(built.net, "layer1", inf.Class(2), over, inf.contribution).values
        )
        < AGREE
    )
