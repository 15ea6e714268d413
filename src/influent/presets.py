"""The published methods: each one a row of at, of, over and measure, not a class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .ask import influence
from .attribution import Attribution
from .cut import INPUT, Cut
from .dataset import Dataset
from .distributions import Gaussian, Line, Point
from .measures import Ruled, contribution, gradient, gradient_times_activation
from .nets import Net, as_net
from .quantities import Class, Label, Predicted, Unit
from .quantity import Combination, Quantity, as_quantity
from .rules import Deconvnet, Guided
from .text import Text
from .through import Energy, Through

Of = Quantity | Callable[[Tensor], Tensor]
_PREDICTED, _LABEL = Predicted(), Label()


def _input(net: Net | nn.Module, x: Any) -> Cut:
    """The net's input; of texts, their tokens' vectors."""
    return Cut(as_net(net).embedding or INPUT.text) if isinstance(x, Text) else INPUT


def saliency(net: Net | nn.Module, x: Tensor | Text, of: Of = _PREDICTED) -> Attribution:
    """∂F/∂x at x. Source: Simonyan et al. 2014; Leino et al. 2018, Eq 1 over a point.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> saliency(net, x).values.shape
    torch.Size([1, 3])
    """
    return influence(net, _input(net, x), of, Point(x), gradient)


def gradient_times_input(net: Net | nn.Module, x: Tensor | Text, of: Of = _PREDICTED) -> Attribution:
    """x · ∂F/∂x at x. Source: Shrikumar et al. 2016.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> gradient_times_input(net, x).values.shape
    torch.Size([1, 3])
    """
    return influence(net, _input(net, x), of, Point(x), gradient_times_activation)


def smoothgrad(
    net: Net | nn.Module, x: Tensor | Text, of: Of = _PREDICTED, std: float = 0.1, n: int = 50, seed: int = 0
) -> Attribution:
    """E ∂F/∂x over a Gaussian ball around x. Source: Smilkov et al. 2017.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> smoothgrad(net, x, n=4).stderr.shape
    torch.Size([1, 3])
    """
    return influence(net, _input(net, x), of, Gaussian(x, std, n, seed), gradient)


def integrated_gradients(
    net: Net | nn.Module,
    x: Tensor | Text,
    of: Of = _PREDICTED,
    baseline: Any = None,
    n: int = 65,
    rule: str = "adaptive",
) -> Attribution:
    """(x − x′) ∫ ∂F/∂x dα. Source: Sundararajan et al. 2017; Dhamdhere et al. 2018, Eq 1.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> integrated_gradients(net, x, baseline=0 * x).gap.absolute.item() < 1e-5
    True
    """
    return influence(net, _input(net, x), of, Line(baseline, x, n, rule), contribution)


def internal_influence(net: Net | nn.Module, x: Tensor | Text, layer: Cut | str, of: Of = _PREDICTED) -> Attribution:
    """∂F/∂y at a layer y = h(x), at x. Source: Leino et al. 2018, Eq 2.

    >>> net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    >>> internal_influence(net, x, "0").values.shape
    torch.Size([1, 4])
    """
    return influence(net, layer, of, Point(x), gradient)


def conductance(
    net: Net | nn.Module, x: Tensor | Text, layer: Cut | str, of: Of = _PREDICTED, baseline: Any = None, n: int = 65,
    rule: str = "adaptive",
) -> Attribution:  # fmt: skip
    """∫ ∂F/∂y · dy/dα dα at a layer y = h(x). Source: Dhamdhere et al. 2018, Eq 3; Shrikumar et al. 2018.

    >>> net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    >>> a = conductance(net, x, "0", baseline=0 * x, n=9)
    >>> a.gap.absolute.item() <= a.residual.item() + 1e-6
    True
    """
    return influence(net, layer, of, Line(baseline, x, n, rule), contribution)


def conductance_of_units(
    net: Net | nn.Module, x: Tensor | Text, layer: Cut | str, units: Any, of: Of = _PREDICTED, baseline: Any = None,
    n: int = 65, rule: str = "adaptive",
) -> Attribution:  # fmt: skip
    """(x − x′) ∫ Σ_units ∂F/∂y · ∂y/∂x dα: a layer's units, seen on the input. Source: Dhamdhere et al. 2018, Eq 2.

    >>> net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    >>> conductance_of_units(net, x, "0", [1, 3], baseline=0 * x, n=9).values.shape
    torch.Size([1, 3])
    """
    return influence(
        net, _input(net, x), Through(units, layer, as_quantity(of)), Line(baseline, x, n, rule), contribution
    )


def layer_integrated_gradients(
    net: Net | nn.Module, layer: Cut | str, start: Tensor, end: Tensor, given: Any, of: Of = _PREDICTED, n: int = 65,
    rule: str = "adaptive",
) -> Attribution:  # fmt: skip
    """(y − y′) ∫ ∂g/∂y dα along the straight path between activations y′ and y at the layer.

    `inf.activations(net, layer, x)` hands out the ends; `given` are the net's inputs. Source: the oblivious path of
    Dhamdhere et al. 2018, Theorem 2.

    >>> net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    >>> y = activations(net, "0", x)
    >>> layer_integrated_gradients(net, "0", 0 * y, y, x, n=9).values.shape
    torch.Size([1, 4])
    """
    return influence(net, layer, of, Line(start, end, n, rule, cut=layer, given=given), contribution)


def what_drives(net: Net | nn.Module, x: Tensor | Text, unit: Unit, baseline: Any = None, n: int = 65) -> Attribution:
    """Integrated gradients of a unit inside the net. Source: Leino et al. 2018, section 3.1.

    >>> net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    >>> what_drives(net, x, Unit(2, "0"), baseline=0 * x, n=5).values.shape
    torch.Size([1, 3])
    """
    return influence(net, _input(net, x), unit, Line(baseline, x, n), contribution)


def comparative(
    net: Net | nn.Module, x: Tensor | Text, layer: Cut | str, this: Quantity, other: Quantity
) -> Attribution:
    """∂(f_a − f_b)/∂y at a layer, at x: why this class and not the other. Source: Leino et al. 2018, section 3.2.

    >>> net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    >>> comparative(net, x, "0", Class(0), Class(1)).values.shape
    torch.Size([1, 4])
    """
    return influence(net, layer, this - other, Point(x), gradient)


def expected_gradients(
    net: Net | nn.Module, x: Tensor | Text, data: Dataset, of: Of = _PREDICTED, n: int = 17
) -> Attribution:
    """E over baselines x′ from the data of (x − x′) · E ∂F/∂x on the line to x. Source: Erion et al. 2021, Eq 6.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> expected_gradients(net, x, Dataset([torch.zeros(4, 3)])).values.shape
    torch.Size([1, 3])
    """
    return influence(net, _input(net, x), of, Line(data, x, n=n), contribution)


def essence(net: Net | nn.Module, layer: Cut | str, data: Dataset, of: Of = _LABEL) -> Attribution:
    """E ∂F/∂y over the samples of each class: the units that are its essence. Source: Leino et al. 2018, section 3.3.

    >>> data = Dataset([(torch.randn(4, 3), torch.tensor([0, 0, 1, 1]))])
    >>> essence(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval(), "1", data).count
    tensor([2, 2])
    """
    return influence(net, layer, of, data, gradient)


def deconvnet(net: Net | nn.Module, x: Tensor, layer: Cut | str, units: Any = None) -> Attribution:
    """A layer's units, their raw activations sent back to the input, with R · [R > 0] at each ReLU: a DeconvNet.

    `units` as for `Energy`, None for all. Of nets of ReLUs; others are refused. Source: Zeiler and Fergus 2014.

    >>> net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    >>> deconvnet(net, x, "1", [0, 2]).values.shape
    torch.Size([1, 3])
    """
    return influence(net, INPUT, Energy(units, layer), Point(x), Ruled(gradient, Deconvnet()))


def guided_backpropagation(net: Net | nn.Module, x: Tensor, layer: Cut | str, units: Any = None) -> Attribution:
    """As `deconvnet`, with R · [R > 0] · [activation > 0] at each ReLU. Source: Springenberg et al. 2014.

    Of a class score: `influence(net, INPUT, Class(3), Point(x), Ruled(gradient, Guided()))`.

    >>> net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    >>> guided_backpropagation(net, x, "1").values.shape
    torch.Size([1, 3])
    """
    return influence(net, INPUT, Energy(units, layer), Point(x), Ruled(gradient, Guided()))


_METHODS: tuple[Callable[..., Attribution], ...] = (
    saliency, gradient_times_input, smoothgrad, integrated_gradients, internal_influence, conductance,
    conductance_of_units, layer_integrated_gradients, what_drives, comparative, expected_gradients, essence,
    deconvnet, guided_backpropagation,
)  # fmt: skip


def table() -> str:
    """The methods as a Markdown table, each row read off the question that the method asks.

    >>> table().splitlines()[2].startswith("| [`saliency`]")
    True
    """
    net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    words = {
        "net": net, "x": x, "layer": "0", "of": Predicted(), "baseline": 0 * x, "n": 3, "unit": Unit(2, "0"),
        "units": [1, 2], "data": Dataset([(x, torch.tensor([1]))]),
        "this": Class(0), "other": Class(1), "start": torch.zeros(1, 4), "end": torch.ones(1, 4), "given": x,
    }  # fmt: skip
    lines = ["| method | at | of | over | measure | source |", "|---|---|---|---|---|---|"]
    for method in _METHODS:
        asked = inspect.signature(method).parameters
        q = method(**{name: words[name] for name in asked if name in words}).question
        source = (method.__doc__ or "").partition("Source: ")[2].partition("\n\n")[0].rstrip(".")
        over = type(q.over).__name__ + ("" if q.over.place == INPUT else " at the layer")
        over += " from a Dataset" if isinstance(q.over, Line) and q.over.data is not None else ""
        at = "INPUT" if q.at == INPUT else "layer"
        of = (
            type(q.of).__name__
            if isinstance(q.of, Unit | Through | Energy)
            else "Class(a) - Class(b)"
            if isinstance(q.of, Combination)
            else "any"
        )
        lines.append(
            f"| [`{method.__name__}`](src/influent/presets.py) | {at} | {of} | {over} | `{q.text['measure']}` | "
            f"{' '.join(source.split())} |"
        )
    return "\n".join(lines)
