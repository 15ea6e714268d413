"""Does the preprocessing take away what a class is known by? Nets by hand that see dots, behind a blur."""

import pytest
import torch
from PIL import Image
from torch import nn

import influent as inf
from influent.confusion import see
from influent.cut import Cut
from influent.drowning import Bench
from influent.finding import PREPROCESSING
from influent.samples import as_source
from influent.suspects import reads_pictures, try_steps

LABELS = ["plain", "dots", "dark"]


def net(knows, *steps):
    """A filter that fires at single bright pixels, and one for brightness; the head knows dots, or has no weight."""
    filters, head = nn.Conv2d(3, 2, 3, bias=False), nn.Linear(2, 3)
    dot = -torch.ones(3, 3) / 8
    dot[1, 1] = 1
    filters.weight.data = torch.stack([dot.expand(3, 3, 3) / 3, torch.ones(3, 3, 3) / 27])
    # Pixels of noise alone fire the first to 1.9 at most, and dots to more than 3.
    head.weight.data = torch.tensor([[0.0, 0.0], [20.0 * knows, 0.0], [0.0, -1.0]])
    head.bias.data = torch.tensor([0.0, -50.0, 60.0])
    module = nn.Sequential(filters, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    way = inf.PixelTransform((0.0,) * 3, (1.0,) * 3, see=inf.Compose(steps))
    return inf.Net(module, labels=LABELS, transform=way, layer="1/channel")


class Pictures(torch.utils.data.Dataset):
    """Thirty pictures of each class: grey, grey with `dots` bright pixels, dark."""

    def __init__(self, dots=6, count=30):
        dice = torch.Generator().manual_seed(0)
        self.label = torch.arange(3 * count) % 3
        x = 120 + 4 * torch.randn(3 * count, 16, 16, generator=dice) + 20 * torch.rand(3 * count, 1, 1, generator=dice)
        x[self.label == 2] -= 100
        for k in (self.label == 1).nonzero().flatten().tolist():
            where = 2 * torch.randint(1, 7, (2, dots), generator=dice)
            # Bright beside dark: a blur leaves next to nothing of the two.
            x[k, where[0], where[1]] += 60
            x[k, where[0], where[1] + 1] -= 60
        self.pictures = [Image.fromarray(one.clamp(0, 255).byte().numpy()).convert("RGB") for one in x]

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, k):
        return self.pictures[k], int(self.label[k])


def named(report):
    return [(f.subject, f.statistic) for f in report.findings if f.kind == PREPROCESSING]


def test_a_step_that_keeps_a_net_from_seeing_is_named():
    assert inf.debug(net(True), Pictures()).findings == ()
    report = inf.debug(net(True, inf.Blur(3.0), inf.Compose(())), Pictures())
    assert named(report) == [("dots", "share found, more than as it is")]
    (finding,) = [f for f in report.findings if f.kind == PREPROCESSING]
    assert finding.seen == (
        "With Blur(std=3.0) left out, 30 of 30 samples of dots are said to be dots, and 0 with it as it is."
    )
    assert finding.value == 1.0 and "McNemar's exact test p = 9.3e-10" in finding.calibration


def test_a_step_that_kept_a_net_from_learning_is_named():
    report = inf.debug(net(False, inf.Grey(), inf.Blur(3.0)), Pictures())
    assert named(report) == [("dots", "gain in AUROC")]
    (finding,) = [f for f in report.findings if f.kind == PREPROCESSING]
    assert (
        "With Blur(std=3.0) left out, a linear readout of the net's own units tells dots from plain in" in finding.seen
    )
    by = {(s.step, s.change): s for s in report.suspects}
    assert by["Blur(std=3.0)", "left out"].readout > 0.95 and by["Blur(std=3.0)", "left out"].found == 0
    # Grey pictures stay what they are.
    grey = by["Grey()", "left out"]
    assert (grey.gain, grey.low, grey.high) == (0.0, 0.0, 0.0)


def test_where_there_is_nothing_to_see_no_step_is_accused():
    report = inf.debug(net(False, inf.Blur(3.0)), Pictures(dots=0))
    assert named(report) == [] and len(report.suspects) == 2
    assert next(f.kind for f in report.findings if f.subject == "dots") == "never said"


def test_a_step_that_the_net_needs_is_told_and_not_tried():
    def small(picture):
        return picture.resize((8, 8))

    one = net(False, small, inf.Blur(3.0))
    module = nn.Sequential(one.module[0], one.module[1], nn.Flatten(), nn.Linear(2 * 36, 3)).eval()
    module[3].weight.data = one.module[4].weight.data.repeat_interleave(36, 1) / 36
    module[3].bias.data = one.module[4].bias.data
    report = inf.debug(inf.Net(module, labels=LABELS, transform=one.transform, layer="1/channel"), Pictures())
    by = {(s.step, s.change): s.failed for s in report.suspects}
    assert by["small", "left out"].startswith("The net failed on") and by["Blur(std=3.0)", "left out"] == ""


def test_data_that_do_not_pass_the_transform_are_not_tried():
    one = net(False, inf.Blur(3.0))
    x = torch.cat([one.read(p) for p in Pictures().pictures])
    report = inf.debug(one, [(x, Pictures().label)])
    assert report.suspects == () and "never said" in [f.kind for f in report.findings]
    assert [reads_pictures(as_source(d)) for d in (Pictures(), [(x, Pictures().label)])] == [True, False]


def test_at_most_as_many_samples_are_looked_at_as_is_said():
    one = net(False, inf.Blur(3.0))
    source = as_source(Pictures())
    seen = see(one, "1/channel", inf.Dataset(source))
    done, planned = [], []
    bench = Bench(one, Cut("1/channel"), source, seen, inf.Limits(most=7), 64, done.append, planned.append)
    assert [s.count for s in try_steps(bench, 1, 0)] == [14, 14]
    assert sum(done) == sum(planned) == 3 * 28
    # With fewer than a readout needs, nothing is tried.
    assert try_steps(Bench(one, Cut("1/channel"), source, seen, inf.Limits(most=2), 64), 1, 0) == ()


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_chunks_change_no_number_that_is_told(chunk):
    whole = inf.debug(net(False, inf.Blur(3.0)), Pictures()).suspects
    parts = inf.debug(net(False, inf.Blur(3.0)), Pictures(), chunk=chunk).suspects
    for a, b in zip(whole, parts, strict=True):
        assert (a.found, a.before) == (b.found, b.before) and a.gain == pytest.approx(b.gain, abs=0.01)
