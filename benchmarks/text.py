"""MiniLM with its real weights: its neurons beside its input, beside Captum, and a batch of texts beside each alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from captum.attr import LayerConductance
from torch import Tensor, nn

import influent as inf
from influent.embedding import baseline_of, vectors
from influent.errors import InputError

from .jobs import CHUNK, Comparison
from .record import update, versions
from .table import Setting, times
from .unit_error import relative

SENTENCE = "The film was not half as bad as the critics had said, and its music stayed with us for days."
OTHER = "I liked the movie, and I still hum its tunes."
STORY = (
    "The ferry left the harbour a little before six, when the lamps along the quay were still lit and the gulls had "
    "not yet begun to quarrel over what the fishermen threw back. Nobody on deck spoke much. A woman in a green coat "
    "counted her suitcases twice, found one too many, laughed, and gave it to the boy beside her, who had been looking "
    "for it all morning and was now late."
)
RESULTS = Path(__file__).with_name("text.json")
BARS = {"neurons": 1.3, "captum": 4.0, "batch": 1e-5, "same": 1e-10}


@dataclass(frozen=True)
class Size:
    """Points on a path (one more than a power of two), points of a reference, texts in the batch, their points, rounds.

    At one more than a power of two equal steps have no rounding errors, and Captum, which rounds, runs the same points.
    """

    points: int
    reference: int
    texts: int
    points_in_batch: int
    rounds: int


FULL = Size(points=65, reference=1025, texts=32, points_in_batch=17, rounds=9)
QUICK = Size(points=9, reference=65, texts=4, points_in_batch=5, rounds=1)


@dataclass(frozen=True)
class Case:
    """A net that makes a vector of a text, one text, and the vector `[1, channel]` that it is compared with."""

    net: inf.Net
    text: inf.Text
    to: Tensor

    @staticmethod
    def of(net: inf.Net, text: str, other: str) -> Case:
        """The case of two texts."""
        with torch.no_grad():
            return Case(net, net.read(text), net.module(**net.read(other).inputs))

    @property
    def places(self) -> inf.Transformer:
        """Its neurons, heads and residual streams."""
        return inf.transformer(self.net)

    def double(self) -> Case:
        """The same in float64."""
        return replace(self, net=replace(self.net, module=copy.deepcopy(self.net.module).double()), to=self.to.double())


class VectorsIn(nn.Module):
    """From the vectors of one text's tokens, `[point, token, channel] → cos [point]`: as Captum wants a net."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.encoder, self.to, self.mask = case.net.module.inside, case.to, case.text.inputs["attention_mask"]

    def forward(self, embeddings: Tensor) -> Tensor:
        """The mean over tokens, none of which is padding; its length does not matter."""
        mask = self.mask.expand(len(embeddings), -1)
        made = self.encoder(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state.mean(1)
        return torch.cosine_similarity(made, self.to, dim=1)


def main(threads: int, tuned: bool, quick: bool) -> int:
    """The suite: a table, what the numbers agree on, and text.json after a full run."""
    try:
        case = Case.of(inf.zoo.load("minilm"), SENTENCE, OTHER)
    except InputError as error:
        print(f"text: skipped. {error}")
        return 0
    torch.set_num_threads(threads)
    size, layers = QUICK if quick else FULL, case.places.residual
    batch = case.net.read(sentences(size.texts))
    print(f"MiniLM, one text of {case.text.ids.shape[1]} tokens, cosine with another text's vector")
    # Captum runs the encoder inside of what we run: samples are counted at its last layer.
    last = inf.Net(case.net.module.get_submodule(layers[-1]))
    jobs = [*comparisons(case, size.points), in_one_call(case, batch, size.points_in_batch)]
    found: dict[str, Any] = {"times": times(last, jobs, size.rounds, Setting(threads, tuned), layers)}
    print()
    found["batch"] = batch_agrees(case, batch, size.points_in_batch)
    found["captum"] = captum_agrees(case.double(), size)
    if not quick:
        about = {"versions": versions(), "threads": threads, "malloc tuned": tuned}
        update(RESULTS, "text", {**about, "found": found})
        print(f"\nwritten: benchmarks/{RESULTS.name}")
    return 0


def sentences(count: int) -> list[str]:
    """Pieces of a story, of 3 words and more, one word longer each."""
    words = STORY.split()
    return [" ".join(words[k : 2 * k + 3]) for k in range(count)]


def comparisons(case: Case, n: int) -> list[Comparison]:
    """The neurons of all layers, and more, beside integrated gradients and beside Captum."""
    places, embedding, count = case.places, case.net.embedding, len(case.places.neurons)
    neurons, everywhere = list(places.neurons), [*places.neurons, *places.heads, *places.residual]
    alone, bar, theirs = asked(case, embedding, n), BARS["neurons"], captum(case, n)
    return [
        Comparison(
            "neurons", f"conductance of the neurons of {count} layers / integrated gradients, {n} uniform points",
            asked(case, neurons, n), alone, bar,
        ),
        Comparison(
            "neurons adaptive", f"the same, {n} adaptive points", asked(case, neurons, n, "adaptive"),
            asked(case, embedding, n, "adaptive"), bar,
        ),
        Comparison(
            "everywhere", f"neurons, heads and residual streams / integrated gradients, {n} uniform points",
            asked(case, everywhere, n), alone, bar,
        ),
        Comparison(
            "captum", f"{count} calls of Captum's LayerConductance at the neurons / one sweep, {n} uniform points",
            lambda: [found.sum(1) for found in theirs()], asked(case, neurons, n, chunk=n),
            BARS["captum"], at_least=True, most=5,
        ),
    ]  # fmt: skip


def asked(case: Case, at: object, n: int, rule: str = "uniform", chunk: int = CHUNK) -> Callable[[], Any]:
    """Contributions at some places, from the net's own baseline to the text."""
    over = inf.Line(None, case.text, n=n, rule=rule)
    return lambda: inf.influence(case.net, at, inf.Similarity(case.to), over, inf.contribution, chunk=chunk)


def captum(case: Case, n: int) -> Callable[[], list[Tensor]]:
    """Captum's conductance of what each layer's MLP neurons give, `[1, token, neuron]`, layer by layer.

    With this method its points are the uniform ones, one more than `n_steps`.
    """
    net = VectorsIn(case).eval()
    end, start = vectors(case.net, case.text.ids), baseline_of(case.net, case.text, None)
    modules = [case.net.module.get_submodule(place.partition(":")[0]) for place in case.places.neurons]

    def run() -> list[Tensor]:
        how: dict[str, Any] = {"n_steps": n - 1, "method": "riemann_trapezoid", "attribute_to_layer_input": True}
        found = [LayerConductance(net, module).attribute(end, start, **how) for module in modules]
        return [(f[0] if isinstance(f, tuple) else f).detach() for f in found]

    return run


def in_one_call(case: Case, batch: inf.Text, n: int) -> Comparison:
    """Each text alone beside all in one call, which runs the padding, too: no bar."""
    neurons, lengths = list(case.places.neurons), (~batch.padding).sum(1)
    own = [asked(replace(case, text=case.net.read(text)), neurons, n) for text in batch.texts]
    return Comparison(
        "batch", f"{len(own)} texts of {int(lengths.min())} to {int(lengths.max())} tokens, in the mean "
        f"{float(lengths.double().mean()):.1f}, each alone / in one call, padded, {n} uniform points",
        lambda: [one() for one in own], asked(replace(case, text=batch), neurons, n), bar=None, most=3,
    )  # fmt: skip


def batch_agrees(case: Case, batch: inf.Text, n: int) -> dict[str, Any]:
    """The largest difference that padding makes, at the neurons and at the tokens themselves."""
    places = [*case.places.neurons, f"{case.net.embedding}/token"]
    together = asked(replace(case, text=batch), places, n)()
    apart, size = 0.0, 0.0
    for row, text in enumerate(batch.texts):
        alone = asked(replace(case, text=case.net.read(text)), places, n)()
        for place in places:
            one, all_of_it = alone[place].values[0], together[place].values[row]
            one = nn.functional.pad(one, (0, len(all_of_it) - len(one)))
            apart, size = max(apart, float((one - all_of_it).abs().max())), max(size, float(one.abs().max()))
    met = apart <= BARS["batch"]
    print(f"batch: {apart:.1e} is the largest difference of attributions in a padded batch of {len(batch)} and alone; "
          f"the largest attribution {size:.2g}; bar {BARS['batch']:g} {'met' if met else 'MISSED'}")  # fmt: skip
    return {"largest difference": apart, "largest attribution": size, "bar": BARS["batch"], "met": met}


def captum_agrees(case: Case, size: Size) -> dict[str, Any]:
    """In float64: our left sums are Captum's, neuron by neuron and token by token; both rules against many points.

    Captum counts each segment with the slope at its beginning, whatever its method; our other rules with both ends'.
    """
    n, places = size.points, [place.partition("/")[0] for place in case.places.neurons]
    left, uniform, fine = (
        [a.values for a in asked(case, places, points, rule)().values()]
        for points, rule in ((n, "left"), (n, "uniform"), (size.reference, "uniform"))
    )
    theirs = captum(case, n)()
    apart = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(left, theirs, strict=True))
    off = {
        name: max(relative(a.sum(1), b.sum(1)) for a, b in zip(found, fine, strict=True))
        for name, found in (("captum", theirs), ("ours", uniform))
    }
    met = apart <= BARS["same"]
    print(f"captum: {apart:.1e} of the largest is the largest difference of Captum's conductance and our rule=\"left\" "
          f"at the same {n} points, float64; bar {BARS['same']:g} {'met' if met else 'MISSED'}\n"
          f"    neurons are off by {off['captum']:.2%} (Captum) and {off['ours']:.2%} (our rule=\"uniform\") of "
          f"{size.reference} points, the worst layer")  # fmt: skip
    return {"largest difference": apart, "bar": BARS["same"], "met": met, f"off {size.reference} points": off}
