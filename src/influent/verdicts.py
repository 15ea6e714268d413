"""What is said of a net: the findings that follow from a report's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from .confusion import ClassRate, Confusion
from .drowning import Tried
from .finding import (
    CONFUSED,
    DROWNING,
    FEW,
    HELD_DOWN,
    LITTLE,
    MISTAKES,
    NEVER,
    NOT_LEARNED,
    PREPROCESSING,
    UNDECIDED,
    WRONG_REASON,
    Finding,
    few,
    many,
)  # fmt: skip
from .mistakes import Mistakes, Puller
from .reasons import Checked, Reason
from .report import Report
from .suspects import Suspect


def findings_of(report: Report) -> tuple[Finding, ...]:
    """All findings: classes in their order, each with its causes; then confusions, mistakes and wrong reasons."""
    tried = {one.index: one for one in report.tried}
    found: list[Finding] = []
    for rate in report.rates:
        found += of_class(report, rate, tried.get(rate.index))
        found += of_steps(report, [one for one in report.suspects if one.index == rate.index])
    sure = report.limits.confused
    found += [of_confusion(report, pair) for pair in report.confusions if pair.low > sure]
    found += [of_mistakes(report, one) for one in report.mistakes if one.pair.low > sure]
    for checked in report.checked:
        found += of_reasons(report, checked)
    return tuple(found)


def of_class(report: Report, rate: ClassRate, tried: Tried | None) -> Iterator[Finding]:
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
    statistic = f"recall less false alarms on {other}, of {many(len(tried.units), 'unit')} alone"
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
        f"Mann and Whitney's test p = {tried.score_p:.2g}, on {tried.scored[0]} and {tried.scored[1]} samples",
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
        f"{many(len(quiet.units), 'unit')} of {report.name(tried.instead)} ({few(quiet.units)}) fire on the same "
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


def of_confusion(report: Report, pair: Confusion) -> Finding:
    """A class that is often taken for another."""
    true, said = report.name(pair.true), report.name(pair.said)
    return Finding(
        CONFUSED, report.spell_pair(pair), f"{pair.count} of {pair.of} samples of {true} are said to be {said}.",
        "share of the class", pair.count / pair.of, report.limits.confused,
        f"Wilson's 95 % interval is {pair.low:.1%} to {pair.high:.1%}, and all of it is above",
        "Sure: at that share of mistakes as many would be seen in about 2.5 % of such data.",
        "See which units say it, and on which samples; are the labels of these right?",
    )  # fmt: skip


def of_mistakes(report: Report, found: Mistakes) -> Finding:
    """The units behind a confusion, and its causes."""
    pair, groups = found.pair, found.groups
    told = [f"{len(group.names)} by {spell_units(group.units)}, such as {group.names[0]}" for group in groups[:3]]
    said = "; ".join([*told, f"{found.alone} like no other"])
    return Finding(
        MISTAKES, report.spell_pair(pair), f"Of {found.looked} mistakes, in {many(len(groups), 'group')}: {said}.",
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


def of_steps(report: Report, suspects: list[Suspect]) -> Iterator[Finding]:
    """Steps of the preprocessing that take away what a class is known by, each with its strongest change."""
    limits, steps = report.limits, dict.fromkeys(one.step for one in suspects)
    for step in steps:
        tried = [one for one in suspects if one.step == step]
        spoils = [one for one in tried if one.spoils(limits)]
        hides = [one for one in tried if one.hides(limits)]
        if spoils:
            yield _spoilt(report, max(spoils, key=lambda one: one.found))
        elif hides:
            yield _hidden(report, max(hides, key=lambda one: one.gain), len(suspects))


def _spoilt(report: Report, one: Suspect) -> Finding:
    name = report.name(one.index)
    return Finding(
        PREPROCESSING, name, f"With {one.step} {one.change}, {one.found} of {one.count} samples of {name} are said to "
        f"be {name}, and {one.before} with it as it is.", "share found, more than as it is",
        (one.found - one.before) / one.count, report.limits.apart,
        f"McNemar's exact test p = {one.p:.2g}, held against {one.level:.2g}",
        f"Sure: the net knows {name}, and {one.step} keeps it from seeing it.",
        f"Use the net without {one.step}, or with less of it.",
    )  # fmt: skip


def _hidden(report: Report, one: Suspect, changes: int) -> Finding:
    name, rival = report.name(one.index), report.name(one.rival)
    return Finding(
        PREPROCESSING, name, f"With {one.step} {one.change}, a linear readout of the net's own units tells {name} from "
        f"{rival} in {one.readout:.0%} of pairs; as it is, in {one.readout_before:.0%}.", "gain in AUROC", one.gain,
        report.limits.regained, f"DeLong's interval {one.low:.2f} to {one.high:.2f}, which holds for all "
        f"{many(changes, 'change')} at once; readouts are tried on samples that they were not fitted to",
        f"Sure that {one.step} takes away what tells the two apart; what a net would learn without it is not shown.",
        f"Train again without {one.step}, and compare the two reports: influent debug ... --against THIS_RESULT.",
    )  # fmt: skip


def of_reasons(report: Report, checked: Checked) -> Iterator[Finding]:
    """Why units of a class's essence are a wrong reason, a finding for each kind of why."""
    limits, name = report.limits, report.name(checked.index)
    own = [one for one in report.reasons if one.index == checked.index and one.unit in checked.units]
    tests = len(report.reasons)
    for why in dict.fromkeys(w for one in own for w in one.why(limits, tests)):
        units = [one for one in own if why in one.why(limits, tests)]
        worst = max(units, key=_STATISTIC[why])
        said = f"{many(len(units), 'unit')} of {name}'s essence ({few([one.unit for one in units])})"
        statistic, value, threshold, seen, calibration = _why(report, worst, why, units, tests)
        yield Finding(
            WRONG_REASON, f"{name}, {why}", f"{said} {seen} {_silenced(name, checked)}", statistic, value, threshold,
            calibration,
            "Sure that the evidence is there; whether that is a wrong reason is yours to say: look at the samples.",
            f"Look at the samples that fire them most, {', '.join(worst.names[:2])}: is what these units see a part of "
            f"{name}? If not, take it out of the training data, or vary it there.",
        )  # fmt: skip


_STATISTIC: dict[str, Callable[[Reason], float]] = {
    "training alone": lambda one: one.shifted, "few samples": lambda one: one.few,
    "beside the object": lambda one: one.outside,
}  # fmt: skip


def _why(report: Report, one: Reason, why: str, units: list[Reason], tests: int) -> tuple[str, float, float, str, str]:
    """Statistic, value, threshold, what was seen, and how it is held against chance."""
    limits, share = report.limits, sum(u.share for u in units)
    if why == "training alone":
        gone = sum(u.gone * u.share for u in units) / share
        test = (
            f"Mann and Whitney's test p = {one.p:.2g}, on {one.count} and {one.held} samples; {tests} units were "
            f"tested, and p is to be below {limits.level:g} / {tests}"
        )
        return (
            "AUROC of evidence, training against held out", one.shifted, limits.shifted,
            f"carry {share:.0%} of its evidence in training, and lose {gone:.0%} of that on held-out samples.",
            test,
        )  # fmt: skip
    if why == "few samples":
        return (
            "share of evidence on a tenth of the samples", one.few, limits.few,
            f"have much of their evidence on a tenth of the {one.count} samples, unit {one.unit} {one.few:.0%} of it.",
            "not tested: a unit that says the same of all samples has a tenth of it there",
        )  # fmt: skip
    return (
        "share of evidence beside the object", one.outside, limits.outside,
        f"look beside the object, unit {one.unit} with {one.outside:.0%} of its evidence (picture: {one.beside:.0%}).",
        "not tested: evidence that lies anywhere alike has the share of the picture that is there",
    )  # fmt: skip


def _silenced(name: str, checked: Checked) -> str:
    """What becomes of the class without these units."""
    said = (
        f"With these silenced, {checked.without.hits} of {checked.without.count} samples are said to be {name}, and "
        f"{checked.as_is.hits} as it is"
    )
    if checked.held_without is None or checked.held_as_is is None:
        return said + "."
    held = checked.held_without
    return f"{said}; held out {held.hits} of {held.count}, and {checked.held_as_is.hits} as it is."
