"""What `influent explain --text` does: a text asked why, by words, heads, neurons and filters, and written down."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from .ask import influence
from .attribution import Attribution, Ranked
from .cut import OUTPUT, Cut, as_cut
from .distributions import Line
from .errors import CutError, QuestionError
from .explain import PAGE, Request, store_answers
from .measures import contribution, gradient
from .nets import Net
from .places import transformer
from .probe import activations
from .quantity import Quantity
from .store import fresh_folder, seal
from .text import Text
from .through import Through
from .tokens import Logit
from .views.explanation import in_words, named_class
from .views.headmap import HeadMap
from .views.reading import Reading, Row
from .views.sentence import Sentence
from .views.text import harmless
from .views.text_page import TextSection, text_page
from .zoo.sentences import SentenceEncoder

Progress = Callable[[int], None]
READ = "What the units of largest contribution read in it"
LARGEST = "The units of largest magnitude"


@dataclass(frozen=True)
class Said:
    """What a net says of a text: an answer by name, its probability, and the quantity that asks for it."""

    name: str
    probability: float
    quantity: Quantity


@dataclass(frozen=True)
class TextAnswer:
    """One question about a text: its words' values, as a sentence, too; its top units, what they read; the heads."""

    title: str
    attribution: Attribution
    sentence: Sentence
    units: Reading | None
    heads: HeadMap | None
    tops: tuple[tuple[Cut, Ranked], ...] = ()


@dataclass(frozen=True)
class TextExplanation:
    """What `influent explain --text` prints and writes; `unknown` names the words that the net does not know."""

    predictions: tuple[Said, ...]
    answers: tuple[TextAnswer, ...]
    unknown: str = ""


def answers_of(net: Net, text: Text, most: int = 5) -> list[Said]:
    """The likeliest classes of a text; of nets that speak in tokens, the likeliest at the end, or in a mask's place.

    Empty for nets that give a vector. Errors: `QuestionError` for outputs of no known shape.

    >>> net = zoo.load("textcnn-sentiment")
    >>> answers_of(net, net.read("a good film"))[0].name
    'positive'
    """
    if isinstance(net.module, SentenceEncoder):
        return []
    try:
        y = activations(net, OUTPUT, text)
    except CutError as error:
        raise QuestionError(
            f"This net gives no logits. {error} Take it with the part that answers (...ForSequenceClassification, "
            "...ForCausalLM), or say what is asked, --of (of=): \"Similarity('another text', "
            'cut=OUTPUT[pooler_output])".'
        ) from error
    if y.dim() == 2 and y.shape[1] >= 2:
        p = torch.softmax(y[0].double(), 0)
        return [
            Said(net.label(i), float(p[i]), named_class(net, i)) for i in p.topk(min(most, len(p))).indices.tolist()
        ]
    if y.dim() != 3 or len(y) != 1:
        raise QuestionError(
            f"This net gives {list(y.shape)}, neither classes [point, class] nor logits [point, position, token]. Say "
            "what is asked, --of (of=): \"Unit(3, 'PLACE')\", or for vectors \"Similarity('another text')\"."
        )
    place = _mask_place(net, text)
    position = y.shape[1] - 1 if place is None else place
    p = torch.softmax(y[0, position].double(), 0)
    best = p.topk(min(most, len(p))).indices.tolist()
    return [Said(repr(net.spelling(i)), float(p[i]), Logit(i, -1 if place is None else place)) for i in best]


def _mask_place(net: Net, text: Text) -> int | None:
    """The position of the first mask in a text, for nets that fill it in."""
    mask = net.reads.special("mask") if type(net.module).__name__.endswith("MaskedLM") else None
    places = [] if mask is None else (text.ids[0] == mask).nonzero()[:, 0].tolist()
    return places[0] if places else None


def explain_text(
    request: Request, text: str, out: Path, answer: str | None = None, truncate: bool = False,
    progress: Progress | None = None,
) -> TextExplanation:  # fmt: skip
    """One text: its answers, stored in the folder `out` with their page. Errors as `influence` and `Net.read`."""
    started = perf_counter()
    net = request.net
    read: Text = net.reads([text], None if answer is None else [answer], truncate)
    with fresh_folder(out) as work:
        made = explained(request, read, progress)
        named = [(said.name, said.probability) for said in made.predictions]
        about: dict[str, Any] = {
            "said": text_lines(request.name, made),
            "text": {"text": text, "sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()},
            "net_name": request.name,
            "predictions": [{"class": name, "probability": p} for name, p in named],
        }
        store_answers([(f"why-{k + 1}", a.title, a.attribution) for k, a in enumerate(made.answers)], about, work)
        (work / PAGE).write_text(_page(made, text, named, perf_counter() - started), encoding="utf-8")
        seal(work)
    return made


def explained(
    request: Request, text: Text, progress: Progress | None = None, asking: tuple[Any, Any, Any] | None = None
) -> TextExplanation:
    """The explanation of one text, without a file; `asking` is of, over and measure where they are no texts.

    Errors as `influence`.
    """
    net = request.net
    asked, over, measure = asking or request.words(text)
    said = _answers(net, text, bool(asked))
    questions = asked or _questions(said)
    over = over or Line(None, text)
    paths = all(part.path for _, part in over.parts)
    measure = measure or (contribution if paths else gradient)
    words, places = Cut(f"{net.embedding}/token"), _units(request)
    found = influence(net, [words, *places], questions, over, measure, chunk=request.chunk, progress=progress)
    tops = {q: [unit for group in _groups(places) for unit in _top(found, group, q, request.top)] for q in questions}
    flows = [
        (q, cut, unit, Through([unit.index] if cut.units is None else unit.index[0], cut, q))
        for q in questions
        for cut, unit in tops[q]
    ]
    read = {}
    if flows and paths and measure is contribution:
        several = influence(net, words, [f for *_, f in flows], over, measure, chunk=request.chunk, progress=progress)
        read = {(q, cut, unit.index): several[flow] for q, cut, unit, flow in flows}
    answers = [_answer(net, text, q, words, found, tops[q], read) for q in questions]
    return TextExplanation(tuple(said), tuple(answers), _unknown(net, text))


def _unknown(net: Net, text: Text) -> str:
    """The words that the net does not know, in a sentence; nothing where it knows all."""
    number = net.reads.special("unk")
    where = [s for s, token in zip(text.spans[0], text.ids[0].tolist(), strict=True) if s and token == number]
    words = list(dict.fromkeys(text.texts[0][start:end].strip() for start, end in where))
    if number is None or not words:
        return ""
    some = ", ".join(words[:8]) + (f" and {len(words) - 8} more" if len(words) > 8 else "")
    return f"Not known to this net, which reads {net.reads.name(number)} in their place: {some}"


def _answers(net: Net, text: Text, asked: bool) -> list[Said]:
    """What the net says; nothing where it says nothing and a question is asked all the same."""
    try:
        return answers_of(net, text)
    except QuestionError:
        if not asked:
            raise
        return []


def _questions(said: Sequence[Said]) -> list[Quantity]:
    if not said:
        raise QuestionError(
            "This net makes a vector of a text, and says nothing: say what is asked. "
            "--of \"Similarity('another text')\""
        )
    named = [one.quantity for one in said[:2]]
    return named if len(named) == 1 else [named[0], named[0] - named[1]]


def _units(request: Request) -> list[Cut]:
    """The units asked for; the net's own layer; all heads and MLP neurons of a transformer; or none that are known."""
    if request.at or request.net.layer:
        return [as_cut(place) for place in (request.at or request.net.layer or "").split(",")]
    try:
        places = transformer(request.net)
    except QuestionError:
        return []
    return [Cut(place) for place in (*places.heads, *places.neurons)]


def _groups(places: Sequence[Cut]) -> list[list[Cut]]:
    """Heads beside heads, and all other units beside each other: sums over as many neurons are not compared."""
    heads = [cut for cut in places if cut.units == "head"]
    return [group for group in (heads, [cut for cut in places if cut.units not in ("head", "token")]) if group]


def _top(found: Mapping[Any, Any], group: Sequence[Cut], q: Quantity, top: int) -> list[tuple[Cut, Ranked]]:
    """The units of largest magnitude among those of several layers."""
    every = [(cut, unit) for cut in group for unit in found[cut][q].top(top)]
    return sorted(every, key=lambda pair: -abs(pair[1].value))[:top]


def _answer(
    net: Net, text: Text, q: Quantity, words: Cut, found: Mapping[Any, Any], tops: Sequence[tuple[Cut, Ranked]],
    read: Mapping[Any, Attribution],
) -> TextAnswer:  # fmt: skip
    a: Attribution = found[words][q]
    tokens = [cut for cut in found if cut.units == "token" and cut != words]
    caption = READ if read else LARGEST
    rows = [
        Row(cut.text, "", Sentence(text.texts[0], text.pieces(found[cut][q].values, special=True))) for cut in tokens
    ]
    for cut, unit in tops:
        flow = read.get((q, cut, unit.index))
        read_in_it = Sentence("", ()) if flow is None else Sentence(text.texts[0], text.pieces(flow.values))
        rows.append(Row(unit_name(net, cut, unit), f"{unit.value:+.3g}", read_in_it))
    heads = {cut: found[cut][q].values[0] for cut in found if cut.units == "head"}
    return TextAnswer(
        title=f"Why {in_words(q, net)}?",
        attribution=a,
        sentence=Sentence(text.texts[0], text.pieces(a.values)),
        units=Reading("The tokens at other layers" if len(tokens) == len(rows) else caption, rows) if rows else None,
        heads=_head_map(net, heads, tops),
        tops=tuple(tops),
    )


def _head_map(net: Net, heads: Mapping[Cut, Tensor], tops: Sequence[tuple[Cut, Ranked]]) -> HeadMap | None:
    """All heads of several layers, the top ones outlined; None where layers have not equally many."""
    if len({len(values) for values in heads.values()}) != 1:
        return None
    order = list(heads)
    chosen = {(order.index(cut), unit.index[0]) for cut, unit in tops if cut in heads}
    return HeadMap("What flows through each head", [values.tolist() for values in heads.values()], chosen)


def unit_name(net: Net, cut: Cut, unit: Ranked) -> str:
    """A unit as it is called: `layer 3, head 5`, `layer 0, neuron 17`, `filters channel 31`.

    >>> unit_name(zoo.load("textcnn-sentiment"), Cut("filters/channel"), Ranked((31,), 0.5, 0.1, "channel 31"))
    'filters, channel 31'
    """
    try:
        places = transformer(net)
    except QuestionError:
        return f"{cut.place.text}, {unit.name or unit.index}"
    layers = [as_cut(place).name for place in places.residual]
    layer = next((k for k, name in enumerate(layers) if cut.name.startswith(f"{name}.")), None)
    if layer is None or cut.text not in (*places.heads, *places.neurons):
        return f"{cut.place.text}, {unit.name or unit.index}"
    before = sum("decoder" not in name for name in layers)
    where = f"decoder layer {layer - before}" if 0 < before <= layer else f"layer {layer}"
    across = any(word in cut.name for word in ("EncDec", "encoder_attn", "crossattention"))
    kind = "neuron" if cut.text in places.neurons else "cross head" if across else "head"
    return f"{where}, {kind} {unit.index[0]}"


def text_lines(name: str, made: TextExplanation, colours: bool = False) -> list[str]:
    """What the command prints: what the net says, then each question with its words and units, in colours or not."""
    said = " · ".join(f"{one.name} {one.probability:.1%}" for one in made.predictions[:3])
    lines = [f"{name} on this text: {said}" if said else f"{name} on this text"]
    lines += [harmless(made.unknown)] if made.unknown else []
    for answer in made.answers:
        sentence = answer.sentence.ansi() if colours else answer.sentence.plain()
        error = answer.attribution.summary()
        lines += ["", answer.title, f"  {sentence}", *([f"  {error}"] if error else [])]
        if answer.units is not None:
            lines += ["", answer.units.ansi() if colours else str(answer.units)]
    return lines


def _page(made: TextExplanation, text: str, named: Sequence[tuple[str, float]], seconds: float) -> str:
    sections = [
        TextSection(
            heading=answer.title, sentence=answer.sentence, summary=answer.attribution.summary(), units=answer.units,
            heads=answer.heads,
            facts={"question": repr(answer.attribution.question), "velocity": answer.attribution.velocity},
        )
        for answer in made.answers
    ]  # fmt: skip
    short = text if len(text) <= 60 else text[:59] + "…"
    title = f"{short}: why {named[0][0]}?" if named else short
    return text_page(title, text, named, sections, seconds, made.unknown)
