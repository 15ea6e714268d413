"""A browser's question in the four words, and as it is typed: in Python, and on the command line."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from influent.cut import Cut
from influent.distribution import Distribution
from influent.distributions import Gaussian, Line, Point
from influent.errors import QuestionError
from influent.measures import activation, contribution, gradient, gradient_times_activation, spell_measure
from influent.quantities import Unit
from influent.quantity import Quantity
from influent.text import Text
from influent.tokens import Similarity
from influent.views.explanation import named_class

from .asks import Why
from .desk import Desk, Held

MEASURES = {m.__name__: m for m in (contribution, gradient, gradient_times_activation, activation)}
_NOUNS = re.compile(r"(?<![\w.'\"])(Class|Unit|Logit|Predicted|Label|Line|Point|Gaussian|Similarity)(?=\()")


@dataclass(frozen=True)
class Words:
    """The four words of a question about one input."""

    at: Cut
    of: Quantity
    over: Distribution
    measure: Any


def quantity(desk: Desk, ask: Why, said: Quantity | None) -> Quantity:
    """The behaviour that is asked about: what the net says, a class (rather than another), a unit, likeness to a text.

    Errors: `QuestionError` for what the net has not.
    """
    if ask.of == "unit":
        if ask.layer is None or ask.target is None:
            raise QuestionError("Which unit? Choose its layer and its number.")
        _, place = desk.unit(ask.layer, ask.target)
        return Unit(ask.target, place.cut.place)
    if ask.of == "like":
        if not desk.reads_texts or not (ask.like or "").strip():
            raise QuestionError("Like which text? Type one, for a net that reads texts.")
        return Similarity(ask.like or "")
    if ask.of == "class" and ask.target is None:
        raise QuestionError("Which class? Choose one by its name.")
    if ask.of == "said":
        if said is None:
            raise QuestionError("This net gives no classes: ask about a unit, or of texts about their likeness.")
        chosen = said
    else:
        chosen = named_class(desk.net, desk.check_class(int(ask.target or 0)))
    if ask.rather is None:
        return chosen
    other = named_class(desk.net, desk.check_class(ask.rather))
    if other == chosen:
        raise QuestionError(f"{other.describe(desk.net)} rather than itself: choose another class.")
    return chosen - other


def distribution(desk: Desk, ask: Why, x: Tensor | Text, n: int) -> Distribution:
    """The inputs that are averaged over, in `n` points. A ball's radius is a share of the photo's own deviation."""
    if ask.over == "point":
        return Point(x)
    if ask.over == "ball":
        if isinstance(x, Text):
            raise QuestionError("A neighbourhood is of photos: for a text choose the text itself, or a line.")
        return Gaussian(x, std=float(f"{ask.spread * float(x.std()):.3g}"), n=n, seed=0)
    return Line(ask.baseline, x, n=n)


def measure(ask: Why) -> Any:
    """How influence is counted; contributions on a line, where none is chosen. Errors: `QuestionError`."""
    if ask.measure is None:
        return contribution if ask.over == "line" else gradient
    if ask.measure == "contribution" and ask.over != "line":
        raise QuestionError("Contributions are counted along a line: choose one, or the measure gradient.")
    return MEASURES[ask.measure]


def as_python(desk: Desk, words: Words, subject: Held | Text) -> str:
    """The question as a script."""
    text = isinstance(subject, Text)
    over = _spelt_over(words.over, "x")
    lines = [
        "import influent as inf", "",
        f"net = {desk.plan.python}",
        f"x = net.read({subject.texts[0]!r})" if isinstance(subject, Text) else f"x = net.read({_file(subject)})",
        f"a = inf.influence(net, at={words.at.text!r}, of={_prefixed(repr(words.of))},",
        f"                  over={_prefixed(over)}, measure=inf.{spell_measure(words.measure)})",
        "print(a.top(3), a.summary(), sep='\\n')",
        "print(inf.show(a, on=x))" if text and words.at.units == "token" else "",
        "" if text else "inf.show(a, on=x).save('why.png')",
    ]  # fmt: skip
    return "\n".join(line for k, line in enumerate(lines) if line or k == 1)


def as_command(desk: Desk, words: Words, subject: Held | Text) -> str:
    """The question as a command line."""
    what = ["--text", subject.texts[0]] if isinstance(subject, Text) else [subject.typed]
    typed = ["influent", "explain", *what, *shlex.split(desk.plan.options)]
    typed += ["--at", words.at.text, "--of", repr(words.of), "--over", _spelt_over(words.over, "")]
    return shlex.join([*typed, "--measure", spell_measure(words.measure)])


def _spelt_over(over: Distribution, x: str) -> str:
    """The distribution as text, with `x` in the place of the input."""
    if isinstance(over, Line):
        begins = "" if over.baseline is None else repr(over.baseline)
        inside = ", ".join(filter(None, [begins or ("None" if x else ""), x, f"n={over.n}"]))
        return f"Line({inside})"
    if isinstance(over, Gaussian):
        return f"Gaussian({', '.join(filter(None, [x, f'std={over.std}', f'n={over.n}', 'seed=0']))})"
    return f"Point({x})" if x else "Point"


def _file(held: Held) -> str:
    return f"inf.example({held.typed!r})" if held.example else repr(held.typed)


def _prefixed(text: str) -> str:
    """Our nouns as they are called from outside: Class(3) becomes inf.Class(3)."""
    return _NOUNS.sub(r"inf.\1", text)
