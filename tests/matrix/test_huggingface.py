"""A BERT of the transformers library, small and random: words, masks, keyword arguments and outputs by name."""

from __future__ import annotations

import importlib.util
import warnings

import pytest
import torch

import influent as inf
from tests import oracles
from tests.laws.laws import ROUNDING, close, snapshot

if importlib.util.find_spec("transformers") is None:
    pytest.skip('transformers is not installed: pip install "influent[test]"', allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what a peer's import warns of is not ours to mend
    from transformers import BertConfig, BertForSequenceClassification

EMBED, LAYER, INSIDE = "bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.0.intermediate"
F = inf.Class(1)
# Post-norm layers of a net with weights of 0.3: on a path between two embeddings F has a bend or two, and what Gauss
# misses falls by about ten with every three nodes. Where only completeness is claimed, 24 nodes leave less than 1e-6.
NODES, LEFT = 24, 1e-6


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def net(request):
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=12, num_labels=3, initializer_range=0.3, attn_implementation=request.param,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BertForSequenceClassification(config).double().eval()


@pytest.fixture(scope="module")
def inputs():
    """Two sentences, the second with two places of padding."""
    ids = torch.tensor([[1, 5, 9, 17, 33, 2], [1, 7, 30, 2, 0, 0]])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "token_type_ids": torch.zeros_like(ids)}


def ends(net, inputs):
    """The embeddings of the words, and of nothing but padding."""
    blank = {**inputs, "input_ids": torch.zeros_like(inputs["input_ids"])}
    return inf.activations(net, EMBED, blank), inf.activations(net, EMBED, inputs)


def line(net, inputs, n, rule):
    return inf.Line(*ends(net, inputs), n, rule, cut=EMBED, given=inputs)


def replaced(net, inputs, e):
    """The logits when the embedding module's output is replaced by `e`, by a hook of the test's own."""
    handle = net.bert.embeddings.register_forward_hook(lambda module, args, out: e)
    try:
        return net(**inputs).logits
    finally:
        handle.remove()


def row(inputs, i):
    return {key: value[i : i + 1] for key, value in inputs.items()}


def test_activations_are_those_that_the_module_gives(net, inputs):
    with torch.no_grad():
        want = net.bert.embeddings(input_ids=inputs["input_ids"], token_type_ids=inputs["token_type_ids"])
    close(ends(net, inputs)[1], want)


@pytest.mark.parametrize("rule", ["adaptive", "graded", "uniform", "gauss"])
def test_contributions_add_up_at_the_embedding_and_at_a_layer(net, inputs, rule):
    answers = inf.influence(net, [EMBED, LAYER], F, line(net, inputs, NODES, rule), inf.contribution, chunk=7)
    for cut, a in answers.items():
        assert a.values.shape == (2, 6, 16)
        assert a.gap is not None, cut
        bound = LEFT if a.residual is None else a.residual
        assert float((a.gap.absolute - bound).max()) <= ROUNDING
        assert float(a.gap.change.abs().min()) > 1e-2
    with torch.no_grad():
        start, end = (replaced(net, inputs, e)[:, 1] for e in ends(net, inputs))
    close(answers[EMBED].gap.change, end - start)
    assert answers[LAYER].velocity == ("exact (forward mode)" if rule == "gauss" else "secant")


def test_gauss_is_complete_to_rounding_with_enough_nodes(net, inputs):
    gaps = [
        float(inf.influence(net, LAYER, F, line(net, inputs, n, "gauss"), inf.contribution).gap.absolute.max())
        for n in (8, 48)
    ]
    assert gaps[1] < 1e-10 < gaps[0]


def test_inside_a_residual_branch_the_cut_is_not_full_and_says_so(net, inputs):
    a = inf.influence(net, INSIDE, F, line(net, inputs, 6, "uniform"), inf.contribution)
    assert a.gap is None and a.residual is None
    assert a.note == "not a full cut"
    assert "not a full cut" in repr(a)
    assert a.values.shape == (2, 6, 24)


def test_integrated_gradients_of_the_embedding_are_those_of_a_loop_with_a_hook(net, inputs):
    start, end = ends(net, inputs)
    got = inf.influence(net, EMBED, F, line(net, inputs, 9, "gauss"), inf.contribution, chunk=4).values
    for i in range(2):
        total = torch.zeros(1, 6, 16, dtype=torch.float64)
        for alpha, weight in zip(*oracles.gauss(9), strict=True):
            e = (start[i : i + 1] + alpha * (end - start)[i : i + 1]).requires_grad_()
            total += weight * torch.autograd.grad(replaced(net, row(inputs, i), e)[0, 1], e)[0]
        close(got[i : i + 1], total * (end - start)[i : i + 1])


def test_conductance_of_a_layer_is_that_of_a_loop_with_hooks(net, inputs):
    start, end = ends(net, inputs)
    alphas = [0.0, 0.25, 0.5, 0.75, 1.0]
    got = inf.influence(net, LAYER, F, line(net, inputs, 5, "uniform"), inf.contribution, chunk=3).values
    for i in range(2):
        ys, slopes = [], []
        for alpha in alphas:
            kept = []

            def keep(module, args, out, kept=kept):
                y = out[0] if isinstance(out, tuple) else out
                kept.append(y.detach().clone().requires_grad_())
                return (kept[0], *out[1:]) if isinstance(out, tuple) else kept[0]

            handle = net.bert.encoder.layer[0].register_forward_hook(keep)
            logits = replaced(net, row(inputs, i), torch.lerp(start, end, alpha)[i : i + 1])
            handle.remove()
            slopes.append(torch.autograd.grad(logits[0, 1], kept[0])[0])
            ys.append(kept[0].detach())
        want = sum((slopes[k] + slopes[k + 1]) / 2 * (ys[k + 1] - ys[k]) for k in range(4))
        close(got[i : i + 1], want)


def test_what_is_padded_away_has_no_influence(net, inputs):
    a = inf.influence(net, EMBED, F, line(net, inputs, 6, "uniform"), [inf.gradient, inf.contribution])
    for answer in a.values():
        assert float(answer.values[1, 4:].abs().max()) < ROUNDING
        assert float(answer.values[1, :4].abs().min(0).values.max()) > 1e-4


def test_each_sentence_goes_with_its_own_mask(net, inputs):
    together = inf.influence(net, EMBED, inf.Predicted(), line(net, inputs, 6, "graded"), inf.contribution, chunk=5)
    for i in range(2):
        alone = inf.influence(net, EMBED, inf.Predicted(), line(net, row(inputs, i), 6, "graded"), inf.contribution)
        close(together.values[i : i + 1], alone.values)


def test_tokens_as_units_are_sums_over_the_hidden_axis(net, inputs):
    over = line(net, inputs, 6, "uniform")
    answers = inf.influence(net, [f"{EMBED}/token", EMBED], F, over, inf.contribution)
    close(answers[f"{EMBED}/token"].values, answers[EMBED].values.sum(-1))
    assert answers[EMBED].axes == ("token", "channel")
    close(answers[EMBED].by("token").values, answers[EMBED].values.sum(-1))


def test_the_outputs_can_be_named_or_left_to_the_logits(net, inputs):
    over = line(net, inputs, 4, "uniform")
    named = inf.Class(1, cut=inf.OUTPUT["logits"])
    answers = inf.influence(net, LAYER, [F, named], over, inf.gradient)
    close(answers[F].values, answers[named].values)


def test_the_net_runs_on_embeddings_by_keyword_too(net, inputs):
    # The library's own way in: inputs_embeds are words' vectors before position and norm are added.
    table = net.bert.embeddings.word_embeddings
    end, start = table(inputs["input_ids"]).detach(), table(torch.zeros_like(inputs["input_ids"])).detach()
    rest = {key: value for key, value in inputs.items() if key != "input_ids"}
    inside = inf.INPUT["inputs_embeds"]
    over = inf.Line(start, end, 9, "gauss", cut=inside, given=rest)
    got = inf.influence(net, inside, F, over, inf.contribution)
    for i in range(2):
        total = torch.zeros(1, 6, 16, dtype=torch.float64)
        for alpha, weight in zip(*oracles.gauss(9), strict=True):
            e = (start[i : i + 1] + alpha * (end - start)[i : i + 1]).requires_grad_()
            logits = net(inputs_embeds=e, **row(rest, i)).logits
            total += weight * torch.autograd.grad(logits[0, 1], e)[0]
        close(got.values[i : i + 1], total * (end - start)[i : i + 1])


def test_whole_numbers_have_no_gradient_and_the_lesson_names_the_embedding(net, inputs):
    with pytest.raises(inf.InfluentError, match="embedding"):
        inf.influence(net, "INPUT", F, inf.Line(0 * inputs["input_ids"], inputs["input_ids"], 5), inf.contribution)


def test_the_net_is_left_alone(net, inputs):
    before = snapshot(net)
    over = line(net, inputs, 5, "gauss")
    inf.influence(net, [EMBED, LAYER, INSIDE], F, over, [inf.gradient, inf.contribution])
    with pytest.raises(inf.QuestionError, match="out of range"):
        inf.influence(net, LAYER, inf.Class(7), over, inf.gradient)
    assert snapshot(net) == before
