"""g alone, beside the whole net with a plain hook of the test's own: the same numbers, nothing below computed."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import influent as inf
from influent.replay import Replay
from influent.zoo.googlenet import GoogLeNet
from tests import worlds
from tests.laws.laws import snapshot
from tests.worlds import noise

torch.set_num_threads(1)

ROWS = torch.tensor([1, 0, 3, 3, 2, 1, 0])


class Between(nn.Module):
    """last(tanh(second(relu(first(x)) · 2 + 1)).flatten): functions between the modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 1), nn.Linear(36, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu(self.first(x)) * 2 + 1
        return self.last(torch.tanh(self.second(y)).flatten(1))


class Thrice(nn.Module):
    """last(block(block(block(x)))), with block = x + gelu(lin(x)): one block, called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Module()
        self.block.lin = nn.Linear(3, 3)
        self.block.forward = lambda x: x + nn.functional.gelu(self.block.lin(x))
        self.last = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.block(self.block(self.block(x))))


class Mixed(nn.Module):
    """Before the cut: a module that gives (numbers, whole numbers, text), one that is skipped or not, and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.sort = worlds.Formula(lambda x: (2 * x, x.argmax(1), "kept", {"mean": x.mean(1, keepdim=True)}))
        self.table, self.mid, self.last = nn.Embedding(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, best, word, more = self.sort(x)
        positive = more["mean"] > 0 if word == "kept" else None
        return self.last(torch.where(positive, self.mid(y).tanh() + self.table(best), more["mean"]))


class TimeFirst(nn.Module):
    """Around the cut: a tensor that counts points second, one that counts them twice, and one for all points."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = worlds.Formula(
            lambda x: (x.T.contiguous(), x.repeat_interleave(3, 0), x @ x.T, torch.ones(3).double())
        )
        self.mid, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        turned, three_times, square, shared = self.turn(x)
        y = self.mid(x) * turned.T + three_times.unflatten(0, (-1, 3)).sum(1) + shared
        return self.last(y + square.diagonal()[:, None])


def efficientnet() -> nn.Module:
    return inf.zoo.load("efficientnet-lite0").module.double()


def photos(count: int, side: int) -> Tensor:
    return noise(count, 3, side, side, seed=5)


CASES = {
    "sequential": (GoogLeNet, photos(4, 64), ["conv2.norm2", "inception_4c", "inception_4c.3x3", "inception_5b"]),
    "efficientnet": (efficientnet, photos(4, 96), ["_blocks.10", "_blocks.10._bn1", "_blocks.14:in"]),
    "functions between": (Between, noise(4, 2, 5, 5), ["first", "first:in", "second", "last", "INPUT", "OUTPUT"]),
    "residual": (lambda: worlds.ReluConv(False), noise(4, 2, 5, 5), ["conv1", "relu1", "branch", "branch:in", "relu2"]),
    "overwriting": (lambda: worlds.ReluConv(True), noise(4, 2, 5, 5), ["relu1", "branch", "relu2", "head"]),
    "overwritten input": (lambda: worlds.Overwriting(True), noise(4, 3), ["first", "last"]),
    "a block three times": (
        Thrice, noise(4, 3), [f"{m}{s}#{n}" for m in ("block", "block.lin") for s in ("", ":in") for n in (1, 2, 3)],
    ),
    "a module twice": (worlds.Shared, noise(4, 3), ["again#1", "again#2", "again:in#2", "last"]),
    "a pair": (worlds.Forked, noise(4, 3), ["block[0]", "block[1]", "a", "last:in"]),
    "names": (worlds.Named, noise(4, 3), ["a", "b:in", "OUTPUT[logits]"]),
    "recurrent": (worlds.Recurrent, noise(4, 5, 3), ["lstm[0]", "lstm:in", "last:in"]),
    "words": (worlds.Reader, torch.arange(20).reshape(4, 5) % 11, ["embed", "attend[0]", "last"]),
    "mixed": (Mixed, noise(4, 3), ["mid", "table", "last:in"]),
    "points elsewhere": (TimeFirst, noise(4, 3), ["mid", "last"]),
}  # fmt: skip
PLACES = [(name, cut) for name, (_, _, cuts) in CASES.items() for cut in cuts]


def fed(net: nn.Module, cut: inf.Cut, h: Tensor, x: Tensor) -> Tensor:
    """The outputs with `h` put at a place of the whole net, by a hook: no code of ours."""
    calls = [0]

    def placed(value: Any) -> Any:
        calls[0] += 1
        if calls[0] != (cut.call or 1):
            return value
        if cut.element and isinstance(value, tuple):
            return tuple(h if k == cut.element[0] else v for k, v in enumerate(value))
        return {**value, cut.element[0]: h} if cut.element else h

    module = net if cut.name in ("INPUT", "OUTPUT") else net.get_submodule(cut.name)
    if cut.is_input_side or cut.name == "INPUT":
        handle = module.register_forward_pre_hook(lambda m, args: (placed(args[0]), *args[1:]))
    else:
        handle = module.register_forward_hook(lambda m, args, out: placed(out))
    with handle, torch.no_grad():
        y = net(x.clone())
    return y["logits"] if isinstance(y, dict) else y


def close(found: Tensor, want: Tensor) -> None:
    assert found.shape == want.shape
    assert float((found - want).abs().max()) <= 1e-12 * max(1.0, float(want.abs().max()))


@pytest.mark.parametrize(("name", "cut"), PLACES, ids=[f"{n}: {c}" for n, c in PLACES])
def test_replay_says_what_the_whole_net_says(name, cut):
    make, x, _ = CASES[name]
    net, place = worlds.built(make), inf.Cut(cut)
    with Replay(net, cut) as g:
        h = g.record(x)
        close(h, inf.activations(net, cut, x))
        moved = h[ROWS] * (0.5 + noise(len(ROWS), *h.shape[1:], seed=7).abs())
        close(g.run(moved, ROWS), fed(net, place, moved, x[ROWS]))
        close(g.run(h, torch.arange(4)), g.outputs)
        # A record of other inputs, fewer of them, by the same plan.
        h = g.record(x.flip(0)[:3])
        close(g.run(h[[2, 0]], torch.tensor([2, 0])), fed(net, place, h[[2, 0]], x.flip(0)[[2, 0]]))


@pytest.mark.parametrize("name", CASES)
def test_the_net_is_left_as_it_was(name):
    make, x, cuts = CASES[name]
    net = worlds.built(make)
    before = snapshot(net), [(set(vars(m)), vars(m).get("forward")) for m in net.modules()]
    with Replay(net, cuts[0]) as g:
        h = g.record(x)
        g.run(h, torch.arange(4))
    assert snapshot(net) == before[0]
    assert [(set(vars(m)), vars(m).get("forward")) for m in net.modules()] == before[1]


@pytest.mark.parametrize(
    ("name", "cut", "stored"),
    [
        ("sequential", "inception_4c", ()),
        ("sequential", "inception_4c.3x3", ("inception_4c.relu_1x1", "inception_4b")),
        ("residual", "relu1", ()),
        ("residual", "branch", ("relu1",)),
        ("functions between", "first", ()),
        ("a block three times", "block#2", ()),
        ("a block three times", "block.lin#2", ("block",)),
        ("a pair", "block[0]", ("block",)),
        ("a pair", "a", ("INPUT",)),
        ("words", "embed", ()),
    ],
)
def test_what_goes_around_the_cut_is_stored_and_nothing_else(name, cut, stored):
    make, x, _ = CASES[name]
    with Replay(worlds.built(make), cut) as g:
        g.record(x)
        assert set(g.stored) == set(stored)


def test_nothing_before_the_cut_is_computed():
    net, x = worlds.built(Between), noise(4, 2, 5, 5)
    computed = {"first": 0, "second": 0, "last": 0}
    for name, module in net.named_children():
        inner = module.forward

        def forward(y, name=name, inner=inner):
            computed[name] += len(y)
            return inner(y)

        module.forward = forward
    with Replay(net, "second") as g:
        h = g.record(x)
        before, tries, whole = dict(computed), g.replayed, g.cost.forward
        g.run(h[ROWS], ROWS)
    assert whole == before["first"] == 4 + 2 + 3
    assert {n: computed[n] - before[n] for n in computed} == {"first": 0, "second": 0, "last": len(ROWS)}
    assert (g.replayed - tries, g.cost.forward) == (len(ROWS), whole)


def test_a_second_record_costs_one_pass():
    with Replay(worlds.built(Between), "second") as g:
        g.record(noise(4, 2, 5, 5))
        first, tried = g.cost.forward, g.replayed
        g.record(noise(3, 2, 5, 5))
        assert (g.cost.forward - first, g.replayed - tried) == (3, 0)


def test_inputs_of_another_length_are_recorded_by_the_same_plan():
    net = worlds.built(worlds.Recurrent)
    with Replay(net, "lstm[0]") as g:
        g.record(noise(4, 5, 3))
        x = noise(2, 7, 3, seed=2)
        h = g.record(x)
        close(g.run(2 * h, torch.arange(2)), fed(net, inf.Cut("lstm[0]"), 2 * h, x))


def test_one_input_is_enough():
    net, x = worlds.built(lambda: worlds.ReluConv(False)), noise(1, 2, 5, 5)
    with Replay(net, "branch") as g:
        h = g.record(x)
        moved = h * torch.arange(3.0)[:, None, None, None]
        close(
            g.run(moved, torch.zeros(3, dtype=torch.long)), fed(net, inf.Cut("branch"), moved, x.expand(3, -1, -1, -1))
        )


def test_activations_and_records_are_copies():
    net, x = worlds.built(Between), noise(4, 2, 5, 5)
    with Replay(net, "first") as g:
        h = g.record(x)
        want = g.run(h, torch.arange(4))
        x.zero_()
        assert torch.equal(g.run(h, torch.arange(4)), want)
        h.zero_()
        assert not torch.equal(g.run(h, torch.arange(4)), want)


def test_hooks_of_the_users_run_once():
    """At the cut itself, and before it: what they change is not changed again."""
    net, x = worlds.built(lambda: worlds.ReluConv(False)), noise(4, 2, 5, 5)
    for name in ("conv1", "relu1", "branch"):
        net.get_submodule(name).register_forward_hook(lambda m, args, out: 3 * out + 1)
    for cut in ("conv1", "relu1", "branch", "head"):
        with Replay(net, cut) as g:
            h = g.record(x)
            close(g.run(h, torch.arange(4)), net(x).detach())


class Gated(nn.Module):
    """last(mid(x)), its sign turned where first(x) is positive: a comparison hides a number that is none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mid, self.last = worlds.Formula(lambda x: x[:, :1] * 1), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.first(x)
        y = self.mid(x)
        return self.last(torch.where(gate > 0, -y, y))


def test_a_number_that_only_turns_a_switch_is_stored():
    """None of the points that the plan is made of turns it."""
    net, x = worlds.built(Gated), noise(6, 3).abs()
    x[:3, 0] *= -1
    with Replay(net, "mid") as g:
        h = g.record(x)
        assert g.stored == ("first",)
        close(g.run(2 * h, torch.arange(6)), fed(net, inf.Cut("mid"), 2 * h, x))


class Scaling(nn.Module):
    """last(mid(x) · 2c), where c is one tensor for all points, and is doubled in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = worlds.Formula(lambda x: (x, torch.tensor([1.0, 2, 3]).double()))
        self.mid, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x, scale = self.first(x)
        return self.last(self.mid(x) * scale.mul_(2))


def test_what_the_net_overwrites_is_a_copy_in_each_run():
    with Replay(worlds.built(Scaling), "mid") as g:
        h = g.record(noise(4, 3))
        for _ in range(3):
            close(g.run(h, torch.arange(4)), g.outputs)


class Long(nn.Module):
    """last(mid(extra(x))), without `extra` for inputs of three steps or fewer; the mean over steps."""

    def __init__(self) -> None:
        super().__init__()
        self.extra, self.mid, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.mid(self.extra(x) if x.shape[1] > 3 else x).mean(1))


def test_inputs_that_take_another_way_are_planned_anew():
    net = worlds.built(Long)
    with Replay(net, "mid") as g:
        for steps in (3, 5, 2):
            x = noise(4, steps, 3)
            h = g.record(x)
            close(g.run(2 * h, torch.arange(4)), fed(net, inf.Cut("mid"), 2 * h, x))


# A transformer with keyword arguments


def test_a_bert_with_its_mask():
    if importlib.util.find_spec("transformers") is None:
        pytest.skip('transformers is not installed: pip install "influent[test]"')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a peer's import warns of is not ours to mend
        from transformers import BertConfig, BertForSequenceClassification
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=12, num_labels=3, initializer_range=0.3,
    )  # fmt: skip
    net = worlds.built(lambda: BertForSequenceClassification(config))
    ids = torch.tensor([[1, 5, 9, 17, 33, 2], [1, 7, 30, 2, 0, 0], [1, 2, 0, 0, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    rows = torch.tensor([2, 0, 1, 1, 0])
    for cut in ("bert.embeddings", "bert.encoder.layer.1", "bert.encoder.layer.1.intermediate", "bert.pooler"):
        with Replay(net, cut) as g:
            h = g.record(inputs)
            moved = h[rows] + 0.3 * noise(5, *h.shape[1:], seed=2)
            handle = net.get_submodule(cut).register_forward_hook(lambda m, args, out, moved=moved: moved)
            with handle, torch.no_grad():
                want = net(**{k: v[rows] for k, v in inputs.items()}).logits
            close(g.run(moved, rows), want)


# Lessons


class Remembering(nn.Module):
    """last(mid(x) + what another module left behind): numbers that no module gives."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mid, self.last = worlds.Formula(self.leave), nn.Linear(3, 3), nn.Linear(3, 2)

    def leave(self, x: Tensor) -> Tensor:
        self.left = (x.cumsum(1) ** 2)[:]
        return x

    def forward(self, x: Tensor) -> Tensor:
        self.left = None
        y = self.mid(self.first(x))
        return self.last(y if self.left is None else y + self.left)


class Wandering(nn.Module):
    """A net that goes through `extra` for `many` points or more."""

    def __init__(self, many: int = 3) -> None:
        super().__init__()
        self.extra, self.mid, self.many = nn.Linear(3, 3), nn.Linear(3, 2), many

    def forward(self, x: Tensor) -> Tensor:
        return self.mid(self.extra(x) if len(x) >= self.many else x)


def refused(net: nn.Module, cut: str, kind: type[Exception], lesson: str, x: Tensor | None = None) -> None:
    before = [(set(vars(m)), vars(m).get("forward")) for m in net.modules()]
    with pytest.raises(kind, match=lesson), Replay(net, cut) as g:
        g.record(noise(4, 3) if x is None else x)
    assert [set(vars(m)) - {"left"} for m in net.modules()] == [names - {"left"} for names, _ in before]
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())


def test_numbers_handed_on_outside_of_modules_are_refused():
    lesson = r"cannot be run from 'mid' alone: .* its outputs are others\. .* inf\.compress\(net, mask, x\)\.$"
    refused(worlds.built(Remembering), "mid", inf.NetError, lesson)


def test_nets_that_take_another_way_for_other_counts_are_refused():
    lesson = r"runs other modules for 2 points than for three, .* of 'mid' alone\. .* inf\.compress\(net, mask, x\)\.$"
    refused(worlds.built(Wandering), "mid", inf.NetError, lesson)
    many = worlds.built(lambda: Wandering(many=4))
    refused(many, "mid", inf.NetError, r"runs other modules for 4 points than for three")


def test_outputs_that_are_not_one_row_a_point_are_refused():
    net = worlds.built(lambda: nn.Sequential(nn.Linear(3, 3), worlds.Formula(lambda y: y.sum(0))))
    lesson = r"gives float64 \[3\] for 2 points: its outputs are not one row a point, .* outputs \[point, \.\.\.\]\.$"
    refused(net, "0", inf.NetError, lesson)


def test_a_cut_whose_first_dimension_is_no_batch_is_refused():
    net = worlds.built(lambda: nn.Sequential(worlds.Formula(lambda x: x.T.contiguous()), worlds.Formula(lambda y: y.T)))
    refused(net, "0", inf.CutError, r"'0' gives float64 \[3, 2\] for 2 points: its first dimension is no batch")


def test_sizes_that_do_not_grow_with_the_points_are_refused():
    net = worlds.built(
        lambda: nn.Sequential(
            worlds.Formula(lambda x: (x, torch.cat([x, x[:1]]))),
            worlds.Formula(lambda y: y[0] + y[1][:-1]),
            nn.Linear(3, 2),
        )
    )
    lesson = r"'0' gives \[3, 3\] for two points and \[4, 3\] for three: what belongs to which point cannot be told"
    refused(net, "1", inf.NetError, lesson)


@pytest.mark.parametrize(
    ("cut", "lesson"),
    [
        ("again", r"'again' runs more than once in one pass\. Say which call"),
        ("again#3", r"'again' runs 2 times in one pass, not 3\."),
        ("agian", r"This net has no module 'agian'\. Did you mean 'again'\?"),
        ("last[0]", r"last gives a tensor, no tuple\. Drop \[0\]\."),
    ],
)
def test_places_that_are_not_there(cut, lesson):
    refused(worlds.built(worlds.Shared), cut, inf.CutError, lesson)


def test_a_net_in_training_mode_is_refused():
    refused(worlds.built(worlds.Shared).train(), "last", inf.NetError, r"in training mode")


def test_the_net_is_left_alone_when_it_fails():
    net = worlds.built(Between)
    refused(net, "second", inf.InputError, r"The net failed on", x=noise(4, 2, 9, 9))


@pytest.mark.parametrize(
    ("h", "rows", "lesson"),
    [
        (
            noise(2, 4),
            torch.arange(2),
            r"run takes h \[point, 3\] and rows \[point\], and got float64 \[2, 4\] and int64",
        ),
        (noise(2, 3), torch.arange(3), r"and got float64 \[2, 3\] and int64 \[3\]\. rows says beside which"),
    ],
)
def test_activations_of_another_shape_are_refused(h, rows, lesson):
    with Replay(worlds.built(worlds.Shared), "again#1") as g:
        g.record(noise(4, 3))
        with pytest.raises(inf.QuestionError, match=lesson):
            g.run(h, rows)


def test_nothing_runs_before_it_is_recorded_or_after_the_block():
    g = Replay(worlds.built(worlds.Shared), "again#1")
    with pytest.raises(inf.QuestionError, match=r"^Nothing is recorded: .* type g\.record\(x\) first\.$"):
        g.run(noise(2, 3), torch.arange(2))
    with g:
        h = g.record(noise(2, 3))
    with pytest.raises(inf.QuestionError, match=r"^Nothing is recorded"):
        g.run(h, torch.arange(2))


@pytest.mark.parametrize("x", [torch.zeros(0, 3), (), torch.tensor(1.0)])
def test_no_inputs_are_refused(x):
    with (
        Replay(worlds.built(worlds.Shared), "last") as g,
        pytest.raises(inf.QuestionError, match=r"and there are none"),
    ):
        g.record(x)
