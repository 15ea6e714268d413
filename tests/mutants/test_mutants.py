"""Every law kills the mutant that it was written for, and none kills the naive machine or ours."""

from __future__ import annotations

import pytest

import influent as inf
from tests import worlds
from tests.laws import data as data_laws
from tests.laws import laws
from tests.laws import near as near_laws
from tests.mutants import data, naive, near
from tests.worlds import noise


def ball(x):
    return inf.Gaussian(x, std=0.2, n=5, seed=2)


def completeness(ask):
    x = noise(3, 4, seed=1)
    for n in (2, 5, 9):
        laws.law_completeness(ask, worlds.relu_mlp(), "1", inf.Predicted(), inf.Line(0 * x, x, n, "uniform"))


def batch_of_points(ask):
    laws.law_batch_equals_singles(ask, inf.Point)


def batch_of_balls(ask):
    laws.law_batch_equals_singles(ask, ball)


def chunk(ask):
    laws.law_chunk_does_not_matter(ask, ball)


def left_alone(ask):
    laws.law_net_is_left_alone(ask)


def left_alone_by_a_ball(ask):
    laws.law_net_is_left_alone(ask, ball)


KILLS = {
    naive.LostWeight: laws.law_weights_sum_to_one,
    naive.WholeEnds: laws.law_ends_weigh_one_half,
    naive.LeftPoint: laws.law_reversed_path_negates,
    naive.RetakenMax: laws.law_predicted_is_fixed,
    naive.SizeAfterAverage: laws.law_magnitude_is_taken_at_each_point,
    naive.SizeBeforeGrouping: laws.law_magnitude_is_taken_at_each_point,
    naive.ProductOfSums: laws.law_groups_are_plain_sums,
    naive.NotCloned: laws.law_overwriting_changes_nothing,
    naive.SignedResidual: laws.law_residual_does_not_cancel,
    naive.ForgottenSegment: completeness,
    naive.HookLeft: left_alone,
    naive.WeightsLeftFrozen: left_alone,
    naive.AllWeightsThawed: left_alone,
    naive.GradientsLeft: left_alone,
    naive.FirstRowDecides: batch_of_points,
    naive.NoiseByRow: batch_of_balls,
    naive.NoiseByChunk: chunk,
    naive.GlobalNoise: left_alone_by_a_ball,
    naive.SpreadForError: laws.law_standard_error,
    naive.BiasedError: laws.law_standard_error,
    naive.RawMixture: laws.law_mixture_weights_are_divided_by_their_sum,
    naive.RuleOfModules: laws.law_a_backward_rule_holds_however_a_relu_is_written,
    naive.RuleForgotten: laws.law_a_backward_rule_holds_however_a_relu_is_written,
    naive.RuleOnce: laws.law_a_backward_rule_holds_however_a_relu_is_written,
    naive.GuidedForDeconvnet: laws.law_a_backward_rule_holds_however_a_relu_is_written,
}


def name(thing):
    return thing.__name__


@pytest.mark.parametrize("mutant", KILLS, ids=name)
def test_the_law_kills_the_mutant(mutant):
    # An AssertionError, not just any error: the mutant must answer, and answer wrongly.
    with pytest.raises(AssertionError):
        KILLS[mutant](mutant())


@pytest.mark.parametrize("law", dict.fromkeys(KILLS.values()), ids=name)
def test_the_naive_machine_keeps_the_law(law):
    law(naive.Naive())


@pytest.mark.parametrize("law", dict.fromkeys(KILLS.values()), ids=name)
def test_ours_keeps_the_law(law):
    law(inf.influence)


def test_every_mutant_in_the_file_is_killed_by_a_law():
    mutants = {m for m in vars(naive).values() if isinstance(m, type) and issubclass(m, naive.Naive)}
    assert mutants - {naive.Naive} == set(KILLS)


def test_every_law_kills_a_mutant():
    used = {law.__name__ for law in KILLS.values()} | {
        "law_completeness", "law_batch_equals_singles", "law_chunk_does_not_matter", "law_net_is_left_alone",
    }  # fmt: skip
    assert {k for k in vars(laws) if k.startswith("law_")} <= used


KILLS_OF_DATA = {
    data.MeanOfBatchMeans: data_laws.law_rows_are_means_over_their_class,
    data.FirstClassForAll: data_laws.law_rows_are_means_over_their_class,
    data.OrderOfAppearance: data_laws.law_rows_are_means_over_their_class,
    data.SpreadOfSamples: data_laws.law_errors_are_those_of_samples,
    data.SumForMean: data_laws.law_a_mixture_of_halves_is_the_whole,
}
LAWS_OF_DATA = [*dict.fromkeys(KILLS_OF_DATA.values()), data_laws.law_of_two_nets_only_their_slopes_on_the_data_matter]


@pytest.mark.parametrize("mutant", KILLS_OF_DATA, ids=name)
def test_the_law_of_data_kills_the_mutant(mutant):
    with pytest.raises(AssertionError):
        KILLS_OF_DATA[mutant](mutant())


@pytest.mark.parametrize("law", LAWS_OF_DATA, ids=name)
@pytest.mark.parametrize("ask", [data_laws.ours, data.Pass()], ids=["ours", "naive"])
def test_ours_and_the_naive_pass_keep_the_laws_of_data(law, ask):
    law(ask)


KILLS_OF_NEAR = {
    near.NothingSkipped: near_laws.law_x_among_the_data_is_skipped,
    near.ExpandedSquares: near_laws.law_near_duplicates_are_exact,
    near.ExpandedFarAway: near_laws.law_far_from_the_origin_nothing_is_lost,
    near.LabelsOfTheData: near_laws.law_sums_of_a_double_loop,
    near.LabelOfXFromTheData: near_laws.law_sums_of_a_double_loop,
    near.Normalised: near_laws.law_nothing_is_normalised,
    near.SignOfAClass: near_laws.law_swapped_labels_change_nothing,
    near.PointsForSteps: near_laws.law_shift_changes_nothing,
    near.CityBlock: near_laws.law_rotation_turns_the_answer,
    near.AuthorsNorm: near_laws.law_coherence_has_no_scale,
    near.SkippedByDistance: near_laws.law_rounding_between_batches_is_no_distance,
    near.SingleLabel: near_laws.law_batches_and_chunk_do_not_matter,
}


@pytest.mark.parametrize("mutant", KILLS_OF_NEAR, ids=name)
def test_the_law_of_near_points_kills_the_mutant(mutant):
    with pytest.raises(AssertionError):
        KILLS_OF_NEAR[mutant](mutant())


@pytest.mark.parametrize("law", near_laws.LAWS, ids=name)
@pytest.mark.parametrize("ask", [near_laws.ours, near.Pairs()], ids=["ours", "naive"])
def test_ours_and_the_naive_pairs_keep_the_laws_of_near_points(law, ask):
    law(ask)


def test_every_law_of_near_points_kills_a_mutant_and_every_mutant_is_killed():
    mutants = {m for m in vars(near).values() if isinstance(m, type) and issubclass(m, near.Pairs)}
    assert mutants - {near.Pairs} == set(KILLS_OF_NEAR)
    assert set(KILLS_OF_NEAR.values()) == set(near_laws.LAWS)
