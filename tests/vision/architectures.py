"""The nets of the matrix: how each is made, what it is asked, and what is known of its places from its drawing.

Of nine modules, from input to output, it is said whether all paths from the input cross them (`trunk`, `inner`, `later`
and `full`: a stem, a block, a head) or not (`branches`: what stands in a residual branch, in one of several branches
that are concatenated, or below a skip connection).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

import influent as inf
from tests.vision import own

CLASSES, SECOND = 10, inf.Class(1)
PICTURE, SEQUENCE, LAST = ("channel", "row", "column"), ("token", "channel"), ("row", "column", "channel")


@dataclass(frozen=True)
class Row:
    """One net of the matrix.

    `trunk` is a full cut with axes `axes`; `inner` and `later` are two more, in this order: where a path inside the net
    runs, and where it is seen again. `nodes` Gauss nodes leave rounding errors only between them; 0 says that the net
    has kinks. `shape` is a row of what is fed at `feed`, by keyword where it has a `word`; `given` goes beside it.
    `value` reads from plain outputs what `of` reads.
    """

    make: Callable[[SimpleNamespace], nn.Module]
    trunk: str
    inner: str
    later: str
    full: tuple[str, ...]
    branches: tuple[str, ...] = ()
    axes: tuple[str, ...] = PICTURE
    nodes: int = 0
    shape: tuple[int, ...] = (3, 32, 32)
    feed: str = "INPUT"
    word: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    of: Any = SECOND
    value: Callable[[Any], Tensor] = lambda y: y[:, 1]
    wrap: Callable[[nn.Module], nn.Module] = lambda net: net


def mean_of_a_map(y: Tensor) -> Tensor:
    """Class 1, averaged over the picture: [point, class, row, column] → [point]."""
    return y[:, 1].mean((1, 2))


def of_torchvision(name: str, **more: Any) -> Callable[[SimpleNamespace], nn.Module]:
    return lambda vision: getattr(vision.models, name)(num_classes=CLASSES, **more)


def of_timm(name: str, **more: Any) -> Callable[[SimpleNamespace], nn.Module]:
    return lambda vision: vision.timm.create_model(name, **more)


def vgg(vision: SimpleNamespace) -> nn.Module:
    """VGG-11 with hidden layers of 256 where it has 4096: its head alone would be a gigabyte in double precision."""
    with torch.device("meta"):
        net = vision.models.vgg11()
    net.features = vision.models.vgg.make_layers(vision.models.vgg.cfgs["A"])
    net.classifier = nn.Sequential(
        nn.Linear(512 * 49, 256), nn.ReLU(True), nn.Dropout(), nn.Linear(256, 256), nn.ReLU(True), nn.Dropout(),
        nn.Linear(256, CLASSES),
    )  # fmt: skip
    return net


def vit(vision: SimpleNamespace) -> nn.Module:
    """torchvision's vision transformer at ViT-Ti's width, six layers deep."""
    return vision.models.VisionTransformer(64, 16, 6, 3, 192, 768, num_classes=CLASSES)


def extracted(vision: SimpleNamespace) -> nn.Module:
    """A resnet as torchvision cuts it up, a torch.fx graph that gives {"mid": layer2, "out": fc}."""
    net = vision.models.resnet18(num_classes=CLASSES)
    return vision.extraction.create_feature_extractor(net, {"layer2": "mid", "fc": "out"})


def compiled(net: nn.Module) -> nn.Module:
    """torch.compile's net; "eager" runs what it traced as it stands, which takes no compiler and no time."""
    return torch.compile(net, backend="eager")


RESNET = {
    "make": of_torchvision("resnet18"), "trunk": "layer2", "inner": "layer1", "later": "layer3",
    "full": ("conv1", "maxpool", "layer4"), "branches": ("layer1.1.conv1", "layer2.0.downsample", "layer3.1.bn2"),
}  # fmt: skip

ROWS = {
    "resnet18": Row(**RESNET, shape=(3, 48, 48)),
    "vgg11": Row(
        vgg, "features.8", "features.5", "classifier.0",
        ("features.0", "features.11", "features.20", "avgpool", "classifier.3", "classifier.6"),
    ),
    "googlenet": Row(
        of_torchvision("googlenet", aux_logits=False, init_weights=False), "inception4c", "inception3b", "inception5b",
        ("conv1", "conv3", "avgpool"), ("inception3a.branch1", "inception4a.branch2", "inception4e.branch4"),
        shape=(3, 64, 64),
    ),
    "inception_v3": Row(
        of_torchvision("inception_v3", init_weights=False), "Mixed_6a", "Mixed_5b", "Mixed_7a",
        ("Conv2d_1a_3x3", "Conv2d_4a_3x3", "avgpool"),
        ("Mixed_5d.branch5x5_2", "Mixed_6c.branch7x7dbl_3", "Mixed_7b.branch_pool"), shape=(3, 75, 75),
    ),
    "densenet121": Row(
        of_torchvision("densenet121"), "features.transition1", "features.denseblock1", "features.transition2",
        ("features.conv0", "features.norm5", "classifier"),
        ("features.denseblock1.denselayer1", "features.denseblock2.denselayer3.conv1",
         "features.denseblock4.denselayer16"),
    ),
    "mobilenet_v3_small": Row(
        of_torchvision("mobilenet_v3_small"), "features.4", "features.1", "features.9",
        ("features.0", "features.12", "classifier.0"),
        ("features.3.block.0", "features.5.block.2.fc2", "features.10.block.3"), shape=(3, 64, 64),
    ),
    "regnet_y_400mf": Row(
        of_torchvision("regnet_y_400mf"), "trunk_output.block2", "trunk_output.block1", "trunk_output.block3",
        ("stem", "trunk_output.block4", "avgpool"),
        ("trunk_output.block1.block1-0.proj", "trunk_output.block3.block3-1.f.se.fc1",
         "trunk_output.block4.block4-2.f.b"), shape=(3, 64, 64),
    ),
    "efficientnet_b0": Row(
        of_torchvision("efficientnet_b0"), "features.3", "features.2", "features.5",
        ("features.0", "features.8", "avgpool"),
        ("features.2.1.block.0", "features.4.0.block.2.fc1", "features.6.3.stochastic_depth"), nodes=8,
    ),
    "shufflenet_v2": Row(
        of_torchvision("shufflenet_v2_x0_5"), "stage3", "stage2", "stage4", ("conv1", "maxpool", "conv5"),
        ("stage2.0.branch1", "stage3.2.branch2", "stage4.3.branch2.5"), shape=(3, 64, 64),
    ),
    "vision transformer": Row(
        vit, "encoder.layers.encoder_layer_2", "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_4",
        ("conv_proj", "encoder.ln", "heads"),
        ("encoder.layers.encoder_layer_0.self_attention[0]", "encoder.layers.encoder_layer_1.mlp",
         "encoder.layers.encoder_layer_3.ln_2"), SEQUENCE, nodes=8, shape=(3, 64, 64),
    ),
    "convnext_tiny": Row(
        of_torchvision("convnext_tiny"), "features.3", "features.1", "features.5",
        ("features.0", "features.6", "avgpool"),
        ("features.1.0.block.0", "features.3.1.block.5", "features.7.2.block"), nodes=8,
    ),
    "swin_t": Row(
        of_torchvision("swin_t"), "features.3", "features.1", "features.5", ("features.0", "features.6", "norm"),
        ("features.1.0.attn", "features.3.1.mlp", "features.5.2.norm2"), LAST, nodes=8,
    ),
    "timm vit_tiny": Row(
        of_timm("vit_tiny_patch16_224", num_classes=CLASSES, img_size=64), "blocks.5", "blocks.2", "blocks.8",
        ("patch_embed", "norm", "head"), ("blocks.0.attn.proj", "blocks.3.mlp.fc1", "blocks.7.norm2"), SEQUENCE,
        nodes=8, shape=(3, 64, 64),
    ),
    "timm convnext_atto": Row(
        of_timm("convnext_atto", num_classes=CLASSES), "stages.1", "stages.0", "stages.2",
        ("stem", "stages.3.downsample", "head.global_pool"),
        ("stages.0.blocks.0.conv_dw", "stages.1.blocks.1.mlp", "stages.2.blocks.4.norm"), nodes=8, shape=(3, 64, 64),
    ),
    "timm efficientnet_lite0": Row(
        of_timm("efficientnet_lite0", num_classes=CLASSES), "blocks.2.0", "blocks.1.0", "blocks.3.0.conv_dw",
        ("conv_stem", "bn2", "classifier"), ("blocks.1.1.conv_pw", "blocks.2.1.bn2", "blocks.4.1.conv_pwl"),
    ),
    "lraspp_mobilenet_v3": Row(
        lambda vision: vision.models.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=CLASSES),
        "backbone.3", "backbone.1", "backbone.4", ("backbone.0", "backbone.2", "classifier"),
        ("backbone.10", "backbone[high]", "classifier.scale"), shape=(3, 64, 64),
        of=mean_of_a_map, value=lambda y: mean_of_a_map(y["out"]),
    ),
    "U-Net": Row(
        lambda vision: own.UNet(CLASSES), "down.0", "enter", "join.3", ("down.0.2", "down.0.3", "head"),
        ("down.2", "up.1", "join.2.3"), of=mean_of_a_map, value=mean_of_a_map,
    ),
    "LSTM on words": Row(
        lambda vision: own.Reader(CLASSES), "lstm[0]", "norm", "curve",
        ("embed", "turn", "fc1", "act", "fc2"), ("score",), SEQUENCE, 10, (12, 24), "embed",
        given={"ids": torch.randint(50, (2, 12), generator=torch.Generator().manual_seed(3))},
    ),
    "one block, three calls": Row(
        lambda vision: own.Recurring(CLASSES), "block#2", "block#1", "block#3", ("stem", "pool", "head"),
        ("block.conv1#1", "block.conv2#2", "block.norm1#3"),
    ),
    "functional ReLU": Row(
        lambda vision: own.Plain(CLASSES, functional=True), "turn1", "stage1", "turn2", ("stem", "norm", "head"),
        ("stage1.norm1", "stage2.conv2", "stage3.norm2"),
    ),
    "several inputs": Row(
        lambda vision: own.Conditioned(CLASSES), "mix", "stem", "joined", ("norm1", "act#1", "act#2", "norm2", "head"),
        ("says",), nodes=8, word="image", value=lambda y: y["logits"][:, 1],
        given={
            "words": torch.randint(50, (2, 6), generator=torch.Generator().manual_seed(3)),
            "mask": torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], dtype=torch.float64), "strength": 0.5,
        },
    ),
    "list of features": Row(
        of_timm("resnet18", features_only=True), "layer2", "layer1", "layer3", RESNET["full"], RESNET["branches"],
        of=inf.Unit(1, "OUTPUT[4]") - 0.5 * inf.Unit(2, "OUTPUT[4]"),
        value=lambda y: (y[4][:, 1] - 0.5 * y[4][:, 2]).sum((1, 2)), shape=(3, 48, 48),
    ),
    "dictionary of features": Row(
        extracted, "layer2.1.relu#2", "layer1.1.relu#2", "layer3.1.relu#2", ("conv1", "maxpool", "avgpool"),
        ("layer1.1.relu#1", "layer2.0.downsample.1", "layer3.1.bn2"),
        of=inf.Class(1, "OUTPUT[out]"), value=lambda y: y["out"][:, 1],
    ),
    "torch.compile": Row(**RESNET, wrap=compiled),
    "DataParallel": Row(**RESNET, wrap=nn.DataParallel),
}  # fmt: skip
