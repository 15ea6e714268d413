"""Texts as tokens: what the tokens are, where they stand, how rows are padded, and whose value a word gets."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import influent as inf
from influent.errors import InputError, QuestionError
from influent.text import TextTransform, Words
from tests.texts import FAMILY, byte_level, sentence_pieces, wordpiece

WORDS = Words(["is", "n't", "it", "'s", "good", "not"])
MARKED = "e\u0301te\u0301"  # été, its accents apart


def parts(text):
    return [text[a:b] for a, b in WORDS.numbered(text)[1]]


# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It isn't good.", ["It", "is", "n't", "good", "."]),
        ("It isn’t good", ["It", "is", "n’t", "good"]),
        ("ISN'T IT", ["IS", "N'T", "IT"]),
        ("can't won't", ["ca", "n't", "wo", "n't"]),
        ("it's, it’s", ["it", "'s", ",", "it", "’s"]),
        ("wouldn't've", ["would", "n't", "'ve"]),
        ("ant isnt in't", ["ant", "isnt", "i", "n't"]),
        ("the '70s", ["the", "'70s"]),
        ("...!?", [".", ".", ".", "!", "?"]),
        ("3.5 x_1", ["3", ".", "5", "x_1"]),
        (f"so {FAMILY}{FAMILY}!", ["so", FAMILY, FAMILY, "!"]),
        ("👍🏽❤️\u200d🔥1️⃣", ["👍🏽", "❤️\u200d🔥", "1️⃣"]),
        ("🇫🇷🇩🇪🇫", ["🇫🇷", "🇩🇪", "🇫"]),
        ("🏴\U000e0067\U000e0062\U000e007f x", ["🏴\U000e0067\U000e0062\U000e007f", "x"]),
        (f"{MARKED} ok", [MARKED, "ok"]),
        ("הסרט לֹא טוֹב", ["הסרט", "לֹא", "טוֹב"]),
        ("الفيلم ليسَ جيدًا", ["الفيلم", "ليسَ", "جيدًا"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("अच्छी नहीं", ["अच्छी", "नहीं"]),
        ("ดีมาก", ["ดีมาก"]),
        ("good\tnot\n\nit", ["good", "not", "it"]),
        (" \n\t", []),
    ],
)
def test_where_words_come_apart(text, words):
    assert parts(text) == words


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(f"n't's’ {FAMILY}\u0301🇫🇷א"), max_size=30))
def test_words_lie_in_order_and_leave_nothing_out_but_white_space(text):
    numbers, places = WORDS.numbered(text)
    assert len(numbers) == len(places)
    end = 0
    for a, b in places:
        assert end <= a < b
        assert not text[end:a].strip()
        end = b
    assert not text[end:].strip()
    # No word begins with what belongs to the sign before it.
    assert not any(a and not text[a - 1].isspace() and unicodedata.category(text[a])[0] == "M" for a, _ in places)


def test_numbers_begin_behind_padding_and_the_unknown():
    assert WORDS.numbered("It isn’t GOOD, not!")[0] == [4, 2, 3, 6, 1, 7, 1]
    assert [WORDS.name(k) for k in range(4)] == ["[PAD]", "[UNK]", "is", "n't"]
    exact = Words(["It", "it"], lower=False)
    assert exact.numbered("It it IT")[0] == [2, 3, 1]


# Reading


def test_offsets_say_what_tokens_are():
    text = "This isn't UNgood 😀"
    made = TextTransform(wordpiece())(text)
    said = [None if s is None else text[slice(*s)] for s in made.spans[0]]
    assert said == [None, "This", "isn", "'", "t", "UN", "good", "😀", None]
    assert made.names[0] == ("[CLS]", "this", "isn", "'", "t", "un", "##good", "[UNK]", "[SEP]")
    assert made.words[0] == (None, 0, 1, 2, 3, 4, 4, 5, None)
    assert made.kept[0].tolist() == [True, *[False] * 7, True]
    made = TextTransform(WORDS)("not so good")
    assert (made.spans[0], made.words[0]) == (((0, 3), (4, 6), (7, 11)), (0, 1, 2))
    assert made.names == (("not", "[UNK]", "good"),)


@pytest.mark.parametrize("side", ["left", "right"])
def test_shorter_texts_are_padded_on_the_right_whatever_the_tokenizer_would_do(side, monkeypatch):
    monkeypatch.setattr(wordpiece(), "padding_side", side)
    long, short = "this is not good", "good"
    made = TextTransform(wordpiece())([long, short])
    ids = [wordpiece()(text)["input_ids"] for text in (long, short)]
    assert made.ids.tolist() == [ids[0], ids[1] + [0, 0, 0]]
    assert made.inputs["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert made.padding.tolist() == [[False] * 6, [False] * 3 + [True] * 3]
    assert made.kept.tolist() == [[True, *[False] * 4, True], [True, False, *[True] * 4]]
    assert [len(row) for rows in (made.spans, made.words, made.names) for row in rows] == [6] * 6
    assert len(made) == 2 and made.texts == (long, short)


def test_padding_without_a_padding_token_is_token_0():
    made = TextTransform(byte_level())(["this is good", "this"])
    assert byte_level().pad_token_id is None
    assert made.ids[1].tolist() == [byte_level().get_vocab()["this"], 0, 0]
    assert made.inputs["attention_mask"][1].tolist() == [1, 0, 0]


def test_what_else_a_tokenizer_gives_is_passed_on_and_padded(monkeypatch):
    monkeypatch.setattr(wordpiece(), "model_input_names", ["input_ids", "token_type_ids", "attention_mask"])
    made = TextTransform(wordpiece())(["this is good", "good"])
    assert set(made.inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    assert made.inputs["token_type_ids"].tolist() == [[0] * 5] * 2


def test_short_texts_are_filled_up_to_what_a_net_needs():
    made = TextTransform(WORDS, least=5)(["good", "not good"])
    assert made.ids.tolist() == [[6, 0, 0, 0, 0], [7, 6, 0, 0, 0]]
    assert made.padding.tolist() == made.kept.tolist() == [[False] + [True] * 4, [False] * 2 + [True] * 3]
    assert TextTransform(WORDS, least=2)("not so good").ids.shape == (1, 3)


def test_a_text_alone_is_a_row():
    made = TextTransform(WORDS)("not good")
    assert made.texts == ("not good",) and made.ids.tolist() == [[7, 6]]
    assert repr(made) == "Text('not good')"
    assert repr(TextTransform(WORDS)(["it"] * 5)) == "Text('it', 'it', 'it', …)"


def test_texts_compare_by_checksum_in_a_question():
    read = TextTransform(WORDS)
    same, other = inf.Line("pad", read("not good")), inf.Line("pad", read("good"))
    assert same == inf.Line("pad", read("not good")) != other
    assert inf.parse(repr(same)) == same
    assert same != inf.Line("pad", TextTransform(Words(["good"]))("not good"))  # other tokens
    assert "'not good'" in repr(same)
    assert repr(inf.Point(read(["it " * 30, "a"]))).endswith("…' and 1 more\"))")


# Limits


@pytest.mark.parametrize(("tokenizer", "length"), [(WORDS, 4), (wordpiece(), 6), (byte_level(), 4)])
def test_a_text_of_just_the_limit_is_read_and_one_token_more_is_a_lesson(tokenizer, length):
    text = "it is not good"
    assert TextTransform(tokenizer, limit=length)(text).ids.shape == (1, length)
    with pytest.raises(
        InputError,
        match=rf"^The text 'it is not good' has {length} tokens, and this net reads at most {length - 1}\. Shorten it, "
        r"or have its end cut off: net\.read\(text, truncate=True\), --truncate\.$",
    ):
        TextTransform(tokenizer, limit=length - 1)(["good", text])


def test_what_is_cut_off_is_the_end_and_only_where_that_is_asked():
    read = TextTransform(wordpiece(), limit=5)
    made = read(["this is not good at all", "good"], truncate=True)
    assert made.names[0] == ("[CLS]", "this", "is", "not", "[SEP]")
    assert made.names[1][:3] == ("[CLS]", "good", "[SEP]")
    with pytest.raises(InputError, match="has 8 tokens"):  # the tokenizer remembers nothing
        read("this is not good at all")
    assert TextTransform(WORDS, limit=2)("it is not", truncate=True).ids.tolist() == [[4, 2]]
    assert TextTransform(WORDS)("it is not", truncate=True).ids.shape == (1, 3)  # no limit, nothing to cut


def test_long_texts_are_shown_by_their_beginning():
    with pytest.raises(InputError, match=r"^The text '(is ){19}is…' has 500 tokens"):
        TextTransform(WORDS, limit=9)("is " * 500)


# Answers


def test_an_answer_begins_with_the_start_token_and_has_no_special_ones():
    vocab = wordpiece().get_vocab()
    read = TextTransform(wordpiece(), start=4)
    made = read(["this is good", "good"], answer=["a fine film", ""])
    written = [vocab[word] for word in ("a", "fine", "film")]
    assert made.inputs["decoder_input_ids"].tolist() == [[4, *written], [4, 4, 4, 4]]
    assert made.inputs["decoder_attention_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert read("good").inputs["decoder_input_ids"].tolist() == [[4]]
    assert read("good", answer="film").inputs["decoder_input_ids"].tolist() == [[4, vocab["film"]]]


def test_answers_that_do_not_fit():
    with pytest.raises(InputError, match=r"^answer= is for nets that read one text and write another\. Give this net"):
        TextTransform(wordpiece())("good", answer="film")
    with pytest.raises(InputError, match=r"^There are 1 answers for 2 texts\. Give one for each\.$"):
        TextTransform(wordpiece(), start=0)(["good", "bad"], answer="film")


# What is no text


@pytest.mark.parametrize("empty", ["", "  \n", ["good", ""], [], "\u00a0"])
def test_empty_texts(empty):
    with pytest.raises(InputError, match=r"^A text is empty: there is nothing to explain\. Give one with a word in it"):
        TextTransform(WORDS)(empty)


def test_texts_of_which_no_token_is_left():
    with pytest.raises(InputError, match=r"^The text '\\u200b' has no word in it that could be explained\.$"):
        TextTransform(wordpiece())("\u200b")


@pytest.mark.parametrize(("thing", "name"), [(3, "int"), (b"good", "bytes"), (None, "NoneType"), (["good", 3], "list")])
def test_what_is_no_text(thing, name):
    with pytest.raises(InputError, match=rf"^This net reads texts, not a {name}: net\.read\('this is not good'\), "):
        TextTransform(WORDS)(thing)


@pytest.mark.parametrize("tokenizer", [WORDS, wordpiece()])
def test_half_a_character(tokenizer):
    with pytest.raises(InputError, match=r"^The text 'caf\\udce9' holds half a character \(a lone surrogate\)"):
        TextTransform(tokenizer)(["good", "caf\udce9"])


def test_tokenizers_that_do_not_say_where_their_tokens_stand():
    class Slow:
        is_fast = False

    with pytest.raises(InputError, match=r"^Slow does not say where in a text its tokens stand\. Give a fast tokenize"):
        TextTransform(Slow())("good")


# Pieces


def values(made):
    """1, 10, 100, ... so that a sum says of what it is one."""
    return (10.0 ** torch.arange(made.ids.shape[1])).expand(made.ids.shape)


def shown(pieces):
    return [(p.text, p.start, p.end, p.value) for p in pieces]


def test_tokens_of_a_word_are_summed():
    made = TextTransform(wordpiece())("ungood goods!")
    assert made.names[0] == ("[CLS]", "un", "##good", "good", "##s", "[UNK]", "[SEP]")
    assert shown(made.pieces(values(made))) == [
        ("ungood", 0, 6, 110.0), ("goods", 7, 12, 11000.0), ("!", 12, 13, 100000.0)
    ]  # fmt: skip
    assert shown(made.pieces(values(made), words=False)) == [
        ("un", 0, 2, 10.0), ("good", 2, 6, 100.0), ("good", 7, 11, 1000.0), ("s", 11, 12, 10000.0),
        ("!", 12, 13, 100000.0),
    ]  # fmt: skip


def test_special_tokens_stand_where_they_are_read_and_padding_never_does():
    made = TextTransform(wordpiece())(["this is not good", "good"])
    assert shown(made.pieces(values(made), row=1)) == [("good", 0, 4, 10.0)]
    assert shown(made.pieces(values(made), row=1, special=True)) == [
        ("[CLS]", 0, 0, 1.0), ("good", 0, 4, 10.0), ("[SEP]", 0, 0, 100.0)
    ]  # fmt: skip


@pytest.mark.parametrize("tokenizer", [byte_level, sentence_pieces])
def test_bytes_of_an_emoji_are_one_piece(tokenizer):
    text = f"good {FAMILY} film"
    made = TextTransform(tokenizer())(text)
    inside = [span for span in made.spans[0] if span is not None and span[0] >= 5 and span[1] <= 10]
    assert len(inside) == len(FAMILY.encode()) == 18
    ones = torch.ones(made.ids.shape)
    words = made.pieces(ones)
    assert [p.text for p in words] == ["good", FAMILY, "film"]
    # Llama 2 has the space before the emoji as a token of its own; in GPT-2's it stands nowhere in the text.
    assert words[1].value == 18 + (tokenizer is sentence_pieces)
    signs = [p for p in made.pieces(ones, words=False) if p.text in FAMILY and p.text]
    assert [(p.text, p.value) for p in signs] == [(sign, len(sign.encode())) for sign in FAMILY]


def test_words_of_a_tokenizer_that_takes_a_text_as_one():
    made = TextTransform(sentence_pieces())("this isn't  good, Paris")
    assert set(sentence_pieces()("this isn't  good, Paris").word_ids()) == {None, 0}
    # The second of two spaces is a token, and stands alone.
    assert [p.text for p in made.pieces(values(made))] == ["this", "isn't", "", "good,", "Paris"]
    assert sum(p.value for p in made.pieces(values(made))) == values(made).sum() - 1  # all but <s>


@given(st.lists(st.sampled_from(["good", "ungood", "isn't", "Paris", FAMILY, "😀", MARKED, "לא", "x"]), min_size=1))
def test_nothing_is_lost_in_pieces(words):
    for tokenizer in (wordpiece(), byte_level(), sentence_pieces(), WORDS):
        made = TextTransform(tokenizer)(" ".join(words))
        given_ = torch.arange(1.0, made.ids.numel() + 1)[None]
        for whole in (True, False):
            found = made.pieces(given_, words=whole)
            assert sum(p.value for p in found) == given_[~made.kept].sum()
            assert all(a.end <= b.start for a, b in pairwise(found))


def test_values_of_another_shape_are_a_lesson():
    made = TextTransform(WORDS)("not good")
    for wrong in (torch.zeros(2), torch.zeros(1, 3), torch.zeros(1, 2, 4)):
        with pytest.raises(QuestionError, match=r"and the texts have tokens \[1, 2\]\. Ask for values by token: at="):
            made.pieces(wrong)


# Tokens by name


def test_a_token_by_its_number_or_its_text():
    read, vocab = TextTransform(byte_level()), byte_level().get_vocab()
    assert read.number(7) == 7
    assert read.number(" good") == read.number("Ġgood") == vocab["Ġgood"]
    assert read.number("is") == vocab["is"] != vocab["Ġis"] == read.number(" is")
    assert read.spelling(vocab["Ġgood"]) == " good" and read.name(vocab["Ġgood"]) == "Ġgood"
    read = TextTransform(wordpiece())
    assert (read.number("[MASK]"), read.number("##s")) == (4, wordpiece().get_vocab()["##s"])
    assert read.number("GOOD") == wordpiece().get_vocab()["good"]
    read = TextTransform(WORDS)
    assert (read.number("Good"), read.spelling(6), read.name(0)) == (6, "good", "[PAD]")


def test_the_tokens_of_a_continuation_have_no_special_ones():
    vocab = wordpiece().get_vocab()
    assert TextTransform(wordpiece()).numbers("not good") == [vocab["not"], vocab["good"]]
    assert TextTransform(WORDS).numbers("not good") == [7, 6]


def test_special_tokens_by_name():
    assert [TextTransform(wordpiece()).special(name) for name in ("pad", "mask")] == [0, 4]
    assert [TextTransform(byte_level()).special(name) for name in ("pad", "mask")] == [None, None]
    assert [TextTransform(WORDS).special(name) for name in ("pad", "mask")] == [0, None]


def test_a_text_of_several_tokens_is_none():
    vocab = wordpiece().get_vocab()
    with pytest.raises(
        QuestionError,
        match=rf"^'not good' is 2 tokens of this net, not one: {vocab['not']} \('not'\), {vocab['good']} \('good'\)\. "
        r"Name one of them, or ask for all in a row: Continuation\('not good'\)\.$",
    ):
        TextTransform(wordpiece()).number("not good")
    with pytest.raises(QuestionError, match=r"^'' is 0 tokens of this net, not one: none\."):
        TextTransform(wordpiece()).number("")


@pytest.mark.parametrize("tokenizer", [WORDS, wordpiece()])
def test_a_token_that_is_not_known_is_not_the_unknown_one(tokenizer):
    with pytest.raises(QuestionError, match=r"^'zebra' is none of this net's tokens: it reads \[UNK\] in its place\."):
        TextTransform(tokenizer).number("zebra")
    assert tokenizer is WORDS or TextTransform(tokenizer).number("[UNK]") == 1
