"""Quantities in tokens and of vectors, against closed forms and log-softmax by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import influent as inf
from influent.errors import QuestionError
from influent.text import TextTransform, Words
from tests import oracles
from tests.laws.laws import close
from tests.texts import byte_level, net_of, wordpiece
from tests.worlds import noise

Y = noise(3, 5, 7, seed=1)  # [point, position, token]
RIGHT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
LEFT = RIGHT.flip(1)


class Tokens(nn.Module):
    """Tokens `[text, token]` → logits `[text, token, 7]`, each position's from its own token: y = e · M."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 3), nn.Linear(3, 7, bias=False)

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.embed(input_ids))


@pytest.fixture
def net():
    words = TextTransform(Words(["not", "so", "good", "a", "film"]))
    return inf.Net(Tokens().double().eval(), transform=words)


def value(of, y, mask=None, ids=None):
    """The quantity, chosen and valued at the same outputs."""
    given = {"attention_mask": mask, "input_ids": ids}
    subject = inf.Subject(given={key: x for key, x in given.items() if x is not None})
    return of.value(y, of.choose(y, subject))


def hand_log_softmax(row):
    """log p of each token, in plain Python."""
    total = math.log(sum(math.exp(v) for v in row))
    return [v - total for v in row]


# Logit


@pytest.mark.parametrize("mask", [RIGHT, LEFT, None], ids=["right", "left", "none"])
@pytest.mark.parametrize("position", [-2, -1, 0, 1])
def test_positions_count_what_is_no_padding(mask, position):
    got = value(inf.Logit(4, position), Y, mask)
    for k in range(3):
        there = list(range(5)) if mask is None else [p for p in range(5) if mask[k, p]]
        assert float(got[k]) == float(Y[k, there[position], 4])


def test_a_mask_of_another_length_says_nothing_of_the_positions():
    assert float(value(inf.Logit(4), Y[:1], torch.tensor([[1, 0]]))) == float(Y[0, -1, 4])


@pytest.mark.parametrize("position", [2, -3, 5])
def test_positions_that_are_not_there(position):
    with pytest.raises(
        QuestionError,
        match=rf"^Logit\(4, position={position}\): the text has 2 positions, 0 to 1 \(or -1 to -2 from the end\)\.$",
    ):
        value(inf.Logit(4, position), Y, RIGHT)


def test_the_influence_on_a_logit_is_the_row_of_the_weights(net):
    """y_p = M e_p: ∂ y_p[t] / ∂ e_q is row t of M at q = p, and nothing elsewhere; at the last word of each text."""
    x = net.read(["not so good", "film"])
    got = inf.influence(net, "embed", inf.Logit("a"), inf.Line("pad", x, 3, "uniform"), inf.gradient).values
    row = net.module.head.weight[5].detach()
    assert torch.equal(got[0], torch.stack([0 * row, 0 * row, row]))
    assert torch.equal(got[1], torch.stack([row, 0 * row, 0 * row]))
    change = inf.influence(net, "embed/token", inf.Logit("a"), inf.Line("zero", x, 3, "uniform"), inf.contribution)
    close(change.values[0, 2], net.module.embed.weight[4].detach() @ row)


def test_the_difference_of_two_logits_is_a_quantity(net):
    x = net.read("not so good")
    over = inf.Line("zero", x, 3, "uniform")
    found = inf.influence(net, "embed", [inf.Logit(2) - 0.5 * inf.Logit(3), inf.Logit(2), inf.Logit(3)], over)
    difference, first, second = (a.values for a in found.values())
    close(difference, first - 0.5 * second)


def test_tokens_are_named_as_the_tokenizer_reads_them(net):
    assert inf.Logit("Good").bind(net).token == 4
    assert inf.Logit("good").describe(net) == "'good'"
    decoder = net_of("GPT-2")
    assert inf.Logit(" good").bind(decoder).token == byte_level().get_vocab()["Ġgood"]
    assert inf.Logit(" good").describe(decoder) == "' good'"
    assert inf.Logit(3).describe(inf.Net(Tokens())) == "'3'"
    assert net.module.training is False


@pytest.mark.parametrize(
    ("ask", "lesson"),
    [
        (lambda net: inf.Logit("so good").bind(net), r"^'so good' is 2 tokens of this net, not one: 3 \('so'\), 4 \("),
        (lambda net: inf.Logit("zebra").bind(net), r"^'zebra' is none of this net's tokens"),
        (lambda net: inf.Logit(7).value(Y, Y.new_zeros(3).long()), r"^Logit\(7\): token 7 is out of range: the net"),
        (lambda net: inf.Logit(-1).value(Y, Y.new_zeros(3).long()), r"token -1 is out of range: the net has 7, 0 to 6"),
        (lambda net: inf.Logit("a").value(Y, Y.new_zeros(3).long()), r"names a token, but was not bound to a net"),
        (lambda net: inf.Logit(4).value(Y, None), r"^This quantity is fixed at the explained input: use it inside"),
        (
            lambda net: value(inf.Logit(4), Y[:, 0]),
            (
                r"^Logit\(4\) needs outputs \[point, position, token\], and its cut gives float64 \[3, 7\]\. It has "
                r"one number a class: Class\(3\)\.$"
            ),
        ),
        (lambda net: value(inf.Logit(4), Y[None]), r"Cut where it gives logits for each position\.$"),
        (lambda net: inf.Logit(1.5), r"^token=1\.5: write Logit\(' Paris', position=-1\), or the token's number\.$"),
        (lambda net: inf.Logit(True), r"^token=True: write"),
        (lambda net: inf.Logit(3, position="last"), r"^position='last': write"),
        (lambda net: inf.Logit(3, position=True), r"^position=True: write"),
    ],
)  # fmt: skip
def test_what_no_logit_is(net, ask, lesson):
    with pytest.raises(QuestionError, match=lesson):
        ask(net)


# Continuation


@pytest.mark.parametrize("mask", [RIGHT, LEFT, None], ids=["right", "left", "none"])
def test_a_continuation_is_the_sum_of_log_probabilities_one_step_before(mask):
    ids = torch.zeros(3, 5, dtype=torch.long)
    for k in range(3):
        there = [p for p in range(5) if mask is None or mask[k, p]]
        ids[k, there[-1]] = 6
    got = value(inf.Continuation((6,)), Y, mask, ids)
    for k in range(3):
        there = [p for p in range(5) if mask is None or mask[k, p]]
        want = hand_log_softmax(Y[k, there[-2]].tolist())[6]
        assert float(got[k]) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("mask", [RIGHT[:2], LEFT[:2]], ids=["right", "left"])
def test_a_continuation_of_two_tokens(mask):
    ids = torch.where(mask == 1, 2, 0)
    places = [[p for p in range(5) if mask[k, p]] for k in range(2)]
    for k, there in enumerate(places):
        ids[k, there[-2]], ids[k, there[-1]] = 5, 1
    got = value(inf.Continuation([5, 1]), Y[:2], mask, ids)
    for k, there in enumerate(places):
        want = hand_log_softmax(Y[k, there[-3]].tolist())[5] + hand_log_softmax(Y[k, there[-2]].tolist())[1]
        assert float(got[k]) == pytest.approx(want, abs=1e-12)


def test_a_continuation_in_words_is_that_of_its_tokens(net):
    x = net.read(["a film so good", "not so good"])
    over = inf.Line("zero", x, 9, "gauss")
    words, numbers = inf.Continuation("so good"), inf.Continuation((3, 4))
    found = inf.influence(net, "embed", [words, numbers], over, inf.contribution)
    assert torch.equal(found[words].values, found[numbers].values)
    embed, head = net.module.embed.weight.detach(), net.module.head.weight.detach()
    for k, before in enumerate([6, 2]):  # film, not
        ends = embed[[before, 3]]

        def likely(e, ends=ends):
            logits = (e @ head.T).log_softmax(-1)
            return logits[0, 0, 3] + logits[0, 1, 4]

        nodes, weights = oracles.gauss(9)
        want = sum(w * oracles.gradient(likely, a * ends[None]) for a, w in zip(nodes, weights, strict=True)) * ends
        place = 1 if k == 0 else 0
        close(found[words].values[k, place : place + 2], want[0])
        assert float(found[words].values[k].abs().sum()) == pytest.approx(float(want.abs().sum()), abs=1e-10)


def test_what_a_text_ends_with_is_looked_at(net):
    of = inf.Continuation("good film")
    with pytest.raises(
        QuestionError,
        match=r"^Continuation\(\(4, 6\)\): a text ends with the tokens \[3, 4\] instead\. Read both in one: "
        r"net\.read\(PROMPT \+ CONTINUATION\); and give the tokens where they are cut otherwise there\.$",
    ):
        inf.influence(net, "embed", of, inf.Point(net.read("not so good")))
    with pytest.raises(QuestionError, match=r"a text ends with the tokens \[2, 3\] instead"):  # the one of the two
        inf.influence(net, "embed", of, inf.Point(net.read(["a good film", "a not so"])))


@pytest.mark.parametrize(
    ("ask", "lesson"),
    [
        (lambda net: inf.Continuation(""), r"^Continuation\(''\): give the text that goes on, or its tokens"),
        (lambda net: inf.Continuation(()), r"^Continuation\(\(\)\): give the text that goes on"),
        (lambda net: inf.Continuation((1, "a")), r"give the text that goes on, or its tokens: Continuation\(' in Fran"),
        (lambda net: value(inf.Continuation((6,)), Y), r"needs the tokens of the text beside the outputs: over=Line\("),
        (lambda net: value(inf.Continuation((1, 1)), Y, RIGHT, RIGHT), r"is 2 tokens long, and the text 2: nothing"),
        (lambda net: value(inf.Continuation("a"), Y, RIGHT, RIGHT), r"names a text, but was not bound to a net"),
        (lambda net: value(inf.Continuation((6,)), Y[:, 0]), r"^Continuation\(\(6,\)\) needs outputs \[point"),
        (lambda net: value(inf.Continuation((9,)), Y, None, torch.full((3, 5), 9)), r"token 9 is out of range"),
        (lambda net: inf.Continuation("good").bind(inf.Net(Tokens())), r"This net has no tokenizer"),
    ],
)  # fmt: skip
def test_what_no_continuation_is(net, ask, lesson):
    with pytest.raises(inf.InfluentError, match=lesson):
        ask(net)


def test_a_continuation_in_words(net):
    assert inf.Continuation("so good").describe(net) == "the continuation 'so good'"
    assert inf.Continuation((3, 4)).describe(net) == "2 last tokens"


# Similarity


def test_similarity_is_the_cosine():
    y, to = noise(4, 6, seed=2), noise(6, seed=3)
    got = inf.Similarity(to).value(y, None)
    for k in range(4):
        dot = sum(float(a) * float(b) for a, b in zip(y[k], to, strict=True))
        assert float(got[k]) == pytest.approx(dot / float(y[k].norm()) / float(to.norm()), abs=1e-12)
    assert torch.equal(inf.Similarity(to[None]).value(y, None), got)
    close(inf.Similarity(3.0 * to).value(2.0 * y, None), got)
    close(inf.Similarity(to.float()).value(y, None), inf.Similarity(to.float().double()).value(y, None))


def test_similarity_has_the_gradient_of_the_cosine():
    """∂ cos(y, t) / ∂ y = (t̂ − cos · ŷ) / |y|."""
    x, to = noise(1, 4, seed=4), noise(4, seed=5)
    net = nn.Sequential(nn.Identity()).eval()
    got = inf.influence(net, "0", inf.Similarity(to), inf.Point(x)).values
    unit, wanted = x / x.norm(), to / to.norm()
    close(got, (wanted - (unit * wanted).sum() * unit) / x.norm())


class Mean(nn.Module):
    """The mean of the words' vectors."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 3)

    def forward(self, input_ids, attention_mask):
        mask = attention_mask[..., None].to(self.embed.weight)
        return (self.embed(input_ids) * mask).sum(1) / mask.sum(1)


def test_another_text_is_read_by_the_net_itself(net):
    mean = inf.Net(Mean().double().eval(), transform=net.transform)
    x = mean.read(["a good film", "film"])
    e = mean.module.embed.weight.detach()
    over = inf.Line("zero", x, 3, "uniform")
    of = [inf.Similarity("not so"), inf.Similarity(e[[2, 3]].mean(0))]
    text, vector = inf.influence(mean, "embed", of, over, inf.contribution).values()
    close(text.values, vector.values)
    assert repr(of[0]) == "Similarity('not so')"
    assert of[0].describe(mean) == "similarity to 'not so'"
    assert of[1].describe(mean) == "similarity to a given vector"


@pytest.mark.parametrize(
    ("ask", "lesson"),
    [
        (lambda: inf.Similarity(3), r"^Similarity\(3\): give a vector \[channel\], or a text\.$"),
        (lambda: inf.Similarity([1.0, 2.0]), r"give a vector \[channel\], or a text"),
        (
            lambda: inf.Similarity(torch.ones(5)).value(Y[:, 0], None),
            (
                r"^Similarity compares vectors \[point, channel\]; its cut gives float64 \[3, 7\], and the other is "
                r"float32 \[5\]\."
            ),
        ),
        (lambda: inf.Similarity(torch.ones(7)).value(Y, None), r"needs a mean over them: inf\.zoo\.load\('hf:"),
        (lambda: inf.Similarity("a text").value(Y[:, 0], None), r"and the other is 'a text'\."),
        (lambda: inf.Similarity("a text").bind(inf.Net(Mean())), r"This net has no t"),
    ],
)  # fmt: skip
def test_what_no_similarity_is(ask, lesson):
    with pytest.raises(inf.InfluentError, match=lesson):
        ask()


# Text forms


@pytest.mark.parametrize(
    "q",
    [
        inf.Logit(5), inf.Logit(" Paris"), inf.Logit("it's \"so\"\n", position=0), inf.Logit(5, -2, cut="head"),
        inf.Logit(5, cut=inf.OUTPUT[0]), inf.Continuation(" in France"), inf.Continuation((3,)),
        inf.Continuation([3, 4], cut="head"), inf.Similarity("another text"), inf.Similarity("é 👩", cut="pool"),
        inf.Similarity(torch.ones(3)), inf.Logit(5) - 0.5 * inf.Logit(6, 0), inf.Through(2, "o:in/head", inf.Logit(5)),
    ],
    ids=repr,
)  # fmt: skip
def test_quantities_read_back(q):
    assert inf.parse(repr(q)) == q
    assert hash(inf.parse(repr(q))) == hash(q)


def test_the_text_leaves_out_what_is_not_said():
    assert repr(inf.Logit(" Paris")) == "Logit(' Paris')"
    assert repr(inf.Logit(5, -1)) == "Logit(5)"
    assert repr(inf.Continuation([3, 4])) == "Continuation((3, 4))"
    assert inf.Logit(5) != inf.Logit(5, 0) != inf.Continuation((5,))


def test_a_stored_similarity_knows_its_vector_by_checksum_alone():
    stored = inf.parse(repr(inf.Similarity(torch.ones(7))))
    with pytest.raises(QuestionError, match=r"^Similarity compares vectors"):
        stored.value(Y[:, 0], None)


def test_nets_of_classes_are_not_asked_for_tokens():
    net = net_of("BERT")
    x = net.read("this is good")
    with pytest.raises(QuestionError, match=r"^Logit\(7\) needs outputs .* It has one number a class: Class\(3\)\.$"):
        inf.influence(net, net.embedding, inf.Logit(7), inf.Point(x))
    with pytest.raises(
        QuestionError, match=r"^Class\(1\) needs outputs \[point, class\].*Name the token and its posit"
    ):
        inf.influence(net_of("Llama"), "model.embed_tokens", inf.Class(1), inf.Point(net_of("Llama").read("good")))
    assert wordpiece().pad_token_id == 0
