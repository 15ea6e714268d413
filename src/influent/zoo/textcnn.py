"""The sentence CNN of the conductance paper, trained by us: the sentiment of a phrase, the kind of a question."""

from __future__ import annotations

import os
from importlib import resources

import torch
from torch import Tensor, nn

from influent.errors import InputError
from influent.nets import Net
from influent.shapes import spell_shape
from influent.text import TextTransform, Words

from .files import weights_for

WINDOWS, MAPS, WIDTH, HIDDEN = (3, 4, 5, 6), 64, 50, 10
SENTIMENTS = ("negative", "positive")
ANSWERS = ("numeric", "date", "boolean", "string", "list")
_LAYER = "filters/channel"


class Filters(nn.Module):
    """The largest value of each filter over a text's windows, `[point, token, 50]`, `[point] → [point, 256]`.

    Filters 64 k to 64 k + 63 see windows of 3 + k words; values are after the ReLU. `lengths` says how many tokens are
    the text's own: windows that begin so late that the text, padded to six words, would not have them, count for
    nothing, so that a text gives the same values alone and in a batch.

    Source: Kim 2014, "Convolutional neural networks for sentence classification", Eq 2 to 4.

    >>> Filters()(torch.zeros(1, 9, 50), torch.tensor([7])).shape
    torch.Size([1, 256])
    """

    def __init__(self) -> None:
        super().__init__()
        self.windows = nn.ModuleList(nn.Conv1d(WIDTH, MAPS, width) for width in WINDOWS)

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        signal, largest = embedded.transpose(1, 2), []
        for width, window in zip(WINDOWS, self.windows, strict=True):
            values = window(signal).relu()
            starts = torch.arange(values.shape[2], device=values.device)
            beyond = starts >= (lengths.clamp(min=max(WINDOWS)) - width + 1)[:, None]
            # After the ReLU no value is below 0, so that 0 is never larger than one that counts.
            largest.append(values.masked_fill(beyond[:, None], 0).amax(2))
        return torch.cat(largest, dim=1)


class TextCNN(nn.Module):
    """Class scores of texts, `[point, token] → [point, class]`: embeddings, 256 filters, ten hidden units.

    `filters` are the 256 filters, `dense` the ten units before their ReLU, `relu` after it. Token 0 is padding, on the
    right; its embedding is zero. Without an `attention_mask`, all tokens but 0 are the text's own.

    Errors: `InputError` for fewer than six tokens, the widest window.
    Source: Dhamdhere et al. 2018, "How important is a neuron?", section 6; Kim 2014.

    >>> net = TextCNN(words=5, classes=2).eval()
    >>> net(torch.tensor([[2, 3, 4, 0, 0, 0]])).shape
    torch.Size([1, 2])
    """

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, WIDTH, padding_idx=0)
        self.filters = Filters()
        self.dense, self.relu = nn.Linear(len(WINDOWS) * MAPS, HIDDEN), nn.ReLU()
        self.classify = nn.Linear(HIDDEN, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        if input_ids.dim() != 2 or input_ids.shape[1] < max(WINDOWS):
            raise InputError(
                f"This net reads tokens [text, token], at least {max(WINDOWS)} of them (its widest window), and got "
                f"{spell_shape(input_ids)}. net.transform(texts) pads to that."
            )
        own = input_ids != 0 if attention_mask is None else attention_mask
        largest = self.filters(self.embedding(input_ids), own.long().sum(1))
        scores: Tensor = self.classify(self.relu(self.dense(largest)))
        return scores


def text_cnn_sentiment(weights: str | os.PathLike[str] | None = None) -> Net:
    """The sentence CNN that tells negative from positive, with its manners: weights, words, class names, default cut.

    Trained by `studies/text_nets.py` on the phrases of 7,344 sentences of the Stanford Sentiment Treebank's train set;
    its accuracy on other sentences is in `studies/results/text-nets.json`. A file of other `weights` over the same
    words may be named instead.

    Source: Dhamdhere et al. 2018, section 6.1; Socher et al. 2013 (the data).

    >>> net = text_cnn_sentiment()
    >>> scores = net.module(**net.transform("a good film").inputs)
    >>> net.label(int(scores.argmax()))
    'positive'
    """
    return _net("textcnn-sentiment", SENTIMENTS, weights)


def text_cnn_questions(weights: str | os.PathLike[str] | None = None) -> Net:
    """The sentence CNN that tells what kind of answer a question wants, with its manners.

    Trained by `studies/text_nets.py` on WikiTableQuestions' random-split-1-train; `studies/_text.py` says how the kind
    of an answer is told from the answer. A file of other `weights` over the same words may be named instead.

    Source: Dhamdhere et al. 2018, section 6.2; Pasupat & Liang 2015 (the data).

    >>> net = text_cnn_questions()
    >>> scores = net.module(**net.transform("how many athletes are not ranked?").inputs)
    >>> net.label(int(scores.argmax()))
    'numeric'
    """
    return _net("textcnn-questions", ANSWERS, weights)


def _net(name: str, labels: tuple[str, ...], weights: str | os.PathLike[str] | None) -> Net:
    """A net from the files beside this one: NAME.safetensors (float16, half the size) and NAME.txt (its words)."""
    here = resources.files("influent.zoo")
    words = Words(here.joinpath(f"{name}.txt").read_text(encoding="utf-8").splitlines())
    with torch.device("meta"):  # no time and no random numbers spent on weights that are replaced at once
        module = TextCNN(len(words.vocabulary) + 2, len(labels))
    with resources.as_file(here.joinpath(f"{name}.safetensors")) as own:
        found = weights_for(module, weights or own, f"It is to fit the words of {name}.txt in influent.zoo.")
    module.load_state_dict({key: value.float() for key, value in found.items()}, strict=True, assign=True)
    return Net(
        module.eval().requires_grad_(False), labels, TextTransform(words, least=max(WINDOWS)), layer=_LAYER,
    )  # fmt: skip
