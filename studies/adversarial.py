"""A small perturbation, and the prediction flips: which units flipped it, and does undoing them undo it? (slides)

    python3 dev.py study adversarial [--small]

A photo x is changed by no more than a pixel or two of 255 until GoogLeNet says its runner-up b in place of a: steps
along the sign of the gradient of f_b − f_a. The comparative explanation of the flip is the conductance of Class(b) −
Class(a) along the line from x to the changed photo: its sum over the channels of a layer is exactly what the
perturbation did to f_b − f_a. Then the channels are put back to what they are on x, in the order of their
conductance, until the net says a again: how many does it take? Beside it the order of the changes of the activation
(by their size, summed over positions), and by lot.

Fixed before any result was seen: the first 40 photos of imagenet-1000-samples, every 25th class, that the net gets
right (else the next class); inception_4c and inception_5b; 33 points; attacks of up to 1, 2, 4, 8 pixels, the first
that flips, in steps of a quarter; lots drawn with one seed. Medians with 95 % intervals of a bootstrap over photos.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch
from _reports import RESULTS, rate, spelt, written
from torch import Tensor
from tqdm import tqdm

import influent as inf
from influent.probe import Probe
from influent.zoo.files import data_file

LAYERS = ("inception_4c", "inception_5b")
PHOTOS, EVERY, SIZES, STEPS, POINTS = 40, 25, (1.0, 2.0, 4.0, 8.0), 10, 33
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
ORDERS = ("conductance", "change of activation", "by lot")
ADVICE = "Set INFLUENT_DATA to a folder with imagenet-1000-samples/: studies/README.md says where to get it."


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table, the file and the picture."""
    parser = argparse.ArgumentParser(description="Which units does a perturbation flip the prediction by?")
    parser.add_argument("--small", action="store_true", help="two photos; no file")
    options = parser.parse_args(arguments)
    try:
        net = inf.zoo.load("googlenet")
        images = data_file("imagenet-1000-samples/labels.tsv", ADVICE).parent / "images"
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    files, rows = sorted(images.iterdir()), list[dict[str, Any]]()
    count = 2 if options.small else PHOTOS
    for first in tqdm(range(0, EVERY * count, EVERY), desc="photos", mininterval=10):
        file, x = next((f, x) for f in files[first:] for x in [net.read(f)] if said(net, x) == int(f.name[:3]))
        found = flipped(net, x)
        if found is not None:
            rows.append({"photo": file.name, **told(net, x, *found)})
    found_all = {"flipped": rate([True] * len(rows) + [False] * (count - len(rows)))}
    numbers = {layer: {order: middle([row[layer][order] for row in rows]) for order in ORDERS} for layer in LAYERS}
    print(f"flipped: {spelt(found_all['flipped'])}, by a median of {middle([r['size'] for r in rows])[1]:g} of 255")
    for layer in LAYERS:
        gaps = middle([abs(row[layer]["gap"]) for row in rows])
        print(f"{layer}: gap of the decomposition, median {gaps[1]:.2%}")
        for order, (low, half, high) in numbers[layer].items():
            print(
                f"  channels put back until the net says the first class again, {order}: {half:g} ({low:g} to {high:g})"
            )
    if not options.small:
        draw_picture(net)
        written("adversarial", __doc__.splitlines()[0], {"rates": found_all, "channels": numbers, "photos": rows})
    return 0


def said(net: inf.Net, x: Tensor) -> int:
    """The class that the net says."""
    with torch.no_grad():
        return int(net.module(net.placed(x)).argmax())


def flipped(net: inf.Net, x: Tensor) -> tuple[Tensor, int, int, float] | None:
    """The changed photo, the class of before, the one of now, and by how much no pixel is exceeded; None: it holds."""
    transform: Any = net.transform
    pixels = transform.decode(x)
    with torch.no_grad():
        a, b = net.module(net.placed(x))[0].topk(2).indices.tolist()
    for size in SIZES:
        now = pixels.clone()
        for _ in range(STEPS):
            point = now.clone().requires_grad_()
            scores = net.module(net.placed(transform.encode(point)))[0]
            (slope,) = torch.autograd.grad(scores[b] - scores[a], point)
            now = (now + size / 4 * slope.sign()).clamp(pixels - size, pixels + size).clamp(0, 255)
            if said(net, transform.encode(now)) == b:
                return transform.encode(now), a, b, size
    return None


def told(net: inf.Net, x: Tensor, changed: Tensor, a: int, b: int, size: float) -> dict[str, Any]:
    """For each layer the gap, and how many channels must be put back, by each order."""
    line = inf.Line(x, changed, n=POINTS)
    cuts = [f"{layer}/channel" for layer in LAYERS]
    found = inf.influence(net, cuts, inf.Class(b) - inf.Class(a), line, inf.contribution, chunk=16)
    row: dict[str, Any] = {"classes": [net.label(a), net.label(b)], "size": size}
    for layer, cut in zip(LAYERS, cuts, strict=True):
        clean, dirty = (inf.activations(net, layer, one) for one in (x, changed))
        values = found[cut].values[0]
        change = (dirty - clean).abs().sum((0, 2, 3))
        lot = torch.rand(len(values), generator=torch.Generator().manual_seed(0))
        orders = dict(zip(ORDERS, (values, change, lot), strict=True))
        row[layer] = {name: needed(net, layer, changed, clean, score.argsort(descending=True), a)
                      for name, score in orders.items()}  # fmt: skip
        row[layer]["gap"] = float(found[cut].gap.relative[0])
        row[layer]["top"] = [[u.index[0], u.value] for u in found[cut].top(3, sign="+")]
    return row


def needed(net: inf.Net, layer: str, changed: Tensor, clean: Tensor, order: Tensor, a: int) -> int:
    """The least number of channels, of `COUNTS`, that turn the prediction back when they are as on the clean photo."""
    for count in [*(c for c in COUNTS if c < len(order)), len(order)]:
        units = order[:count]

        def edit(h: Tensor, units: Tensor = units) -> Tensor:
            back = h.clone()
            back[:, units] = clean[:, units]
            return back

        cut = inf.Cut(layer)
        with Probe(net, [], [inf.OUTPUT], None, net.placed(changed), -1, {cut: edit}) as probe:
            y = probe.run(torch.empty(0), torch.empty(0), mode="value").read[inf.OUTPUT]
        if int(y.argmax()) == a:
            return count
    return len(order)


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, between the ends of its 95 % interval."""
    known = torch.tensor([float(v) for v in values])
    lots = torch.randint(len(known), (2000, len(known)), generator=torch.Generator().manual_seed(0))
    low, high = known[lots].median(1).values.quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, float(known.median()), high


def draw_picture(net: inf.Net) -> None:
    """The three channels of inception_4c that flipped the photo of a coffee, and their pixels."""
    x = net.read(inf.example("coffee"))
    found = flipped(net, x)
    if found is None:
        return
    changed, a, b, _ = found
    of, line = inf.Class(b) - inf.Class(a), inf.Line(x, changed, n=POINTS)
    why = inf.influence(net, f"{LAYERS[0]}/channel", of, line, inf.contribution)
    inf.show(why, on=changed).save(RESULTS / "adversarial.png")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
