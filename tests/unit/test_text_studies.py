"""What the text studies are trained and reported on, their own arithmetic by hand, and what they say without data."""

import importlib
import json
import math
import os
from pathlib import Path

import pytest
import torch

import influent as inf

STUDIES = Path(__file__).parents[2] / "studies"
NETS = STUDIES / "results" / "text-nets.json"


@pytest.fixture
def study(monkeypatch):
    """A study, or what they share, by name."""
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module


def needs(file):
    return pytest.mark.skipif(
        "INFLUENT_DATA" not in os.environ or not (Path(os.environ["INFLUENT_DATA"]) / file).is_file(),
        reason=f"INFLUENT_DATA names no folder with {file}",
    )


needs_treebank = needs("sst/test.trees.txt.gz")
needs_questions = needs("wikitablequestions/random-split-1-dev.tsv.gz")

# The treebank


def test_a_tree_and_its_phrases(study):
    found = study("_text").sentence("(3 (2 A) (4 (4 (2 -LRB-) (4 good\\/great)) (1 film)))")
    assert (found.text, found.sentiment) == ("A ( good/great film", 3)
    assert found.phrases[0] == ("A ( good/great film", 3)
    assert sorted(found.phrases[1:]) == sorted(
        [("A", 2), ("( good/great film", 4), ("( good/great", 4), ("(", 2), ("good/great", 4), ("film", 1)]
    )


def test_polar_texts(study):
    pairs = [("a", 0), ("b", 2), ("c", 3), ("a", 4), ("d", 1)]
    # The first of two; neutral ones left out. The order is the training's, and fixed: the weights hang on it.
    assert study("_text").polar(pairs) == [("c", 1), ("a", 0), ("d", 0)]


def test_words_of_two_texts(study):
    # "good" twice in one text counts once; equal counts by the alphabet.
    assert study("_text").vocabulary(["Good good film", "a film", "a b"]) == ["a", "film"]


@needs_treebank
def test_no_sentence_is_trained_on_and_reported_on(study):
    parts = study("_text").sentiments()
    assert (len(parts.held_out), len(parts.sentences), len(parts.test)) == (4011, 7344, 1821)
    aside = {text.lower() for text in parts.held_out} | {text.lower() for text, _ in parts.stopping}
    assert not aside & {text.lower() for text, _ in parts.train}
    assert {text for text, _ in parts.test} <= set(parts.held_out)


@needs_treebank
def test_the_accuracies_of_the_sentiment_nets_are_those_written_down(study):
    text = study("_text")
    test = text.polar([(s.text, s.sentiment) for s in text.treebank("test")])
    written = json.loads(NETS.read_text(encoding="utf-8"))["nets"]
    for name, net in (("textcnn-sentiment", inf.zoo.load("textcnn-sentiment")), ("encoder", text.encoder())):
        assert text.accuracy(net, test) == pytest.approx(written[name]["accuracy, %"], abs=0.2)


# Questions


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("Bangkok|Incheon", "list"), ("1969|1983", "list"), ("Yes", "boolean"), ("no", "boolean"), ("True", "boolean"),
        ("2004", "date"), ("1999-2000", "date"), ("2011/12", "date"), ("1960s", "date"), ("April", "date"),
        ("November 2009", "date"), ("28 February 2012", "date"), ("August 15, 2009", "date"), ("06/05/91", "date"),
        ("1959-10-03", "date"), ("Saturday, May 11", "date"), ("27-May-75", "date"), ("Jan. 26", "date"),
        ("4", "numeric"), ("1,500", "numeric"), ("2,004", "numeric"), ("14373", "numeric"), ("-3.5", "numeric"),
        (".5", "numeric"), ("$601,860", "numeric"), ("14.0%", "numeric"), ("33 years", "numeric"), ("5th", "numeric"),
        ("1400", "numeric"), ("2100", "numeric"), ("56 m", "numeric"),
        ("Derby County", "string"), ("2003 World Championships", "string"), ("3:02.57", "string"), ("4-2", "string"),
        ("Mayfield", "string"), ("May Day", "string"), ("KM-45 Series", "string"), ("1 year, 5 months", "string"),
        ("$", "string"), ("none", "string"),
    ],
)  # fmt: skip
def test_the_kind_of_an_answer(study, target, kind):
    assert study("_text").answer_type(target) == kind


@needs_questions
def test_questions_are_parted(study):
    parts = study("_text").questions()
    assert (len(parts.train), len(parts.stopping), len(parts.test)) == (10321, 1000, 2831)
    assert {label for _, label in parts.test} == set(range(5))


@needs_questions
def test_the_accuracy_of_the_question_net_is_the_one_written_down(study):
    text = study("_text")
    written = json.loads(NETS.read_text(encoding="utf-8"))["nets"]["textcnn-questions"]["accuracy, %"]
    found = text.accuracy(inf.zoo.load("textcnn-questions"), text.asked("random-split-1-dev"))
    assert found == pytest.approx(written, abs=0.2)


# Training


def test_a_batch_holds_each_text_once(study):
    nets = study("text_nets")
    rows = [([k + 2] * (k % 9 + 1), k % 2) for k in range(150)]
    found = list(nets.batches(rows, torch.Generator().manual_seed(0)))
    assert sorted(int(row[0]) for ids, _, _ in found for row in ids) == list(range(2, 152))
    for ids, mask, labels in found:
        assert ids.shape[1] >= 6 and torch.equal(mask, (ids > 0).long())
        assert labels.tolist() == [int(row[0]) % 2 for row in ids]


# Filters of questions


def test_filters_of_each_kind_in_turn(study):
    scores = torch.tensor([[5.0, 4.0, 3.0, 0.0], [9.0, 1.0, 2.0, 8.0]])
    # Label 0 names 0, label 1 names 0 again, then 1 and 3, then 2.
    assert study("feature_selection_text").in_turn(scores, torch.tensor([0, 1])).tolist() == [0, 1, 3, 2]


def test_scores_of_questions_do_not_depend_on_the_batch(study):
    selection, net = study("feature_selection_text"), inf.zoo.load("textcnn-questions")
    texts = ["how many people live there?", "who was the first president after the war was over?"]
    both, alone = selection.scores(net, texts, 9), selection.scores(net, texts[:1], 9)
    for method in selection.METHODS:
        assert torch.allclose(both[method][:1], alone[method], atol=1e-4)
    assert torch.equal(both["said"], torch.tensor([0, 3]))


# Words


def test_indicative_words(study):
    words = study("question_words")

    def told(kind, *pieces):
        return words.Told("", tuple(inf.text.Piece(w, 0, 1, v) for w, v in pieces), kind, 0.0)

    some = [told(0, ("How", 1.0), ("how", 2.0), ("far", 9.0)), told(0, ("how", 5.0)), told(1, ("how", 100.0))]
    found = words.indicative(some, least=2)
    # 1 + 2 and 5: mean 4, deviation √2, over √2 questions.
    assert found["numeric"] == [{"word": "how", "mean": 4, "stderr": pytest.approx(1), "count": 2}]
    assert found["date"] == []
    assert words.named(found["numeric"]) == found["numeric"] and words.named(found["numeric"], sign=-1) == []


# Negation


def test_words_of_negation(study):
    negation = study("negation")
    assert all(map(negation.is_negated, ["it isn’t", "It is n't", "NEVER dull", "less than nice"]))
    assert not any(map(negation.is_negated, ["a notable knot", "nice"]))


def test_wilsons_interval(study):
    found = study("negation").share(torch.tensor([True] * 10))
    # At p = 1 the lower end is n / (n + z²).
    assert (found["percent"], found["high"]) == (100, pytest.approx(100))
    assert found["low"] == pytest.approx(100 * 10 / (10 + 1.959964**2))
    assert math.isclose(study("negation").share(torch.tensor([True, False]))["percent"], 50)


def test_filters_of_the_largest_share(study):
    # 0.999 and 1.001 are one hundredth: the order in which they come decides.
    assert study("negation").furthest({7: 0.5, 3: 0.999, 5: 1.001, 9: 0.6}) == [3, 5, 9]


# Lessons


@pytest.mark.parametrize("name", ["text_nets", "feature_selection_text", "question_words", "negation"])
def test_without_data(study, monkeypatch, capsys, tmp_path, name):
    monkeypatch.delenv("INFLUENT_DATA", raising=False)
    assert study(name).main([]) == 2
    assert "INFLUENT_DATA is not set" in capsys.readouterr().err
    monkeypatch.setenv("INFLUENT_DATA", str(tmp_path))
    assert study(name).main([]) == 2
    said = capsys.readouterr().err
    assert "There is no file" in said and "studies/README.md says where to get them" in said


def test_one_split_is_too_few(study, capsys):
    assert study("feature_selection_text").main(["--splits", "1"]) == 2
    assert "Type --splits 2 or more: an error needs two." in capsys.readouterr().err
