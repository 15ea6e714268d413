"""Where to look in a net that one does not know: the places that every path crosses, and a middle one."""

from __future__ import annotations

import torch
from torch import Tensor

from .cut import INPUT, OUTPUT, Cut, as_cut
from .errors import QuestionError
from .nets import Net
from .probe import CutInfo, Probe, cuts


def trunk(net: Net, x: Tensor) -> list[CutInfo]:
    """The places that every path from the input to the output crosses, in the order in which they run.

    Places count that run once and whose channels are known; modules made of others (blocks), where there are any such
    places, and single layers else. `x [1, *shape]`. Contributions at each of them add up to F(x) − F(x′).

    >>> net = Net(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2)).eval())
    >>> [place.name for place in trunk(net, torch.zeros(1, 3, 5, 5))]
    ['0', '1', '2']
    """
    return _crossed(net, x, cuts(net, x))


def _crossed(net: Net, x: Tensor, every: list[CutInfo]) -> list[CutInfo]:
    places = [c for c in every if c.calls == 1 and c.axes and "channel" in c.axes]
    if not places:
        return []
    with Probe(net, [Cut(c.name) for c in places], [OUTPUT], INPUT, None, 1) as probe:
        row = torch.zeros(1, dtype=torch.long)
        full = probe.full(x, row, lambda done: [done.read[OUTPUT].flatten(1).sum(1)])
    crossed = [c for c in places if full[Cut(c.name)][0]]
    return [c for c in crossed if any(net.module.get_submodule(c.name).children())] or crossed


def middle(net: Net, x: Tensor) -> Cut:
    """The channels of a middle layer: of the trunk's places whose channels have positions, the one nearest two thirds.

    Two thirds of the way in the order in which modules run. Errors: `QuestionError` where there is none.
    """
    every = cuts(net, x)
    places = [c for c in _crossed(net, x, every) if len(c.axes or ()) > 1]
    if not places:
        raise QuestionError(
            "No middle layer of this net is known to have channels: say which units, --at LAYER/channel (at= in "
            "Python). `influent cuts` lists the places; inf.Net(module, axes=...) names their axes."
        )
    found = min(places, key=lambda c: abs(every.index(c) - 2 / 3 * len(every)))
    return Cut(f"{found.name}/channel")


def units_at(net: Net, at: str | None, x: Tensor) -> list[Cut]:
    """The layers that a text names, between commas, with channels as units where it names none.

    Without a text the net's own layer, or its middle one. Errors: `QuestionError` as `middle`.
    """
    text = at or net.layer
    cuts = [as_cut(place) for place in text.split(",")] if text else [middle(net, x)]
    return [cut if cut.units else Cut(f"{cut.text}/channel") for cut in cuts]
