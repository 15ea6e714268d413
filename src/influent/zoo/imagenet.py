"""The 1000 class names of ImageNet, and the manners of Caffe's nets that know them."""

from importlib import resources

from torch import nn

from influent.nets import Net
from influent.pixels import PixelTransform


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 ImageNet class names, in the order of the nets' outputs.

    Two names occur twice: "crane" is a bird (134) and a machine (517), "maillot" is 638 and 639; ask for
    those by number.

    Source: first name of each line of ILSVRC-2012's synset_words.txt.

    >>> labels = imagenet_labels()
    >>> len(labels), labels[285], labels[967]
    (1000, 'Egyptian cat', 'espresso')
    """
    return tuple(name for _, name in _lines())


def imagenet_ids() -> dict[str, int]:
    """The index of each ImageNet class by its WordNet id: what the folders of ILSVRC-2012 are called.

    >>> imagenet_ids()["n01440764"]
    0
    """
    return {wordnet: index for index, (wordnet, _) in enumerate(_lines())}


def _lines() -> list[tuple[str, str]]:
    text = resources.files("influent.zoo").joinpath("imagenet.txt").read_text(encoding="utf-8")
    return [(line[:9], line[10:]) for line in text.splitlines()]


def caffe_net(module: nn.Module, layer: str, crop: int = 224) -> Net:
    """A net of Caffe's model zoo with its manners: BGR, 0..255, minus (104, 117, 123); ImageNet's names.

    >>> caffe_net(nn.Identity(), "conv1/channel").transform.order
    'BGR'
    """
    transform = PixelTransform(mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), crop=crop, order="BGR")
    return Net(module, imagenet_labels(), transform, baseline="black", layer=layer, aliases=imagenet_ids())
