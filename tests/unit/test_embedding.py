"""Where paths to texts begin, the sum that counts each step with its beginning, patching, and the places of heads."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import influent as inf
from influent.errors import QuestionError
from influent.fidelity import mean_interval, patching
from influent.text import TextTransform, Words
from tests import worlds
from tests.laws.laws import ROUNDING, close, law_weights_sum_to_one
from tests.texts import WRITERS, behaviour, net_of, read, wordpiece
from tests.worlds import noise, ones

KNOWN = Words(["not", "so", "good", "a", "film"])


class Positional(nn.Module):
    """Tokens `[text, token]`, by position, → one number a class: ½ Σ e² W over the tokens' vectors."""

    def __init__(self, double=True):
        super().__init__()
        self.table = nn.Embedding(7, 3, padding_idx=0)
        self.head = nn.Linear(3, 2, bias=False)

    def forward(self, tokens):
        return self.head((self.table(tokens) ** 2 / 2).sum(1))


class TwoTables(Positional):
    """A second table, and an embedding that is the sum of both."""

    def __init__(self):
        super().__init__()
        self.other = nn.Embedding(7, 3)
        self.both = worlds.Formula(lambda tokens: self.table(tokens) + self.other(tokens))

    def forward(self, tokens):
        return self.head((self.both(tokens) ** 2 / 2).sum(1))


def positional(kind=Positional, **more):
    torch.manual_seed(0)
    return inf.Net(kind().double().eval(), transform=TextTransform(KNOWN), **more)


def begins(net, named, x):
    """Where a path begins, as the sweep has it: what a cut at the embedding sees at α = 0."""
    return inf.Line(named, x).resolve(net).baseline


# Baselines


def test_a_net_that_takes_tokens_by_position():
    """F = ½ Σ e² W: from zero to e each entry contributes ½ e² W, and n = 3 equal steps say so exactly."""
    net = positional()
    x = net.read(["not so good", "a film"])
    assert net.embedding == "table"
    a = inf.influence(net, "table", inf.Class(1), inf.Line("zero", x, 3, "uniform"), inf.contribution)
    e = net.module.table.weight.detach()[x.ids]
    close(a.values, e**2 / 2 * net.module.head.weight[1].detach())
    assert bool((a.values[1, 2] == 0).all())
    point = inf.influence(net, "table", inf.Class(1), inf.Point(x)).values
    close(point, e * net.module.head.weight[1].detach())


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5"])
def test_baselines_by_name_are_rows_of_the_table(name):
    net = net_of(name)
    x = read(name, net)
    table = net.module.get_submodule(net.embedding).weight.detach()
    end = table[x.ids]
    starts = {"zero": 0 * table[0], "mean": table.mean(0)}
    starts |= {} if name == "GPT-2" else {"pad": table[0], "mask": table[4]}
    for named, vector in starts.items():
        got = begins(net, named, x)
        assert got.shape == end.shape
        for i, j in np.ndindex(*x.ids.shape):
            close(got[i, j], end[i, j] if x.kept[i, j] else vector)
    assert x.kept.any() and not x.kept.all()


def test_the_default_is_the_mask_else_padding_else_the_mean():
    bert, gpt, own = net_of("BERT"), net_of("GPT-2"), positional()
    for net, named in ((bert, "mask"), (gpt, "mean"), (own, "pad")):
        x = net.read(["not so good", "a film"])
        assert torch.equal(begins(net, None, x), begins(net, named, x))
    named = inf.Net(bert.module, transform=bert.transform, baseline="pad")
    assert torch.equal(begins(named, None, bert.read("good")), begins(bert, "pad", bert.read("good")))


def test_the_default_is_no_vector_of_zeros_under_an_rms_norm():
    """Llama's padding is a vector of zeros here, and there is no mask: the mean."""
    module = net_of("Llama").module
    net = inf.Net(module, transform=TextTransform(KNOWN))
    x = net.read("not so good")
    assert not begins(net, "pad", x).any()
    assert torch.equal(begins(net, None, x), begins(net, "mean", x))


def test_a_path_may_begin_at_another_text():
    net = net_of("BERT")
    x, other = net.read("this film is good"), net.read("a plot is bad")
    table = net.module.get_submodule(net.embedding).weight.detach()
    close(begins(net, other, x), table[other.ids])
    a = inf.influence(net, net.embedding, inf.Class(1), inf.Line(other, x, 17, "uniform"), inf.contribution)
    with torch.no_grad():
        change = net.module(**x.inputs).logits[:, 1] - net.module(**other.inputs).logits[:, 1]
    close(a.gap.change, change)
    assert bool((a.values[:, [0, 3, -1]] == 0).all())  # [CLS], is and [SEP] are in both


def test_a_path_may_begin_at_a_tensor_or_where_a_function_says():
    net = positional()
    x = net.read(["not so good", "a film"])
    one, every = noise(1, 3, 3, seed=1), noise(2, 3, 3, seed=2)
    assert torch.equal(begins(net, one, x), one.expand(2, 3, 3))
    assert torch.equal(begins(net, every, x), every)
    assert torch.equal(begins(net, lambda e: e / 2, x), net.module.table.weight.detach()[x.ids] / 2)


def test_balls_around_texts_are_around_their_vectors():
    net = positional()
    x = net.read("not so good")
    got = inf.influence(net, "table", inf.Class(1), inf.Gaussian(x, 1e-9, n=3)).values
    within = 1e-7
    close(got, net.module.table.weight.detach()[x.ids] * net.module.head.weight[1].detach(), within)


def test_a_mixture_of_baselines_is_the_mean_of_their_answers():
    net = positional()
    x = net.read(["not so good", "a film"])
    lines = [inf.Line(named, x, 5, "uniform") for named in ("zero", "mean")]
    both, *each = (
        inf.influence(net, "table", inf.Class(0), over, inf.contribution).values
        for over in (0.5 * lines[0] + 0.5 * lines[1], *lines)
    )
    close(both, (each[0] + each[1]) / 2)


def test_the_module_that_makes_vectors_can_be_named():
    net = positional(TwoTables)
    x = net.read("not so good")
    assert net.embedding is None
    with pytest.raises(
        QuestionError, match=r"^Which module of this net turns tokens into vectors is not known\. Say i"
    ):
        inf.influence(net, "both", inf.Class(1), inf.Line("zero", x))
    named = positional(TwoTables, embedding="both")
    e = (named.module.table.weight + named.module.other.weight).detach()[x.ids]
    a = inf.influence(named, "both", inf.Class(1), inf.Line("zero", x, 3, "uniform"), inf.contribution)
    close(a.values, e**2 / 2 * named.module.head.weight[1].detach())
    pad = begins(named, "pad", x)
    close(pad[0, 0], (named.module.table.weight[0] + named.module.other.weight[0]).detach())


class Shares(nn.Module):
    """A net that reads and writes with one table of vectors, as those of transformers may: F = ½ Σ e² W + Σ d · W."""

    class Config:
        is_encoder_decoder = True

    def __init__(self):
        super().__init__()
        self.shared, self.head, self.config = nn.Embedding(7, 3), nn.Linear(3, 2, bias=False), self.Config()

    def get_encoder(self):
        return self

    get_decoder = get_encoder

    def get_input_embeddings(self):
        return self.shared

    def forward(self, input_ids, decoder_input_ids, attention_mask=None, decoder_attention_mask=None):
        read, written = self.shared(input_ids), self.shared(decoder_input_ids)
        return self.head((read**2 / 2).sum(1) + written.sum(1))


def test_of_a_table_that_reads_and_writes_the_first_call_is_meant():
    module = worlds.built(Shares)
    net = inf.Net(module, transform=TextTransform(KNOWN, start=0))
    x = net.read(["not so good", "a film so"], answer=["a", "good film"])
    assert net.embedding == "shared#1"
    a = inf.influence(net, "shared#1", inf.Class(1), inf.Line("zero", x, 3, "uniform"), inf.contribution)
    close(a.values, module.shared.weight.detach()[x.ids] ** 2 / 2 * module.head.weight[1].detach())
    assert float(a.gap.absolute.max()) <= ROUNDING


LESSONS = [
    (
        lambda net, x: inf.Line(net.read("good"), x),
        r"^A path runs from a text of 1 tokens to one of 3: each token needs its counterpart\. Word them so that both",
    ),
    (
        lambda net, x: inf.Line(net.read(["a good film", "film"]), net.read(["not so good", "a film"])),
        r"^A path runs from a text of 3, 1 tokens to one of 3, 2: each token",
    ),
    (
        lambda net, x: inf.Line("mask", x),
        r"^This net's tokenizer has no mask token\. Let the path begin at 'pad', 'mean', 'zero', or at another text: L",
    ),
    (lambda net, x: inf.Line("maks", x), r"^The baseline 'maks' is none of a text's: .*Did you mean 'mask'\?$"),
    (lambda net, x: inf.Line("black", x), r"^The baseline 'black' is none of a text's: 'pad', 'mask', 'mean', 'zero',"),
    (lambda net, x: inf.Line(3, x), r"^The baseline 3 is none of a text's: .* or a tensor \[1, 3, 3\]\.$"),
    (lambda net, x: inf.Line(ones(1, 4, 3), x), r"^The baseline is float64 \[1, 4, 3\], the input float64 \[1, 3, 3\]"),
    (lambda net, x: inf.Line("pad", x, cut="table"), r"^A text says itself where its path runs, at the net's emb"),
    (lambda net, x: inf.Point(x, given=x.ids), r"Without cut= and given=: Point\(\.\.\., text\); inside the"),
]  # fmt: skip


@pytest.mark.parametrize(("over", "lesson"), LESSONS)
def test_where_no_path_begins(over, lesson):
    net = positional()
    with pytest.raises(QuestionError, match=lesson):
        inf.influence(net, "table", inf.Class(1), over(net, net.read("not so good")))


def test_special_tokens_have_to_stand_in_the_same_places():
    net = net_of("BERT")
    with pytest.raises(QuestionError, match=r"^A path runs from a text of 3, 5 tokens to one of 5, 3: each token"):
        begins(net, net.read(["good", "this is good"]), net.read(["this is good", "good"]))


def test_what_is_no_embedding_is_said():
    for named, lesson in [
        ("head", r"^embedding='head', a Linear, makes no vectors of tokens: .*\. Name the module that does\.$"),
        ("tabel", r"^This net has no module 'tabel'\. Did you mean 'table'\?"),
        ("flat", r"^embedding='flat' makes no vector of each token\. Name the module that does\.$"),
    ]:
        net = positional(embedding=named)
        net.module.flat = worlds.Formula(lambda tokens: tokens.double())
        with pytest.raises(QuestionError, match=lesson):
            inf.Line("zero", net.read("not so good")).resolve(net)
    few = inf.Net(positional().module, transform=TextTransform(Words([*KNOWN.vocabulary, "plot"])))
    with pytest.raises(
        QuestionError,
        match=r"^The tokenizer gives token 7, and 'table' has vectors for 7, 0 to 6\. Give the tokenizer that the net",
    ):
        inf.influence(few, "table", inf.Class(1), inf.Line("zero", few.read("not a plot")))
    wrong = positional(TwoTables, embedding="both")
    with pytest.raises(
        QuestionError, match=r"^The mean of all tokens' vectors is known of an nn\.Embedding, and 'both'"
    ):
        inf.Line("mean", wrong.read("good")).resolve(wrong)


# The sum that counts each step with the slope at its beginning


@pytest.mark.parametrize("n", [2, 3, 10, 65])
def test_left_weights_sum_to_1(n):
    """T15: f(x) = x from 0 to 1 is 1, where trapezoid weights that forget an end give 1 − 1/n."""
    x = ones(1, 1)
    net = nn.Sequential(worlds.Formula(lambda x: x)).eval()
    for measure in (inf.contribution, inf.gradient):
        a = inf.influence(net, "INPUT", inf.Class(0), inf.Line(0 * x, x, n, "left"), measure)
        close(a.values, x)
    assert abs(float(inf.influence(net, "INPUT", inf.Class(0), inf.Line(0 * x, x, n, "left"),
                                   inf.contribution).gap.signed)) <= ROUNDING  # fmt: skip
    law_weights_sum_to_one(inf.influence, rule="left", n=n)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_left_sums_of_a_cube_by_hand(n):
    """f = x³ on [0, 1] with steps h = 1/(n − 1): Σ_k 3 (k h)² h, k = 0 … n − 2."""
    x, h = ones(1, 1), 1 / (n - 1)
    a = inf.influence(worlds.cube(), "INPUT", inf.Class(0), inf.Line(0 * x, x, n, "left"), inf.contribution)
    want = sum(3 * (k * h) ** 2 * h for k in range(n - 1))
    assert float(a.values) == pytest.approx(want, abs=1e-12)
    assert float(a.residual) == pytest.approx(
        sum(abs(((k + 1) * h) ** 3 - (k * h) ** 3 - 3 * (k * h) ** 2 * h) for k in range(n - 1)), abs=1e-12
    )
    assert float(a.gap.signed) == pytest.approx(want - 1, abs=1e-12)


def left_loop(net, cut, start, end, n):
    """Σ_k ∂F/∂y at α_k · (y_{k+1} − y_k), and the mean of the slopes, by a hook of the test's own."""
    ys, slopes = [], []
    for k in range(n):
        kept = []

        def keep(module, args, out, kept=kept):
            kept.append(out.detach().clone().requires_grad_())
            return kept[0]

        handle = net.get_submodule(cut).register_forward_hook(keep)
        f = net(torch.lerp(start, end, k / (n - 1)))[:, 0].sum()
        handle.remove()
        slopes.append(torch.autograd.grad(f, kept[0])[0])
        ys.append(kept[0].detach())
    total = sum(g * (b - a) for g, (a, b) in zip(slopes, pairwise(ys), strict=False))
    return total, sum(slopes[:-1]) / (n - 1)


@pytest.mark.parametrize("chunk", [1, 3, 16])
@pytest.mark.parametrize("n", [2, 5])
def test_left_sums_are_those_of_a_loop(n, chunk):
    net, x, start = worlds.smooth_mlp(), noise(3, 4, seed=1), noise(3, 4, seed=2)
    got = inf.influence(net, ["1", "2"], inf.Class(0), inf.Line(start, x, n, "left"), [inf.contribution, inf.gradient],
                        chunk=chunk)  # fmt: skip
    for cut in ("1", "2"):
        total, mean = left_loop(net, cut, start, x, n)
        close(got[cut][inf.contribution].values, total)
        close(got[cut][inf.gradient].values, mean)
        a = got[cut][inf.contribution]
        assert float((a.gap.absolute - a.residual).max()) <= ROUNDING


def test_two_left_points_are_attribution_patching():
    """Δ · slope at the baseline: (y(x) − y(x′)) · ∂F/∂y(x′)."""
    net, x, start = worlds.smooth_mlp(), noise(2, 4, seed=3), noise(2, 4, seed=4)
    e = start.clone().requires_grad_()
    slope = torch.autograd.grad(net(e)[:, 0].sum(), e)[0]
    a = inf.influence(net, "INPUT", inf.Class(0), inf.Line(start, x, 2, "left"), inf.contribution)
    close(a.values, (x - start) * slope)
    assert inf.parse(repr(inf.Line("pad", ones(1, 2), 2, "left"))) == inf.Line("pad", ones(1, 2), 2, "left")


def test_left_sums_come_near_the_truth_as_steps_get_small():
    net, x, start = worlds.smooth_mlp(), noise(1, 4, seed=5), noise(1, 4, seed=6)
    gaps = [
        float(inf.influence(net, "1", inf.Class(0), inf.Line(start, x, n, "left"), inf.contribution).gap.absolute)
        for n in (9, 17, 33, 65)
    ]
    for wide, fine in pairwise(gaps):
        assert fine < 0.7 * wide  # of first order: halved with each halving of the steps


# Patching


@pytest.mark.parametrize("name", ["BERT", "Llama", "GPT-2"])
@pytest.mark.parametrize("units", ["head", "channel"])
def test_patching_is_replacing_by_hooks(name, units):
    net, of = net_of(name), behaviour(name)
    clean, bad = net.read(["this is not good", "a film is bad"]), net.read(["this is not bad", "a film is good"])
    places = inf.transformer(net)
    at = list((places.heads if units == "head" else places.neurons)[:2])
    found = patching(net, at, of, inf.Line(bad, clean, n=9, rule="uniform"), chunk=5)
    width = 4 if units == "head" else 1

    def f(inputs):
        y = net.module(**inputs).logits
        return y[:, 1] if name == "BERT" else y[torch.arange(len(y)), inputs["attention_mask"].sum(1) - 1, 7]

    def run(x, place, change):
        module = net.module.get_submodule(place.partition(":")[0])
        handle = module.register_forward_pre_hook(lambda m, args: (change(args[0]),))
        try:
            return f(x.inputs)
        finally:
            handle.remove()

    for place in at:
        kept = []
        run(clean, place, lambda y, kept=kept: kept.append(y.detach()) or y)
        leaf = []

        def hold(y, leaf=leaf):
            leaf.append(y.detach().clone().requires_grad_())
            return leaf[0]

        low = run(bad, place, hold)
        slope = torch.autograd.grad(low.sum(), leaf[0])[0]
        units_of = (slope * (kept[0] - leaf[0].detach())).sum(1).unflatten(1, (-1, width)).sum(2)
        close(found.estimated["1 point"][inf.Cut(place)].values, units_of)
        with torch.no_grad():
            for unit in range(units_of.shape[1]):

                def put(y, unit=unit, new=kept[0]):
                    y = y.clone()
                    there = slice(width * unit, width * (unit + 1))
                    y[..., there] = new[..., there]
                    return y

                want = run(bad, place, put) - low
                close(found.real[inf.Cut(place)].values[:, unit], want.detach())
        along = inf.influence(net, place, of, inf.Line(bad, clean, n=9, rule="uniform"), inf.contribution)
        close(found.estimated["9 points"][inf.Cut(place)].values, along.values)


def test_how_patching_agrees_is_that_of_numpy():
    net = net_of("BERT")
    clean, bad = net.read(["this is not good", "a film is bad"]), net.read(["this is not bad", "a film is good"])
    heads = list(inf.transformer(net).heads)
    found = patching(net, heads, inf.Class(1), inf.Line(bad, clean, n=5, rule="uniform"))
    real, estimate = (torch.cat([a.values for a in side.values()], 1).numpy()
                      for side in (found.real, found.estimated["1 point"]))  # fmt: skip
    assert real.shape == (2, 8)
    for i in range(2):
        got = found.agreement("1 point")
        assert float(got.pearson[i]) == pytest.approx(np.corrcoef(real[i], estimate[i])[0, 1], abs=1e-12)
        ranks = [v.argsort().argsort() for v in (real[i], estimate[i])]
        assert float(got.spearman[i]) == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)
        error = np.abs(estimate[i] - real[i]).sum() / np.abs(real[i]).sum()
        assert float(found.error("1 point")[i]) == pytest.approx(error, abs=1e-12)
    said = repr(found).splitlines()
    assert said[0] == "Patching: 2 pairs, 8 units"
    assert [line.split()[0] for line in said[1:]] == ["1", "5"]
    a = found.real[inf.Cut(heads[0])]
    assert a.gap is None and a.note == "units replaced" and a.velocity == ""
    assert list(found.estimated) == ["1 point", "5 points"]


def test_what_is_no_patching():
    net, x = worlds.smooth_mlp(), noise(1, 4)
    with pytest.raises(QuestionError, match=r"^Patching goes from one input to another: over=Line\(corrupted, clean\)"):
        patching(net, "1", inf.Class(0), inf.Point(x))
    with pytest.raises(QuestionError, match=r"^Patching compares values, and Through has none\. Ask for its behaviour"):
        patching(net, "1", inf.Through(0, "1", inf.Class(0)), inf.Line(0 * x, x))


def test_the_mean_and_its_interval():
    values = noise(400, seed=7) + 3
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(float(values.mean()), abs=1e-12)
    # The percentile interval of a mean of many is about ± 1.96 s/√n; 2000 draws know its ends to a few percent.
    half = 1.96 * float(values.std()) / 20
    assert mean - low == pytest.approx(half, rel=0.12) and high - mean == pytest.approx(half, rel=0.12)
    assert mean_interval(values) == (mean, low, high)
    assert mean_interval(values, seed=1) != (mean, low, high)
    assert mean_interval(torch.cat([values, torch.tensor([math.nan] * 3)])) == (mean, low, high)
    assert all(math.isnan(v) for v in mean_interval(torch.tensor([math.nan])))
    assert mean_interval(torch.tensor([2.0])) == (2.0, 2.0, 2.0)
    zero_one = mean_interval(torch.tensor([0.0, 1.0]), draws=4000)
    assert zero_one == (0.5, 0.0, 1.0)  # both drawn the same a quarter of the times, more than 2.5 %


# Places


PLACES = {
    "BERT": ("bert.encoder.layer.{}", ["attention.output.dense"], "output.dense"),
    "DistilBERT": ("distilbert.transformer.layer.{}", ["attention.out_lin"], "ffn.lin2"),
    "RoBERTa": ("roberta.encoder.layer.{}", ["attention.output.dense"], "output.dense"),
    "GPT-2": ("transformer.h.{}", ["attn.c_proj"], "mlp.c_proj"),
    "Llama": ("model.layers.{}", ["self_attn.o_proj"], "mlp.down_proj"),
    "Qwen2": ("model.layers.{}", ["self_attn.o_proj"], "mlp.down_proj"),
    "Qwen3": ("model.layers.{}", ["self_attn.o_proj"], "mlp.down_proj"),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_places_of_a_transformer(name):
    layer, heads, neurons = PLACES[name]
    found = inf.transformer(net_of(name))
    layers = [layer.format(k) for k in range(2)]
    assert found.residual == tuple(layers)
    assert found.heads == tuple(f"{at}.{head}:in/head" for at in layers for head in heads)
    assert found.neurons == tuple(f"{at}.{neurons}:in/channel" for at in layers)


def test_the_places_of_transformers_that_read_and_write():
    found = inf.transformer(net_of("T5").module)
    assert found.residual == tuple(f"{side}.block.{k}[0]" for side in ("encoder", "decoder") for k in range(2))
    assert found.heads == (
        *(f"encoder.block.{k}.layer.0.SelfAttention.o:in/head" for k in range(2)),
        *(f"decoder.block.{k}.layer.{j}.o:in/head" for k in range(2)
          for j in ("0.SelfAttention", "1.EncDecAttention")),
    )  # fmt: skip
    assert found.neurons == (
        *(f"encoder.block.{k}.layer.1.DenseReluDense.wo:in/channel" for k in range(2)),
        *(f"decoder.block.{k}.layer.2.DenseReluDense.wo:in/channel" for k in range(2)),
    )
    found = inf.transformer(net_of("Marian"))
    assert found.residual == tuple(f"model.{side}.layers.{k}" for side in ("encoder", "decoder") for k in range(2))
    assert found.neurons == tuple(f"{place}.fc2:in/channel" for place in found.residual)
    assert len(found.heads) == 6 and all(place.endswith("attn.out_proj:in/head") for place in found.heads)
    assert WRITERS == ("T5", "Marian") and wordpiece().mask_token_id == 4


def test_nets_without_attention_have_no_such_places():
    with pytest.raises(
        QuestionError, match=r"^No attention of this net is known by the names of its modules: say whic"
    ):
        inf.transformer(inf.zoo.load("textcnn-sentiment"))


# Heads that are declared


class Mixed(nn.Module):
    """`[point, token, 3]` → 6 channels in 2 heads → what mixes them → one number a class."""

    def __init__(self):
        super().__init__()
        self.spread, self.blend, self.head = nn.Linear(3, 6), nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.blend(self.spread(x).tanh()).tanh().mean(1))


AXES = {"blend:in": ("token", "head*2", "channel")}


def test_heads_of_a_net_of_ones_own():
    module = worlds.built(Mixed)
    net, x = inf.Net(module, axes=AXES), noise(2, 5, 3, seed=8)
    over = inf.Line(0 * x, x, 5, "uniform")
    heads, plain, channels = (
        inf.influence(net, f"blend:in{units}", inf.Class(0), over, inf.contribution).values
        for units in ("/head", "", "/channel")
    )
    close(heads, plain.reshape(2, 5, 2, 3).sum((1, 3)))
    close(channels, plain.sum(1))
    with pytest.raises(
        QuestionError, match=r"^'blend:in/head' asks for units by 'head', but its axes are token, channe"
    ):
        inf.influence(module, "blend:in/head", inf.Class(0), over, inf.contribution)
    with pytest.raises(
        QuestionError, match=r"how many heads lie in float64 \[\d+, 5, 6\] is not known\. Say it, inf\.Net"
    ):
        inf.influence(module, "INPUT", inf.Through(0, "blend:in/head", inf.Class(0)), over, inf.contribution)


@pytest.mark.parametrize("keep", [True, False])
def test_a_mask_of_heads_is_their_channels(keep):
    module = worlds.built(Mixed)
    net, x = inf.Net(module, axes=AXES), noise(2, 5, 3, seed=8)
    mask = inf.Mask("blend:in/head", [1], keep=keep)
    gone = slice(0, 3) if keep else slice(3, 6)

    def cut(module, args):
        y = args[0].clone()
        y[..., gone] = 0
        return (y,)

    h = module.spread(x).tanh()
    assert torch.equal(mask.apply(net, h), cut(None, (h,))[0])
    handle = module.blend.register_forward_pre_hook(cut)
    want = module(x)
    handle.remove()
    assert torch.equal(inf.compress(net, mask, x)(x), want)
    if keep:
        with pytest.raises(QuestionError, match=r"names unit 2, and blend:in/head has 2 units, counted from 0\.$"):
            inf.Mask("blend:in/head", [2]).apply(net, h)
    ablated = inf.ablate(net, "blend:in/head", inf.Class(0), x).values[:, 0 if keep else 1]
    close(ablated, (module(x) - want)[:, 0].detach())
