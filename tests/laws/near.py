"""The laws of MIM, as functions of an implementation: ours must keep them, each mutant must break its own.

`ask(net, at, x, data, kernel="1/d2", chunk=64)` gives φ `[instance, *neuron]` with hard labels, and the coherence
`[instance]`; `data` is a list of batches (x, label), whose labels are not the net's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import influent as inf
from influent import monotone
from tests import oracles, worlds
from tests.laws.laws import close
from tests.worlds import noise

Ask = Callable[..., tuple[Tensor, Tensor]]
AT = "1"


def samples(n: int = 23, seed: int = 4) -> Tensor:
    """Inputs of a small net."""
    return noise(n, 4, seed=seed)


def batches(x: Tensor, *sizes: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of given sizes (all in one, where none are given), with labels that say nothing."""
    label = torch.arange(len(x)) % 3
    parts = list(sizes) or [len(x)]
    return list(zip(x.split(parts), label.split(parts), strict=True))


def wanted(net: nn.Module, at: str, x: Tensor, data: Tensor, kernel: str = "1/d2") -> tuple[Tensor, Tensor]:
    """φ and coherence at a module of a sequential net, by the double loop."""
    below = (lambda z: z) if at == "INPUT" else net[: int(at) + 1]
    with torch.no_grad():
        near, far, a, b = below(x), below(data), net(x).argmax(1), net(data).argmax(1)
    signs = (a[:, None] == b).double() * 2 - 1
    phi, length, _ = oracles.monotone(near.flatten(1), far.flatten(1), signs, oracles.KERNELS[kernel])
    return phi.reshape(near.shape), phi.norm(dim=1) / length


def moved(net: nn.Sequential, turn: Tensor, shift: Tensor) -> nn.Sequential:
    """The same function of z = x Q + v: its first layer undoes both."""
    again = worlds.relu_mlp()
    again.load_state_dict(net.state_dict())
    again[0].weight.data = net[0].weight.data @ turn
    again[0].bias.data = net[0].bias.data - again[0].weight.data @ shift
    return again


def law_sums_of_a_double_loop(ask: Ask) -> None:
    """φ and coherence as they are defined, at the input and inside."""
    net, x, data = worlds.relu_mlp(), samples(3, 9), samples()
    for at in ("INPUT", AT, "4"):
        phi, coherence = ask(net, at, x, batches(data))
        want, agree = wanted(net, at, x, data)
        close(phi, want)
        close(coherence, agree)


def law_shift_changes_nothing(ask: Ask) -> None:
    """Data, x and the net moved by one vector: the differences y − x are what they were."""
    net, x, data, v = worlds.relu_mlp(), samples(2, 9), samples(), noise(4, seed=2)
    first, _ = ask(net, "INPUT", x, batches(data))
    second, _ = ask(moved(net, torch.eye(4).double(), v), "INPUT", x + v, batches(data + v))
    close(first, second)


def law_rotation_turns_the_answer(ask: Ask) -> None:
    """Data, x and the net turned by Q: φ is turned by Q, since Euclidean distances stay."""
    net, x, data = worlds.relu_mlp(), samples(2, 9), samples()
    turn = torch.linalg.qr(noise(4, 4, seed=6)).Q
    first, _ = ask(net, "INPUT", x, batches(data))
    second, _ = ask(moved(net, turn, torch.zeros(4).double()), "INPUT", x @ turn, batches(data @ turn))
    close(first @ turn, second)


def law_swapped_labels_change_nothing(ask: Ask) -> None:
    """Classes in another order: who has the label of whom is what it was."""
    net, x, data = worlds.relu_mlp(), samples(3, 9), samples()
    first, _ = ask(net, AT, x, batches(data))
    order = torch.tensor([2, 0, 1])
    swapped = moved(net, torch.eye(4).double(), torch.zeros(4).double())
    swapped[4].weight.data, swapped[4].bias.data = net[4].weight.data[order], net[4].bias.data[order]
    close(first, ask(swapped, AT, x, batches(data))[0])


def law_coherence_has_no_scale(ask: Ask) -> None:
    """A layer 1000 times as large, which the next makes up for: the same coherence, between 0 and 1."""
    net, x, data = worlds.relu_mlp(), samples(3, 9), samples()
    large = moved(net, torch.eye(4).double(), torch.zeros(4).double())
    large[0].weight.data, large[0].bias.data = 1000 * net[0].weight.data, 1000 * net[0].bias.data
    large[2].weight.data = net[2].weight.data / 1000
    for kernel in ("1/d2", "1/d"):
        _, first = ask(net, AT, x, batches(data), kernel)
        _, second = ask(large, AT, x, batches(data), kernel)
        close(first, second)
        assert bool(((first > 0) & (first <= 1)).all())


def law_x_among_the_data_is_skipped(ask: Ask) -> None:
    """y ≠ x: data with x itself in it, twice, give what data without it give."""
    net, x, data = worlds.relu_mlp(), samples(2, 9), samples()
    for at in ("INPUT", AT):
        for one in (x[:1], x[1:]):
            phi, coherence = ask(net, at, one, batches(torch.cat([one, data, one]), 10, len(data) - 8))
            want, agree = ask(net, at, one, batches(data))
            close(phi, want)
            close(coherence, agree)


def law_rounding_between_batches_is_no_distance(ask: Ask) -> None:
    """A layer that rounds otherwise in larger batches: x among the data is still x, and not 1e-16 away."""
    layer = worlds.Formula(lambda z: z * (1 + 2.0**-52 * (len(z) > 2)))
    net = nn.Sequential(layer, *worlds.relu_mlp()).eval()
    x, data = samples(2, 9), samples()
    phi, coherence = ask(net, "0", x[:1], batches(torch.cat([x[:1], data])))
    want, agree = ask(net, "0", x[:1], batches(data))
    close(phi, want)
    close(coherence, agree)


def law_near_duplicates_are_exact(ask: Ask) -> None:
    """‖y − x‖ = 1e-9 · ‖x‖: as the double loop, 1e-10 of the largest; squares expanded have no digit left there."""
    net, x = worlds.relu_mlp(), 3 + samples(3, 9)
    data = torch.cat([samples(), x * (1 + 1e-9 * noise(3, 4, seed=1)), x])
    phi, coherence = ask(net, "INPUT", x, batches(data))
    want, agree = wanted(net, "INPUT", x, data)
    assert bool(((phi - want).abs() <= 1e-10 * want.abs().amax(1, keepdim=True)).all())
    close(coherence, agree, 1e-10)


def law_far_from_the_origin_nothing_is_lost(ask: Ask) -> None:
    """Everything moved by a million: the rounding of the inputs themselves, 1e6 · eps, is all that may show."""
    net, x, data = worlds.relu_mlp(), 1e6 + samples(3, 9), 1e6 + samples()
    phi, _ = ask(moved(net, torch.eye(4).double(), 1e6 * worlds.ones(4)), "INPUT", x, batches(data))
    want, _ = wanted(moved(net, torch.eye(4).double(), 1e6 * worlds.ones(4)), "INPUT", x, data)
    assert bool(((phi - want).abs() <= 1e-10 * want.abs().amax(1, keepdim=True)).all())


def law_nothing_is_normalised(ask: Ask) -> None:
    """φ over A and B together is φ over A plus φ over B."""
    net, x, data = worlds.relu_mlp(), samples(3, 9), samples()
    whole, _ = ask(net, AT, x, batches(data))
    parts = [ask(net, AT, x, batches(part))[0] for part in data.split([5, 18])]
    close(whole, parts[0] + parts[1])


def law_batches_and_chunk_do_not_matter(ask: Ask) -> None:
    """The same sums, however the data come and however many points run at once."""
    net, x, data = worlds.relu_mlp(), samples(3, 9), torch.cat([samples(), samples(3, 9)])
    whole, agree = ask(net, AT, x, batches(data))
    for sizes in ([1] * 26, [20, 6]):
        for chunk in (1, 4, 100):
            phi, coherence = ask(net, AT, x, batches(data, *sizes), chunk=chunk)
            close(phi, whole)
            close(coherence, agree)


LAWS = [law for name, law in list(vars().items()) if name.startswith("law_")]


def ours(net: Any, at: str, x: Tensor, data: Any, kernel: str = "1/d2", chunk: int = 64) -> tuple[Tensor, Tensor]:
    """`mim`, and `coherence` beside it."""
    phi = inf.mim(net, at, x, data, kernel, chunk=chunk).values
    return phi, monotone.coherence(net, at, x, data, kernel, chunk=chunk)
