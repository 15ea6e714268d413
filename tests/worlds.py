"""Small nets, each with its equation: those with closed-form answers (T1 to T16), and one of each awkward kind.

Every net takes `[point, *input]` and is in double precision and evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def built(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A net with reproducible weights, in double precision, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().double().eval()


def unit_scale(net: nn.Module, seed: int) -> Any:
    """The same net with weights of standard deviation 1/√(inputs of the layer): pre-activations stay of order 1."""
    for k, layer in enumerate(m for m in net.modules() if isinstance(m, nn.Linear)):
        layer.weight.data = noise(*layer.weight.shape, seed=100 * seed + k) / layer.in_features**0.5
    return net


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, the same in every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ones(*shape: int) -> Tensor:
    """Ones in double precision."""
    return torch.ones(*shape, dtype=torch.float64)


class Formula(nn.Module):
    """A module that is one function of its input."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Slice(nn.Module):
    """f = g ∘ h, with modules `h` and `g`."""

    def __init__(self, h: Callable[[Tensor], Tensor], g: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.h, self.g = Formula(h), Formula(g)

    def forward(self, x: Tensor) -> Tensor:
        return self.g(self.h(x))


def sliced(h: Callable[[Tensor], Tensor], g: Callable[[Tensor], Tensor]) -> nn.Module:
    """f = g ∘ h, in evaluation mode."""
    return Slice(h, g).eval()


def capped() -> nn.Module:
    """T1: y = 2x, z = min(y, 1); at y = 1 the derivative is taken as 1."""
    return sliced(lambda x: 2 * x, lambda y: y.clamp(max=1.0))


def hinge() -> nn.Module:
    """T2: y = x, g = max(y − 1, 0)."""
    return sliced(lambda x: 1.0 * x, lambda y: (y - 1).relu())


def negated() -> nn.Module:
    """T3: y = −x, g = y."""
    return sliced(lambda x: -x, lambda y: 1.0 * y)


def powers(p: float, q: float) -> nn.Module:
    """T4: y = (x1^p, x2^q), g = y1^{1/p} · y2^{1/q}; so F = x1 · x2."""
    up, down = torch.tensor([p, q], dtype=torch.float64), torch.tensor([1 / p, 1 / q], dtype=torch.float64)
    return sliced(lambda x: x**up, lambda y: (y**down).prod(1, keepdim=True))


def roots() -> nn.Module:
    """T5: y = (x1, √x2, √x2), g = y1 · y2 · y3; so F = x1 · x2."""
    return sliced(
        lambda x: torch.stack([x[:, 0], x[:, 1].sqrt(), x[:, 1].sqrt()], 1),
        lambda y: (y[:, 0] * y[:, 1] * y[:, 2])[:, None],
    )


def unsplit() -> nn.Module:
    """T5 with √x2 · √x2 kept as one unit: y = (x1, x2), g = y1 · y2."""
    return sliced(lambda x: 1.0 * x, lambda y: y.prod(1, keepdim=True))


def linear(a: Tensor) -> nn.Module:
    """T6: F = Σ a_i x_i."""
    net = nn.Linear(len(a), 1, bias=False).double()
    net.weight.data = a[None].clone()
    return net.eval()


def identity_layer(seed: int = 0) -> nn.Module:
    """T7: y = x, then a smooth net of three inputs: W₂ · gelu(W₁ y)."""
    return built(lambda: nn.Sequential(Formula(lambda x: 1.0 * x), nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 2)), seed)


def smooth_mlp(activation: Callable[[], nn.Module] = nn.GELU, seed: int = 0) -> nn.Sequential:
    """Linear 4 → 8 → 8 → 3 with a smooth activation between: analytic, pre-activations of order 1."""

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), activation(), nn.Linear(8, 8), activation(), nn.Linear(8, 3))

    return unit_scale(built(make, seed), seed)


def relu_mlp(seed: int = 0) -> nn.Sequential:
    """Linear 4 → 10 → 6 → 3 with ReLU between: piecewise linear along any line."""

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3))

    return unit_scale(built(make, seed), seed)


def cube() -> nn.Module:
    """T14: F = x³."""
    return sliced(lambda x: 1.0 * x, lambda y: y**3)


def through() -> nn.Module:
    """T15: F = x, by way of an identity layer."""
    return sliced(lambda x: 1.0 * x, lambda y: 1.0 * y)


def crossing() -> nn.Module:
    """T16: outputs (3x − 2, ½ − ¼x): class 0 at x = 1, class 1 at x = 0."""
    return sliced(lambda x: 1.0 * x, lambda y: torch.cat([3 * y - 2, 0.5 - 0.25 * y], 1))


class ReluConv(nn.Module):
    """head(mean(relu(branch(y) + y))), y = relu(conv1(x)): x [point, 2, 5, 5] → [point, 3]; a residual branch.

    With `inplace`, both ReLUs overwrite their input: the function is the same.
    """

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.relu1 = nn.ReLU(inplace)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.relu2 = nn.ReLU(inplace)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.above_conv1(self.conv1(x))

    def above_conv1(self, y: Tensor) -> Tensor:
        """The rest of the net, from the output of `conv1`."""
        y = self.relu1(y)
        return self.head(self.relu2(self.branch(y) + y).mean((2, 3)))


def relu_conv(inplace: bool = True, seed: int = 0) -> ReluConv:
    """A small ReLU convolution net with a residual branch."""
    return built(lambda: ReluConv(inplace), seed)


class Rectified(nn.Module):
    """last(relu(again(relu(first(x))))), the ReLU written as one likes: `relu` may be a module or a function."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.again, self.last, self.relu = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3), relu

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.relu(self.again(self.relu(self.first(x)))))


def rectified(relu: Callable[[Tensor], Tensor], seed: int = 0) -> Rectified:
    """A ReLU net in which one ReLU is called twice."""
    return built(lambda: Rectified(relu), seed)


class Overwriting(nn.Module):
    """W₂ · gelu(W₁ · (2x + 1)), where 2x + 1 overwrites the net's own input if `inplace`."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.first, self.last, self.inplace = nn.Linear(3, 4), nn.Linear(4, 2), inplace

    def forward(self, x: Tensor) -> Tensor:
        y = x.mul_(2.0).add_(1.0) if self.inplace else 2.0 * x + 1.0
        return self.last(nn.functional.gelu(self.first(y)))


class Shared(nn.Module):
    """last(tanh(again(tanh(again(x))))): one module, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.again, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.again(torch.tanh(self.again(x)))))


class Forked(nn.Module):
    """last(a · b), where `block` gives the pair (a, b) = (tanh(A x), softplus(B x)): neither alone is a full cut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)
        self.block = Formula(lambda x: (torch.tanh(self.a(x)), nn.functional.softplus(self.b(x))))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.block(x)
        return self.last(a * b)


class Named(nn.Module):
    """{"hidden": tanh(A x), "logits": B tanh(A x)}: outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = torch.tanh(self.a(x))
        return {"hidden": hidden, "logits": self.b(hidden)}


class Keywords(nn.Module):
    """scale · tanh(A x): called by keyword only."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 2)

    def forward(self, *, x: Tensor, scale: Tensor) -> Tensor:
        return scale[:, None] * torch.tanh(self.a(x))


class Recurrent(nn.Module):
    """last(h_T) of an LSTM over [point, step, 3]: a module that gives (outputs, (h, c))."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.last = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.lstm(x)[0][:, -1])


class Reader(nn.Module):
    """last(mean(attend(embed(ids)))): words in, self-attention, [point, 2] out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attend = nn.Embedding(11, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.above_embed(self.embed(ids))

    def above_embed(self, e: Tensor) -> Tensor:
        """The rest of the net, from the embeddings."""
        return self.last(self.attend(e, e, e, need_weights=False)[0].mean(1))


class Counted(nn.Module):
    """The net inside, counting the points that it is run on."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside, self.points = inside, 0

    def forward(self, x: Tensor) -> Tensor:
        self.points += len(x)
        return self.inside(x)


def batch_norm_pair(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """conv – batch norm – GELU – head with statistics that are not trivial, and the same with the norm folded."""
    norm = nn.BatchNorm2d(3)
    norm.running_mean, norm.running_var = noise(3, seed=seed + 1), noise(3, seed=seed + 2).abs() + 0.5
    norm.weight.data, norm.bias.data = noise(3, seed=seed + 3), noise(3, seed=seed + 4)
    head = nn.Sequential(nn.GELU(), nn.Flatten(), nn.Linear(27, 2))
    plain = built(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), norm, *head), seed)
    conv, fused = plain[0], nn.Conv2d(2, 3, 3).double()
    scale = norm.weight.data / (norm.running_var + norm.eps).sqrt()
    fused.weight.data = conv.weight.data * scale[:, None, None, None]
    fused.bias.data = (conv.bias.data - norm.running_mean) * scale + norm.bias.data
    return plain, nn.Sequential(fused, *plain[2:]).eval()


def merged_pair(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """Two linear layers in a row before a GELU, and their product as one."""
    two = built(lambda: nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 2)), seed)
    one = nn.Linear(4, 5).double()
    one.weight.data = two[1].weight.data @ two[0].weight.data
    one.bias.data = two[1].weight.data @ two[0].bias.data + two[1].bias.data
    return two, nn.Sequential(one, *two[2:]).eval()
