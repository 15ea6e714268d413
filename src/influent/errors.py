"""Everything that influent raises, as one tree.

::

    InfluentError
    ├── QuestionError      the four words do not fit together, or not this net
    │   └── CutError       a place in the net that is not there, or cannot be watched
    ├── NetError           a net in a state in which no answer would be right
    ├── InputError         photos, tensors and options that cannot be read
    └── StoreError         results that cannot be written or read

    InfluentWarning        an answer that is given, and that deserves a second look
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InfluentError(Exception):
    """Any error of this library: catch this one to catch them all."""


class QuestionError(InfluentError):
    """A question whose words do not fit together, or do not fit the net."""


class CutError(QuestionError):
    """A place in the net that does not exist, never runs, runs twice or cannot be watched."""


class NetError(InfluentError):
    """A net in a state in which no answer would be right: training mode, NaN weights, quantised."""


class InputError(InfluentError):
    """A photo, tensor, option or file that cannot be read as what it should be."""


class StoreError(InfluentError):
    """A result folder that cannot be written or read."""


class InfluentWarning(UserWarning):
    """An answer that is given all the same, and that deserves a second look."""


def nearest(name: str, known: Iterable[str], most: int = 4) -> str:
    """The end of a lesson, `Did you mean 'a', 'b'?`, or nothing where no known name is near.

    >>> nearest("inception_4x", ["inception_4a", "inception_4b", "conv1"])
    " Did you mean 'inception_4b', 'inception_4a'?"
    """
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, known, most, 0.6)
    near = near or [k for k in known if name and name.lower() in k.lower()][:most]
    return f" Did you mean {', '.join(map(repr, near))}?" if near else ""
