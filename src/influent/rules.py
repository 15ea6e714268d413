"""Backward rules: what a ReLU hands down to the layer below, in the place of its gradient.

A rule is a value. The probe applies it while the net runs: the ReLUs, however they are written, are replaced by a
function with the same values whose backward is the rule's. What the graph then holds beside them is looked at node by
node: where an operation has neither a rule nor a plain gradient that the rule lets pass, the net is refused.
"""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .errors import NetError, QuestionError
from .shapes import key_of, spell_noun, spell_shape

# Operations, as torch names the nodes of its graph, whose plain gradient is what a DeconvNet does: linear maps, sums,
# norms and switches of max-pooling. A list of what is known, not of what is not, so that an activation that nobody
# thought of is refused. Products and powers are in it as parts of norms.
_PLAIN = """
    Add Addbmm Addcmul Addmm Addmv Baddbmm Bmm Cumsum Div Dot Linear MkldnnLinear Mean Mm Mul Mv Neg Rsub Sub Sum
    Convolution ConvolutionOverrideable ConvDepthwise2D ConvDepthwise3D CudnnConvolution CudnnConvolutionTranspose
    MiopenConvolution MiopenConvolutionTranspose MiopenDepthwiseConvolution MkldnnConvolution MpsConvolution
    MpsConvolutionTranspose NnpackSpatialConvolution SlowConv2D SlowConv3D SlowConvDilated2D SlowConvDilated3D
    SlowConvTranspose2D SlowConvTranspose3D
    BatchNormNoUpdate CudnnBatchNorm FusedRmsNorm LinalgVectorNorm MiopenBatchNorm NativeBatchNorm
    NativeBatchNormLegitNoTraining NativeGroupNorm NativeLayerNorm Norm Pow Reciprocal Rsqrt Sqrt Std StdMean Var
    VarMean
    AdaptiveMaxPool2D AdaptiveMaxPool3D Amax FractionalMaxPool2D FractionalMaxPool3D Max MaxPool2D MaxPool2DWithIndices
    MaxPool3DWithIndices MaxUnpool2D MaxUnpool3D MkldnnMaxPool2D MkldnnMaxPool3D Topk
    AdaptiveAvgPool2D AdaptiveAvgPool3D AvgPool2D AvgPool3D MkldnnAdaptiveAvgPool2D
    GridSampler2D GridSampler3D UpsampleBicubic2D UpsampleBicubic2DAa UpsampleBilinear2D UpsampleBilinear2DAa
    UpsampleLinear1D UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D
    UpsampleNearestExact3D UpsampleTrilinear3D
    ConstantPadNd ReflectionPad1D ReflectionPad2D ReflectionPad3D ReplicationPad1D ReplicationPad2D ReplicationPad3D
"""
# What only moves numbers about: any rule lets it pass.
_MOVES = """
    AccumulateGrad Alias AsStrided Cat ChannelShuffle Clone Col2Im Copy CopySlices Diagonal Expand Flip Gather Identity
    Im2Col Index IndexAdd IndexSelect NarrowCopy Permute PixelShuffle PixelUnshuffle Repeat ReshapeAlias ReshapeCopy
    Roll ScatterAdd Select Slice Split SplitWithSizes Squeeze Stack T ToCopy Transpose Unbind Unfold UnsafeSplit
    UnsafeSplitWithSizes UnsafeView Unsqueeze View
"""
PLAIN, MOVES = frozenset(_PLAIN.split()), frozenset(_MOVES.split())
_CUTS_OFF = {"Clamp", "ClampMin", "ClampMax", "Threshold", "Hardtanh", "Maximum", "Minimum", "Fmax", "Fmin", "Where"}
_CUTS_OFF |= {"MaskedFill", "IndexPut", "Abs", "Mul"}


@dataclass(frozen=True)
class Step:
    """One operation that a rule takes over, as it ran: y = again(x), `x [point, ...]` being its first argument.

    >>> step = Step(F.linear, torch.ones(1, 2), lambda x: 3 * x)
    >>> step.y, step.pulled(torch.tensor([[1.0, 0.0]]))
    (tensor([[3., 3.]]), tensor([[3., 0.]]))
    """

    function: Callable[..., Any]
    x: Tensor
    again: Callable[[Tensor], Tensor]

    @property
    def y(self) -> Tensor:
        """What the operation gives, computed again."""
        with torch.no_grad():
            return self.again(self.x)

    def pulled(self, arriving: Tensor) -> Tensor:
        """The plain gradient: `arriving`, of the shape of `y`, times ∂y/∂x."""
        with torch.enable_grad():
            x = self.x.detach().requires_grad_()
            return torch.autograd.grad(self.again(x), x, arriving)[0]


class BackwardRule(ABC):
    """What a ReLU hands down, R_in, of what arrives from above, R_out; max-pooling's switches are autograd's own.

    A rule of your own is a frozen dataclass in any file, with `relu`. To take over more than ReLUs, name the functions,
    `others = frozenset({F.linear, F.conv2d})`, and say in `other` what they hand down to their first argument. What of
    a net may keep its plain gradient, `passes` decides by torch's name of the operation: "Convolution", "Add". What
    only moves numbers about is not asked for.

    >>> Ruled(gradient, Guided())
    Ruled(gradient, Guided())
    """

    others: ClassVar[frozenset[Callable[..., Any]]] = frozenset()

    @abstractmethod
    def relu(self, arriving: Tensor, activation: Tensor) -> Tensor:
        """R_in of a ReLU from R_out and the ReLU's own output, all of one shape."""

    def other(self, step: Step, arriving: Tensor) -> Tensor:
        """R_in of another operation, of the shape of `step.x`; the plain gradient where a rule does not say more."""
        return step.pulled(arriving)

    def passes(self, operation: str) -> bool:
        """Whether an operation that is not taken over may keep its plain gradient; else the net is refused."""
        return operation in PLAIN

    def __repr__(self) -> str:
        return spell_noun(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BackwardRule) and key_of(self) == key_of(other)

    def __hash__(self) -> int:
        return hash(key_of(self))


@dataclass(frozen=True, repr=False, eq=False)
class Deconvnet(BackwardRule):
    """R_in = R_out · [R_out > 0]: the net run backward, with a ReLU wherever it has one, whatever it let pass itself.

    Source: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 2.1.

    >>> Deconvnet().relu(torch.tensor([-1.0, 2.0, 3.0]), torch.tensor([5.0, 5.0, 0.0]))
    tensor([0., 2., 3.])
    """

    def relu(self, arriving: Tensor, activation: Tensor) -> Tensor:
        return arriving.clamp(min=0)


@dataclass(frozen=True, repr=False, eq=False)
class Guided(BackwardRule):
    """R_in = R_out · [R_out > 0] · [activation > 0]: guided backpropagation.

    Source: Springenberg et al. 2014, "Striving for Simplicity: The All Convolutional Net", section 3.4.

    >>> Guided().relu(torch.tensor([-1.0, 2.0, 3.0]), torch.tensor([5.0, 5.0, 0.0]))
    tensor([0., 2., 0.])
    """

    def relu(self, arriving: Tensor, activation: Tensor) -> Tensor:
        return arriving.clamp(min=0) * (activation > 0)


# Every way to write a ReLU that torch shows us, and whether it overwrites what it is given.
_RELUS: Mapping[Any, bool] = {
    F.relu: False, torch.relu: False, Tensor.relu: False, torch.relu_: True, Tensor.relu_: True,
}  # fmt: skip
_CLAMPS: Mapping[Any, bool] = {
    torch.clamp: False, torch.clip: False, torch.clamp_min: False, Tensor.clamp: False, Tensor.clip: False,
    Tensor.clamp_min: False, torch.clamp_: True, torch.clip_: True, torch.clamp_min_: True, Tensor.clamp_: True,
    Tensor.clip_: True, Tensor.clamp_min_: True,
}  # fmt: skip


def _overwrites(function: Any, args: tuple[Any, ...], words: Mapping[str, Any]) -> bool | None:
    """Whether a call that is a ReLU overwrites its argument; None for calls that are no ReLU."""
    if function in _RELUS:
        return _RELUS[function] or bool(words.get("inplace", len(args) > 1 and args[1]))
    if function not in _CLAMPS or words.get("out") is not None:
        return None
    low = args[1] if len(args) > 1 else words.get("min")
    high = args[2] if len(args) > 2 else words.get("max")
    return _CLAMPS[function] if isinstance(low, int | float) and low == 0 and high is None else None


class _Relu(torch.autograd.Function):
    """A ReLU whose backward is a rule's. It keeps its output, as torch's own does, so that the same nets run."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: BackwardRule) -> Tensor:
        y = torch.relu(x)
        ctx.save_for_backward(y)
        ctx.ruled_by = rule
        return y

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return _like(ctx.ruled_by.relu(arriving[0], y), y, ctx.ruled_by), None


class _Other(torch.autograd.Function):
    """Any other operation whose backward is a rule's. Its input is a copy: what follows often overwrites it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Step, rule: BackwardRule) -> Tensor:
        ctx.step, ctx.ruled_by = step, rule
        return step.again(x)

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, None, None]:
        return _like(ctx.ruled_by.other(ctx.step, arriving[0]), ctx.step.x, ctx.ruled_by), None, None


def _like(handed: Tensor, x: Tensor, rule: BackwardRule) -> Tensor:
    if not isinstance(handed, Tensor) or handed.shape != x.shape:
        got = spell_shape(handed) if isinstance(handed, Tensor) else type(handed).__name__
        raise QuestionError(f"The rule {rule!r} hands down {got} to what is {spell_shape(x)}: it must be of its shape.")
    return handed


class _Applied(TorchFunctionMode):
    """Torch, with the operations that a rule takes over replaced, in this thread, while the block runs."""

    def __init__(self, rule: BackwardRule) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        words = kwargs or {}
        overwrites = _overwrites(func, args, words)
        if overwrites is None and func not in self.rule.others:
            return func(*args, **words)
        x = args[0] if args else words.get("input")
        # What is not on the way from the watched cut keeps no graph, and needs no rule.
        if not (isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled()):
            return func(*args, **words)
        if overwrites is None:
            overwrites = bool(words.get("inplace"))
            beside, rest = args[1:], {k: v for k, v in words.items() if k != "inplace" and (args or k != "input")}
            step = Step(func, x.detach().clone(), lambda y: func(y, *beside, **rest))
            y = _Other.apply(x, step, self.rule)
        else:
            y = _Relu.apply(x, self.rule)
        # Whatever else holds the tensor that a net overwrites, sees what is written there.
        return x.copy_(y) if overwrites else y


def applied(rule: BackwardRule | None) -> contextlib.AbstractContextManager[Any]:
    """A block in which what a rule takes over has the rule's backward; without a rule, any block."""
    return contextlib.nullcontext() if rule is None else _Applied(rule)


def check_reachable(rule: BackwardRule, net: nn.Module) -> None:
    """Refuse scripted and traced modules, into which no rule can look."""
    for name, module in net.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise NetError(
                f"Module {name!r} is scripted or traced (torch.jit): {rule!r} cannot reach the ReLUs in it, and their "
                "plain gradient would be taken unseen. Put the original module in its place."
            )


def check_ruled(rule: BackwardRule, net: nn.Module, ends: Iterable[Tensor]) -> None:
    """Refuse a net whose graph, below the tensors `ends`, holds an operation that is neither ruled nor may pass.

    Errors: `NetError`, which names the operation, and what to type instead.
    """
    stack, met = [y.grad_fn for y in ends], set[Any]()
    while stack:
        node: Any = stack.pop()
        if node is None or node in met:
            continue
        met.add(node)
        stack.extend(after for after, _ in node.next_functions)
        if isinstance(getattr(node, "ruled_by", None), BackwardRule):
            continue
        operation = re.sub(r"Backwards?\d*$", "", node.name().rpartition("::")[2])
        of_python = isinstance(node, torch.autograd.function.BackwardCFunction)
        known = operation in MOVES or rule.passes(operation)
        if of_python or not known or (operation == "Mul" and _is_mask(node)):
            raise NetError(_lesson(rule, net, operation, of_python))


def _is_mask(node: Any) -> bool:
    """Whether a product is x · [x > 0], a ReLU in disguise: a factor of zeros and ones, one for each number."""
    with contextlib.suppress(RuntimeError):  # of a factor that was overwritten, the gradient says so itself
        factors = [f for f in (node._saved_self, node._saved_other) if f is not None]
        whole = len(factors) == 1 and list(factors[0].shape) == list(node._input_metadata[0].shape)
        return whole and bool(((factors[0] == 0) | (factors[0] == 1)).all())
    return False


def _lesson(rule: BackwardRule, net: nn.Module, operation: str, of_python: bool) -> str:
    """Which operation it is, why the rule fails there, and what to type instead."""
    unseen = "The plain gradient would be taken unseen."
    if of_python or "Graph" in operation:
        return (
            f"Part of this net is compiled, scripted, or a function with a backward of its own ({operation}): {rule!r} "
            f"cannot reach the ReLUs in it. {unseen} Put the module there as it was before."
        )
    if operation == "Relu":
        return (
            f"A ReLU of this net runs where {rule!r} does not reach it: in scripted code, or inside one of torch's own "
            f"functions. {unseen} Write it as nn.ReLU() or F.relu(x)."
        )
    kinds = {n: {k.__name__.lower() for k in type(m).__mro__} for n, m in net.named_modules() if n}
    place = next((f" (module {n!r})" for n, names in kinds.items() if operation.lower() in names), "")
    rest = "Ask without a rule, inf.saliency(net, x), or write a rule that takes it over: inf.BackwardRule, `others`."
    if operation in _CUTS_OFF:
        how = "a product with zeros and ones" if operation == "Mul" else operation
        return (
            f"This net cuts values off by {how}{place}, and {rule!r} knows ReLUs: nn.ReLU(), F.relu(x), "
            f"x.clamp(min=0). {unseen} If it is a ReLU, write it as one. {rest}"
        )
    return (
        f"{rule!r} does not know {operation}{place}, which this net uses on the way: it knows ReLUs, and lets linear "
        f"maps, sums, norms and pooling pass. {unseen} {rest}"
    )
