"""Text ⇄ nouns, for the command line and stored questions: `parse(repr(q)) == q`.

Text is read as Python's syntax and never evaluated: only our nouns, numbers, strings, + - * and, for a user's own,
`package.module:Name(...)` are understood.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from . import dataset, distribution, distributions, measures, quantities, quantity, rules, through, tokens
from .cut import INPUT, OUTPUT, Cut
from .distribution import Distribution
from .errors import QuestionError, nearest
from .mask import Mask
from .measures import Monotone, Ruled
from .quantities import Classes
from .quantity import Quantity
from .rules import BackwardRule
from .shapes import Stored
from .stability import Until

_NOUNS: Mapping[str, type] = {
    kind.__name__: kind
    for module in (quantity, quantities, tokens, through, distribution, dataset, distributions, rules)
    for kind in vars(module).values()
    if isinstance(kind, type)
    and issubclass(kind, (Quantity, Distribution, Classes, BackwardRule))
    and kind.__module__ == module.__name__
} | {"Stored": Stored, "Cut": Cut, "Until": Until, "Mask": Mask, "Monotone": Monotone, "Ruled": Ruled}
_CALLED = (Quantity, Distribution, Classes, Stored, Cut, Until, Mask, Monotone, Ruled, BackwardRule)
_MEASURES = {
    f.__name__: f for f in vars(measures).values() if callable(f) and getattr(f, "__annotations__", {}).get("e")
}
_PLACES: Mapping[str, Any] = {"INPUT": INPUT, "OUTPUT": OUTPUT}
_USERS = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|\b([A-Za-z_][\w.]*):([A-Za-z_][\w.]*)""")


def parse(text: str, names: Mapping[str, Any] | None = None, imports: bool = True) -> Any:
    """The noun that a text means: a quantity, distribution, cut, mask, measure, number or string.

    `names` are further words, such as `x` for the explained input; where `x` is among them, a distribution may leave
    it out: `Line('black', n=33)`, or just `Line`. With `imports=False` a user's own `package.module:Name` is taken
    only where its module is loaded already. Errors: `QuestionError` that shows the place.

    >>> parse("Class('espresso') - 0.5 * Class(968)")
    Class('espresso') - 0.5 * Class(968)
    """
    if not isinstance(text, str):
        raise QuestionError(f"parse reads text, not {text!r}. {_EXAMPLE}")
    if len(text) > _LONGEST:
        raise QuestionError(f"A text of {len(text)} characters cannot be read: the longest has {_LONGEST}. {_EXAMPLE}")
    foreign: list[Any] = []

    def take(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        foreign.append(find_own(match[2], match[3], imports))
        return f"__user_{len(foreign) - 1}"

    plain_text = _USERS.sub(take, text).strip()
    try:
        tree = ast.parse(plain_text, mode="eval")
    except SyntaxError as error:
        raise QuestionError(f"{text!r} cannot be read: {error.msg} at character {error.offset}. {_EXAMPLE}") from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise QuestionError(f"{text[:200]!r} cannot be read: {error}. {_EXAMPLE}") from None
    words = {**_NOUNS, **_MEASURES, **_PLACES, **(names or {})}
    words |= {f"__user_{k}": value for k, value in enumerate(foreign)}
    try:
        return _complete(_read(tree.body, words, text), words)
    except RecursionError:
        raise QuestionError(f"{text[:200]!r} has too many terms to be read. {_EXAMPLE}") from None


_LONGEST = 100_000
_EXAMPLE = "An example: \"Class('espresso') - Class('cup')\"."


def _read(node: ast.expr, words: Mapping[str, Any], text: str) -> Any:
    """Constants, words and containers."""
    match node:
        case ast.Constant(value=value) if isinstance(value, int | float | str | None):
            return value
        case ast.Name(id=name):
            if name not in words:
                raise QuestionError(f"{text!r}: the word {name!r} is not known.{nearest(name, words)} {_EXAMPLE}")
            return words[name]
        case ast.Tuple(elts=items):
            return tuple(_read(item, words, text) for item in items)
        case ast.List(elts=items):
            return [_read(item, words, text) for item in items]
        case ast.Dict(keys=keys, values=values) if all(isinstance(key, ast.Constant) for key in keys):
            pairs = zip(keys, values, strict=True)
            return {_read(key, words, text): _read(value, words, text) for key, value in pairs if key}
    return _read_operation(node, words, text)


def _read_operation(node: ast.expr, words: Mapping[str, Any], text: str) -> Any:
    """Sums, products, elements and calls."""
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _combine(ast.Mult(), -1, _complete(_read(inner, words, text), words), text)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as op, right=right):
            a, b = (_complete(_read(side, words, text), words) for side in (left, right))
            return _combine(op, a, b, text)
        case ast.Subscript(value=ast.Name() | ast.Subscript() as inner, slice=key):
            place = _read(inner, words, text)
            if isinstance(place, Cut):
                return place[key.id if isinstance(key, ast.Name) else _read(key, words, text)]
        case ast.Call(func=func, args=args, keywords=keywords):
            named = {k.arg: _read(k.value, words, text) for k in keywords if k.arg}
            if len(named) == len(keywords):
                return _call(_read(func, words, text), [_read(a, words, text) for a in args], named, words, text)
    raise QuestionError(f"{text[:200]!r}: {ast.unparse(node)[:200]!r} is not part of the language. {_EXAMPLE}")


def _combine(op: ast.operator, a: Any, b: Any, text: str) -> Any:
    if isinstance(a, str | list | tuple) or isinstance(b, str | list | tuple):
        raise QuestionError(f"{text[:200]!r}: {a!r} and {b!r} cannot be combined. {_EXAMPLE}")
    try:
        return a + b if isinstance(op, ast.Add) else a - b if isinstance(op, ast.Sub) else a * b
    except TypeError:
        raise QuestionError(f"{text!r}: {a!r} and {b!r} cannot be combined. {_EXAMPLE}") from None


def _call(kind: Any, args: list[Any], kwargs: dict[str, Any], words: Mapping[str, Any], text: str) -> Any:
    """A noun from its arguments: only nouns are ever called."""
    if not (isinstance(kind, type) and issubclass(kind, _CALLED)):
        raise QuestionError(f"{text!r}: {kind!r} is no noun of ours or yours, so it is not called. {_EXAMPLE}")
    if issubclass(kind, Distribution) and "x" in words:
        known = _fields(kind)
        if "x" in known and "x" not in kwargs and len(args) <= known.index("x"):
            kwargs["x"] = words["x"]
        if "baseline" in known and "baseline" not in kwargs and not args:
            kwargs["baseline"] = None
    try:
        return kind(*args, **kwargs)
    except TypeError as error:
        raise QuestionError(f"{text!r}: {str(error).replace('.__init__()', '')}. {_signature(kind)}") from None


def _signature(kind: type) -> str:
    return f"Type {kind.__name__}({', '.join(_fields(kind))})."


def _fields(kind: Any) -> list[str]:
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []


def _complete(value: Any, words: Mapping[str, Any]) -> Any:
    """A bare `Line` or `Point` stands for one of the explained input."""
    if isinstance(value, type) and issubclass(value, (Distribution, Quantity)):
        return _call(value, [], {}, words, value.__name__)
    return value


def find_own(module: str, name: str, imports: bool = True) -> Any:
    """A user's own noun or function, `package.module:Name`; with `imports=False` only from a module that is loaded.

    Errors: `QuestionError` where it cannot be found.
    """
    if not imports and module not in sys.modules:
        raise QuestionError(f"{module}:{name} is your own: type `import {module}` first, then try again.")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise QuestionError(f"{module}:{name} cannot be loaded: {error}. Is its folder on PYTHONPATH?") from None
    return found
