"""Nets whose weights are elsewhere between their passes, as accelerate's offloading leaves them.

The hook here does what accelerate 1.15's AlignDevicesHook does: before a module runs, its weights are made anew from
what is kept; afterwards they are on the meta device again. With accelerate itself the same was tried by hand.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import influent as inf
from influent.nets import weights_hash
from tests.laws.laws import close
from tests.texts import behaviour, net_of, read
from tests.worlds import noise, smooth_mlp


class Brought:
    """What keeps the weights of one module."""

    offload = True

    def __init__(self, module):
        self.weights_map = {name: p.data for name, p in module.named_parameters(recurse=False)}
        self.execution_device = "cpu"


class Several:
    """Several hooks of one module."""

    def __init__(self, *hooks):
        self.hooks = hooks


def offloaded(net, several=False):
    for module in net.modules():
        if not list(module.parameters(recurse=False)):
            continue
        hook, forward = Brought(module), module.forward
        module._hf_hook = Several(object(), hook) if several else hook

        def change(made, module=module):
            for name, p in list(module.named_parameters(recurse=False)):
                module._parameters[name] = nn.Parameter(made(name), requires_grad=p.requires_grad)

        def away(hook=hook, change=change):
            change(lambda name: hook.weights_map[name].to("meta"))

        def run(*args, hook=hook, change=change, away=away, forward=forward, **kwargs):
            change(lambda name: hook.weights_map[name])
            try:
                return forward(*args, **kwargs)
            finally:
                away()

        module.forward = run
        away()
    assert all(p.is_meta for p in net.parameters())
    return net


@pytest.mark.parametrize("several", [False, True])
def test_a_net_whose_weights_are_brought_says_the_same(several):
    net, away = smooth_mlp(), offloaded(smooth_mlp(), several)
    x, start = noise(2, 4, seed=1), noise(2, 4, seed=2)
    for rule in ("adaptive", "uniform", "gauss", "left"):
        over = inf.Line(start, x, 9, rule)
        a, b = (inf.influence(n, ["INPUT", "1"], inf.Class(0), over, inf.contribution) for n in (net, away))
        for cut in ("INPUT", "1"):
            assert torch.equal(a[cut].values, b[cut].values)
            close(a[cut].gap.signed, b[cut].gap.signed)
    assert all(p.is_meta and p.requires_grad for p in away.parameters())
    assert weights_hash(away) == weights_hash(net)


@pytest.mark.parametrize("name", ["BERT", "Llama"])
def test_a_text_net_whose_weights_are_brought_says_the_same(name):
    net, away = net_of(name), net_of(name)
    away = inf.Net(offloaded(away.module), transform=away.transform)
    x, heads = read(name, net), inf.transformer(net).heads[0]
    for start in ("mask", "mean"):
        over, cuts = inf.Line(start, x, 3, "uniform"), [f"{net.embedding}/token", heads]
        a, b = (inf.influence(n, cuts, behaviour(name), over, inf.contribution) for n in (net, away))
        assert all(torch.equal(a[cut].values, b[cut].values) for cut in cuts)


def test_an_answer_of_one_is_stored(tmp_path):
    a = inf.influence(offloaded(smooth_mlp()), "1", inf.Class(0), inf.Point(noise(1, 4)))
    inf.save(a, tmp_path / "why")
    assert torch.equal(inf.load(tmp_path / "why").values, a.values)


def test_values_without_a_bound_are_still_a_lesson():
    net = offloaded(nn.Sequential(nn.Linear(4, 2)).double().eval())
    with pytest.raises(inf.InputError, match=r"holds 1 NaN or infinite values of 1"):
        inf.influence(net, "0", lambda y: y.sum(1) / 0, inf.Point(noise(1, 4)))


def test_weights_that_nothing_brings_hold_no_numbers():
    net = offloaded(smooth_mlp())
    del net[0]._hf_hook
    with pytest.raises(
        inf.NetError, match=r"^The weight '0\.weight' holds no numbers: it is lazy, or on the meta devi"
    ):
        inf.influence(net, "1", inf.Class(0), inf.Point(noise(1, 4)))
