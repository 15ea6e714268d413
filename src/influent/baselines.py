"""Whether a path begins where the net says nothing, and how far it runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .cut import OUTPUT
from .distributions import Line
from .errors import QuestionError
from .nets import Net, as_net
from .probe import activations

NEUTRAL = 0.5


@dataclass(frozen=True)
class Beginning:
    """What a net says where a path begins and half way: `(class, probability)`, and how far it runs.

    `distance` is the root mean square of x − x′, in grey levels (0..255) where the net's transform knows pixels, in
    units of the input else; `explained` is the probability, at the baseline, of the class predicted at the input.
    """

    at_baseline: tuple[str, float]
    half_way: tuple[str, float]
    explained: float
    distance: float
    unit: str

    @property
    def neutral(self) -> bool:
        """Whether no class has half of the probability at the baseline."""
        return self.at_baseline[1] < NEUTRAL

    def __str__(self) -> str:
        (name, p), (half, q) = self.at_baseline, self.half_way
        told = "neutral" if self.neutral else "NOT neutral: what is explained is also the absence of that"
        return (
            f"the path begins where the net says {name} with {p:.1%} ({told}); half way it says {half} with {q:.1%}; "
            f"it runs {self.distance:.3g} {self.unit} a value"
        )


def beginning(net: Net, line: Line) -> Beginning:
    """Whether the prediction at a line's baseline is neutral, and how far the line runs, for its first input.

    Errors: `QuestionError` for nets that give no classes `[point, class]`, and for lines inside the net.
    Source: "the network must have a truly neutral prediction at the baseline", Taly's slides; a line may lie far out of
    the distribution, Leino et al. 2018, appendix C.

    >>> from torch import nn
    >>> net = Net(nn.Linear(2, 2, bias=False).eval())
    >>> beginning(net, Line(torch.zeros(1, 2), torch.ones(1, 2))).at_baseline[1]
    0.5
    """
    net = as_net(net)
    if line.given is not None or line.place.name != "INPUT":
        raise QuestionError("The beginning of a line is looked at where it runs at the input: Line('black', x).")
    ends = line.resolve(net)
    x, x0 = ends.x[:1], ends.baseline[:1]
    outputs = _probabilities(net, torch.cat([x0, torch.lerp(x0, x, 0.5), x]))
    decode = getattr(net.transform, "decode", None)
    step = decode(x) - decode(x0) if decode else x - x0
    top = [(net.label(int(p.argmax())), float(p.max())) for p in outputs]
    return Beginning(
        at_baseline=top[0],
        half_way=top[1],
        explained=float(outputs[0][int(outputs[2].argmax())]),
        distance=float(step.double().square().mean().sqrt()),
        unit="grey levels" if decode else "units",
    )


def _probabilities(net: Net, x: Tensor) -> Tensor:
    y = activations(net, OUTPUT, x)
    if y.dim() != 2 or y.shape[1] < 2:
        raise QuestionError(
            "This net gives no classes [point, class], so there is no prediction that could be neutral."
        )
    return torch.softmax(y.double(), 1)
