"""Nets as their libraries build them: the library's questions, put to each, beside plain torch.

All in double precision, on paths between two inputs of noise (zeros would tie in max-pooling, and no two ways of
computing agree on which of equals comes first). Each test is a column of the table at the end of the run.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import influent as inf
from tests.vision.architectures import ROWS
from tests.vision.by_hand import AGREE, Built, build, copied, relative, snapshot

EPS = torch.finfo(torch.float64).eps
POINTS = 5


@pytest.fixture(scope="module", params=ROWS)
def built(request: pytest.FixtureRequest, vision: Any) -> Iterator[Built]:
    yield build(ROWS[request.param], vision)
    conductance.cache_clear()
    torch.compiler.reset()


def size(e: inf.Evidence) -> Tensor:
    """|∂of/∂neuron · velocity|: what the rounding errors of a contribution are measured by."""
    return e.contribution.abs()


def completeness(built: Built, at: list[str], over: inf.Line, chunk: int = 16) -> dict[str, inf.Attribution]:
    """Contributions at several cuts from one sweep, those of full cuts held to the law |gap| ≤ residual.

    The law is algebra: gap = −Σ_segments (ΔF − S), and the residual is the sum of sizes. Both add up the same N < 2¹⁹
    products, in pairs within a tensor and one after another over fewer than 40 points; so they err by less than
    (19 + 40) eps of Σ|products|, and by an eps of F at each end of a segment.
    """
    found = inf.influence(built.net, at, built.row.of, over, [inf.contribution, size], chunk=chunk)
    place = over.place.text
    rows = range(len(over.x))
    ends = torch.tensor(
        [[built.number(p[i : i + 1], i, place) for p in (over.baseline, over.x)] for i in rows], dtype=torch.float64
    )
    for answers in found.values():
        a = answers[inf.contribution]
        if a.gap is None:
            assert (a.note, a.residual) == ("not a full cut", None)
            continue
        assert relative(a.gap.change, ends[:, 1] - ends[:, 0]) < AGREE
        rounding = 64 * EPS * (answers[size].values.flatten(1).sum(1) + ends.abs().amax(1))
        assert bool(((a.values.flatten(1).sum(1) - a.gap.change - a.gap.signed).abs() <= rounding).all())
        if over.rule != "gauss":
            assert bool((a.gap.absolute <= a.residual + rounding).all())
    return {cut: answers[inf.contribution] for cut, answers in found.items()}


def worst(a: inf.Attribution) -> str:
    """The gap and the residual, in units of |ΔF|."""
    return f"{float(a.gap.relative.max()):.0e} ≤ {float((a.residual / a.gap.change.abs()).max()):.0e}"


@functools.lru_cache(maxsize=1)
def conductance(built: Built) -> inf.Attribution:
    """Of the trunk, on both subjects' paths, three points at a time: passes that end in the middle of a path."""
    return completeness(built, [built.row.trunk], built.line(POINTS, "uniform"), chunk=3)[built.row.trunk]


def test_one_cut(built, cell):
    a = conductance(built)
    assert a.velocity == "secant"
    cell(worst(a))


def test_nine_cuts(built, cell):
    """All from one sweep; which are full is known from the net's drawing, and found by holding each activation fast."""
    row = built.row
    full = {row.trunk, row.inner, row.later, *row.full}
    places = [*full, *row.branches]
    assert len(set(places)) == 9
    assert {cut for cut in places if built.crossed(cut)} == full
    answers = completeness(built, places, built.line(3, "uniform"))
    assert {cut for cut, a in answers.items() if a.gap is not None} == full
    gaps = [float(answers[cut].gap.relative.max()) for cut in full]
    cell(f"{len(full)} full ≤ {max(gaps):.0e}, {len(row.branches)} not")


def test_units(built, cell):
    """Channels and tokens are sums of the neurons that a loop finds."""
    at, axes = built.row.trunk, built.row.axes
    path = [built.slope(at, torch.lerp(built.start[:1], built.end[:1], k / 2), 0) for k in range(3)]
    neurons = sum((g + h) / 2 * (z - y) for (y, g, _), (z, h, _) in pairwise(path))
    units = [f"{at}/{axis}" for axis in ("channel", "token") if axis in axes]
    answers = inf.influence(built.net, units, built.row.of, built.line(3, "uniform", 1), inf.contribution)
    apart = {}
    for cut, a in answers.items():
        (axis,) = a.axes
        others = [d + 1 for d, name in enumerate(axes) if name != axis]
        apart[axis] = relative(a.values, neurons.sum(others) if others else neurons)
        assert cut == f"{at}/{axis}"
    assert max(apart.values()) < AGREE
    cell(", ".join(f"{axis} {error:.0e}" for axis, error in apart.items()))


def test_inner_path(built, cell):
    """A path between two activations, fed inside the net: seen where it is fed, and later; by Gauss too, if smooth."""
    row, places = built.row, [built.row.inner, built.row.later]
    ends = [torch.cat([built.seen(row.inner, p[i : i + 1], i) for i in range(2)]) for p in (built.start, built.end)]
    if row.feed == "INPUT":
        assert relative(inf.activations(built.net, row.inner, built.inputs(2)), ends[1]) < AGREE
    over = inf.Line(*ends, POINTS, "graded", cut=row.inner, given=built.inputs(2))
    answers = completeness(built, places, over)
    assert [a.velocity for a in answers.values()] == ["exact (the path's own)", "secant"]
    text = f"{max(float(a.gap.relative.max()) for a in answers.values()):.0e}"
    if row.nodes:
        first, last = (end[:1] for end in ends)
        over = inf.Line(first, last, row.nodes, "gauss", cut=row.inner, given=built.inputs(1))
        answers = completeness(built, places, over)
        assert [a.velocity for a in answers.values()] == ["exact (the path's own)", "exact (forward mode)"]
        left = max(float(a.gap.relative.max()) for a in answers.values())
        assert left < AGREE
        text += f", Gauss {left:.0e}"
    cell(text)


def test_adaptive(built, cell):
    (a,) = completeness(built, [built.row.trunk], built.line(17, "adaptive", 1)).values()
    cell(worst(a))


def test_oracle(built, cell):
    """The gradient at the second input, and the trapezoid of secants on its path, neuron by neuron, beside a loop."""
    at, of, alone = built.row.trunk, built.row.of, slice(1, 2)
    path = [
        built.slope(at, torch.lerp(built.start[alone], built.end[alone], k / (POINTS - 1)), 1) for k in range(POINTS)
    ]
    point = inf.Point(built.end, cut=built.row.feed, given=built.given(2))
    gradient = relative(inf.influence(built.net, at, of, point).values[alone], path[-1][1])
    steps = [(g + h) / 2 * (z - y) for (y, g, _), (z, h, _) in pairwise(path)]
    a = conductance(built)
    contribution = relative(a.values[alone], sum(steps))
    changes = [after - before for (*_, before), (*_, after) in pairwise(path)]
    residual = sum(abs(change - float(step.sum())) for change, step in zip(changes, steps, strict=True))
    assert max(gradient, contribution) < AGREE
    assert abs(float(a.residual[1]) - residual) < AGREE * max(abs(value) for *_, value in path)
    cell(f"∂ {gradient:.0e}, Σ {contribution:.0e}")


def test_left_alone(built, cell):
    """After all that was asked above, and after a question that fails: the net, and torch, as they were."""

    def fails(e: inf.Evidence) -> Tensor:
        raise ArithmeticError("a measure that fails")

    with pytest.raises(ArithmeticError, match="a measure that fails"):
        inf.influence(built.net, built.row.trunk, built.row.of, built.line(3, "uniform"), fails)
    now, weights = snapshot(built.plain), copied(built.plain)
    assert {key for key in now if now[key] != built.state[key]} == set()
    assert weights.keys() == built.state["weights"].keys()
    assert all(torch.equal(weights[name], before) for name, before in built.state["weights"].items())
    cell("yes")
