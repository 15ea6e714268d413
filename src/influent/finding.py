"""One thing that is wrong with a net, and how that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NEVER, LITTLE, FEW = "never said", "little recall", "too few samples"
NOT_LEARNED, DROWNING, HELD_DOWN, UNDECIDED = "not learned", "drowning", "held down", "undecided"
PREPROCESSING, CONFUSED, MISTAKES, WRONG_REASON = "preprocessing", "confusion", "mistakes", "wrong reason"
KINDS = (
    NEVER, LITTLE, FEW, NOT_LEARNED, DROWNING, HELD_DOWN, UNDECIDED, PREPROCESSING, CONFUSED, MISTAKES, WRONG_REASON,
)  # fmt: skip


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


def many(count: int, word: str) -> str:
    """`1 unit`, `3 units`."""
    return f"{count} {word}{'s' * (count != 1)}"


def few(units: Sequence[int]) -> str:
    """The first five, as text."""
    return ", ".join(map(str, units[:5])) + (", …" if len(units) > 5 else "")
