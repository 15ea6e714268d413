"""Many visitors at once, a small version of `dev.py bench explorer`: no error, nobody forgotten, memory flat."""

from __future__ import annotations

import threading
from typing import Any

from tests.explorer.served import Served, picture

VISITORS, EACH = 20, 2


def test_twenty_visitors_at_once_have_all_their_answers(quick: Served) -> None:
    answers: dict[int, list[list[dict[str, Any]]]] = {}

    def visit(visitor: int) -> None:
        asked = [
            {"kind": "why", "photo": f"data-{visitor % 18}", "n": 9},
            {"kind": "unit", "at": "body.relu", "unit": 1},
        ]
        answers[visitor] = [quick.ask(f"{visitor:016x}", **question) for question in asked]

    threads = [threading.Thread(target=visit, args=(k,)) for k in range(VISITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(answers) == VISITORS and all(len(own) == EACH for own in answers.values())
    for why, unit in answers.values():
        assert not [event for event in why + unit if event["event"] in ("error", "refused")]
        assert "Why " in "".join(event.get("html", "") for event in why)
        assert "Its best examples" in "".join(event.get("html", "") for event in unit)


def test_memory_stays_flat_over_questions_about_ever_new_photos(quick: Served) -> None:
    held = []
    for k in range(320):
        photo = quick.photo(picture((k % 250, 255 - k % 250, (3 * k) % 250)))
        events = quick.ask(kind="why", photo=photo["photo"], n=5, top=1)
        assert events[-1] == {"event": "done"} and not [e for e in events if e["event"] == "error"]
        if k in (159, 319):  # photos are held for a while: 128 of them
            held.append(quick.resident())
    assert held[1] - held[0] < 10
