"""Texts in colours: what is coloured, that nothing is added, cut or left unescaped, and whether it can be read."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import influent as inf
from influent.errors import QuestionError, StoreError
from influent.text import Piece, TextTransform, Words
from influent.views.headmap import HeadMap
from influent.views.palette import luminance, signed_hex
from influent.views.reading import Reading, Row
from influent.views.sentence import Sentence
from influent.views.text import harmless, painted
from influent.views.text_page import TextSection, text_page

CODES = re.compile(r"\x1b\[(?:48;2;\d+;\d+;\d+|38;2;\d+;\d+;\d+|0)m")
FAMILY, THUMB = "👩\u200d👩\u200d👧", "👍🏽"


def sentence(text: str, values: list[float] | None = None, pattern: str = r"\S+") -> Sentence:
    """The words of a text, the first +1, the next −1, ..."""
    found = list(re.finditer(pattern, text))
    values = values or [1.0 - 2.0 * (k % 2) for k in range(len(found))]
    return Sentence(text, tuple(Piece(m[0], *m.span(), v) for m, v in zip(found, values, strict=True)))


def spans(html: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(html).iter("span"))


def style(element: ElementTree.Element, name: str) -> str:
    return dict(part.strip().split(": ") for part in element.get("style").split(";") if part.strip())[name]


@st.composite
def sentences(draw: st.DrawFn) -> Sentence:
    """Any text, with pieces at any places in it."""
    signs = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(f"\n {FAMILY}{THUMB}🇫🇷🇩🇪é\u0301אبดี")
    text = draw(st.text(signs, max_size=30))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    values = st.floats(-1e6, 1e6)
    kept = [(a, b) for a, b in pairwise(cuts) if draw(st.booleans())]
    return Sentence(text, tuple(Piece(text[a:b], a, b, draw(values)) for a, b in kept))


# What is shown is the text


@given(sentences())
def test_a_terminal_gets_the_text_and_codes_alone(made):
    assert CODES.sub("", made.ansi()) == made.text


@given(sentences())
def test_a_page_shows_the_text_unchanged(made):
    assert "".join(ElementTree.fromstring(made.html()).itertext()) == made.text


@given(sentences())
def test_nothing_is_lost_where_pieces_that_cut_a_sign_become_one(made):
    shown = math.fsum(p.value for p in made.shown)
    assert shown == pytest.approx(math.fsum(p.value for p in made.pieces), abs=1e-6)


def test_what_stands_between_the_pieces_has_no_value():
    made = Sentence("not so good!", (Piece("not", 0, 3, -1.0), Piece("good", 7, 11, 0.5)))
    assert [(s.text, s.get("title")) for s in spans(made.html())] == [("not", "-1"), ("good", "+0.5")]
    assert made.plain() == "not(-1) so good(+0.5)!"
    assert Sentence("", ()).html().endswith("></bdi>")


def test_white_space_of_a_token_is_not_coloured():
    made = sentence(" not  good\n", pattern=r"\s*\S+|\s+")
    assert [s.text for s in spans(made.html())] == ["not", "good", "\n"]
    assert made.plain() == " not(+1)  good(-1)\n(+1)"


def test_the_pieces_of_a_text_as_a_net_reads_it():
    text = TextTransform(Words(["not", "good"]))("not good at all")
    made = Sentence(text.texts[0], text.pieces(torch.tensor([[-1.0, 0.5, 0.0, 0.25]])))
    assert made.plain() == "not(-1) good(+0.5) at(+0) all(+0.25)"


def test_markup_in_a_text_is_text():
    made = sentence('<script>alert("x")</script> & <b>')
    assert "<script>" not in made.html() and "<b>" not in made.html()
    assert [s.text for s in spans(made.html())] == ['<script>alert("x")</script>', "&", "<b>"]
    made = Reading("<i>", [Row("<u>", '"><s>', made)])
    assert not re.search("<(script|b|i|u|s)>", made.html())


def test_special_tokens_stand_where_they_are_read():
    pieces = (Piece("[CLS]", 0, 0, 0.5), Piece("not", 0, 3, -1.0), Piece("good", 4, 8, 1.0), Piece("[SEP]", 0, 0, 0.0))
    made = Sentence("not good", pieces)
    assert made.plain() == "[CLS](+0.5) not(-1) good(+1) [SEP](+0)"
    assert CODES.sub("", made.ansi()) == "[CLS] not good [SEP]"
    assert [("border" in s.get("style").replace("border-radius", ""), s.text) for s in spans(made.html())] == [
        (True, "[CLS]"), (False, "not"), (False, "good"), (True, "[SEP]"),
    ]  # fmt: skip
    assert Sentence("", pieces[:1]).plain() == "[CLS](+0.5)"


# Scripts, emoji, accents


def test_a_text_decides_on_its_direction_itself():
    for text in ("לא טוב", "ليس جيدا", "not good"):
        root = ElementTree.fromstring(sentence(text).html())
        assert (root.tag, root.get("dir"), style(root, "text-align")) == ("bdi", "auto", "start")
        assert [s.text for s in root.iter("span")] == text.split()


def test_nothing_stands_between_tokens_of_one_arabic_word_so_that_its_letters_join():
    for element in spans(sentence("ليس", pattern=".").html()):
        assert style(element, "padding") == ".1em 0" and "margin" not in element.get("style")


@pytest.mark.parametrize(
    ("sign", "what"),
    [
        (FAMILY, "joined emoji"), (THUMB, "with a colour of skin"), ("❤\ufe0f", "as emoji"), ("1\ufe0f\u20e3", "key"),
        ("🇫🇷", "flag"), ("ก\u0e35\u0e48", "Thai"), ("की", "Hindi"), ("\u1112\u1161\u11ab", "Korean"),
        ("🏴\U000e0067\U000e0062\U000e007f", "flag of a region"), ("جً", "Arabic vowel"), ("e\u0301", "accent"),
    ],
)  # fmt: skip
def test_what_is_read_as_one_sign_is_never_cut(sign, what):
    made = sentence(f"a{sign}b", [1.0, *[0.25] * len(sign), -1.0], pattern=r"(?s:.)")
    assert [(s.text, s.get("title")) for s in spans(made.html())] == [
        ("a", "+1"), (sign, f"{0.25 * len(sign):+.3g}"), ("b", "-1"),
    ]  # fmt: skip
    # An accent that no token stands for goes with its letter.
    assert [s.text for s in spans(Sentence(sign, (Piece(sign[0], 0, 1, 1.0),)).html())] == [sign]
    special = Sentence(sign, (Piece("", 0, 1, 1.0), Piece("[X]", 0, 0, 0.0), Piece("", 1, len(sign), 1.0)))
    assert sorted(s.text for s in spans(special.html())) == sorted([sign, "[X]"])


def test_flags_are_pairs_and_emoji_side_by_side_are_two():
    assert sentence("🇫🇷🇩🇪", pattern=".").plain() == "🇫🇷(+0)🇩🇪(+0)"
    assert sentence("👍👍", pattern=".").plain() == "👍(+1)👍(-1)"


def test_control_characters_are_seen_and_not_obeyed_in_a_terminal():
    made = sentence("a\x1b[2Jb\x9b\x7f\r\nc\rd", [1.0], pattern=r"^.")
    assert CODES.sub("", made.ansi()) == harmless(made.text) == "a␛[2Jb\ufffd␡\r\nc␍d"
    assert "\x1b" not in made.plain()


def test_a_line_ends_without_colour():
    assert CODES.sub("|", painted("a\nb", "#67001f")) == "||a|\n||b|"


# Colours


def test_red_is_for_blue_against_white_zero_and_sizes_are_symmetric():
    red, blue, white = (tuple(bytes.fromhex(c[1:])) for c in signed_hex([1.0, -1.0, 0.0], 1.0))
    assert red[0] > red[2] and blue[2] > blue[0] and min(white) > 240
    for part in (0.2, 0.5, 0.9):
        a, b = signed_hex([part, -part], 1.0)
        assert luminance(a) == pytest.approx(luminance(b), abs=0.1)
    assert signed_hex([3.0, -3.0], 1.0) == signed_hex([1.0, -1.0], 1.0)


@given(st.floats(-2, 2))
def test_every_word_can_be_read_on_its_colour_in_light_and_in_dark(value):
    made = sentence("so", [value])
    root = ElementTree.fromstring(made.html(1.0))
    pairs = [(style(e, "background"), style(e, "color")) for e in root.iter()]
    assert len(pairs) == 2
    ground, front = re.findall(r"8;2;(\d+);(\d+);(\d+)m", made.ansi(1.0))[:2]
    pairs.append(tuple("#" + bytes(map(int, c)).hex() for c in (ground, front)))
    for pair in pairs:
        low, high = sorted(map(luminance, pair))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_colours_saturate_at_the_largest_value_or_where_one_says():
    def grounds(html: str) -> list[str]:
        return [style(s, "background") for s in spans(html)]

    made = sentence("a b c", [2.0, -1.0, 0.0])
    assert grounds(made.html()) == signed_hex([1.0, -0.5, 0.0], 1.0) == grounds(made.html(2))
    assert grounds(made.html(1.0))[:2] == signed_hex([1.0, -1.0], 1.0)
    assert grounds(sentence("a", [0.0]).html()) == signed_hex([0.0], 1.0)
    assert Sentence("a", ()).largest == 0.0


# Several


def reading() -> Reading:
    return Reading(
        "What the units read",
        [Row("channel 31", "-1.2, 12 %", sentence("not good", [-2.0, 1.0])), Row("3", "", sentence("טוב", [0.5]))],
    )


def test_the_rows_of_a_table_have_one_scale():
    made = reading()
    root = ElementTree.fromstring(made.html())
    assert made.most == 2.0
    assert ["".join(h.itertext()) for h in root.iter("th")] == ["channel 31-1.2, 12 %", "3"]
    grounds = [style(s, "background") for s in root.iter("span") if s.get("title")]
    assert grounds == signed_hex([-1.0, 0.5, 0.25], 1.0)
    legend = "".join(root.find("table/caption").itertext())
    assert re.sub(r"\s+", " ", legend) == "What the units readRed speaks for, blue against: -2 +2"
    assert made._repr_html_() == made.html()
    assert Reading("none", []).most == 1.0


def test_the_rows_as_text_are_aligned():
    made = reading()
    assert str(made).splitlines() == [
        "What the units read", "channel 31  -1.2, 12 %  not(-2) good(+1)", "3                       טוב(+0.5)",
    ]  # fmt: skip
    assert CODES.sub("", made.ansi()).splitlines() == [
        "What the units read", "channel 31  -1.2, 12 %  not good", "3                       טוב",
        " against -2   for +2 ",
    ]  # fmt: skip
    assert repr(made) == "Reading('What the units read', 2 sentences): print(...), .ansi() or .save('name.html')"
    assert str(Reading("none", [])) == "none"


@pytest.mark.parametrize("text", ["so " * 40, "one\ntwo"])
def test_a_long_text_stands_below_its_name(text):
    lines = str(Reading("c", [Row("a", "b", sentence(text)), Row("d", "e", sentence("no"))])).split("\n")
    assert lines[:2] == ["c", "a  b"] and lines[-3:] == ["", "d  e", "no(+1)"]


def test_a_page_is_whole_and_loads_nothing(tmp_path):
    file = reading().save(tmp_path / "new" / "r.html")
    page = file.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "viewport" in page and "prefers-color-scheme: dark" in page
    assert not re.search(r"(src|href)=|url\(|@import", page) and page.count("What the units read") == 3
    assert [f.name for f in file.parent.iterdir()] == ["r.html"]
    Reading("half", [Row("a", "", Sentence("\ud800", ()))]).save(file)
    assert "?</bdi>" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: Sentence("not", (Piece("good", 4, 8, 1.0),)),
         "The piece 'good' is said to be at 4:8, and the text has 3 characters. Give the text that the pieces are of."),
        (lambda: Sentence("not good", (Piece("good", 4, 8, 1.0), Piece("not", 0, 3, 1.0))),
         ("The piece 'not' begins at 0, where the piece before it has not ended. Give pieces in the order of the text, "
          "none upon another: text.pieces(values) does.")),
        (lambda: Sentence("not", (Piece("not", 0, 3, math.nan),)), "The value of 'not' is nan: it has no colour."),
        (lambda: sentence("not").html(0.0), "most=0.0: the value at which colours saturate is above 0."),
        (lambda: reading().save("r.png"), "'r.png': sentences are saved as .html, not .png."),
        (lambda: reading().save("r"), "'r': sentences are saved as .html, not without an ending."),
    ],
)  # fmt: skip
def test_lessons(ask, says):
    with pytest.raises(QuestionError) as caught:
        ask()
    assert str(caught.value) == says


def test_a_page_that_cannot_be_written_is_a_lesson(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        reading().save(tmp_path / "file" / "r.html")


# What a net made of a text


READ = TextTransform(Words(["not", "good"]), least=3)


class Scored(nn.Module):
    """Class 0 is Σ of all channels of all tokens, class 1 its negative: `[text, token, channel] → [text, 2]`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = x.sum((1, 2))
        return torch.stack([score, -score], 1)


def asked(at: str = "INPUT/token", of: inf.Quantity | None = None, rows: int = 2, **manners) -> inf.Attribution:
    """Contributions to class 0: text by text and token by token, twice the numbers 0, 1, 2, ..."""
    net = inf.Net(Scored().eval(), **(manners or {"axes": {"INPUT": ("token", "channel")}}))
    x = torch.arange(3.0 * rows).reshape(rows, 3, 1).expand(-1, -1, 2).contiguous()
    return inf.influence(net, at, of or inf.Class(0), inf.Line(0 * x, x, n=3), inf.contribution)


def test_show_draws_a_row_for_each_text_with_its_words_summed():
    text = READ(["not so good", "good"])
    for a in (asked(), asked("INPUT")):
        made = inf.show(a, on=text)
        assert str(made).splitlines()[1:] == [
            "text 0  +6 in all  not(+0) so(+2) good(+4)", "text 1  +6 in all  good(+6)",
        ]  # fmt: skip
    assert inf.show(asked(), on=text).caption == "INPUT/token for class 0"


def test_a_row_taken_out_is_that_text():
    both, alone = READ(["not so good", "good"]), READ(["good"])
    assert str(inf.show(asked()[1], on=both)).endswith("\ntext 1  +6 in all  good(+6)")
    assert str(inf.show(asked()[1], on=alone)).endswith("\ntext 0  +6 in all  good(+6)")


@pytest.mark.parametrize(
    ("a", "on", "says"),
    [
        (lambda: asked("INPUT/channel"), "good",
         ("show draws the words of a text, and these units have the axes channel. Ask by token, where there are "
          'tokens: at="INPUT/token".')),
        (lambda: asked("INPUT", labels=["a", "b"]), "good",
         ("show draws the words of a text, and these units have axes that are not known. Say what they count: "
          'inf.Net(module, axes={"INPUT": ("token", "channel")}).')),
        (asked, "one two three four",
         ("These values are of 2 × 3 tokens (texts × tokens), and on= has 1 × 4. Give the texts that were "
          "explained, as net.read gave them.")),
        (lambda: asked(rows=3), ["not", "good"],
         ("These values are of 3 × 3 tokens (texts × tokens), and on= has 2 × 3. Give the texts that were "
          "explained, as net.read gave them.")),
        (lambda: asked().mean(["cat", "dog"]), ["not", "good"],
         ("These values are of 2 × 3 tokens (texts × tokens), and on= has 2 × 3. Give the texts that were "
          "explained, as net.read gave them.")),
        (lambda: asked(of=inf.Classes([0, 1])), ["not", "good"],
         "show draws one quantity, and this question has several. Ask for one: of=inf.Class(0)."),
    ],
)  # fmt: skip
def test_what_is_no_text_of_these_is_a_lesson(a, on, says):
    with pytest.raises(QuestionError) as caught:
        inf.show(a(), on=READ(on))
    assert str(caught.value) == says


# A page


def test_the_page_of_a_text_has_its_predictions_questions_units_heads_and_small_print():
    asked = TextSection(
        "Why <negative>?", sentence("not good", [-2.0, 1.0]), "gap 1e-7", reading(), HeadMap("Heads", [[1.0]]),
        {"question": "at='<emb>'", "velocity": ""},
    )  # fmt: skip
    page = text_page(
        "A & B", "not\n<b>good</b>", [("<neg>", 0.9), ("pos", 0.1)], [asked, TextSection("And?", asked.sentence)], 1.25
    )
    assert not re.search("<(b|neg|negative|emb)>", page) and not re.search(r"(src|href)=|url\(|@import", page)
    for text in ("<title>A &amp; B</title>", "not\n&lt;b&gt;good&lt;/b&gt;</blockquote>", "90.0 %",
                     "Why &lt;negative&gt;?",
                 "the strongest: 2.", "Completeness: gap 1e-7", "What the units read", "layer 0, head 0: +1",
                 "at=&#39;&lt;emb&gt;&#39;", "Made by influent in 1.2 s."):  # fmt: skip
        assert text in page, text
    assert page.count("<h2>") == 2 and page.count("Completeness") == 1 and "velocity" not in page
    assert page.count("<bdi dir") == 1 + 2 + 1 and page.count("<blockquote dir") == 1
