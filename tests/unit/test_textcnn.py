"""The sentence CNN: known answers on weights written by hand, the same answers alone and in a batch, its lessons."""

import pytest
import torch
from safetensors.torch import save_file

import influent as inf
from influent.errors import InputError
from influent.zoo import load, text_cnn_questions, text_cnn_sentiment
from influent.zoo.textcnn import ANSWERS, SENTIMENTS, Filters, TextCNN

LOADERS = {"textcnn-sentiment": text_cnn_sentiment, "textcnn-questions": text_cnn_questions}


def random_net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TextCNN(words=30, classes=3).double().eval()


def counting_filters(width, weights, bias=0.0):
    """Filters of which one counts: the first of a width, Σ weights · the first number of the words in the window."""
    filters = Filters().double().requires_grad_(False)
    with torch.no_grad():
        for parameter in filters.parameters():
            parameter.zero_()
        window = filters.windows[width - 3]
        window.weight[0, 0] = torch.tensor(weights)
        window.bias[0] = bias
    return filters


def embedded(*numbers):
    """One text whose words have these first numbers, and 0 elsewhere."""
    e = torch.zeros(1, len(numbers), 50, dtype=torch.float64)
    e[0, :, 0] = torch.tensor(numbers)
    return e


# Known answers


@pytest.mark.parametrize(("width", "place"), [(3, 0), (4, 64), (5, 128), (6, 192)])
def test_a_filter_is_the_largest_window(width, place):
    # Σ of the window's words, the last twice: over 1 … 8 the last window is the largest, (9 − width) + … + 8 + 8.
    filters = counting_filters(width, [1.0] * (width - 1) + [2.0])
    values = filters(embedded(*map(float, range(1, 9))), torch.tensor([8]))
    assert values.shape == (1, 256)
    assert float(values[0, place]) == sum(range(9 - width, 9)) + 8
    assert values.count_nonzero() == 1


def test_a_filter_is_never_negative():
    assert counting_filters(3, [1.0, 1.0, 1.0], bias=-100.0)(embedded(*[1.0] * 6), torch.tensor([6])).abs().max() == 0


@pytest.mark.parametrize(("length", "expected"), [(6, 5.0), (7, 5.0), (8, 5.0), (9, 7.0)])
def test_windows_beyond_the_text_count_for_nothing(length, expected):
    # Windows of three begin at 0 … length − 3; at 3 the sum is 5, at 6 it is 7: begun from length 9 on.
    words = embedded(0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 7.0, 0.0)
    assert float(counting_filters(3, [1.0, 1.0, 1.0])(words, torch.tensor([length]))[0, 0]) == expected


def test_a_short_text_counts_as_six_words():
    # A bias of 1 in each window: with two words at 2 and −9, the windows from 2 and 3 on see padding alone.
    values = counting_filters(3, [1.0, 1.0, 1.0], bias=1.0)(embedded(-9.0, -9.0, 0, 0, 0, 0, 0, 0), torch.tensor([2]))
    assert float(values[0, 0]) == 1.0
    values = counting_filters(6, [1.0] * 6, bias=1.0)(embedded(-9.0, -9.0, 0, 0, 0, 0, 0, 0), torch.tensor([2]))
    assert float(values[0, 192]) == 0.0  # its only window begins at 0


def test_scores_from_the_filters():
    net = random_net()
    with torch.no_grad():
        net.filters = counting_filters(3, [1.0, 1.0, 1.0])
        net.embedding.weight.zero_()
        net.embedding.weight[2, 0], net.embedding.weight[3, 0] = 1.0, 2.0
        for layer in (net.dense, net.classify):
            layer.weight.zero_()
            layer.bias.zero_()
        net.dense.weight[4, 0], net.dense.bias[5] = 3.0, 0.5
        net.dense.bias[6] = -1.0  # cut off by the ReLU
        net.classify.weight[1, 4], net.classify.weight[2, 5], net.classify.weight[2, 6] = 10.0, 2.0, 100.0
        net.classify.bias[0] = 7.0
        # The window 2 3 3 has 1 + 2 + 2 = 5; three times that, times 10.
        scores = net(torch.tensor([[2, 3, 3, 0, 0, 0]]))
    assert scores.tolist() == [[7.0, 150.0, 1.0]]


# Alone and in a batch


def test_alone_and_padded_are_the_same():
    net, dice = random_net(), torch.Generator().manual_seed(1)
    lengths = [1, 2, 5, 6, 7, 11, 12]
    rows = [torch.randint(1, 30, (n,), generator=dice) for n in lengths]
    batch = torch.stack([torch.cat([row, torch.zeros(15 - len(row), dtype=torch.long)]) for row in rows])
    mask = torch.stack([(torch.arange(15) < n).long() for n in lengths])
    with torch.no_grad():
        together = net(batch, mask)
        for k, row in enumerate(rows):
            width = max(6, len(row))
            alone = net(batch[k : k + 1, :width], mask[k : k + 1, :width])
            assert (alone - together[k]).abs().max() < 1e-12
        assert torch.equal(net(batch), together)  # without a mask, all but 0 is the text's own


def test_an_influence_is_the_same_alone_and_padded():
    net = text_cnn_sentiment()

    def found(*texts):
        inputs = net.transform(list(texts)).inputs
        e = inf.activations(net, "embedding", inputs)
        path = inf.Line(torch.zeros_like(e), e, n=17, rule="uniform", cut="embedding", given=inputs)
        return inf.influence(net, ["filters/channel", "embedding/token"], inf.Class("negative"), path, inf.contribution)

    alone, both = found("this is not good"), found("this is not good", "a film that is as long as this one is , or so")
    for cut in alone:
        width = alone[cut].values.shape[1]
        assert torch.allclose(alone[cut].values[0], both[cut].values[0, :width], atol=1e-5)
    assert alone["filters/channel"].values.shape == (1, 256)
    assert alone["filters/channel"].gap.relative.max() < 0.02
    assert both["embedding/token"].values[0, 4:].abs().max() == 0  # padding has no part in it


# Loading


@pytest.mark.parametrize(("name", "labels"), [("textcnn-sentiment", SENTIMENTS), ("textcnn-questions", ANSWERS)])
def test_manners(name, labels):
    net = load(name)
    assert tuple(net.labels) == labels
    assert net.layer == "filters/channel"
    assert not net.module.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in net.module.parameters())
    assert len(net.transform.tokenizer.vocabulary) + 2 == len(net.module.embedding.weight)
    assert len(set(net.transform.tokenizer.vocabulary)) == len(net.transform.tokenizer.vocabulary)
    assert net.module.embedding.weight[0].abs().max() == 0
    assert net.transform("good").ids.shape == (1, 6)


@pytest.mark.parametrize(
    ("name", "text", "label"),
    [
        ("textcnn-sentiment", "a warm , funny and wonderful film", "positive"),
        ("textcnn-sentiment", "dull and boring", "negative"),
        ("textcnn-questions", "how many people live there?", "numeric"),
        ("textcnn-questions", "in what year did they win?", "date"),
        ("textcnn-questions", "who was the first president?", "string"),
    ],
)
def test_what_they_say(name, text, label):
    net = load(name)
    assert net.label(int(net.module(**net.transform(text).inputs).argmax())) == label


def test_loading_leaves_random_numbers_alone():
    before = torch.get_rng_state()
    text_cnn_sentiment()
    assert torch.equal(torch.get_rng_state(), before)


def test_other_weights(tmp_path):
    weights = {name: torch.full_like(value, 0.5) for name, value in text_cnn_questions().module.state_dict().items()}
    save_file(weights, tmp_path / "mine.safetensors")
    assert float(load("textcnn-questions", weights=tmp_path / "mine.safetensors").module.dense.bias[0]) == 0.5


@pytest.mark.parametrize("name", LOADERS)
def test_weights_that_are_not_there_or_do_not_fit(name, tmp_path):
    with pytest.raises(InputError, match=rf"no file .* of weights\. It is to fit the words of {name}\.txt"):
        LOADERS[name](tmp_path / "none.safetensors")
    save_file({"dense.weight": torch.ones(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(InputError, match=rf"does not fit this net.*It is to fit the words of {name}\.txt"):
        LOADERS[name](tmp_path / "odd.safetensors")


def test_too_few_tokens():
    with pytest.raises(InputError, match=r"at least 6 of them .* and got .*\[1, 4\].* pads to that\."):
        random_net()(torch.tensor([[2, 3, 4, 5]]))
    with pytest.raises(InputError, match="reads tokens"):
        random_net()(torch.tensor([2, 3, 4, 5, 6, 7]))
