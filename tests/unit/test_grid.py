"""The influence grid: where each unit stands, how large its box is, and what a reader without colours still sees."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
import torch

import influent as inf
from influent.errors import QuestionError
from influent.views.grid import CELL, Grid, grid
from influent.views.palette import SIGNS, luminance

SVG = "{http://www.w3.org/2000/svg}"


def drawn(made):
    return ElementTree.fromstring(made.svg())


def test_units_stand_in_the_order_of_the_class_row_by_row():
    made = Grid("g", values=[1.0] * 5, of_class=[0.0, -9.0, 4.0, 0.0, 5.0], names="abcde")
    assert [box.text[0] for box in made.boxes] == ["e", "c", "a", "d", "b"]  # of equals the first stays first
    assert made.columns == 3
    (x, y), cells = made.boxes[0].cell, [box.cell for box in made.boxes]
    assert cells == [(x, y), (x + CELL, y), (x + 2 * CELL, y), (x, y + CELL), (x + CELL, y + CELL)]
    assert [box.shaded for box in made.boxes] == [False, False, False, False, True]


def test_area_is_magnitude_and_sign_is_colour_and_shape():
    made = Grid("g", values=[4.0, -1.0, 0.0, math.nan], of_class=[4.0, 3.0, 2.0, 1.0], names="abcd")
    big, small, none, unknown = made.boxes
    assert (big.side, small.side, none.side, unknown.side) == (CELL, CELL / 2, 0.0, 0.0)
    assert small.side**2 / big.side**2 == 1 / 4
    assert (big.colour, small.colour) == SIGNS["safe"] and (big.positive, small.positive) == (True, False)
    assert (small.corner[0] - small.cell[0], unknown.text) == (CELL / 4, "d: not known")
    boxes = [r for r in drawn(made).iter(f"{SVG}rect") if r.get("fill") in SIGNS["safe"]]
    assert [r.get("rx") for r in boxes] == [None, "4.00", None]  # a square, a disc, and the legend's square


def test_a_grid_of_zeros_is_empty():
    assert [box.side for box in Grid("g", [0.0, 0.0], [1.0, 2.0], "ab").boxes] == [0.0, 0.0]


def test_each_unit_has_its_name_and_value_and_the_whole_is_named():
    root = drawn(Grid('<b>"a"</b> & co', [1.0, -2.0], [2.0, 1.0], ["<i>", "a & b"], note="ρ < 1"))
    assert [t.text for t in root.iter(f"{SVG}title")] == ["<i>: +1", "a & b: -2"]
    assert root.get("role") == "img"
    assert root.get("aria-label") == (
        '<b>"a"</b> & co. Area is size; the largest: a & b, -2. Shaded cells: units against, over the class. ρ < 1'
    )


def test_the_colours_of_the_paper_and_the_contrast_of_all():
    made = Grid("g", [1.0, -1.0], [2.0, 1.0], "ab", colours="paper")
    assert tuple(box.colour for box in made.boxes) == SIGNS["paper"]
    for colour in {c for pair in SIGNS.values() for c in pair}:  # of graphics, 3 : 1 (WCAG 1.4.11), on both pages
        for page in ("#fdfdfb", "#17181a"):
            low, high = sorted((luminance(colour), luminance(page)))
            assert (high + 0.05) / (low + 0.05) >= 3, (colour, page)


def test_the_grid_of_two_attributions():
    net, x = torch.nn.Linear(3, 2, bias=False).eval(), torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    net.weight.data[1] = torch.tensor([1.0, -1.0, 0.5])
    a = inf.influence(net, "INPUT", inf.Class(1), inf.Point(x), inf.gradient_times_activation)
    over = a.mean(["cat", "cat"])  # 2, -2, 1
    made = grid(a[0], over)
    assert [box.text for box in made.boxes] == ["channel 0: +1", "channel 2: +1.5", "channel 1: -2"]
    assert (made.title, made.note) == ("INPUT, instance 0", "Follows the order of the class: Spearman's ρ = +0.50.")
    assert grid(over, over, title="all").note == "Follows the order of the class: Spearman's ρ = +1.00."
    with pytest.raises(QuestionError, match=r"^A grid shows one row, and there are 2: a\[0\]\.$"):
        grid(a, over)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: Grid("g", [1.0], [1.0], "a", colours="red"), r"^colours='red' are not known: 'safe', 'paper'\.$"),
        (lambda: Grid("g", [1.0], [1.0, 2.0], "a"), r"^There are 1 values, 2 of the class and 1 names: a grid takes"),
        (lambda: Grid("g", [], [], ""), r"^There are 0 values, 0 of the class and 0 names: a grid takes one of each"),
    ],
)
def test_lessons(ask, says):
    with pytest.raises(QuestionError, match=says):
        ask()
