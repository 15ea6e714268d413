"""Quantities of nets that speak in tokens, and of those that turn a text into one vector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .containers import pick
from .cut import OUTPUT, Cut
from .errors import QuestionError
from .nets import Net
from .quantity import Quantity, Subject
from .shapes import spell_shape


def _positions(y: Tensor, what: str) -> Tensor:
    """Outputs that are `[point, position, token]`, or a lesson."""
    if y.dim() == 3:
        return y
    hint = "It has one number a class: Class(3)." if y.dim() == 2 else "Cut where it gives logits for each position."
    raise QuestionError(f"{what} needs outputs [point, position, token], and its cut gives {spell_shape(y)}. {hint}")


def _last(y: Tensor, subject: Subject) -> tuple[Tensor, Tensor]:
    """The first position of each subject that is no padding, and how many there are, `[subject]` each."""
    mask = subject.mask(y.shape[1])
    if mask is None:
        mask = torch.ones(y.shape[:2], dtype=torch.bool, device=y.device)
    return mask.to(y.device).int().argmax(1), mask.to(y.device).sum(1)


@dataclass(frozen=True, repr=False, eq=False)
class Logit(Quantity):
    """The logit of a token at a position of the text: of decoders, that the token comes next.

    `token` is a number, or the text of one token, as the net's tokenizer reads it (" Paris"); `position` counts what is
    no padding, from 0, or from the end, -1. `[point, position, token] → [point]`, in logits.
    Errors: `QuestionError` for texts of several tokens, positions that are not there, and outputs of another shape.
    Source: the logit of an answer, and the difference of two, Wang et al. 2022 (arXiv:2211.00593), section 2.

    >>> y, padded = torch.arange(6.0).reshape(1, 3, 2), {"attention_mask": torch.tensor([[1, 1, 0]])}
    >>> Logit(1).value(y, Logit(1).choose(y, Subject(given=padded)))
    tensor([3.])
    """

    token: int | str
    position: int = -1
    cut: Cut | str = OUTPUT

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("token", self.token), ("position", self.position)):
            if not isinstance(value, int | (str if name == "token" else int)) or isinstance(value, bool):
                raise QuestionError(f"{name}={value!r}: write Logit(' Paris', position=-1), or the token's number.")

    def bind(self, net: Net) -> Quantity:
        return replace(self, token=net.token(self.token))

    def choose(self, y: Tensor, subject: Subject) -> Tensor | None:
        first, count = _last(_positions(y, repr(self)), subject)
        least = int(count.min())
        if not -least <= self.position < least:
            raise QuestionError(
                f"{self!r}: the text has {least} positions, 0 to {least - 1} (or -1 to {-least} from the end)."
            )
        return first + (self.position if self.position >= 0 else count + self.position)

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        return _at(_positions(y, repr(self)), chosen)[:, _known(self.token, y, repr(self))]

    def describe(self, net: Net) -> str:
        return _quoted(net, net.token(self.token))


@dataclass(frozen=True, repr=False, eq=False)
class Continuation(Quantity):
    """log p(the text's last tokens | what stands before them), in nats: how likely a net finds a continuation.

    `text` is the continuation, as the net's tokenizer reads it, or its tokens' numbers; the explained text ends with
    it: `net.read("Paris is in" + " France")` (of nets that write, the answer does). `[point, position, token]` logits →
    `[point]`. Errors: `QuestionError` for texts that end otherwise, and for outputs of another shape.
    Source: sequence log-probability, Sarti et al. 2023 (inseq), section 3.

    >>> text = {"input_ids": torch.tensor([[7, 0, 1]])}
    >>> c = Continuation((0, 1))
    >>> float(c.value(torch.zeros(1, 3, 2), c.choose(torch.zeros(1, 3, 2), Subject(given=text))))
    -1.3862943649291992
    """

    text: str | tuple[int, ...]
    cut: Cut | str = OUTPUT

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "text", tuple(self.text) if isinstance(self.text, list) else self.text)
        whole = isinstance(self.text, str) or all(isinstance(t, int) for t in self.text)
        if not self.text or not whole:
            raise QuestionError(f"{self!r}: give the text that goes on, or its tokens: Continuation(' in France').")

    @property
    def _tokens(self) -> tuple[int, ...]:
        if isinstance(self.text, str):
            raise QuestionError(f"{self!r} names a text, but was not bound to a net: use it inside inf.influence.")
        return self.text

    def bind(self, net: Net) -> Quantity:
        return replace(self, text=net.tokens(self.text)) if isinstance(self.text, str) else self

    def choose(self, y: Tensor, subject: Subject) -> Tensor | None:
        first, count = _last(_positions(y, repr(self)), subject)
        n, ids = len(self._tokens), subject.ids()
        if ids is None:
            raise QuestionError(f"{self!r} needs the tokens of the text beside the outputs: over=Line('pad', text).")
        if int(count.min()) <= n:
            raise QuestionError(f"{self!r} is {n} tokens long, and the text {int(count.min())}: nothing stands before.")
        where = (first + count - n)[:, None] + torch.arange(n, device=y.device)
        found = ids.to(y.device).gather(1, where)
        other = (found != torch.tensor(self._tokens, device=y.device)).any(1)
        if bool(other.any()):
            raise QuestionError(
                f"{self!r}: a text ends with the tokens {found[other][0].tolist()} instead. Read both in one: "
                "net.read(PROMPT + CONTINUATION); and give the tokens where they are cut otherwise there."
            )
        return first + count - n

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        y = _positions(y, repr(self))
        parts = []
        for k, token in enumerate(self._tokens):
            before = _at(y, None if chosen is None else chosen + (k - 1))
            parts.append(before.log_softmax(1)[:, _known(token, y, repr(self))])
        return torch.stack(parts).sum(0)

    def describe(self, net: Net) -> str:
        return f"the continuation {self.text!r}" if isinstance(self.text, str) else f"{len(self.text)} last tokens"


@dataclass(frozen=True, repr=False, eq=False)
class Similarity(Quantity):
    """cos(y, to), of the vector y that a net makes of a text (or a photo) and another vector.

    `to` is a vector `[channel]` or `[1, channel]`, or a text, which the net then reads. `[point, channel] → [point]`,
    from -1 to 1. Errors: `QuestionError` for outputs of another shape.
    Source: Reimers & Gurevych 2019, section 3.

    >>> Similarity(torch.tensor([0.0, 2.0])).value(torch.tensor([[3.0, 4.0]]), None)
    tensor([0.8000])
    """

    to: Any
    cut: Cut | str = OUTPUT

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.to, str) and not hasattr(self.to, "shape"):
            raise QuestionError(f"Similarity({self.to!r}): give a vector [channel], or a text.")

    def bind(self, net: Net) -> Quantity:
        if not isinstance(self.to, str):
            return self
        with torch.no_grad():
            made = net.module(**net.placed_all(net.read(self.to).inputs))
        return replace(self, to=pick(made, self.place.element, self.place)[1])

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        to = self.to.reshape(1, -1).to(y) if isinstance(self.to, Tensor) else None
        if to is None or y.dim() != 2 or to.shape[1] != y.shape[1]:
            raise QuestionError(
                f"Similarity compares vectors [point, channel]; its cut gives {spell_shape(y)}, and the other is "
                f"{spell_shape(self.to) if isinstance(self.to, Tensor) else repr(self.to)}. A net that gives a vector "
                "for each token needs a mean over them: inf.zoo.load('hf:...') makes it of sentence encoders."
            )
        return torch.cosine_similarity(y, to, dim=1)

    def describe(self, net: Net) -> str:
        return f"similarity to {self.to!r}" if isinstance(self.to, str) else "similarity to a given vector"


def _at(y: Tensor, chosen: Tensor | None) -> Tensor:
    """Each point's own position, `[point, position, token] → [point, token]`."""
    if chosen is None:
        raise QuestionError("This quantity is fixed at the explained input: use it inside inf.influence.")
    return y[torch.arange(len(y), device=y.device), chosen]


def _known(token: int | str, y: Tensor, what: str) -> int:
    if isinstance(token, str):
        raise QuestionError(f"{what} names a token, but was not bound to a net: use it inside inf.influence.")
    if not 0 <= token < y.shape[2]:
        raise QuestionError(f"{what}: token {token} is out of range: the net has {y.shape[2]}, 0 to {y.shape[2] - 1}.")
    return token


def _quoted(net: Net, token: int) -> str:
    """A token as it is spelt, in quotes."""
    return repr(net.spelling(token))
