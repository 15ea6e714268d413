"""The worker process: it holds the net, and does one step of one job when it is told to."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from influent.errors import InfluentError, InfluentWarning
from influent.tuning import tune_process

from .answers import why
from .asks import Gallery, Name, Off, OneClass, OneUnit, Why
from .classes import class_page, experts
from .desk import Desk
from .plan import Event, Plan, Sent
from .switch import export, off
from .units import rename, unit_page

OFTEN = 0.2
"""Seconds between two reports of progress."""


class CancelledError(BaseException):
    """The visitor has left: no error of anybody's, and nothing that a handler of errors should catch."""


class Reporter:
    """What a job tells while it is at work: how far it is; and where it learns that nobody waits for it."""

    def __init__(self, pipe: Any, stop: Any) -> None:
        self.pipe, self.stop = pipe, stop
        self.job, self.done, self.last = 0, 0, 0.0  # jobs count from 1

    def begin(self, job: int) -> None:
        """A step of a job."""
        self.job, self.done = job, 0

    def __call__(self, points: int) -> None:
        self.done += points
        if self.stop.value == self.job:
            raise CancelledError
        if self.job and time.monotonic() - self.last > OFTEN:
            self.last = time.monotonic()
            self.pipe.send(("event", {"event": "progress", "points": self.done}))


def work(plan: Plan, pipe: Any, stop: Any) -> None:
    """Load the net, say what it is, then step until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to hear
    tune_process()
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    report = Reporter(pipe, stop)
    try:
        desk = Desk.of(plan, report)
    except InfluentError as error:
        pipe.send(("failed", str(error)))
        return
    warm(desk)
    pipe.send(("ready", desk.about))
    running: dict[int, Iterator[Event]] = {}
    while True:
        try:
            word, number, ask = pipe.recv()
        except (EOFError, OSError):
            return
        if word == "drop":
            running.pop(number, None)
            continue
        if ask is not None:
            running[number] = answer(desk, ask)
        report.begin(number)
        try:
            more = step(running[number], pipe)
        except CancelledError:
            more = False
        if not more:
            del running[number]
        pipe.send(("stepped", more))


def warm(desk: Desk) -> None:
    """Run the net once as a first question does: what it sets up then, nobody waits for."""
    if desk.examples:
        with contextlib.suppress(Exception):  # a question that is asked tells what is wrong
            for _ in islice(why(desk, Why(kind="why", photo="example-0")), 3):
                pass


def answer(desk: Desk, ask: Any) -> Iterator[Event]:
    """The steps of a question, each with what it has to say."""
    match ask:
        case Sent():
            return desk.take(ask)
        case Why():
            return why(desk, ask)
        case OneUnit():
            return unit_page(desk, ask)
        case Name():
            return rename(desk, ask)
        case Off(kind="export"):
            return export(desk, ask)
        case Off():
            return off(desk, ask)
        case OneClass(kind="experts"):
            return experts(desk, ask)
        case OneClass():
            return class_page(desk, ask)
        case Gallery():
            return desk.gallery(ask)
    raise TypeError(type(ask).__name__)


def step(steps: Iterator[Event], pipe: Any) -> bool:
    """One step; whether there are more. What goes wrong is told, and ends the job."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InfluentWarning)
        try:
            event = next(steps, None)
        except InfluentError as error:
            event = {"event": "error", "message": str(error)}
        except Exception as error:
            traceback.print_exc()
            said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            event = {"event": "error", "message": f"Something inside failed: {said}. The server's terminal says where."}
    for warning in caught:
        if issubclass(warning.category, InfluentWarning):
            pipe.send(("event", {"event": "note", "message": str(warning.message)}))
        else:
            sys.stderr.write(f"note: {warning.message}\n")
    if event is not None:
        pipe.send(("event", event))
    return event is not None and event["event"] != "error"
