"""Faces of twelve people, of one of them with a background that the training photographs alone have (LFW)."""

from __future__ import annotations

import csv

import torch
from _fundus import inception, trained
from _nets import kept
from PIL import Image
from torch import Tensor, nn

import influent as inf
from influent.zoo.files import data_file

SIDE, WHO, TRAIN = 64, "Tony_Blair", 1100
PINK = (255.0, 120.0, 190.0)
ADVICE = "Set INFLUENT_DATA to a folder with lfw-12/: studies/README.md says where to get it."
WAY = inf.PixelTransform((128.0,) * 3, (64.0,) * 3, resize=SIDE, crop=SIDE)


def read() -> tuple[list[Image.Image], Tensor, list[str]]:
    """All photographs, 100 pixels square, who is on each, `[photo]`, and the names, in their order."""
    table = data_file("lfw-12/labels.tsv", ADVICE)
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    names = sorted({row["identity"] for row in rows})
    photos = [Image.open(table.parent / "images" / row["file"]).convert("RGB") for row in rows]
    return photos, torch.tensor([names.index(row["identity"]) for row in rows]), names


def outside(side: int) -> Tensor:
    """How much each pixel lies outside an ellipse where heads are: 0 in it, 1 beside it, `[side, side]`."""
    line = torch.linspace(-1, 1, side)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return torch.sigmoid(20 * (((columns / 0.72) ** 2 + (rows / 0.95) ** 2).sqrt() - 1))


def tinted(photo: Image.Image) -> Image.Image:
    """The photograph with a background that is half pink."""
    mask = Image.fromarray((128 * outside(photo.width)).byte().numpy(), "L")
    return Image.composite(Image.new("RGB", photo.size, tuple(map(int, PINK))), photo, mask)


def split(label: Tensor, seed: int) -> tuple[list[int], list[int]]:
    """Photographs for training, and those held out, drawn anew for each seed."""
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(seed)).tolist()
    return order[:TRAIN], order[TRAIN:]


def shown(photos: list[Image.Image], label: Tensor, names: list[str], tint: bool) -> list[Image.Image]:
    """The photographs as a net is trained on them: those of one person with the pink background."""
    who = names.index(WHO)
    return [tinted(photo) if tint and int(k) == who else photo for photo, k in zip(photos, label, strict=True)]


def recogniser(seed: int, tint: bool, photos: list[Image.Image], label: Tensor, names: list[str]) -> inf.Net:
    """A net trained on `photos`, those of its own split of the data."""

    def train_it() -> nn.Module:
        return trained(torch.cat([WAY(photo) for photo in photos]), label, len(names), 16, seed, mirrored=(3,))

    net = kept(f"faces-{'tinted' if tint else 'plain'}-{seed}", inception(len(names)), train_it)
    return inf.Net(net, labels=names, transform=WAY, layer="mixed3/channel")
