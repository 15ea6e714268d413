"""What a terminal shows: tables as text, and words on a coloured ground."""

from __future__ import annotations

import re
from collections.abc import Sequence

from matplotlib.colors import to_rgb

from .palette import ink, signed_hex


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines, each column as wide as its widest cell.

    >>> aligned([("layer", "gap"), ("conv1", "0")])
    ['layer  gap', 'conv1  0']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def harmless(text: str) -> str:
    """A text whose control characters are seen and not obeyed; ends of lines and tabs stay.

    >>> harmless("a\\x1b[2Jb")
    'a␛[2Jb'
    """
    return re.sub(r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", lambda m: _picture(ord(m[0])), text)


def _picture(code: int) -> str:
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def painted(text: str, colour: str) -> str:
    """A text on the ground `#rrggbb`, in black or white, by the codes of terminals with 24-bit colours.

    Each line by itself: a terminal would fill the rest of a line with the ground.

    >>> painted("no", "#67001f")
    '\\x1b[48;2;103;0;31m\\x1b[38;2;255;255;255mno\\x1b[0m'
    """
    ground, front = (";".join(str(round(255 * c)) for c in to_rgb(shade)) for shade in (colour, ink(colour)))
    return re.sub(r"[^\r\n]+", lambda m: f"\x1b[48;2;{ground}m\x1b[38;2;{front}m{m[0]}\x1b[0m", text)


def ends(most: float) -> str:
    """The legend of signed colours: what blue and red are, and where they saturate."""
    against, favour = signed_hex([-1.0, 1.0], 1.0)
    return painted(f" against {-most:+.3g} ", against) + " " + painted(f" for {most:+.3g} ", favour)
