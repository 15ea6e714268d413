"""Partial results on disk: read back to the last bit, or refused by name."""

import itertools
import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

import influent as inf
from influent.ledger import SCHEMA, Facts, Shard, identity, read_shard, write_shard
from influent.partial import Fold, Node, Partial, Row
from influent.shards import Share, Work
from influent.stream import Stream
from influent.sweep import Job
from tests import worlds
from tests.worlds import noise


def partial(seed=0, by="label", n=7):
    """A partial of a small question, and what it belongs to."""
    net, x = inf.Net(worlds.linear(noise(3, seed=seed))), noise(n, 3, seed=1)
    over = inf.Line(torch.zeros(1, 3), inf.Dataset([(x, torch.arange(n) % 2)], by=by, examples=2), n=5)
    job = Job(net, (inf.INPUT,), (inf.Class(0),), (inf.contribution,))
    question = inf.Question(inf.INPUT, inf.Class(0), over, inf.contribution)
    return Stream(job, over, 16, lambda points: None).run().partial, identity([question], net)


def shard(made):
    """A shard of one block."""
    return Shard(3, 4, (Node(0, 3, made),), Facts((("row", "column"), None), ((True, False),), ((("float32",),),)))


def read_partial(file, about):
    return read_shard(file, about).nodes[0].partial


def write_partial(made, file, about):
    assert write_shard(shard(made), file, about)
    return file


def same(a, b):
    assert list(a.rows) == list(b.rows) and a.names == b.names and a.left_out == b.left_out and a.samples == b.samples
    for name, row in a.rows.items():
        other = b.rows[name]
        assert torch.equal(row.change, other.change) and torch.equal(row.residual, other.residual)
        for place, m in row.moments.items():
            own = other.moments[place]
            assert (m.count, m.weight, m.weight2) == (own.count, own.weight, own.weight2)
            for field in ("total", "squares", "best", "best_values"):
                one, two = getattr(m, field), getattr(own, field)
                assert (one is None and two is None) or torch.equal(one, two)


@pytest.mark.parametrize("by", ["label", "sample", "all"])
def test_a_partial_is_read_back_to_the_last_bit(tmp_path, by):
    made, about = partial(by=by)
    same(made, read_partial(write_partial(made, tmp_path / "a" / "0.safetensors", about), about))


def test_what_was_stored_merges_as_what_was_not(tmp_path):
    made, about = partial()
    stored = read_partial(write_partial(made, tmp_path / "0", about), about)
    same(stored.merge(stored), made.merge(made))


def wrong(message, run):
    with pytest.raises(inf.StoreError, match=re.escape(message)):
        run()


def test_a_partial_of_another_net_question_or_data_is_refused_by_name(tmp_path):
    made, about = partial()
    file = write_partial(made, tmp_path / "0", about)
    other, weights = partial(seed=9)[1], "net's weights"
    wrong(f"belongs to another net's weights: {about[weights]} and not {other[weights]}. Name another folder.",
          lambda: read_partial(file, other))  # fmt: skip
    wrong("belongs to another of: Class(0) and not Class(1).", lambda: read_partial(file, {**about, "of": "Class(1)"}))
    more = partial(n=8)[1]
    wrong("belongs to another over: Line(Stored(", lambda: read_partial(file, more))


def test_a_damaged_partial_is_refused(tmp_path):
    made, about = partial()
    file = write_partial(made, tmp_path / "0", about)
    whole = file.read_bytes()
    for cut in (0, 5, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        wrong("is no partial result, or damaged", lambda: read_partial(file, about))
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    wrong("its numbers are not those that were written.", lambda: read_partial(file, about))
    wrong("is no partial result, or damaged", lambda: read_partial(tmp_path / "nowhere", about))
    file.write_bytes(whole)
    words = json.dumps({"schema": SCHEMA + 1})
    save_file(load_file(file), file, metadata={"influent": f"checksum {words}"})
    wrong(f"is of format {SCHEMA + 1}, and this version reads format {SCHEMA}.", lambda: read_partial(file, about))


def test_nothing_half_written_is_left_behind(tmp_path):
    made, about = partial()
    (tmp_path / "taken").mkdir()
    wrong("cannot be written", lambda: write_partial(made, tmp_path / "taken", about))
    assert [f.name for f in tmp_path.iterdir()] == ["taken"]


def test_rows_are_named_by_numbers_or_text(tmp_path):
    row = Row({}, torch.zeros(1), torch.zeros(1, 1))
    wrong("The row (1, 2) is no number and no text", lambda: write_partial(Partial({(1, 2): row}), tmp_path / "0", {}))


# A pass with a ledger


def ask(folder, seed=0, **more):
    net, x = inf.Net(worlds.linear(noise(3, seed=seed))), noise(20, 3, seed=1)
    data = inf.Dataset([(x, torch.arange(20) % 2)], examples=2, block=6)
    return inf.influence(net, "INPUT", inf.Class(0), inf.Gaussian(data, std=0.1, n=2), ledger=folder, **more)


def files(folder):
    return sorted(f.name for f in folder.iterdir() if f.name.startswith("blocks"))


def equal(a, b):
    """Two attributions, to the last bit."""
    assert torch.equal(a.values, b.values) and torch.equal(a.stderr, b.stderr) and torch.equal(a.count, b.count)
    assert torch.equal(a.examples.index, b.examples.index) and a.examples.names == b.examples.names


def test_what_the_ledger_knows_is_not_computed_again(tmp_path):
    whole, first = ask(None), ask(tmp_path, shard=1)
    assert files(tmp_path) == [f"blocks-0000000{k}-0000000{k + 1}.safetensors" for k in range(4)]
    equal(first, whole)
    for gone in ((), (0,), (2,), (1, 3)):
        for k in gone:
            (tmp_path / f"blocks-0000000{k}-0000000{k + 1}.safetensors").unlink()
        again = ask(tmp_path, shard=1)
        # Two points a sample, of what is missing alone.
        assert again.cost.forward == 2 * sum(6 if k < 3 else 2 for k in gone)
        equal(again, whole)


@pytest.mark.parametrize("kept", [b"half", b""])
def test_a_damaged_shard_is_named_and_computed_again(tmp_path, kept):
    whole = ask(tmp_path)
    (file,) = [f for f in tmp_path.iterdir() if f.name.startswith("blocks")]
    file.write_bytes(kept)
    with pytest.warns(inf.InfluentWarning, match=r"blocks-00000000-00000004.safetensors is no partial result, or dam"):
        again = ask(tmp_path)
    equal(again, whole)
    equal(ask(tmp_path), whole)


# Who computed what does not matter


def order_of(count, seed):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


def data(count=203):
    """Samples whose sums differ by their order: of many sizes, and of both signs."""
    x = noise(count, 3, seed=1) * 10.0 ** (noise(count, 1, seed=2) * 4)
    return inf.Dataset([(x, torch.arange(count) % 3)], examples=2, block=2)


def asked(ledger, over=None, **more):
    net = inf.Net(worlds.linear(noise(3)))
    over = inf.Gaussian(data(), std=0.1, n=2) if over is None else over
    return Work.of(net, "INPUT", inf.Class(0), over, inf.gradient_times_activation, ledger=ledger, **more)


def answer(ledger, over=None):
    net = inf.Net(worlds.linear(noise(3)))
    over = inf.Gaussian(data(), std=0.1, n=2) if over is None else over
    return inf.influence(net, "INPUT", inf.Class(0), over, inf.gradient_times_activation, ledger=ledger)


@pytest.mark.parametrize("shards", [1, 2, 7, 100])
def test_any_shards_in_any_order_give_what_one_pass_gives(tmp_path, shards):
    whole = answer(None)
    for seed in range(3):
        folder = tmp_path / str(seed)
        work = asked(folder, shard=-(-102 // shards))
        missing = work.missing()
        for k in order_of(len(missing), seed):
            work.compute(*missing[k])
        assert asked(folder).missing() == []
        equal(answer(folder), whole)


def test_shards_of_several_sizes_add_up(tmp_path):
    first, second = asked(tmp_path, shard=16), asked(tmp_path, shard=5)
    for k in (1, 4):
        first.compute(*first.missing()[k - (k > 1)])
    done = second.missing()
    assert (16, 32) not in done and all(b - a <= 5 for a, b in done)
    for start, stop in done:
        second.compute(start, stop)
    assert second.missing() == []
    equal(answer(tmp_path), answer(None))


def test_workers_share_the_shards(tmp_path):
    for index in (2, 0, 1):
        work = asked(tmp_path, shard=8)
        for start, stop in work.share(Share(index, 3)):
            assert (start // 8) % 3 == index
            work.compute(start, stop)
    assert asked(tmp_path).missing() == []
    equal(answer(tmp_path), answer(None))


def test_what_is_not_all_there_is_not_added_up(tmp_path):
    work = asked(tmp_path, shard=8)
    work.compute(8, 16)
    wrong(f"{tmp_path} lacks 94 of 102 blocks: 0 to 7, 16 to 23, 24 to 31, 32 to 39, 40 to 47, ....", work.check_whole)


def test_a_shard_is_written_once(tmp_path):
    made, about = partial()
    file = tmp_path / "0"
    assert write_shard(shard(made), file, about) and not write_shard(shard(partial(seed=4)[0]), file, about)
    same(made, read_partial(file, about))
    assert [f.name for f in tmp_path.iterdir()] == ["0"]


def test_until_stops_at_the_same_block(tmp_path):
    def over(until):
        x = torch.tensor([5.0, 2.0, 0.1]) + noise(400, 3, seed=3)
        return inf.Dataset([(x, torch.arange(400) % 3)], examples=2, block=2, until=until)

    until = inf.Until(top=1, overlap=0.9, atleast=10)
    whole = answer(None, over(until))
    assert 0 < int(whole.count.sum()) < 400
    work = asked(tmp_path, over(until), shard=7)
    for start, stop in reversed(work.missing()):
        work.compute(start, stop)
    equal(answer(tmp_path, over(until)), whole)


def test_samples_that_cannot_be_read_leave_the_blocks_where_they_are(tmp_path):
    count = 23
    x = noise(count, 3, seed=1)
    x[[4, 5, 9, 21, 22]] = torch.nan
    over = inf.Dataset([(x, torch.arange(count) % 2)], examples=2, block=2)
    with pytest.warns(inf.InfluentWarning, match="5 of 23 samples were left out"):
        whole = answer(None, over)
    work = asked(tmp_path, over, shard=3)
    for start, stop in reversed(work.missing()):
        work.compute(start, stop)
    with pytest.warns(inf.InfluentWarning, match="5 of 23 samples were left out"):
        again = answer(tmp_path, over)
    equal(again, whole)
    assert set(again.left_out) == set(whole.left_out) == {f"sample {k}" for k in (4, 5, 9, 21, 22)}


def test_a_tree_of_blocks_is_one_whoever_adds():
    parts = [Partial(samples=1 << k) for k in range(13)]
    whole = Fold()
    for k, one in enumerate(parts):
        whole.add(k, one)
    assert [(n.level, n.place) for n in whole.nodes] == [(3, 0), (2, 2), (0, 12)]
    for cuts in ((0, 5, 13), (0, 1, 2, 11, 13), tuple(range(14))):
        fold = Fold()
        for a, b in itertools.pairwise(cuts):
            part = Fold()
            for k in range(a, b):
                part.add(k, parts[k])
            fold.extend(part.nodes)
        assert [(n.level, n.place) for n in fold.nodes] == [(n.level, n.place) for n in whole.nodes]
        assert fold.total.samples == whole.total.samples == (1 << 13) - 1


@pytest.mark.parametrize("text", ["4/4", "1", "-1/4", "a/b", "1/0"])
def test_what_is_no_share_is_a_lesson(text):
    with pytest.raises(inf.InputError, match="give a number from 0 and how many there are, --shard 0/4 to --shard 3/4"):
        Share.parse(text)


def test_a_stream_that_has_no_index_has_no_shards(tmp_path):
    loader = torch.utils.data.DataLoader([(torch.zeros(3), 0)] * 4)
    with pytest.raises(inf.QuestionError, match="Shards are parts of a folder, or of a data set with an index"):
        asked(tmp_path, inf.Dataset(loader))
    with pytest.raises(inf.QuestionError, match="A ledger keeps parts of data that can be read part by part"):
        answer(tmp_path, inf.Dataset(loader))


def test_a_ledger_of_another_net_is_refused(tmp_path):
    ask(tmp_path)
    wrong("belongs to another net's weights", lambda: ask(tmp_path, seed=5))


def test_a_ledger_is_for_one_data_set(tmp_path):
    net, x = worlds.linear(noise(3)), noise(2, 3)
    with pytest.raises(inf.QuestionError, match="A ledger keeps the blocks of one data set"):
        inf.influence(net, "INPUT", inf.Class(0), inf.Point(x), ledger=tmp_path)
