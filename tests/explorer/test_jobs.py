"""The queue: whose turn it is, what is dropped, what happens when the worker dies. The worker is a stand-in."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from influent.explorer.jobs import DiedError, FullError, Job, Jobs, StartError
from influent.explorer.plan import Event


class Hands:
    """A worker whose jobs are numbers of steps; it notes who was served, and waits where it is told to."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.left: dict[int, int] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.started = 0
        self.fails = -1
        self.dropped: list[int] = []
        self.stopped: list[int] = []

    def start(self) -> Event:
        self.started += 1
        if self.started == self.fails:
            raise StartError("no memory")
        self.left.clear()
        return {}

    def step(self, job: Job) -> bool:
        assert self.gate.wait(10)
        if job.ask == "idle" and self.started == 1:
            raise DiedError(" (signal 9)")
        if job.ask == "idle":
            job.ask = 1
        if job.ask == "odd":
            raise ValueError("nobody thought of this")
        if job.ask == "fatal":
            job.begun = True
            raise DiedError(" (signal 9)")
        self.left.setdefault(job.number, job.ask)
        job.begun = True
        self.served.append(job.visitor)
        self.left[job.number] -= 1
        return self.left[job.number] > 0

    def drop(self, job: Job) -> None:
        self.dropped.append(job.number)

    def leave(self, job: Job) -> None:
        self.stopped.append(job.number)

    def end(self) -> None:
        """Nothing to end."""


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def jobs(hands: Any) -> Any:
    queue = Jobs(hands, most=5, each=3)
    queue.start()
    yield queue
    hands.gate.set()
    queue.close()
    queue.thread.join(10)
    assert not queue.thread.is_alive()


def put(jobs: Jobs, visitor: str, ask: Any) -> tuple[Job, list[Event], threading.Event]:
    """A job with what it is told, and when it is done."""
    told: list[Event] = []
    done = threading.Event()

    def tell(event: Event) -> None:
        told.append(event)
        if event["event"] == "done":
            done.set()

    return jobs.put(visitor, ask, tell), told, done


def test_visitors_have_their_steps_in_turn_whatever_the_length_of_their_jobs(hands, jobs):
    hands.gate.clear()
    waits = [put(jobs, "long", 6)[2], put(jobs, "long", 1)[2], put(jobs, "b", 2)[2], put(jobs, "c", 2)[2]]
    hands.gate.set()
    assert all(done.wait(10) for done in waits)
    assert hands.served == ["long", "b", "c", "long", "b", "c", "long", "long", "long", "long", "long"]


def test_a_visitor_is_told_how_many_are_before(hands, jobs):
    hands.gate.clear()
    put(jobs, "a", 1)
    _, told, done = put(jobs, "b", 1)
    hands.gate.set()
    assert done.wait(10)
    assert told == [{"event": "waiting", "before": 1}, {"event": "done"}]


def test_the_queue_is_bounded_for_all_and_for_each(hands, jobs):
    hands.gate.clear()
    for _ in range(3):
        put(jobs, "a", 1)
    with pytest.raises(FullError, match="3 of your questions are still being answered"):
        put(jobs, "a", 1)
    put(jobs, "b", 1)
    first, _, _ = put(jobs, "c", 1)
    with pytest.raises(FullError, match="5 questions are waiting"):
        put(jobs, "d", 1)
    jobs.leave(first)
    put(jobs, "d", 1)


def test_who_leaves_is_stopped_and_forgotten(hands, jobs):
    job, _, done = put(jobs, "a", 10**6)
    while not hands.served:
        time.sleep(0.001)
    jobs.leave(job)
    assert done.wait(10)
    assert hands.stopped == [job.number] and hands.dropped == [job.number]
    assert not jobs.turns and not jobs.open


def test_who_leaves_before_the_first_step_costs_nothing(hands, jobs):
    hands.gate.clear()
    put(jobs, "a", 1)
    job, _, _ = put(jobs, "b", 1)
    jobs.leave(job)
    assert "b" not in jobs.turns  # nor is what it brought held, a photo perhaps
    hands.gate.set()
    _, _, done = put(jobs, "c", 1)
    assert done.wait(10)
    assert hands.dropped == [] and "b" not in hands.served


def test_to_leave_stops_no_step_but_ones_own(hands, jobs):
    job, _, _ = put(jobs, "a", 10**6)
    while not hands.served:
        time.sleep(0.001)
    other, _, _ = put(jobs, "b", 10**6)
    while "b" not in hands.served:
        time.sleep(0.001)
    hands.gate.clear()
    while jobs.now is None:
        time.sleep(0.001)
    idle = other if jobs.now is job else job
    jobs.leave(idle)
    assert hands.stopped == []
    hands.gate.set()
    jobs.leave(job)
    jobs.leave(other)


def test_a_worker_that_died_between_two_questions_costs_none(hands, jobs):
    _, told, done = put(jobs, "a", "idle")
    assert done.wait(10)
    assert told == [{"event": "done"}] and hands.started == 2


def test_whatever_goes_wrong_the_queue_goes_on(hands, jobs, capfd):
    _, told, done = put(jobs, "a", "odd")
    assert done.wait(10)
    assert "Something inside failed: ValueError" in told[0]["message"]
    assert "nobody thought of this" in capfd.readouterr().err
    _, told, done = put(jobs, "a", 1)
    assert done.wait(10) and told == [{"event": "done"}]


def test_a_worker_that_cannot_start_again_is_told_to_all_who_wait(hands, jobs):
    hands.gate.clear()
    hands.fails = 2
    _, fatal, first = put(jobs, "a", "fatal")
    _, waiting, second = put(jobs, "b", 1)
    hands.gate.set()
    assert first.wait(10) and second.wait(10)
    assert "could not be started again. no memory" in waiting[-2]["message"]
    assert "ended (signal 9)" in fatal[-2]["message"]
    _, told, done = put(jobs, "c", 1)
    assert done.wait(10) and told == [{"event": "done"}]


def test_when_the_worker_dies_what_was_begun_is_told_and_what_waits_goes_on(hands, jobs):
    hands.gate.clear()
    _, begun, first = put(jobs, "a", 3)
    _, fatal, second = put(jobs, "b", "fatal")
    _, waiting, third = put(jobs, "c", 2)
    hands.gate.set()
    assert all(done.wait(10) for done in (first, second, third))
    assert "ended (signal 9) while it worked on this question" in fatal[-2]["message"]
    assert "ended (signal 9) on another question" in begun[-2]["message"]
    assert [event["event"] for event in waiting] == ["waiting", "done"]
    assert hands.started == 2 and jobs.restarts == 1
