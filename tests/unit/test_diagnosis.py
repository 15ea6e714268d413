"""`inf.debug` on nets whose fault is made by hand: what is seen of each class, why, and which units do it."""

import json
import math
import random
from dataclasses import replace

import pytest
import torch

import influent as inf
from influent.confusion import see
from influent.cut import Cut
from influent.drowning import Bench, Told, instead_of, try_class
from influent.mistakes import by_chance, explain_mistakes, grouped
from influent.samples import as_source

# Red and blue are read by two units each, and tell warm from cold; rare is warm with green, which one unit sees:
# - "drowns": the green unit says rare, less loudly than the red ones say warm;
# - "biased": as before, with nothing but a bias against rare, which no units undo;
# - "blind": no unit sees green;
# - "healthy": the green unit is loud enough.
NET = """
import torch
from torch import nn
import influent as inf

COLOURS = {"warm": (0.8, 0.1, 0.1), "cold": (0.1, 0.1, 0.8), "rare": (0.8, 0.5, 0.1)}

def made(kind):
    conv, head = nn.Conv2d(3, 16, 1, bias=False), nn.Linear(16 * 4, 3)
    dice = torch.Generator().manual_seed(0)
    weight = torch.rand(16, 3, generator=dice)
    weight[:5] = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0]])
    weight[4:, 1] *= kind != "blind"
    conv.weight.data = weight[:, :, None, None]
    says = 0.05 * torch.randn(3, 16, generator=dice)
    says[:, :5] = torch.tensor([[3.0, 3, 0, 0, 0], [0, 0, 3, 3, 0], [0, 0, 0, 0, 3]])
    says[2, 4] = 12.0 if kind == "healthy" else 3.0
    head.weight.data, head.bias.data = says.repeat_interleave(4, 1) / 4, torch.zeros(3)
    head.bias.data[2] = -9.0 if kind == "biased" else 0.0
    pixels = inf.PixelTransform((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), resize=2, crop=2)
    module = nn.Sequential(conv, nn.Flatten(), head).eval()
    return inf.Net(module, labels=list(COLOURS), transform=pixels, layer="0/channel")

def drowns():
    return made("drowns")

def biased():
    return made("biased")

def healthy():
    return made("healthy")

def blind():
    return made("blind")
"""
WORDS = {}
exec(NET, WORDS)
made = WORDS["made"]


def data(count=40, seed=0, batch=50, **more):
    """Images of 2 × 2 pixels, `count` of each class, in batches; classes may have `more` colours than the net's."""
    colours = torch.tensor(list({**WORDS["COLOURS"], **more}.values()))
    label = torch.arange(3 * count) % 3
    noise = 0.1 * torch.randn(3 * count, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    x = (colours[label][:, :, None, None] + noise).clamp(0, 1)
    return list(zip(x.split(batch), label.split(batch), strict=True))


def kinds(report):
    return [(f.kind, f.subject) for f in report.findings]


def bench(kind, batches, at="0/channel", **limits):
    net = made(kind)
    return Bench(net, Cut(at), as_source(batches), see(net, at, inf.Dataset(batches)), inf.Limits(**limits), 64)


# Verdicts


def test_a_class_that_no_unit_sees_was_not_learned():
    report = inf.debug(made("blind"), data())
    assert kinds(report) == [
        ("never said", "rare"), ("not learned", "rare"), ("confusion", "rare → warm"), ("mistakes", "rare → warm")
    ]  # fmt: skip
    (tried,) = report.tried
    assert (tried.instead, tried.rival, tried.net.hits, tried.net.count) == (0, 0, 0, 20)
    assert not tried.finds(report.limits) and tried.misses(report.limits) and 0.3 < tried.score < 0.7
    assert report.findings[1].value == tried.relaxed.apart and tried.relaxed.interval[1] < 0.5


def test_a_class_whose_unit_is_outweighed_drowns_and_comes_back():
    report = inf.debug(made("drowns"), data())
    assert kinds(report)[:2] == [("never said", "rare"), ("drowning", "rare")]
    (tried,) = report.tried
    # The green unit alone; what outweighs it are the red ones, and units of mixtures.
    assert tried.units == (4,) and tried.relaxed == Told(20, 20, 0, 20) and tried.strict == tried.relaxed
    quiet = tried.silenced
    assert set(quiet.units[:2]) == {0, 1} and quiet.outweighed == quiet.lost == 20
    assert quiet.told.hits >= 18 and tried.comes_back(report.limits)
    # Red is as bright in rare as in warm.
    assert quiet.activity == pytest.approx(1.0, abs=0.3)
    # One of 16 units is green.
    assert tried.share_of_lot == pytest.approx(1 / 16, abs=4 * math.sqrt(1 / 16 / 99))
    assert "Silenced, " in report.findings[1].seen and report.findings[1].sure.startswith("Sure: units find it")


def test_a_class_that_its_bias_holds_down_is_not_called_unlearned():
    report = inf.debug(made("biased"), data())
    assert kinds(report)[:2] == [("never said", "rare"), ("held down", "rare")]
    (tried,) = report.tried
    assert tried.score > 0.95 and tried.score_p < 1e-4 and not tried.misses(report.limits)


def test_a_healthy_net_has_no_finding():
    for seed in range(20):
        report = inf.debug(made("healthy"), data(seed=seed))
        assert report.findings == () and report.tried == () and report.accuracy > 0.9
    assert "no finding" in str(report)


def test_a_class_of_few_samples_has_no_verdict():
    (first, *_) = data(count=100, batch=300)
    keep = (first[1] != 2) | (first[1] == 2).cumsum(0).le(12)
    report = inf.debug(made("blind"), [(first[0][keep], first[1][keep])])
    assert kinds(report)[:2] == [("never said", "rare"), ("too few samples", "rare")]
    assert (report.findings[1].value, report.findings[1].threshold, report.tried) == (12, 20, ())


def test_a_recall_that_may_be_above_the_threshold_is_no_finding():
    # 0 of 11: the interval ends at 26 %.
    (first, *_) = data(count=100, batch=300)
    keep = (first[1] != 2) | (first[1] == 2).cumsum(0).le(11)
    report = inf.debug(made("blind"), [(first[0][keep], first[1][keep])])
    assert [kind for kind, _ in kinds(report)] == ["too few samples", "confusion", "mistakes"]


def test_a_class_without_any_influence_was_not_learned():
    net = made("blind")
    net.module[2].weight.data[2] = 0.0
    report = inf.debug(net, data())
    verdict = report.findings[1]
    assert verdict.kind == "not learned" and verdict.seen == "No unit at 0/channel has any influence on its score."


def test_units_that_always_say_the_class_do_not_find_it():
    net = made("blind")
    # Red says rare, too, and less than warm: alone it says rare of both.
    net.module[2].weight.data[2] = net.module[2].weight.data[0] * 0.9
    report = inf.debug(net, data())
    assert kinds(report)[1] == ("not learned", "rare")


def test_what_is_not_there_is_rarely_found():
    """Where rare and warm are one colour, a verdict that the net knows rare is false: both tests, 5 % each."""
    found, ranked = 0, 0
    for seed in range(100):
        tried = try_class(bench("drowns", data(20, seed, rare=(0.8, 0.3, 0.1), warm=(0.8, 0.3, 0.1)), draws=1), 2)
        found += tried.finds(inf.Limits())
        ranked += tried.ranks(inf.Limits())
    # And three standard errors.
    assert max(found, ranked) / 100 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)


def test_without_a_rival_of_enough_samples_the_class_is_told_from_all_others():
    (first, *_) = data(count=60, batch=180)
    keep = (first[1] != 0) | (first[1] == 0).cumsum(0).le(8)
    tried = try_class(bench("blind", [(first[0][keep], first[1][keep])], draws=1), 2)
    assert (tried.instead, tried.rival) == (0, None) and tried.net.others == 34


def test_no_more_samples_are_looked_at_than_is_said():
    tried = try_class(bench("drowns", data(), draws=1, most=7), 2)
    assert (tried.net.count, tried.net.others, tried.silenced.lost) == (7, 7, 7)


# Numbers


def test_told_apart_is_recall_less_false_alarms():
    told = Told(9, 10, 3, 10)
    assert told.apart == pytest.approx(0.6) and told.interval[0] < 0.6 < told.interval[1] and told.recall == 0.9
    assert math.isnan(Told(9, 10, 0, 0).apart) and Told(9, 10, 0, 0).interval == (-1, 1)


@pytest.mark.parametrize("count", [10, 40])
def test_at_one_half_a_score_s_interval_is_that_of_chance(count):
    tried = try_class(bench("blind", data(2 * count), draws=1), 2)
    chance = replace(tried, score=0.5)
    # All samples count. Mann and Whitney's variance is (n + m + 1) / 12nm.
    half = 1.959963984540054 * math.sqrt((4 * count + 1) / (12 * (2 * count) ** 2))
    assert tried.scored == (2 * count, 2 * count)
    assert chance.score_interval == pytest.approx((0.5 - half, 0.5 + half), abs=1e-12)
    assert chance.score_p == 0.5 and replace(tried, score=math.nan).score_p == 1


def test_a_score_that_may_be_in_order_is_not_called_unlearned():
    tried = try_class(bench("blind", data(80), draws=1), 2)
    verdicts = [(s, replace(tried, score=s)) for s in (0.5, 0.61, 0.7, 0.76)]
    limits = inf.Limits()
    # Significantly above one half from 0.61 on, and surely below 0.75 up to it.
    assert [(one.misses(limits), one.ranks(limits)) for _, one in verdicts] == [
        (True, False), (True, False), (False, False), (False, True)
    ]  # fmt: skip


def test_pulls_are_the_head_s_weights_times_activations():
    one = bench("drowns", data())
    rows = one.seen.where(2)[:5]
    head = one.net.module[2].weight.double()[:, ::4] * 4
    x = torch.cat([b[0] for b in data()])[rows]
    units = one.net.module[0](x).detach().double().mean((2, 3))
    assert torch.allclose(one.pulls(0, 2, rows), (head[0] - head[2]) * units, atol=1e-5)


def test_the_class_said_instead_is_the_one_said_most():
    one = bench("blind", data())
    assert instead_of(one.seen, 2) == 0
    seen = replace(one.seen, said=torch.where(one.seen.label == 2, 1, one.seen.said))
    assert instead_of(seen, 2) == 1


# Mistakes


def test_mistakes_of_one_cause_are_one_group():
    # Rare images that are blue instead of green are called cold.
    report = inf.debug(made("healthy"), data(rare=(0.1, 0.0, 0.9)))
    found = report.mistakes[0]
    assert (found.pair.true, found.pair.said, found.looked, found.alone) == (2, 1, 40, 0)
    (group,) = found.groups
    assert len(group.names) == 40 and group.cosine > 0.9 and {u.unit for u in group.units[:2]} == {2, 3}
    # Some of the 40 cold images are as blue.
    assert found.units[0].others == 40 and 0 < found.units[0].elsewhere < 40
    assert kinds(report)[-1] == ("mistakes", "rare → cold")


def test_mistakes_of_two_causes_are_two_groups():
    # Units are inputs; two of them say class 0, each by itself.
    net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(4, 3, bias=False)).eval()
    net[1].weight.data = torch.tensor([[2.0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    rows = torch.tensor([[1.0, 0, 0, 1]] * 20 + [[0, 1, 0, 1.2]] * 10 + [[0, 0, 1, 0]] * 20 + [[3, 0, 0, 0]] * 5)
    label = torch.tensor([2] * 30 + [1] * 20 + [0] * 5)
    report = inf.debug(net, [(rows, label)], at="0/channel")
    (found,) = report.mistakes
    # Pulls are (2, 0, 0, −1) and (0, 2, 0, −1.2).
    assert [len(group.names) for group in found.groups] == [20, 10] and found.alone == 0
    assert [[(u.unit, u.pull) for u in group.units] for group in found.groups] == [[(0, 2.0)], [(1, 2.0)]]
    # Of 15 others that are said to be class 0, the five of class 0 fire the first unit as much; no other the second.
    assert [(g.units[0].elsewhere, g.units[0].others) for g in found.groups] == [(5, 15), (0, 25)]
    assert report.findings[-1].value == pytest.approx(1.0) and "20 by units 0 (+2)" in report.findings[-1].seen


def test_grouping_is_average_linkage():
    dice = random.Random(0)
    rows = torch.tensor([[dice.gauss(0, 1) for _ in range(4)] for _ in range(14)], dtype=torch.float64)
    for alike in (0.2, 0.5, 0.8):
        groups = [[k] for k in range(14)]
        unit = rows / rows.norm(dim=1, keepdim=True)
        while len(groups) > 1:
            links = {
                (a, b): sum(float(unit[i] @ unit[j]) for i in groups[a] for j in groups[b])
                / (len(groups[a]) * len(groups[b]))
                for a in range(len(groups)) for b in range(a)
            }  # fmt: skip
            (a, b), best = max(links.items(), key=lambda item: item[1])
            if best < alike:
                break
            groups[b] += groups.pop(a)
        assert grouped(rows, alike) == sorted(map(sorted, groups), key=lambda g: (-len(g), g))


def test_groups_do_not_depend_on_the_size_of_pulls():
    rows = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
    scaled = rows * torch.rand(20, 1, generator=torch.Generator().manual_seed(2)).add(0.1)
    assert grouped(rows, 0.4) == grouped(scaled, 0.4)
    with pytest.raises(inf.QuestionError, match=r"^Pulls are float32 \[5\]: give a row for each mistake"):
        grouped(rows[0], 0.5)


def test_chance_is_what_shuffled_units_reach():
    rows = torch.randn(40, 400, generator=torch.Generator().manual_seed(1))
    # Cosines of independent rows are normal with a standard deviation of 1/√400.
    assert by_chance(rows) == pytest.approx(1.645 / 20, rel=0.15)
    assert math.isnan(by_chance(rows[:1]))


def test_a_single_mistake_is_alone():
    one = bench("blind", data())
    pair = inf.debug(made("blind"), data()).confusions[0]
    rows = one.seen.where(2, 0)
    seen = replace(one.seen, label=torch.where(torch.arange(120) == rows[0], 2, one.seen.said))
    found = explain_mistakes(replace(one, seen=seen), replace(pair, count=1))
    assert (found.looked, found.groups, found.alone) == (1, (), 1) and math.isnan(found.chance)


# The report


def test_the_report_is_text_and_json():
    report = inf.debug(made("drowns"), data())
    text = str(report)
    assert text.startswith("120 samples of 3 classes, 66.7% right; units at 0/channel")
    assert "rare → warm: 40 of 40" in text and "drowning: rare" in text and "  try: " in text
    stored = json.loads(report.json)
    assert [f["kind"] for f in stored["findings"]] == [f.kind for f in report.findings]
    assert stored["confusion"] == report.confusion.tolist() == [[40, 0, 0], [0, 40, 0], [40, 0, 0]]
    assert stored["tried"][0]["silenced"]["told"]["hits"] == report.tried[0].silenced.told.hits
    assert stored["limits"]["draws"] == 99 and "NaN" not in report.json


def test_the_report_is_the_same_again_and_in_other_chunks_and_batches():
    one = inf.debug(made("drowns"), data())
    two = inf.debug(made("drowns"), data(batch=7), chunk=5)
    assert [(f.kind, f.subject) for f in one.findings] == [(f.kind, f.subject) for f in two.findings]
    (first,), (second,) = one.tried, two.tried
    assert replace(first, silenced=None) == replace(second, silenced=None)
    assert first.silenced.activity == pytest.approx(second.silenced.activity, rel=1e-5)
    assert replace(first.silenced, activity=0) == replace(second.silenced, activity=0)


def test_progress_is_what_was_planned():
    done, planned = [], []
    inf.debug(made("drowns"), data(), progress=done.append, planned=planned.append)
    assert sum(done) == 120 + sum(planned)


def test_the_middle_layer_is_looked_at_where_none_is_named():
    net = replace(made("drowns"), layer=None)
    assert inf.debug(net, data()).at == "0/channel"


@pytest.mark.parametrize(("words", "lesson"), [
    ({"little": 2}, "little=2: give a share above 0 and below 1, little=0.25."),
    ({"least": 3}, "least=3: give a whole number, 4 or more."),
    ({"draws": True}, "draws=True: give a whole number, 1 or more."),
])  # fmt: skip
def test_limits_that_decide_nothing_are_a_lesson(words, lesson):
    with pytest.raises(inf.QuestionError) as error:
        inf.Limits(**words)
    assert str(error.value) == lesson


def test_batches_that_run_once_are_a_lesson():
    with pytest.raises(inf.InputError, match=r"gives its batches once, and they are gone"):
        inf.debug(made("drowns"), iter(data()))


# Lessons


@pytest.mark.parametrize(("ask", "lesson"), [
    (lambda: inf.debug(made("healthy"), data(), chunk=0), "chunk=0: give the number of points per pass, 1 or more."),
    (lambda: inf.debug(made("healthy"), data(), limits={"little": 0.1}), "give Limits(little=0.1), or None."),
    (lambda: inf.debug(made("healthy"), data(), objects={}), "objects= is a function from a sample's name to its mask"),
])  # fmt: skip
def test_what_debug_cannot_use_is_a_lesson(ask, lesson):
    with pytest.raises(inf.QuestionError) as error:
        ask()
    assert lesson in str(error.value)


def test_a_loader_that_shuffles_is_refused():
    x, label = data()[0]
    pairs = torch.utils.data.TensorDataset(x, label)
    with pytest.raises(inf.InputError, match="This DataLoader shuffles, and samples are looked at more than once"):
        inf.debug(made("healthy"), torch.utils.data.DataLoader(pairs, batch_size=16, shuffle=True))
    assert inf.debug(made("healthy"), torch.utils.data.DataLoader(pairs, batch_size=16)).samples == len(label)


@pytest.mark.parametrize(("sample", "lesson"), [
    ((torch.zeros(3, 2, 2), 0, ""), "sample 0 holds 3 things, and a pair (input, label) is wanted. Drop the others."),
    ((torch.zeros(3, 2, 2), "warm"), "sample 0 has the label 'warm': give the number of a class, from 0."),
])  # fmt: skip
def test_samples_of_another_form_are_lessons(sample, lesson):
    class Own(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, k):
            return sample

    with pytest.raises(inf.InputError) as error:
        inf.debug(made("healthy"), Own())
    assert str(error.value) == lesson
