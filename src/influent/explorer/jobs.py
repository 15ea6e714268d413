"""One queue of jobs, fair between visitors, in front of one worker process that may die without harm.

A job is done in steps. Whoever has waited longest has the next step, so that a long job of one visitor holds up the
others by a step and no more. A job whose visitor has left is dropped, in the midst of a step.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from influent.errors import InfluentError

from .plan import Event, Plan

Tell = Callable[[Event], None]
PATIENCE = 60.0
"""Seconds that a step may go on after its visitor has left, before the worker is replaced."""


class FullError(InfluentError):
    """There are as many jobs as the queue holds."""


class DiedError(Exception):
    """The worker process has ended in the midst of a step."""


class StartError(InfluentError):
    """The worker could not begin: what it says is for whoever started the server."""


@dataclass(eq=False)
class Job:
    """One question of one visitor; `tell` takes what the worker says of it, from any thread."""

    number: int
    visitor: str
    ask: Any
    tell: Tell
    begun: bool = False
    left: float | None = None
    steps: int = 0
    asked: float = field(default_factory=time.monotonic)


def _work(plan: Plan, pipe: Any, stop: Any) -> None:
    """The other process: torch is loaded there alone."""
    from .worker import work

    work(plan, pipe, stop)


class Worker:
    """The worker process, seen from the server: it is started, steps, and is started again where it has died."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.context = plan, multiprocessing.get_context("spawn")
        self.process: Any = None
        self.pipe: Any = None
        self.stop: Any = self.context.Value("q", -1)

    def start(self) -> Event:
        """Start it and wait until the net is there; what it tells about itself. Errors: `StartError`."""
        self.pipe, theirs = self.context.Pipe()
        self.stop.value = -1
        self.process = self.context.Process(target=_work, args=(self.plan, theirs, self.stop), daemon=True)
        self.process.start()
        theirs.close()
        try:
            word, said = self.pipe.recv()
        except (EOFError, OSError):
            raise StartError(f"The net's process ended before it was ready{self._why()}.") from None
        if word == "failed":
            raise StartError(said)
        return dict(said)

    def step(self, job: Job) -> bool:
        """One step of a job; whether there is more to do. Errors: `DiedError`."""
        try:
            self.pipe.send(("step", job.number, None if job.begun else job.ask))
            job.begun, job.steps = True, job.steps + 1
            while True:
                while not self.pipe.poll(0.5):
                    self._hurry(job)
                word, said = self.pipe.recv()
                if word == "stepped":
                    return bool(said)
                job.tell(said)
        except (EOFError, OSError):
            raise DiedError(self._why()) from None

    def drop(self, job: Job) -> None:
        """Forget a job that was begun. Errors: `DiedError`."""
        try:
            self.pipe.send(("drop", job.number, None))
        except OSError:
            raise DiedError(self._why()) from None

    def leave(self, job: Job) -> None:
        """Stop the step that this job is in, if it is in one."""
        self.stop.value = job.number

    def end(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join(10)
            self.pipe.close()

    def _hurry(self, job: Job) -> None:
        if not self.process.is_alive():
            raise EOFError
        if job.left is not None:
            self.stop.value = job.number  # again: that of another job may have come between
            if time.monotonic() - job.left > PATIENCE:
                self.process.kill()

    def _why(self) -> str:
        self.process.join(10)
        code = self.process.exitcode
        return "" if code is None else f" (signal {-code})" if code < 0 else f" (exit code {code})"


class Jobs:
    """The queue: at most `most` jobs, and `each` of one visitor, those included whose answer is still being sent."""

    def __init__(self, worker: Worker, most: int = 64, each: int = 6) -> None:
        self.worker, self.most, self.each = worker, most, each
        self.turns: OrderedDict[str, deque[Job]] = OrderedDict()
        self.open: dict[int, Job] = {}
        self.numbers = 0
        self.changed = threading.Condition()
        self.closed = False
        self.restarts = 0
        self.thread = threading.Thread(target=self._run, name="influent jobs", daemon=True)

    def start(self) -> Event:
        """Start the worker, then the queue; what the worker tells about itself. Errors: `StartError`."""
        about = self.worker.start()
        self.thread.start()
        return about

    def put(self, visitor: str, ask: Any, tell: Tell) -> Job:
        """A job at the end of its visitor's line. Errors: `FullError`."""
        with self.changed:
            own = sum(job.visitor == visitor for job in self.open.values())
            if own >= self.each:
                raise FullError(f"{own} of your questions are still being answered: wait for one, or cancel one.")
            if len(self.open) >= self.most:
                raise FullError(
                    f"{len(self.open)} questions are waiting, and that is all there is room for. Try later."
                )
            self.numbers += 1
            job = Job(self.numbers, visitor, ask, tell)
            self.open[job.number] = job
            waiting = len(self.turns)
            self.turns.setdefault(visitor, deque()).append(job)
            self.changed.notify()
        if waiting:
            tell({"event": "waiting", "before": waiting})
        return job

    def leave(self, job: Job) -> None:
        """The visitor of a job is gone, or has all of its answer."""
        with self.changed:
            self.open.pop(job.number, None)
            job.left = time.monotonic()
            self.worker.leave(job)
            self.changed.notify()

    def close(self) -> None:
        """End the queue and the worker."""
        with self.changed:
            self.closed = True
            self.changed.notify()
        self.worker.end()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                if job.left is None:
                    more = self.worker.step(job)
                else:
                    more = False
                    if job.begun:
                        self.worker.drop(job)
            except DiedError as error:
                self._again(job, str(error))
                continue
            if not more:
                self._done(job)

    def _next(self) -> Job | None:
        """The job that has the next step; its visitor goes to the end of the line. None at the end of all."""
        with self.changed:
            while not self.turns and not self.closed:
                self.changed.wait()
            if self.closed:
                return None
            visitor, line = next(iter(self.turns.items()))
            self.turns.move_to_end(visitor)
            return line[0]

    def _done(self, job: Job) -> None:
        with self.changed:
            line = self.turns[job.visitor]
            line.remove(job)
            if not line:
                del self.turns[job.visitor]
        job.tell({"event": "done"})

    def _again(self, at_fault: Job, why: str) -> None:
        """The worker has died: jobs that were begun are lost and told so, the others wait for the next worker."""
        if self.closed:
            return
        with self.changed:
            lost = [job for line in self.turns.values() for job in line if job.begun or job is at_fault]
        for job in lost:
            own = "while it worked on this question" if job is at_fault else "on another question"
            job.tell({"event": "error", "message": f"The net's process ended{why} {own}. It starts again: ask again."})
            self._done(job)
        self.restarts += 1
        with contextlib.suppress(StartError):
            self.worker.start()
