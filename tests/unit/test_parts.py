"""Finished parts: what is written is what is read, and what is damaged or of another question is not."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

import influent as inf
from influent.drowning import Told, Tried
from influent.errors import StoreError
from influent.parts import Parts, kept_until_done


@dataclass(frozen=True)
class Inner:
    number: float
    name: str


@dataclass(frozen=True, eq=False)
class Whole:
    table: Tensor
    places: Tensor
    some: tuple[Inner, ...]
    pair: tuple[int, str]
    perhaps: Inner | None
    left_out: dict[str, str] = field(default_factory=dict)
    sure: bool = True


WHOLE = Whole(
    torch.tensor([[0.1, float("nan")]], dtype=torch.float64), torch.tensor([3, -1]),
    (Inner(0.1, "ä"), Inner(2e-310, "")), (7, "seven"), Inner(float("inf"), "x"), {"a.png": "broken"}, False,
)  # fmt: skip


def refuse():
    raise AssertionError("it was there")


def test_a_part_is_read_as_it_was_written(tmp_path):
    parts = Parts(tmp_path)
    assert not parts.known("one")
    assert parts.once("one", Whole, lambda: WHOLE) is WHOLE and parts.known("one")
    read = parts.once("one", Whole, refuse)
    assert torch.equal(read.table.isnan(), WHOLE.table.isnan()) and read.table[0, 0] == 0.1
    assert read.table.dtype == torch.float64 and read.places.tolist() == [3, -1]
    assert (read.some, read.pair, read.perhaps) == (WHOLE.some, WHOLE.pair, WHOLE.perhaps)
    assert (read.left_out, read.sure) == (WHOLE.left_out, False)


def test_nothing_and_empty_tensors_are_kept_too(tmp_path):
    parts = Parts(tmp_path)
    made = Whole(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long), (), (0, ""), None)
    parts.once("none", Whole, lambda: made)
    read = parts.once("none", Whole, refuse)
    assert read.table.shape == (0, 5) and read.some == () and read.perhaps is None


def test_a_class_that_was_tried_is_read_back_whole(tmp_path):
    tried = Tried(2, 0, None, Told(0, 9, 1, 9), Told(8, 9, 0, 9), None, (3, 1), 16, 0.75, (18, 18), (0.1, 0.2))
    parts = Parts(tmp_path)
    parts.once("class", Tried, lambda: tried)
    assert parts.once("class", Tried, refuse) == tried
    several = (Told(1, 2, 3, 4), Told(0, 1, 0, 1))
    parts.once("several", tuple[Told, ...], lambda: several)
    assert parts.once("several", tuple[Told, ...], refuse) == several


@pytest.mark.parametrize("damage", ["cut", "turned", "text"])
def test_a_damaged_part_is_named_and_made_again(tmp_path, damage):
    parts = Parts(tmp_path)
    parts.once("one", Whole, lambda: WHOLE)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    if damage == "turned":
        data[-1] ^= 1
    file.write_bytes({"cut": bytes(data[: len(data) // 2]), "turned": bytes(data), "text": b"no tensors"}[damage])
    again = Whole(torch.ones(1), torch.ones(1), (), (1, ""), None)
    with pytest.warns(inf.InfluentWarning, match=r"one\.safetensors is damaged .*: that part is made again"):
        assert parts.once("one", Whole, lambda: again) is again
    assert parts.once("one", Whole, refuse).table.tolist() == [1]


def test_another_question_has_another_folder(tmp_path):
    here, there = (Parts.beside(tmp_path / "made", {"net": net}) for net in ("a", "b"))
    here.once("one", int, lambda: 1)
    assert there.folder != here.folder and not there.known("one")
    assert Parts.beside(tmp_path / "made", {"net": "a"}).once("one", int, refuse) == 1
    assert here.folder.parent == tmp_path and here.folder.name.startswith(".made-parts-")


def test_parts_go_with_the_end_of_the_work_and_stay_when_it_is_stopped(tmp_path):
    def work(error):
        parts = Parts.beside(tmp_path / type(error).__name__, {})
        with kept_until_done([parts]):
            parts.once("one", int, lambda: 1)
            if error is not None:
                raise error
        return parts

    assert not work(None).folder.exists()
    for error, stays in ((KeyboardInterrupt(), True), (StoreError("full"), True), (inf.QuestionError("no"), False)):
        with pytest.raises(type(error)):
            work(error)
        assert Parts.beside(tmp_path / type(error).__name__, {}).folder.exists() == stays


def test_without_a_folder_nothing_is_kept():
    made = iter([1, 2])
    assert [Parts().once("one", int, made.__next__) for _ in range(2)] == [1, 2] and not Parts().known("one")


def test_numbers_of_half_precision_are_kept(tmp_path):
    made = Whole(torch.ones(3, dtype=torch.bfloat16), torch.ones(1), (), (1, ""), None)
    Parts(tmp_path).once("half", Whole, lambda: made)
    read = Parts(tmp_path).once("half", Whole, refuse)
    assert torch.equal(read.table, made.table) and read.table.dtype == torch.bfloat16


def test_parts_of_others_stay_where_a_question_is_wrong_or_the_net_fails(tmp_path):
    parts = Parts.beside(tmp_path / "made", {})
    parts.once("one", int, lambda: 1)
    with pytest.raises(inf.QuestionError), kept_until_done([parts]):
        raise inf.QuestionError("no")
    assert parts.known("one")
    parts.clear()
    with pytest.raises(inf.InputError), kept_until_done([parts]):
        parts.once("one", int, lambda: 1)
        raise inf.InputError("the net failed") from RuntimeError("out of memory")
    assert parts.known("one")
