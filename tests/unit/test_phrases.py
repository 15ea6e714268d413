"""Phrases that units look for: counted by hand on a net whose filters are known, and the command end to end."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import random
import sys

import pytest
import torch
from torch import nn

import influent as inf
from influent.cli import main
from influent.corpus import Corpus, read_corpus
from influent.ngrams import PhraseUnit, span

WORDS = ["not", "good", "bad", "film", "a", "fun"]
#          pad unk  not good bad film  a  fun
FILTERS = [
    [0, 0, 2, 1, 0, 0, 0, 0],  # looks at "not good"
    [0, 0, 0, 3, 0, 0, 0, 0],  # good
    [0, 0, 0, 0, 2, 0, 0, 0],  # bad
    [0, 0, 0, 1, 0, 4, 0, 0],  # film, and a little good
]
NEGATIVE = [1.0, -1.0, 1.0, 0.5]  # what each filter says of it
AT, OF = "filters/channel", inf.Class("negative")


class Bag(nn.Module):
    """A bag of words: four linear filters over the words' sum, and two classes. All contributions are exact."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 8)
        self.filters, self.classify = nn.Linear(8, 4, bias=False), nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.eye(8))
            self.embedding.weight[0] = 0
            self.filters.weight.copy_(torch.tensor(FILTERS))
            self.classify.weight.copy_(torch.tensor([NEGATIVE, [-v for v in NEGATIVE]]))

    def forward(self, input_ids, attention_mask):
        return self.classify(self.filters((self.embedding(input_ids) * attention_mask[..., None]).sum(1)))


def bag() -> inf.Net:
    """The net with its words and class names."""
    transform = inf.TextTransform(inf.Words(WORDS), limit=6)
    return inf.Net(Bag().eval(), labels=["negative", "positive"], transform=transform, layer=AT)


def told(found):
    """The phrases by what is counted of them."""
    return {
        p.phrase: (p.texts, round(p.mean, 5), p.found, p.precision, p.recall, tuple(sorted(p.examples)))
        for p in found.phrases
    }


# The shortest run of values.


def slow_span(values, ends, longest, carry):
    """By its definition: the largest sum, then lengths from 1 on."""
    runs = [
        (i, j)
        for i in range(len(values))
        for j in range(len(values) + 1)
        if 0 < j - i <= longest and ends[i] and ends[j - 1]
    ]
    if not runs or max(sum(values[i:j]) for i, j in runs) <= 0:
        return None
    best = max(sum(values[i:j]) for i, j in runs)
    for length in range(1, longest + 1):
        near = [(i, j) for i, j in runs if j - i == length and sum(values[i:j]) >= carry * best]
        if near:
            return max(near, key=lambda run: (sum(values[slice(*run)]), -run[0]))
    raise AssertionError


def test_the_span_is_the_shortest_run_that_carries_enough():
    dice = random.Random(0)
    for _ in range(500):
        n = dice.randint(0, 7)
        values = [dice.choice([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]) for _ in range(n)]
        ends = [dice.random() < 0.8 for _ in range(n)]
        longest, carry = dice.randint(1, 5), dice.choice([0.5, 0.9, 1.0])
        assert span(values, ends, longest, carry) == slow_span(values, ends, longest, carry)


# Units that look at a phrase.


def test_units_like_a_phrase():
    found = inf.units_like(bag(), "not good", "a film not good", AT, OF)
    assert [u.index for u in found] == [0]  # 1 speaks against, 2 is silent, of 3's 2.5 a fifth is from "good"
    assert found[0].contribution == pytest.approx(3, abs=1e-4) and found[0].share == pytest.approx(1, abs=1e-4)
    found = inf.units_like(bag(), "not good", "a film not good", AT, OF, share=0.1)
    assert [u.index for u in found] == [0, 3]
    assert found[1].contribution == pytest.approx(2.5, abs=1e-4) and found[1].share == pytest.approx(0.2, abs=1e-4)
    assert [u.index for u in inf.units_like(bag(), "NOT good", "Not Good", "filters", OF, top=1)] == [0]
    assert [u.index for u in inf.units_like(bag(), "good", "good film", AT, inf.Class("positive"))] == [1]


@pytest.mark.parametrize(
    ("phrase", "sentence", "lesson"),
    [
        ("bad", "not good", r"^'bad' is not in 'not good'\. Give a sentence with the phrase in it: --in, sentence=\.$"),
        ("", "not good", r"^'' is not in 'not good'\."),
        ("a", "a film", r"^No unit of filters/channel has 50% of its contribution from 'a' in 'a film'\."),
    ],
)
def test_no_unit_looks_there(phrase, sentence, lesson):
    with pytest.raises(inf.QuestionError, match=lesson):
        inf.units_like(bag(), phrase, sentence, AT, OF)


# Phrases of a corpus.

TEXTS = ["a film not good", "bad film", "Not good", "film", "not a good film", "good fun", "bad"]


def test_phrases_are_counted_as_by_hand():
    found = inf.phrases(bag(), AT, [0, 2], TEXTS, OF)
    # Negative, by the filters: 3 - 3 + 2.5; 2 + 2; 3 - 3 + 0.5; 2; 3 - 3 + 2.5; 1 - 3 + 0.5, which is not; 2.
    assert found.said == (0, 0, 0, 0, 0, 1, 0)
    assert told(found) == {
        "not good": (2, 3.0, 2, 1.0, 2 / 6, (0, 2)),
        "bad": (2, 2.0, 2, 1.0, 2 / 6, (1, 6)),
        "not a good": (1, 3.0, 1, 1.0, 1 / 6, (4,)),
        "good": (1, 1.0, 4, 3 / 4, 3 / 6, (5,)),
    }
    assert [p.phrase for p in found.phrases] == ["not good", "bad", "not a good", "good"]
    assert found.carried == pytest.approx([3, 2, 3, 0, 3, 1, 2], abs=1e-4)
    assert set(found.top(3)) == {0, 2, 4}
    assert [piece.text for piece in found.pieces[0]] == ["a", "film", "not", "good"]
    assert repr(found) == "Phrases(4 of 7 texts: 'not good', 'bad', 'not a good', 'good')"


def test_precision_and_recall_are_of_the_labels_where_there_are_some():
    labels = ["negative", "positive", 0, "1", "Negative", 1, "0"]
    found = inf.phrases(bag(), AT, [0, 2], TEXTS, OF, labels=labels, least=2)
    assert found.said == (0, 1, 0, 1, 0, 1, 0)
    assert told(found) == {"not good": (2, 3.0, 2, 1.0, 0.5, (0, 2)), "bad": (2, 2.0, 2, 0.5, 0.25, (1, 6))}
    other = inf.phrases(bag(), AT, [0, 2], TEXTS, OF - inf.Class("positive"), labels=labels, least=2)
    assert [p.precision for p in other.phrases] == [1.0, 0.5] and other.phrases[0].mean == pytest.approx(6, abs=1e-4)


def test_no_class_no_precision():
    found = inf.phrases(bag(), AT, 1, ["good film"], inf.Unit(1, "filters"))
    assert [p.phrase for p in found.phrases] == ["good"]
    assert math.isnan(found.phrases[0].precision) and math.isnan(found.phrases[0].recall)


def test_units_and_texts_of_all_kinds_give_the_same():
    want = told(inf.phrases(bag(), AT, [0], TEXTS, OF))
    assert told(inf.phrases(bag(), "filters", 0, iter(TEXTS), OF, chunk=3)) == want
    assert told(inf.phrases(bag(), AT, [PhraseUnit(0, 3.0, 1.0)], tuple(TEXTS), OF)) == want
    many = inf.phrases(bag(), AT, [0], TEXTS * 20, OF)  # several batches
    assert {p.phrase: (p.texts / 20, p.found / 20) for p in many.phrases} == {k: (v[0], v[2]) for k, v in want.items()}


def test_no_phrase_is_longer_than_asked():
    assert set(told(inf.phrases(bag(), AT, [0], ["not a good"], OF, longest=2))) == {"not"}


def test_what_cannot_be_read_is_left_out_and_named():
    done = []
    found = inf.phrases(bag(), AT, [0], ["", "not good", "film " * 9, "not"], OF, progress=done.append)
    assert found.texts == ("not good", "not") and sum(done) == 2
    assert [reason[:30] for reason in found.left_out.values()] == [
        "A text is empty: there is noth", "The text 'film film film film "
    ]  # fmt: skip


BAD = {
    "one text": (lambda: inf.phrases(bag(), AT, [0], "not good", OF), r"^phrases reads a list of texts: "),
    "no text": (lambda: inf.phrases(bag(), AT, [0], [], OF), r"^phrases reads a list of texts: "),
    "unreadable": (lambda: inf.phrases(bag(), AT, [0], ["", " "], OF), r"^None of the 2 texts could be read: A text"),
    "no units": (lambda: inf.phrases(bag(), AT, [], ["not"], OF), r"^Through\(\(\), \.\.\.\): units are channels, 52"),
    "units": (lambda: inf.phrases(bag(), AT, [4], ["not"], OF), r"unit 4 is out of range: filters/channel has neurons"),
    "labels": (lambda: inf.phrases(bag(), AT, [0], ["not"], OF, labels=[0, 1]), r"^There are 2 labels for 1 texts\."),
    "number": (
        lambda: inf.phrases(bag(), AT, [0], ["not"], OF, labels=["4"]),
        r"^A text's label is '4', and this net has classes 0 to 1, negative, positive\. Give each text one of these\.$",
    ),
    "name": (
        lambda: inf.phrases(bag(), AT, [0], ["not"], OF, labels=["happy"]),
        r"^This net has no class 'happy'\. It has negative, positive\.$",
    ),
    "photos": (
        lambda: inf.phrases(inf.zoo.load("efficientnet-lite0"), AT, [0], ["not"], OF),
        r"^This net reads photos and no texts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_asked_is_a_lesson(name):
    ask, lesson = BAD[name]
    with pytest.raises(inf.InfluentError, match=lesson):
        ask()


def test_rules_are_read_by_spreadsheets_and_do_nothing_there(tmp_path):
    texts = ['=HYPERLINK("http://a") not good', "+not good", 'not good, "really"\nnot', "not good"]
    transform = inf.TextTransform(inf.Words(WORDS))
    net = inf.Net(Bag().eval(), labels=["negative", "positive"], transform=transform)
    found = inf.phrases(net, AT, [0], texts, OF, labels=[0, 0, 1, 1])
    made = found.save(tmp_path / "rules.csv")
    with made.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["phrase", "texts", "mean", "total", "found", "precision", "recall", "examples"]
    assert (rows[0]["phrase"], rows[0]["texts"], rows[0]["total"]) == ("not good", "4", "12")
    assert (rows[0]["found"], rows[0]["precision"], rows[0]["recall"]) == ("4", "0.5000", "1.0000")
    assert all(cell[:1] not in "=+-@\t\r\n" for row in rows for cell in row.values())
    assert set(rows[0]["examples"].removeprefix("'").split(" | ")) <= set(texts)
    inf.phrases(net, AT, [0], texts[:1], OF).save(made)
    assert made.read_text().splitlines()[1].endswith(""","'=HYPERLINK(""http://a"") not good\"""")


# Corpora.

ROWS = [("not good", "0"), ("good, fun", "1"), ("naïve 😀", "0")]
PLAIN = "".join(f"{text}\r\n\n" for text, _ in ROWS)
COMMAS = "Label,Text\n" + "".join(f'{label},"{text}"\n' for text, label in ROWS) + "0\n0,\n"
TABS = "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS)
FILES = {
    "a.txt": PLAIN.encode(), "b.txt": b"\xef\xbb\xbf" + PLAIN.encode(), "c.txt.gz": gzip.compress(PLAIN.encode()),
    "d.txt": PLAIN.encode("utf-16"), "a.csv": COMMAS.encode(), "b.csv.gz": gzip.compress(COMMAS.encode()),
    "a.tsv": TABS.encode(), "b.tsv": TABS.encode("utf-16"), "no-ending": PLAIN.encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_corpora_of_all_kinds(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    labels = tuple(label for _, label in ROWS) if ".csv" in name or ".tsv" in name else None
    assert read_corpus(tmp_path / name) == Corpus(tuple(text for text, _ in ROWS), labels)


def test_a_corpus_in_latin_1_and_from_standard_input(tmp_path, monkeypatch):
    (tmp_path / "old.txt").write_bytes("naïve\n".encode("latin-1"))
    assert read_corpus(tmp_path / "old.txt").texts == ("naïve",)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"not good\n")))
    assert read_corpus("-").texts == ("not good",)
    (tmp_path / "two.csv").write_text('text\n"not\ngood"\n')
    assert read_corpus(tmp_path / "two.csv") == Corpus(("not\ngood",), None)


BROKEN = {
    "none.txt": (None, "There is no file "),
    "empty.txt": (b"\n  \n", "holds no text. Give a .txt file with a text a line."),
    "head.csv": (b"text,label\n", "holds no text."),
    "nothing.csv": (b"", "its first line names nothing, and none of these is the texts' column."),
    "column.csv": (b"a,b\n1,2\n", "its first line names a, b, and none of these is the texts' column. Call it text;"),
    "open.csv": (b'text\n"good\n' + b"bad\n" * 40000, "is no table: field larger than field limit (131072)."),
    "photo.txt": (b"\x89PNG\r\n\x1a\n\0\0\0", "is no text. Give a .txt file, a text a line, or a .csv or .tsv"),
    "cut.txt.gz": (gzip.compress(b"not good")[:-9], "cannot be read: "),
    "bent.txt.gz": (b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\xff" * 9, "cannot be read: "),
    "plain.txt.gz": (b"not good\n", "cannot be read: Not a gzipped file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_corpus_that_is_none_is_a_lesson(tmp_path, name):
    content, lesson = BROKEN[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(inf.InputError) as caught:
        read_corpus(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and lesson in str(caught.value)


def test_nobody_waits_for_texts_that_do_not_come(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(inf.InputError, match=r"^- reads texts from standard input, and nothing is piped in: "):
        read_corpus("-")


# The command.


@pytest.fixture
def phrases(tmp_path, monkeypatch, capsys):
    """Runs `influent phrases` in a folder with the corpora; gives its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    labels = ["negative", "positive", "0", "1", "negative", "1", "0"]
    table = "text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(TEXTS, labels, strict=True))
    (tmp_path / "texts.csv").write_text(table)
    (tmp_path / "strange.csv").write_text("text,label\nnot good,happy\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")

    def run(*words):
        net = [] if "--net" in words else ["--net", f"{__name__}:bag"]
        code = main(["phrases", *words, *net])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_phrases_like_a_phrase_end_to_end(phrases, tmp_path, capsys):
    code, out, err = phrases("texts.csv", "--like", "not good", "--in", "film not good")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == [f"{__name__}:bag, filters, for negative", "unit 0: +3, 100% of it from the phrase"]
    assert [line.split() for line in lines[3:5]] == [
        ["phrase", "texts", "mean", "found", "in", "precision", "recall"],
        ["not", "good", "2", "+3", "2", "100.0%", "50.0%"],
    ]
    assert "rules  phrases-texts/phrases.csv" in out and "page   phrases-texts/explanation.html" in out
    made = tmp_path / "phrases-texts"
    rule = (made / "phrases.csv").read_text().splitlines()[1]
    assert rule.startswith("not good,2,3,6,2,1.0000,0.5000,") and "a film not good" in rule
    meta = json.loads((made / "meta.json").read_text())
    assert meta["corpus"]["texts"] == 7 and meta["left_out"] == {}
    page = (made / "explanation.html").read_text(encoding="utf-8")
    assert "Phrases like “not good”: filters, unit 0, for negative" in page and "<script" not in page
    assert main(["show", str(made)]) == 0
    assert capsys.readouterr().out.startswith("\n".join(lines[:5]))


def test_phrases_of_units_by_number(phrases, tmp_path):
    code, out, _ = phrases("texts.txt", "--units", "0,2", "--of", "Class('negative')", "--chunk", "5", "--least", "1")
    assert code == 0 and "unit 0\nunit 2\n" in out and "not a good  1" in out
    code, out, _ = phrases("texts.txt", "--units", "0", "--of", "Class('negative')", "--least", "9")
    assert code == 0 and "No phrase carries a positive contribution of these units in 9 texts. --least 1 shows" in out


def test_texts_that_were_left_out_are_told(phrases, tmp_path):
    (tmp_path / "long.txt").write_text("not good\n" + "film " * 9)
    code, out, err = phrases("long.txt", "--like", "not good", "--of", "Class('negative')", "--least", "1")
    assert code == 1 and "not good" in out and "and this net reads at most 6" in err
    assert "<h2>Not read</h2>" in (tmp_path / "phrases-long" / "explanation.html").read_text()


LESSONS = {
    "neither": (["texts.txt", "--of", "Class(0)"], "Name a phrase that units look at, --like 'not good', or the units"),
    "both": (["texts.txt", "--like", "good", "--units", "1"], "Name a phrase that units look at, --like 'not good'"),
    "no behaviour": (["texts.txt", "--units", "1"], "Say which behaviour the units are to contribute to: --of"),
    "words": (["texts.txt", "--units", "a", "--of", "Class(0)"], "--units a: write numbers between commas, 3,17."),
    "units": (["texts.txt", "--units", "9", "--of", "Class(0)"], "unit 9 is out of range"),
    "phrase": (["texts.txt", "--like", "bad", "--in", "not good"], "'bad' is not in 'not good'."),
    "empty": (["texts.txt", "--like", ""], "A text is empty"),
    "least": (["texts.txt", "--like", "good", "--least", "0"], "--least 0: give 1 or more."),
    "longest": (["texts.txt", "--like", "good", "--longest", "0"], "--longest 0: give 1 or more."),
    "share": (["texts.txt", "--like", "good", "--share", "2"], "--share 2: give a part, 0 to 1."),
    "chunk": (["texts.txt", "--like", "good", "--chunk", "0"], "--chunk 0: give 1 or more."),
    "baseline": (["texts.txt", "--like", "good", "--baseline", "blur"], "The baseline 'blur' is none of a text's"),
    "file": (["nothing.txt", "--like", "good"], "There is no file nothing.txt of texts."),
    "column": (["other.csv", "--like", "good"], "none of these is the texts' column"),
    "label": (["strange.csv", "--like", "good"], "This net has no class 'happy'. It has negative, positive."),
    "photos": (["texts.txt", "--like", "good", "--net", "efficientnet-lite0"], "This net reads photos and no texts"),
    "place": (["texts.txt", "--like", "good", "--at", "nowhere"], "This net has no module 'nowhere'."),
    "folder": (["texts.txt", "--like", "good", "--out", "texts.txt"], "texts.txt is a file. Name a folder"),
}


@pytest.mark.parametrize("name", LESSONS)
def test_what_the_command_cannot_do_is_a_lesson(phrases, tmp_path, name):
    words, lesson = LESSONS[name]
    there = sorted(tmp_path.iterdir())
    code, out, err = phrases(*words)
    assert (code, out) == (1, "")
    assert err.startswith("influent: ") and lesson in err and err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == there


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit, RuntimeError, inf.InputError])
def test_a_run_that_is_stopped_leaves_what_was_there(phrases, tmp_path, monkeypatch, failure):
    assert phrases("texts.txt", "--like", "not good", "--of", "Class(0)")[0] == 0
    made = tmp_path / "phrases-texts"
    before = {f.name: f.read_bytes() for f in made.iterdir()}

    def fails(*words):
        raise failure("stopped here")

    monkeypatch.setattr("influent.harvest.phrases_page", fails)
    try:
        code, out, _ = phrases("texts.txt", "--units", "2", "--of", "Class(0)")
        assert code in (1, 130) and out == ""
    except (SystemExit, RuntimeError) as error:
        assert isinstance(error, failure)
    assert {f.name: f.read_bytes() for f in made.iterdir()} == before
    assert sorted(f.name for f in tmp_path.iterdir()) == [
        "other.csv",
        made.name,
        "strange.csv",
        "texts.csv",
        "texts.txt",
    ]
