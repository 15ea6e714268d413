"""The same question on every device that is here: same answer, on the net's own device and in its own type."""

import pytest
import torch
from torch import nn

import influent as inf

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
CASES = [(d, t) for d in DEVICES for t in (torch.float32, torch.float64) if not (d == "mps" and t == torch.float64)]


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.GELU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ).eval()  # fmt: skip


def overs(x):
    black = torch.zeros_like(x[:1])
    yield inf.Point(x), inf.gradient
    yield inf.Gaussian(x, std=0.1, n=5, seed=1), inf.gradient
    for rule in ("adaptive", "graded", "uniform", "gauss"):
        yield inf.Line(black, x, n=17, rule=rule), inf.contribution
    yield 0.25 * inf.Line(black, x, n=9) + 0.75 * inf.Line(torch.ones_like(black), x, n=9), inf.contribution


@pytest.mark.parametrize(("device", "dtype"), CASES, ids=str)
@pytest.mark.parametrize("which", range(7))
def test_every_distribution_gives_the_float64_answer_of_the_cpu(device, dtype, which):
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    over, measure = list(overs(x))[which]
    asked = {"at": ["0/channel", "3", inf.INPUT], "of": inf.Predicted() - inf.RunnerUp(), "measure": measure}
    exact = inf.influence(small_net().double(), over=over, **asked)
    found = inf.influence(small_net().to(device, dtype), over=over, **asked)
    for at in asked["at"]:
        assert found[at].values.device.type == device
        assert found[at].values.dtype == dtype
        size = exact[at].values.abs().max()
        # float32: a few hundred roundings of 6e-8 each, and ReLU kinks that fall to the other side at single points.
        bound = 2e-3 if dtype == torch.float32 else 1e-10
        assert float((found[at].values.cpu().double() - exact[at].values).abs().max() / size) < bound


@pytest.mark.parametrize("device", DEVICES)
def test_an_lstm_in_eval_mode_has_a_gradient_on_every_device(device):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    torch.manual_seed(0)
    net = Recurrent().eval().to(device)
    x = torch.randn(2, 3, 4, device=device)
    line = inf.Line(torch.zeros(1, 3, 4), x)
    a = inf.influence(net, "lstm[0]", inf.Class(1), line, inf.contribution)
    # Only the last step reaches the head, and it is all of the state that does: a full cut.
    assert float(a.gap.absolute.max()) < 1e-4
    assert float(a.values[:, :2].abs().max()) == 0.0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_answered_with_a_warning(device, dtype):
    net = nn.Linear(4, 2).eval().to(device, dtype)
    with pytest.warns(inf.InfluentWarning, match="net.float()"):
        a = inf.influence(net, inf.INPUT, inf.Class(0), inf.Point(torch.ones(1, 4)))
    assert a.values.device.type == device
