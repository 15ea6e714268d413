"""Text and nouns: what is printed is read back as the same value, and nothing else is understood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from influent import (
    INPUT,
    OUTPUT,
    Class,
    Classes,
    Cut,
    Gaussian,
    Label,
    Line,
    Point,
    Predicted,
    Probability,
    Quantity,
    Rest,
    RunnerUp,
    Unit,
    influence,
    measures,
)
from influent.distribution import Distribution, Mixture
from influent.errors import QuestionError
from influent.language import parse
from influent.quantity import Combination, Function
from influent.shapes import Stored

torch.set_num_threads(1)

# No deadline: the first example pays for imports. No database: the same examples on every machine.
law = settings(
    max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@dataclass(frozen=True, repr=False, eq=False)
class Mine(Quantity):
    """A user's own quantity."""

    index: int
    about: str = ""
    cut: Cut | str = OUTPUT

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        return y[:, self.index]


class Outer:
    """A place for a noun inside a class."""

    @dataclass(frozen=True, repr=False, eq=False)
    class Inner(Mine):
        """A noun inside a class."""


def my_function(y: Tensor) -> Tensor:
    return y[:, 0]


names = st.text(max_size=12) | st.sampled_from(
    [
        "it's",
        'say "ah"',
        "both ' and \"",
        "a\\b",
        "a\\'b: c",
        "os:system('x')",
        "x:y",
        "naïve π → 猫",
        "tab\tline\n",
        "'",
    ]
)
elements = st.lists(st.sampled_from(["[0]", "[-1]", "[12]", "[logits]", "[hidden states]"]), max_size=2).map("".join)
places = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["INPUT", "OUTPUT", "conv1", "blocks.3.attn", "features.0._orig_mod.1", "it's"]),
    st.sampled_from(["", ":in"]),
    st.sampled_from(["", "#1", "#12"]),
    elements,
    st.sampled_from(["", "/channel", "/token"]),
)
cut = places | places.map(Cut)
whole = st.integers(-3, 1000)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5)
positive = st.floats(1e-300, 1e300) | st.integers(1, 9)
tensors = st.builds(
    lambda shape, seed, kind: torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(kind),
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
    st.integers(0, 99),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64]),
)
beside: st.SearchStrategy[Any] = st.recursive(
    tensors | whole | names | st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.tuples(inner) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
labels = st.none() | st.lists(whole, max_size=3) | st.tuples(whole, whole)

nouns = st.one_of(
    st.builds(Class, whole | names, cut),
    st.builds(Probability, whole | names, cut),
    st.builds(Rest, whole | names, cut),
    st.builds(Predicted, cut),
    st.builds(RunnerUp, cut),
    st.builds(Label, cut),
    st.builds(Unit, whole | st.tuples(whole, whole), cut, st.sampled_from(["sum", "max"]), st.none() | whole),
    st.builds(Function, st.sampled_from([my_function, torch.nn.functional.gelu]), cut),
    st.builds(Mine, whole, names, cut),
    st.builds(Outer.Inner, whole),
)
sums = st.recursive(
    nouns,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: a - b, inner, inner),
        st.builds(lambda w, a: w * a, numbers, inner),
        st.builds(lambda a: -a, inner),
    ),
    max_leaves=5,
)
balls = st.builds(Gaussian, tensors, positive, st.integers(1, 99), st.integers(0, 1000), cut, beside, labels)
lines = st.builds(
    Line,
    tensors | st.sampled_from(["black", "blur", None]) | st.just(my_function),
    tensors,
    st.integers(2, 99),
    st.sampled_from(["adaptive", "graded", "uniform", "gauss"]),
    st.none(),
    cut,
    beside,
    labels,
) | st.builds(Line, tensors, tensors, tol=st.floats(0, 1))
points = st.builds(Point, tensors, cut, beside, labels)
distributions = st.recursive(
    points | balls | lines,
    lambda inner: st.builds(lambda a, b: a + b, inner, inner) | st.builds(lambda w, a: w * a, positive, inner),
    max_leaves=3,
)


@law
@given(nouns)
def test_a_quantity_is_read_back_from_its_print(noun: Quantity) -> None:
    assert parse(repr(noun)) == noun
    assert hash(parse(repr(noun))) == hash(noun)


@law
@given(sums)
@example(1 * Class(3))
@example(-Class(3))
@example(-Class(3) - Class(5))
@example(Class(3) - (Class(5) - 0.1 * Class(7)))
@example(1e-320 * Class(3) + 1e300 * Class(5))
@example(0 * Class(3))
def test_a_sum_of_quantities_is_read_back_from_its_print(q: Quantity) -> None:
    again = parse(repr(q))
    assert again == q
    assert again.terms == q.terms
    assert repr(again) == repr(q)


@law
@given(distributions)
def test_a_distribution_is_read_back_from_its_print_with_checksums_for_its_tensors(over: Distribution) -> None:
    again = parse(repr(over))
    assert again == over
    assert hash(again) == hash(over)
    assert repr(again) == repr(over)


@law
@given(st.lists(whole | names, min_size=1, max_size=4), cut)
def test_classes_are_read_back_from_their_print(indices: list[Any], place: Any) -> None:
    noun = Classes(indices, place)
    assert parse(repr(noun)) == noun


def test_a_tensor_that_differs_in_one_bit_is_another_distribution() -> None:
    x = torch.zeros(1, 3)
    other = x.clone()
    other[0, 1] = 1e-30
    assert parse(repr(Point(x))) == Point(x.clone())
    for different in (other, x.double(), x[0], torch.zeros(3, 1)):
        assert parse(repr(Point(x))) != Point(different)
    assert isinstance(parse(repr(Point(x))).x, Stored)


def test_what_is_left_out_of_the_print_is_at_its_default() -> None:
    x = torch.zeros(1, 2)
    assert repr(Class(3)) == "Class(3)"
    assert repr(Unit((1, 2), "conv", "max")) == "Unit((1, 2), cut='conv', reduce='max')"
    assert repr(Gaussian(x, 0.5, seed=3)) == f"Gaussian({Stored.of(x)!r}, 0.5, seed=3)"
    assert repr(Line("black", x, 33)) == f"Line('black', {Stored.of(x)!r}, n=33)"
    assert repr(Classes([1, "cat"])) == "Classes((1, 'cat'))"


def test_different_nouns_are_different() -> None:
    written = [
        "Class(3)", "Class('3')", "Class(4)", "Probability(3)", "Rest(3)", "Class(3, cut='a')", "2 * Class(3)",
        "-Class(3)", "Class(3) + Class(4)", "Class(4) + Class(3)", "Predicted()", "RunnerUp()", "Label()",
        "Unit(3, 'a')", "Unit((3,), 'a')", "Unit(3, 'a', reduce='max')", "Unit(3, 'a', axis=2)", "Classes((3,))",
    ]  # fmt: skip
    values = [parse(text) for text in written]
    assert all((a == b) == (i == k) for i, a in enumerate(values) for k, b in enumerate(values))


@pytest.mark.parametrize("measure", [m for m in vars(measures).values() if getattr(m, "__annotations__", {}).get("e")])
def test_measures_are_known_by_name(measure: Any) -> None:
    assert parse(measure.__name__) is measure


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-0.5", -0.5), ("'cat'", "cat"), ("None", None), ("True", True), ("(1, (2, -3))", (1, (2, -3))),
        ("[1, 'a']", [1, "a"]), ("{'a': 1}", {"a": 1}), ("INPUT", INPUT), ("OUTPUT", OUTPUT),
        ("  Class(3)  ", Class(3)),
        ("OUTPUT[logits]", OUTPUT["logits"]), ("OUTPUT['logits'][0]", OUTPUT["logits"][0]), ("INPUT[1]", INPUT[1]),
        ("OUTPUT[-1]", OUTPUT[-1]), ("Cut('conv:in#2[0]/channel')", Cut("conv:in#2[0]/channel")),
        ("Class('espresso') - 0.5 * Class(968)", Class("espresso") - 0.5 * Class(968)),
        ("Class(1) * 2", 2 * Class(1)), ("Predicted - RunnerUp", Predicted() - RunnerUp()),
        ("(Class(1) + Class(2)) * -3", -3 * (Class(1) + Class(2))), ("Class(3)  # why", Class(3)),
        ("Unit(52, 'inception_3a')", Unit(52, "inception_3a")), ("Unit((52, 7, -1), 'a')", Unit((52, 7, -1), "a")),
        ("Class(3, OUTPUT[logits])", Class(3, "OUTPUT[logits]")), ("Classes([1, 2])", Classes((1, 2))),
    ],
)  # fmt: skip
def test_what_people_type_is_understood(text: str, value: Any) -> None:
    found = parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("name", ["it's: 1", 'a "b": c', "x'y\"z: os:system", "a\\", "a\\'b:c", "π:x"])
def test_class_names_with_quotes_colons_and_backslashes_are_only_names(name: str) -> None:
    assert parse(repr(Class(name))) == Class(name)
    assert parse(f"{Class(name)!r} - {Class('b:c')!r}") == Class(name) - Class("b:c")


# A user's own


def test_a_users_own_noun_is_read_back_by_its_module_and_name() -> None:
    assert repr(Mine(3)) == f"{__name__}:Mine(3)"
    assert repr(Outer.Inner(3)) == f"{__name__}:Outer.Inner(3)"
    assert type(parse(f"{__name__}:Mine(3, about='a:b')")) is Mine
    assert type(parse(repr(Outer.Inner(3)), imports=False)) is Outer.Inner
    assert parse(f"0.5 * {__name__}:Mine(3) - Class(1)") == 0.5 * Mine(3) - Class(1)
    assert parse(f"{__name__}:my_function") is my_function
    assert parse(repr(Function(my_function))) == Function(my_function)


def test_a_users_measure_is_read_back_by_its_module_and_name() -> None:
    a = influence(torch.nn.Linear(2, 1).eval(), INPUT, Class(0), Point(torch.ones(1, 2)), my_measure)
    assert a.question.text["measure"] == f"{__name__}:my_measure"
    assert parse(a.question.text["measure"]) is my_measure


def my_measure(e: Any) -> Tensor:
    return e.slope.clamp(min=0)


# Short forms, where the explained input is known


def test_the_explained_input_may_be_left_out() -> None:
    x = torch.ones(1, 2)
    known = {"x": x}
    assert parse("Point", known) == Point(x)
    assert parse("Point()", known) == Point(x)
    assert parse("Point(x)", known) == Point(x)
    assert parse("Line", known) == Line(None, x)
    assert parse("Line(n=9)", known) == Line(None, x, n=9)
    assert parse("Line('black')", known) == Line("black", x)
    assert parse("Line('black', n=33, rule='gauss')", known) == Line("black", x, 33, "gauss")
    assert parse("Line(baseline='blur', n=5)", known) == Line("blur", x, 5)
    assert parse("Gaussian(std=0.1)", known) == Gaussian(x, 0.1)
    assert parse("Gaussian(std=0.1, n=4, seed=7)", known) == Gaussian(x, 0.1, 4, 7)
    assert parse("0.25 * Point + 0.75 * Line('black')", known) == 0.25 * Point(x) + 0.75 * Line("black", x)
    assert parse("1 * Line", known) == Mixture(((1.0, Line(None, x)),))


def test_the_explained_input_is_handed_over_itself_not_as_a_checksum() -> None:
    x = torch.ones(1, 2)
    assert parse("Line(n=9)", {"x": x}).x is x
    assert parse("Point", {"x": x}).x is x


def test_what_is_given_comes_before_the_explained_input() -> None:
    x, other = torch.ones(1, 2), torch.zeros(1, 2)
    known = {"x": x, "other": other}
    assert parse("Point(other)", known) == Point(other)
    assert parse("Line(other)", known) == Line(other, x)
    assert parse("Line(other, other)", known) == Line(other, other)
    assert parse("Gaussian(other, 0.1)", known) == Gaussian(other, 0.1)
    assert parse("Line(baseline=other, n=3)", known) == Line(other, x, 3)


def test_a_quantity_takes_no_input_from_the_names() -> None:
    assert parse("Predicted", {"x": torch.ones(1, 2)}) == Predicted()
    with pytest.raises(
        QuestionError, match=r"missing 1 required positional argument: 'index'\. Type Class\(index, cut\)"
    ):
        parse("Class", {"x": torch.ones(1, 2)})


def test_a_sum_of_one_is_that_one_wherever_it_comes_from() -> None:
    assert isinstance(parse("2 * Class(3)"), Combination)
    assert parse("1 * Class(3)") == 1 * Class(3)
    assert parse(repr(1 * Class(3))) == 1 * Class(3)
