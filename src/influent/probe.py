"""The machine: the only hooks and the only autograd of the library.

A `Probe` holds a net for a sweep: weights frozen, places watched, everything put back at the end, also after
an error. Each `run` is one pass over a few points. Nothing below the earliest watched cut is taped: weights
are frozen, so the graph begins where the first watched activation is made a leaf.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from .axes import axis_names
from .containers import Way, all_tensors, first_tensor, pick, put, rows_of
from .cut import Cut, as_cut, find_module
from .embedding import called_with
from .errors import CutError, InfluentError, InfluentWarning, InputError, NetError
from .kernels import check_state, frozen, hookless, plain_kernels, reaches
from .nets import Net, as_net
from .rules import BackwardRule, applied, check_reachable, check_ruled
from .shapes import spell_shape

_LOCKS: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()


@dataclass
class Cost:
    """Samples that went through the net: forward, and backward (one a quantity)."""

    forward: int = 0
    backward: int = 0


@dataclass
class Pass:
    """One run of the net: `seen[cut]` watched activations in the graph, `read[cut]` what quantities read.

    `slopes` is the sweep's: slopes of behaviours inside quantities, each taken once.
    """

    seen: dict[Cut, Tensor] = field(default_factory=dict)
    read: dict[Cut, Tensor] = field(default_factory=dict)
    slopes: dict[Any, Tensor] = field(default_factory=dict)

    def slope(self, value: Tensor, cut: Cut) -> Tensor | None:
        """∂ Σ value / ∂ the activation that quantities read at `cut`, the graph kept; None where it does not depend."""
        if not (value.requires_grad and self.read[cut].requires_grad):
            return None
        found = torch.autograd.grad(value.sum(), self.read[cut], retain_graph=True, allow_unused=True)[0]
        return found if found is None else found.detach()

    def gradients(self, value: Tensor, again: bool) -> dict[Cut, Tensor | None]:
        """∂ Σ value / ∂ each watched activation; `again` keeps the graph for the next quantity."""
        if not value.requires_grad:
            return dict.fromkeys(self.seen)
        try:
            grads = torch.autograd.grad(value.sum(), list(self.seen.values()), retain_graph=again, allow_unused=True)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:
            raise NetError(
                f"The net has no gradient between the quantity and {', '.join(c.text for c in self.seen)}: {error} "
                "Cut after the operation that has none."
            ) from error
        return {cut: grad if grad is None else grad.detach() for cut, grad in zip(self.seen, grads, strict=True)}


class Probe:
    """A net held for one sweep: `with Probe(net, watch, read, feed, given) as probe: probe.run(points, rows)`.

    `watch` are the cuts whose activations and gradients are wanted, `read` those that quantities read, `feed` where
    the points go in (None: the net runs on `given` alone), and at the places of `edits` the net goes on with what a
    function makes of the activation there. With a `rule`, gradients are the rule's. Errors: `CutError` for places that
    are not there, run twice or never; `NetError` for nets in training mode, quantised ones, and operations without a
    rule; `InputError` where the net fails.
    """

    def __init__(
        self, net: Net, watch: Sequence[Cut], read: Sequence[Cut], feed: Cut | None, given: Any, subjects: int,
        edits: Mapping[Cut, Callable[[Tensor], Tensor]] = MappingProxyType({}), rule: BackwardRule | None = None,
    ) -> None:  # fmt: skip
        self.rule, self.net, self.feed, self.given, self.subjects, self.edits = rule, net, feed, given, subjects, edits
        self.watch, self.read = tuple(dict.fromkeys(c.place for c in watch)), tuple(dict.fromkeys(read))
        self.cost = Cost()
        self._stack = ExitStack()
        self._pass, self._points, self._mode, self._running = Pass(), torch.empty(0), "graph", False
        self._source = self._points
        self._calls: dict[tuple[str, bool], int] = {}
        # The feed and the edits come first: whatever else looks at their place, sees what the net goes on with.
        self._places = tuple(dict.fromkeys((*((feed,) if feed else ()), *edits, *self.watch, *self.read)))
        self._modules = {cut: find_module(net.module, cut) for cut in self._places}
        check_state(net.module)
        if rule is not None:
            check_reachable(rule, net.module)
        for cut, module in self._modules.items():
            if hookless(module):
                raise CutError(
                    f"{cut.text!r} is scripted (torch.jit.script): no hook runs there. Cut around it, or put the "
                    "original module in its place."
                )

    def __enter__(self) -> Probe:
        with ExitStack() as stack:
            stack.enter_context(_LOCKS.setdefault(self.net.module, threading.RLock()))
            stack.enter_context(frozen(self.net.module))
            stack.enter_context(plain_kernels(self.net.module))
            for (name, is_input), cuts in self._by_hook().items():
                module, visit = self._modules[cuts[0]], self._visitor(name, is_input, cuts)
                if is_input:
                    handle = module.register_forward_pre_hook(_before(visit), with_kwargs=True)
                else:
                    handle = module.register_forward_hook(_after(visit))
                stack.callback(handle.remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, points: Tensor, rows: Tensor, mode: str = "graph") -> Pass:
        """One pass: `points [point, *shape]` fed at the cut, `rows [point]` of `given` beside them.

        `mode` is "graph" (from the first watched cut on), "tape" (from the points on) or "value" (no graph).
        """
        self._mode, self._pass, self._calls = mode, Pass(), {}
        if mode == "tape":
            points = self._source = points.detach().clone().requires_grad_()
        # Nets that overwrite their input get a copy of their own.
        self._points = points.clone()
        args, kwargs = self._arguments(self._points, rows)
        self._running = True
        try:
            with torch.set_grad_enabled(mode != "value"), applied(self.rule):
                self.net.module(*args, **kwargs)
        except (InfluentError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise self._failed(points, error) from error
        finally:
            self._running = False
        self.cost.forward += len(points)
        for cut in self._places:
            self._check_ran(cut)
        done, self._pass = self._pass, Pass()
        if self.rule is not None:
            check_ruled(self.rule, self.net.module, done.read.values())
        return done

    def _failed(self, points: Tensor, error: Exception) -> InputError:
        """The lesson where the net itself fails: with what it was called."""
        given = list(all_tensors(self.given)) if self.feed is None else [points]
        what = ", ".join(map(spell_shape, given)) + (f" fed at {self.feed.text}" if self.feed else "")
        return InputError(
            f"The net failed on {what or 'no input'}: {type(error).__name__ if not str(error) else error}"
        )

    def rates(self, points: Tensor, speed: Tensor, rows: Tensor) -> dict[Cut, Tensor]:
        """d activation / dα at every watched cut, exact, by forward-mode differentiation."""
        with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
            # In-place operations change a tangent, too: it gets a copy of its own.
            try:
                done = self.run(forward_ad.make_dual(points.detach(), speed.detach().clone()), rows, mode="value")
            except InputError as error:
                raise NetError(
                    f'This net cannot be differentiated forward, which rule="gauss" needs inside it: {error} '
                    'Use rule="adaptive", which takes secants.'
                ) from error
            pairs = {cut: forward_ad.unpack_dual(y) for cut, y in done.seen.items()}
            return {c: torch.zeros_like(y.primal) if y.tangent is None else y.tangent.clone() for c, y in pairs.items()}

    def full(self, points: Tensor, rows: Tensor, value: Callable[[Pass], Sequence[Tensor]]) -> dict[Cut, list[bool]]:
        """Whether, with a cut detached, each quantity no longer depends on the points: `[of]` for each cut.

        One taped pass; then the graph is walked from the quantity down, never through the cut.
        """
        done = self.run(points, rows, mode="tape")
        ends = [v.grad_fn for v in value(done)]
        return {cut: [not reaches(end, self._source, y.grad_fn) for end in ends] for cut, y in done.seen.items()}

    def _by_hook(self) -> dict[tuple[str, bool], list[Cut]]:
        """Cuts by the hook that sees them; INPUT needs none: its tensors pass through our hands."""
        hooks: dict[tuple[str, bool], list[Cut]] = {}
        for cut in self._places:
            if cut.name != "INPUT":
                hooks.setdefault((cut.name, cut.is_input_side), []).append(cut)
        return hooks

    def _visitor(self, name: str, is_input: bool, cuts: list[Cut]) -> Callable[[Any], Any]:
        def visit(value: Any) -> Any:
            if not self._running:
                raise CutError(
                    f"{cuts[0].text!r} runs again when the pass is over: the net drops what it computes there, and "
                    "computes it again for the gradient (checkpointing). Switch that off, "
                    "net.set_grad_checkpointing(False) or memory_efficient=False, or cut outside of that part."
                )
            call = self._calls[name, is_input] = self._calls.get((name, is_input), 0) + 1
            for cut in cuts:
                if cut.call is None and call > 1:
                    raise CutError(
                        f"{cut.text!r} runs more than once in one pass. Say which call: "
                        f'"{cut.name}{":in" if is_input else ""}#1", "...#2".'
                    )
                if cut.call in (None, call):
                    value = self._visit(cut, value, cut.element)
            return value

        return visit

    def _visit(self, cut: Cut, value: Any, element: Way) -> Any:
        """Feed, watch and read at one place; what the net goes on with is never what we keep."""
        way, found = pick(value, element, cut)
        module = self._modules[cut]
        if isinstance(module, nn.RNNBase) and way[:1] == (1,) and module.num_layers * (1 + module.bidirectional) > 1:
            raise CutError(
                f"{cut.text!r}: the first dimension of a recurrent layer's last state counts layers and directions, "
                f'not points. Cut its outputs, "{cut.name}[0]".'
            )
        if getattr(module, "batch_first", True) is False and found.dim() == 3:
            raise CutError(
                f"{cut.text!r}: this {type(module).__name__} counts time first, and points second. Make it with "
                "batch_first=True, or cut where the first dimension counts points."
            )
        kept = self._points if cut == self.feed else found
        kept = self.edits[cut](kept) if cut in self.edits else kept
        if cut in self.watch:
            kept = self._pass.seen[cut] = self._watched(cut, kept)
        if cut in self.read:
            kept = self._pass.read[cut] = kept.clone() if kept is found else kept
        # Without a graph a copy is kept, and the net goes on with what it had.
        mine = kept is found or (self._mode == "value" and cut != self.feed and cut not in self.edits)
        return value if mine else put(value, way, kept.clone())

    def _watched(self, cut: Cut, y: Tensor) -> Tensor:
        if not y.is_floating_point():
            raise CutError(
                f"{cut.text!r} gives {spell_shape(y)}: whole numbers have no gradient. Cut at the embedding."
            )
        if y.dtype in (torch.bfloat16, torch.float16):
            warnings.warn(
                f"Influence in {str(y.dtype).removeprefix('torch.')} is coarse: gradients 54 % off were measured. "
                "Use net.float().",
                InfluentWarning,
                stacklevel=2,
            )
        if self._mode == "value":
            return y.clone()
        return y.clone() if y.requires_grad else y.detach().clone().requires_grad_()

    def _arguments(self, points: Tensor, rows: Tensor) -> tuple[list[Any], dict[str, Any]]:
        """What the net is called with; the points in their place among the rows of `given`."""
        given = rows_of(self.given, rows, self.subjects)
        kwargs = dict(given) if isinstance(given, Mapping) else {}
        args = [] if given is None or isinstance(given, Mapping) else [given]
        args = list(given) if isinstance(given, tuple | list) else args
        if self.feed is not None and self.feed.name == "INPUT":
            key = _input_key(self.feed)
            if len(self.feed.element) > 1:
                pass  # an element of an input that is given: put there below, as at any place
            elif isinstance(key, int):
                args.insert(key, points)
            else:
                kwargs[key] = points
        for cut in self._places:
            if cut.name == "INPUT":
                key = _input_key(cut)
                if key not in (kwargs if isinstance(key, str) else range(len(args))):
                    named = ", ".join(f"INPUT[{k}]" for k in (*range(len(args)), *kwargs))
                    way = (
                        f" The path runs at {self.feed.text!r}: ask there."
                        if self.feed is not None and self.feed.name != "INPUT"
                        else ""
                    )
                    raise CutError(f"{cut.text!r} is not among the inputs that the net is called with: {named}.{way}")
                holder: Any = kwargs if isinstance(key, str) else args
                holder[key] = self._visit(cut, holder[key], cut.element[1:])
        return args, kwargs

    def _check_ran(self, cut: Cut) -> None:
        calls = self._calls.get((cut.name, cut.is_input_side), 0)
        if cut.name == "INPUT" or calls >= (cut.call or 1):
            return
        if calls:
            raise CutError(
                f"{cut.text!r}: {cut.name!r} runs {calls} time{'s' * (calls > 1)} in one pass, not {cut.call}."
            )
        raise CutError(
            f"{cut.text!r} never ran. The net does not call this module (it may use its weights directly, or skip it): "
            "cut at a module around it. inf.cuts(net, x) lists those that run."
        )


def _input_key(cut: Cut) -> int | str:
    return cut.element[0] if cut.element else 0


def _before(visit: Callable[[Any], Any]) -> Callable[..., Any]:
    """A pre-hook that shows a module's first input."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (visit(args[0]), *args[1:]), kwargs
        key = next((k for k, v in kwargs.items() if first_tensor(v) is not None), None)
        return (args, kwargs) if key is None else (args, {**kwargs, key: visit(kwargs[key])})

    return hook


def _after(visit: Callable[[Any], Any]) -> Callable[..., Any]:
    """A hook that shows a module's output."""
    return lambda module, args, output: visit(output)


@dataclass(frozen=True)
class CutInfo:
    """A place one can cut at: its name, module class, output shape, calls in one pass, and axes where known."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    calls: int
    axes: tuple[str, ...] | None

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape[1:])) if self.shape else "several tensors"
        calls = f"  runs {self.calls} times: say {self.name}#1" if self.calls > 1 else ""
        return f"{self.name:<40} {self.kind:<24} {shape:<16} {'/'.join(self.axes or ()):<22}{calls}".rstrip()


def cuts(net: Net | nn.Module, x: Any) -> list[CutInfo]:
    """The places at which a net can be cut, in the order in which they first run.

    `x` is an input `[point, *shape]`, texts as `net.read` gives them, or a tuple or dictionary of inputs. Errors as
    `influence`.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    >>> [(c.name, c.shape, c.axes) for c in cuts(net, torch.zeros(1, 3, 5, 5))][0]
    ('0', (1, 8, 3, 3), ('channel', 'row', 'column'))
    """
    net = as_net(net)
    ran: dict[str, tuple[nn.Module, Any, int]] = {}

    def listen(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            ran[name] = (module, output, ran[name][2] + 1 if name in ran else 1)

        return hook

    with Probe(net, [], [], None, called_with(net, x), -1) as probe, ExitStack() as stack:
        for name, module in net.module.named_modules():
            if name and not hookless(module):
                stack.callback(module.register_forward_hook(listen(name)).remove)
        probe.run(torch.empty(0), torch.empty(0), mode="value")
    return [_info(net, name, *found) for name, found in ran.items()]


def _info(net: Net, name: str, module: nn.Module, output: Any, calls: int) -> CutInfo:
    try:
        _, y = pick(output, (), as_cut(name))
    except CutError:
        return CutInfo(name, type(module).__name__, None, calls, None)
    return CutInfo(
        name, type(module).__name__, tuple(y.shape), calls, axis_names(net.module, Cut(name), y.shape, net.axes)
    )


def activations(net: Net | nn.Module, cut: Cut | str, inputs: Any) -> Tensor:
    """The activations at a cut, `[point, *neuron]`, detached: h(x), or the ends of a path inside the net.

    `inputs` is a tensor, texts as `net.read` gives them, a tuple (positional) or a dictionary (keyword arguments).
    Errors as `influence`.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    >>> activations(net, "0", torch.zeros(1, 2)).shape
    torch.Size([1, 2])
    """
    net, place = as_net(net), as_cut(cut).place
    with Probe(net, [], [place], None, called_with(net, inputs), -1) as probe:
        return probe.run(torch.empty(0), torch.empty(0), mode="value").read[place]
