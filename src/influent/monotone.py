"""MIM, the monotone influence measure: φ(x) = Σ_{y≠x} (y − x) · a(‖y − x‖) · s(x, y), the net's own labels in s.

Each data point y pulls towards itself where the net gives it the label of x, and pushes away where it gives another,
near points more than far ones. It is no expectation of a gradient: docs/why/020-mim.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .ask import check_chunk, check_progress
from .attribution import Attribution, Question
from .cut import INPUT, OUTPUT, Cut, as_cut
from .dataset import Dataset
from .distributions import Point
from .errors import InfluentWarning, InputError, QuestionError, nearest
from .measures import Evidence, Monotone
from .nets import Net, as_net
from .probe import Cost, Probe
from .pull import Kernel, Pulled, Sums, as_kernel
from .quantities import Class, Predicted, Probability
from .quantity import Quantity, Subject, as_quantity
from .rows import exact_type
from .samples import Batches, LeftOut, Source, known_source, spell_left_out, warn_left_out
from .shapes import check_finite, spell_shape
from .sweep import check_batch, check_result, grouping

At = Cut | str | Sequence[Cut | str]
Signs = Callable[[Tensor, Tensor], Tensor]

KINDS = ("direction", "norm")


def mim(
    net: Net | nn.Module, at: At, x: Tensor, data: Any, kernel: str | Kernel = "1/d2", labels: Any = "hard",
    chunk: int = 64, progress: Callable[[int], None] | None = None,
) -> Any:  # fmt: skip
    """φ(x) = Σ_{y≠x} (y − x) · a(‖y − x‖) · s(x, y) at a layer, `[instance, *unit]`: the monotone influence measure.

    - `x [instance, *shape]`: the explained inputs; `data`: a tensor, batches, a loader, a folder, a `Dataset`;
    - `kernel`: a(d), of Euclidean distances between activations flattened, "1/d2", "1/d", "exp" (e^−d), or a function;
    - `labels`: s. "hard": +1 where the net gives x and y the same class (the argmax of its outputs), −1 elsewhere; a
      class, `3` or `"cat"`: that class against the rest; "soft": p_c(y) − p_c(x), c the class of x; or a function
      (outputs `[point, *y]` of data, outputs `[instance, *y]` of x) → s `[instance, point]`.

    Points that are x, or at distance 0 (up to rounding), are skipped; nothing is normalised; labels that come with the
    data are not looked at. With `at="layer/channel"` the φ of a unit's neurons are added up. Where `at` is a list, a
    dictionary by its items, out of one pass over the data. `count [instance]` is the number of points counted,
    `left_out` names those that could not be read. `chunk` (points per pass) and `progress` are as in `influence`;
    memory is that of one chunk and of x. A warning where all data points have the label of an input, or none has.
    Errors: as `influence`, and `QuestionError` for other kernels and labels.
    Source: Sliwinski et al. 2017, as Ho's Layered Explanations use it, step 2.

    >>> net, data = nn.Sequential(nn.Linear(1, 2)).eval(), torch.tensor([[1.0], [-1.0]])
    >>> net[0].weight.data, net[0].bias.data = torch.tensor([[1.0], [-1.0]]), torch.tensor([0.5, 0.0])
    >>> mim(net, "INPUT", torch.zeros(1, 1), data).values
    tensor([[2.]])
    """
    net, cuts = as_net(net), _cuts(at)
    told, of = labels_of(net, labels)
    found = one_pass(net, cuts, x, data, kernel, told, chunk, progress)
    measure = Monotone(x, kernel, labels == "soft")
    how = f"kernel {kernel}" if isinstance(kernel, str) else "a kernel of one's own"
    note = f"MIM ({how}) is no expectation of a gradient: it has no gap"

    def answer(cut: Cut) -> Attribution:
        pulled = found.at[cut.place]
        axes, axis, dims = grouping(net, cut, pulled.phi.shape)
        values = Evidence(pulled.phi, pulled.phi, None, dims, axis).gradient
        return Attribution(
            values=values, question=Question(cut, of, found.over, measure), instances=tuple(range(len(values))),
            axes=axes, note=note, count=pulled.count.cpu(), cost=found.cost, net=net, left_out=found.left_out,
        )  # fmt: skip

    return answer(cuts[0]) if isinstance(at, Cut | str) else {own: answer(as_cut(own)) for own in at}


def coherence(
    net: Net | nn.Module, at: At, x: Tensor, data: Any, kernel: str | Kernel = "1/d2", labels: Any = "hard",
    kind: str = "direction", chunk: int = 64, progress: Callable[[int], None] | None = None,
) -> Any:  # fmt: skip
    """‖Σ_y w_y (y − x)‖ / Σ_y |w_y|·‖y − x‖, w = a · s: how far the data agree on a direction, `[instance]`, 0 to 1.

    Words as in `mim`. Free of the layer's scale where the kernel is a power of the distance, and so a way to compare
    layers. `kind="norm"` is ‖φ‖₂ / max_y ‖y − x‖₂, which with the kernel 1/d² ranks layers by the scale of their
    activations. NaN where no point is counted. Where `at` is a list, a dictionary by its items, out of one pass.
    Errors: as `mim`, and `QuestionError` for other kinds and for grouped units. Source: the spread of influence, step 1
    of Ho's Layered Explanations; the norm is his.

    >>> net, data = nn.Sequential(nn.Linear(1, 2)).eval(), torch.tensor([[1.0], [-1.0]])
    >>> net[0].weight.data, net[0].bias.data = torch.tensor([[1.0], [-1.0]]), torch.tensor([0.5, 0.0])
    >>> coherence(net, "INPUT", torch.zeros(1, 1), data), coherence(net, "INPUT", torch.zeros(1, 1), data, kind="norm")
    (tensor([1.], dtype=torch.float64), tensor([2.], dtype=torch.float64))
    """
    if kind not in KINDS:
        raise QuestionError(f"kind={kind!r} is not known: {', '.join(map(repr, KINDS))}.{nearest(str(kind), KINDS)}")
    net, cuts = as_net(net), _cuts(at)
    if grouped := next((cut for cut in cuts if cut.units), None):
        raise QuestionError(f"Coherence is of a whole layer, not of its units: at={grouped.place.text!r}.")
    found = one_pass(net, cuts, x, data, kernel, labels_of(net, labels)[0], chunk, progress)

    def answer(cut: Cut) -> Tensor:
        pulled = found.at[cut]
        return pulled.coherence if kind == "direction" else pulled.norm

    return answer(cuts[0]) if isinstance(at, Cut | str) else {own: answer(as_cut(own)) for own in at}


@dataclass(frozen=True)
class Found:
    """One pass over data: what it gives at each place, the data as a word, what went through the net, what did not."""

    at: Mapping[Cut, Pulled]
    over: Dataset
    cost: Cost
    left_out: LeftOut


@dataclass(frozen=True)
class Labels:
    """s as a function of the outputs of data and of x; `hard` where it is +1 or −1 and nothing else."""

    signs: Signs
    hard: bool = False


def one_pass(
    net: Net, cuts: Sequence[Cut], x: Tensor, data: Any, kernel: str | Kernel, told: Labels, chunk: int,
    progress: Callable[[int], None] | None = None, watch: Callable[[Mapping[Cut, Tensor], Tensor], None] | None = None,
) -> Found:  # fmt: skip
    """One pass of the data through the net, for all cuts: what `mim` and `coherence` are made of.

    `watch` is called with the activations by place and the outputs of each part of the data.
    """
    check_chunk(chunk)
    check_progress(progress)
    weigh, over = as_kernel(kernel), _over(data)
    source = _source(data, over, chunk)
    x, places = Point(x).resolve(net).x, tuple(dict.fromkeys(cut.place for cut in cuts))
    left_out: LeftOut = {}
    read = 0
    with torch.inference_mode(False), torch.no_grad(), Probe(net, places, [OUTPUT], INPUT, None, len(x)) as probe:
        seen, said = zip(*(_run(probe, part) for part in x.split(chunk)), strict=True)
        own, sums = torch.cat(said), {p: Sums(torch.cat([s[p] for s in seen]), weigh, p) for p in places}
        told.signs(own, own)  # refused before any data are read
        for block in source.blocks(net, over.block if isinstance(data, Dataset) else chunk, left_out):
            read += len(block)
            for part in block.x.split(chunk):
                points = net.placed(part)
                there, outputs = _run(probe, points)
                signs, same = told.signs(outputs, own), equal_rows(x, points)
                if watch is not None:
                    watch(there, outputs)
                for place in places:
                    sums[place].add(there.pop(place), signs, same)  # the next pass needs the memory
                if progress is not None:
                    progress(len(part))
    if not read:
        raise InputError(
            f"{over.source!r} gave no sample" + (f": {spell_left_out(left_out)}" if left_out else ": it is empty.")
        )
    warn_left_out(left_out, read)
    found = {place: one.done() for place, one in sums.items()}
    for place, pulled in found.items():
        check_result(pulled.phi, net, f"MIM at {place.text}")
    _warn(found, told.hard)
    return Found(found, over, probe.cost, left_out)


def _run(probe: Probe, points: Tensor) -> tuple[dict[Cut, Tensor], Tensor]:
    """Activations and outputs of some points."""
    done = probe.run(points, torch.arange(len(points)), mode="value")
    check_batch(done, len(points))
    outputs = done.read[OUTPUT]
    check_finite(outputs, "The net's output", "A label cannot be told from it: look which sample the net fails on.")
    return done.seen, outputs


def equal_rows(x: Tensor, y: Tensor) -> Tensor:
    """Which rows of `y [point, *shape]` are rows of `x [instance, *shape]`, `[instance, point]`.

    What a net computes for the same input in two batches may differ in the last digit: that a point is x itself is seen
    where it goes in.

    >>> equal_rows(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0], [1.0, 3.0]]))
    tensor([[ True, False]])
    """
    if x.shape[1:] != y.shape[1:]:
        return torch.zeros(len(x), len(y), dtype=torch.bool, device=x.device)
    a, b = x.flatten(1), y.flatten(1)
    # Few rows agree in sixteen places; only those are looked at as a whole.
    places = torch.linspace(0, a.shape[1] - 1, min(16, a.shape[1]), device=x.device).long()
    same = (a[:, None, places] == b[:, places]).all(2)
    for k in same.any(1).nonzero()[:, 0].tolist():
        same[k, same[k].clone()] = (b[same[k]] == a[k]).all(1)
    return same


def _cuts(at: At) -> tuple[Cut, ...]:
    listed = [at] if isinstance(at, Cut | str) else list(at)
    if not listed:
        raise QuestionError("at=[] is empty: there is nothing to explain.")
    return tuple(map(as_cut, listed))


def _over(data: Any) -> Dataset:
    """The data as a word of the question."""
    if not isinstance(data, Dataset):
        return Dataset([data] if isinstance(data, Tensor) else data, by="all")
    if data.weight is not None or data.examples or data.until is not None or callable(data.by):
        raise QuestionError(
            "MIM counts every point once, in one sum: give Dataset(source) without by=, weight=, examples= and until=."
        )
    return data


def _source(data: Any, over: Dataset, chunk: int) -> Source:
    """Where the data come from; a tensor in parts that can be handed on as they are."""
    return Batches(data.split(chunk)) if isinstance(data, Tensor) else known_source(over.source)


def labels_of(net: Net, labels: Any) -> tuple[Labels, Quantity]:
    """s, and the behaviour that it looks at as a word of the question."""
    if isinstance(labels, str) and labels in ("hard", "soft"):
        return Labels(_same, hard=True) if labels == "hard" else Labels(_difference), Predicted()
    if callable(labels) and not isinstance(labels, type):
        return Labels(lambda y, x: _own(labels, y, x)), as_quantity(labels)
    one = Class(labels) if isinstance(labels, str | int) and not isinstance(labels, bool) else labels
    nameless = isinstance(labels, str) and net.labels is None and labels not in net.aliases
    if not isinstance(one, Class) or one.place != OUTPUT or nameless:
        raise QuestionError(
            f"labels={labels!r} is not known{': this net has no names of classes' if nameless else ''}. Type 'hard' "
            "(the same class as x, or another), 'soft' (a difference of probabilities), a class of the net's output by "
            "index or name, or a function (outputs of data, outputs of x) → s [instance, point]."
        )
    bound = one.bind(net)

    def against_the_rest(y: Tensor, x: Tensor) -> Tensor:
        bound.value(x, None)  # the lesson for a class that the net does not have
        index = bound.index % x.shape[1] if isinstance(bound, Class) and isinstance(bound.index, int) else -1
        return _signs(_said(x) == index, _said(y) == index)

    return Labels(against_the_rest, hard=True), one


def _said(y: Tensor) -> Tensor:
    """The label that the net gives each point: outputs `[point, class] → [point]`."""
    if y.dim() == 2 and y.shape[1] == 1:
        raise QuestionError(
            "This net has one output, so that all points have one label. Say which pairs have the same: "
            "labels=lambda y, x: (y[:, 0] * x[:, :1]).sign()."
        )
    found = Predicted().choose(y, Subject())
    return y.new_zeros(len(y)) if found is None else found


def _signs(of_x: Tensor, of_data: Tensor) -> Tensor:
    """+1 for equal labels, −1 for others, `[instance, point]`."""
    return torch.where(of_x[:, None] == of_data, 1.0, -1.0)


def _same(y: Tensor, x: Tensor) -> Tensor:
    """Whether the net gives both one label."""
    return _signs(_said(x), _said(y))


def _difference(y: Tensor, x: Tensor) -> Tensor:
    """p_c(y) − p_c(x), c the label of x."""
    label, y = _said(x), y.to(exact_type(y))
    there = {c: Probability(c).value(y, None) for c in label.unique().tolist()}
    here = x.to(y).softmax(1).gather(1, label[:, None])
    return torch.stack([there[c] for c in label.tolist()]) - here


def _own(labels: Signs, y: Tensor, x: Tensor) -> Tensor:
    """s by a user's function."""
    found = labels(y, x)
    if not isinstance(found, Tensor) or found.shape != (len(x), len(y)) or not bool(torch.isfinite(found).all()):
        got = spell_shape(found) if isinstance(found, Tensor) else type(found).__name__
        raise QuestionError(
            f"The function of labels gives {got} for outputs {spell_shape(y)} of data and {spell_shape(x)} of x. It "
            f"gives a finite number for each pair, [{len(x)}, {len(y)}]: "
            "labels=lambda y, x: (y[:, 0] * x[:, :1]).sign()."
        )
    return found


def _warn(found: Mapping[Cut, Pulled], hard: bool) -> None:
    """Say where φ is about something else than labels, for the first such row."""
    for place, pulled in found.items():
        for row, (count, alike) in enumerate(zip(pulled.count.tolist(), pulled.alike.tolist(), strict=True)):
            if not count:
                said = f"is at distance 0 of input {row} at {place.text}: there is nothing to add up, φ is 0"
            elif hard and alike in (0, count):
                label, s = ("the same label as", "+1") if alike else ("another label than", "−1")
                said = (
                    f"that counts at {place.text} has {label} input {row}: s is {s} everywhere, so that φ tells where "
                    "the data lie, and nothing of what the label depends on"
                )
            else:
                continue
            warnings.warn(f"Every data point {said}. Add other points.", InfluentWarning, stacklevel=4)
            return
