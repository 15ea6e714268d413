"""Texts as points: the vectors that a net makes of their tokens, and where a path to them may begin."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from .cut import Cut, find_module
from .errors import InputError, QuestionError, nearest
from .nets import Net
from .text import IDS, Text

BASELINES = ("pad", "mask", "mean", "zero")


def called_with(net: Net, x: Any) -> Any:
    """What the net is called with: of a `Text` its tokens, by keyword where it takes `input_ids`; all else as it is.

    Errors: `InputError` for a text that has not been read.
    """
    if isinstance(x, str):
        raise InputError(f"{x[:60]!r} is a text, and the net is called with its tokens: net.read('this is not good').")
    if not isinstance(x, Text):
        return x
    inputs = net.placed_all(x.inputs)
    known = inspect.signature(net.module.forward).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known):
        return inputs
    names = {p.name for p in known}
    return {key: x for key, x in inputs.items() if key in names} if IDS in names else (inputs[IDS],)


def vectors(net: Net, ids: Tensor) -> Tensor:
    """What the net's embedding makes of tokens `[text, token]`: `[text, token, channel]`.

    Errors: `QuestionError` where it is not known which module that is.
    """
    if net.embedding is None:
        raise QuestionError(
            "Which module of this net turns tokens into vectors is not known. Say it: inf.Net(module, "
            "embedding='encoder.embed', transform=...)."
        )
    module = _module(net)
    count = getattr(module, "num_embeddings", None)
    if isinstance(count, int) and int(ids.max()) >= count:
        raise QuestionError(
            f"The tokenizer gives token {int(ids.max())}, and {net.embedding!r} has vectors for {count}, 0 to "
            f"{count - 1}. Give the tokenizer that the net was trained with."
        )
    try:
        with torch.no_grad():
            found = module(net.placed(ids))
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        raise QuestionError(
            f"embedding={net.embedding!r}, a {type(module).__name__}, makes no vectors of tokens: {error}. Name the "
            "module that does."
        ) from error
    if not isinstance(found, Tensor) or found.dim() < 3 or found.shape[:2] != ids.shape:
        raise QuestionError(f"embedding={net.embedding!r} makes no vector of each token. Name the module that does.")
    return found.detach()


def baseline_of(net: Net, text: Text, named: Any) -> Tensor:
    """Where the paths to some texts begin, `[text, token, channel]`; special tokens and padding stay as they are.

    `named` is `"pad"` or `"mask"` (that token in every place), `"mean"` (of all tokens' vectors), `"zero"`, another
    `Text` of as many tokens, a tensor, or None: the mask where the net has one, else padding, else the mean.
    Errors: `QuestionError` for what is none of these, and for tokens that the net does not have.

    >>> net = Net(nn.Embedding(4, 2), transform=TextTransform(Words(["not", "good"])))
    >>> baseline_of(net, net.read("not good"), "zero")
    tensor([[[0., 0.],
             [0., 0.]]])
    """
    named = net.baseline if named is None else named
    end = vectors(net, text.ids)
    if isinstance(named, Tensor):
        return named
    if isinstance(named, Text):
        if named.ids.shape != text.ids.shape or not torch.equal(named.kept, text.kept):
            raise QuestionError(
                f"A path runs from a text of {_lengths(named)} tokens to one of {_lengths(text)}: each token needs its "
                "counterpart. Word them so that both have as many, or begin at one of "
                f"{', '.join(map(repr, _begins(net)))}."
            )
        return vectors(net, named.ids)
    if callable(named):
        return net.placed(named(end))
    start = _uniform(net, text, _default(net) if named is None else named, end)
    return torch.where(text.kept.to(end.device)[..., None], end, start)


def _uniform(net: Net, text: Text, named: Any, end: Tensor) -> Tensor:
    """The same vector in the place of every token."""
    if named in ("pad", "mask"):
        token = net.reads.special(named)
        if token is None:
            raise QuestionError(
                f"This net's tokenizer has no {named} token. Let the path begin at "
                f"{', '.join(map(repr, _begins(net)))}, or at another text: Line(net.read('...'), text)."
            )
        return vectors(net, torch.full_like(text.ids, token))
    if named == "zero":
        return torch.zeros_like(end)
    if named == "mean":
        return _mean(net).expand_as(end)
    known = ", ".join(map(repr, BASELINES))
    raise QuestionError(
        f"The baseline {named!r} is none of a text's: {known}, another text (net.read('...')), or a tensor "
        f"{list(end.shape)}.{nearest(named, BASELINES) if isinstance(named, str) else ''}"
    )


def _begins(net: Net) -> list[str]:
    """The named baselines that a net's tokenizer has a token for, or that need none."""
    return [name for name in BASELINES if name not in ("pad", "mask") or net.reads.special(name) is not None]


def _default(net: Net) -> str:
    """The mask, else padding, but no vector of zeros where a norm divides by its length; else the mean."""
    if net.reads.special("mask") is not None:
        return "mask"
    pad = net.reads.special("pad")
    divides = any("RMS" in type(m).__name__ or type(m).__name__ == "T5LayerNorm" for m in net.module.modules())
    if pad is None or (divides and not vectors(net, torch.tensor([[pad]])).any()):
        return "mean"
    return "pad"


def _module(net: Net) -> nn.Module:
    return find_module(net.module, Cut(net.embedding)) if net.embedding else net.module


def _mean(net: Net) -> Tensor:
    """The mean of all tokens' vectors, some thousands at a time."""
    module = _module(net)
    count = getattr(module, "num_embeddings", None)
    if not isinstance(count, int):
        raise QuestionError(
            f"The mean of all tokens' vectors is known of an nn.Embedding, and {net.embedding!r} is a "
            f"{type(module).__name__}. Begin at 'pad', 'mask' or 'zero', or set embedding= to the inner module."
        )
    total = torch.zeros((), dtype=torch.float64)
    for ids in torch.arange(count)[None].split(4096, dim=1):
        made = vectors(net, ids)[0]
        total = total.to(made.device) + (made.double() if made.device.type != "mps" else made).sum(0)
    return (total / count).to(made.dtype)


def _lengths(text: Text) -> str:
    return ", ".join(str(int(n)) for n in (~text.padding).sum(1)[:3]) + (", …" if len(text) > 3 else "")
