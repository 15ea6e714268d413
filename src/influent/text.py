"""Texts as a net reads them: tokens by number, and where in the text each of them and each word stands."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .errors import InputError, QuestionError
from .shapes import Stored, spell_shape

Span = tuple[int, int]
IDS, MASK, DECODER_IDS, DECODER_MASK = "input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask"

# Accents and vowel signs, of all scripts; what joins letters, and what is joined to emoji.
_MARKS = "".join(chr(c) for c in range(0x300, 0x20000) if unicodedata.category(chr(c))[0] == "M")
_LETTERS = rf"[\w{_MARKS}\u200c\u200d]"
# Words, the n't of "isn't", 's; else a flag, or one sign with what belongs to it.
_WORDS = re.compile(
    rf"{_LETTERS}+?(?=[nN]['’][tT]\b)|[nN]['’][tT]\b|['’]\w+|{_LETTERS}+|[\U0001f1e6-\U0001f1ff]{{2}}"
    rf"|[^\w\s](?:[{_MARKS}\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]|\u200d[^\w\s])*"
)


@dataclass(frozen=True)
class Piece:
    """A word or a token of a text: its characters `start` to `end`, and the value that it carries.

    Special tokens, which stand nowhere in the text, have `start == end`.
    """

    text: str
    start: int
    end: int
    value: float

    def __str__(self) -> str:
        return f"{self.text}  {self.value:+.4g}"


@dataclass(frozen=True, eq=False)
class Text:
    """Some texts as a net reads them: what a text net's `net.read(...)` gives.

    - `texts`: the texts; `inputs`: what the net is called with, `input_ids [text, token]` among them;
    - `spans[text][token]`: the characters that a token stands for, None for special tokens and padding;
    - `words[text][token]`: the number of the word that a token belongs to, None for special tokens and padding;
    - `names[text][token]`: how the tokenizer spells the token.

    A distribution takes it in the place of a tensor, `Line("pad", text)`: the path runs at the net's embedding.

    >>> read = TextTransform(Words(["not", "good"]))
    >>> read(["not good", "good"]).kept
    tensor([[False, False],
            [False,  True]])
    """

    texts: tuple[str, ...]
    inputs: Mapping[str, Tensor]
    spans: tuple[tuple[Span | None, ...], ...]
    words: tuple[tuple[int | None, ...], ...]
    names: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def ids(self) -> Tensor:
        """The numbers of the tokens, `[text, token]`."""
        return self.inputs[IDS]

    @cached_property
    def kept(self) -> Tensor:
        """Special tokens and padding, `[text, token]`: what a path leaves as it is, so that nothing is attributed."""
        return torch.tensor([[span is None for span in row] for row in self.spans])

    @property
    def padding(self) -> Tensor:
        """What the net is told not to look at, `[text, token]`."""
        mask = self.inputs.get(MASK)
        return torch.zeros(self.ids.shape, dtype=torch.bool) if mask is None else mask.cpu() == 0

    @property
    def stored(self) -> Stored:
        """The texts by their checksum: what remains of them in a question's text form."""
        told = hashlib.sha256("\0".join(self.texts).encode("utf-8", "surrogatepass") + self.ids.cpu().numpy().tobytes())
        first = self.texts[0] if len(self.texts[0]) <= 40 else self.texts[0][:39] + "…"
        more = f" and {len(self) - 1} more" if len(self) > 1 else ""
        return Stored(told.hexdigest()[:16], f"{first!r}{more}")

    def pieces(self, values: Tensor, row: int = 0, words: bool = True, special: bool = False) -> tuple[Piece, ...]:
        """The words (or tokens) of one text with their values, `values [text, token]`, in the order of the text.

        Tokens of one word are summed, as are tokens that share a character (the bytes of an emoji). With `special`,
        special tokens stand where they are read; padding never does.
        Errors: `QuestionError` for values of another shape.

        >>> read = TextTransform(Words(["not", "good"]))
        >>> [str(piece) for piece in read("not good").pieces(torch.tensor([[-1.0, 0.5]]))]
        ['not  -1', 'good  +0.5']
        """
        if values.shape != self.ids.shape:
            raise QuestionError(
                f"These values are {spell_shape(values)}, and the texts have tokens {list(self.ids.shape)}. Ask for "
                'values by token: at="PLACE/token".'
            )
        found: list[list[Any]] = []
        for k, value in enumerate(values[row].tolist()):
            span, word = self.spans[row][k], self.words[row][k]
            if span is None:
                if special and not bool(self.padding[row, k]):
                    found.append([None, 0, 0, value, self.names[row][k]])
                continue
            last = found[-1] if found and found[-1][2] > found[-1][1] else None
            if last is not None and (span[0] < last[2] or (words and word == last[0])):
                last[2], last[3] = max(last[2], span[1]), last[3] + value
            else:
                found.append([word, *span, value, ""])
        text = self.texts[row]
        return tuple(Piece(name or text[start:end].strip(), start, end, value) for _, start, end, value, name in found)

    def __repr__(self) -> str:
        return f"Text({', '.join(map(repr, self.texts[:3]))}{', …' if len(self) > 3 else ''})"


@dataclass(frozen=True)
class Words:
    """A tokenizer of whole words and single signs: `vocabulary` lists those that are known, from number 2.

    0 is padding, 1 stands for every other word. Contractions come apart as in the Penn treebank: "is n't".

    >>> Words(["is", "n't"]).numbered("Isn't!")
    ([2, 3, 1], [(0, 2), (2, 5), (5, 6)])
    """

    vocabulary: Sequence[str]
    lower: bool = True

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: k + 2 for k, word in enumerate(self.vocabulary)}

    def numbered(self, text: str) -> tuple[list[int], list[Span]]:
        """The numbers of a text's words, and where they stand."""
        found = list(_WORDS.finditer(text))
        words = [(m[0].lower() if self.lower else m[0]).replace("’", "'") for m in found]
        return [self._numbers.get(word, 1) for word in words], [m.span() for m in found]

    def name(self, number: int) -> str:
        """How a number is spelt."""
        return ("[PAD]", "[UNK]", *self.vocabulary)[number]


@dataclass(frozen=True)
class TextTransform:
    """Texts → `Text`: what a text net has in the place of a photo's transform.

    - `tokenizer`: one of the transformers library, or `Words`;
    - `limit`: how many tokens the net can read, None where there is no end;
    - `least`: how many it needs (a convolution over five words needs five): shorter texts are padded;
    - `start`: of nets that write (T5, Marian), the token that the answer begins with.

    Errors: `InputError` for texts that are empty or too long, and for what is no text.

    >>> TextTransform(Words(["not", "good"]), least=4)("not good").ids
    tensor([[2, 3, 0, 0]])
    """

    tokenizer: Any
    limit: int | None = None
    least: int = 1
    start: int | None = None

    def __call__(
        self, texts: str | Sequence[str], answer: str | Sequence[str] | None = None, truncate: bool = False
    ) -> Text:
        """`texts` as a net reads them; `answer` is what a net that writes is to have written so far, one for each."""
        rows = _listed(texts)
        encoded = _encoded(self.tokenizer, rows, self.limit if truncate else None)
        for text, length in zip(rows, encoded.lengths, strict=True):
            if self.limit is not None and length > self.limit:
                raise InputError(
                    f"The text {_short(text)} has {length} tokens, and this net reads at most {self.limit}. Shorten "
                    "it, or have its end cut off: net.read(text, truncate=True), --truncate."
                )
            if not length:
                raise InputError(f"The text {_short(text)} has no word in it that could be explained.")
        return encoded.text(rows, max(self.least, *encoded.lengths), self._answer(rows, answer))

    def _answer(self, rows: list[str], answer: str | Sequence[str] | None) -> dict[str, Tensor]:
        """Inputs of the part that writes."""
        if self.start is None:
            if answer is not None:
                raise InputError("answer= is for nets that read one text and write another. Give this net one text.")
            return {}
        said = [""] * len(rows) if answer is None else _listed(answer, empty=True)
        if len(said) != len(rows):
            raise InputError(f"There are {len(said)} answers for {len(rows)} texts. Give one for each.")
        ids = [[self.start, *self.numbers(text)] if text else [self.start] for text in said]
        width = max(map(len, ids))
        padded = torch.tensor([row + [self.start] * (width - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        return {DECODER_IDS: padded, DECODER_MASK: mask}

    def numbers(self, text: str) -> list[int]:
        """The numbers of a text's tokens, without special ones: what continues another text."""
        if isinstance(self.tokenizer, Words):
            return self.tokenizer.numbered(text)[0]
        return list(self.tokenizer(text, add_special_tokens=False)[IDS])

    def name(self, number: int) -> str:
        """How a token is spelt."""
        if isinstance(self.tokenizer, Words):
            return self.tokenizer.name(number)
        return str(self.tokenizer.convert_ids_to_tokens(number))

    def spelling(self, number: int) -> str:
        """How a token reads, with the spaces that belong to it."""
        return self.name(number) if isinstance(self.tokenizer, Words) else str(self.tokenizer.decode([number]))

    def number(self, token: int | str) -> int:
        """A token's number, from its number or from its text.

        Errors: `QuestionError` for a text that is no single token, or one that is not known.
        """
        if isinstance(token, int):
            return token
        if not isinstance(self.tokenizer, Words) and (whole := self.tokenizer.get_vocab().get(token)) is not None:
            return int(whole)
        numbers = self.numbers(token)
        if numbers == [self.special("unk")]:
            raise QuestionError(
                f"{token!r} is none of this net's tokens: it reads {self.name(numbers[0])} in its place. Name one that "
                "it knows, or a number."
            )
        if len(numbers) != 1:
            parts = ", ".join(f"{n} ({self.name(n)!r})" for n in numbers) or "none"
            raise QuestionError(
                f"{token!r} is {len(numbers)} tokens of this net, not one: {parts}. Name one of them, or ask for all "
                f"in a row: Continuation({token!r})."
            )
        return numbers[0]

    def special(self, name: str) -> int | None:
        """The number of the token for `"pad"`, `"mask"` or `"unk"` (what is not known), where the tokenizer has one."""
        if isinstance(self.tokenizer, Words):
            return {"pad": 0, "unk": 1}.get(name)
        return getattr(self.tokenizer, f"{name}_token_id", None)


@dataclass(frozen=True)
class _Encoded:
    """What a tokenizer makes of texts: row by row, without padding."""

    ids: list[list[int]]
    spans: list[list[Span | None]]
    words: list[list[int | None]]
    names: list[list[str]]
    more: dict[str, list[list[int]]]
    pad: int

    @property
    def lengths(self) -> list[int]:
        return [len(row) if any(span for span in spans) else 0 for row, spans in zip(self.ids, self.spans, strict=True)]

    def text(self, texts: list[str], width: int, answer: dict[str, Tensor]) -> Text:
        """Rows of one width, padded on the right: a decoder that is called once counts its positions from the left."""

        def padded(rows: list[list[Any]], fill: Any) -> list[list[Any]]:
            return [row + [fill] * (width - len(row)) for row in rows]

        mask = padded([[1] * len(row) for row in self.ids], 0)
        inputs = {IDS: torch.tensor(padded(self.ids, self.pad)), MASK: torch.tensor(mask)}
        inputs |= {key: torch.tensor(padded(rows, 0)) for key, rows in self.more.items()}
        spans, words, names = (
            tuple(map(tuple, padded(rows, fill)))
            for rows, fill in ((self.spans, None), (self.words, None), (self.names, ""))
        )
        return Text(tuple(texts), inputs | answer, spans, words, names)


def _encoded(tokenizer: Any, texts: list[str], most: int | None) -> _Encoded:
    """By `Words`, or by a tokenizer of the transformers library."""
    if isinstance(tokenizer, Words):
        rows = [tokenizer.numbered(text) for text in texts]
        ids: list[list[int]] = [numbers[:most] for numbers, _ in rows]
        places: list[list[Span | None]] = [list(found[:most]) for _, found in rows]
        names = [[tokenizer.name(n) for n in row] for row in ids]
        return _Encoded(ids, places, [list(range(len(row))) for row in ids], names, {}, 0)
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{type(tokenizer).__name__} does not say where in a text its tokens stand. Give a fast tokenizer, "
            "AutoTokenizer.from_pretrained(..., use_fast=True), or inf.Words(vocabulary)."
        )
    # Each text alone, without padding: tokenizers without a padding token can be used, too.
    made = tokenizer(
        texts, return_offsets_mapping=True, return_special_tokens_mask=True,
        **({"truncation": True, "max_length": most} if most else {"truncation": False}),
    )  # fmt: skip
    spans = [
        [None if s or a == b else (a, b) for s, (a, b) in zip(special, offsets, strict=True)]
        for special, offsets in zip(made["special_tokens_mask"], made["offset_mapping"], strict=True)
    ]
    words = [_by_word(text, row, made.word_ids(k)) for k, (text, row) in enumerate(zip(texts, spans, strict=True))]
    more = {key: made[key] for key in made if key not in (IDS, MASK, "offset_mapping", "special_tokens_mask")}
    pad = tokenizer.pad_token_id
    return _Encoded(
        [list(row) for row in made[IDS]], spans, words,
        [list(map(str, tokenizer.convert_ids_to_tokens(row))) for row in made[IDS]], more,
        0 if pad is None else pad,
    )  # fmt: skip


def _by_word(text: str, spans: list[Span | None], words: Sequence[int | None]) -> list[int | None]:
    """The number of each token's word: as the tokenizer has it, and one more behind each space.

    To a tokenizer that does not cut texts into words first (Llama 2, Gemma), a whole text is one.
    """
    found: list[int | None] = []
    number, last, end = -1, None, 0
    for span, word in zip(spans, words, strict=True):
        if span is None:
            found.append(None)
            continue
        apart = text[end : span[0] + 1]
        if number < 0 or word != last or (span[0] >= end and apart.split() != [apart]):
            number += 1
        last, end = word, max(end, span[1])
        found.append(number)
    return found


def _listed(texts: str | Sequence[str], empty: bool = False) -> list[str]:
    rows = [texts] if isinstance(texts, str) else list(texts) if isinstance(texts, list | tuple) else None
    if rows is None or not all(isinstance(text, str) for text in rows):
        raise InputError(
            f"This net reads texts, not a {type(texts).__name__}: net.read('this is not good'), influent explain "
            "--text 'this is not good'."
        )
    if not empty and (not rows or not all(text.strip() for text in rows)):
        raise InputError("A text is empty: there is nothing to explain. Give one with a word in it.")
    broken = next((text for text in rows if any("\ud800" <= sign <= "\udfff" for sign in text)), None)
    if broken is not None:
        raise InputError(
            f"The text {_short(broken)} holds half a character (a lone surrogate), left over where bytes that are no "
            "UTF-8 were read as text. Read them in the encoding that they were written in."
        )
    return rows


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
