"""What tells one function from another where both print alike: a checksum of code, and of what it carries."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_PLAIN = (int, float, str, bool, bytes, type(None))


def plainly(value: Any) -> str:
    """A value as text without addresses in memory.

    >>> plainly(object())
    '<object object>'
    """
    return _ADDRESS.sub("", repr(value))


def code_of(function: Any) -> str:
    """A checksum of a function's code, defaults and closure, of a callable object's `__call__` and attributes.

    Nothing for what is not called, and for what torch and other libraries bring: their versions tell these apart.

    >>> code_of(lambda x: x + 1) == code_of(lambda x: x + 2), code_of(3)
    (False, '')
    """
    told = "".join(_told(function))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:12] if told else ""


def _told(function: Any) -> Iterator[str]:
    code = getattr(function, "__code__", None)
    if isinstance(function, functools.partial):
        yield plainly((function.args, function.keywords))
        yield from _told(function.func)
    elif code is not None:
        nested = [c for c in code.co_consts if hasattr(c, "co_code")]
        consts = [c for c in code.co_consts if not hasattr(c, "co_code")]
        yield plainly((code.co_code, consts, code.co_names, getattr(function, "__defaults__", None)))
        yield from (plainly((c.co_code, c.co_names)) for c in nested)
        for cell in getattr(function, "__closure__", None) or ():
            yield plainly(cell.cell_contents)
    elif callable(function) and not isinstance(function, type) and hasattr(type(function).__call__, "__code__"):
        yield plainly(attributes(function))
        yield from _told(type(function).__call__)


def attributes(thing: Any) -> dict[str, Any]:
    """The plain attributes of an object: numbers, texts, and tuples and lists of them.

    >>> attributes(torch.nn.Dropout(0.25))["p"]
    0.25
    """
    found = getattr(thing, "__dict__", {})
    return {key: value for key, value in found.items() if not key.startswith("_") and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple | list) and all(map(_is_plain, value)))


def codes_in(value: Any) -> str:
    """The checksums of all functions in a noun: in its fields, and in theirs.

    >>> codes_in((lambda x: x, 3)) != codes_in((lambda x: -x, 3))
    True
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return " ".join(filter(None, (codes_in(getattr(value, f.name)) for f in dataclasses.fields(value))))
    if isinstance(value, tuple | list):
        return " ".join(filter(None, map(codes_in, value)))
    if isinstance(value, Mapping):
        return codes_in(list(value.values()))
    return code_of(value)
