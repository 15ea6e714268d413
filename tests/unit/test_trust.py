"""Rank agreement of single answers, planted by hand; two reports side by side."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import influent as inf
from influent.comparison import Answers, Earlier, compared, read_earlier
from influent.confusion import see
from influent.fidelity import rank_agreement
from influent.finding import Finding
from influent.rates import mcnemar
from influent.trust import agreements, trust


@pytest.fixture(scope="module")
def seen():
    """A net whose influences differ from sample to sample, and some samples of a second kind in class 0."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3)).eval()
    x = torch.randn(90, 6)
    with torch.no_grad():
        label = made(x).argmax(1)
    label[::9] = (label[::9] + 1) % 3
    return see(made, "0/channel", inf.Dataset([(x, label)]))


def test_the_order_of_a_class_is_that_of_its_other_right_answers(seen):
    found = agreements(seen)
    for k in range(len(found)):
        right = (seen.said == seen.said[k]) & (seen.label == seen.said[k])
        right[k] = False
        order = seen.slopes[right].double().mean(0)
        expected = rank_agreement(seen.slopes[k : k + 1].double(), order)[0]
        assert found[k] == pytest.approx(float(expected), abs=1e-9)


def test_suspicious_answers_are_the_ends_of_the_list(seen):
    found, made = agreements(seen), trust(seen, keep=4)
    right = seen.label == seen.said
    assert [d.agreement for d in made.least] == sorted(found[right].tolist())[:4]
    assert [d.agreement for d in made.most] == sorted(found[~right].tolist(), reverse=True)[:4]
    assert all(d.label == d.said for d in made.least) and all(d.label != d.said for d in made.most)
    assert (made.right, made.wrong) == (int(right.sum()), int((~right).sum())) and made.low < made.area < made.high


def test_where_all_influences_have_one_order_nothing_is_said():
    made = nn.Sequential(nn.Identity(), nn.Linear(4, 2, bias=False)).eval()
    x, label = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 2
    assert trust(see(made, "0/channel", inf.Dataset([(x, label)]))) is None
    few = replace(
        see(made, "0/channel", inf.Dataset([(x, label)])), said=torch.full((30,), 1), label=torch.zeros(30).long()
    )
    assert trust(few) is None


def test_without_a_wrong_answer_there_is_nothing_to_compare(seen):
    keep = (seen.label == seen.said).nonzero().flatten()
    names = tuple(seen.names[k] for k in keep.tolist())
    columns = {key: getattr(seen, key)[keep] for key in ("label", "said", "probability", "slopes")}
    made = trust(replace(seen, names=names, **columns))
    assert math.isnan(made.area) and made.most == () and len(made.least) == 8


# Two reports


def finding(kind, subject):
    return Finding(kind, subject, "", "", 0, 0, "", "", "")


BEFORE = Earlier(
    "old", Answers(("a", "b", "c", "d", "gone"), (0, 0, 1, 1, 0), (1, 1, 1, 0, 0), (1.0,) * 5),
    (("never said", "cat"), ("confusion", "cat → dog")),
)  # fmt: skip
NOW = Answers(("new", "d", "c", "b", "a"), (0, 1, 1, 0, 0), (0, 1, 0, 0, 0), (1.0,) * 5)


def test_samples_are_known_by_their_names():
    made = compared(NOW, [finding("confusion", "cat → dog"), finding("drowning", "dog")], {0: "cat", 1: "dog"}, BEFORE)
    assert (made.shared, made.alone, made.before, made.now) == (4, 2, 1, 3)
    assert set(made.repaired) == {"a", "b", "d"} and made.broken == ("c",)
    assert made.gone == (("never said", "cat"),) and made.new == (("drowning", "dog"),)
    assert made.stayed == (("confusion", "cat → dog"),)
    cat, dog = made.classes
    assert (cat.name, cat.count, cat.before, cat.now, cat.repaired, cat.broken) == ("cat", 2, 0, 2, 2, 0)
    assert (dog.repaired, dog.broken) == (1, 1) and made.p == min(1, 2 * mcnemar(3, 1)) and dog.p == 1
    assert made.lines[0].startswith("against old: 3 of 4 samples are right, and 1 were; McNemar's test p = ")
    assert "  repaired: never said: cat" in made.lines and "  cat: 0 → 2 of 2 found (p = 1)" in made.lines


def test_reports_on_other_data_are_not_compared():
    with pytest.raises(inf.QuestionError) as error:
        compared(Answers(("x",), (0,), (0,), (1.0,)), [], {0: "cat"}, BEFORE)
    assert str(error.value) == (
        "No sample of this report is in the one of old: two nets are compared on the same data."
    )


def test_classes_that_are_numbered_otherwise_are_not_compared():
    with pytest.raises(inf.QuestionError, match="a is of class 1 here, and of another in the report of old"):
        compared(Answers(("a",), (1,), (0,), (1.0,)), [], {0: "cat", 1: "dog"}, BEFORE)


def test_a_report_beside_itself_has_changed_nothing():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2), nn.Identity()).eval()
    data = [(torch.randn(40, 2), torch.arange(40) % 2)]
    report = inf.debug(net, data, "0/channel")
    made = report.beside(report).against
    assert (made.repaired, made.broken, made.gone, made.new, made.p) == ((), (), (), (), 1.0)


@pytest.mark.parametrize(("text", "lesson"), [
    (None, "holds no debugging report: No such file or directory."),
    ("{", "is damaged: "),
    ('{"schema": 1}', "is of format 1, and this version reads format 2. Make it again."),
    ('{"schema": 2, "findings": []}', "is damaged: 'answers'. Make it again."),
    ('{"schema": 2, "net": "", "findings": [], "answers": null}', "is damaged: "),
    ('{"schema": 2, "net": "", "findings": [], "answers": {"names": ["a"], "label": [], "said": []}}',
     "is damaged: its answers are no table."),
])  # fmt: skip
def test_what_is_no_earlier_report_is_a_lesson(tmp_path, text, lesson):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(inf.StoreError) as error:
        read_earlier(tmp_path)
    assert lesson in str(error.value)


def test_what_is_written_is_what_is_read(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2), nn.Identity()).eval()
    report = replace(inf.debug(net, [(torch.randn(40, 2), torch.arange(40) % 2)], "0/channel"), net="mine")
    (tmp_path / "report.json").write_text(report.json)
    earlier = read_earlier(tmp_path)
    assert earlier.net == "mine" and earlier.answers == report.answers
    assert earlier.faults == tuple((f.kind, f.subject) for f in report.findings)
    assert set(json.loads(report.json)) >= {"suspects", "reasons", "checked", "trust", "answers", "against"}
