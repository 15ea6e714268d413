"""g alone on torchvision's nets: as by a hook, at cuts that the whole net goes through and at others."""

from __future__ import annotations

import pytest
import torch

from influent.replay import Replay
from tests import worlds
from tests.worlds import noise

NETS = {
    "resnet18": (lambda vision: vision.models.resnet18(), 64, {
        "layer3": False, "layer2.0.conv1": True, "layer2.0.relu#1": True, "layer2.0.bn2": True, "avgpool": False,
    }),
    "vit": (lambda vision: vision.timm.create_model("vit_tiny_patch16_224", img_size=32, pretrained=False), 32, {
        "blocks.5": False, "blocks.5.attn": True, "blocks.5.mlp.act": True, "patch_embed": False, "norm": False,
    }),
    "swin": (lambda vision: vision.models.swin_t(), 64, {"features.3": False, "features.3.1.attn": True}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "cut"), [(name, cut) for name in NETS for cut in NETS[name][2]])
def test_replay_is_feeding_by_a_hook(vision, name, cut):
    make, side, places = NETS[name]
    net, x = worlds.built(lambda: make(vision)), noise(3, 3, side, side, seed=1)
    rows = torch.tensor([2, 0, 1, 1, 2])
    with Replay(net, cut) as g:
        h = g.record(x)
        assert bool(g.stored) == places[cut]
        moved = h[rows] * (0.5 + noise(5, *h.shape[1:], seed=2).abs())
        found = g.run(moved, rows)
    place, _, call = cut.partition("#")
    calls = iter([True, False] if call else [True] * 9)
    handle = net.get_submodule(place).register_forward_hook(lambda m, args, out: moved if next(calls) else None)
    with handle, torch.no_grad():
        want = net(x[rows])
    assert float((found - want).abs().max()) <= 1e-12 * max(1.0, float(want.abs().max()))
