"""MIM: the sum over pairs, however it is computed; what counts as a label; what is refused, and how it is said."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import influent as inf
from influent.errors import InfluentWarning, InputError, QuestionError
from influent.monotone import coherence, equal_rows
from influent.pull import Sums, as_kernel
from tests import oracles, worlds
from tests.worlds import noise

seeds = st.integers(0, 1000)
HERE = inf.Cut("conv1")


def said(net, x, data):
    """s of hard labels, by comparing one label with another."""
    with torch.no_grad():
        return (net(x).argmax(1)[:, None] == net(data).argmax(1)).double() * 2 - 1


def loop(x, data, signs, kernel="1/d2"):
    """φ by the double loop, in the shape of x."""
    phi, length, farthest = oracles.monotone(x.flatten(1), data.flatten(1), signs, oracles.KERNELS[kernel])
    return phi.reshape(x.shape), length, farthest


def assert_near(found, want, within=1e-10):
    """Nowhere further apart than `within` of the row's largest."""
    assert found.shape == want.shape
    found, want = found.flatten(1).double(), want.flatten(1)
    assert bool(((found - want).abs() <= within * want.abs().amax(1, keepdim=True)).all())


def summed(x, data, signs, parts=None, kernel="1/d2"):
    """φ of activations that are at hand."""
    sums = Sums(x, as_kernel(kernel), HERE)
    for y, s in zip(data.split(parts or len(data)), signs.split(parts or len(data), 1), strict=True):
        sums.add(y, s)
    return sums.done()


def line_net():
    """One input; class 0 above 0 (and at 0), class 1 below."""
    net = nn.Sequential(nn.Linear(1, 2)).double().eval()
    net[0].weight.data, net[0].bias.data = torch.tensor([[1.0], [-1.0]]).double(), torch.tensor([0.5, 0.0]).double()
    return net


# T19 and T20


def test_T19_one_dimension_one_point_of_each_label():
    one = torch.ones_like
    data, x = torch.tensor([[1.0], [-1.0]]).double(), torch.zeros(1, 1).double()
    for kernel in (one, "1/d", "1/d2"):  # all distances are 1
        assert inf.mim(line_net(), "INPUT", x, data, kernel).values.tolist() == [[2.0]]
    # Moved by 3, with the net: the same. Mirrored: −2. With classes in another order: the same.
    net = line_net()
    net[0].bias.data -= 3 * net[0].weight.data[:, 0]
    assert inf.mim(net, "INPUT", x + 3, data + 3, one).values.tolist() == [[2.0]]
    net = line_net()
    net[0].weight.data *= -1
    assert inf.mim(net, "INPUT", -x, -data, one).values.tolist() == [[-2.0]]
    net = line_net()
    net[0].weight.data, net[0].bias.data = net[0].weight.data.flip(0), net[0].bias.data.flip(0)
    assert inf.mim(net, "INPUT", x, data, one).values.tolist() == [[2.0]]


def test_T20_a_mask_of_all_units_by_size_of_phi_leaves_the_layer_as_it_is():
    # Ours of the two halves of T20: what goes into DeconvNet is then the whole layer.
    net, x = worlds.relu_conv(), noise(1, 2, 5, 5, seed=1)
    a = inf.mim(net, "conv1", x, noise(20, 2, 5, 5, seed=2), labels="soft")
    units = [r.index for r in a.top(a.values[0].numel())]
    h = inf.activations(net, "conv1", x)
    assert len(units) == h[0].numel() and torch.equal(inf.Mask("conv1", units).apply(net, h), h)


# The sum


@given(seeds, st.sampled_from(["1/d2", "1/d", "exp"]), st.sampled_from(["INPUT", "0", "1", "3", "4"]))
def test_a_double_loop_gives_the_same(seed, kernel, at):
    net, x, data = worlds.relu_mlp(seed % 7), noise(3, 4, seed=seed), noise(25, 4, seed=seed + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfluentWarning)  # a draw may have one label only
        a = inf.mim(net, at, x, data, kernel)
        whole, norm = (coherence(net, at, x, data, kernel, kind=kind) for kind in ("direction", "norm"))
    near, far = inf.activations(net, at, x), inf.activations(net, at, data)
    phi, length, farthest = loop(near, far, said(net, x, data), kernel)
    assert_near(a.values, phi)
    assert torch.allclose(whole, phi.norm(dim=1) / length, rtol=1e-9)
    assert torch.allclose(norm, phi.norm(dim=1) / farthest, rtol=1e-9)
    assert a.count.tolist() == [25] * 3 and a.cost.forward == 28 and a.cost.backward == 0


NEAR = 10.0 ** torch.arange(-15, 1).double()


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("instances", [1, 2, 7])
def test_near_points_of_any_nearness_are_exact(offset, instances):
    # One point at each distance from 1e-15 to 1 of the norm, around each x, alone and in one sum. Inside a net a
    # distance below 64 eps ‖x‖ is rounding, so this is asked at the input, where nothing was computed.
    x = offset + noise(instances, 6, seed=1)
    data = torch.cat([x + d * x.norm(dim=1, keepdim=True) * noise(instances, 6, seed=2) for d in NEAR])
    signs = torch.where(noise(instances, len(data), seed=3) > 0, 1.0, -1.0).double()
    for part in (slice(None), *(slice(k * instances, (k + 1) * instances) for k in range(len(NEAR)))):
        for size in (None, 1, 3):
            sums = Sums(x, as_kernel("1/d2"), inf.INPUT)
            for y, s in zip(data[part].split(size or 999), signs[:, part].split(size or 999, 1), strict=True):
                sums.add(y, s)
            phi, length, farthest = loop(x, data[part], signs[:, part])
            found = sums.done()
            assert_near(found.phi, phi)
            assert torch.allclose(found.length, length, rtol=1e-10) and torch.allclose(found.farthest, farthest)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_float32_is_right_to_its_own_precision(offset):
    x, data = (offset + noise(5, 300, seed=1)).float(), (offset + noise(200, 300, seed=2)).float()
    data[:5] = x * (1 + 1e-4 * noise(5, 300, seed=3)).float()
    signs = torch.where(noise(5, 200, seed=4) > 0, 1.0, -1.0).double()
    found = summed(x, data, signs, 64)
    phi, length, _ = loop(x, data, signs)
    assert found.phi.dtype == torch.float32 and found.length.dtype == torch.float64
    assert_near(found.phi, phi, 1e-5)
    assert torch.allclose(found.length, length, rtol=1e-5)


def test_weights_that_float32_cannot_hold_are_held():
    x, data = 1e-21 * noise(2, 30, seed=1).float(), 1e-21 * noise(50, 30, seed=2).float()
    signs = torch.ones(2, 50).double()
    phi, _, _ = loop(x, data, signs)  # weights of 1e41
    assert_near(summed(x, data, signs).phi, phi, 1e-5)
    x, data = 30 * noise(2, 30, seed=1).float(), 30 * noise(50, 30, seed=2).float()
    phi, _, _ = loop(x, data, signs, "exp")  # and of 1e-70
    assert float(phi.abs().max()) < 1e-30
    found = Sums(x, as_kernel("exp"), HERE)
    found.add(data, signs)
    found = found.total - found.away.double() * found.weight[:, None]
    assert_near(found, phi, 1e-4)


def test_two_clusters_far_apart_are_both_exact():
    data = torch.cat([noise(20, 5, seed=1) + 1e7, noise(20, 5, seed=2) - 1e7])
    x = torch.stack([data[0], data[25]]) + 0.5
    signs = torch.where(noise(2, 40, seed=3) > 0, 1.0, -1.0).double()
    assert_near(summed(x, data, signs, 7).phi, loop(x, data, signs)[0])


def test_units_by_channel_are_sums_of_their_neurons():
    net, x, data = worlds.relu_conv(), noise(2, 2, 5, 5, seed=1), noise(20, 2, 5, 5, seed=2)
    both = inf.mim(net, ["conv1/channel", "conv1", "head"], x, data, labels="soft")
    assert list(both) == ["conv1/channel", "conv1", "head"]
    assert torch.allclose(both["conv1/channel"].values, both["conv1"].values.sum((2, 3)), atol=1e-12)
    assert both["conv1/channel"].axes == ("channel",) and both["conv1"].axes == ("channel", "row", "column")
    with torch.no_grad():
        label, (p, q) = net(x).argmax(1), (net(z).softmax(1) for z in (x, data))
    signs = torch.stack([q[:, c] - p[k, c] for k, c in enumerate(label.tolist())])
    assert_near(both["conv1"].values, loop(*(inf.activations(net, "conv1", z) for z in (x, data)), signs)[0])


def test_all_cuts_come_out_of_one_pass_over_the_data():
    net, x, data = worlds.relu_mlp(), noise(2, 4, seed=1), noise(20, 4, seed=2)
    one, both = inf.mim(net, "1", x, data), inf.mim(net, ["1", inf.Cut("3"), "INPUT"], x, iter([data]))
    assert both["1"].cost.forward == one.cost.forward == 22
    assert torch.equal(both["1"].values, one.values)
    scores = coherence(net, ("1", "3"), x, data)
    assert scores["3"].shape == (2,) and torch.equal(scores["1"], coherence(net, "1", x, data))


# Labels


def outputs(rows):
    """A net whose outputs are its inputs."""
    return nn.Sequential(nn.Identity()).eval(), torch.tensor(rows).double()


def signs_of(labels, net, x, data):
    """s of single data points, read off φ with a ≡ 1: φ = s · (y − x)."""
    found = []
    for y in data:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InfluentWarning)  # a single point has one label
            phi = inf.mim(net, "INPUT", x, y[None], torch.ones_like, labels).values[0]
        found.append(float(phi @ (y - x[0]) / ((y - x[0]) @ (y - x[0]))))
    return found


def test_what_a_label_is():
    net, data = outputs([[3.0, 1, 0], [0, 2, 1], [0, 1, 4], [2, 0, 0]])
    x = torch.tensor([[0.0, 5, 1]]).double()
    named = inf.Net(net, labels=["cat", "dog", "cup"])
    assert signs_of("hard", net, x, data) == pytest.approx([-1, 1, -1, -1])
    # Not cat, like x: all but those that are said to be cats.
    for cat in (0, -3, "cat", inf.Class(0), inf.Class("cat")):
        assert signs_of(cat, named, x, data) == pytest.approx([-1, 1, 1, -1])
    p, own = data.softmax(1)[:, 1], float(x.softmax(1)[0, 1])
    assert signs_of("soft", net, x, data) == pytest.approx([float(q) - own for q in p])
    assert signs_of(lambda y, x: (y[:, 2] * x[:, :1] - 2).expand(1, -1), net, x, data) == pytest.approx([-2] * 4)


def test_labels_that_come_with_the_data_are_not_looked_at():
    net, x, data = worlds.relu_mlp(), noise(2, 4, seed=1), noise(20, 4, seed=2)
    plain = inf.mim(net, "1", x, data)
    for label in (torch.zeros(20).long(), torch.arange(20) % 3):
        assert torch.equal(inf.mim(net, "1", x, [(data, label)]).values, plain.values)


def test_one_label_everywhere_is_answered_with_a_warning():
    net, data = outputs([[3.0, 1], [2, 1], [4, 1]])
    told = r"same label as input 0: s is \+1 everywhere, so that φ tells where the data lie, .* Add other points\.$"
    with pytest.warns(InfluentWarning, match=told):
        inf.mim(net, "INPUT", torch.tensor([[1.0, 0.0]]).double(), data)
    both = torch.tensor([[9.0, 0.0], [0.0, 2.0]]).double()
    with pytest.warns(InfluentWarning, match="another label than input 1: s is −1 everywhere"):
        inf.mim(net, "INPUT", both, torch.cat([data, both[1:]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inf.mim(net, "INPUT", both, data, labels="soft")


def test_points_that_are_all_x_are_answered_with_a_warning():
    net, data = outputs([[3.0, 1], [3.0, 1]])
    with pytest.warns(InfluentWarning, match=r"^Every data point is at distance 0 of input 0 at INPUT: .* φ is 0\."):
        a = inf.mim(net, "INPUT", data[:1], data)
    assert a.values.tolist() == [[0.0, 0.0]] and a.count.tolist() == [0]
    with pytest.warns(InfluentWarning, match="at distance 0"):
        assert coherence(net, "INPUT", data[:1], data).isnan().all()


# Data


def folder(place):
    """Eight images of two classes, one of which cannot be read."""
    for k in range(8):
        name = place / ("cat" if k % 2 else "dog") / f"{k}.png"
        name.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (30 * k, 100, 255 - 30 * k)).save(name)
    (place / "cat" / "broken.png").write_bytes(b"no picture")
    return place


def test_a_folder_is_gone_through_and_what_cannot_be_read_is_named(tmp_path):
    module = worlds.built(lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2))).float()
    transform = inf.PixelTransform((127, 127, 127), (128, 128, 128), resize=4, crop=4)
    net, place = inf.Net(module, labels=["cat", "dog"], transform=transform), folder(tmp_path)
    x = net.read(place / "cat" / "3.png")
    with pytest.warns(InfluentWarning) as told:
        a = inf.mim(net, "0", x, place)
    assert "1 of 9 samples were left out: cat/broken.png" in str([str(w.message) for w in told])
    assert list(a.left_out) == ["cat/broken.png"] and a.count.tolist() == [7]  # 8 are read, and one is x
    rest = torch.cat([net.read(file) for file in sorted(place.rglob("?.png")) if file.name != "3.png"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfluentWarning)
        assert torch.allclose(a.values, inf.mim(net, "0", x, rest).values, rtol=1e-3, atol=1e-6)
        again = inf.mim(net, "0", x, inf.Dataset(place, block=3), chunk=2)
    assert torch.allclose(a.values, again.values, rtol=1e-4, atol=1e-7)


def test_samples_with_nan_are_left_out():
    net, data = worlds.relu_mlp(), noise(20, 4, seed=2)
    data[7, 1] = torch.nan
    with pytest.warns(InfluentWarning, match=r"^1 of 20 samples were left out: sample 7 \(It holds NaN"):
        a = inf.mim(net, "1", noise(2, 4, seed=1), data)
    assert a.count.tolist() == [19, 19] and list(a.left_out) == ["sample 7"]


def test_rows_that_are_x_are_seen_where_they_go_in():
    x, data = noise(3, 2, 5), noise(40, 2, 5, seed=1)
    data[[4, 9]], data[11], data[30, 0] = x[1], x[2], x[0, 0]  # the last one agrees in half of the places
    want = torch.zeros(3, 40, dtype=torch.bool)
    want[1, [4, 9]], want[2, 11] = True, True
    assert torch.equal(equal_rows(x, data), want)


def test_progress_hears_of_every_point():
    heard = []
    inf.mim(worlds.relu_mlp(), "1", noise(2, 4, seed=1), noise(20, 4, seed=2), chunk=8, progress=heard.append)
    assert heard == [8, 8, 4]


# The result


def cubed(d):
    return d**-3


def sides(y, x):
    return (y[:, 0] * x[:, :1]).sign()


def test_the_words_of_the_question_are_printed_stored_and_read_back(tmp_path):
    net, x, data = worlds.relu_mlp(), noise(2, 4, seed=1), noise(20, 4, seed=2)
    asked = [{}, {"kernel": "exp"}, {"kernel": cubed}, {"labels": "soft"}, {"labels": 1}, {"labels": sides}]
    found = [inf.mim(net, "1", x, data, **more) for more in asked]
    words = [tuple(a.question.text.values()) for a in found]
    assert len(set(words)) == len(asked) and len({a.question for a in found}) == len(asked)
    assert words[0][0] == "1" and words[0][1] == "Predicted()" and words[0][3].startswith("Monotone(Stored(")
    assert words[1][3].endswith("kernel='exp')") and words[3][3].endswith("soft=True)") and words[4][1] == "Class(1)"
    assert words[0][2].startswith("Dataset(Stored(") and inf.mim(net, "1", x + 1, data).question != found[0].question
    for k, a in enumerate(found):
        again = inf.load(inf.save(a, tmp_path / str(k)))
        assert again.question == a.question and torch.equal(again.values, a.values) and again.gap is None
        assert again.note == a.note and torch.equal(again.count, a.count)
    assert "MIM (kernel 1/d2) is no expectation of a gradient: it has no gap" in repr(found[0])
    assert found[0][1].top(3)[0].index and inf.mim(net, "1", x, data, chunk=3).question == found[0].question


def test_the_net_is_left_alone_and_half_precision_is_warned_of():
    net, x, data = worlds.relu_mlp(), noise(2, 4, seed=1), noise(20, 4, seed=2)
    inf.mim(net, "1", x.requires_grad_(), data)
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks for m in net.modules())
    with pytest.warns(InfluentWarning, match=r"net\.float\(\)"):
        a = inf.mim(worlds.relu_mlp().bfloat16(), "1", x, data)
    assert a.values.dtype == torch.float32 and bool(a.values.isfinite().all())


def test_coarse_products_are_not_used():
    x, data = noise(3, 50, seed=1).float(), noise(40, 50, seed=2).float()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        assert Sums(x, as_kernel("1/d2"), HERE).type == torch.float64
    finally:
        torch.set_float32_matmul_precision(before)
    assert Sums(x, as_kernel("1/d2"), HERE).type == data.dtype == torch.float32


# Lessons

X, DATA = noise(2, 4, seed=1), noise(20, 4, seed=2)


def ask(net=None, at="1", x=X, data=DATA, **more):
    return inf.mim(worlds.relu_mlp() if net is None else net, at, x, data, **more)


class Pooled(nn.Module):
    """A net that takes pictures of any size."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Linear(2, 3)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))


def blind():
    """NaN for one sample: the root of a number below 0."""
    return nn.Sequential(worlds.Formula(lambda x: x.sqrt()), nn.Linear(1, 2, dtype=torch.float64)).eval()


def silent():
    """The same, and outputs that do not show it."""
    return nn.Sequential(
        worlds.Formula(lambda x: x.sqrt()), worlds.Formula(lambda x: x.nan_to_num().repeat(1, 2))
    ).eval()


ROWS = torch.tensor([[1.0], [-1.0]]).double()
LESSONS = {
    "no data": (lambda: ask(data=[]), InputError, r"^Stored\(.*'0 batches'\) gave no sample: it is empty\.$"),
    "an empty tensor": (lambda: ask(data=DATA[:0]), InputError, r"gave no sample: it is empty\.$"),
    "nothing that can be read": (
        lambda: ask(data=DATA[:1] * torch.nan),
        InputError,
        r"gave no sample: sample 0 \(It holds NaN or infinite values\)\.$",
    ),
    "data that are none": (lambda: ask(data=3), InputError, r"^int holds no samples\. Give a folder"),
    "NaN in x": (lambda: ask(x=X * torch.nan), InputError, r"^The input holds 8 NaN or infinite values"),
    "no tensor": (lambda: ask(x=[1.0]), InputError, r"^The input is a list, not a tensor"),
    "NaN in an activation": (
        lambda: ask(silent(), "0", ROWS[:1], ROWS),
        InputError,
        r"^At 0 the activation of the data holds 1 NaN or infinite values, the first at \[1, 0\]\. Look which sample",
    ),
    "NaN in the activation of x": (
        lambda: ask(silent(), "0", ROWS[1:], ROWS[:1]),
        InputError,
        r"^At 0 the activation of x holds 1 NaN or infinite values",
    ),
    "NaN in an output": (
        lambda: ask(blind(), "INPUT", ROWS[:1], ROWS),
        InputError,
        r"^The net's output holds 2 NaN or infinite values, the first at \[1, 0\]\. A label cannot be told from it",
    ),
    "another shape": (
        lambda: ask(Pooled().eval(), "conv", torch.ones(1, 1, 5, 5), torch.ones(4, 1, 6, 6)),
        QuestionError,
        r"^At conv the data have activations \[2, 4, 4\] and x has \[2, 3, 3\]: .* Give x and the data one shape\.$",
    ),
    "an unknown kernel": (
        lambda: ask(kernel="1/d3"),
        QuestionError,
        r"^kernel='1/d3' is not known: '1/d2', '1/d', 'exp', or a function of distances, kernel=lambda d: 1 / d",
    ),
    "a kernel of one number": (
        lambda: ask(kernel=lambda d: d.sum()),
        QuestionError,
        r"^The kernel gives float64 \[\] for distances \[2, 20\] between .* one finite number for each",
    ),
    "a kernel without bound": (
        lambda: ask(kernel=lambda d: d / 0),
        QuestionError,
        r"^The kernel gives float64 \[2, 20\]",
    ),
    "unknown labels": (
        lambda: ask(labels="sfot"),
        QuestionError,
        r"^labels='sfot' is not known: this net has no names of classes\. Type 'hard' \(the same class",
    ),
    "unknown labels of a net with names": (
        lambda: ask(inf.Net(worlds.relu_mlp(), labels=["cat", "dog", "cup"]), labels="cop"),
        QuestionError,
        r"^This net has no class 'cop'\. Did you mean 'cup'\?$",
    ),
    "labels of another kind": (lambda: ask(labels=True), QuestionError, r"^labels=True is not known\. Type 'hard'"),
    "labels inside the net": (lambda: ask(labels=inf.Class(0, cut="1")), QuestionError, r"a class of the net's output"),
    "a class that is not there": (lambda: ask(labels=3), QuestionError, r"^Class\(3\) is out of range: .* 0 to 2\.$"),
    "labels of another shape": (
        lambda: ask(labels=lambda y, x: y[:, 0]),
        QuestionError,
        r"^The function of labels gives float64 \[2\] for outputs float64 \[2, 3\] of data .* for each pair, \[2, 2\]",
    ),
    "one output": (
        lambda: ask(worlds.linear(noise(4)), "INPUT"),
        QuestionError,
        r"^This net has one output, so that all points have one label\. Say which pairs have the same: labels=",
    ),
    "outputs that are no classes": (
        lambda: ask(nn.Identity().eval(), "INPUT", torch.ones(1, 2, 3), torch.ones(4, 2, 3)),
        QuestionError,
        r"^Predicted\(\) needs outputs \[point, class\], and its cut gives float32 \[1, 2, 3\]",
    ),
    "a data set with weights": (
        lambda: ask(data=inf.Dataset([DATA], by="all", weight=lambda x, label: 1.0)),
        QuestionError,
        r"^MIM counts every point once, in one sum: give Dataset\(source\) without by=, weight=",
    ),
    "no places": (lambda: ask(at=[]), QuestionError, r"^at=\[\] is empty: there is nothing to explain\.$"),
    "an unknown axis": (lambda: ask(at="1/row"), QuestionError, r"^'1/row' asks for units by 'row'"),
    "no chunk": (lambda: ask(chunk=0), QuestionError, r"^chunk=0: give the number of points per pass, 1 or more\.$"),
    "progress that cannot be told": (lambda: ask(progress=3), QuestionError, r"^progress=3: give a function"),
    "an unknown kind of coherence": (
        lambda: coherence(worlds.relu_mlp(), "1", X, DATA, kind="nrom"),
        QuestionError,
        r"^kind='nrom' is not known: 'direction', 'norm'\. Did you mean 'norm'\?$",
    ),
    "coherence of units": (
        lambda: coherence(worlds.relu_conv(), "conv1/channel", noise(1, 2, 5, 5), noise(3, 2, 5, 5)),
        QuestionError,
        r"^Coherence is of a whole layer, not of its units: at='conv1'\.$",
    ),
}


@pytest.mark.parametrize("name", LESSONS)
def test_what_cannot_be_answered_is_a_lesson(name):
    case, kind, told = LESSONS[name]
    with pytest.raises(kind, match=told):
        case()
