"""Partial results on disk: read back to the last bit, or refused by name."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

import influent as inf
from influent.ledger import SCHEMA, identity, read_partial, write_partial
from influent.partial import Partial, Row
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
    other = partial(seed=9)[1]
    wrong(f"belongs to another net: {about['net']} and not {other['net']}. Name another folder.",
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
    words = json.dumps({"schema": SCHEMA + 1, "sha256": ""})
    save_file(load_file(file), file, metadata={"influent": words})
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


def test_what_the_ledger_knows_is_not_computed_again(tmp_path):
    whole, first = ask(None), ask(tmp_path / "parts")
    assert sorted(f.name for f in (tmp_path / "parts").iterdir()) == [f"block-0000000{k}.safetensors" for k in range(4)]
    for gone in ((), (2,), (1, 3)):
        for k in gone:
            (tmp_path / "parts" / f"block-0000000{k}.safetensors").unlink()
        again = ask(tmp_path / "parts")
        # The first block is always computed, with 2 points a sample; then only what is missing.
        assert again.cost.forward == 2 * (6 + sum(6 if k < 3 else 2 for k in gone))
        for a in (first, again):
            assert torch.equal(a.values, whole.values) and torch.equal(a.stderr, whole.stderr)
            assert torch.equal(a.examples.index, whole.examples.index) and a.examples.names == whole.examples.names


def test_a_damaged_block_is_named_and_computed_again(tmp_path):
    whole = ask(tmp_path)
    (tmp_path / "block-00000002.safetensors").write_bytes(b"half")
    with pytest.warns(inf.InfluentWarning, match=r"block-00000002.safetensors is no partial result, or damaged"):
        again = ask(tmp_path)
    assert torch.equal(again.values, whole.values) and torch.equal(ask(tmp_path).values, whole.values)


def test_a_ledger_of_another_net_is_refused(tmp_path):
    ask(tmp_path)
    wrong("belongs to another net", lambda: ask(tmp_path, seed=5))


def test_a_ledger_is_for_one_data_set(tmp_path):
    net, x = worlds.linear(noise(3)), noise(2, 3)
    with pytest.raises(inf.QuestionError, match="A ledger keeps the blocks of one data set"):
        inf.influence(net, "INPUT", inf.Class(0), inf.Point(x), ledger=tmp_path)
