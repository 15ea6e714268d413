"""Does the preprocessing take away what a class is known by? Each of its steps left out, or weakened, in turn.

Leaving a step out in front of the same net answers two questions. Is more of the class said at once? Then the step
spoils what the net knows. And do the net's units tell the class from its rival better, to a linear readout that is
trained anew? Then the step hides what the net could have learned, and it has to be trained again without it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .axes import unit_axis
from .cut import OUTPUT, Cut
from .drowning import Bench, evenly
from .errors import InfluentError
from .fidelity import auroc
from .limits import Limits
from .mask import by_unit
from .nets import Net
from .pixels import PixelTransform
from .places import trunk
from .preprocessing import Blur, Compose, name_of
from .probe import Probe
from .rates import mcnemar
from .readout import FOLDS, area_gain, read_out
from .samples import Folder, Indexed, LeftOut, Source, known_source
from .selection import selected


@dataclass(frozen=True)
class Suspect:
    """A step of the preprocessing changed, for one class: how much more of it is said, and is read out of the units.

    - `index`, `rival`: the class, and the one that it is told from; `step`, `change`: what was changed, and how;
    - `found` of `count` samples are said to be the class, `before` with the step as it is; `p`: McNemar's test;
    - `readout`, `readout_before`: AUROC of a linear readout of the net's units, the class against its rival, with the
      step changed and as it is; `gain [low, high]`: their difference, with an interval for all changes at once;
    - `level`: what p is held against, for all changes of the class together; `failed`: why it could not be tried.
    """

    index: int
    rival: int
    step: str
    change: str
    found: int = 0
    count: int = 0
    before: int = 0
    p: float = 1.0
    readout: float = float("nan")
    readout_before: float = float("nan")
    gain: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    level: float = 0.0
    failed: str = ""

    def spoils(self, limits: Limits) -> bool:
        """Whether the net finds more of the class at once."""
        return not self.failed and self.p <= self.level and (self.found - self.before) / self.count >= limits.apart

    def hides(self, limits: Limits) -> bool:
        """Whether the net's units tell the class apart without the step, and not so well with it."""
        return not self.failed and self.low > 0 and self.gain >= limits.regained


@dataclass(frozen=True)
class Change:
    """One step of a way into a net, changed."""

    step: str
    change: str
    transform: PixelTransform


@dataclass(frozen=True)
class Squeezed:
    """The whole picture at one size, whatever its shape."""

    width: int
    height: int

    def __call__(self, picture: Image.Image) -> Image.Image:
        return picture.resize((self.width, self.height), Image.Resampling.BICUBIC)


def changes(transform: Any) -> list[Change]:
    """Each step of a way into a net left out, or weakened where the net needs it; none where its steps are not known.

    >>> [(c.step, c.change) for c in changes(PixelTransform((0, 0, 0), (1, 1, 1), see=Compose((Blur(2.0),))))]
    [('Blur(std=2.0)', 'left out'), ('Blur(std=2.0)', 'half as wide')]
    """
    if not isinstance(transform, PixelTransform):
        return []
    if transform.see is None:
        side, resize = transform.crop, f"resize to {transform.resize}"
        return [
            Change(resize, "to twice that size", replace(transform, resize=2 * transform.resize)),
            Change(f"crop of {side}", "the whole picture, squeezed", replace(transform, see=Squeezed(side, side))),
        ]
    if not isinstance(transform.see, Compose):
        return []
    steps = transform.see.steps
    return [
        Change(name_of(step), change, replace(transform, see=Compose((*steps[:k], *instead, *steps[k + 1 :]))))
        for k, step in enumerate(steps)
        for change, instead in _instead(step)
    ]


def _instead(step: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What may stand in the place of a step: nothing, or less of it. Resizing and cropping make the size that fits."""
    kind, size = type(step).__name__, getattr(step, "size", None)
    sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, list | tuple) else ()
    if kind == "Resize" and sides:
        larger = copy.copy(step)
        larger.size = 2 * size if isinstance(size, int) else [2 * side for side in sides]
        yield "to twice that size", (larger,)
    elif kind == "CenterCrop" and len(sides) == 2:
        yield "the whole picture, squeezed", (Squeezed(sides[1], sides[0]),)
    else:
        yield "left out", ()
        if isinstance(step, Blur):
            yield "half as wide", (Blur(step.std / 2),)


def reads_pictures(source: Source) -> bool:
    """Whether samples go through the net's transform, so that another one can be tried."""
    return isinstance(source, Folder) or (
        isinstance(source, Indexed) and len(source.rows) > 0 and _is_picture(source.rows[0])
    )


def _is_picture(sample: Any) -> bool:
    values = sample.values() if isinstance(sample, dict) else sample if isinstance(sample, list | tuple) else [sample]
    return any(isinstance(value, Image.Image) for value in values)


def try_steps(bench: Bench, index: int, rival: int) -> tuple[Suspect, ...]:
    """Every change of the way into the net, for a class and the one that it is told from; none where none is known."""
    todo = changes(bench.net.transform) if reads_pictures(bench.source) else []
    if not todo:
        return ()
    own, others = (evenly(bench.seen.where(k), 2 * bench.limits.most) for k in (index, rival))
    if min(len(own), len(others)) < max(FOLDS, 2):
        return ()
    rows = torch.cat([own, others]).sort().values
    positive = bench.seen.label[rows] == index
    said, units = _read(bench, bench.net, rows)
    before = read_out(units, positive)
    level = bench.limits.level / len(todo)
    return tuple(_tried(bench, index, rival, one, rows, said == index, before, level) for one in todo)


def _tried(
    bench: Bench, index: int, rival: int, change: Change, rows: Tensor, hits: Tensor, before: Tensor, level: float
) -> Suspect:
    none = Suspect(index, rival, change.step, change.change)
    positive = bench.seen.label[rows] == index
    try:
        said, units = _read(bench, replace(bench.net, transform=change.transform), rows)
    except InfluentError as error:
        return replace(none, failed=str(error))
    if len(said) != len(rows):
        return replace(none, failed="Some pictures cannot be read in this way.")
    now, was = (said == index)[positive], hits[positive]
    after = read_out(units, positive)
    gain, low, high = area_gain(before, after, positive, 1 - level)
    return replace(
        none, found=int(now.sum()), count=int(positive.sum()), before=int(was.sum()),
        p=mcnemar(int((now & ~was).sum()), int((was & ~now).sum())), readout=auroc(after, positive),
        readout_before=auroc(before, positive), gain=gain, low=low, high=high, level=level,
    )  # fmt: skip


def _read(bench: Bench, net: Net, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What is said of each sample, and its units: mean and deviation over positions at each layer of the trunk."""
    if bench.planned is not None:
        bench.planned(len(rows))
    source = selected(known_source(bench.source), bench.seen.index[rows].tolist())
    said, units = [], []
    cuts: list[Cut] | None = None
    for block in source.blocks(net, min(32, bench.chunk), LeftOut()):
        x = net.placed(block.x)
        if cuts is None:
            cuts = [Cut(place.name) for place in trunk(net, x[:1])] or [bench.at.place]
        with Probe(net, [], [*cuts, OUTPUT], None, x, -1) as probe:
            done = probe.run(torch.empty(0), torch.empty(0), mode="value").read
        said.append(done[OUTPUT].argmax(1).cpu())
        units.append(torch.cat([_summed(net, cut, done[cut]) for cut in cuts], 1).cpu())
        if bench.progress is not None:
            bench.progress(len(block))
    return torch.cat(said), torch.cat(units)


def _summed(net: Net, cut: Cut, h: Tensor) -> Tensor:
    """Mean and deviation of each channel over its positions, `[point, 2 · channel]`; the channel where it has none."""
    axis = unit_axis(net.module, Cut(f"{cut.text}/channel"), h.shape, net.axes)
    apart = by_unit(h.contiguous(), axis).flatten(2) if h.dim() > 2 else h[..., None]
    return torch.cat([apart.mean(2), apart.std(2)], 1) if apart.shape[2] > 1 else apart[..., 0]
