"""Why a model fails, from labelled data: which classes it hardly finds and why, what it mixes up, and wrong reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from .ask import check_chunk
from .comparison import Answers
from .confusion import Objects, Seen, class_rates, confusions, matrix, see, see_share
from .cut import Cut
from .dataset import Dataset
from .drowning import Bench, Tried, try_class
from .errors import InputError, QuestionError
from .limits import Limits
from .mistakes import Mistakes, explain_mistakes
from .nets import Net, as_net
from .parts import Parts
from .places import units_at
from .reasons import Checked, Reason, check, reasons
from .report import Report
from .samples import LeftOut, known_source, spell_left_out
from .shards import Share
from .suspects import Suspect, try_steps
from .trust import trust
from .verdicts import findings_of

Progress = Callable[[int], None]


def debug(
    net: Net | nn.Module, data: Any, at: Cut | str | None = None, *, train: Any = None,
    objects: Objects | None = None, limits: Limits | None = None, chunk: int = 64,
    parts: Parts | None = None, progress: Progress | None = None, planned: Progress | None = None,
) -> Report:  # fmt: skip
    """Why a model fails on labelled data: classes that it never learned, experts that drown, mistakes by their cause.

    - `data`: a `Dataset`, or what one is made of: a folder of images by class, batches `(x, label)`;
    - `at`: the units that are asked, a cut with units (default: the net's own layer, or a middle one);
    - `train`: what the net was trained on, in the same form; then `data` are held-out samples, and units of a class's
      essence whose evidence is in training alone are named;
    - `objects`: for the name of a sample where its object is, `[row, column]` from 0 to 1, or None where it is not
      known; then units are named whose evidence lies beside it;
    - `limits`: the thresholds, `Limits`.

    Of a `Dataset` its samples count, each once; not its rows and weights.

    One pass over all data keeps of each sample what is said and its units, summed over positions; further passes look
    at some samples of the classes in doubt and of the worst confusions. `chunk` is points per pass; what `parts` holds
    is not computed again; `progress` is called with the number of samples done, `planned` with the number that a
    further pass is going to take. Errors: as `see`, `influence` and `evaluate`. Source: Leino et al. 2018, section 3.4;
    docs/why/023 and 024.

    >>> linear = nn.Sequential(nn.Linear(2, 2, bias=False)).eval()
    >>> linear[0].weight.data = torch.eye(2)
    >>> report = debug(linear, [(torch.eye(2).repeat(20, 1), torch.arange(40) % 2)], at="0/channel")
    >>> report.findings, report.accuracy
    ((), 1.0)
    """
    net, limits, parts = as_net(net), Limits() if limits is None else limits, parts or Parts()
    check_chunk(chunk)
    if not isinstance(limits, Limits):
        raise QuestionError(f"limits={limits!r}: give Limits(little=0.1), or None.")
    if objects is not None and not callable(objects):
        raise QuestionError("objects= is a function from a sample's name to its mask [row, column], or None.")
    cut, benches = _cut(net, at, _dataset(data)), []
    for one, marked, name in _sets(data, train, objects):
        seen = see(net, cut, one, chunk, progress, marked, parts, name)
        benches.append(Bench(net, cut, known_source(one.source), seen, limits, chunk, progress, planned))
    bench, seen = benches[0], benches[0].seen
    rates, pairs = class_rates(net, seen), confusions(seen)
    doubted = [r.index for r in rates if r.high < limits.little and r.count >= limits.least]
    tried = [parts.once(f"class-{k}", Tried, partial(try_class, bench, k)) for k in doubted]
    # A single mistake has no group, and is nothing that a net does.
    worst = [pair for pair in pairs[: limits.pairs] if pair.count > 1]
    mistakes = [parts.once(f"mistakes-{p.true}-{p.said}", Mistakes, partial(explain_mistakes, bench, p)) for p in worst]
    essence, checked = _reasons(benches, parts)
    classes = tuple(torch.cat([one.seen.label for one in benches] + [seen.said]).unique().tolist())
    report = Report(
        (), matrix(seen, classes), classes, tuple(map(net.label, classes)), cut.text, len(seen.label), rates, pairs,
        tuple(tried), tuple(mistakes), _suspects(bench, tried, parts), essence, checked, trust(seen), _answers(seen),
        None, limits, {key: why for one in benches for key, why in one.seen.left_out.items()},
    )  # fmt: skip
    return replace(report, findings=findings_of(report))


def debug_share(
    net: Net | nn.Module, data: Any, at: Cut | str | None, share: Share, parts: Parts, *, train: Any = None,
    objects: Objects | None = None, chunk: int = 64, progress: Progress | None = None,
) -> int:  # fmt: skip
    """One worker's share of the passes over all data, kept in `parts`, where `debug` finds it; returns how many parts.

    Errors as `debug`.
    """
    net = as_net(net)
    cut = _cut(net, at, _dataset(data))
    return sum(
        see_share(net, cut, one, share, parts, chunk, progress, marked, name)
        for one, marked, name in _sets(data, train, objects)
    )


def _dataset(data: Any) -> Dataset:
    """What is gone through more than once, in one order. Errors: `InputError` for loaders that shuffle."""
    made = data if isinstance(data, Dataset) else Dataset(data)
    sampler = getattr(getattr(made.source, "batches", None), "sampler", None)
    if isinstance(sampler, torch.utils.data.RandomSampler):
        raise InputError(
            "This DataLoader shuffles, and samples are looked at more than once, by their number. Make it with "
            "shuffle=False, or give its dataset."
        )
    return made


def _sets(data: Any, train: Any, objects: Objects | None) -> list[tuple[Dataset, Objects | None, str]]:
    """The data that are gone through, where their objects are, and what their parts are called.

    Where objects are marked, they are looked for in the data that the essence comes from: the last.
    """
    if train is None:
        return [(_dataset(data), objects, "seen")]
    return [(_dataset(data), None, "seen"), (_dataset(train), objects, "trained")]


def _suspects(bench: Bench, tried: list[Tried], parts: Parts) -> tuple[Suspect, ...]:
    """The steps of the preprocessing, tried for every class of which no units are known to find it."""
    found: list[Suspect] = []
    for one in tried:
        if not one.finds(bench.limits) and not one.ranks(bench.limits) and one.instead != one.index:
            make = partial(try_steps, bench, one.index, one.instead)
            found += parts.once(f"steps-{one.index}", tuple[Suspect, ...], make)
    return tuple(found)


def _reasons(benches: list[Bench], parts: Parts) -> tuple[tuple[Reason, ...], tuple[Checked, ...]]:
    """The essences of all classes, out of what was trained on where that is given; those that are wrong, silenced."""
    essence, held = benches[-1], benches[0] if len(benches) > 1 else None
    limits = essence.limits
    found = reasons(essence.seen, None if held is None else held.seen, limits)
    wrong: dict[int, list[int]] = {}
    for one in found:
        if one.why(limits, len(found)):
            wrong.setdefault(one.index, []).append(one.unit)
    checked = [
        parts.once(f"reasons-{k}", Checked, partial(check, essence, held, k, tuple(units)))
        for k, units in wrong.items()
    ]
    return found, tuple(checked)


def _answers(seen: Seen) -> Answers:
    return Answers(
        seen.names, tuple(seen.label.tolist()), tuple(seen.said.tolist()), tuple(seen.probability.tolist())
    )  # fmt: skip


def _cut(net: Net, at: Cut | str | None, data: Dataset) -> Cut:
    """The units that are asked; the middle of a net is looked for with a first sample."""
    text, left_out = at.text if isinstance(at, Cut) else at, LeftOut()
    if text is not None or net.layer is not None:
        cuts = units_at(net, text, torch.empty(0))
        if len(cuts) > 1:
            raise QuestionError(f"at={text!r}: one layer at a time, at={cuts[0].text!r}.")
        return cuts[0]
    first = next(known_source(data.source).samples(net, 1, left_out), None)
    if first is None:
        why = f": {spell_left_out(left_out)}" if left_out else "."
        raise InputError(f"{data.source!r} gave no sample{why}")
    return units_at(net, None, net.placed(first.x[:1]))[0]
