"""Layered explanations: which layer says most of a decision, which of its units, and back to the picture."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .ask import influence
from .cut import INPUT, Cut, as_cut
from .dataset import Dataset
from .distributions import Line, Point
from .errors import InputError, QuestionError, nearest
from .measures import Ruled, activation, contribution, gradient
from .monotone import labels_of, mim, one_pass
from .nets import Net, as_net
from .places import trunk
from .probe import activations
from .pull import Kernel
from .quantities import Predicted
from .rules import Deconvnet
from .samples import Batches, LeftOut, Source, known_source
from .through import Energy

CRITERIA = ("accuracy", "spread", "coherence")
WIDEST = 512


@dataclass(frozen=True)
class Layer:
    """What is known of one layer.

    - `units`: how many neurons it has; `hashed`: to how many numbers they were brought for the linear model, None where
      all were used;
    - `accuracy`, `accuracy_error`: of a linear model that tells from the layer what the net says, cross-validated: the
      mean over folds and its standard error;
    - `spread`: the Gini index of |φ| over units, 0 where all are alike, 1 where one has it all; mean over inputs;
    - `coherence`: ‖Σ w (y − x)‖ / Σ |w|·‖y − x‖ of MIM, between 0 and 1; mean over inputs.
    """

    cut: Cut
    units: int
    hashed: int | None
    accuracy: float
    accuracy_error: float
    spread: float
    coherence: float


@dataclass(frozen=True)
class Layers:
    """The candidate layers in the order in which they run; `samples` were gone through, `inputs` explained by MIM.

    `left_out` names samples that could not be read. Prints as a table.
    """

    layers: tuple[Layer, ...]
    samples: int
    inputs: int
    classes: int
    left_out: Mapping[str, str] = field(default_factory=dict)

    def best(self, criterion: str = "accuracy") -> Layer:
        """The layer of the highest value; of several that are as good within the error, the earliest.

        Only accuracies have an error. Errors: `QuestionError` for other criteria.
        """
        check_words("mim", (), criterion)
        best = max(self.layers, key=lambda layer: float(getattr(layer, criterion)))
        slack = best.accuracy_error if criterion == "accuracy" else 0.0
        return next(layer for layer in self.layers if getattr(layer, criterion) >= getattr(best, criterion) - slack)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The table as text, its head first."""
        head = ("layer", "units", "accuracy", "spread", "coherence")
        rows = [
            (
                layer.cut.text, str(layer.units) + ("*" if layer.hashed else ""),
                f"{layer.accuracy:.1%} ± {layer.accuracy_error:.1%}", f"{layer.spread:.3f}", f"{layer.coherence:.3f}",
            )
            for layer in self.layers
        ]  # fmt: skip
        return [head, *rows]

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in self.rows]
        if any(layer.hashed for layer in self.layers):
            lines.append(f"* brought to {WIDEST} numbers by random signed sums for the linear model")
        return "\n".join(lines)


def rank(
    net: Net | nn.Module, data: Any, cuts: Sequence[Cut | str] | None = None, x: Tensor | None = None,
    kernel: str | Kernel = "1/d2", labels: Any = "hard", folds: int = 5, seed: int = 0, chunk: int = 64,
    progress: Callable[[int], None] | None = None,
) -> Layers:  # fmt: skip
    """Candidate layers by three criteria, out of one pass over the data: how linear, how spread, how coherent.

    `cuts` are the layers (the net's trunk without them: places that every path crosses; never the input, nor the net's
    output), `x [instance, *shape]` the inputs that MIM is taken at (without them the first 20 samples of the data);
    `kernel` and `labels` are MIM's. The linear model (logistic regression on standardised units, C = 1) is to tell the
    class that the net itself says; layers of more than 512 units are brought to 512 numbers, each unit added to one of
    them with a random sign (`seed`).
    Errors: `InputError` where scikit-learn is missing; `QuestionError` where the net says one class of all, or no layer
    is left. Source: Ho's Layered Explanations, step 1; feature hashing, Weinberger et al. 2009; the Gini index.
    """
    check_linear()
    net = as_net(net)
    source = Batches(data.split(chunk)) if isinstance(data, Tensor) else known_source(_source(data))
    x = _first(net, source, 20) if x is None else x
    places = [as_cut(c).place for c in cuts] if cuts is not None else candidates(net, x[:1])
    if not places:
        raise QuestionError("No layer between the input and the output is known: name some, cuts=['conv1', 'conv2'].")
    kept = Features(places, seed)
    told, _ = labels_of(net, labels)
    found = one_pass(net, places, x, source, kernel, told, chunk, progress, kept.add)
    said = torch.cat(kept.said)
    layers = []
    for place in places:
        pulled = found.at[place]
        accuracy, error = linear_accuracy(torch.cat(kept.rows[place]), said, folds, seed)
        units = pulled.phi[0].numel()
        layers.append(Layer(
            place, units, WIDEST if units > WIDEST else None, accuracy, error, float(gini(pulled.phi).mean()),
            float(pulled.coherence.nanmean()),
        ))  # fmt: skip
    return Layers(tuple(layers), len(said), len(x), len(said.unique()), found.left_out)


def candidates(net: Net, x: Tensor) -> list[Cut]:
    """The places that every path crosses, without the net's output, in the order in which they run.

    >>> net = Net(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(72, 2)).eval())
    >>> candidates(net, torch.zeros(1, 3, 5, 5))
    ['0', '1']
    """
    places = [Cut(place.name) for place in trunk(net, x)]
    last = activations(net, "OUTPUT", x)
    seen = {place: activations(net, place, x) for place in places}
    return [place for place, y in seen.items() if y.shape != last.shape or not torch.equal(y, last)]


@dataclass
class Features:
    """What one pass keeps of each sample: its units, hashed where they are many, and the class that the net says."""

    places: Sequence[Cut]
    seed: int

    def __post_init__(self) -> None:
        self.rows: dict[Cut, list[Tensor]] = {place: [] for place in self.places}
        self.said: list[Tensor] = []
        self._buckets: dict[Cut, tuple[Tensor, Tensor]] = {}

    def add(self, seen: Mapping[Cut, Tensor], outputs: Tensor) -> None:
        """More samples: activations `[point, *neuron]` by place, and outputs `[point, class]`."""
        for place in self.places:
            self.rows[place].append(self._hashed(place, seen[place].flatten(1)).cpu())
        self.said.append(outputs.argmax(1).cpu())

    def _hashed(self, place: Cut, y: Tensor) -> Tensor:
        if y.shape[1] <= WIDEST:
            return y.float()
        if place not in self._buckets:
            dice = torch.Generator().manual_seed(self.seed)
            to = torch.randint(WIDEST, (y.shape[1],), generator=dice).to(y.device)
            signs = (torch.randint(2, (y.shape[1],), generator=dice) * 2 - 1).to(y)
            self._buckets[place] = to, signs
        to, signs = self._buckets[place]
        return y.new_zeros(len(y), WIDEST).index_add_(1, to, y * signs).float()


def check_linear() -> None:
    """Refuse to begin where scikit-learn is missing, by an `InputError`."""
    if importlib.util.find_spec("sklearn") is None:
        raise InputError('Linear models need scikit-learn: pip install "influent[layered]".')


def linear_accuracy(features: Tensor, said: Tensor, folds: int = 5, seed: int = 0) -> tuple[float, float]:
    """Cross-validated accuracy of logistic regression, `[sample, unit]`, `[sample]` → mean over folds, its stderr.

    Classes of fewer than `folds` samples are left out. Errors: `InputError` where scikit-learn is missing;
    `QuestionError` where fewer than two classes are left.
    """
    check_linear()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes, counts = said.unique(return_counts=True)
    kept = torch.isin(said, classes[counts >= folds])
    if int((counts >= folds).sum()) < 2:
        raise QuestionError(
            f"The net says {len(classes)} classes of these {len(said)} samples, and {folds} samples or more of fewer "
            "than two: a linear model has nothing to tell apart. Give more data, or of more classes."
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = cross_val_score(model, features[kept].numpy(), said[kept].numpy(), cv=parts)
    return float(scores.mean()), float(scores.std(ddof=1) / folds**0.5)


def gini(values: Tensor) -> Tensor:
    """The Gini index of |values| over units, `[instance, *unit] → [instance]`: 0 all alike, 1 one has it all.

    Source: Gini 1912, in the form Σ (2k − n − 1)·v_k / (n Σ v), v sorted ascending, times n / (n − 1).

    >>> gini(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 5.0]]))
    tensor([0., 1.], dtype=torch.float64)
    """
    v = values.flatten(1).abs().double().sort(1).values
    n = v.shape[1]
    weights = 2 * torch.arange(1, n + 1, device=v.device).double() - n - 1
    total = v.sum(1)
    return ((v * weights).sum(1) / (total * max(1, n - 1))).where(total > 0, torch.nan)


def _source(data: Any) -> Any:
    return data.source if isinstance(data, Dataset) else Dataset(data, by="all").source


def _first(net: Net, source: Source, count: int) -> Tensor:
    """The first samples of the data."""
    left_out: LeftOut = {}
    found: Iterator[Any] = source.samples(net, count, left_out)
    first = next(found, None)
    if first is None:
        raise InputError(f"{source!r} gave no sample that could be read.")
    return net.placed(first.x[:count])


# ---- steps 2 and 3: the units of a layer, and back to the picture ------------------------------------------

SHARES = (0.001, 0.013, 0.025)
WAYS = ("mim", "conductance", "influence", "activation")
MAX = "max"
Scores = Mapping[Any, Tensor]


@dataclass(frozen=True, eq=False)
class Picture:
    """What some units of a layer send back to the input, `[instance, *shape]`: by the one of largest activation
    (`name` "max"), or by a share of all, those of largest |score|."""

    name: str
    share: float
    values: Tensor


@dataclass(frozen=True, eq=False)
class Explained:
    """One layer: each unit's score, and its pictures, the single unit of largest activation first."""

    cut: Cut
    scores: Tensor
    pictures: tuple[Picture, ...]

    @property
    def convergence(self) -> Tensor:
        """Cosines between successive pictures as the share grows, `[instance, share − 1]`: 1 where nothing changes."""
        grown = [p.values for p in self.pictures if p.name != MAX]
        return torch.stack([cosine(a, b) for a, b in pairwise(grown)], 1)


@dataclass(frozen=True, eq=False)
class Layered:
    """Explanations of the inputs `x [instance, *shape]` at several layers; `chosen` is the one that `share` is for."""

    x: Tensor
    rows: tuple[Explained, ...]
    chosen: Cut
    share: float
    by: str
    table: Layers | None = None

    @property
    def picture(self) -> Tensor:
        """The picture of the chosen layer and share, `[instance, *shape]`."""
        row = next(row for row in self.rows if row.cut == self.chosen)
        return next(p.values for p in row.pictures if p.share == self.share)

    def consistency(self, name: str) -> Tensor:
        """How far the layers' pictures of one name agree, `[instance]`: the mean cosine over pairs of layers."""
        held = [p.values for row in self.rows for p in row.pictures if p.name == name]
        pairs = [cosine(a, b) for a, b in combinations(held, 2)]
        if not pairs:
            raise QuestionError(f"There is one layer with a picture {name!r}: agreement takes two. Give cuts=[...].")
        return torch.stack(pairs).nanmean(0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of two pictures, where they are strong: Σ over colours of |values|, `[instance]`; NaN for a blank one.

    >>> cosine(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[-1.0, 1.0]]])).round(decimals=3)
    tensor([0.7070], dtype=torch.float64)
    """
    heat = [x.detach().double().abs().sum(1).flatten(1) if x.dim() > 2 else x.detach().double().abs() for x in (a, b)]
    size = heat[0].norm(dim=1) * heat[1].norm(dim=1)
    return ((heat[0] * heat[1]).sum(1) / size).where(size > 0, torch.nan)


def explain(
    net: Net | nn.Module, x: Tensor, data: Any, cuts: Sequence[Cut | str] | None = None, share: float = 0.013,
    shares: Sequence[float] = SHARES, by: str | Scores = "mim", criterion: str = "accuracy", baseline: Any = None,
    kernel: str | Kernel = "1/d2", labels: Any = "hard", chunk: int = 64, progress: Callable[[int], None] | None = None,
) -> Layered:  # fmt: skip
    """The three steps in one call: choose the layer, score its units, send the raw values of the best to the input.

    With `cuts` these layers are explained, the first is the chosen one, and none is ranked; without them the candidates
    are ranked over the data, and the best by `criterion` is explained. `by` says how units are scored: "mim", or as a
    control "activation", "influence" (∂/∂y of the predicted class) or "conductance" (from `baseline`); or scores of
    your own, `{cut: [instance, *neuron]}`. Of each share of the units, those of largest |score|, at least one, their
    raw activations go down by a DeconvNet; beside them the single unit of largest activation.
    Errors: as `rank`, `mim` and `deconvnet`; `QuestionError` for other words. Source: Ho's Layered Explanations.
    """
    net, every = as_net(net), sorted({*shares, share})
    check_words(by, every, criterion)
    x = net.placed(x)
    table = None
    if cuts is None:
        table = rank(net, data, kernel=kernel, labels=labels, chunk=chunk, progress=progress)
        cuts = [table.best(criterion).cut]
    places = [as_cut(c).place for c in cuts]
    scores = _scores(net, places, x, data, by, baseline, kernel, labels, chunk, progress)
    rows = [_explained(net, x, place, scores[place], every) for place in places]
    return Layered(x, tuple(rows), places[0], share, by if isinstance(by, str) else "own scores", table)


def check_words(by: str | Scores, shares: Sequence[float], criterion: str) -> None:
    """Refuse words that are not known, before anything is run."""
    if criterion not in CRITERIA:
        known = ", ".join(map(repr, CRITERIA))
        raise QuestionError(f"{criterion!r} is no criterion: {known}.{nearest(criterion, CRITERIA)}")
    if not isinstance(by, Mapping) and by not in WAYS:
        raise QuestionError(f"by={by!r} is not known: {', '.join(map(repr, WAYS))}.{nearest(by, WAYS)}")
    if bad := [s for s in shares if not 0 < s <= 1]:
        raise QuestionError(f"A share of the units is above 0 and at most 1, not {bad[0]!r}: share=0.013.")


def _scores(
    net: Net, places: Sequence[Cut], x: Tensor, data: Any, by: str | Scores, baseline: Any, kernel: str | Kernel,
    labels: Any, chunk: int, progress: Callable[[int], None] | None,
) -> dict[Cut, Tensor]:  # fmt: skip
    """Each unit's score at each place, `[instance, *neuron]`."""
    if isinstance(by, Mapping):
        return {as_cut(place).place: scores for place, scores in by.items()}
    if by == "mim":
        found = mim(net, list(places), x, data, kernel, labels, chunk, progress)
    elif by == "activation":
        found = influence(net, list(places), Predicted(), Point(x), activation, chunk=chunk)
    elif by == "influence":
        found = influence(net, list(places), Predicted(), Point(x), gradient, chunk=chunk)
    else:
        found = influence(net, list(places), Predicted(), Line(baseline, x), contribution, chunk=chunk)
    return {place: found[place].values for place in places}


def _explained(net: Net, x: Tensor, place: Cut, scores: Tensor, shares: Sequence[float]) -> Explained:
    """A layer's pictures: instance by instance, all of one instance out of one pass."""
    active = activations(net, place, x)
    names = [MAX, *(spell_share(s) for s in shares)]
    made: list[list[Tensor]] = []
    for k in range(len(x)):
        flat = scores[k].flatten().abs()
        order = flat.argsort(descending=True, stable=True)
        chosen = [active[k].flatten().argmax()[None], *(order[: max(1, round(s * len(order)))] for s in shares)]
        energies = [Energy(_mask(units, scores[k]), place) for units in chosen]
        found = influence(net, INPUT, energies, Point(x[k : k + 1]), Ruled(gradient, Deconvnet()))
        made.append([found[energy].values for energy in energies])
    pictures = [torch.cat(parts) for parts in zip(*made, strict=True)]
    sizes = [0.0, *shares]
    return Explained(place, scores, tuple(Picture(n, s, p) for n, s, p in zip(names, sizes, pictures, strict=True)))


def _mask(units: Tensor, like: Tensor) -> Tensor:
    """Ones at some units, `[*neuron]`."""
    return torch.zeros_like(like).flatten().index_fill_(0, units, 1.0).reshape(like.shape)


def spell_share(share: float) -> str:
    """A share as it is written over a picture: `1.3 %`.

    >>> spell_share(0.013)
    '1.3 %'
    """
    return f"{100 * share:g} %"
