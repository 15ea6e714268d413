"""How torch computes while we watch: weights frozen, kernels that call every module, and the graph that they leave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .errors import NetError


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Weights that ask for no gradient, and ask again afterwards."""
    asking = [name for name, p in module.named_parameters() if p.requires_grad]
    for p in module.parameters():
        p.requires_grad_(False)
    try:
        yield
    finally:
        # By name: where weights are offloaded, each pass makes them anew.
        now = dict(module.named_parameters())
        for name in asking:
            now[name].requires_grad_(True)


def bringer(module: nn.Module, name: str) -> tuple[Any, str] | None:
    """What brings a weight for each pass and takes it away again, and by which name: a hook of accelerate's offloading.

    None where nothing does.
    """
    owner = name
    while owner:
        owner = owner.rpartition(".")[0]
        hook = getattr(module.get_submodule(owner), "_hf_hook", None)
        for one in getattr(hook, "hooks", (hook,)):
            if getattr(one, "offload", False):
                return one, name.removeprefix(f"{owner}.")
    return None


class _Switch:
    """A setting of the whole process, turned by the first that needs it and turned back by the last."""

    def __init__(self, turned: Callable[[], AbstractContextManager[Any]]) -> None:
        self._turned, self._lock, self._holders, self._stack = turned, threading.Lock(), 0, ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Turned, for as long as the block runs."""
        with self._lock:
            if self._holders == 0:
                self._stack.enter_context(self._turned())
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._stack.close()


@contextmanager
def _no_fused_encoder() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _no_mkldnn() -> Iterator[None]:
    # Not mkldnn.flags, which warns of Intel GPUs where there are none.
    onednn: Any = torch.backends.mkldnn
    before = onednn.enabled
    onednn.enabled = False
    try:
        yield
    finally:
        onednn.enabled = before


_NO_FUSED_ENCODER = _Switch(_no_fused_encoder)
_NO_CUDNN = _Switch(lambda: torch.backends.cudnn.flags(enabled=False))
_NO_MKLDNN = _Switch(_no_mkldnn)
_NO_COMPILED = _Switch(lambda: torch.compiler.set_stance("force_eager"))


@contextmanager
def plain_kernels(module: nn.Module) -> Iterator[None]:
    """Kernels that call every module and can be differentiated, for as long as we watch.

    torch's fused encoder layers skip their inner modules, cuDNN's recurrent nets have no backward in eval mode,
    oneDNN's no forward mode, and compiled code runs no hooks.
    """
    with ExitStack() as stack:
        stack.enter_context(_NO_FUSED_ENCODER.held())
        if any(isinstance(m, nn.RNNBase) for m in module.modules()):
            stack.enter_context(_NO_CUDNN.held())
            stack.enter_context(_NO_MKLDNN.held())
        if any(hasattr(m, "_orig_mod") for m in module.modules()):
            stack.enter_context(_NO_COMPILED.held())
        yield


def hookless(module: nn.Module) -> bool:
    """Whether a module runs no hooks: scripted ones, which torch lets nobody look into."""
    return isinstance(module, torch.jit._script.RecursiveScriptModule)


def check_state(module: nn.Module) -> None:
    """Refuse nets in training mode, quantised ones, those that mix their points, and weights that are none."""
    for name, weight in module.named_parameters():
        if isinstance(weight, nn.UninitializedParameter) or (weight.is_meta and bringer(module, name) is None):
            raise NetError(
                f"The weight {name!r} holds no numbers: it is lazy, or on the meta device. "
                "Load the weights, or run a lazy net once."
            )
        if not (weight.is_floating_point() or weight.is_complex()):
            raise NetError(
                f"The weight {name!r} holds whole numbers ({str(weight.dtype).removeprefix('torch.')}): this net is "
                "quantised, and has no gradient that could be trusted. Load it as it was before: without load_in_8bit, "
                "load_in_4bit or quantization_config."
            )
        if weight.is_inference():
            raise NetError(
                f"The weight {name!r} was made under torch.inference_mode(), and has no gradient for ever. Make or "
                "load the net outside of it."
            )
    if isinstance(module, torch.fx.GraphModule) and "eval" in vars(module):
        raise NetError(
            "This net is exported (torch.export): its modules are gone, and it has no eval(). Pass the original module."
        )
    training = next((name for name, m in module.named_modules() if m.training), None)
    if training is not None:
        where = f"module {training!r} of the net" if training else "the net"
        raise NetError(
            f"{where[0].upper()}{where[1:]} is in training mode: dropout and batch norm would change the answer from "
            "run to run. Type net.eval() first."
        )
    for name, inner in module.named_modules():
        if isinstance(inner, nn.modules.batchnorm._BatchNorm) and inner.running_mean is None:
            raise NetError(
                f"Module {name!r} keeps no running statistics: in evaluation mode, too, it takes those of the batch, "
                "and each point would change with the points beside it. Make it with track_running_stats=True."
            )
        if ".quantized" in type(inner).__module__:
            raise NetError(
                f"Module {name!r} is quantised ({type(inner).__name__}): it has no gradient. Explain the net as it was "
                "before quantisation."
            )


def reaches(end: Any, source: Tensor, blocked: Any) -> bool:
    """Whether the graph leads from `end` down to the leaf `source` without going through `blocked`."""
    stack, met = [end], {blocked}
    while stack:
        node = stack.pop()
        if node is None or node in met:
            continue
        if getattr(node, "variable", None) is source:
            return True
        met.add(node)
        stack.extend(after for after, _ in node.next_functions)
    return False
