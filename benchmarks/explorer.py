"""The explorer under load: how soon the first pictures come, whether visitors wait alike, whether memory stays flat."""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import influent as inf
from influent.errors import InputError
from tests.explorer.served import Served, picture, served

RESULTS = Path(__file__).with_name("explorer.json")
VISITORS, EACH, ROUND = 20, 10, 100


@dataclass(frozen=True)
class Waited:
    """Seconds from a question to its first pictures and to its end; what went wrong, if anything did."""

    first: float
    whole: float
    wrong: str = ""


def main(threads: int, tuned: bool, quick: bool) -> int:
    """The suite, and explorer.json after a full run. The server has as many threads as torch takes by itself."""
    found: dict[str, Any] = {}
    try:
        inf.zoo.load("googlenet")
        net = "googlenet"
    except InputError:
        net = "efficientnet-lite0"
    with tempfile.TemporaryDirectory() as place:
        names = Path(place) / "names.json"
        with served("--net", net, "--nicknames", names, threads=None) as one:
            found["alone"] = {"net": net, **alone(one, 4 if quick else 20)}
        with served("--nicknames", names, threads=None) as many:
            found["together"] = together(many, 2 if quick else EACH)
            found["beside a greedy one"] = beside(many, 2 if quick else 8)
            found["memory"] = memory(many, 200 if quick else 1000)
    print(json.dumps(found, indent=2))
    if not quick:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: benchmarks/{RESULTS.name}")
    return 0


def asked(one: Served, visitor: int, **question: Any) -> Waited:
    """Ask, and look at the clock."""
    started, first, wrong = time.perf_counter(), 0.0, ""
    for event in one.events(f"{visitor:016x}", kind="why", **question):
        if event["event"] in ("error", "refused"):
            wrong = event["message"]
        elif event.get("part") == "answer" and not first:
            first = time.perf_counter() - started
    return Waited(first, time.perf_counter() - started, wrong)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """The median and the ends."""
    return {"median": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}


def alone(one: Served, questions: int) -> dict[str, Any]:
    """One visitor with the default question, on the example photos in turn."""
    photos = itertools.cycle(range(8))
    done = [asked(one, 1, photo=f"example-{k}") for k, _ in zip(photos, range(questions), strict=False)]
    return {
        "questions": questions, "wrong": [w.wrong for w in done if w.wrong],
        "first pictures": spread([w.first for w in done]), "whole answer": spread([w.whole for w in done]),
    }  # fmt: skip


def together(one: Served, each: int) -> dict[str, Any]:
    """Twenty visitors, each with one question after the other: what each of them waits, on average."""
    waits: dict[int, list[Waited]] = {}

    def visit(visitor: int) -> None:
        waits[visitor] = [asked(one, visitor, photo=f"example-{(visitor + k) % 8}", n=9) for k in range(each)]

    before = one.resident()
    started = time.perf_counter()
    in_parallel([threading.Thread(target=visit, args=(k,)) for k in range(VISITORS)])
    seconds = time.perf_counter() - started
    every = [w for own in waits.values() for w in own]
    means = [statistics.mean(w.whole for w in own) for own in waits.values()]
    return {
        "visitors": VISITORS, "questions": len(every), "wrong": [w.wrong for w in every if w.wrong], "seconds": seconds,
        "first pictures": spread([w.first for w in every]), "whole answer": spread([w.whole for w in every]),
        "mean wait of a visitor, most by least": max(means) / min(means),
        "MiB before": before, "MiB after": one.resident(),
    }  # fmt: skip


def beside(one: Served, questions: int) -> dict[str, Any]:
    """A visitor with short questions, alone and beside one who keeps five long ones going: how much longer it waits."""
    free = [asked(one, 1, photo="example-0", n=9).whole for _ in range(questions)]
    over = threading.Event()

    def greedy() -> None:
        while not over.is_set():
            for event in one.events(f"{99:016x}", kind="why", photo="example-1", n=257):
                if over.is_set() or event["event"] == "done":
                    break

    threads = [threading.Thread(target=greedy) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    crowded = [asked(one, 1, photo="example-0", n=9).whole for _ in range(questions)]
    over.set()
    for thread in threads:
        thread.join()
    return {
        "alone": spread(free),
        "beside": spread(crowded),
        "ratio": statistics.median(crowded) / statistics.median(free),
    }


def memory(one: Served, questions: int) -> dict[str, Any]:
    """MiB that the server's processes hold after every hundred questions, each about another photo."""
    held, wrong = [], 0
    for k in range(questions):
        photo = one.photo(picture((k % 256, (k // 3) % 256, (7 * k) % 256), 64))
        wrong += bool(asked(one, k, photo=photo["photo"], n=5, top=1).wrong)
        if (k + 1) % ROUND == 0:
            held.append(one.resident())
    return {"questions": questions, "wrong": wrong, "MiB after each hundred": held}


def in_parallel(threads: Sequence[threading.Thread]) -> None:
    """Start them all, and wait for all."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The figures as sentences, for the docs."""
    alone, many, beside, memory = (found[k] for k in ("alone", "together", "beside a greedy one", "memory"))
    first, whole = alone["first pictures"], alone["whole answer"]
    yield f"{alone['net']}, one visitor, {alone['questions']} questions, {len(alone['wrong'])} errors:"
    yield f"  first pictures after {first['median']:.1f} s (at most {first['most']:.1f} s)"
    yield f"  the whole answer after {whole['median']:.1f} s (at most {whole['most']:.1f} s)"
    whole = many["whole answer"]
    yield f"{many['visitors']} visitors at once, {many['questions']} questions, {len(many['wrong'])} errors:"
    yield f"  an answer takes {whole['median']:.0f} s (at most {whole['most']:.0f} s)"
    unequal = many["mean wait of a visitor, most by least"]
    yield f"  who waited longest, on average, waited {unequal:.2f} times as long as who waited least"
    yield f"beside a visitor with five long questions, a short one takes {beside['ratio']:.1f} times as long as alone"
    held = memory["MiB after each hundred"]
    yield f"{memory['questions']} questions about as many photos, {memory['wrong']} errors:"
    yield f"  {held[0]} MiB after the first hundred, {held[len(held) // 2]} half way, {held[-1]} at the end"
