"""Texts for the studies: sentences with their phrases, questions with the kind of their answers, and a small encoder.

Used by the text studies; no study by itself. What is trained on and what is reported on is parted here, once for all:

- Sentiment. Of the treebank's 8,544 train sentences, 700 drawn by lot join dev (1,101) and test (2,210): the 4,011
  held-out sentences that the studies report on. 500 others say when to stop training. The phrases of the rest that
  are not neutral are trained on, without those that are, word for word, one of the 4,511 sentences set aside.
- Questions. random-split-1-train is trained on, but for 1,000 questions drawn by lot, which say when to stop;
  random-split-1-dev (2,831 questions) is reported on.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import influent as inf
from influent.text import TextTransform, Words
from influent.zoo.files import data_file, weights_for
from influent.zoo.textcnn import ANSWERS, SENTIMENTS

HERE = Path(__file__).parent
ENCODER = HERE / "results" / "encoder.safetensors"
SEED, EXTRA, STOPPING, STOPPING_QUESTIONS = 0, 700, 500, 1000
ENCODER_LIMIT = 128
ADVICE = (
    "Type `export INFLUENT_DATA=FOLDER`, where FOLDER holds the texts; studies/README.md says where to get them, and "
    "`python3 dev.py data` what is there."
)
_SIGNS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "``": '"', "''": '"'}


@dataclass(frozen=True)
class Sentence:
    """A sentence of the treebank, its sentiment from 0 to 4, and all its phrases with theirs, itself first."""

    text: str
    sentiment: int
    phrases: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Parts:
    """What is trained on, and says when to stop: pairs of a text and a class; and what is reported on.

    `sentences` are the whole texts that were trained on, in parts or not.
    """

    train: list[tuple[str, int]]
    stopping: list[tuple[str, int]]
    test: list[tuple[str, int]]
    held_out: list[str]
    sentences: list[str]


def lines_of(name: str) -> list[str]:
    """The lines of a gzipped text in INFLUENT_DATA."""
    with gzip.open(data_file(name, ADVICE), "rt", encoding="utf-8") as stream:
        return stream.read().splitlines()


# ---- the treebank -----------------------------------------------------------------------------------------


def sentence(line: str) -> Sentence:
    """A tree in brackets, `(3 (2 a) (4 (4 good) (2 film)))`."""
    words: list[str] = []
    opened: list[tuple[int, int]] = []
    found: list[tuple[int, int, int]] = []  # first word, end, sentiment
    for label, word, closing in re.findall(r"\((\d) |([^()\s]+)|(\))", line):
        if label:
            opened.append((len(words), int(label)))
        elif closing:
            first, sentiment = opened.pop()
            found.append((first, len(words), sentiment))
        elif word:
            words.append(_SIGNS.get(word, word.replace("\\/", "/").replace("\\*", "*")))
    phrases = tuple((" ".join(words[first:end]), sentiment) for first, end, sentiment in reversed(found))
    return Sentence(*phrases[0], phrases)


def treebank(part: str) -> list[Sentence]:
    """The sentences of `train`, `dev` or `test`."""
    return [sentence(line) for line in lines_of(f"sst/{part}.trees.txt.gz")]


def polar(pairs: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Texts that are not neutral, as class 0 (negative) or 1 (positive); a text that comes again is left out."""
    once = dict(reversed([(text, sentiment) for text, sentiment in pairs if sentiment != 2]))
    return [(text, int(sentiment > 2)) for text, sentiment in reversed(once.items())]


def sentiments() -> Parts:
    """The treebank in parts, as the head of this file says."""
    train, dev, test = (treebank(part) for part in ("train", "dev", "test"))
    lot = torch.randperm(len(train), generator=torch.Generator().manual_seed(SEED)).tolist()
    extra, stopping = ([train[k] for k in sorted(some)] for some in (lot[:EXTRA], lot[EXTRA : EXTRA + STOPPING]))
    held_out = [*dev, *test, *extra]
    aside = {s.text.lower() for s in [*held_out, *stopping]}
    rest = [train[k] for k in sorted(lot[EXTRA + STOPPING :])]
    phrases = [(text, mood) for s in rest for text, mood in s.phrases if text.lower() not in aside]
    whole = [[(s.text, s.sentiment) for s in some] for some in (stopping, test)]
    return Parts(polar(phrases), *map(polar, whole), [s.text for s in held_out], [s.text for s in rest])


# ---- questions --------------------------------------------------------------------------------------------

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_YEAR = r"(?:1[5-9]\d\d|20\d\d)"
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,? )?"
_DATE = re.compile(
    rf"{_WEEKDAY}(?:{_MONTH}(?:[ -]\d\d?)?(?:,? (?:\d\d|\d{{4}}))?"  # May 1979, May 11, May 11, 1979
    rf"|\d\d?(?:st|nd|rd|th)?[ -]{_MONTH}(?:,?[ -](?:\d\d|\d{{4}}))?"  # 11 May, 11 May 1979, 11-May-79
    rf"|{_YEAR}(?:s|[-–/](?:\d\d|{_YEAR}))?"  # 1979, 1970s, 1979-80, 1979/1980
    r"|\d\d?[-/.]\d\d?[-/.](?:\d\d|\d{4})|\d{4}-\d\d?-\d\d?)"  # 05/11/79, 1979-05-11
)
_NUMBER = re.compile(r"[-+−]?[$£€]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:st|nd|rd|th|%| ?[^\W\d_]+)?")


def answer_type(target: str) -> str:
    """The kind of an answer, from its text alone (several values are parted by |); the first rule that fits:

    1. several values: `list`;
    2. yes, no, true or false: `boolean`;
    3. a day, a month, a year from 1500 to 2099, two years with a sign between them, a decade: `date`. A count from
       1500 to 2099 written without a comma passes for a year;
    4. a number, with a currency before it, or %, st, nd, rd, th or one unit of letters behind it: `numeric`;
    5. anything else: `string`.
    """
    plain = " ".join(target.lower().split())
    if "|" in target:
        return "list"
    if plain in ("yes", "no", "true", "false"):
        return "boolean"
    if _DATE.fullmatch(plain):
        return "date"
    return "numeric" if _NUMBER.fullmatch(plain) else "string"


def asked(part: str) -> list[tuple[str, int]]:
    """Questions and the class of their answers, in the order of the file: `random-split-1-train` or `…-dev`."""
    rows = [line.split("\t") for line in lines_of(f"wikitablequestions/{part}.tsv.gz")[1:]]
    plain = [
        (question.replace("\\n", " ").replace("\\p", "|").replace("\\\\", "\\"), target)
        for _, question, _, target in rows
    ]
    return [(question, ANSWERS.index(answer_type(target))) for question, target in plain]


def questions() -> Parts:
    """WikiTableQuestions in parts, as the head of this file says."""
    train, dev = asked("random-split-1-train"), asked("random-split-1-dev")
    lot = torch.randperm(len(train), generator=torch.Generator().manual_seed(SEED)).tolist()
    stopping = [train[k] for k in sorted(lot[:STOPPING_QUESTIONS])]
    rest = [train[k] for k in sorted(lot[STOPPING_QUESTIONS:])]
    return Parts(rest, stopping, dev, [text for text, _ in dev], [text for text, _ in rest])


# ---- words ------------------------------------------------------------------------------------------------


def vocabulary(texts: Sequence[str], least: int = 2) -> list[str]:
    """The words that are in `least` texts or more, the most frequent first, then by the alphabet."""
    words = Words([])
    count: Counter[str] = Counter()
    for text in texts:
        count.update({text[a:b].lower().replace("’", "'") for a, b in words.numbered(text)[1]})
    return sorted((word for word, times in count.items() if times >= least), key=lambda word: (-count[word], word))


# ---- nets -------------------------------------------------------------------------------------------------


@torch.no_grad()
def scores(net: inf.Net, texts: Sequence[str], batch: int = 256) -> Tensor:
    """Logits `[text, class]` of any number of texts."""
    found = []
    for start in range(0, len(texts), batch):
        made = net.module(**net.transform(list(texts[start : start + batch])).inputs)
        found.append(made if isinstance(made, Tensor) else made.logits)
    return torch.cat(found)


def accuracy(net: inf.Net, pairs: Sequence[tuple[str, int]]) -> float:
    """Percent of texts whose class is the net's first choice."""
    said = scores(net, [text for text, _ in pairs]).argmax(1)
    return 100 * float((said == torch.tensor([label for _, label in pairs])).double().mean())


def encoder_module(words: int) -> torch.nn.Module:
    """A small transformer encoder with a head for two classes; its pooler reads the first word."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=words, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256,
        max_position_embeddings=ENCODER_LIMIT, type_vocab_size=1, num_labels=len(SENTIMENTS), pad_token_id=0,
        hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.1,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def encoder() -> inf.Net:
    """The small encoder that `text_nets` trained: the words and the phrases of the zoo's `textcnn-sentiment`."""
    transform = inf.zoo.load("textcnn-sentiment").transform
    state = torch.get_rng_state()
    module = encoder_module(len(transform.tokenizer.vocabulary) + 2)
    torch.set_rng_state(state)  # weights are replaced at once
    found = weights_for(module, ENCODER, "python3 dev.py study text_nets makes it.")
    module.load_state_dict({name: weight.float() for name, weight in found.items()}, strict=True)
    return inf.Net(
        module.eval().requires_grad_(False), SENTIMENTS, TextTransform(transform.tokenizer, limit=ENCODER_LIMIT),
        layer="bert.encoder.layer.1",
    )  # fmt: skip
