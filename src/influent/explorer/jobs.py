"""One queue of jobs, fair between visitors, in front of one worker process that may die without harm.

A job is done in steps. Whoever has waited longest has the next step, so that a long job of one visitor holds up the
others by a step and no more. A job whose visitor has left is dropped, in the midst of a step.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
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
    tried: bool = False
    left: float | None = None


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
        # Without a lock: a process that is killed would take it along. One writes, and one reads a whole number.
        self.stop: Any = self.context.Value("q", -1, lock=False)

    def start(self) -> Event:
        """Start it and wait until the net is there; what it tells about itself. Errors: `StartError`."""
        self.pipe, theirs = self.context.Pipe()
        self.stop.value = -1
        try:
            self.process = self.context.Process(target=_work, args=(self.plan, theirs, self.stop), daemon=True)
            self.process.start()
            theirs.close()
            word, said = self.pipe.recv()
        except (EOFError, OSError) as error:
            why = self._why() or f": {error}"
            raise StartError(f"The net's process ended before it was ready{why}.") from None
        if word == "failed":
            raise StartError(said)
        return dict(said)

    def step(self, job: Job) -> bool:
        """One step of a job; whether there is more to do. Errors: `DiedError`."""
        ask, job.ask = job.ask, None
        heard = job.begun or job.tried
        try:
            self.pipe.send(("step", job.number, ask))
            job.begun = True
            while True:
                while not self.pipe.poll(0.5):
                    self._hurry(job)
                self._hurry(job)
                word, said = self.pipe.recv()
                heard = True
                if word == "stepped":
                    return bool(said)
                job.tell(said)
        except (EOFError, OSError):
            if not heard:  # it may have died long before: this question is asked once more
                job.ask, job.begun, job.tried = ask, False, True
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
        if self.process is None or self.process.pid is None:
            return ""
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
        self.now: Job | None = None
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
            waiting = len(self.turns.keys() - {visitor})
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
            if job is self.now:
                self.worker.leave(job)
            elif not job.begun:
                self._forget(job)
            self.changed.notify()

    def _forget(self, job: Job) -> None:
        line = self.turns.get(job.visitor)
        if line is not None and job in line:
            line.remove(job)
            if not line:
                del self.turns[job.visitor]

    def close(self) -> None:
        """End the queue and the worker."""
        with self.changed:
            self.closed = True
            self.changed.notify()
        self.worker.end()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._serve(job)
            except DiedError as error:
                self._again(job, str(error))
            except Exception as error:
                # Whatever it is, it is this job's: the others go on.
                traceback.print_exc()
                self._done(job, f"Something inside failed: {type(error).__name__}. The server's terminal says where.")

    def _serve(self, job: Job) -> None:
        """One step of a job; or the end of one whose visitor has left."""
        if job.left is None:
            if not self.worker.step(job):
                self._done(job)
            return
        if job.begun:
            self.worker.drop(job)
        self._done(job)

    def _next(self) -> Job | None:
        """The job that has the next step; its visitor goes to the end of the line. None at the end of all."""
        with self.changed:
            self.now = None
            while not self.turns and not self.closed:
                self.changed.wait()
            if self.closed:
                return None
            visitor, line = next(iter(self.turns.items()))
            self.turns.move_to_end(visitor)
            self.now = line[0]
            return self.now

    def _done(self, job: Job, wrong: str = "") -> None:
        with self.changed:
            self._forget(job)
        if wrong:
            job.tell({"event": "error", "message": wrong})
        job.tell({"event": "done"})

    def _again(self, at_fault: Job, why: str) -> None:
        """The worker has died: jobs that were begun are lost and told so, the others wait for the next worker."""
        if self.closed:
            return
        with self.changed:
            every = [job for line in self.turns.values() for job in line]
        for job in every:
            if job.begun:
                own = "while it worked on this question" if job is at_fault else "on another question"
                self._done(job, f"The net's process ended{why} {own}. It starts again: ask again.")
        self.restarts += 1
        try:
            self.worker.start()
        except StartError as error:
            sys.stderr.write(f"influent: {error}\n")
            for job in every:
                if not job.begun:
                    self._done(job, f"The net's process could not be started again. {error}")
