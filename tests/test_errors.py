"""Every lesson, in one table: what was typed, the error, and what it says to type instead."""

from __future__ import annotations

import json
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import influent
from influent import (
    INPUT,
    OUTPUT,
    Class,
    Classes,
    Continuation,
    Cut,
    Gaussian,
    Label,
    Line,
    Logit,
    Net,
    Point,
    Predicted,
    Probability,
    RunnerUp,
    Unit,
    activations,
    contribution,
    cuts,
    gradient,
    influence,
    square,
)
from influent.errors import (
    CutError,
    InfluentError,
    InfluentWarning,
    InputError,
    NetError,
    QuestionError,
    StoreError,
    nearest,
)
from influent.language import parse
from influent.store import load, save

torch.set_num_threads(1)


FIRST = Class(0)


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5)).eval()


def named() -> Net:
    return Net(plain(), labels=["crane", "cat", "dog", "crane", "cup"])


def ask(net: Any = None, at: Any = "0", of: Any = FIRST, over: Any = None, *words: Any, **more: Any) -> Any:
    return influence(plain() if net is None else net, at, of, X if over is None else over, *words, **more)


def calls(function: Callable[[Tensor], Any], *layers: nn.Module) -> nn.Module:
    """A net whose forward is `function`, after `layers`."""

    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*layers)

        def forward(self, x: Tensor) -> Any:
            return function(self.body(x))

    return Calls().eval()


def broken_weights() -> nn.Module:
    net = plain()
    net[2].weight.data[1, 2] = torch.nan
    return net


def broken_below() -> nn.Module:
    """NaN below the cut: slopes above it are finite, and the answer is one about nothing."""
    net = plain()
    net[0].weight.data.fill_(torch.nan)
    return nn.Sequential(*net, nn.Linear(5, 2)).eval()


def traced() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own tracer deprecated
        return torch.jit.trace(plain(), torch.ones(1, 3))


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated in favour of another package
        return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear}).eval()


def inference_weights() -> nn.Module:
    with torch.inference_mode():
        return plain()


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise RuntimeError("derivative not implemented")


def refuses(x: Tensor) -> Tensor:
    raise AssertionError("images must be square")


ONES = torch.ones(2, 3)
X = Point(ONES)
PATH = Line(torch.zeros(1, 3), ONES, n=5)
IMAGE = torch.ones(1, 2, 4, 4)
CONV = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2)).eval()
TWICE = nn.Sequential(shared := nn.Linear(3, 3), nn.ReLU(), shared).eval()
IDLE = calls(lambda x: x, nn.Linear(3, 3))
IDLE.idle = nn.Linear(3, 3).eval()
PAIR = calls(lambda x: {"left": x, "right": 2 * x})
SPARSE = torch.ones(1, 3).to_sparse()
ROOT = calls(lambda x: x.sqrt())

Case = tuple[Callable[[], Any], type[InfluentError], str]

PLACES: dict[str, Case] = {
    "unknown module": (
        lambda: ask(nn.Sequential(*CONV), at="conv"),
        CutError,
        r"^This net has no module 'conv'\. Its top level is 0, 1, 2\. inf\.cuts\(net, x\) lists all\.$",
    ),
    "unknown module, near": (
        lambda: ask(nn.Sequential(OrderedDict(stem=nn.Linear(3, 2))).eval(), at="stam"),
        CutError,
        r"^This net has no module 'stam'\. Did you mean 'stem'\? Its top level is stem\.",
    ),
    "net without modules": (
        lambda: ask(ROOT, at="conv"),
        CutError,
        r"has no module 'conv'\. Its top level is",
    ),
    "malformed text": (
        lambda: Cut("conv[0"),
        CutError,
        r"^'conv\[0' is not a place in a net\. Type a module's name, .*in this order: \"lstm:in#2\[0\]/channel\"\.$",
    ),
    "empty text": (lambda: ask(at=""), CutError, r"^'' is not a place in a net\."),
    "parts in another order": (lambda: ask(at="0/channel#2"), CutError, r"^'0/channel#2' is not a place in a net\."),
    "number as a place": (lambda: ask(at=3), CutError, r"^3 is not a place in a net\."),
    "none as a place": (lambda: ask(at=None), CutError, r"^None is not a place in a net\."),
    "no places": (lambda: ask(at=[]), QuestionError, r"^at=\[\] is empty: there is nothing to explain\.$"),
    "call zero": (lambda: ask(at="0#0"), CutError, r"'0#0'"),
    "call that does not happen": (
        lambda: ask(at="0#2"),
        CutError,
        r"^'0#2': '0' runs 1 time in one pass, not 2\.$",
    ),
    "runs twice": (
        lambda: ask(TWICE),
        CutError,
        r"^'0' runs more than once in one pass\. Say which call: \"0#1\", \"\.\.\.#2\"\.$",
    ),
    "input side runs twice": (lambda: ask(TWICE, at="0:in"), CutError, r"Say which call: \"0:in#1\""),
    "never runs": (
        lambda: ask(IDLE, at="idle"),
        CutError,
        r"^'idle' never ran\. The net does not call this module .*cut at a module around it\. inf\.cuts\(net, x\)",
    ),
    "several tensors": (
        lambda: ask(PAIR, of=Class(0), at=INPUT),
        CutError,
        r"^'OUTPUT' gives a dict, not one tensor\. Name an element: OUTPUT\[left\], OUTPUT\[right\]\.$",
    ),
    "no such element": (
        lambda: ask(PAIR, of=Class(0, cut=OUTPUT["lift"]), at=INPUT),
        CutError,
        r"^'OUTPUT\[lift\]': OUTPUT has no element 'lift'\. Name an element: OUTPUT\[left\]",
    ),
    "element of a tensor": (lambda: ask(at="0[1]"), CutError, r"'0\[1\]'.*tensor"),
    "attribute of a tensor": (lambda: ask(at="0[data]"), CutError, r"'0\[data\]'.*tensor"),
    "no such input": (
        lambda: ask(at="INPUT[mask]"),
        CutError,
        r"^'INPUT\[mask\]' is not among the inputs that the net is called with: INPUT\[0\]\.$",
    ),
    "no tensor": (
        lambda: ask(calls(lambda x: None), at=INPUT),
        CutError,
        r"^'OUTPUT' gives a NoneType, not one tensor\. It holds no tensor: cut at another module\.$",
    ),
    "whole numbers": (
        lambda: ask(
            calls(lambda x: x, nn.Embedding(3, 2), nn.Flatten()), INPUT, Class(0), Point(torch.ones(1, 2).long())
        ),
        CutError,
        r"^'INPUT' gives int64 \[1, 2\]: whole numbers have no gradient\. Cut at the embedding\.$",
    ),
    "unknown axis": (
        lambda: ask(at="0/row"),
        QuestionError,
        r"^'0/row' asks for units by 'row', but its axes are channel \(activation \[2, 4\]\)\. Type one of",
    ),
    "axes not known": (
        lambda: ask(calls(lambda x: x), at="body/row", of=lambda y: y.sum((1, 2)), over=Point(torch.ones(1, 2, 3))),
        QuestionError,
        r"^'body/row' asks for units by 'row', but its axes are not known .*inf\.Net\(module, axes=\{",
    ),
    "attention's projection": (
        lambda: ask(calls(lambda x: x, nn.MultiheadAttention(4, 2)), at="body.0.out_proj"),
        CutError,
        r"^'body\.0\.out_proj' never runs as a module: .*Cut after the attention, at \"body\.0\[0\]\"\.$",
    ),
    "activations at an unknown place": (
        lambda: activations(plain(), "zz", ONES),
        CutError,
        r"^This net has no module 'zz'\.",
    ),
    "listing with a wrong input": (
        lambda: cuts(plain(), torch.ones(1, 7)),
        InputError,
        r"^The net failed on .*\[1, 7\].*: mat1 and mat2 shapes",
    ),
    "activations of a wrong input": (
        lambda: activations(plain(), "0", torch.ones(1, 7)),
        InputError,
        r"^The net failed on .*\[1, 7\].*: mat1 and mat2",
    ),
}

BEHAVIOURS: dict[str, Case] = {
    "unknown class": (
        lambda: ask(named(), of=Class("cab")),
        QuestionError,
        r"^This net has no class 'cab'\. Did you mean 'cat'\?$",
    ),
    "ambiguous class": (
        lambda: ask(named(), of=Class("crane")),
        QuestionError,
        r"^The name 'crane' belongs to 2 classes\. Say which by index: Class\(0\), Class\(3\)\.$",
    ),
    "class by name without labels": (
        lambda: ask(of=Class("cat")),
        QuestionError,
        r"^Class 'cat' is asked for by name, but this net has no labels\. Give the index, Class\(3\), or the names, ",
    ),
    "class out of range": (
        lambda: ask(of=Class(5)),
        QuestionError,
        r"^Class\(5\) is out of range: the net has 5 outputs, 0 to 4\.$",
    ),
    "negative class out of range": (lambda: ask(of=Class(-6)), QuestionError, r"^Class\(-6\) is out of range"),
    "probability out of range": (lambda: ask(of=Probability(9)), QuestionError, r"^Probability\(9\) is out of range"),
    "fraction of a class": (lambda: ask(of=Class(1.5)), QuestionError, r"1\.5"),
    "fraction of a class, labels": (lambda: ask(named(), of=Class(1.5)), QuestionError, r"1\.5"),
    "truth as a class": (lambda: ask(of=Class(True)), QuestionError, r"Class\(True\).*(index|Class\(1\))"),
    "list of classes in one": (lambda: ask(named(), of=Class([1, 2])), QuestionError, r"\[1, 2\]"),
    "no classes": (lambda: ask(of=Classes([])), QuestionError, r"Classes\(.*\[.*\]|empty"),
    "one class as classes": (lambda: ask(of=Classes(3)), QuestionError, r"Classes\(\[3"),
    "one name as classes": (lambda: ask(named(), of=Classes("cat")), QuestionError, r"Classes\(\["),
    "classes minus a class": (lambda: ask(of=Classes([1, 2]) - Class(0)), QuestionError, r"Classes"),
    "class of a sequence": (
        lambda: ask(nn.Linear(3, 4).eval(), INPUT, Class(1), Point(torch.ones(1, 2, 3))),
        QuestionError,
        r"^Class\(1\) needs outputs \[point, class\], and its cut gives float32 \[1, 2, 4\]\. Name the token and its ",
    ),
    "class of a picture": (
        lambda: ask(nn.Conv2d(2, 3, 3).eval(), INPUT, Class(1), Point(IMAGE)),
        QuestionError,
        r"its cut gives float32 \[1, 3, 2, 2\]\. Give a function of the outputs instead: of=lambda y: y\[:, \.\.\.\]",
    ),
    "outputs without a batch": (
        lambda: ask(nn.Flatten(0).eval(), INPUT),
        QuestionError,
        r"^Class\(0\) reads float32 \[6\], but 2 points were run: its first dimension is no batch\.$",
    ),
    "runner-up of one": (
        lambda: ask(nn.Linear(3, 1).eval(), INPUT, RunnerUp()),
        QuestionError,
        r"^RunnerUp\(\) needs a net with two classes or more; this one has one output\.$",
    ),
    "prediction of none": (
        lambda: ask(calls(lambda x: x[:, :0]), INPUT, Predicted()),
        QuestionError,
        r"Predicted\(\)",
    ),
    "labels not given": (
        lambda: ask(of=Label()),
        QuestionError,
        r"^Label\(\) needs the inputs' labels\. Give them: Point\(x, label=\[3\]\)\.$",
    ),
    "label out of range": (
        lambda: ask(of=Label(), over=Point(ONES, label=[1, 5])),
        QuestionError,
        r"^A label is out of range: the net has 5 outputs, 0 to 4\.$",
    ),
    "too few labels": (
        lambda: ask(of=Label(), over=Point(ONES, label=[1])),
        QuestionError,
        r"^There are 1 labels for 2 inputs\. Give one for each\.$",
    ),
    "one label, no list": (lambda: ask(of=Label(), over=Point(ONES, label=3)), QuestionError, r"label=\[3"),
    "labels by name": (
        lambda: ask(named(), of=Label(), over=Point(ONES, label=["cat", "dog"])),
        QuestionError,
        r"label",
    ),
    "fractional labels": (lambda: ask(of=Label(), over=Point(ONES, label=[0.5, 1])), QuestionError, r"label"),
    "labels as numbers": (lambda: ask(Net(plain(), labels=[0, 1, 2, 3, 4]), of=Class("cat")), QuestionError, r"labels"),
    "labels as a dictionary": (lambda: ask(Net(plain(), labels={0: "cat"}), of=Class("cat")), QuestionError, r"labels"),
    "many numbers a point": (
        lambda: ask(of=lambda y: y),
        QuestionError,
        r"gives float32 \[2, 5\] on outputs float32 \[2, 5\]\. A quantity gives one number a point, \[2\]: lambda",
    ),
    "one number for all points": (
        lambda: ask(of=lambda y: y.sum()),
        QuestionError,
        r"gives float32 \[\] on outputs float32 \[2, 5\]",
    ),
    "a float": (lambda: ask(of=lambda y: 1.0), QuestionError, r"gives float on outputs float32 \[2, 5\]"),
    "a function of a scalar": (
        lambda: ask(calls(lambda x: x.sum()), INPUT, lambda y: y),
        QuestionError,
        r"float32 \[\]",
    ),
    "a constant": (
        lambda: ask(of=lambda y: torch.ones(len(y))),
        QuestionError,
        r"does not depend on '0': that place is not on the way",
    ),
    "a quantity below the cut": (
        lambda: ask(at="2", of=Unit(1, "0")),
        QuestionError,
        r"^Unit\(1, cut='0'.*\) does not depend on '2': .*Choose a cut before the place that the quantity reads\.$",
    ),
    "unit out of range": (
        lambda: ask(of=Unit(4, "0")),
        QuestionError,
        r"^Unit\(4, cut='0'.*\) is out of range: 0 gives units of shape \[4\]\.$",
    ),
    "neuron out of range": (
        lambda: ask(CONV, of=Unit((1, 2, 0), "0"), over=Point(IMAGE)),
        QuestionError,
        r"^Unit\(\(1, 2, 0\), cut='0'\) is out of range: 0 gives units of shape \[3, 2, 2\]\.$",
    ),
    "too many indices": (
        lambda: ask(CONV, of=Unit((1, 1), "0"), over=Point(IMAGE)),
        QuestionError,
        r"is out of range: 0 gives units of shape",
    ),
    "unit at an unknown place": (lambda: ask(of=Unit(1, "zz")), CutError, r"^This net has no module 'zz'\."),
    "unit of unknown axes": (
        lambda: ask(calls(lambda x: x), INPUT, Unit(1, "body"), Point(torch.ones(1, 2, 3))),
        QuestionError,
        r"which axis of float32 \[1, 2, 3\] counts channels is not known\. Say it, inf\.Net\(module, axes=\{\"body\": ",
    ),
    "unknown reduction": (
        lambda: Unit(1, "0", reduce="mean"),
        QuestionError,
        r"^Unit\(reduce='mean'\) is not known: 'sum' over positions, or 'max'\.$",
    ),
    "unit by name": (lambda: ask(of=Unit("1", "0")), QuestionError, r"Unit\('1'"),
    "half a unit": (lambda: ask(of=Unit(1.5, "0")), QuestionError, r"Unit\(1\.5"),
    "axis that is not there": (lambda: ask(of=Unit(1, "0", axis=9)), QuestionError, r"axis"),
    "nothing to explain": (lambda: ask(of=[]), QuestionError, r"^of=\[\] is empty: there is nothing to explain\.$"),
    "no quantity": (
        lambda: ask(of=3),
        QuestionError,
        r"^3 is no quantity\. Type inf\.Class\(3\), inf\.Predicted\(\), a unit",
    ),
    "quantity plus a number": (
        lambda: Class(3) + 1,
        QuestionError,
        r"^1 is no quantity\. Add quantities to quantities: Class\(3\) - Class\(5\)\.$",
    ),
    "quantity times a quantity": (
        lambda: Class(3) * Class(5),
        QuestionError,
        r"^A quantity is multiplied by a number, not by Class\(5\): 0\.5 \* Class\(3\)\.$",
    ),
    "sum over a list": (lambda: sum([Class(3), Class(5)]), QuestionError, r"0 is no quantity"),
    "quantity divided": (lambda: Class(3) / 2, QuestionError, r"0\.5 \* Class\(3\)"),
    "quantity times NaN": (lambda: float("nan") * Class(3), QuestionError, r"nan"),
}

INPUTS: dict[str, Case] = {
    "tensor as a distribution": (
        lambda: ask(over=ONES),
        QuestionError,
        r"^over= is a Tensor, not a distribution\. For one input: over=Point\(x\)\.$",
    ),
    "class as a distribution": (
        lambda: ask(over=Point),
        QuestionError,
        r"not a distribution\. For one input: over=Point\(x\)",
    ),
    "file name as an input": (
        lambda: ask(over=Point("cat.jpg")),
        InputError,
        r"^The input is a str, not a tensor\. A photo becomes one with net\.read\(photo\)\.$",
    ),
    "input without rows": (
        lambda: ask(over=Point(torch.ones(3))),
        InputError,
        r"^The input has shape \[3\]\. Its first dimension counts instances: x\[None\] for one\.$",
    ),
    "no inputs": (lambda: ask(over=Point(torch.ones(0, 3))), InputError, r"^The input has shape \[0, 3\]\."),
    "input of another shape": (
        lambda: ask(over=Point(torch.ones(1, 7))),
        InputError,
        r"^The net failed on float32 \[1, 7\] fed at INPUT: mat1 and mat2 shapes cannot be multiplied",
    ),
    "NaN in the input": (
        lambda: ask(over=Point(torch.tensor([[1.0, torch.nan, torch.inf]]))),
        InputError,
        r"^The input holds 2 NaN or infinite values, the first at \[0, 1\]\. Look where they come from before",
    ),
    "NaN in the baseline": (
        lambda: ask(over=Line(torch.full((1, 3), torch.nan), ONES)),
        InputError,
        r"^The baseline holds 3 NaN or infinite values, the first at \[0, 0\]\.",
    ),
    "sparse input": (lambda: ask(over=Point(SPARSE)), InputError, r"sparse"),
    "input without numbers": (lambda: ask(over=Point(torch.ones(1, 3, device="meta"))), InputError, r"meta"),
    "complex input": (lambda: ask(over=Point(ONES.cfloat())), InputError, r"^The net failed on complex64"),
    "baseline of another shape": (
        lambda: ask(over=Line(torch.zeros(1, 4), ONES)),
        QuestionError,
        r"^The baseline is float32 \[1, 4\], the input float32 \[2, 3\]\. Give a baseline of the same shape,",
    ),
    "no baseline": (
        lambda: ask(over=Line(None, ONES)),
        QuestionError,
        r"^A Line needs a baseline, and this net names none\. Give one: Line\('black', x\), Line\(tensor, x\), or ",
    ),
    "number as a baseline": (lambda: ask(over=Line(0.0, ONES)), QuestionError, r"Line\(tensor, x\)"),
    "named baseline, no pixels": (
        lambda: ask(over=Line("black", ONES)),
        QuestionError,
        r"^The baseline 'black' is a name in pixel space, but this net's transform cannot turn pixels into inputs\.",
    ),
    "named baseline inside the net": (
        lambda: ask(at="2", over=Line("black", torch.ones(1, 4), cut="0", given=ONES[:1])),
        QuestionError,
        r"^The baseline 'black' is a name in pixel space, and this path runs at 0\. .*inf\.activations\(net, cut,",
    ),
    "baseline function, no tensor": (lambda: ask(over=Line(lambda x: 3, ONES)), QuestionError, r"baseline.*int"),
    "path of whole numbers": (
        lambda: ask(over=Line(torch.zeros(1, 3).long(), torch.ones(1, 3).long())),
        QuestionError,
        r"^A path or a ball needs numbers that can change smoothly, and this input is torch\.int64\. Let it run at the",
    ),
    "path without the net's inputs": (
        lambda: ask(at="2", over=Line(torch.zeros(1, 4), torch.ones(1, 4), cut="0")),
        InputError,
        r"^The net failed on float32 \[1, 4\] fed at 0: .*missing 1 required positional argument",
    ),
    "path above the units": (
        lambda: ask(at="0", over=Line(torch.zeros(1, 4), torch.ones(1, 4), cut="1", given=ONES[:1])),
        QuestionError,
        r"^Class\(0\) does not depend on '0'",
    ),
    "unknown rule": (
        lambda: Line(ONES, ONES, rule="simpson"),
        QuestionError,
        r"^A Line has no rule 'simpson'\. Type one of 'adaptive', 'graded', 'uniform', 'left', 'gauss'\.$",
    ),
    "one point of a line": (
        lambda: Line(ONES, ONES, n=1),
        QuestionError,
        r"^A Line needs n ≥ 2 runs of the net, its two ends; got n=1\.$",
    ),
    "half a point": (lambda: Line(ONES, ONES, n=2.5), QuestionError, r"got n=2\.5\.$"),
    "tolerance without adaption": (
        lambda: Line(ONES, ONES, rule="gauss", tol=0.1),
        QuestionError,
        r"^tol= steers the adaptive rule only; rule='gauss' runs all n points\. Drop one\.$",
    ),
    "tolerance as text": (lambda: ask(over=Line(0 * ONES, ONES, tol="1%")), QuestionError, r"tol"),
    "negative tolerance": (lambda: ask(over=Line(0 * ONES, ONES, tol=-0.1)), QuestionError, r"tol"),
    "ball without radius": (
        lambda: Gaussian(ONES, 0),
        QuestionError,
        r"^A Gaussian needs std > 0 and n ≥ 1, not std=0, n=50\.$",
    ),
    "ball of NaN": (lambda: Gaussian(ONES, float("nan")), QuestionError, r"not std=nan"),
    "infinite ball": (lambda: Gaussian(ONES, float("inf")), QuestionError, r"std=inf"),
    "ball without draws": (lambda: Gaussian(ONES, 0.1, 0), QuestionError, r"not std=0\.1, n=0"),
    "radius as text": (lambda: Gaussian(ONES, "0.1"), QuestionError, r"std='0\.1'"),
    "radius for each pixel": (lambda: Gaussian(ONES, torch.ones(3)), QuestionError, r"std"),
    "half a draw": (lambda: ask(over=Gaussian(ONES, 0.1, 2.5)), QuestionError, r"n=2\.5"),
    "seed as text": (lambda: ask(over=Gaussian(ONES, 0.1, 2, "one")), QuestionError, r"seed"),
    "enormous seed": (lambda: ask(over=Gaussian(ONES, 0.1, 2, 2**63)), QuestionError, r"seed"),
    "ball of words": (
        lambda: ask(
            calls(lambda x: x, nn.Embedding(3, 2), nn.Flatten()),
            "body.0",
            Class(0),
            Gaussian(torch.ones(1, 2).long(), 0.1, 2),
        ),
        InfluentError,
        r"int64|embedding",
    ),
    "mixture of different lengths": (
        lambda: ask(over=0.5 * Point(ONES) + 0.5 * Point(ONES[:1])),
        QuestionError,
        r"^The parts of a mixture have \[1, 2\] inputs\. Give each part the same number\.$",
    ),
    "negative weight": (
        lambda: -0.5 * Point(ONES),
        QuestionError,
        r"^A distribution is weighted by a positive number, not by -0\.5\.$",
    ),
    "weight zero": (lambda: 0 * Point(ONES), QuestionError, r"weighted by a positive number, not by 0\.$"),
    "infinite weight": (lambda: float("inf") * Point(ONES), QuestionError, r"weighted by a .*number, not by inf"),
    "distribution plus a number": (
        lambda: Point(ONES) + 1,
        QuestionError,
        r"^1 is no distribution\. Mix distributions: 0\.5 \* Point\(a\) \+ 0\.5 \* Point\(b\)\.$",
    ),
    "distribution minus a distribution": (lambda: Point(ONES) - Point(ONES), QuestionError, r"Mix distributions"),
    "sum over distributions": (lambda: sum([Point(ONES), Point(ONES)]), QuestionError, r"0 is no distribution"),
    "photo for a net without a transform": (
        lambda: named().read("cat.jpg"),
        InputError,
        r"^This net has no transform, so a photo cannot be read for it\.",
    ),
}

MEASURES: dict[str, Case] = {
    "a path is needed": (
        lambda: ask(None, "0", Class(0), X, contribution),
        QuestionError,
        r"^This measure needs a path, and the distribution has none\. Use over=Line\(baseline, x\), or the measure",
    ),
    "a path is needed in every part": (
        lambda: ask(None, "0", Class(0), 0.5 * X + 0.5 * PATH, contribution),
        QuestionError,
        r"^This measure needs a path",
    ),
    "measure by name": (
        lambda: ask(None, "0", Class(0), X, "gradient"),
        QuestionError,
        r"^measure='gradient' is no measure\. Type inf\.gradient, inf\.contribution, or a function of Evidence\.$",
    ),
    "no measures": (
        lambda: ask(None, "0", Class(0), X, []),
        QuestionError,
        r"^measure=\[\] is empty: there is nothing to",
    ),
    "measure of one number": (
        lambda: ask(None, "0", Class(0), X, lambda e: e.slope.sum()),
        QuestionError,
        r"gives float32 \[\], not \[point, \*unit\] with 2 points\.$",
    ),
    "measure of a float": (
        lambda: ask(None, "0", Class(0), X, lambda e: 1.0),
        QuestionError,
        r"gives float, not \[point",
    ),
    "no points per pass": (
        lambda: ask(chunk=0),
        QuestionError,
        r"^chunk=0: give the number of points per pass, 1 or more\.$",
    ),
    "half a point per pass": (
        lambda: ask(chunk=1.5),
        QuestionError,
        r"^chunk=1\.5: give the number of points per pass",
    ),
    "truth as points per pass": (lambda: ask(chunk=True), QuestionError, r"^chunk=True: give the number of points"),
    "progress by name": (lambda: ask(progress="bar"), QuestionError, r"progress='bar'"),
}

NETS: dict[str, Case] = {
    "training": (
        lambda: ask(plain().train()),
        NetError,
        r"^The net is in training mode: dropout and batch norm would change the answer from run to run\. Type",
    ),
    "training inside": (
        lambda: ask(half_trained()),
        NetError,
        r"^Module '1' of the net is in training mode: .*Type net\.eval\(\) first\.$",
    ),
    "traced": (
        lambda: ask(traced()),
        NetError,
        r"^This net is traced or scripted \(torch\.jit\): no hook runs inside it\. Pass the original module\.$",
    ),
    "quantised": (
        lambda: ask(quantised()),
        NetError,
        r"^Module '0' is quantised \(Linear\): it has no gradient\. Explain the net as it was before quantisation\.$",
    ),
    "no net": (
        lambda: influence(None, "0", Class(0), X),
        NetError,
        r"^A net is a torch module or inf\.Net\(module, \.\.\.\), not NoneType\.$",
    ),
    "function as a net": (lambda: ask(torch.relu), NetError, r"^A net is a torch module .*, not builtin_function"),
    "class as a net": (lambda: ask(nn.Linear), NetError, r"^A net is a torch module .*, not type\.$"),
    "NaN in the weights": (
        lambda: ask(broken_weights(), of=Class(1)),
        NetError,
        r"^The net's weights are broken: '2\.weight' holds NaN or infinite values\. Load them again\.$",
    ),
    "NaN in the weights below the cut": (
        lambda: ask(broken_below(), at="3"),
        NetError,
        r"^The net's weights are broken: '0\.weight' holds NaN",
    ),
    "weights that never came": (
        lambda: ask(nn.Sequential(nn.Linear(3, 2, device="meta")).eval()),
        NetError,
        r"meta",
    ),
    "weights of lazy modules": (lambda: ask(nn.Sequential(nn.LazyLinear(4)).eval()), NetError, r"[Ll]azy|'0'"),
    "weights made in inference mode": (lambda: ask(inference_weights()), NetError, r"inference_mode"),
    "singular gradient": (
        lambda: ask(ROOT, INPUT, Class(0), Line(torch.zeros(1, 3), ONES), contribution),
        InputError,
        r"^The influence of INPUT holds 6 NaN or infinite values of 6: somewhere on the way .*Try Line\(\.\.\.,",
    ),
    "net that asserts": (
        lambda: ask(calls(refuses), INPUT),
        InputError,
        r"^The net failed on float32 \[2, 3\] fed at INPUT: images must be square",
    ),
    "net that has no such attribute": (
        lambda: ask(calls(lambda x: x.logits), INPUT),
        InputError,
        r"^The net failed on float32 \[2, 3\] fed at INPUT: .*logits",
    ),
    "net without a way back": (
        lambda: ask(calls(NoBackward.apply, nn.Linear(3, 2)), "body.0"),
        NetError,
        r"derivative not implemented",
    ),
}


def half_trained() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout()).eval()
    net[1].train()
    return net


class Speaks(nn.Module):
    """Tokens → logits for each position; with `sums`, numbers for each class."""

    def __init__(self, sums: bool = False, int8: bool = False) -> None:
        super().__init__()
        self.embed, self.head, self.sums = nn.Embedding(5, 3), nn.Linear(3, 5), sums
        if int8:
            self.head.weight = nn.Parameter(torch.ones(5, 3, dtype=torch.int8), requires_grad=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        y = self.head(self.embed(input_ids))
        return y.sum(1) if self.sums else y


def speaks(limit: int | None = 4, **more: Any) -> Net:
    words = influent.TextTransform(influent.Words(["not", "so", "good"]), limit=limit)
    return Net(Speaks(**more).eval(), transform=words)


def told(of: Any, text: str = "not so good", baseline: Any = "pad", **more: Any) -> Any:
    net = speaks(**more)
    return influence(net, "embed", of, Line(baseline, net.read(text), 3), contribution)


def photographic() -> Net:
    return Net(CONV, transform=lambda photo: IMAGE)


READING: dict[str, Case] = {
    "empty text": (
        lambda: told(Logit(2), ""),
        InputError,
        r"^A text is empty: there is nothing to explain\. Give one with a word in it\.$",
    ),
    "text longer than the net can read": (
        lambda: told(Logit(2), "not so good at all"),
        InputError,
        r"^The text 'not so good at all' has 5 tokens, and this net reads at most 4\. Shorten it, or have its end",
    ),
    "position that is not there": (
        lambda: told(Logit("good", position=3)),
        QuestionError,
        r"^Logit\(4, position=3\): the text has 3 positions, 0 to 2 \(or -1 to -3 from the end\)\.$",
    ),
    "token that is not known": (
        lambda: told(Logit("zebra")),
        QuestionError,
        r"^'zebra' is none of this net's tokens: it reads \[UNK\] in its place\. Name one that it knows, or",
    ),
    "several tokens": (
        lambda: told(Logit("so good")),
        QuestionError,
        r"^'so good' is 2 tokens of this net, not one: 3 \('so'\), 4 \('good'\)\. Name one of them, or .*Contin",
    ),
    "token of a net of classes": (
        lambda: told(Logit("good"), sums=True),
        QuestionError,
        r"^Logit\(4\) needs outputs \[point, position, token\], .*It has one number a class: Class\(3\)\.$",
    ),
    "text that ends otherwise": (
        lambda: told(Continuation("good so")),
        QuestionError,
        r"^Continuation\(\(4, 3\)\): a text ends with the tokens \[3, 4\] instead\. Read both in one: ",
    ),
    "text of a net without a tokenizer": (
        lambda: Net(Speaks()).reads,
        InputError,
        r"^This net has no tokenizer, so a text cannot be read for it\. Give one, inf\.Net\(module, transform=",
    ),
    "text of a net that reads photos": (
        lambda: photographic().reads,
        InputError,
        r"^This net reads photos and no texts: net\.read\(photo\), influent explain PHOTO\. Nets that read texts",
    ),
    "token of a net that reads photos": (
        lambda: influence(photographic(), "0", Logit("good"), Point(IMAGE)),
        InputError,
        r"^This net reads photos and no texts",
    ),
    "photo of a net that reads texts": (
        lambda: speaks().read(Path("cat.jpg")),
        InputError,
        r"^This net reads texts, not a \w+Path: net\.read\('this is not good'\), influent explain --text 'this",
    ),
    "answer to a net that does not write": (
        lambda: speaks().read("not so good", answer="so"),
        InputError,
        r"^answer= is for nets that read one text and write another\. Give this net one text\.$",
    ),
    "weights of eight bits": (
        lambda: told(Logit("good"), int8=True),
        NetError,
        r"^The weight 'head\.weight' holds whole numbers \(int8\): this net is quantised.*without load_in_8bit",
    ),
    "baseline of another length": (
        lambda: told(Logit("good"), baseline=speaks().read("not good")),
        QuestionError,
        r"^A path runs from a text of 2 tokens to one of 3: each token needs its counterpart\.",
    ),
    "baseline of photos": (
        lambda: told(Logit("good"), baseline="black"),
        QuestionError,
        r"^The baseline 'black' is none of a text's: 'pad', 'mask', 'mean', 'zero', another text",
    ),
    "mask that is not there": (
        lambda: told(Logit("good"), baseline="mask"),
        QuestionError,
        r"^This net's tokenizer has no mask token\. Let the path begin at 'pad', 'mean', 'zero', or at another text",
    ),
    "embedding that is not there": (
        lambda: influence(plain(), "0", Class(0), Line("pad", speaks().read("not so good"))),
        QuestionError,
        r"^Which module of this net turns tokens into vectors is not known\. Say it: inf\.Net\(module, embedding=",
    ),
    "tokenizer of another net": (
        lambda: Line(
            "pad", Net(Speaks(), transform=(t := influent.TextTransform(influent.Words("abcdef")))).read("f")
        ).resolve(Net(Speaks().eval(), transform=t)),
        QuestionError,
        r"^The tokenizer gives token 7, and 'embed' has vectors for 5, 0 to 4\. Give the tokenizer that the net was ",
    ),
    "vector of another length": (
        lambda: told(influent.Similarity(torch.ones(3)), sums=True),
        QuestionError,
        r"^Similarity compares vectors \[point, channel\]; its cut gives float32 \[\d+, 5\], and the other is float32",
    ),
}

RESULTS: dict[str, Case] = {
    "row that is not there": (lambda: ask()[7], QuestionError, r"^There is no row 7\. Rows: 0, 1\.$"),
    "rows by a tensor": (lambda: ask()[torch.tensor([0, 1])], QuestionError, r"^There is no row tensor"),
    "best of several rows": (
        lambda: ask().top(3),
        QuestionError,
        r"^There are 2 rows\. Choose one: a\[0\]\.top\(3\)\.$",
    ),
    "unknown sign": (
        lambda: ask()[0].top(2, sign="plus"),
        QuestionError,
        r"^sign='plus' is not known: '\+', '-', or None for both\.$",
    ),
    "fewer than none": (lambda: ask()[0].top(-1), QuestionError, r"-1"),
    "number as text": (lambda: ask()[0].top("3"), QuestionError, r"'3'"),
    "class that was not asked": (
        lambda: ask(of=Classes([3, 4]))[0].top(2, of_class=7),
        QuestionError,
        r"7",
    ),
    "axis that is not there": (
        lambda: ask().by("row"),
        QuestionError,
        r"^These units have no axis 'row'\. Their axes: channel\.$",
    ),
    "axes not known": (
        lambda: ask(calls(lambda x: x), "body", lambda y: y.sum((1, 2)), Point(torch.ones(1, 2, 3))).by("row"),
        QuestionError,
        r"^These units have no axis 'row'\. Their axes: unknown; declare them: inf\.Net\(module, axes=\{",
    ),
}

TEXTS: dict[str, Case] = {
    "never closed": (
        lambda: parse("Class("),
        QuestionError,
        r"^'Class\(' cannot be read: '\(' was never closed at character 6\.",
    ),
    "empty": (
        lambda: parse(""),
        QuestionError,
        r"^'' cannot be read: .* An example: \"Class\('espresso'\) - Class\('cup'\)\"\.$",
    ),
    "two statements": (
        lambda: parse("Class(1); Class(2)"),
        QuestionError,
        r"cannot be read: invalid syntax at character 9",
    ),
    "unknown word": (
        lambda: parse("Clas(3)"),
        QuestionError,
        r"^'Clas\(3\)': the word 'Clas' is not known\. Did you mean 'Class', 'Classes'\?",
    ),
    "unknown name": (lambda: parse("Predicted - it"), QuestionError, r"the word 'it' is not known"),
    "missing argument": (
        lambda: parse("Class()"),
        QuestionError,
        r"^'Class\(\)': Class missing 1 required positional argument: 'index'\. Type Class\(index, cut\)\.$",
    ),
    "missing input": (
        lambda: parse("Line('black')"),
        QuestionError,
        r"missing 1 required positional argument: 'x'\. Type Line\(baseline, x, n",
    ),
    "unknown argument": (
        lambda: parse("Class(3, place='OUTPUT')"),
        QuestionError,
        r"unexpected keyword argument 'place'\. Type Class\(index, cut\)",
    ),
    "argument twice": (lambda: parse("Class(index=3, index=4)"), QuestionError, r"index"),
    "attribute": (
        lambda: parse("Class.cut"),
        QuestionError,
        r"^'Class\.cut': 'Class\.cut' is not part of the language\.",
    ),
    "method": (lambda: parse("Class(3).bind(None)"), QuestionError, r"'Class\(3\)\.bind' is not part of the language"),
    "lambda": (
        lambda: parse("lambda y: y"),
        QuestionError,
        r"^'lambda y: y': 'lambda y: y' is not part of the language\.",
    ),
    "comprehension": (lambda: parse("[Class(i) for i in 3]"), QuestionError, r"is not part of the language"),
    "unpacking": (lambda: parse("Class(*[1])"), QuestionError, r"'\*\[1\]' is not part of the language"),
    "keywords unpacked": (lambda: parse("Class(**{'index': 1})"), QuestionError, r"is not part of the language"),
    "division": (
        lambda: parse("Class(3) / 2"),
        QuestionError,
        r"^'Class\(3\) / 2': 'Class\(3\) / 2' is not part of the language",
    ),
    "built-in": (lambda: parse("__import__('os')"), QuestionError, r"the word '__import__' is not known"),
    "call of a result": (
        lambda: parse("Class(3)(4)"),
        QuestionError,
        r"Class\(3\) is no noun of ours or yours, so it is not called",
    ),
    "call of a measure": (
        lambda: parse("gradient(3)"),
        QuestionError,
        r"is no noun of ours or yours, so it is not called",
    ),
    "call of a foreign function": (
        lambda: parse("os:system('touch stolen')"),
        QuestionError,
        r"^\"os:system\('touch stolen'\)\": .*is no noun of ours or yours, so it is not called\.",
    ),
    "foreign class": (lambda: parse("decimal:Decimal('1')"), QuestionError, r"is no noun of ours or yours"),
    "foreign module not there": (
        lambda: parse("nope_nope:Thing(1)"),
        QuestionError,
        r"^nope_nope:Thing cannot be loaded: No module named 'nope_nope'\. Is its folder on PYTHONPATH\?$",
    ),
    "foreign name not there": (
        lambda: parse("math:nope"),
        QuestionError,
        r"^math:nope cannot be loaded: .*no attribute 'nope'",
    ),
    "foreign module not loaded": (
        lambda: parse("antigravity:fly", imports=False),
        QuestionError,
        r"^antigravity:fly is your own: type `import antigravity` first, then try again\.$",
    ),
    "quantity plus a number": (lambda: parse("Class(3) + 1"), QuestionError, r"^1 is no quantity"),
    "text plus a number": (lambda: parse("'a' + 1"), QuestionError, r"^\"'a' \+ 1\": 'a' and 1 cannot be combined\."),
    "text repeated": (lambda: parse("'a' * 3"), QuestionError, r"'a' and 3 cannot be combined"),
    "minus a text": (lambda: parse("-'a'"), QuestionError, r"'a'"),
    "list as a key": (lambda: parse("{[1]: 2}"), QuestionError, r"\[1\]"),
    "slice of an output": (lambda: parse("OUTPUT[1:2]"), QuestionError, r"'1:2' is not part of the language"),
    "malformed cut": (lambda: parse("Class(3, cut='a[')"), CutError, r"^'a\[' is not a place in a net"),
    "abstract noun": (lambda: parse("Quantity()"), QuestionError, r"abstract"),
    "mixture of a number": (lambda: parse("Mixture(3)"), QuestionError, r"Mixture"),
    "combination of a number": (lambda: parse("Combination(3)"), QuestionError, r"Combination"),
    "number instead of text": (lambda: parse(3), QuestionError, r"3"),
    "thousands of signs": (lambda: parse("-" * 100_000 + "1"), QuestionError, r"cannot be read"),
    "thousands of terms": (lambda: parse(" + ".join(["Class(1)"] * 5_000)), QuestionError, r"cannot be read"),
    "null byte": (
        lambda: parse("Class(1)\0"),
        QuestionError,
        r"cannot be read: source code string cannot contain null bytes",
    ),
}

TABLE = {
    f"{part}: {name}": case
    for part, cases in {
        "at": PLACES,
        "of": BEHAVIOURS,
        "over": INPUTS,
        "measure": MEASURES,
        "net": NETS,
        "reading": READING,
        "result": RESULTS,
        "text": TEXTS,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", TABLE)
def test_what_cannot_be_answered_is_a_lesson(name: str) -> None:
    typed, kind, message = TABLE[name]
    with pytest.raises(kind, match=re.compile(message, re.DOTALL)) as caught:
        typed()
    assert isinstance(caught.value, InfluentError)
    assert type(caught.value) is kind or kind is InfluentError


def test_no_call_is_made_by_a_text_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("os:system('touch stolen')", "pathlib:Path.touch('stolen')", "Class(os:system('touch stolen'))"):
        with pytest.raises(QuestionError, match="so it is not called"):
            parse(text)
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_is_not_loaded_is_not_loaded_by_a_stored_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strange_module.py").write_text("open('stolen', 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QuestionError, match="type `import strange_module` first"):
        parse("strange_module:Thing()", imports=False)
    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize("walk", [list, lambda cut: "x" in cut, lambda cut: [*cut]], ids=["list", "in", "unpack"])
def test_a_cut_is_no_sequence(walk: Callable[[Cut], Any]) -> None:
    """`cut[0]` is its element, for every whole number: without a word against it, Python would count for ever."""
    with pytest.raises(TypeError, match=r"Cut|iterable"):
        # A bound, so that a walk without an end fails instead of filling the memory.
        walk(CountedCut("OUTPUT"))


class CountedCut(Cut):
    """A cut that gives up after a thousand elements."""

    def __getitem__(self, key: int | str) -> Cut:
        if key == 1000:
            raise OverflowError("endless")
        return super().__getitem__(key)


def test_rows_of_a_result_can_be_walked_through() -> None:
    a = ask()
    assert [row.instances for row in a] == [(0,), (1,)]


# Warnings: an answer that deserves a second look


def test_a_softmax_of_probabilities_is_pointed_out() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Softmax(1)).eval()
    with pytest.warns(InfluentWarning, match=r"takes a softmax of outputs that are probabilities already\. Use Class"):
        ask(net, of=Probability(1))


def test_short_floats_are_pointed_out() -> None:
    with pytest.warns(InfluentWarning, match=r"Influence in bfloat16 is coarse: gradients 54 % off were measured"):
        ask(plain().bfloat16())


# Results on disk


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(ask(over=PATH, at="0"), tmp_path / "result")


def test_a_folder_with_the_users_own_files_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years")
    with pytest.raises(
        StoreError, match=r"holds files that are not of a result \(thesis\.tex\).*Name an empty or a new folder"
    ):
        save(ask(), folder)
    assert [f.name for f in tmp_path.rglob("*")] == ["mine", "thesis.tex"]
    assert (folder / "thesis.tex").read_text() == "years"


def test_a_result_with_the_users_file_beside_it_is_not_replaced(saved: Path) -> None:
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds files that are not of a result \(notes\.txt\)"):
        save(ask(), saved)
    assert (saved / "notes.txt").read_text() == "mine"
    assert torch.equal(load(saved).values, load(saved).values)


def test_a_folder_with_a_foreign_meta_file_is_not_replaced(tmp_path: Path) -> None:
    """Many programs write a meta.json: only one that this library wrote makes a folder its own."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "meta.json").write_text(json.dumps({"name": "years of measurements", "files": ["data.bin"]}))
    (folder / "data.bin").write_bytes(b"years")
    with pytest.raises(StoreError, match=r"Name an empty or a new folder"):
        save(ask(), folder)
    assert (folder / "data.bin").read_bytes() == b"years"


def test_a_file_in_the_place_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "result").write_text("mine")
    with pytest.raises(StoreError, match=r"result is a file\. Name a folder for the result\.$"):
        save(ask(), tmp_path / "result")
    assert (tmp_path / "result").read_text() == "mine"


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"result cannot be written: .*Name another folder\.$"):
        save(ask(), tmp_path / "file" / "result")


def test_an_unwritable_parent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> str:
        raise PermissionError(13, "Permission denied")

    # The superuser may write everywhere: what the system would say to others is said for it.
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(StoreError, match=r"result cannot be written: Permission denied\. Name another folder\.$"):
        save(ask(), tmp_path / "result")


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("influent.store.save_file", refuse)
    with pytest.raises(StoreError, match=r"cannot be written: No space left on device\. Is the disk full\?"):
        save(ask(), tmp_path / "result")
    assert list(tmp_path.iterdir()) == []


def test_a_dictionary_of_results_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^Only one attribution goes into a folder\. Save each of a dictionary's"):
        save(ask(at=["0", "1"]), tmp_path / "result")


def test_a_place_without_a_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"holds no result \(no meta\.json\)\. Make one: influent explain PHOTO --out "
    ):
        load(tmp_path)
    with pytest.raises(StoreError, match=r"holds no result"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"schema"', "{}"], ids=repr)
def test_a_damaged_meta_file_is_named(saved: Path, text: str) -> None:
    (saved / "meta.json").write_text(text)
    with pytest.raises(StoreError, match=r"meta\.json is damaged: .*Make the result again\.$"):
        load(saved)


def test_bytes_that_are_no_text_are_a_damaged_meta_file(saved: Path) -> None:
    (saved / "meta.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match=r"meta\.json is damaged"):
        load(saved)


def changed(folder: Path, **words: Any) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, **words}))


@pytest.mark.parametrize("schema", [2, 0, "1", None])
def test_another_format_is_named(saved: Path, schema: Any) -> None:
    changed(saved, schema=schema)
    with pytest.raises(StoreError, match=r"is of format .*, and this version reads format 1\. Update influent\.$"):
        load(saved)


@pytest.mark.parametrize(
    "words",
    [
        {"question": {}}, {"question": None},
        {"question": {"at": 3, "of": "Class(0)", "over": "Point", "measure": "gradient"}},
        {"instances": None}, {"axes": 3}, {"cost": {"sideways": 1}}, {"cost": None}, {"instances": 3},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_a_meta_file_with_other_words_is_damaged(saved: Path, words: dict[str, Any]) -> None:
    changed(saved, **words)
    with pytest.raises(StoreError, match=r"is damaged: .*Make it again\.$|its question cannot be read\."):
        load(saved)


@pytest.mark.parametrize("of", ["os:system('touch stolen')", "Clas(3)", "Class(", "nowhere_at_all:Mine(3)", ""])
def test_a_question_that_cannot_be_read_is_named(saved: Path, of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    meta = json.loads((saved / "meta.json").read_text())
    changed(saved, question={**meta["question"], "of": of})
    with pytest.raises(StoreError, match=r"its question cannot be read\. "):
        load(saved)
    assert not (saved.parent / "stolen").exists()


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-4], lambda b: b[:40], lambda b: b"\xff" * len(b)])
def test_damaged_values_are_named(saved: Path, damage: Callable[[bytes], bytes]) -> None:
    values = saved / "values.safetensors"
    values.write_bytes(damage(values.read_bytes()))
    with pytest.raises(StoreError, match=r"is damaged: .*Make it again\.$"):
        load(saved)


def test_values_changed_on_disk_are_named(saved: Path) -> None:
    """One flipped bit keeps the file readable: only its hash, which is listed, can tell."""
    values = saved / "values.safetensors"
    raw = bytearray(values.read_bytes())
    raw[-1] ^= 0x40
    values.write_bytes(raw)
    with pytest.raises(StoreError, match=r"is damaged|was changed"):
        load(saved)


def test_missing_values_are_named(saved: Path) -> None:
    (saved / "values.safetensors").unlink()
    with pytest.raises(StoreError, match=r"is damaged: .*Make it again\.$"):
        load(saved)


# The tree of errors


def test_all_errors_are_one_tree() -> None:
    assert issubclass(CutError, QuestionError)
    for kind in (QuestionError, NetError, InputError, StoreError):
        assert issubclass(kind, InfluentError)
        assert kind.__bases__ == (InfluentError,)
    assert not issubclass(InfluentWarning, InfluentError)


def test_the_tree_is_drawn_with_all_its_errors() -> None:
    kinds = [k for k in vars(influent.errors).values() if isinstance(k, type) and k.__module__ == "influent.errors"]
    assert len(kinds) == 7
    for kind in kinds:
        assert kind.__name__ in (influent.errors.__doc__ or "")


def test_near_names_are_offered_and_far_ones_are_not() -> None:
    assert nearest("inceptoin_4c", ["inception_4c", "conv1"]) == " Did you mean 'inception_4c'?"
    assert nearest("4c", ["inception_4c", "conv1"]) == " Did you mean 'inception_4c'?"
    assert nearest("zzz", ["inception_4c", "conv1"]) == ""
    assert nearest("", ["inception_4c"]) == ""


def test_labels_that_occur_twice_are_offered_once() -> None:
    with pytest.raises(QuestionError, match=r"has no class 'crone'\. Did you mean 'crane'\?$"):
        ask(named(), of=Class("crone"))


def test_the_answerable_questions_next_to_the_table_are_answered() -> None:
    """The table's nets and inputs are sound: what is refused is refused for the reason given."""
    for at, of, over, measure in [
        ("0", Class(0), X, gradient), ("2", Predicted(), PATH, contribution), (INPUT, Class(-1), X, square),
        (["0", "1"], [Class(0)], PATH, [gradient]),
    ]:  # fmt: skip
        ask(plain(), at, of, over, measure)
    assert ask(named(), of=Class("cat")).values.shape == (2, 4)


def test_a_baseline_of_zeros_is_said_to_be_grey_where_the_transform_makes_it_so() -> None:
    transform = influent.PixelTransform((127, 127, 127), (128, 128, 128), resize=4, crop=4)
    net = Net(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval(), transform=transform)
    x = torch.ones(1, 3, 4, 4)
    with pytest.warns(InfluentWarning, match=r"zeros is the mean colour .* not black\. For black: Line\('black', x\)"):
        influence(net, INPUT, Class(0), Line(torch.zeros_like(x), x, n=3), contribution)
