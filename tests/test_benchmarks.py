"""Counts, never times: how many samples a question sends through the net, and the arithmetic of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import influent as inf
from benchmarks import record, small_nets, suite, text, tolerance, unit_error
from benchmarks.table import Setting
from benchmarks.workload import Samples, counted, evenly, floor, real_photos
from influent.errors import InputError
from influent.text import TextTransform, Words
from influent.zoo.sentences import SentenceEncoder

NINE = [str(k) for k in range(1, 18, 2)]


@pytest.fixture
def net() -> nn.Module:
    """Nine hidden layers of three units, with a kink after each."""
    torch.manual_seed(0)
    layers = [layer for _ in range(9) for layer in (nn.Linear(3, 3), nn.Softplus())]
    return nn.Sequential(*layers, nn.Linear(3, 2)).double().eval().requires_grad_(False)


def photos(count: int) -> Tensor:
    return torch.linspace(-1, 1, 3 * count, dtype=torch.float64).reshape(count, 3)


def samples(net: nn.Module, at: str | list[str], over: inf.Distribution, measure: object = inf.gradient) -> Samples:
    """What went through the net, after a look at whether the result says the same."""
    with counted(net) as seen:
        found = inf.influence(net, at=at, of=inf.Class(1), over=over, measure=measure, chunk=4)
    for a in found.values() if isinstance(found, dict) else [found]:
        assert (a.cost.forward, a.cost.backward) == (seen.forward, seen.backward)
    return seen


def test_point_costs_one_pass_forward_and_one_back_for_each_photo(net: nn.Module) -> None:
    assert samples(net, "9", inf.Point(photos(5))) == Samples(forward=5, backward=5)


def test_point_costs_as_much_as_the_floor(net: nn.Module) -> None:
    with counted(net) as least:
        floor(net, "9", photos(5), 1, chunk=4)
    assert samples(net, "9", inf.Point(photos(5))) == least


@pytest.mark.parametrize("rule", ["uniform", "graded", "adaptive"])
def test_a_path_costs_its_points_and_one_look_at_the_cut(net: nn.Module, rule: str) -> None:
    over = inf.Line(photos(1) * 0, photos(1), n=9, rule=rule)
    # One more sample goes forward, taped but never back, to see whether the cut is full.
    assert samples(net, "9", over, inf.contribution) == Samples(forward=9 + 1, backward=9)


def test_gradients_on_a_static_path_cost_no_more_than_contributions(net: nn.Module) -> None:
    seen = samples(net, "9", inf.Line(photos(1) * 0, photos(1), n=9, rule="uniform"))
    assert seen.backward == 9
    assert 9 <= seen.forward <= 9 + 1


@pytest.mark.parametrize("measure", [inf.gradient, inf.contribution])
@pytest.mark.parametrize("rule", ["uniform", "graded", "adaptive"])
def test_nine_cuts_cost_as_many_samples_as_one(net: nn.Module, rule: str, measure: object) -> None:
    over = inf.Line(photos(2)[:1], photos(2)[1:], n=17, rule=rule)
    assert samples(net, NINE, over, measure) == samples(net, NINE[0], over, measure)


def test_nine_cuts_at_a_point_cost_as_many_samples_as_one(net: nn.Module) -> None:
    assert samples(net, NINE, inf.Point(photos(5))) == samples(net, NINE[0], inf.Point(photos(5)))


def test_more_measures_cost_no_more_samples(net: nn.Module) -> None:
    over = inf.Line(photos(1) * 0, photos(1), n=9, rule="graded")
    with counted(net) as seen:
        inf.influence(net, at="9", of=inf.Class(1), over=over, measure=[inf.gradient, inf.contribution])
    assert seen == samples(net, "9", over, inf.contribution)


def test_more_quantities_cost_passes_back_but_none_forward(net: nn.Module) -> None:
    with counted(net) as seen:
        inf.influence(net, at="9", of=[inf.Class(0), inf.Class(1)], over=inf.Point(photos(5)))
    assert seen == Samples(forward=5, backward=10)


# The arithmetic of the suite of conductance.


def reached(n: int, gap: float) -> tolerance.Reached:
    return tolerance.Reached("photo", n, gap)


def test_a_photo_climbs_until_its_gap_is_small() -> None:
    steps = tolerance.climb((33, 65, 129, 257), lambda n: reached(n, 1 / n))
    assert [s.points for s in steps] == [33, 65, 129]


def test_a_photo_that_never_gets_there_has_climbed_the_whole_ladder() -> None:
    steps = tolerance.climb((33, 65), lambda n: reached(n, 0.5))
    assert [s.points for s in steps] == [33, 65]
    assert not steps[-1].met


def test_a_fixed_rule_must_serve_the_worst_photo() -> None:
    assert tolerance.needed([reached(33, 0.001), reached(129, 0.009)]) == 129
    assert tolerance.needed([reached(33, 0.001), reached(2049, 0.02)]) is None


def test_one_photo_refutes_a_rule_and_no_further_one_is_asked() -> None:
    asked = []

    def reach(photo: str, n: int) -> tolerance.Reached:
        asked.append(photo)
        return tolerance.Reached(photo, n, 0.5 if photo == "b" else 0.0)

    found = tolerance.refuted(33, ["a", "b", "c"], reach)
    assert found is not None
    assert (found.photo, asked) == ("b", ["a", "b"])
    assert tolerance.refuted(33, ["a", "c"], reach) is None


@pytest.mark.parametrize(
    ("gaps", "fixed", "met"), [((0.001, 0.002), 65, True), ((0.001, 0.02), 65, False), ((0.001, 0.002), 33, False)]
)
def test_tolerance_is_met_by_small_gaps_and_fewer_points(gaps: tuple[float, ...], fixed: int, met: bool) -> None:
    assert tolerance.verdict([reached(40, gap) for gap in gaps], fixed) is met


def test_relative_error_over_neurons_and_over_channels() -> None:
    reference = torch.tensor([[[1.0, 3.0], [-4.0, 0.0]]])
    found = torch.tensor([[[2.0, 2.0], [-4.0, 2.0]]])
    assert unit_error.relative(found, reference) == pytest.approx(4 / 8)
    assert unit_error.relative(found, reference, channels=True) == pytest.approx(2 / 8)


def test_captum_is_as_good_where_no_layer_is_worse() -> None:
    theirs = {256: {"a": 0.01, "b": 0.03}, 128: {"a": 0.02, "b": 0.05}}
    assert unit_error.as_good({"a": 0.02, "b": 0.03}, theirs) == 256
    assert unit_error.as_good({"a": 0.02, "b": 0.01}, theirs) is None


@pytest.mark.parametrize("layers", [1, 4])
def test_the_steps_at_a_cost_are_the_most_that_it_pays_for(layers: int) -> None:
    n = unit_error.steps_at(1048, layers)
    assert 2 * layers * (n + 1) <= 1048 < 2 * layers * (n + 2)


def test_left_sums_are_what_captum_gives() -> None:
    from captum.attr import LayerConductance

    net, x = small_nets.KINDS[0].make(0), small_nets.input_of(0)
    ((left, both),), _ = unit_error.left_sums(net, ["3"], [lambda y: y[:, 3], lambda y: y[:, 4]], 0 * x, x, steps=20)
    theirs = LayerConductance(net, net[3]).attribute(x, 0 * x, target=3, n_steps=20, internal_batch_size=7)
    torch.testing.assert_close(left, theirs.detach(), rtol=1e-12, atol=1e-14)
    assert not torch.allclose(left, both)


def test_captum_gets_at_least_as_many_passes_on_small_nets() -> None:
    net, x = small_nets.KINDS[2].make(0), small_nets.input_of(0)
    found = small_nets.beside_captum(net, x, "gauss", 5, torch.ones(1, 16, 8, 8))
    # Five nodes forward, back and forward with velocity (twice as dear); two ends and one look at the cut.
    assert found.passes == 5 + 5 + 2 * 5 + 2 + 1
    assert found.passes <= 2 * (found.steps + 1) <= found.passes + 1


def test_photos_are_the_middles_of_equal_parts() -> None:
    assert evenly(1000, 10) == [50, 150, 250, 350, 450, 550, 650, 750, 850, 950]
    assert evenly(3, 3) == [0, 1, 2]


def test_missing_photos_are_a_lesson(monkeypatch: pytest.MonkeyPatch, net: nn.Module) -> None:
    monkeypatch.delenv("INFLUENT_DATA", raising=False)
    with pytest.raises(InputError, match="export INFLUENT_DATA=FOLDER"):
        real_photos(inf.Net(net), 2)


def test_a_part_replaces_its_own_key_only(tmp_path: Path) -> None:
    place = tmp_path / "results.json"
    record.update(place, "times", {"ratio": 1.0})
    record.update(place, "memory", [2])
    record.update(place, "times", {"ratio": 3.0})
    assert json.loads(place.read_text()) == {"times": {"ratio": 3.0}, "memory": [2]}
    assert list(tmp_path.iterdir()) == [place]


def test_a_part_without_its_data_is_skipped_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def missing(quick: bool, setting: Setting) -> None:
        raise InputError("The photos are not here.")

    monkeypatch.setattr(suite, "PARTS", {"one": missing, "two": lambda quick, setting: {"quick": quick}})
    monkeypatch.setattr(suite, "RESULTS", tmp_path / "results.json")
    assert suite.run(None, quick=False, setting=Setting(1, False)) == 0
    assert "one: skipped. The photos are not here." in capsys.readouterr().out
    assert json.loads(suite.RESULTS.read_text())["two"]["found"] == {"quick": False}


# The suite of text, on a sentence encoder of two small layers.

TWO = ("the film was not half as bad", "i liked the music")


@pytest.fixture
def encoder() -> inf.Net:
    """A BERT with random weights that makes vectors of texts."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
        initializer_range=0.5,
    )  # fmt: skip
    module = SentenceEncoder(transformers.BertModel(config)).double().eval().requires_grad_(False)
    return inf.Net(module, transform=TextTransform(Words(" ".join(TWO).split())))


def test_all_neurons_of_an_encoder_cost_as_many_samples_as_its_tokens(encoder: inf.Net) -> None:
    neurons, adaptive, everywhere, captum = text.comparisons(text.Case.of(encoder, *TWO), 9)
    for job in (neurons, adaptive, everywhere):
        for side in (job.job, job.base):
            with counted(encoder.module) as seen:
                side()
            assert seen == Samples(forward=9 + 1, backward=9)
    with counted(encoder.module.get_submodule("inside.encoder.layer.1")) as theirs:
        captum.job()
    assert theirs == Samples(forward=2 * 9, backward=2 * 9)


def test_captum_and_our_left_sums_are_the_same_numbers_at_the_neurons(encoder: inf.Net) -> None:
    found = text.captum_agrees(text.Case.of(encoder, *TWO), text.QUICK)
    assert found["met"] and found["largest difference"] < 1e-12
    assert found["off 65 points"]["ours"] < found["off 65 points"]["captum"]


def test_padding_changes_no_attribution(encoder: inf.Net) -> None:
    batch = encoder.read(list(TWO))
    assert batch.padding.any()
    found = text.batch_agrees(text.Case.of(encoder, *TWO), batch, 5)
    assert found["largest difference"] < 1e-14 < found["largest attribution"]


def test_texts_of_the_batch_are_one_word_longer_each() -> None:
    assert [len(one.split()) for one in text.sentences(32)] == list(range(3, 35))


def test_a_quick_run_of_the_suite_of_text_says_all_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, encoder: inf.Net
) -> None:
    monkeypatch.setattr(inf.zoo, "load", lambda name: encoder)
    monkeypatch.setattr(text, "RESULTS", tmp_path / "text.json")
    assert text.main(1, False, quick=True) == 0
    said = capsys.readouterr().out
    assert all(f"\n{name} " in said for name in ("neurons", "neurons adaptive", "everywhere", "captum", "batch"))
    assert "bar 1e-05 met" in said and "bar 1e-10 met" in said
    assert not list(tmp_path.iterdir())


def test_without_minilm_the_suite_of_text_is_skipped_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> inf.Net:
        raise InputError("MiniLM's weights are not here.")

    monkeypatch.setattr(inf.zoo, "load", missing)
    assert text.main(1, False, quick=True) == 0
    assert capsys.readouterr().out == "text: skipped. MiniLM's weights are not here.\n"
