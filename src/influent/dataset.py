"""Real inputs as a distribution: `Dataset`, whole or class by class."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .distribution import Distribution, Draws
from .errors import QuestionError
from .nets import Net
from .samples import Samples, as_source
from .stability import Until

BY = ("label", "sample", "all")


@dataclass(frozen=True, repr=False, eq=False)
class Dataset(Distribution):
    """Real inputs, each with the same weight, in rows of the result: all classes come out of one pass.

    - `source`: a folder of images by class, a `DataLoader`, any iterable of batches `(x [sample, *shape], label
      [sample])`, or a data set with an index (torch's, Hugging Face's);
    - `by`: which row a sample is counted in: "label" (its class), "all" (one row), "sample" (its own), or a function
      `(x, label) → name of the row`, None for samples that are left out;
    - `weight`: a function `(x, label) → number`;
    - `examples`: how many samples of largest magnitude are kept for each unit and row;
    - `until`: stops the pass once the top units are as stable as it says at two looks, the second after a quarter more
      samples;
    - `block`: samples that go through the net together, whatever batches they came in: results do not depend on these.

    Rows carry their mean, its standard error and the count.

    `Line(baseline, Dataset(...))` and `Gaussian(Dataset(...), std)` average paths and balls over the data;
    `Line(Dataset(...), x)` takes its baselines there (expected gradients). Errors: `QuestionError` for other words.
    Source: distribution of interest, Leino et al. 2018, sections 2.1 (ii) and 3.3; Erion et al. 2021.

    >>> Dataset([(torch.zeros(2, 3), torch.tensor([0, 1]))]).by
    'label'
    """

    source: Any
    by: str | Callable[[Tensor, int | None], Hashable] = "label"
    weight: Callable[[Tensor, int | None], float] | None = None
    examples: int = 0
    until: Until | None = None
    block: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (callable(self.by) or self.by in BY):
            raise QuestionError(
                f"by={self.by!r} is not known: {', '.join(map(repr, BY))}, or a function (x, label) → name of the row."
            )
        if self.weight is not None and not callable(self.weight):
            raise QuestionError(f"weight={self.weight!r}: give a function (x, label) → number, or None.")
        for name, least in (("examples", 0), ("block", 1)):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or number < least:
                raise QuestionError(f"{name}={number!r}: give a whole number, {least} or more.")
        if self.until is not None and not isinstance(self.until, Until):
            raise QuestionError(f"until={self.until!r}: give Until(top=20, overlap=0.9), or None.")
        if self.until is not None and self.by == "sample":
            raise QuestionError("until= waits for the mean of rows, and by='sample' has none: drop one of the two.")
        object.__setattr__(self, "source", as_source(self.source))

    @property
    def data(self) -> Dataset:
        return self

    def rows(self, samples: Samples) -> list[Hashable]:
        """The name of the row that each sample is counted in; None for those that are left out."""
        if self.by == "all":
            return ["all"] * len(samples)
        if self.by == "sample":
            return list(samples.names)
        if callable(self.by):
            return [self.by(x, label) for x, label in zip(samples.x, samples.labels, strict=True)]
        if samples.label is None:
            raise QuestionError(
                "by='label' needs labels, and these samples have none. Give batches (x, label), or by='all'."
            )
        return list(samples.labels)

    def weights(self, samples: Samples) -> list[float]:
        """The weight of each sample. Errors: `QuestionError` for weights that are no numbers above 0."""
        if self.weight is None:
            return [1.0] * len(samples)
        found = [float(self.weight(x, label)) for x, label in zip(samples.x, samples.labels, strict=True)]
        for name, weight in zip(samples.names, found, strict=True):
            if not 0 < weight < float("inf"):
                raise QuestionError(f"{name} has the weight {weight!r}. Weights are above 0; by= leaves samples out.")
        return found

    def resolve(self, net: Net) -> Distribution:
        return self

    def subjects(self) -> Tensor:
        raise QuestionError("A data set is gone through block by block: it has no tensor of all its inputs.")

    def draws(self, chunk: int) -> Draws:
        raise QuestionError("A data set is drawn block by block.")
        yield
