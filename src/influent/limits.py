"""The thresholds of a debugging report, each with a name."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import QuestionError

_SHARES = (
    "little", "confused", "apart", "missed", "ranked", "level", "alike", "regained", "shifted", "gone", "few",
    "outside",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """The thresholds of a diagnosis, and how much is looked at; docs/why/023 and 024 say what each decides.

    - `little`: a class is in doubt where its recall is below, with the whole of its 95 % interval;
    - `confused`: a pair is a confusion where more of a class is taken for another, with the whole of the interval;
    - `apart`: units find a class where they say it so much more often of it than of its rival, by `level`;
    - `missed`: units do not find it where that difference is below, with the whole of its interval;
    - `ranked`: its score tells it from its rival where this share of pairs is in order (AUROC), by `level`;
    - `alike`: mistakes are one group down to this mean cosine;
    - `regained`: a step of the preprocessing is a suspect where a linear readout of the net's units tells the class
      from its rival by so much more AUROC without it, by `level`;
    - `essence`: units of a class's essence that are looked at; a reason is wrong where the evidence of one of them is
      higher in training than in held-out data in a share `shifted` of pairs (AUROC), and a share `gone` of it is gone;
      where a tenth of the samples carries a share `few` of it; or where a share `outside` of it lies outside of the
      objects;
    - `least`: samples of a class below which nothing is said of it; `most`: how many of each class a half looks at;
    - `draws`: lots of random units; `pairs`: confusions that are explained.

    Errors: `QuestionError` for numbers outside their ranges.

    >>> Limits(little=0.1).least
    20
    """

    little: float = 0.25
    confused: float = 0.2
    apart: float = 0.25
    missed: float = 0.5
    ranked: float = 0.75
    level: float = 0.05
    alike: float = 0.5
    regained: float = 0.1
    shifted: float = 0.9
    gone: float = 0.5
    few: float = 0.5
    outside: float = 0.75
    least: int = 20
    most: int = 200
    draws: int = 99
    pairs: int = 3
    essence: int = 5

    def __post_init__(self) -> None:
        for name in _SHARES:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < 1:
                raise QuestionError(f"{name}={value!r}: give a share above 0 and below 1, {name}=0.25.")
        for name, lowest in (("least", 4), ("most", 2), ("draws", 1), ("pairs", 0), ("essence", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise QuestionError(f"{name}={value!r}: give a whole number, {lowest} or more.")
