"""The map of heads: signed numbers, colours symmetric around 0, from one head to many."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influent.errors import QuestionError
from influent.views.headmap import HeadMap
from influent.views.palette import luminance, signed_hex

SVG = "{http://www.w3.org/2000/svg}"
CODES = re.compile(r"\x1b\[[\d;]*m")
MAP = HeadMap("Conductance", [[0.5, -2.0, 0.0], [math.nan, 1.0, 0.001]], chosen={(0, 1)})


def big(layers: int, heads: int) -> HeadMap:
    return HeadMap("m", [[(-1.0) ** j * (i + j) for j in range(heads)] for i in range(layers)])


def test_every_head_has_its_number_and_says_where_it_is():
    root = ElementTree.fromstring(MAP.svg())
    assert [g.find(f"{SVG}text").text for g in root.iter(f"{SVG}g")] == ["+0.5", "-2.0", "0", "–", "+1.0", "0"]
    titles = [t.text for t in root.iter(f"{SVG}title")]
    assert titles[1] == "layer 0, head 1: -2" and titles[3:] == [
        "layer 1, head 0: not known", "layer 1, head 1: +1", "layer 1, head 2: +0.001",
    ]  # fmt: skip
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert {"Conductance", "layer", "head", "0", "1", "2"} <= set(texts)
    assert texts[-3:] == ["+2", "0", "-2"]


def test_what_stands_out_is_said():
    assert ElementTree.fromstring(MAP.svg()).get("aria-label") == (
        "Conductance, by layer (rows) and head (columns). Most for: layer 1, head 1: +1; layer 0, head 0: +0.5; layer "
        "1, head 2: +0.001. Most against: layer 0, head 1: -2. Outlined: layer 0, head 1."
    )
    assert HeadMap("m", [[0.0]]).sentence == "m, by layer (rows) and head (columns)."
    every = HeadMap("m", [[0.0] * 7], chosen=[(0, j) for j in range(7)]).sentence
    assert every.endswith("layer 0, head 4 and 2 more.")


def test_colours_are_symmetric_around_white_and_saturate_at_the_largest():
    grounds = [cell.colour for cell in MAP.cells]
    assert grounds == [*signed_hex([0.25, -1.0, 0.0], 1.0), "none", *signed_hex([0.5, 0.0005], 1.0)]
    ladder = [colour for *_, colour in MAP.ladder]
    assert signed_hex([31 / 32, -31 / 32], 1.0) == [ladder[0], ladder[-1]]
    assert [text for _, text, _ in MAP.marks] == ["+2", "0", "-2"]
    assert [height for height, *_ in MAP.marks] == sorted(height for height, *_ in MAP.marks)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30))
def test_numbers_are_short_enough_for_their_cell_and_can_be_read(values):
    made = HeadMap("m", [values])
    largest = max(made.cells, key=lambda cell: abs(values[cell.place[1]]))
    for cell in made.cells:
        assert len(cell.text) <= 5
        low, high = sorted(map(luminance, (cell.colour, cell.ink)))
        assert (high + 0.05) / (low + 0.05) >= 4.5
    if largest.text and any(values):
        power = re.search(r"in 1e(-?\d+)", made.svg())
        shown = float(largest.text) * 10.0 ** (int(power[1]) if power else 0)
        assert shown == pytest.approx(values[largest.place[1]], rel=0.051, abs=1e-300)


def test_small_numbers_share_a_unit():
    made = HeadMap("m", [[0.00123, -0.0004]])
    assert [cell.text for cell in made.cells] == ["+1.2", "-0.4"] and "m, in 1e-3" in made.svg()
    assert [cell.text for cell in HeadMap("m", [[123.4, -0.4]]).cells] == ["+123", "0"]


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (12, 12), (24, 16), (48, 64)])
def test_maps_of_any_size_keep_their_cells_inside_and_scroll_where_they_are_wide(layers, heads):
    made = big(layers, heads)
    cells, box = made.cells, made.box
    assert len(cells) == layers * heads and len({cell.corner for cell in cells}) == len(cells)
    assert max(cell.corner[0] for cell in cells) + box["wide"] == box["right"] < box["width"]
    assert max(cell.corner[1] for cell in cells) + box["high"] == box["bottom"] < box["height"]
    assert all(cell.text for cell in cells) == (heads < 24)
    root = ElementTree.fromstring(made.html())
    assert root.get("style") == "overflow-x: auto" and f"max-width: {box['width']}px" in root[0].get("style")


def test_the_chosen_are_outlined():
    strokes = [r.get("stroke") for r in ElementTree.fromstring(MAP.svg()).iter(f"{SVG}rect") if r.get("stroke")]
    assert [cell.place for cell in MAP.cells if cell.chosen] == [(0, 1)] and strokes == ["#ffffff", "#000000"]


def test_a_terminal_shows_a_line_for_each_layer():
    lines = CODES.sub("", MAP.ansi()).split("\n")
    assert lines == [
        "Conductance", "       head", "layer   0  1  2", "    0      *   ", "    1   –      ", " against -2   for +2 ",
    ]  # fmt: skip
    assert len(CODES.findall(MAP.ansi())) == 3 * (5 + 2)
    many = CODES.sub("", big(11, 24).ansi()).split("\n")
    assert many[2].split() == ["layer", "0", "5", "10", "15", "20"]
    assert [len(line) for line in many[3:-1]] == [6 + 2 * 24] * 11


def test_titles_are_escaped():
    made = HeadMap("<script>", [[1.0]], row_axis="<i>", column_axis="&")
    assert not re.search("<(script|i)>", made.html())
    assert ElementTree.fromstring(made.html()).get("aria-label") == "<script>"


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: HeadMap("m", [[0.1, 0.2], [0.3]]),
         ("There are 2 layers, of 1, 2 heads: a map takes one value for each layer and head, values [layer][head], "
          "float('nan') where there is none.")),
        (lambda: HeadMap("m", []),
         ("There are 0 layers, of no heads: a map takes one value for each layer and head, values [layer][head], "
          "float('nan') where there is none.")),
        (lambda: HeadMap("m", [[0.1]], chosen={(0, 1)}), "chosen=(0, 1): there are 1 layers and 1 heads, from 0."),
    ],
)  # fmt: skip
def test_lessons(ask, says):
    with pytest.raises(QuestionError) as caught:
        ask()
    assert str(caught.value) == says
