"""Pictures: what the colours mean, and what the panel shows."""

import numpy as np
import pytest
import torch
from torch import nn

import influent as inf
from influent.views.figure import Cell, Figure
from influent.views.heat import heat, per_pixel
from influent.views.overlay import overlay, scaled_pixels
from influent.views.palette import limit, signed_colours
from influent.views.units import carried


def bright_net():
    """Channel k of the first layer is colour k; class 0 is Σ red − Σ blue."""
    conv = nn.Conv2d(3, 3, 1, bias=False)
    conv.weight.data = torch.eye(3).reshape(3, 3, 1, 1)
    head = nn.Linear(3 * 16, 2, bias=False)
    head.weight.data = torch.cat([torch.ones(16), torch.zeros(16), -torch.ones(16)]).repeat(2, 1)
    return nn.Sequential(conv, nn.Flatten(), head).eval()


def test_red_is_positive_blue_negative_white_zero_and_the_scale_is_symmetric():
    colours = signed_colours(torch.tensor([[-1.0, 0.0, 1.0]]), 1.0)[0]
    assert colours[0][2] > colours[0][0]
    assert colours[2][0] > colours[2][2]
    assert (colours[1] > 0.95).all()
    # Equal sizes of either sign are equally far from white, to the rounding of a 256-step colour map.
    dark = 1 - colours @ [0.299, 0.587, 0.114]
    assert dark[0] == pytest.approx(dark[2], abs=0.1)


def test_the_scale_saturates_at_a_percentile_and_is_never_zero():
    values = torch.cat([torch.ones(999), torch.tensor([1000.0])])
    assert limit(values, 99.0) == 1.0
    assert limit(torch.zeros(4)) == 1.0


def test_a_heat_map_sums_the_colour_channels_before_it_takes_colours():
    values = torch.tensor([1.0, -1.0, 0.0]).reshape(3, 1, 1).expand(3, 2, 2)
    assert float(per_pixel(values).abs().max()) == 0.0
    assert (heat(values) > 0.95).all()


def test_scaled_pixels_keep_the_colour_that_matters_and_darken_the_rest():
    photo = np.full((2, 2, 3), 0.5)
    values = torch.zeros(3, 2, 2)
    values[0] = -2.0
    assert scaled_pixels(values, photo)[..., 0] == pytest.approx(0.5)
    assert scaled_pixels(values, photo)[..., 1:].max() == 0.0


def test_an_overlay_of_nothing_is_the_photo_in_grey():
    grey = overlay(torch.zeros(3, 8, 8), np.random.default_rng(0).random((8, 8, 3)))
    assert np.ptp(grey, axis=2).max() < 1e-12


def test_show_draws_each_top_unit_by_what_drives_it():
    x = torch.ones(1, 3, 4, 4)
    a = inf.influence(bright_net(), "0/channel", inf.Class(0), inf.Line(torch.zeros_like(x), x, n=3), inf.contribution)
    figure = inf.show(a, on=x, top=2)
    titles = [cell.title for cell in figure.rows[0]]
    # 16 pixels of 1 for red, 16 of −1 for blue: half of all each.
    assert titles == [
        "as the net sees it",
        "channel 0  +16  (50.0%)",
        "channel 2  -16  (50.0%)",
        "integrated gradients",
    ]
    red, blue = figure.rows[0][1].picture, figure.rows[0][2].picture
    assert red[..., 0].min() > 0.9
    assert red[..., 1:].max() == 0.0
    assert blue[..., 2].min() > 0.9


def test_a_unit_is_drawn_where_it_matters_to_the_answer_not_wherever_it_is_active():
    """Red counts only in the left half of the picture: the right half of its channel carries nothing."""
    net = bright_net()
    left = (torch.arange(16) % 4 < 2).float()
    net[2].weight.data = torch.cat([left, torch.zeros(32)]).repeat(2, 1)
    x = torch.ones(1, 3, 4, 4)
    a = inf.influence(net, "0/channel", inf.Class(0), inf.Line(torch.zeros_like(x), x, n=3), inf.contribution)
    scaled = inf.show(a, on=x, top=1).rows[0][1].picture
    # Scaled pixels are blurred by 1.5 of them: the left edge keeps its light, the right edge stays dark.
    assert scaled[:, 0, 0].min() > 0.9
    assert scaled[:, 3, 0].max() < 0.5


def test_units_by_another_axis_are_drawn_too():
    x = torch.ones(1, 3, 4, 4)
    slope = inf.influence(bright_net(), "0", inf.Class(0), inf.Point(x))
    third = carried(slope, slope.by("row")[0].top(4)[2], "row")
    row = slope.by("row")[0].top(4)[2].index[0]
    assert float(third.weights[:, row].abs().sum()) == float(third.weights.abs().sum()) == 8.0


def test_a_row_of_several_is_drawn_as_that_input_alone():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    x, black = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4) / 10
    of = inf.Label()
    several = inf.influence(net, "0/channel", of, inf.Line(black, x, n=9, label=[0, 1, 1]), inf.contribution)
    alone = inf.influence(net, "0/channel", of, inf.Line(black[2:], x[2:], n=9, label=[1]), inf.contribution)
    one, other = inf.show(several[2], on=x[2:]), inf.show(alone, on=x[2:])
    for row, again in zip(one.rows, other.rows, strict=True):
        for cell, same in zip(row, again, strict=True):
            assert cell.title == same.title
            # Batches of three and of one round differently, by a few units in the last place of float32.
            assert cell.picture == pytest.approx(same.picture, abs=1e-3)


def test_without_a_baseline_the_answer_is_drawn_by_gradient_times_input_and_says_so():
    x = torch.ones(1, 3, 4, 4)
    figure = inf.show(inf.influence(bright_net(), "0/channel", inf.Class(0), inf.Point(x)), on=x)
    assert figure.rows[0][-1].title == "gradient × input"


def test_bgr_influences_are_drawn_on_the_right_colours():
    transform = inf.PixelTransform((0, 0, 0), (255, 255, 255), resize=4, crop=4, order="BGR")
    net = inf.Net(bright_net(), transform=transform)
    x = torch.ones(1, 3, 4, 4)
    figure = inf.show(inf.influence(net, inf.INPUT, inf.Unit(0, "0"), inf.Point(x)), on=x)
    scaled = figure.rows[0][-1].picture
    # Channel 0 of a BGR net is blue.
    assert scaled[..., 2].min() > 0.9
    assert scaled[..., :2].max() == 0.0


def test_a_figure_saves_as_png_and_html_shows_itself_and_escapes_its_texts(tmp_path):
    figure = Figure("a < b", "legend", ((Cell(np.zeros((4, 4, 3)), "<script>"),),))
    assert figure.save(tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    page = figure.save(tmp_path / "f.html").read_text()
    assert "a &lt; b" in page
    assert "<script>" not in page
    assert "data:image/jpeg;base64," in figure._repr_html_()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.html", "f.png"]


@pytest.mark.parametrize(
    ("make", "lesson"),
    [
        (lambda a, x: inf.show({"0": a}, on=x), "show takes one attribution"),
        (lambda a, x: inf.show(a, on=x[0]), r"on= is the explained input, \[1, channel, row, column\]"),
        (lambda a, x: inf.show(a, on=x).save("f.gif"), "saved as .png or .html, not .gif"),
        (lambda a, x: inf.show(inf.influence(bright_net(), "0", inf.Class(0), inf.Point(x.repeat(2, 1, 1, 1))), on=x),
         "one row of one quantity"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_a_lesson(make, lesson):
    x = torch.ones(1, 3, 4, 4)
    a = inf.influence(bright_net(), "0/channel", inf.Class(0), inf.Point(x))
    with pytest.raises(inf.InfluentError, match=lesson):
        make(a, x)
