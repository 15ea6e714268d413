"""Top-1 and top-5 accuracy of the zoo's nets on one photo of each ImageNet class: ours beside the published.

    python3 dev.py study accuracy [--limit N]

Published figures are printed for comparison and never asserted: most of these photos are ImageNet training
images, so every net does better on them than on the validation set.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import PIL
import torch
from tqdm import tqdm

from influent.errors import InfluentError, InputError
from influent.nets import Net
from influent.zoo import efficientnet_lite0, googlenet, squeezenet

DATA_SET = "imagenet-1000-samples"
RESULT = Path(__file__).parent / "results" / "accuracy.json"
NETS: dict[str, Callable[[], Net]] = {
    "efficientnet-lite0": efficientnet_lite0,
    "googlenet": googlenet,
    "squeezenet": squeezenet,
}
PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "efficientnet-lite0": {
        "ILSVRC-2012 validation (tensorflow/tpu, efficientnet/lite)": {"top1": 75.1},
    },
    "googlenet": {
        "the same resized photos (README of googlenet-bvlc)": {"top1": 74.0, "top5": 92.8},
        "ILSVRC-2012 validation (Caffe model zoo)": {"top1": 68.7, "top5": 88.9},
    },
    "squeezenet": {
        "the original photos (README of squeezenet-1.1)": {"top1": 62.2, "top5": 83.7},
        "ILSVRC-2012 validation (Iandola et al. 2016, v1.0)": {"top1": 57.5, "top5": 80.3},
    },
}


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table and the file."""
    parser = argparse.ArgumentParser(description="Accuracy of the zoo's nets on one photo of each ImageNet class.")
    parser.add_argument("--limit", type=int, metavar="N", help="N photos, evenly spread over the classes; no file")
    parser.add_argument("--batch", type=int, default=20, metavar="N", help="photos per batch (default 20)")
    options = parser.parse_args(arguments)
    try:
        folder = data_folder()
        photos = listed_photos(folder, options.limit)
        report = {name: accuracy(name, make(), photos, options.batch) for name, make in NETS.items()}
    except InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(report, len(photos)))
    if options.limit is None:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(record(report, folder, len(photos)), indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: studies/results/{RESULT.name}")
    return 0


def data_folder() -> Path:
    """The folder of the data set, inside the one that INFLUENT_DATA names."""
    root = os.environ.get("INFLUENT_DATA")
    if not root:
        raise InputError(
            f"INFLUENT_DATA is not set, so this study does not know where {DATA_SET} is. Type "
            f"`export INFLUENT_DATA=FOLDER`, where FOLDER/{DATA_SET}/labels.tsv and its images/ are. "
            "(Upstream: github.com/EliSchwartz/imagenet-sample-images.)"
        )
    folder = Path(root) / DATA_SET
    if not (folder / "labels.tsv").is_file():
        raise InputError(f"INFLUENT_DATA is {root!r}, but there is no {DATA_SET}/labels.tsv in it.")
    return folder


def listed_photos(folder: Path, limit: int | None) -> list[tuple[int, Path]]:
    """Pairs of (class index, file); with a limit, that many, evenly spread over the classes."""
    with (folder / "labels.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    if limit is not None and not 1 <= limit <= len(rows):
        raise InputError(f"--limit {limit}: the data set has {len(rows)} photos. Type a number from 1 to {len(rows)}.")
    # Neighbouring classes are alike (the first hundred are fish and birds): a small version takes every k-th.
    kept = rows if limit is None else [rows[i * len(rows) // limit] for i in range(limit)]
    return [(int(row["index"]), folder / "images" / row["file"]) for row in kept]


@torch.no_grad()
def accuracy(name: str, net: Net, photos: list[tuple[int, Path]], batch: int) -> dict[str, float]:
    """Percent of photos whose class is the net's first choice, or among its first five."""
    first = five = 0
    for start in tqdm(range(0, len(photos), batch), desc=name, unit="batch"):
        some = photos[start : start + batch]
        classes = torch.tensor([index for index, _ in some])[:, None]
        logits = net.module(torch.cat([net.read(file) for _, file in some]))
        hits = logits.topk(5, dim=1).indices == classes
        first += int(hits[:, 0].sum())
        five += int(hits.any(dim=1).sum())
    return {"top1": 100 * first / len(photos), "top5": 100 * five / len(photos)}


def table(report: dict[str, dict[str, float]], count: int) -> str:
    """Ours beside the published figures, one line each."""
    lines = [f"{'net':20}{'top-1 %':>9}{'top-5 %':>9}  measured on"]
    for name, ours in report.items():
        lines.append(f"{name:20}{ours['top1']:9.1f}{ours['top5']:9.1f}  ours, {count} photos of {DATA_SET}")
        for where, theirs in PUBLISHED[name].items():
            top5 = f"{theirs['top5']:9.1f}" if "top5" in theirs else f"{'-':>9}"
            lines.append(f"{'':20}{theirs['top1']:9.1f}{top5}  published: {where}")
    return "\n".join(lines)


def record(report: dict[str, dict[str, float]], folder: Path, count: int) -> dict[str, Any]:
    """What is kept: numbers, and what they depend on.

    No date and no place, so that a second run changes nothing.
    """
    return {
        "study": "accuracy",
        "data": {"name": DATA_SET, "photos": count, "sha256": data_checksum(folder)},
        "percent": {name: {"ours": ours, "published": PUBLISHED[name]} for name, ours in report.items()},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pillow": PIL.__version__,
        },
    }


def data_checksum(folder: Path) -> str:
    """sha256 over the label file and every photo it lists, in its order."""
    whole = hashlib.sha256((folder / "labels.tsv").read_bytes())
    for _, file in listed_photos(folder, None):
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
