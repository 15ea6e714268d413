"""A photo explained: prediction, the units that decided, their pixels, and the page that shows it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from influent.ask import influence
from influent.attribution import Attribution, Ranking
from influent.cut import OUTPUT, Cut
from influent.distribution import Distribution
from influent.distributions import Line, Point
from influent.errors import NetError, QuestionError
from influent.measures import contribution, gradient
from influent.nets import Net
from influent.probe import activations
from influent.quantities import Class
from influent.quantity import Quantity

from .figure import Figure
from .page import Section, page
from .units import Carried, as_picture, carried, input_figure, panel, pixels_of, pixels_way

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Answer:
    """One question about the photo: its title, its attribution, the top units and their pixels."""

    title: str
    name: str
    attribution: Attribution
    ranked: Ranking
    figure: Figure
    pixels: Figure


@dataclass(frozen=True)
class Explanation:
    """What `influent explain` prints and writes."""

    net: Net
    predictions: tuple[tuple[str, float], ...]
    answers: tuple[Answer, ...]


def predict(net: Net, x: Tensor, most: int = 5) -> list[tuple[int, float]]:
    """The likeliest classes of `x [1, *shape]` with their probabilities (softmax of the outputs); [] for no classes."""
    y = activations(net, OUTPUT, x)
    if y.dim() != 2 or y.shape[1] < 2:
        return []
    if net.labels is not None and len(net.labels) != y.shape[1]:
        raise NetError(
            f"This net has {y.shape[1]} outputs, and {len(net.labels)} class names were given. Give one for each, in "
            "order: --labels FILE, or inf.Net(module, labels=[...])."
        )
    found = torch.softmax(y[0].double(), 0).topk(min(most, y.shape[1]))
    return [(int(i), float(p)) for p, i in zip(found.values, found.indices, strict=True)]


def default_questions(net: Net, predictions: Sequence[tuple[int, float]]) -> list[Quantity]:
    """Why this class; why this class and not the runner-up."""
    if not predictions:
        raise QuestionError("This net gives no classes [point, class], so say what is asked: --of, or of=.")
    first, second = (named_class(net, index) for index, _ in predictions[:2])
    return [first, first - second]


def named_class(net: Net, index: int) -> Class:
    """A class by its name where the name is its own, else by its index."""
    name = net.label(index)
    return Class(name) if net.labels is not None and list(net.labels).count(name) == 1 else Class(index)


def explain(
    net: Net, x: Tensor, at: Cut, of: Sequence[Quantity] = (), over: Distribution | None = None,
    measure: Callable[..., Any] | None = None, top: int = 3, chunk: int = 16, progress: Progress | None = None,
) -> Explanation:  # fmt: skip
    """The whole explanation of one input `x [1, channel, row, column]`.

    Without `of`, two questions: the predicted class, and the predicted class rather than the runner-up. Without
    `over`, a line from the net's baseline, or the point where the net names none. Errors as `influence`.
    """
    predictions = predict(net, x)
    questions = list(of) or default_questions(net, predictions)
    found = rank(net, x, at, questions, over, measure, top, chunk, progress)
    named = tuple((net.label(i), p) for i, p in predictions)
    return Explanation(net, named, draw(net, x, found, chunk=chunk, progress=progress))


@dataclass(frozen=True)
class Top:
    """A question's attribution, its units of largest magnitude, and what each of these carries to the answer."""

    of: Quantity
    attribution: Attribution
    ranked: Ranking
    units: tuple[Carried, ...]


def rank(
    net: Net, x: Tensor, at: Cut, of: Sequence[Quantity], over: Distribution | None = None,
    measure: Callable[..., Any] | None = None, top: int = 3, chunk: int = 16, progress: Progress | None = None,
) -> list[Top]:  # fmt: skip
    """The units that answer each question about `x [1, channel, row, column]`, out of one sweep; words as `explain`."""
    over = over or (Line(None, x) if net.baseline is not None else Point(x))
    measure = measure or (contribution if all(part.path for _, part in over.parts) else gradient)
    # The slopes of single neurons come out of the same sweep: they say where a unit matters.
    asked = [at] if at == at.place else [at, at.place]
    found = influence(net, asked, list(of), over, [measure, gradient], chunk=chunk, progress=progress)
    tops = [(q, found[at][q][measure].top(top)) for q in of]
    return [
        Top(q, found[at][q][measure], ranked, tuple(carried(found[at.place][q][gradient], r, at.units) for r in ranked))
        for q, ranked in tops
    ]


def draw(
    net: Net, x: Tensor, found: Sequence[Top], n: int = 33, chunk: int = 16, progress: Progress | None = None
) -> tuple[Answer, ...]:
    """The pixels of ranked units, and of the questions themselves, out of one sweep of `n` points."""
    wanted: list[Quantity] = [*(unit for one in found for unit in one.units), *(one.of for one in found)]
    over = found[0].attribution.question.over
    pixels = dict(zip(wanted, pixels_of(net, x, wanted, over, n, chunk=chunk, progress=progress), strict=True))
    return tuple(
        _answer(net, x, one.attribution, one.ranked, [pixels[u] for u in one.units], pixels[one.of], f"why-{k}")
        for k, one in enumerate(found, 1)
    )


def _answer(
    net: Net, x: Tensor, a: Attribution, ranked: Ranking, pixels: Sequence[Tensor], own: Tensor, name: str
) -> Answer:
    title = f"Why {in_words(a.question.of, net)}?"
    return Answer(
        title=title,
        name=name,
        attribution=a,
        ranked=ranked,
        figure=panel(a, x, ranked, pixels, own, f"{title}  Top units of {a.question.at.text}"),
        pixels=input_figure(own, as_picture(net, x), f"{title}  The pixels, by {pixels_way(net, x, a.question.over)}"),
    )


def in_words(of: Any, net: Net) -> str:
    """`espresso`, `espresso and not cup`, or the quantity as it is typed."""
    terms = of.terms
    if [weight for weight, _ in terms] == [1.0, -1.0]:
        return f"{terms[0][1].describe(net)} and not {terms[1][1].describe(net)}"
    return str(of.describe(net))


def write_page(made: Explanation, photo: str, folder: Path, seconds: float) -> None:
    """The pictures as PNG files, and `explanation.html`, one page that carries everything."""
    sections = []
    for answer in made.answers:
        a = answer.attribution
        (folder / f"{answer.name}-units.png").write_bytes(answer.figure.png())
        (folder / f"{answer.name}-pixels.png").write_bytes(answer.pixels.png())
        rows = [(u.name or str(u.index), f"{u.value:+.4g}", f"{u.share:.1%}") for u in answer.ranked]
        columns, figures = ("unit", "value", "share of all"), (answer.figure, answer.pixels)
        facts = {"question": repr(a.question), "velocity": a.velocity}
        sections.append(Section(answer.title, columns, rows, a.summary(), figures, facts))
    text = page(
        f"{photo}: why {made.predictions[0][0]}?" if made.predictions else photo, made.predictions, sections, seconds
    )
    (folder / "explanation.html").write_text(text, encoding="utf-8")
