"""What a browser may ask: each question by its `kind`, numbers with their bounds. No text is a path, none is code."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Photo = Annotated[str, Field(pattern=r"^(data|outside|example)-\d{1,9}$|^sent-[0-9a-f]{16}$")]
"""A photo by its number in a list of the server's, or by the checksum of what was sent."""
Place = Annotated[str, Field(min_length=1, max_length=300)]
Number = Annotated[int, Field(ge=0, le=10**9)]
Unit = Annotated[int, Field(ge=0, le=10**7)]
Units = Annotated[list[Unit], Field(max_length=10_000)]


class Question(BaseModel):
    """A question: fields that are not known are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Subject(Question):
    """A photo or a text that a question is about."""

    photo: Photo | None = None
    text: Annotated[str, Field(max_length=20_000)] | None = None


class Why(Subject):
    """Why does the net say so? The four words: `at`, `of`, over and measure.

    `of` is what the net says, a class (rather than another), a unit, or the likeness to another text.
    """

    kind: Literal["why"]
    at: Place | None = None
    of: Literal["said", "class", "unit", "like"] = "said"
    target: Unit | None = None
    rather: Unit | None = None
    layer: Place | None = None
    like: Annotated[str, Field(max_length=20_000)] | None = None
    over: Literal["line", "point", "ball"] = "line"
    baseline: Literal["black", "white", "grey", "mean", "blur", "pad", "mask", "zero"] | None = None
    n: Annotated[int, Field(ge=5, le=257)] = 65
    spread: Annotated[float, Field(gt=0, le=2)] = 0.1
    measure: Literal["contribution", "gradient", "gradient_times_activation", "activation"] | None = None
    top: Annotated[int, Field(ge=1, le=12)] = 3


class OneUnit(Subject):
    """A unit's page."""

    kind: Literal["unit"]
    at: Place
    unit: Unit


class Name(Question):
    """A unit's nickname; none takes it away."""

    kind: Literal["name"]
    at: Place
    unit: Unit
    name: Annotated[str, Field(max_length=80)]


class Off(Subject):
    """Units silenced or, with `keep`, kept alone; of a class's expert, the α most positive and β most negative."""

    kind: Literal["off", "export"]
    at: Place
    units: Units = []
    keep: bool = False
    index: Unit | None = None
    alpha: Unit | None = None
    beta: Unit = 0


class OneClass(Question):
    """A class's page, or the experts of all α and β."""

    kind: Literal["class", "experts"]
    at: Place | None = None
    index: Unit


class Gallery(Question):
    """Some photos to choose from."""

    kind: Literal["gallery"]
    start: Number = 0
    index: Unit | None = None


Ask = Annotated[Why | OneUnit | Name | Off | OneClass | Gallery, Field(discriminator="kind")]
