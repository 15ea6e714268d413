"""Heat maps of a sweep, and tables: what is written, what is marked, and whether it can be read."""

from __future__ import annotations

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from influent.errors import QuestionError
from influent.views.heatmap import TOP, HeatMap
from influent.views.palette import ink, luminance, sequential_colour
from influent.views.table import Table

SVG = "{http://www.w3.org/2000/svg}"
MAP = HeatMap("Recall", [[0.0, 0.25], [0.5, math.nan]], rows=(1, 8), columns=(0, 4), chosen=(1, 0), original=1.0)


def test_every_pair_has_its_value_in_percent_and_its_settings():
    root = ElementTree.fromstring(MAP.svg())
    assert [g.find(f"{SVG}text").text for g in root.iter(f"{SVG}g")] == ["0", "25", "50", "–"]
    assert [t.text for t in root.iter(f"{SVG}title")] == [
        "α 1, β 0: 0.0%", "α 1, β 4: 25.0%", "α 8, β 0: 50.0%", "α 8, β 4: not known",
    ]  # fmt: skip
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert {"1", "8", "4", "α", "β", "original 100%"} <= set(texts)
    assert root.get("aria-label") == (
        "Recall, in %, by α (rows) and β (columns). Chosen: α 8, β 0: 50.0%. Original: 100.0%."
    )


def test_one_cell_is_chosen_and_outlined_on_light_and_on_dark():
    assert [cell.place for cell in MAP.cells if cell.chosen] == [(1, 0)]
    strokes = [r.get("stroke") for r in ElementTree.fromstring(MAP.svg()).iter(f"{SVG}rect") if r.get("stroke")]
    assert strokes == ["#ffffff", "#000000"]


def test_the_bar_spans_the_values_and_the_original_which_is_marked():
    assert MAP.span == (0.0, 1.0)
    bottom = MAP.box["bar"]
    assert MAP.marks == [(bottom, "0%", False), (float(TOP), "original 100%", True)]  # the end there gives way
    middle = HeatMap("m", [[0.2, 0.6]], rows=(1,), columns=(0, 4), original=0.4)
    assert [text for _, text, _ in middle.marks] == ["60%", "20%", "original 40%"]
    assert middle.marks[2][0] == pytest.approx((TOP + middle.box["bar"]) / 2)
    assert HeatMap("m", [[1.0]], rows=(1,), columns=(0,)).span == (0.95, 1.0)
    assert HeatMap("m", [[math.nan]], rows=(1,), columns=(0,)).span == (0.0, 1.0)


def test_the_colours_rise_in_grey_and_the_text_on_them_can_be_read():
    steps = [sequential_colour(k / 100) for k in range(101)]
    assert all(luminance(a) <= luminance(b) + 1e-3 for a, b in pairwise(steps))
    assert luminance(steps[0]) < 0.03 and luminance(steps[-1]) > 0.7
    for colour in steps:
        low, high = sorted((luminance(colour), luminance(ink(colour))))
        assert (high + 0.05) / (low + 0.05) >= 4.5
    assert sequential_colour(-1) == steps[0] and sequential_colour(2) == steps[-1]


def test_titles_are_escaped():
    made = HeatMap("<script>", [[0.5]], rows=("<i>",), columns=("&",), row_axis='"', column_axis="<")
    assert "<script>" not in made.svg() and "<i>" not in made.svg()
    assert ElementTree.fromstring(made.svg()).get("aria-label").startswith("<script>, in %")


def test_a_table_names_its_columns_and_rows():
    made = Table("Experts & co", ("class", "recall"), [("<b>saw</b>", "71%"), ("bench", "52%")])
    root = ElementTree.fromstring(made.html())
    assert [(h.get("scope"), h.text) for h in root.iter("th")] == [
        ("col", "class"), ("col", "recall"), ("row", "<b>saw</b>"), ("row", "bench"),
    ]  # fmt: skip
    assert [d.text for d in root.iter("td")] == ["71%", "52%"]
    assert root.find("table/caption").text == root.get("aria-label") == "Experts & co"


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (
            lambda: HeatMap("m", [[0.1, 0.2], [0.3]], rows=(1, 2), columns=(0, 4)),
            "There are 2 × 2 settings, and values of 2 rows of 1, 2: a heat map takes one for each pair.",
        ),
        (
            lambda: HeatMap("m", [], rows=(), columns=()),
            "There are 0 × 0 settings, and values of 0 rows of none: a heat map takes one for each pair.",
        ),
        (
            lambda: HeatMap("m", [[0.1]], rows=(1,), columns=(0,), chosen=(0, 1)),
            "chosen=(0, 1): there are 1 rows and 1 columns, from 0.",
        ),
        (lambda: Table("t", ("a", "b"), [("1", "2"), ("1",)]), "Row 1 has 1 entries, and there are 2 columns."),
    ],
)
def test_lessons(ask, says):
    with pytest.raises(QuestionError) as caught:
        ask()
    assert str(caught.value) == says
