"""Why a model fails, from labelled data: which classes it hardly finds, whether it knows them, and what it mixes up."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .confusion import ClassRate, Confusion, class_rates, confusions, matrix, see
from .cut import Cut
from .dataset import Dataset
from .drowning import Bench, Limits, Tried, try_class
from .errors import InputError, QuestionError
from .mistakes import Mistakes, Puller, explain_mistakes
from .nets import Net, as_net
from .places import units_at
from .samples import LeftOut, known_source, spell_left_out

Progress = Callable[[int], None]
SCHEMA = 1
NEVER, LITTLE, FEW = "never said", "little recall", "too few samples"
NOT_LEARNED, DROWNING, HELD_DOWN, UNDECIDED = "not learned", "drowning", "held down", "undecided"
CONFUSED, MISTAKES = "confusion", "mistakes"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: of which `kind`, with what (`subject`), what was seen, and the number behind it.

    `statistic` names the number `value`, which stands against `threshold`; `calibration` says how that is held against
    chance, `sure` how sure it is, and `next` what to try.

    >>> print(Finding("never said", "cat", "0 of 40 are found.", "recall", 0, 0.25, "0 % to 9 %", "Sure.", "Look."))
    never said: cat
      0 of 40 are found.
      recall 0 (threshold 0.25; 0 % to 9 %)
      Sure.
      try: Look.
    """

    kind: str
    subject: str
    seen: str
    statistic: str
    value: float
    threshold: float
    calibration: str
    sure: str
    next: str

    def __str__(self) -> str:
        number = f"{self.statistic} {self.value:.3g} (threshold {self.threshold:.3g}; {self.calibration})"
        return f"{self.kind}: {self.subject}\n  {self.seen}\n  {number}\n  {self.sure}\n  try: {self.next}"


@dataclass(frozen=True, eq=False)
class Report:
    """What `debug` finds: `findings`, and the numbers that they come from. `str(report)` is all of it as text.

    - `confusion [class, class]`: how many samples of `classes` (rows) are said to be each (columns); `names` of them;
    - `rates`: the recall of each class with its interval; `confusions`: pairs of classes, most mistakes first;
    - `tried`: the classes in doubt, with their experts; `mistakes`: the worst confusions, by unit and in groups;
    - `limits`: the thresholds; `left_out`: samples that could not be read, with the reason.

    >>> print(Report((), torch.tensor([[9, 0], [0, 9]]), (0, 1), ("cat", "dog"), "0/channel", 18))
    18 samples of 2 classes, 100.0% right; units at 0/channel
    <BLANKLINE>
    no mistakes
    <BLANKLINE>
    no finding
    """

    findings: tuple[Finding, ...]
    confusion: Tensor
    classes: tuple[int, ...]
    names: tuple[str, ...]
    at: str
    samples: int
    rates: tuple[ClassRate, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    tried: tuple[Tried, ...] = ()
    mistakes: tuple[Mistakes, ...] = ()
    limits: Limits = field(default_factory=Limits)
    left_out: LeftOut = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """The share of all samples of which the net says the right class."""
        return int(self.confusion.diagonal().sum()) / self.samples

    def name(self, index: int) -> str:
        """The name of a class."""
        return self.names[self.classes.index(index)]

    def spell_pair(self, pair: Confusion) -> str:
        """A confusion by name: the true class, and what is said."""
        return f"{self.name(pair.true)} → {self.name(pair.said)}"

    @property
    def lines(self) -> list[str]:
        """The report as text, line by line."""
        weak = sorted(self.rates, key=lambda one: one.recall)[:5]
        count = int((self.confusion.sum(1) > 0).sum())
        said = [f"{self.samples} samples of {count} classes, {self.accuracy:.1%} right; units at {self.at}"]
        said += ["", "least recall (95 % interval)"] if weak else []
        said += [f"  {r.name}: {spell_recall(r)}, said {r.said} times" for r in weak]
        said += ["", "most mistakes"] if self.confusions else ["", "no mistakes"]
        said += [f"  {self.spell_pair(c)}: {c.count} of {c.of}" for c in self.confusions[:5]]
        said += ["", _many(len(self.findings), "finding") if self.findings else "no finding"]
        for finding in self.findings:
            said += ["", *str(finding).splitlines()]
        return said

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def json(self) -> str:
        """The report as JSON, every number of it; what is not known is null."""
        words = {"schema": SCHEMA} | {
            key: getattr(self, key) for key in ("classes", "names", "at", "samples", "accuracy", "left_out")
        }
        words["confusion"] = self.confusion.tolist()
        words |= {
            key: [asdict(one) for one in getattr(self, key)]
            for key in ("findings", "rates", "confusions", "tried", "mistakes")
        }
        return json.dumps(_known({**words, "limits": asdict(self.limits)}), indent=1, ensure_ascii=False) + "\n"


def spell_recall(rate: ClassRate) -> str:
    """A recall as text: `0 of 20, 0% (0% to 16%)`."""
    return f"{rate.found} of {rate.count}, {rate.recall:.0%} ({rate.low:.0%} to {rate.high:.0%})"


def _known(value: Any) -> Any:
    """The same with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _known(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def debug(
    net: Net | nn.Module, data: Any, at: Cut | str | None = None, *, limits: Limits | None = None, chunk: int = 64,
    progress: Progress | None = None, planned: Progress | None = None,
) -> Report:  # fmt: skip
    """Why a model fails on labelled data: classes that it never learned, experts that drown, mistakes by their cause.

    - `data`: a `Dataset`, or what one is made of: a folder of images by class, batches `(x, label)`;
    - `at`: the units that are asked, a cut with units (default: the net's own layer, or a middle one);
    - `limits`: the thresholds, `Limits`.

    Of a `Dataset` its samples count, each once; not its rows and weights.

    One pass over all data keeps of each sample what is said and its units, summed over positions; further passes look
    at some samples of the classes in doubt and of the worst confusions. `chunk` is points per pass; `progress` is
    called with the number of samples done, `planned` with the number that a further pass is going to take.
    Errors: as `see`, `influence` and `evaluate`. Source: Leino et al. 2018, section 3.4; docs/why/023.

    >>> linear = nn.Sequential(nn.Linear(2, 2, bias=False)).eval()
    >>> linear[0].weight.data = torch.eye(2)
    >>> report = debug(linear, [(torch.eye(2).repeat(20, 1), torch.arange(40) % 2)], at="0/channel")
    >>> report.findings, report.accuracy
    ((), 1.0)
    """
    net, limits = as_net(net), Limits() if limits is None else limits
    data = data if isinstance(data, Dataset) else Dataset(data)
    cut = _cut(net, at, data)
    seen = see(net, cut, data, chunk, progress)
    rates, pairs = class_rates(net, seen), confusions(seen)
    bench = Bench(net, cut, known_source(data.source), seen, limits, chunk, progress, planned)
    tried = {r.index: try_class(bench, r.index) for r in rates if r.high < limits.little and r.count >= limits.least}
    # A single mistake has no group, and is nothing that a net does.
    worst = tuple(explain_mistakes(bench, pair) for pair in pairs[: limits.pairs] if pair.count > 1)
    report = Report(
        (), matrix(seen), seen.classes, tuple(map(net.label, seen.classes)), cut.text, len(seen.label), rates, pairs,
        tuple(tried.values()), worst, limits, seen.left_out,
    )  # fmt: skip
    findings: list[Finding] = []
    for rate in rates:
        findings += _of_class(report, rate, tried.get(rate.index))
    findings += [_of_confusion(report, pair) for pair in pairs if pair.low > limits.confused]
    findings += [_of_mistakes(report, found) for found in worst if found.pair.low > limits.confused]
    return Report(**{**vars(report), "findings": tuple(findings)})


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


def _of_class(report: Report, rate: ClassRate, tried: Tried | None) -> Iterator[Finding]:
    """What there is to say of one class: that it is hardly found, and why."""
    limits, doubt = report.limits, rate.high < report.limits.little
    seen = f"{rate.found} of {rate.count} samples are said to be {rate.name}, which is said {rate.said} times in all."
    interval = f"Wilson's 95 % interval of the recall is {rate.low:.1%} to {rate.high:.1%}"
    if doubt:
        yield Finding(
            LITTLE if rate.said else NEVER, rate.name, seen, "recall", rate.recall, limits.little,
            f"{interval}; all of it is below, as for about 2.5 % of classes whose recall is the threshold",
            f"Sure: were its recall {limits.little:.0%}, so few hits would be seen in about 2.5 % of such data.",
            "Read why, below: whether any units know the class decides what helps.",
        )  # fmt: skip
    if rate.recall < limits.little and rate.count < limits.least:
        yield Finding(
            FEW, rate.name, f"{seen} That is too few samples to say why.", "samples", rate.count, limits.least,
            "half of them would choose units, and half try them", "No verdict.",
            f"Give {limits.least} samples of {rate.name} or more.",
        )  # fmt: skip
    if tried is not None:
        yield _verdict(report, rate, tried)


def _verdict(report: Report, rate: ClassRate, tried: Tried) -> Finding:
    """Not learned, drowning, held down, or undecided."""
    limits, told = report.limits, tried.relaxed
    other = report.name(tried.rival) if tried.rival is not None else "all others"
    if tried.ranks(limits) and not tried.finds(limits):
        return _held_down(report, rate, tried, other)
    if told is None:
        return Finding(
            NOT_LEARNED, rate.name, f"No unit at {report.at} has any influence on its score.", "units", 0, 1,
            "a gradient of exactly 0 for all samples", "Sure, at this layer.", _learn(rate.name),
        )  # fmt: skip
    low, high = told.interval
    calibration = (
        f"Fisher's exact test p = {told.p:.2g}, 95 % interval {low:.2f} to {high:.2f}, on {told.count} and "
        f"{told.others} samples that chose nothing; of {limits.draws} lots of as many units a share of "
        f"{tried.share_of_lot:.2f} do as well"
    )
    statistic = f"recall less false alarms on {other}, of {_many(len(tried.units), 'unit')} alone"
    found = (
        f"Alone, its best {len(tried.units)} of {tried.size} units say it of {told.hits} of {told.count} of its "
        f"samples and of {told.alarms} of {told.others} of {other}."
    )
    if tried.finds(limits):
        return Finding(
            DROWNING, rate.name, f"{found} {_outweighed(report, tried)}", statistic, told.apart, limits.apart,
            calibration, _drowning_sure(report, tried),
            "The net knows the class. Weigh it more in training (it may be "
            "rare there), lift its score, or use the expert: its units, or the net without those that outweigh it.",
        )  # fmt: skip
    if tried.misses(limits):
        return Finding(
            NOT_LEARNED, rate.name, f"{found} That tells the two apart no better than the limit.", statistic,
            told.apart, limits.apart, calibration,
            f"Sure that no such units tell more than {limits.missed:.2f} apart; another layer or other units may.",
            _learn(rate.name),
        )  # fmt: skip
    return Finding(
        UNDECIDED, rate.name, f"{found} Neither is sure: that units find it, or that none do.", statistic, told.apart,
        limits.apart, calibration, "Open.", f"Give more samples of {rate.name}, or ask at another layer.",
    )  # fmt: skip


def _held_down(report: Report, rate: ClassRate, tried: Tried, other: str) -> Finding:
    """The score knows the class, and no units alone say it."""
    instead = report.name(tried.instead)
    return Finding(
        HELD_DOWN, rate.name, f"Its score against that of {instead} is higher on its own samples than on those of "
        f"{other} in {tried.score:.0%} of pairs, but neither the net nor a few of its units alone say it.",
        "AUROC of the score", tried.score, report.limits.ranked,
        f"Mann and Whitney's test p = {tried.score_p:.2g}, on {tried.net.count} and {tried.net.others} samples",
        "Sure that the net tells the class apart; why its score is too low is not shown.",
        f"Lift its score (a bias against classes that were rare in training is usual), or weigh {rate.name} more.",
    )  # fmt: skip


def _learn(name: str) -> str:
    return (
        f"Look whether what makes {name} survives the preprocessing (blur, resize, crop, colour), at its labels, and "
        "at how many samples of it there were in training; ask at another layer."
    )


def _outweighed(report: Report, tried: Tried) -> str:
    """What competes with an expert, in words."""
    quiet = tried.silenced
    if quiet is None:
        return "No units were found that outweigh them: other causes, such as a bias, hold the class down."
    told = quiet.told
    return (
        f"{_many(len(quiet.units), 'unit')} of {report.name(tried.instead)} ({_few(quiet.units)}) fire on the same "
        f"samples, at {quiet.activity:.0%} of what they do on its own, and pull more on {quiet.outweighed} of "
        f"{quiet.lost} of those lost. Silenced, {told.hits} of {told.count} are found (before: {tried.net.hits}), at "
        f"{told.alarms} of {told.others} false alarms."
    )


def _drowning_sure(report: Report, tried: Tried) -> str:
    if tried.comes_back(report.limits) and tried.silenced is not None:
        return (
            "Sure: units find it, and with those that outweigh them silenced more of it is found; a share of "
            f"{tried.silenced.share_of_lot:.2f} of {report.limits.draws} lots of as many units bring as much back."
        )
    return "Likely: units find it, but silencing what outweighs them did not bring it back."


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _few(units: tuple[int, ...]) -> str:
    return ", ".join(map(str, units[:5])) + (", …" if len(units) > 5 else "")


def _of_confusion(report: Report, pair: Confusion) -> Finding:
    true, said = report.name(pair.true), report.name(pair.said)
    return Finding(
        CONFUSED, report.spell_pair(pair), f"{pair.count} of {pair.of} samples of {true} are said to be {said}.",
        "share of the class", pair.count / pair.of, report.limits.confused,
        f"Wilson's 95 % interval is {pair.low:.1%} to {pair.high:.1%}, and all of it is above",
        "Sure: at that share of mistakes as many would be seen in about 2.5 % of such data.",
        "See which units say it, and on which samples; are the labels of these right?",
    )  # fmt: skip


def _of_mistakes(report: Report, found: Mistakes) -> Finding:
    """The units behind a confusion, and its causes."""
    pair, groups = found.pair, found.groups
    told = [f"{len(group.names)} by {spell_units(group.units)}, such as {group.names[0]}" for group in groups[:3]]
    said = "; ".join([*told, f"{found.alone} like no other"])
    return Finding(
        MISTAKES, report.spell_pair(pair), f"Of {found.looked} mistakes, in {_many(len(groups), 'group')}: {said}.",
        "mean cosine in the largest group", groups[0].cosine if groups else math.nan, report.limits.alike,
        f"groups are joined down to the threshold; with units shuffled 5 % of pairs reach {found.chance:.2f}",
        "Shown, not tested: the mistakes of a group are alike by units; the cause is what these units see.",
        "Look at the samples of each group, and at what fires its units in others of which the net says "
        f"{report.name(pair.said)}.",
    )  # fmt: skip


def spell_units(units: tuple[Puller, ...]) -> str:
    """Units and their pull, as text; where else the first of them is as active."""
    if not units:
        return "no unit that pulls"
    named = ", ".join(f"{u.unit} ({u.pull:+.3g})" for u in units)
    return f"units {named}, {units[0].unit} as active in {units[0].elsewhere} of {units[0].others} others said so"
