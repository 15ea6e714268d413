"""Running g alone from stored activations: what runs before a cut is not computed again, but answered from a record.

The net itself runs, so that any control flow works; modules that finish before the cut are stubbed, for as long as a
pass takes. What flows only through the cut need not be stored: a number seen many times has its shape. What goes
around the cut is found by a test, once, and stored. docs/why/014 says why.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from .containers import all_tensors, first_tensor, mapped, rows_of
from .cut import OUTPUT, Cut, as_cut, find_module
from .errors import CutError, InfluentError, NetError, QuestionError
from .kernels import hookless
from .nets import Net, as_net
from .probe import Cost, Probe
from .shapes import spell_shape

# A tensor in a record: the module's name ("" for the net's own inputs), which of its calls, which of its tensors.
Key = tuple[str, int, int]
Forward = Callable[..., Any]
# Not a number shows up in whatever it reaches, except in comparisons; the other two come out of those differently.
_FILLERS = (math.nan, math.inf, -math.inf)


@dataclass
class _Call:
    """One call of a module before the cut: what it gave, or that it is still `running` when the cut is reached."""

    name: str
    number: int
    output: Any = None
    running: bool = True

    def keys(self) -> list[Key]:
        """The keys of the tensors that it gave."""
        return [(self.name, self.number, k) for k, _ in enumerate(all_tensors(self.output))]


@dataclass(frozen=True)
class _Record:
    """One pass: `count` points, the calls before the cut, the first being the inputs, and the cut as replay counts."""

    count: int
    calls: tuple[_Call, ...]
    cut: Cut
    h: Tensor
    y: Tensor

    @property
    def tensors(self) -> dict[Key, Tensor]:
        """What was recorded."""
        return {k: t for call in self.calls for k, t in zip(call.keys(), all_tensors(call.output), strict=True)}

    @property
    def order(self) -> list[tuple[str, int, int]]:
        """Which modules ran, in which order, and how many tensors each gave."""
        return [(call.name, call.number, len(call.keys())) for call in self.calls]


@dataclass(frozen=True)
class _Plan:
    """In which order modules run, which dimensions of a tensor count points, and which tensors must be stored."""

    order: list[tuple[str, int, int]]
    dims: Mapping[Key, tuple[int, ...]]
    stored: frozenset[Key]


class Replay:
    """g of the slice ⟨g, h⟩, run alone: `with Replay(net, cut) as g: h = g.record(x); g.run(changed, rows)`.

    `record(x)` runs the net on inputs `x` (a tensor, a tuple or a dictionary), once, and gives h(x) `[point, *neuron]`;
    `outputs [point, *y]` is what the net gave. `run(h, rows)` gives the outputs where the net goes on with
    `h [point, *neuron]` instead, beside the inputs number `rows [point]` of the record: the same as feeding `h` by a
    hook, without computing what is before the cut. `read` is the output that is meant, `OUTPUT["logits"]`. `stored`
    names the modules whose results go around the cut (`INPUT`: the inputs); `cost` counts samples through the whole
    net, `replayed` those through g alone.
    Errors: `NetError` where outputs are not one row a point, or where a net cannot be replayed; else as `influence`.

    >>> net, x = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.ones(4, 2)
    >>> with Replay(net, "1") as g:
    ...     h = g.record(x)
    ...     y = g.run(torch.zeros(8, 3), torch.arange(8) % 4)
    >>> torch.equal(y, net[2].bias.expand(8, 2)), g.stored
    (True, ())
    """

    def __init__(self, net: Net | nn.Module, cut: Cut | str, read: Cut = OUTPUT) -> None:
        self.net, self.cut, self.read = as_net(net), as_cut(cut).place, read
        self.cost, self.replayed = Cost(), 0
        self._target = find_module(self.net.module, self.cut)
        self._modules = {name: m for name, m in self.net.module.named_modules() if not hookless(m)}
        self._plan: _Plan | None = None
        self._record: _Record | None = None

    def __enter__(self) -> Replay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._record = None

    @property
    def outputs(self) -> Tensor:
        """What the net gave when it was recorded, `[point, *y]`."""
        return self._recorded().y

    @property
    def stored(self) -> tuple[str, ...]:
        """The modules whose results are stored, because they go around the cut."""
        names = [] if self._plan is None else sorted({name for name, _, _ in self._plan.stored})
        return tuple(name or "INPUT" for name in names)

    def record(self, x: Any) -> Tensor:
        """h(x) `[point, *neuron]`: one pass of the whole net; the first time, a few samples more for the plan."""
        first = first_tensor(x)
        count = 0 if first is None or first.dim() == 0 else len(first)
        if count == 0:
            raise QuestionError("A replay records inputs, and there are none. Give a tensor [point, ...] of them.")
        self._record = None
        record = None if self._plan is None else self._traced(x, count, self._plan.stored)
        if self._plan is None or record is None or record.order != self._plan.order:
            self._plan = self._planned(x, count)
            record = self._traced(x, count, self._plan.stored)
            _check_same_way(record, self._plan.order)
        self._record = record
        return record.h.clone()

    def run(self, h: Tensor, rows: Tensor) -> Tensor:
        """The outputs `[point, *y]` at activations `h [point, *neuron]`, beside the recorded inputs `rows [point]`."""
        record = self._recorded()
        if self._plan is None or h.shape[1:] != record.h.shape[1:] or len(h) != len(rows):
            raise QuestionError(
                f"run takes h [point, {', '.join(map(str, record.h.shape[1:]))}] and rows [point], and got "
                f"{spell_shape(h)} and {spell_shape(rows)}. rows says beside which recorded input each point runs."
            )
        return self._replayed(record, self._plan, h, rows, math.nan)

    def _recorded(self) -> _Record:
        if self._record is None:
            raise QuestionError("Nothing is recorded: inside `with Replay(net, cut) as g:`, type g.record(x) first.")
        return self._record

    # The record

    def _traced(self, x: Any, count: int, stored: Collection[Key] | None) -> _Record:
        """One pass of the net on `x`; of the tensors before the cut only `stored` ones are kept, or all (None)."""
        calls = [_Call("", 0, running=False)]

        def keep(key: Key, t: Tensor) -> Tensor:
            needed = stored is None or key in stored or not t.is_floating_point()
            return t.clone() if needed else _seen_many_times(t, t.shape)

        def settle(call: _Call, output: Any) -> None:
            keys = itertools.count()
            call.output = mapped(output, lambda t: keep((call.name, call.number, next(keys)), t))
            call.running = False

        settle(calls[0], x)
        trace = _Trace(self.cut, self._target, calls, settle)
        followed = {m: trace.following(name, m) for name, m in self._modules.items()}
        with Probe(self.net, [], [self.cut, self.read], None, x, -1) as probe, _patched(followed):
            done = probe.run(torch.empty(count), torch.empty(0), mode="value")
        self.cost.forward += count
        h, y = done.read[self.cut], done.read[self.read]
        if h.dim() == 0 or len(h) != count:
            raise CutError(
                f"{self.cut.text!r} gives {spell_shape(h)} for {count} points: its first dimension is no batch. Cut "
                "where it is."
            )
        if y.dim() == 0 or len(y) != count:
            raise NetError(
                f"The net gives {spell_shape(y)} for {count} points: its outputs are not one row a point, and cannot "
                "be run for points by themselves. Give a net with outputs [point, ...]."
            )
        return _Record(count, tuple(calls), trace.cut_in_replay(), h, y)

    # The plan

    def _planned(self, x: Any, count: int) -> _Plan:
        """What must be stored: found by trying, on two and on three of the points."""
        two, three = (self._traced(rows_of(x, torch.arange(k) % count, count), k, None) for k in (2, 3))
        _check_same_way(two, three.order)
        dims = {key: _point_dims(t, three.tensors[key], key) for key, t in two.tensors.items()}
        movable = [key for key, t in three.tensors.items() if t.is_floating_point()]
        everything = frozenset(movable)

        def does_without(keys: Collection[Key]) -> bool:
            plan = _Plan(three.order, dims, everything - set(keys))
            return all(self._agrees(three, plan, filler) for filler in (_FILLERS if keys else _FILLERS[:1]))

        def needed(keys: Sequence[Key]) -> list[Key]:
            if does_without(keys):
                return []
            half = len(keys) // 2
            return list(keys) if len(keys) == 1 else needed(keys[:half]) + needed(keys[half:])

        stored = frozenset(needed(movable)) if movable else everything
        if not does_without(everything - stored):
            stored = everything
            if not does_without(()):
                raise NetError(
                    f"This net cannot be run from {self.cut.text!r} alone: with the modules before it answered from a "
                    "record, its outputs are others. Something there is overwritten, drawn anew, or handed on outside "
                    "of what modules give. Cut after it, or mask the whole net: inf.compress(net, mask, x)."
                )
        return _Plan(three.order, dims, stored)

    def _agrees(self, record: _Record, plan: _Plan, filler: float) -> bool:
        """Whether replay says the same as the net, on points in another order and number."""
        rows = torch.tensor([2, 0, 1, 0], device=record.y.device)
        try:
            y = self._replayed(record, plan, record.h[rows.to(record.h.device)], rows, filler)
        except torch.OutOfMemoryError:
            raise
        except InfluentError:
            return False
        want = record.y[rows]
        if y.shape != want.shape:
            return False
        if not y.is_floating_point():
            return torch.equal(y, want)
        # Other numbers of points may go through other kernels, which round differently.
        return bool((y - want).abs().max() <= torch.finfo(y.dtype).eps ** 0.5 * want.abs().max())

    # The replay

    def _replayed(self, record: _Record, plan: _Plan, h: Tensor, rows: Tensor, filler: float) -> Tensor:
        def answer(call: _Call) -> Any:
            keys = iter(call.keys())
            return mapped(call.output, lambda t: of_rows(next(keys), t))

        def of_rows(key: Key, t: Tensor) -> Tensor:
            if key in plan.stored or not t.is_floating_point():
                return _rows(t, plan.dims[key], rows, record.count)
            size = [s // record.count * len(rows) if d in plan.dims[key] else s for d, s in enumerate(t.shape)]
            return _seen_many_times(t, size, filler)

        calls = record.calls[1:]
        left = {call.name: [c for c in calls if c.name == call.name] for call in calls}
        stubs = {self._modules[name]: _stub(self._modules[name].forward, left[name], answer) for name in left}
        given = answer(record.calls[0])
        with Probe(self.net, [], [self.read], None, given, -1, {record.cut: lambda _: h}) as probe, _patched(stubs):
            done = probe.run(h, rows, mode="value")
        self.replayed += len(h)
        return done.read[self.read]


class _Trace:
    """Follows the calls of a pass up to the cut: `calls` in the order of their start, those inside others left out."""

    def __init__(self, cut: Cut, target: nn.Module, calls: list[_Call], settle: Callable[[_Call, Any], None]) -> None:
        self.cut, self.target, self.calls, self.settle = cut, target, calls, settle
        self.before = cut.is_input_side or cut.name == "INPUT"
        self.reached, self.name, self.numbers = False, "", dict[str, int]()

    def following(self, name: str, module: nn.Module) -> Forward:
        """A forward for the module that leaves its trace."""
        original = module.forward
        if module is self.target:
            self.name = name  # a module may have several

        @functools.wraps(original)
        def forward(*args: Any, **kwargs: Any) -> Any:
            if self.reached:
                return original(*args, **kwargs)
            number = self.numbers[name] = self.numbers.get(name, 0) + 1
            here = module is self.target and number == (self.cut.call or 1)
            self.reached = here and self.before
            if self.reached:
                return original(*args, **kwargs)
            call, place = _Call(name, number), len(self.calls)
            self.calls.append(call)
            output = original(*args, **kwargs)
            if not self.reached:
                # What ran inside is not called again: this call is answered as a whole.
                del self.calls[place + 1 :]
                self.settle(call, output)
                self.reached = here
            return output

        return forward

    def cut_in_replay(self) -> Cut:
        """The cut, with its call as replay counts: calls inside of others are gone."""
        if self.cut.name == "INPUT":
            return self.cut
        number = sum(call.name == self.name for call in self.calls[1:]) + self.before
        side, element = ":in" * self.before, "".join(f"[{key}]" for key in self.cut.element)
        return Cut(f"{self.cut.name}{side}#{number}{element}")


def _stub(original: Forward, left: list[_Call], answer: Callable[[_Call], Any]) -> Forward:
    """A forward that answers from the calls that are `left`, and computes what comes after them."""

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call = left.pop(0) if left else None
        return original(*args, **kwargs) if call is None or call.running else answer(call)

    return forward


@contextmanager
def _patched(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """Modules with other forwards of their own, as they were afterwards."""
    before = {module: vars(module).get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            vars(module)["forward"] = forward
        yield
    finally:
        for module, own in before.items():
            if own is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = own


def _check_same_way(record: _Record, order: list[tuple[str, int, int]]) -> None:
    if record.order != order:
        raise NetError(
            f"This net runs other modules for {record.count} points than for three, so that nothing can be said of "
            f"{record.cut.name!r} alone. Mask the whole net: inf.compress(net, mask, x)."
        )


def _seen_many_times(t: Tensor, shape: Sequence[int], number: float = math.nan) -> Tensor:
    """One number in the shape of a whole tensor."""
    return torch.full((), number, dtype=t.dtype, device=t.device).expand(shape)


def _point_dims(two: Tensor, three: Tensor, key: Key) -> tuple[int, ...]:
    """The dimensions that grow with the points, from the same tensor for two points and for three."""
    dims = tuple(d for d, (a, b) in enumerate(zip(two.shape, three.shape, strict=False)) if a != b)
    if two.dim() != three.dim() or any(3 * two.shape[d] != 2 * three.shape[d] for d in dims):
        raise NetError(
            f"{key[0] or 'INPUT'!r} gives {list(two.shape)} for two points and {list(three.shape)} for three: what "
            "belongs to which point cannot be told. Cut before it, or mask the whole net: inf.compress(net, mask, x)."
        )
    return dims


def _rows(t: Tensor, dims: Sequence[int], rows: Tensor, count: int) -> Tensor:
    """A copy of the parts of a tensor that belong to the points `rows`, of `count`."""
    for d in dims:
        each = t.unflatten(d, (count, t.shape[d] // count))
        t = each.index_select(d, rows.to(t.device)).flatten(d, d + 1)
    return t if dims else t.clone()
