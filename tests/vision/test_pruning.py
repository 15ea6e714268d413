"""torchvision's nets with channels taken out inside their blocks, beside a mask by a plain hook."""

from __future__ import annotations

import pytest

import influent as inf
from tests import worlds
from tests.unit.test_compress import close, masked_by_hook
from tests.worlds import noise

ALLOWED = [
    ("resnet18", "layer2.0.relu", 1, 128), ("resnet18", "layer2.0.bn1", 1, 128), ("vgg11", "features.7", 1, 256),
    ("vgg11", "features.20", 1, 512), ("vgg11", "classifier.1", 1, 4096), ("squeezenet1_1", "features.4", 1, 128),
    ("densenet121", "features.denseblock1.denselayer1.norm2", 1, 128),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cut", "call", "width"), ALLOWED)
def test_a_pruned_net_says_what_the_masked_net_says(vision, name, cut, call, width):
    net, x = worlds.built(lambda: getattr(vision.models, name)()), noise(1, 3, 64, 64)
    kept = list(range(0, width, 7))
    place = f"{cut}#{call}" if name == "resnet18" and cut.endswith("relu") else cut
    made = inf.prune(net, inf.Mask(f"{place}/channel", kept))
    close(made(x).detach(), masked_by_hook(net, cut, x, kept, call))
    assert sum(p.numel() for p in made.parameters()) < sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "cut", "lesson"),
    [
        ("resnet18", "layer2.0.conv1", r"'layer2\.0\.bn1' shifts channels that are 0\. Cut .* at 'layer2\.0\.bn1'\."),
        ("resnet18", "layer2.0", r"add\(\) \(add_2\) joins channels with others \(a residual sum"),
        ("resnet18", "layer2.0.bn2", r"add\(\) \(add_2\) joins channels with others \(a residual sum"),
    ],
)  # fmt: skip
def test_residual_sums_and_norms_are_refused(vision, name, cut, lesson):
    net = worlds.built(lambda: getattr(vision.models, name)())
    with pytest.raises(inf.CutError, match=lesson):
        inf.prune(net, inf.Mask(f"{cut}/channel", [1]))
