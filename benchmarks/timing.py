"""Times of jobs that do the same work, interleaved, and their ratios inside each round."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """A job's time divided by another's, round by round."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(job: list[float], base: list[float]) -> Ratio:
        """The ratios of two columns of times."""
        rounds = [a / b for a, b in zip(job, base, strict=True)]
        return Ratio(statistics.median(rounds), min(rounds), max(rounds))

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}-{self.high:.2f}]"


def interleaved(jobs: Mapping[str, Callable[[], object]], rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Seconds of each job in each round; the first round of all warms up and is thrown away.

    The order is drawn anew in each round (seed 0), so that no job always follows the same other.
    """
    dice, order = random.Random(0), list(jobs)
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for k in range(rounds + 1):
        dice.shuffle(order)
        for name in order:
            started = clock()
            jobs[name]()
            if k:
                times[name].append(clock() - started)
    return times


def clock_for(threads: int) -> Clock:
    """CPU time of this process with one thread (other processes do not count), else the clock on the wall."""
    return time.process_time if threads == 1 else time.perf_counter
