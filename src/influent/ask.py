"""The verb: χ( f ; at, of, over ) = E_{p ~ over} [ measure( ∂ of / ∂ at )(p) ]."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .attribution import NOT_FULL, Attribution, Examples, Gap, Question
from .cut import Cut, as_cut
from .distribution import Distribution
from .errors import QuestionError
from .ledger import SHARD, Ledger, identity
from .measures import Ruled, by_rule, contribution, gradient, rule_of
from .nets import Net, as_net
from .probe import Cost
from .quantities import Classes
from .quantity import Quantity, as_quantity
from .stream import Stream
from .sweep import Job, Measure, Sweep, check_result

Part = Sweep | Stream


def influence(
    net: Net | nn.Module,
    at: Cut | str | Sequence[Cut | str],
    of: Quantity | Classes | Callable[[Tensor], Tensor] | Sequence[Any],
    over: Distribution,
    measure: Measure | Sequence[Measure] = gradient,
    *,
    chunk: int = 16,
    progress: Callable[[int], None] | None = None,
    ledger: str | os.PathLike[str] | None = None,
    shard: int = SHARD,
) -> Any:
    """χ(f; at, of, over) = E_{p ~ over} [measure(∂ of / ∂ at)(p)], the influence of units on a behaviour.

    - `at`: which units, a cut: `"inception_4c"`, `"inception_4c/channel"`, `INPUT`;
    - `of`: which behaviour, a quantity or a function `[point, *y] → [point]`;
    - `over`: over which inputs, a distribution;
    - `measure`: counted how, a function of `Evidence`.

    Returns an `Attribution`, `values [instance, *unit]` in units of `of` (per unit of `at`, for `gradient`). Where
    `at`, `of` or `measure` is a list, nested dictionaries in that order, keyed by the words of the lists, all out of
    one sweep (one for each backward rule that the measures name). `chunk` is points per pass: it changes memory and
    time, never the result (an adaptive line runs `chunk // 8` inputs side by side); `progress` is called with the
    number of points that each pass has run.

    Over a `Dataset` the rows are its classes (or what `by` says), with `stderr` and `count`; `left_out` names samples
    that could not be read. `ledger` is a folder in which partial results are kept, of `shard` blocks of samples each:
    what is known there is not computed again, and what belongs to another question, net or data is refused.

    Errors: `QuestionError`, `CutError`, `NetError`, `InputError`, `StoreError`, each with what to type instead.
    Source: Leino et al. 2018, Eq 1 and 2; with `contribution`, Dhamdhere et al. 2018, Eq 1 to 3.

    >>> linear = nn.Linear(3, 2, bias=False).eval()
    >>> a = influence(linear, at="INPUT", of=Class(1), over=Point(torch.zeros(1, 3)))
    >>> bool((a.values[0] == linear.weight[1]).all())
    True
    """
    ask = prepared(net, at, of, over, measure, chunk, progress, ledger, shard)
    jobs, cuts, words, measures = ask.jobs, ask.cuts, ask.words, ask.measures
    sweeps = {rule: _run(job, over, chunk, progress or (lambda points: None), ask.ledger) for rule, job in jobs.items()}

    def answer(c: int, o: int, m: int) -> Attribution:
        first = sum(len(w.quantities) if isinstance(w, Classes) else 1 for w in words[:o])
        question, rule = Question(cuts[c], words[o], over, measures[m]), rule_of(measures[m])
        return _attribution(jobs[rule], sweeps[rule], question, first, len(by_rule(measures[:m]).get(rule, [])))

    def by_measure(c: int, o: int) -> Any:
        return _nested(measure, _listed(measure, "measure"), lambda m: answer(c, o, m))

    return _nested(at, _listed(at, "at"), lambda c: _nested(of, _listed(of, "of"), lambda o: by_measure(c, o)))


@dataclass(frozen=True)
class Asked:
    """A question whose words have been looked at: its cuts, quantities and measures, a job for each backward rule."""

    cuts: tuple[Cut, ...]
    words: tuple[Quantity | Classes, ...]
    measures: tuple[Measure, ...]
    jobs: dict[Any, Job]
    ledger: Ledger | None


def prepared(
    net: Net | nn.Module, at: Any, of: Any, over: Distribution, measure: Any, chunk: int,
    progress: Callable[[int], None] | None, ledger: str | os.PathLike[str] | None, shard: int,
) -> Asked:  # fmt: skip
    """The words of a question, checked before anything is run. Errors as `influence`."""
    net = as_net(net)
    if not isinstance(over, Distribution):
        raise QuestionError(f"over= is a {type(over).__name__}, not a distribution. For one input: over=Point(x).")
    check_chunk(chunk)
    check_progress(progress)
    if not isinstance(shard, int) or isinstance(shard, bool) or shard < 1:
        raise QuestionError(f"shard={shard!r}: give the number of blocks of a part that is kept, 1 or more.")
    ats, ofs, measures = _listed(at, "at"), _listed(of, "of"), _listed(measure, "measure")
    for m in measures:
        if not callable(m):
            raise QuestionError(
                f"measure={m!r} is no measure. Type inf.gradient, inf.contribution, or a function of Evidence."
            )
    words = tuple(o if isinstance(o, Classes) else as_quantity(o) for o in ofs)
    columns = [q for o in words for q in (o.quantities if isinstance(o, Classes) else (o,))]
    cuts, bound = tuple(map(as_cut, ats)), tuple(q.bind(net) for q in columns)
    jobs = {rule: Job(net, cuts, bound, tuple(group)) for rule, group in by_rule(measures).items()}
    known = None
    if ledger is not None:
        if len(jobs) > 1:
            raise QuestionError("A ledger keeps what one sweep gives, and these measures take a sweep for each rule.")
        if len(over.parts) > 1 or over.parts[0][1].data is None:
            raise QuestionError(
                "A ledger keeps the blocks of one data set: over=Dataset(folder), or a path or ball on it."
            )
        questions = [Question(c, w, over, m) for c in cuts for w in words for m in measures]
        known = Ledger(Path(ledger), identity(questions, net, chunk), shard)
    return Asked(cuts, words, tuple(measures), jobs, known)


def check_chunk(chunk: int) -> None:
    """Refuse what is no number of points."""
    if not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1:
        raise QuestionError(f"chunk={chunk!r}: give the number of points per pass, 1 or more.")


def check_progress(progress: Callable[[int], None] | None) -> None:
    """Refuse what cannot be told how many points have been run."""
    if progress is not None and not callable(progress):
        raise QuestionError(
            f"progress={progress!r}: give a function that takes the number of points just run: bar.update."
        )


def _listed(word: Any, name: str) -> list[Any]:
    items = list(word) if isinstance(word, list | tuple) else [word]
    if not items:
        raise QuestionError(f"{name}=[] is empty: there is nothing to explain.")
    return items


def _nested(word: Any, items: list[Any], make: Callable[[int], Any]) -> Any:
    """One answer for a single word; for a list, a dictionary keyed by its items."""
    if not isinstance(word, list | tuple):
        return make(0)
    return {item: make(k) for k, item in enumerate(items)}


def _run(
    job: Job, over: Distribution, chunk: int, progress: Callable[[int], None], ledger: Ledger | None
) -> list[tuple[float, Part]]:  # fmt: skip
    total = sum(weight for weight, _ in over.parts)
    elementary = [
        (weight * own / total, one)
        for weight, part in over.parts
        for own, one in ([(1.0, part)] if part.data is not None else part.resolve(job.net).parts)
    ]
    parts: list[tuple[float, Part]] = [
        (weight, Sweep(job, one, chunk, progress).run())
        if one.data is None
        else (weight, Stream(job, one, chunk, progress, ledger=ledger).run())
        for weight, one in elementary
    ]
    rows = list(dict.fromkeys(part.names for _, part in parts))
    if len(rows) > 1:
        sizes = sorted({len(names) for names in rows})
        if len(sizes) == 1:
            raise QuestionError(f"The parts of a mixture have the rows {rows[0]} and {rows[1]}. Give each the same.")
        raise QuestionError(f"The parts of a mixture have {sizes} inputs. Give each part the same number.")
    return parts


def _attribution(job: Job, parts: list[tuple[float, Part]], question: Question, first: int, m: int) -> Attribution:
    """The answer to one question, from the columns that belong to it."""
    stacked = isinstance(question.of, Classes)
    columns = range(first, first + (len(question.of.quantities) if isinstance(question.of, Classes) else 1))
    cut = question.at

    def gather(one: Callable[[Part, int], Tensor]) -> Tensor:
        """Σ over the mixture's parts; one column, or all stacked as dimension 1."""
        found = [sum((w * one(sweep, q) for w, sweep in parts[1:]), parts[0][0] * one(parts[0][1], q)) for q in columns]
        return torch.stack(found, dim=1) if stacked else found[0]

    values = gather(lambda sweep, q: sweep.tallies[cut, q, m].mean())
    check_result(values, job.net, f"The influence of {cut.text}")
    sweeps = [sweep for _, sweep in parts]
    sampled = all(sweep.sampled for sweep in sweeps)
    gap, note = _gap(gather, sweeps, question, columns, values)
    residual = None
    if gap is not None and not any(s.over.exact for s in sweeps):
        residual = gather(lambda sweep, q: sweep.residual[cut, q])
    return Attribution(
        values=values,
        question=question,
        instances=sweeps[0].names,
        axes=sweeps[0].axes[cut],
        gap=gap,
        note=note,
        residual=residual,
        stderr=_stderr(parts, cut, columns, m, stacked) if sampled else None,
        count=torch.stack([s.tallies[cut, first, m].count for s in sweeps]).sum(0) if sampled else None,
        cost=Cost(sum(s.cost.forward for s in sweeps), sum(s.cost.backward for s in sweeps)),
        velocity=_velocity(sweeps, question),
        net=job.net,
        examples=_examples(sweeps, cut, first, m) if not stacked else None,
        left_out={name: why for s in sweeps if isinstance(s, Stream) for name, why in s.partial.left_out.items()},
    )


def _examples(sweeps: list[Part], cut: Cut, q: int, m: int) -> Examples | None:
    """The samples of largest magnitude for each unit, where one data set kept them."""
    if len(sweeps) != 1 or not isinstance(sweeps[0], Stream) or not sweeps[0].data.examples:
        return None
    rows = sweeps[0].tallies[cut, q, m].rows
    best = [(row.best, row.best_values) for row in rows if row.best is not None and row.best_values is not None]
    return Examples(
        torch.stack([index for index, _ in best]), torch.stack([v for _, v in best]), sweeps[0].partial.names
    )


def _gap(
    gather: Callable[..., Tensor], sweeps: list[Part], question: Question, columns: range, values: Tensor
) -> tuple[Gap | None, str]:
    """Completeness, where it applies, and why not where it does not."""
    if isinstance(question.measure, Ruled):
        return None, f"slopes by the rule {question.measure.rule!r}, which are no gradients: they have no gap"
    if question.measure is not contribution:
        return None, ""
    if any(sweep.over.exact and set(sweep.job.flowing) & set(columns) for sweep in sweeps):
        return None, "an exact velocity gives the units' own sum: ask for their total conductance beside it"
    if not all(sweep.full.get((question.at, q)) for sweep in sweeps for q in columns):
        return None, NOT_FULL
    change = gather(lambda sweep, q: sweep.change[:, q])
    units = values.double().cpu() if values.device.type != "mps" else values.cpu().double()
    return Gap(units.flatten(change.dim()).sum(-1) - change, change), ""


def _stderr(parts: list[tuple[float, Part]], cut: Cut, columns: range, m: int, stacked: bool) -> Tensor:
    found = []
    for q in columns:
        variances = [(w, sweep.tallies[cut, q, m].variance_of_mean()) for w, sweep in parts]
        total = torch.stack([w**2 * v for w, v in variances if v is not None]).sum(0)
        found.append(total.sqrt().to(parts[0][1].tallies[cut, q, m].dtype))
    return torch.stack(found, dim=1) if stacked else found[0]


def _velocity(sweeps: list[Part], question: Question) -> str:
    if question.measure is not contribution:
        return ""
    if all(s.over.place == question.at.place for s in sweeps):
        return "exact (the path's own)"
    return "exact (forward mode)" if all(s.over.exact for s in sweeps) else "secant"
