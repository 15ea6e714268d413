"""The 1000 class names of ImageNet."""

from importlib import resources


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 ImageNet class names, in the order of the nets' outputs.

    Two names occur twice: "crane" is a bird (134) and a machine (517), "maillot" is 638 and 639; ask for
    those by number.

    Source: first name of each line of ILSVRC-2012's synset_words.txt.

    >>> labels = imagenet_labels()
    >>> len(labels), labels[285], labels[967]
    (1000, 'Egyptian cat', 'espresso')
    """
    text = resources.files("influent.zoo").joinpath("imagenet.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
