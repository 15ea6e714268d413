"""Real inputs: rows by class, standard errors, examples; the same whatever the batches; what cannot be read."""

import math
import re

import pytest
import torch
from PIL import Image
from torch import nn

import influent as inf
from influent.partial import Moments, Partial
from influent.samples import Folder, as_source
from tests import worlds
from tests.worlds import noise


def smooth():
    """Two inputs, three classes, one hidden layer of four units."""
    return worlds.built(
        lambda: nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double(),
    )


def samples(n=12, classes=3):
    return noise(n, 2, seed=5), torch.arange(n) % classes


def batches(x, y, size):
    return list(zip(x.split(size), y.split(size), strict=True))


def one_by_one(net, at, x, y, measure=inf.gradient):
    """The values of each sample, asked alone."""
    return torch.cat(
        [
            inf.influence(net, at, inf.Class(int(label)), inf.Point(x[k : k + 1]), measure).values
            for k, label in enumerate(y)
        ]
    )


# Means


def test_all_classes_come_out_of_one_pass_with_means_errors_and_counts():
    net, (x, y) = smooth(), samples(13)
    a = inf.essence(net, "1", inf.Dataset(batches(x, y, 5)))
    values = one_by_one(net, "1", x, y)
    assert a.instances == (0, 1, 2) and a.count.tolist() == [5, 4, 4] and a.cost.forward == a.cost.backward == 13
    for k in range(3):
        own = values[y == k]
        assert torch.allclose(a.values[k], own.mean(0), atol=1e-14)
        assert torch.allclose(a.stderr[k], own.std(0) / len(own) ** 0.5, atol=1e-12)


def test_rows_are_in_the_order_of_the_classes_and_named_by_the_labels():
    net, (x, y) = inf.Net(smooth(), labels=["cat", "dog", "dog"]), samples()
    a = inf.essence(net, "1", inf.Dataset([(x.flip(0), y.flip(0))]))
    assert a.instances == ("cat", "dog (1)", "dog (2)")
    assert torch.equal(a["cat"].values, a.values[:1])


def test_rows_by_all_by_sample_and_by_a_function():
    net, (x, y) = smooth(), samples()
    values = one_by_one(net, "1", x, y)
    whole, single, own = (
        inf.influence(net, "1", inf.Label(), inf.Dataset([(x, y)], by=by))
        for by in ("all", "sample", lambda x, label: "right" if x[0] > 0 else None)
    )
    assert whole.instances == ("all",) and torch.allclose(whole.values[0], values.mean(0), atol=1e-14)
    assert single.instances[3] == "sample 3" and torch.allclose(single.values, values, atol=1e-14)
    assert single.stderr is None and single.count is None
    assert own.instances == ("right",) and int(own.count) == int((x[:, 0] > 0).sum())
    assert torch.allclose(own.values[0], values[x[:, 0] > 0].mean(0), atol=1e-14)


def test_weights_count_a_sample_as_often_as_they_say():
    """With whole weights the mean is that of samples repeated; (Σ w)² / Σ w² takes the place of the count."""
    net, (x, y) = smooth(), samples(6, 1)
    weighted = inf.essence(net, "1", inf.Dataset([(x, y)], weight=lambda x, label: 1.0 + float(x[0] > 0)))
    twice = torch.cat([x, x[x[:, 0] > 0]])
    repeated = inf.essence(net, "1", inf.Dataset([(twice, torch.zeros(len(twice), dtype=torch.long))]))
    assert torch.allclose(weighted.values, repeated.values, atol=1e-14)
    values, w = one_by_one(net, "1", x, y), 1.0 + (x[:, :1] > 0)
    mean = (w * values).sum(0) / w.sum()
    spread = (w * (values - mean) ** 2).sum(0) / w.sum()
    n = float(w.sum() ** 2 / (w**2).sum())
    assert torch.allclose(weighted.stderr[0], (spread / (n - 1)).sqrt(), atol=1e-12)


def test_the_question_of_several_cuts_measures_and_quantities_in_one_pass():
    net, (x, y) = smooth(), samples()
    data = inf.Dataset([(x, y)], examples=2)
    r = inf.influence(net, ["0", "1"], [inf.Label(), inf.Class(0)], data, [inf.gradient, inf.activation])
    alone = inf.influence(net, "1", inf.Class(0), data, inf.activation)
    together = r["1"][inf.Class(0)][inf.activation]
    assert torch.equal(together.values, alone.values) and torch.equal(together.examples.index, alone.examples.index)


def test_paths_and_balls_are_averaged_over_the_data():
    net, (x, y) = smooth(), samples(7)
    data, start = inf.Dataset(batches(x, y, 3)), torch.zeros(1, 2).double()
    line = inf.influence(net, "1", inf.Label(), inf.Line(start, data, n=9), inf.contribution)
    ball = inf.influence(net, "1", inf.Label(), inf.Gaussian(data, std=0.2, n=4))
    for k in range(3):
        own, label = x[y == k], y[y == k].tolist()
        lines = inf.influence(net, "1", inf.Label(), inf.Line(start, own, n=9, label=label), inf.contribution)
        balls = inf.influence(net, "1", inf.Label(), inf.Gaussian(own, std=0.2, n=4, label=label))
        assert torch.allclose(line.values[k], lines.values.mean(0), atol=1e-14)
        assert torch.allclose(line.gap.change[k], lines.gap.change.mean(), atol=1e-14)
        assert torch.allclose(line.residual[k], lines.residual.mean(), atol=1e-14)
        assert torch.allclose(ball.values[k], balls.values.mean(0), atol=1e-14)
        assert torch.allclose(ball.stderr[k], balls.values.std(0) / len(own) ** 0.5, atol=1e-12)
    assert line.stderr is not None


def test_expected_gradients_average_the_baselines_and_are_complete():
    """Σ units = F(x) − the mean of F over the baselines; for a linear net, a · (x − the mean baseline)."""
    net, x, (data, _) = smooth(), noise(2, 2, seed=9), samples(5)
    a = inf.expected_gradients(net, x, inf.Dataset([data], block=2), of=inf.Class(1), n=33)
    change = net(x)[:, 1] - net(data)[:, 1].mean()
    assert a.instances == (0, 1) and torch.allclose(a.gap.change, change, atol=1e-12)
    assert float(a.gap.absolute.max()) <= float(a.residual.max())
    weight = noise(2, seed=3)
    linear = inf.expected_gradients(worlds.linear(weight), x, inf.Dataset([data]), of=inf.Class(0), n=3)
    assert torch.allclose(linear.values, weight * (x - data.mean(0)), atol=1e-12)


# Execution


@pytest.mark.parametrize("size", [1, 3, 12])
def test_the_batches_that_samples_come_in_change_nothing(size):
    net, (x, y) = smooth(), samples()
    one, other = (inf.essence(net, "1", inf.Dataset(b, block=4)) for b in (batches(x, y, size), [(x, y)]))
    assert torch.equal(one.values, other.values) and torch.equal(one.stderr, other.stderr)


def test_chunk_block_and_order_change_rounding_only():
    net, (x, y) = smooth(), samples(24)
    first = inf.influence(net, "1", inf.Label(), inf.Dataset([(x, y)]))
    for chunk, block, order in ((1, 32, x[:, 0].argsort()), (5, 7, torch.arange(24)), (16, 1, x[:, 1].argsort())):
        other = inf.influence(net, "1", inf.Label(), inf.Dataset([(x[order], y[order])], block=block), chunk=chunk)
        assert torch.allclose(other.values, first.values, rtol=0, atol=1e-12)
        assert torch.allclose(other.stderr, first.stderr, rtol=0, atol=1e-12)


def test_a_loader_with_workers_gives_the_same():
    net, (x, y) = smooth(), samples()
    rows = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(rows, batch_size=5, num_workers=2)
    of_loader, of_rows = inf.essence(net, "1", inf.Dataset(loader)), inf.essence(net, "1", inf.Dataset(rows))
    assert torch.equal(of_loader.values, of_rows.values)


def test_halves_merge_to_the_whole():
    units, weight, index = noise(9, 4, seed=1), torch.ones(9, dtype=torch.float64), torch.arange(9)
    whole = Moments.of(units, weight, index, True, 3)
    parts = [Moments.of(units[s], weight[s], index[s], True, 3) for s in (slice(0, 2), slice(2, 5), slice(5, 9))]
    left, right = parts[0].merge(parts[1]).merge(parts[2]), parts[0].merge(parts[1].merge(parts[2]))
    for merged in (left, right):
        assert torch.allclose(merged.mean, whole.mean, atol=1e-14)
        assert torch.allclose(merged.stderr, whole.stderr, atol=1e-13)
        assert torch.equal(merged.best, whole.best) and torch.equal(merged.best_values, whole.best_values)


# Examples


def test_the_best_examples_are_those_of_largest_magnitude_and_the_earlier_of_equals():
    net = worlds.linear(torch.tensor([1.0, 1.0]).double())
    x = torch.tensor([[1.0, 5.0], [-3.0, 5.0], [2.0, 0.0], [3.0, 1.0]]).double()
    data = inf.Dataset([(x, torch.zeros(4, dtype=torch.long))], examples=3, block=2)
    a = inf.influence(net, "INPUT", inf.Class(0), data, inf.activation)
    assert a.examples.of(0) == (("sample 1", -3.0), ("sample 3", 3.0), ("sample 2", 2.0))
    assert a.examples.of(1) == (("sample 0", 5.0), ("sample 1", 5.0), ("sample 3", 1.0))
    few = inf.influence(net, "INPUT", inf.Class(0), inf.Dataset([x[:2]], by="all", examples=3), inf.activation)
    assert few.examples.index[0, :, 0].tolist() == [1, 0, -1] and len(few.examples.of(0)) == 2


# Sources


def folder(place, sizes=(8, 8), names=("cat", "dog"), n=3):
    for k, name in enumerate(names):
        (place / name).mkdir()
        for i in range(n):
            Image.new("RGB", sizes, (40 * k + 10 * i, 90, 20)).save(place / name / f"{i}.png")
    return place


def pictures():
    """A net on pictures of any size, of two classes."""
    module = worlds.built(lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)))
    module = module.float()

    def read(photo):
        pixels = torch.tensor(list(photo.tobytes()), dtype=torch.float32).view(photo.height, photo.width, 3)
        return pixels.movedim(2, 0)[None] / 255

    return inf.Net(module, ["cat", "dog"], read, aliases={"n01": 0})


def test_a_folder_of_images_by_class(tmp_path):
    net = pictures()
    a = inf.influence(net, "INPUT/channel", inf.Label(), inf.Dataset(folder(tmp_path)), inf.activation)
    assert a.instances == ("cat", "dog") and a.count.tolist() == [3, 3]
    mean = torch.tensor([(0 + 10 + 20) / 3, 90, 20]) * 64 / 255
    assert torch.allclose(a["cat"].values[0], mean, atol=1e-4)


def test_folders_may_be_called_by_aliases_and_a_table_may_say_the_classes(tmp_path):
    assert Folder.at(folder(tmp_path, names=("n01", "dog"))).classes(pictures()) == {"n01": 0, "dog": 1}
    (tmp_path / "labels.tsv").write_text("file\tindex\nn01/0.png\t1\ndog/2.png\t0\n")
    listed = Folder.at(tmp_path)
    assert sorted(listed.files) == [("dog/2.png", "0"), ("n01/0.png", "1")]
    assert listed.classes(pictures()) == {"0": 0, "1": 1}


def test_the_order_of_a_folder_mixes_its_classes_and_does_not_depend_on_where_it_lies(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        folder(tmp_path / name, n=8)
    a, b = Folder.at(tmp_path / "a"), Folder.at(tmp_path / "b")
    assert a.files == b.files and len({name for _, name in a.files[:8]}) == 2


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path):
    (folder(tmp_path) / "cat" / "broken.png").write_bytes(b"no picture")
    with pytest.warns(
        inf.InfluentWarning, match=r"1 of 7 samples were left out: cat/broken.png \(.*broken.png"
    ) as told:
        a = inf.influence(pictures(), "INPUT/channel", inf.Label(), inf.Dataset(tmp_path), inf.activation)
    assert len(told) == 1
    assert a.count.tolist() == [3, 3] and list(a.left_out) == ["cat/broken.png"]


def test_samples_with_nan_are_left_out():
    x, y = samples(4, 1)
    x[1, 0] = math.nan
    with pytest.warns(inf.InfluentWarning, match=r"1 of 4 samples were left out: sample 1 \(It holds NaN"):
        a = inf.essence(smooth(), "1", inf.Dataset([(x, y)]))
    assert int(a.count) == 3


def test_a_class_of_one_sample_has_no_standard_error():
    x, y = samples(4, 3)
    a = inf.essence(smooth(), "1", inf.Dataset([(x, y)]))
    assert a.count.tolist() == [2, 1, 1] and bool(a.stderr[1:].isnan().all()) and not bool(a.stderr[0].isnan().any())


def test_dictionaries_are_read_by_their_usual_names():
    x, y = samples(4, 2)
    rows = [{"pixel_values": x, "labels": y}]
    assert inf.essence(smooth(), "1", inf.Dataset(rows)).count.tolist() == [2, 2]


class Rows:
    """A data set as Hugging Face's are: columns, a length, rows as dictionaries, images as PIL pictures."""

    column_names = ("image", "label")
    _fingerprint = "0123456789abcdef"

    def __len__(self):
        return 4

    def __getitem__(self, k):
        if k == 4:
            raise IndexError
        return {"image": Image.new("RGB", (3, 3), (10 * k, 0, 0)), "label": k % 2}


def test_a_data_set_with_an_index_and_pictures_is_read_by_the_transform():
    data = inf.Dataset(Rows())
    a = inf.influence(pictures(), "INPUT/channel", inf.Label(), data, inf.activation)
    assert a.instances == ("cat", "dog") and a.count.tolist() == [2, 2]
    assert torch.allclose(a["dog"].values[0], torch.tensor([20.0, 0, 0]) * 9 / 255, atol=1e-5)
    assert repr(data) == "Dataset(Stored('0123456789abcdef', 'Rows: 4 samples'))"


def test_a_question_about_data_is_read_back(tmp_path):
    x, y = samples()
    for over in (inf.Dataset(folder(tmp_path)), inf.Line("black", inf.Dataset([(x, y)], by="all"), n=9)):
        assert inf.parse(repr(over)) == over
    a = inf.essence(smooth(), "1", inf.Dataset([(x, y)]))
    place = inf.save(a, tmp_path / "result")
    assert inf.load(place).question == a.question and inf.load(place).instances == a.instances


# Bad input


def wrong(message, run):
    with pytest.raises(inf.InfluentError, match=re.escape(message)):
        run()


@pytest.mark.parametrize(("word", "message"), [
    ({"by": "class"}, "by='class' is not known: 'label', 'sample', 'all', or a function"),
    ({"weight": 2}, "weight=2: give a function (x, label) → number, or None."),
    ({"examples": -1}, "examples=-1: give a whole number, 0 or more."),
    ({"block": 0}, "block=0: give a whole number, 1 or more."),
    ({"until": 0.9}, "until=0.9: give Until(top=20, overlap=0.9), or None."),
])  # fmt: skip
def test_words_that_are_not_known(word, message):
    wrong(message, lambda: inf.Dataset([torch.zeros(2, 2)], **word))


def test_what_is_no_data_set(tmp_path):
    wrong("this is one tensor, float32 [2, 2]. Give [tensor]", lambda: inf.Dataset(torch.zeros(2, 2)))
    wrong("int holds no samples. Give a folder of images by class", lambda: inf.Dataset(3))
    wrong("nowhere is no folder.", lambda: inf.Dataset("nowhere"))
    wrong("holds no images by class: 0 folders in it", lambda: inf.Dataset(tmp_path))
    (tmp_path / "labels.csv").write_text("picture,index\n1.png,0\n")
    wrong("needs a first line with the columns file and index (or label)", lambda: inf.Dataset(tmp_path))


def test_batches_that_do_not_fit():
    net, (x, y) = smooth(), samples(4)

    def ask(*given):
        return lambda: inf.essence(net, "1", inf.Dataset(list(given)))

    wrong("by='label' needs labels, and these samples have none.", ask(x))
    wrong("Batch 0 has labels int64 [3] for 4 samples. Give one class index for each.", ask((x, y[:3])))
    wrong("Batch 0 is a dictionary with 'a', and none of them is an input.", ask({"a": x}))
    wrong("Batch 1 is str, not a tensor [sample, ...] or a pair", ask((x, y), "rest"))
    wrong("sample 4 has shape [3], and those before it [2]", ask((x, y), (noise(4, 3), y)))
    wrong("A label is out of range: the net has 3 outputs, 0 to 2.", ask((x, y + 1)))
    wrong("gave no sample that is counted in a row.", ask())
    wrong(
        "sample 0 has the weight 0.0. Weights are above 0; by= leaves samples out.",
        lambda: inf.essence(net, "1", inf.Dataset([(x, y)], weight=lambda x, label: 0)),
    )


def test_a_generator_can_be_gone_through_once():
    net, (x, y) = smooth(), samples(4)
    data = inf.Dataset(pair for pair in batches(x, y, 2))
    inf.essence(net, "1", data)
    wrong("gives its batches once, and they are gone. Give a list of batches", lambda: inf.essence(net, "1", data))


def test_a_stored_data_set_cannot_be_gone_through():
    data = inf.parse("Dataset(Stored('0123', 'cats: 3 images'))")
    wrong("is a data set known by its checksum only.", lambda: inf.essence(smooth(), "1", data))


def test_folders_whose_names_the_net_does_not_know(tmp_path):
    data = inf.Dataset(folder(tmp_path, names=("cats", "dog")))
    wrong("This net has no class 'cats'.", lambda: inf.essence(pictures(), "0", data))


def test_images_of_different_sizes(tmp_path):
    Image.new("RGB", (5, 5)).save(folder(tmp_path) / "dog" / "small.png")
    wrong("the samples of a data set have one shape. Resize them in the transform.",
          lambda: inf.essence(pictures(), "0", inf.Dataset(tmp_path)))  # fmt: skip


def test_a_line_between_two_data_sets():
    x, _ = samples(4)
    data = inf.Dataset([x], by="all")
    wrong("A line runs from one data set or to one, not both",
          lambda: inf.influence(smooth(), "1", inf.Class(0), inf.Line(data, data)))  # fmt: skip


def test_a_mixture_of_rows_that_differ():
    (x, y), net = samples(4, 2), smooth()
    mixed = 0.5 * inf.Dataset([(x, y)]) + 0.5 * inf.Dataset([(x, y + 1)])
    wrong("The parts of a mixture have the rows (0, 1) and (1, 2).", lambda: inf.essence(net, "1", mixed))


def test_nothing_is_kept_of_an_empty_partial():
    assert (
        Partial().merge(Partial(samples=3)).samples == 3 and as_source([torch.zeros(1, 2)]).stored.shape == "1 batches"
    )


# Until


def noisy(n, seed=3):
    """Samples of a linear net's activations: three units whose means are clear at once, and sixty that have none."""
    means = torch.cat([torch.tensor([9.0, 8.0, 7.0]), torch.zeros(60)]).double()
    return worlds.linear(worlds.ones(63)), means + noise(n, 63, seed=seed), torch.zeros(n, dtype=torch.long)


def until(k, n=400, **more):
    net, x, y = noisy(n)
    data = inf.Dataset([(x, y)], until=inf.Until(top=k, overlap=0.9, **more), block=10)
    return inf.influence(net, "INPUT", inf.Class(0), data, inf.activation)


def test_the_pass_stops_when_the_top_units_are_stable():
    """Three units are 7σ from the others: as soon as there are enough samples at all."""
    assert 30 <= int(until(3).count) <= 60 and 100 <= int(until(3, atleast=100).count) <= 170


def test_a_pass_that_never_gets_there_says_so():
    """The other three of six are any of sixty: two samples of any size share 3.15 of 6 on average."""
    with pytest.warns(inf.InfluentWarning, match=r"After all 400 samples the rows are not as stable as Until\(top=6\)"):
        a = until(6)
    assert int(a.count) == 400


def test_the_stop_is_at_a_beginning_of_the_blocks():
    net, x, y = noisy(400)
    stopped = until(3)
    n = int(stopped.count)
    assert n % 10 == 0
    whole = inf.influence(net, "INPUT", inf.Class(0), inf.Dataset([(x[:n], y[:n])], block=10), inf.activation)
    assert torch.equal(stopped.values, whole.values)


def test_single_samples_have_nothing_to_wait_for():
    wrong("until= waits for the mean of rows, and by='sample' has none", lambda: inf.Dataset(
        [torch.zeros(2, 2)], by="sample", until=inf.Until()))  # fmt: skip
