"""What the pages say is what the library says: bars, counts, essences and questions, held against it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import influent as inf
from influent.experts import chosen
from influent.explorer import classes, questions, switch
from influent.explorer.answers import why
from influent.explorer.asks import Gallery, Name, Off, OneClass, OneUnit, Why
from influent.explorer.desk import Desk
from influent.explorer.plan import Event, Plan
from influent.explorer.results import stored_in
from influent.explorer.units import rename, unit_page
from influent.samples import Folder
from influent.selection import selected
from influent.views.histogram import BINS, Histogram
from tests.explorer.nets import quick
from tests.explorer.served import picture


@pytest.fixture
def desk(data: Path, tmp_path: Path) -> Desk:
    plan = Plan(quick, "own:quick", "own.quick()", "--net own:quick", data=data, nicknames=tmp_path / "names.json")
    return Desk.of(plan, lambda points: None)


def parts(events: Any) -> dict[str, str]:
    """The last HTML of each part."""
    return {event["part"]: event["html"] for event in events if event["event"] == "part"}


def numbers(html: str) -> list[float]:
    return [float(text) for text in re.findall(r"[-+]?\d+\.?\d*(?:e[-+]\d+)?", re.sub(r"<[^>]*>", " ", html))]


# Ask


def test_the_answer_is_that_of_the_question(desk: Desk) -> None:
    html = parts(why(desk, Why(kind="why", photo="data-0", n=33)))["answer"]
    x = desk.photo("data-0").x
    a = inf.influence(desk.net, "body.relu/channel", inf.Predicted(), inf.Line("grey", x, n=33), inf.contribution)
    for unit in a.top(3):
        assert (f"<strong>{unit.name}</strong>" in html) == (unit.value != 0)
    assert f"{a.top(1)[0].value:+.3g}" in html
    assert a.summary() in html


def test_a_first_answer_comes_before_the_whole_one(desk: Desk) -> None:
    events = list(why(desk, Why(kind="why", photo="data-0", n=65)))
    shown = [event["html"] for event in events if event.get("part") == "answer"]
    assert len(shown) == 2
    assert "A first look, from 9 points" in shown[0] and "A first look" not in shown[1]


@pytest.mark.parametrize(
    ("words", "of", "over", "measure"),
    [
        ({}, "Class('red')", "Line('grey', x, n=65)", "contribution"),
        ({"of": "class", "target": 1, "rather": 2}, "Class('green') - Class('blue')", "Line('grey', x, n=65)",
         "contribution"),
        ({"of": "unit", "layer": "body.first", "target": 4, "baseline": "black", "n": 9}, "Unit(4, cut='body.first')",
         "Line('black', x, n=9)", "contribution"),
        ({"over": "point"}, "Class('red')", "Point(x)", "gradient"),
        ({"over": "point", "measure": "activation"}, "Class('red')", "Point(x)", "activation"),
        ({"over": "ball", "n": 9, "spread": 0.5}, "Class('red')", "Gaussian(x, std=", "gradient"),
    ],
)  # fmt: skip
def test_words_become_the_question_and_what_is_typed(
    desk: Desk, words: dict[str, Any], of: str, over: str, measure: str
) -> None:
    ask = Why(kind="why", photo="data-0", **words)
    held = desk.photo("data-0")
    x, (_, place) = held.x, desk.place(None)
    quantity = questions.quantity(desk, ask, inf.Class("red"))
    made = questions.Words(place.cut, quantity, questions.distribution(desk, ask, x, ask.n), questions.measure(ask))
    assert repr(made.of) == of and made.measure.__name__ == measure
    python, command = questions.as_python(desk, made, held), questions.as_command(desk, made, held)
    inside = over.replace("'grey', x", "None, x") if "grey" in over else over
    assert f"inf.{inside}" in python and f"measure=inf.{measure})" in python
    for noun in re.findall(r"(?:Class|Unit)\(", of):
        assert f"inf.{noun}" in python
    assert f"--measure {measure}" in command and "--net own:quick" in command


# A unit


def test_a_units_page_says_what_the_data_say(desk: Desk, data: Path) -> None:
    found = parts(unit_page(desk, OneUnit(kind="unit", at="body.relu", unit=0, photo="data-0")))
    assert {"head", "here", "data", "driven", "outside"} == set(found)
    folder = Folder.at(data)
    fires = inf.influence(
        desk.net, "body.relu/channel", inf.Label(), inf.Dataset(folder, by="sample"), [inf.activation, inf.gradient]
    )
    best = fires[inf.activation].values[:, 0].max()
    assert f"activation {float(best):.4g}" in found["data"]
    assert "Of 18 of 18 images" in found["data"]
    label = [name for _, name in folder.files]
    assert f"{label.count('red')} images of red" in found["data"] and "12 other images" in found["data"]
    essence = inf.influence(desk.net, "body.relu/channel", inf.Label(), inf.Dataset(folder), inf.gradient)
    value = float(essence["red"].values[0, 0])
    assert f"{value:+.3g}" in found["data"]


def test_a_nickname_is_in_the_file_and_on_the_page_and_is_taken_away(desk: Desk) -> None:
    list(rename(desk, Name(kind="name", at="body.relu", unit=0, name="  blue \n sky ")))
    assert json.loads(desk.plan.nicknames.read_text()) == {"body.relu": {"0": "blue sky"}}
    assert "channel 0 (blue sky)" in parts(why(desk, Why(kind="why", photo="data-0", n=9, top=6)))["answer"]
    list(rename(desk, Name(kind="name", at="body.relu", unit=0, name="")))
    assert json.loads(desk.plan.nicknames.read_text()) == {}


def test_a_nickname_that_cannot_be_written_is_not_shown_either(desk: Desk) -> None:
    desk.plan.nicknames.mkdir()
    with pytest.raises(inf.InfluentError, match=r"names\.json"):
        list(rename(desk, Name(kind="name", at="body.relu", unit=2, name="sky")))
    assert desk.net.nicknames == {}


# Switched off


def test_bars_are_the_probabilities_of_the_masked_net(desk: Desk) -> None:
    html = parts(switch.off(desk, Off(kind="off", at="body.relu", units=[0, 3], photo="data-0")))["bars"]
    x = desk.photo("data-0").x
    masked = inf.compress(desk.net, inf.Mask("body.relu/channel", [0, 3], keep=False), x)
    with torch.no_grad():
        after = torch.softmax(masked(x)[0].double(), 0)
    shown = re.findall(r'data-after="([\d.]+)"', html)
    order = re.findall(r'<th scope="row">(\w+)</th>', html)
    for name, text in zip(order, shown, strict=True):
        assert float(text) == pytest.approx(float(after[("red", "green", "blue").index(name)]), abs=1e-6)
    assert "4 of 6 units of body.relu are kept" in html


def test_counts_are_those_of_the_half_that_chose_nothing(desk: Desk, data: Path) -> None:
    html = parts(switch.off(desk, Off(kind="off", at="body.relu", index=1, alpha=1, beta=1)))["data"]
    own = set(desk.files_of(1, 0))
    tested = [k for numbers in classes.testing(desk, 1) for k in numbers]
    assert own and tested and not own & set(tested)
    influence, _ = classes.choosing(desk, desk.seen(desk.place("body.relu")[1]), 1)
    mask = inf.Mask("body.relu/channel", chosen(influence, 1, 1))
    expected = inf.Expert(desk.net, mask, inf.Class("green")).compare(inf.Dataset(selected(Folder.at(data), tested)))
    row = html[html.index(">green<") :]
    hits, images, hits_after = (int(n) for n in numbers(row)[:3])
    assert hits == int(expected.original.tp) and hits_after == int(expected.masked.tp)
    assert images == int(expected.original.tp + expected.original.fn)


def test_silencing_nothing_changes_nothing_and_keeping_nothing_silences_all(desk: Desk) -> None:
    same = parts(switch.off(desk, Off(kind="off", at="body.relu", photo="data-0")))["bars"]
    assert "6 of 6 units" in same
    none = parts(switch.off(desk, Off(kind="off", at="body.relu", photo="data-0", keep=True)))["bars"]
    assert "0 of 6 units" in none and none.count("33.3 %") == 3


# Classes


def test_a_classs_essence_is_the_mean_over_its_choosing_half(desk: Desk, data: Path) -> None:
    html = parts(classes.class_page(desk, OneClass(kind="class", index=2)))["essence"]
    half = selected(Folder.at(data), desk.files_of(2, 0))
    essence = inf.influence(desk.net, "body.relu/channel", inf.Label(), inf.Dataset(half), inf.gradient)["blue"]
    for unit in essence.top(6):
        assert f"{unit.value:+.3g}" in html
    assert f"{len(half.files)} images; " in html


def test_experts_are_counted_on_the_other_half(desk: Desk) -> None:
    html = parts(classes.experts(desk, OneClass(kind="experts", index=0)))["experts"]
    count = sum(map(len, classes.testing(desk, 0)))
    assert f"After {count} of {count} images" in html and html.count("<svg") == 2


# The rest


def test_the_gallery_shows_what_there_is(desk: Desk) -> None:
    events = list(desk.gallery(Gallery(kind="gallery", index=1)))
    assert [event["label"] for event in events[:-1]] == ["green"] * 6
    assert events[-1] == {"event": "more", "start": 24, "of": 6}


def test_what_is_gathered_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("influent.explorer.desk.GATHERED", 1)
    monkeypatch.setattr("influent.explorer.desk.HELD", 2)
    for at in ("body.first", "body.relu"):
        list(unit_page(desk, OneUnit(kind="unit", at=at, unit=0)))
    assert list(desk.gathered) == ["body.relu/channel"] and len(desk.held) == 2


def test_an_image_is_counted_once_whoever_looks_at_the_same_time(desk: Desk, data: Path) -> None:
    seen = desk.seen(desk.places["body.relu"])
    looks = [seen.look(desk.net, desk.images, desk.classes, range(18), desk.progress) for _ in range(3)]
    for look in looks:
        next(look, None)
    for look in looks:
        list(look)
    assert sorted(seen.numbers) == list(range(18)) and seen.influence.values.shape == (18, 6)


def test_images_that_were_seen_first_make_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("influent.explorer.gather.MOST", 6)
    monkeypatch.setattr("influent.explorer.gather.PART", 2)
    seen = desk.seen(desk.places["body.relu"])
    for wanted in ([0, 1, 2, 3, 4], [5, 6, 7, 1]):
        list(seen.look(desk.net, desk.images, desk.classes, wanted, desk.progress))
    assert seen.numbers == [1, 3, 4, 5, 6, 7]
    assert len(seen.numbers) == len(seen.label) == len(seen.said) == len(seen.sure) == 6
    assert seen.influence.values.shape == seen.activation.values.shape == (6, 6)
    names = [desk.images.files[k][0] for k in seen.numbers]
    assert list(seen.influence.instances) == names


def test_a_unit_is_asked_about_at_the_layer_before_it(desk: Desk) -> None:
    assert desk.before("body.second") == "body.relu" and desk.before("body.first") is None
    html = parts(why(desk, Why(kind="why", photo="data-0", of="unit", layer="body.second", target=1, n=9)))["answer"]
    assert "of body.relu" in html


def test_data_for_a_net_that_reads_texts_are_refused(data: Path) -> None:
    with pytest.raises(inf.InfluentError, match="reads texts, and --data"):
        Desk.of(Plan(_sentiment, "textcnn-sentiment", "", "", data=data), lambda points: None)


def _sentiment() -> Any:
    return inf.zoo.load("textcnn-sentiment")


def test_a_text_is_explained_and_its_filters_switched_off() -> None:
    desk = Desk.of(Plan(_sentiment, "textcnn-sentiment", "net", "--net textcnn-sentiment"), lambda points: None)
    found = parts(why(desk, Why(kind="why", text="this is not good", top=3)))
    assert "negative" in found["prediction"] and "Why negative?" in found["answer"]
    at, unit = re.search(r"#/unit/([\w.]+)/(\d+)", found["answer"]).groups()
    words = parts(unit_page(desk, OneUnit(kind="unit", at=at, unit=int(unit), text="this is not good")))["here"]
    assert "The words that drive it" in words and ">not<" in words
    bars = parts(switch.off(desk, Off(kind="off", at=at, units=list(range(256)), text="this is not good")))["bars"]
    assert "0 of 256 units" in bars
    alike = questions.quantity(desk, Why(kind="why", of="like", like="a good film"), None)
    assert repr(alike) == "Similarity('a good film')"
    with pytest.raises(inf.QuestionError, match="Like which text"):
        questions.quantity(desk, Why(kind="why", of="like"), None)


def test_a_histogram_counts_every_value_once() -> None:
    chart = Histogram("title", "logits", [("a", [0.0, 1.0, 2.0, float("nan")]), ("b", [-50.0, 1.0])])
    assert [sum(counts) for counts in chart.counts] == [3, 2]
    assert len(chart.counts[0]) == BINS and chart.zero is not None
    assert Histogram("one value", "logits", [("a", [3.0])]).most == 1
    assert 'aria-label="empty: 0 a;' in Histogram("empty", "logits", [("a", [])]).svg()


def test_only_listed_pages_of_results_are_shown(tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 2).eval()
    inf.save(inf.influence(net, "INPUT", inf.Class(1), inf.Point(torch.ones(1, 2))), tmp_path / "plain")
    made = tmp_path / "page"
    made.mkdir()
    (made / "explanation.html").write_text("<title>a &amp; b</title>")
    (made / "secret.html").write_text("no")
    (tmp_path / "outside.html").write_text("no")
    files = {"explanation.html": "", "../outside.html": "", "gone.html": ""}
    (made / "meta.json").write_text(json.dumps({"schema": 1, "files": files}))
    (found,) = stored_in(tmp_path)
    assert found.title == "a & b" and list(found.pages) == ["explanation.html"]
    assert found.page("secret.html") is None and found.page("../outside.html") is None
    with pytest.raises(inf.InfluentError, match="is no folder"):
        stored_in(tmp_path / "none")


def test_a_photo_that_is_sent_is_known_by_its_checksum(desk: Desk) -> None:
    from influent.explorer.plan import Sent

    events: list[Event] = list(desk.take(Sent(picture((200, 30, 30)), "a/b/red.png")))
    assert re.fullmatch(r"sent-[0-9a-f]{16}", events[0]["photo"]) and events[0]["name"] == "red.png"
    again = list(desk.take(Sent(picture((200, 30, 30)), "other.png")))
    assert again[0]["photo"] == events[0]["photo"]
