"""Masked nets as plain modules: the mask as a layer, and channels that are really gone, beside each other."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import influent as inf
from influent.errors import CutError, NetError, QuestionError
from influent.zoo.googlenet import GoogLeNet, Inception
from tests import worlds
from tests.laws.laws import snapshot
from tests.worlds import noise

torch.set_num_threads(1)


def masked_by_hook(net: nn.Module, name: str, x: Tensor, kept: list[int], call: int = 1, dim: int = 1) -> Tensor:
    """The outputs with all channels but `kept` multiplied by 0 after a module: no code of ours."""
    calls = [0]

    def hook(module: nn.Module, args: object, out: Tensor) -> Tensor:
        calls[0] += 1
        zeros = torch.zeros_like(out)
        here = torch.tensor(kept)
        return zeros.index_copy(dim, here, out.index_select(dim, here)) if calls[0] == call else out

    with net.get_submodule(name).register_forward_hook(hook), torch.no_grad():
        return net(x)


def scripted(net: nn.Module, x: Tensor) -> list[Tensor]:
    """The outputs of the net in torch.jit's two forms, both of which torch calls deprecated."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        return [torch.jit.script(net)(x), torch.jit.trace(net, x)(x)]


def close(found: Tensor, want: Tensor, most: float = 1e-10) -> None:
    assert found.shape == want.shape
    found, want = found.detach(), want.detach()
    assert float((found - want).abs().max()) <= most * max(1.0, float(want.abs().max()))


# The mask as a layer


@pytest.mark.parametrize(
    ("make", "x", "cut"),
    [
        (lambda: worlds.ReluConv(True), noise(3, 2, 5, 5), "conv1/channel"),
        (lambda: worlds.ReluConv(True), noise(3, 2, 5, 5), "branch:in/channel"),
        (lambda: worlds.ReluConv(False), noise(3, 2, 5, 5), "head:in"),
        (lambda: worlds.ReluConv(False), noise(3, 2, 5, 5), "OUTPUT"),
        (lambda: worlds.ReluConv(False), noise(3, 2, 5, 5), "INPUT"),
        (worlds.Forked, noise(3, 3), "block[1]"),
        (worlds.Recurrent, noise(3, 4, 3), "lstm[0]/channel"),
        (worlds.Named, noise(3, 3), "a"),
        (worlds.Reader, torch.arange(12).reshape(3, 4) % 11, "attend[0]"),
        (worlds.Reader, torch.arange(12).reshape(3, 4) % 11, "attend:in"),
        (worlds.Shared, noise(3, 3), "last:in#1"),
    ],
)
@pytest.mark.parametrize("keep", [True, False])
def test_compress_says_what_the_expert_says(make, x, cut, keep):
    net = worlds.built(make)
    mask = inf.Mask(cut, [1], keep)
    before = snapshot(net)
    with torch.no_grad():
        found, plain = (f["logits"] if isinstance(f, dict) else f for f in (inf.compress(net, mask, x[:1])(x), net(x)))
        close(found, inf.Expert(net, mask, inf.Class(1))(x), 1e-14)
    assert not torch.equal(found, plain)
    assert snapshot(net) == before


def test_compress_says_what_a_hook_says():
    net, x = worlds.built(lambda: worlds.ReluConv(True)), noise(3, 2, 5, 5)
    close(inf.compress(net, inf.Mask("conv1/channel", [0, 2]), x)(x), masked_by_hook(net, "conv1", x, [0, 2]), 1e-14)


def test_units_may_be_put_to_their_mean():
    net, x = worlds.relu_mlp(), noise(5, 4)
    mean = net[:2](x).detach().mean(0)
    y = net[:2](x).detach()
    y[:, 3:] = mean[3:]
    mask = inf.Mask("1/channel", [0, 1, 2], fill="mean")
    close(inf.compress(net, mask, x[:1], mean)(x), net[2:](y).detach(), 1e-14)


def test_a_compressed_chain_can_be_scripted_and_saved(tmp_path):
    net, x = (
        worlds.built(lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))),
        noise(3, 2, 5, 5),
    )
    made = inf.compress(net, inf.Mask("1/channel", [0, 2]), x[:1])
    for y in scripted(made, x):
        close(y, made(x), 1e-14)
    save_file(made.state_dict(), tmp_path / "net.safetensors")
    other = inf.compress(net, inf.Mask("1/channel", [1]), x[:1])
    other.load_state_dict(load_file(tmp_path / "net.safetensors"))
    close(other(x), made(x), 0)


def test_a_compressed_net_in_single_precision_stays_there():
    net = worlds.built(lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    made = inf.compress(net, inf.Mask("0/channel", [0]), noise(1, 3)).float()
    assert made(noise(1, 3).float()).dtype == torch.float32


def test_a_module_with_two_names_is_masked_under_both():
    net = worlds.built(lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)))
    net[1].alias = net[0]
    made = inf.compress(net, inf.Mask("0/channel", [0]), noise(1, 3))
    assert made[1].alias is made[0]


# Channels really gone


def sized(layer: nn.Module) -> tuple[int, int]:
    return (
        (layer.out_channels, layer.in_channels)
        if isinstance(layer, nn.Conv2d)
        else (layer.out_features, layer.in_features)
    )


class Functions(nn.Module):
    """Convolutions, and between them torch's functions; an inception of two branches; a head by `view`."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.deep = (
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.Conv2d(6, 6, 3, groups=6, bias=False),
        )
        self.left, self.right, self.last = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 5, 1), nn.Linear(9 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.norm(self.one(x)))
        y = torch.cat((F.relu(self.left(self.deep(y))), F.max_pool2d(torch.tanh(self.right(y)), 3, 1)), 1)
        y = F.avg_pool2d(F.dropout(y, training=self.training), 2, 2)
        return self.last(y.view(y.size(0), -1))


def functions() -> nn.Module:
    return worlds.built(Functions)


@pytest.mark.parametrize(
    ("cut", "kept", "sizes"),
    [
        ("norm", [0, 3], {"one": (2, 2), "deep": (2, 2), "left": (4, 2), "right": (5, 2)}),
        ("left:in", [1, 2, 5], None),
        ("deep:in", [1, 2, 5], None),
        ("deep", [0, 3], None),
        ("left", [1], {"left": (1, 6), "last": (3, 24)}),
        ("right", [1, 2], {"right": (2, 6), "last": (3, 24)}),
    ],
)  # fmt: skip
def test_functions_between_layers(cut, kept, sizes):
    net, x = functions(), noise(4, 2, 6, 6)
    mask = inf.Mask(f"{cut}/channel", kept)
    if sizes is None:
        with pytest.raises(CutError, match=r"relu6\(\) \(relu6\) is also used beside the cut, where its channels"):
            inf.prune(net, mask)
        return
    made = inf.prune(net, mask)
    close(made(x), inf.compress(net, mask, x)(x))
    assert {name: sized(made.get_submodule(name)) for name in sizes} == sizes


def test_the_mask_of_functions_is_that_of_a_hook():
    net, x = functions(), noise(4, 2, 6, 6)
    close(inf.prune(net, inf.Mask("norm/channel", [0, 3]))(x), masked_by_hook(net, "norm", x, [0, 3]))
    assert inf.prune(net, inf.Mask("norm/channel", [0, 3])).norm.running_mean.shape == (2,)


@given(st.sets(st.integers(0, 15), min_size=1), st.booleans())
def test_any_channels_of_an_inception(units, keep):
    """Branches may lose all their channels, and the net all of a layer."""
    blocks = OrderedDict(
        a=Inception(3, (4, 3, 5, 2, 3, 4)), b=Inception(16, (2, 2, 2, 2, 2, 2)), pool=nn.AdaptiveAvgPool2d(2)
    )
    net = worlds.built(lambda: nn.Sequential(blocks).append(nn.Flatten()).append(nn.Linear(32, 3)))
    x, mask = noise(2, 3, 4, 4), inf.Mask("a/channel", sorted(units), keep)
    kept = sorted(units if keep else set(range(16)) - units)
    made = inf.prune(net, mask)
    close(made(x), masked_by_hook(net, "a", x, kept))
    parts = [len([u for u in kept if lo <= u < hi]) for lo, hi in ((0, 4), (4, 9), (9, 12), (12, 16))]
    names = ("1x1", "3x3", "5x5", "pool_proj")
    assert [made.a.get_submodule(n).out_channels for n in names] == [max(1, p) for p in parts]
    assert made.b.get_submodule("1x1").in_channels == sum(max(1, p) for p in parts)


@pytest.mark.parametrize(("cut", "width"), [("5b", 1024), ("5a", 832), ("4e", 832), ("4c", 512), ("4c.relu_3x3", 256)])
def test_channels_of_googlenet(cut, width):
    net, x = worlds.built(GoogLeNet), noise(2, 3, 64, 64)
    kept = torch.randperm(width, generator=torch.Generator().manual_seed(1))[:20].sort().values.tolist()
    made = inf.prune(net, inf.Mask(f"inception_{cut}/channel", kept))
    close(made(x), masked_by_hook(net, f"inception_{cut}", x, kept))
    assert set(made.state_dict()) == set(net.state_dict())
    assert sum(p.numel() for p in made.parameters()) < sum(p.numel() for p in net.parameters())


def test_channels_of_efficientnet():
    net, x = inf.zoo.load("efficientnet-lite0").module.double(), noise(2, 3, 96, 96)
    kept = [0, 5, 17, 40]
    made = inf.prune(net, inf.Mask("_blocks.10._bn1/channel", kept))
    close(made(x), masked_by_hook(net, "_blocks.10._bn1", x, kept))
    block = made._blocks[10]
    assert sized(block._expand_conv)[0] == sized(block._project_conv)[1] == block._bn0.num_features == 4
    assert (block._depthwise_conv.groups, block._depthwise_conv.weight.shape[:2]) == (4, (4, 1))


@pytest.mark.parametrize("keepdim", [False, True])
def test_means_over_rows_and_columns(keepdim):
    head = nn.Conv2d(4, 2, 1) if keepdim else nn.Linear(4, 2)
    pooled = worlds.Formula(lambda y: y.mean((2, 3), keepdim=keepdim))
    net, x = worlds.built(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pooled, head)), noise(2, 3, 5, 5)
    made = inf.prune(net, inf.Mask("1/channel", [1, 3]))
    close(made(x), masked_by_hook(net, "1", x, [1, 3]))
    assert sized(made[3]) == (2, 2)


def test_neurons_of_linear_layers():
    net, x = worlds.relu_mlp(), noise(5, 4)
    made = inf.prune(net, inf.Mask("1/channel", [2, 7]))
    close(made(x), masked_by_hook(net, "1", x, [2, 7]))
    assert [tuple(m.weight.shape) for m in made if isinstance(m, nn.Linear)] == [(2, 4), (6, 2), (3, 6)]
    tokens = noise(5, 7, 4)
    close(made(tokens), masked_by_hook(net, "1", tokens, [2, 7], dim=2))


def test_buffers_dtypes_flags_and_memory_stay():
    net = worlds.built(
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    ).float()
    net = net.to(memory_format=torch.channels_last).requires_grad_(False)
    net[3].bias.requires_grad_(True)
    net.register_buffer("note", torch.arange(3))
    before = snapshot(net)
    made = inf.prune(net, inf.Mask("2/channel", [1, 3]))
    assert snapshot(net) == before
    assert [p.requires_grad for p in made.parameters()] == [False] * 5 + [True]
    assert made[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert {p.dtype for p in made.parameters()} == {torch.float32}
    assert torch.equal(made.note, torch.arange(3))
    assert int(made[1].num_batches_tracked) == 0
    assert repr(made[0]) == "Conv2d(2, 2, kernel_size=(3, 3), stride=(1, 1))"
    assert repr(made[1]).startswith("BatchNorm2d(2,")


def test_a_pruned_net_can_be_scripted_traced_and_saved(tmp_path):
    net, x = functions(), noise(2, 2, 6, 6)
    made = inf.prune(net, inf.Mask("norm/channel", [0, 3]))
    for y in scripted(made, x):
        close(y, made(x), 1e-14)
    save_file(made.state_dict(), tmp_path / "net.safetensors")
    again = copy.deepcopy(made)
    nn.init.zeros_(again.one.weight)
    again.load_state_dict(load_file(tmp_path / "net.safetensors"))
    close(again(x), made(x), 0)


# What cannot be removed exactly


def chain(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


CONV, NEXT, LRN = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 1), nn.LocalResponseNorm(3)


class Gate(nn.Module):
    """last(y · σ(gate(y)) + y), y = first(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.last = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.last(y * torch.sigmoid(self.gate(y)) + y)


class Branching(nn.Module):
    """A net whose way depends on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x)) if x.sum() > 0 else self.last(self.first(-x))


class Passing(nn.Module):
    """last(pass(y)) + last(y): a module that gives what it takes, which is also used without it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.through = nn.Conv2d(2, 4, 1), worlds.Formula(lambda y: y)
        self.left, self.right = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.left(self.through(y)) + self.right(y)


class Doubled(nn.Conv2d):
    """A convolution with twice its bias."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, 2 * self.bias)


class Joined(nn.Module):
    """last of a concatenation along an axis that is not the channels'."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.last(torch.cat([y, y], 2))


REFUSED = {
    "batch norm after": (chain(CONV, nn.BatchNorm2d(4), NEXT), "0", r"'1' shifts channels that are 0\. .* at '1'\."),
    "depthwise bias": (chain(CONV, nn.Conv2d(4, 4, 1, groups=4), NEXT), "0", r"'1' adds its bias to .* at '1'\."),
    "groups": (chain(CONV, nn.Conv2d(4, 4, 1, groups=2)), "0", r"'1' takes its channels in 2 groups\."),
    "groups before": (chain(nn.Conv2d(2, 4, 1, groups=2), NEXT), "0", r"'0' makes its channels in 2 groups\."),
    "neighbours after": (chain(CONV, LRN, NEXT), "0", r"'1' looks at other channels, too\. Cut after the next"),
    "neighbours before": (chain(CONV, LRN, NEXT), "1", r"'1' looks at other channels, too\."),
    "sigmoid": (chain(CONV, nn.Sigmoid(), NEXT), "0", r"'1' makes 0\.5 of 0\."),
    "output": (chain(CONV, nn.ReLU()), "1", r"the net's output is what would change in size\. Cut before"),
    "input": (chain(nn.ReLU(), CONV), "0", r"input\(\) \(input_1\) is not known to treat channels by themselves"),
    "a gate": (Gate, "first", r"mul\(\) \(mul\) joins channels with others \(a residual sum, or a gate\)\."),
    "a sum before": (lambda: worlds.ReluConv(False), "relu2", r"add\(\) \(add\) joins channels with others"),
    "given on": (Passing, "through", r"'first' is also used beside the cut, where its channels are needed\."),
    "taken elsewhere": (Passing, "left:in", r"'first' is also used beside the cut"),
    "weights of its own making": (chain(Doubled(2, 4, 1), NEXT), "0", r"conv2d\(\) \(conv2d\) is not known to treat"),
    "other axis": (Joined, "first", r"cat\(\) \(cat\) is not known to treat channels by themselves\."),
    "used elsewhere": (lambda: worlds.ReluConv(False), "branch", r"add\(\) \(add\) joins channels with others"),
    "pixels as inputs": (chain(CONV, nn.Linear(5, 2)), "0", r"'1' takes something else than these channels\."),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_exact_is_refused_by_name(name):
    make, cut, lesson = REFUSED[name]
    net = worlds.built(make)
    with pytest.raises(CutError, match=rf"^'{cut}' cannot be pruned: {lesson}") as error:
        inf.prune(net, inf.Mask(f"{cut}/channel", [1]))
    assert str(error.value).endswith("compress(net, mask, x) masks the net without removing anything.")


@pytest.mark.parametrize("name", ["batch norm after", "depthwise bias"])
def test_the_cut_that_is_named_instead_works(name):
    net, x = worlds.built(REFUSED[name][0]), noise(3, 2, 5, 5)
    close(inf.prune(net, inf.Mask("1/channel", [0, 2]))(x), masked_by_hook(net, "1", x, [0, 2]))


@pytest.mark.parametrize(
    ("make", "mask", "kind", "lesson"),
    [
        (functions, inf.Mask("norm", [1]), QuestionError, r"only whole channels that are put to zero can be removed"),
        (functions, inf.Mask("norm/row", [1]), QuestionError, r'removed, Mask\("norm/channel", \.\.\.\)'),
        (functions, inf.Mask("norm/channel", [1], fill="mean"), QuestionError, r"with fill='mean': only whole"),
        (functions, inf.Mask("norm/channel", [6]), QuestionError, r"names unit 6, and norm/channel has 6 units"),
        (functions, inf.Mask("nrom/channel", [1]), CutError, r"has no module 'nrom'\. Did you mean 'norm'"),
        (functions, inf.Mask("INPUT/channel", [1]), CutError, r"'INPUT' is not the one tensor that a module inside"),
        (lambda: worlds.built(worlds.Forked), inf.Mask("block[0]/channel", [1]), CutError, r"'block\[0\]' is not"),
        (lambda: worlds.built(worlds.Shared), inf.Mask("again/channel", [1]), CutError, r'2 times .* "again#1"\.$'),
        (lambda: worlds.built(worlds.Shared), inf.Mask("again#3/channel", [1]), CutError, r"runs 2 times in one pass"),
        (lambda: worlds.built(worlds.Shared), inf.Mask("again#2/channel", [1]), CutError, r"'again' runs 2 times"),
        (lambda: worlds.built(Branching), inf.Mask("first/channel", [1]), NetError, r"cannot be traced \(torch\.fx\)"),
        (lambda: functions().train(), inf.Mask("norm/channel", [1]), NetError, r"in training mode"),
    ],
)  # fmt: skip
def test_what_cannot_be_pruned_at_all(make, mask, kind, lesson):
    with pytest.raises(kind, match=lesson):
        inf.prune(make(), mask)


def test_hooks_are_not_seen_by_a_trace():
    net = functions()
    with (
        net.norm.register_forward_hook(lambda m, args, out: 2 * out),
        pytest.raises(NetError, match=r"'norm' has hooks"),
    ):
        inf.prune(net, inf.Mask("norm/channel", [1]))


def test_axes_that_are_declared_otherwise_are_heard():
    net = inf.Net(functions(), axes={"norm": ("row", "column", "channel")})
    with pytest.raises(CutError, match=r"count channels elsewhere than declared, \('row', 'column', 'channel'\)"):
        inf.prune(net, inf.Mask("norm/channel", [1]))


@pytest.mark.parametrize(
    ("make", "mask", "x", "lesson"),
    [
        (worlds.Shared, inf.Mask("again#1/channel", [1]), noise(2, 3), r"'again' runs several times in one pass"),
        (worlds.Shared, inf.Mask("last/channel", [1], fill="resample"), noise(2, 3), r"which a plain module has not"),
        (worlds.Keywords, inf.Mask("INPUT[x]", [1]), {"x": noise(2, 3), "scale": noise(2)}, r"cannot be masked in"),
        (worlds.Shared, inf.Mask("again/channel", [1]), noise(2, 3), r"runs more than once in one pass"),
    ],
)  # fmt: skip
def test_what_no_plain_module_can_do(make, mask, x, lesson):
    with pytest.raises(QuestionError, match=lesson):
        inf.compress(worlds.built(make), mask, x)
