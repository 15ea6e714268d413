"""A debugging report: what is wrong with a net on labelled data, and all the numbers that this comes from."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from .comparison import SCHEMA, Answers, Comparison, Earlier, compared
from .confusion import ClassRate, Confusion
from .drowning import Tried
from .finding import Finding, many
from .limits import Limits
from .mistakes import Mistakes
from .reasons import Checked, Reason
from .samples import LeftOut
from .suspects import Suspect
from .trust import Trust

_LISTS = ("findings", "rates", "confusions", "tried", "mistakes", "suspects", "reasons", "checked")
_PARTS = ("trust", "answers", "against")


@dataclass(frozen=True, eq=False)
class Report:
    """What `debug` finds: `findings`, and the numbers that they come from. `str(report)` is all of it as text.

    - `confusion [class, class]`: how many samples of `classes` (rows) are said to be each (columns); `names` of them;
    - `rates`: the recall of each class with its interval; `confusions`: pairs of classes, most mistakes first;
    - `tried`: the classes in doubt, with their experts; `mistakes`: the worst confusions, by unit and in groups;
    - `suspects`: steps of the preprocessing left out or weakened, for the classes that are not learned;
    - `reasons`: the essence of each class, unit by unit, and where its evidence is; `checked`: wrong ones silenced;
    - `trust`: what rank agreement says of the answers; `answers`: those of every sample;
    - `against`: the report beside an earlier one; `limits`: the thresholds; `left_out`: samples that could not be read,
      with the reason; `net`: a name for the net.

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
    suspects: tuple[Suspect, ...] = ()
    reasons: tuple[Reason, ...] = ()
    checked: tuple[Checked, ...] = ()
    trust: Trust | None = None
    answers: Answers = field(default_factory=lambda: Answers((), (), (), ()))
    against: Comparison | None = None
    limits: Limits = field(default_factory=Limits)
    left_out: LeftOut = field(default_factory=dict)
    net: str = ""

    @property
    def accuracy(self) -> float:
        """The share of all samples of which the net says the right class."""
        return int(self.confusion.diagonal().sum()) / self.samples

    def name(self, index: int) -> str:
        """The name of a class."""
        return self.names[self.classes.index(index)]

    def beside(self, earlier: Report | Earlier) -> Report:
        """This report with `against`: what was repaired and what broke since an earlier one, on the same samples.

        Errors: `QuestionError` where no sample is in both.
        """
        if isinstance(earlier, Report):
            faults = tuple((f.kind, f.subject) for f in earlier.findings)
            earlier = Earlier(earlier.net or "the other net", earlier.answers, faults)
        names = dict(zip(self.classes, self.names, strict=True))
        return replace(self, against=compared(self.answers, self.findings, names, earlier))

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
        said += ["", many(len(self.findings), "finding") if self.findings else "no finding"]
        for finding in self.findings:
            said += ["", *str(finding).splitlines()]
        said += ["", *spell_trust(self.trust)] if self.trust is not None else []
        return said + (["", *self.against.lines] if self.against is not None else [])

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def json(self) -> str:
        """The report as JSON, every number of it; what is not known is null."""
        words = {"schema": SCHEMA} | {
            key: getattr(self, key) for key in ("classes", "names", "at", "samples", "accuracy", "left_out")
        }
        words |= {"net": self.net, "confusion": self.confusion.tolist()}
        words |= {key: [asdict(one) for one in getattr(self, key)] for key in _LISTS}
        words |= {key: one and asdict(one) for key in _PARTS for one in (getattr(self, key),)}
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


def spell_trust(trust: Trust) -> list[str]:
    """What rank agreement is worth here, and the answers that it makes suspicious."""
    if math.isnan(trust.area):
        return [f"rank agreement: {trust.right} right answers and {trust.wrong} wrong ones, nothing to compare"]
    first = (
        f"rank agreement is higher for right answers than for wrong ones in {trust.area:.0%} of pairs "
        f"({trust.low:.0%} to {trust.high:.0%}), the probability in {trust.by_probability:.0%}"
    )
    return [
        first,
        *(f"  right, agrees least: {one.name}, {one.agreement:+.2f}" for one in trust.least[:3]),
        *(f"  wrong, agrees most: {one.name}, {one.agreement:+.2f}" for one in trust.most[:3]),
    ]
