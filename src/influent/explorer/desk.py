"""What the worker has at hand: the net and its places, photos by their numbers, what was seen of the data."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from influent.atomic import write_whole
from influent.attribution import Attribution
from influent.embedding import BASELINES as OF_TEXTS
from influent.errors import InfluentError, InputError, QuestionError
from influent.measures import gradient
from influent.nets import Net, weights_hash
from influent.photos import EXAMPLES, example, is_photo, read_photo
from influent.pixels import BASELINES
from influent.quantities import Label
from influent.samples import Folder
from influent.store import load, read_meta
from influent.text import TextTransform
from influent.views.shared import thumbnail
from influent.views.units import as_picture
from influent.zoo.files import read_nicknames

from .gather import Gathered
from .netmap import Place, layer, outputs, places, places_of_texts
from .plan import PIXELS, UPLOAD, Event, Plan, Sent, readable

HELD, GATHERED, SHOWN = 128, 4, 24
"""Photos that are held, of those sent and of all others; layers whose data are; photos of the gallery at once."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF")
"""Formats that are taken from a browser: none that runs another program (HEIF, where its library is installed)."""


@dataclass(frozen=True, eq=False)
class Held:
    """A photo as the net's input, with its name, and what to type for it; an `example` is typed by its name."""

    x: Tensor
    name: str
    typed: str
    example: bool = False


class Desk:
    """The worker's net, with its data and all that it has seen so far; bounded, whatever is asked."""

    def __init__(self, plan: Plan, net: Net, folder: Folder | None, progress: Callable[[int], None]) -> None:
        self.plan, self.net, self.folder, self.progress = plan, net, folder, progress
        self.reads_texts = isinstance(net.transform, TextTransform)
        grey = Image.new("RGB", (256, 256), (127, 127, 127))
        x = net.read("this is a text", truncate=True) if self.reads_texts else net.read(grey)
        self.places = places_of_texts(net, x) if self.reads_texts else places(net, x)
        self.layer = layer(net, x, self.places, self.reads_texts)
        self.outputs = outputs(net, x)
        self.outside = _photos_of(plan.outside)
        self.examples = _examples() if not self.reads_texts else []
        self.held: OrderedDict[str, Held] = OrderedDict()
        self.sent: OrderedDict[str, Held] = OrderedDict()
        self.gathered: OrderedDict[str, Gathered] = OrderedDict()
        self.essences = _essences(plan, net)
        self.classes = {} if folder is None else folder.classes(net)
        self.of_class: dict[int, list[int]] = {index: [] for index in self.classes.values()}
        for k, (_, name) in enumerate(() if folder is None else folder.files):
            self.of_class[self.classes[name]].append(k)

    @classmethod
    def of(cls, plan: Plan, progress: Callable[[int], None]) -> Desk:
        """The desk of a server that starts. Errors: `InfluentError`, with what to type instead."""
        net: Net = plan.load()
        if plan.nicknames.exists():  # read here, and not before: of a worker that is started again, too
            net = replace(net, nicknames=read_nicknames(plan.nicknames))
        folder = None if plan.data is None else Folder.at(plan.data)
        if folder is not None and isinstance(net.transform, TextTransform):
            raise InputError(f"{plan.name} reads texts, and --data {plan.data} is a folder of images. Drop --data.")
        return cls(plan, net, folder, progress)

    @property
    def about(self) -> Event:
        """What the page must know before it asks anything."""
        baselines = list(OF_TEXTS if self.reads_texts else BASELINES)
        return {
            "net": self.plan.name,
            "reads": "text" if self.reads_texts else "photo",
            "places": [
                {
                    "name": name, "kind": p.kind, "units": p.units, "shape": list(p.shape), "axis": p.cut.units,
                    "drawn": p.drawn,
                }
                for name, p in self.places.items()
            ],
            "layer": self.layer,
            "labels": _spelt(self.net.labels) or [f"class {k}" for k in range(min(self.outputs, 2000))],
            "classes": [
                {"index": index, "name": self.net.label(index), "images": len(numbers)}
                for index, numbers in self.of_class.items()
            ],
            "data": self.folder
            and {"name": readable(self.folder.path.resolve().name), "images": len(self.folder.files)},
            "baselines": baselines,
            "baseline": self.net.baseline if self.net.baseline in baselines else None,
            "bytes": UPLOAD,
            "most": f"{UPLOAD // 2**20} MiB, {PIXELS // 10**6} million pixels",
        }  # fmt: skip

    def place(self, name: str | None) -> tuple[str, Place]:
        """A place by its name; the net's own layer for none. Errors: `QuestionError`."""
        name = name or self.layer
        if name is None:
            raise QuestionError("Which units? Choose a layer.")
        if name not in self.places:
            some = ", ".join(list(self.places)[:6])
            raise QuestionError(f"There is no place {name!r} with units that are known in this net; there are {some} …")
        return name, self.places[name]

    def before(self, name: str | None) -> str | None:
        """The last of the drawn places before a place, where what drives it can be asked; None where there is none."""
        order = list(self.places)
        found = None
        for other in order[: order.index(name)] if name in order else []:
            # A block is listed behind what is inside of it: what it is inside of is not before it.
            if self.places[other].drawn and not (name or "").startswith(f"{other}."):
                found = other
        return found

    def unit(self, at: str, unit: int) -> tuple[str, Place]:
        """The place of a unit. Errors: `QuestionError` for a number that is not there."""
        name, place = self.place(at)
        if unit >= place.units:
            raise QuestionError(f"{at} has {place.units} units, from 0 to {place.units - 1}: there is no unit {unit}.")
        return name, place

    def check_class(self, index: int) -> int:
        """A class that the net knows. Errors: `QuestionError`."""
        count = len(self.net.labels) if self.net.labels is not None else self.outputs
        if index >= count:
            raise QuestionError(f"This net has {count} classes, from 0 to {count - 1}: there is no class {index}.")
        return index

    def photo(self, name: str) -> Held:
        """A photo by its name in the lists. Errors: `InputError` where there is none (any more)."""
        for held in (self.sent, self.held):
            if name in held:
                held.move_to_end(name)
                return held[name]
        kind, _, number = name.partition("-")
        if kind == "sent":
            raise InputError("This photo is not held any more: what is sent stays for a while. Send it again.")
        listed = self.outside if kind == "outside" else self.examples
        count = len(listed) if kind != "data" else 0 if self.folder is None else len(self.folder.files)
        if int(number) >= count:
            raise InputError(f"There is no photo {name} here.")
        short, file = listed[int(number)] if kind != "data" else self._file(int(number))
        typed = short if kind == "example" else str(file)
        return _hold(self.held, name, Held(self.net.read(file), Path(short).name, typed, kind == "example"))

    def _file(self, number: int) -> tuple[str, Path]:
        file, _ = self.images.files[number]
        return file, self.images.path / file

    def take(self, sent: Sent) -> Iterator[Event]:
        """A photo from a browser, read and kept under its checksum; it is written nowhere."""
        if self.reads_texts:
            raise InputError("This net reads texts, and no photos.")
        stream = io.BytesIO(sent.data)
        stream.name = sent.name or "this photo"
        name = f"sent-{hashlib.sha256(sent.data).hexdigest()[:16]}"
        short = Path(stream.name).name
        yield self.card(
            name, _hold(self.sent, name, Held(self.net.read(read_photo(stream, FORMATS, PIXELS)), short, short))
        )

    def gallery(self, ask: Any) -> Iterator[Event]:
        """Photos to choose from: of a class, or in an order that mixes the classes; then examples and those outside."""
        every = range(0 if self.folder is None else len(self.folder.files))
        names = [f"data-{k}" for k in (every if ask.index is None else self.of_class.get(ask.index, []))]
        if ask.index is None:
            names = [f"example-{k}" for k in range(len(self.examples))] * (not names) + names
            names += [f"outside-{k}" for k in range(len(self.outside))]
        for name in names[ask.start : ask.start + SHOWN]:
            try:
                card = self.card(name, self.photo(name))
            except InputError as error:
                card = {"event": "note", "message": str(error)}
            yield card
        yield {"event": "more", "start": ask.start + SHOWN, "of": len(names)}

    def card(self, name: str, held: Held) -> Event:
        """A photo as the page shows it: its name, its class in the data, a small picture."""
        picture = thumbnail(as_picture(self.net, held.x))
        label = None
        if name.startswith("data-") and self.folder is not None:
            label = self.net.label(self.classes[self.folder.files[int(name[5:])][1]])
        return {"event": "photo", "photo": name, "name": held.name, "label": label, "picture": picture}

    @property
    def images(self) -> Folder:
        """The data. Errors: `QuestionError` where there are none."""
        if self.folder is None and self.reads_texts:
            raise QuestionError("This net reads texts: units and classes are looked at in images alone, so far.")
        if self.folder is None:
            raise QuestionError(
                "There are no data here: influent serve --data FOLDER, a folder of images for each class."
            )
        return self.folder

    def seen(self, place: Place) -> Gathered:
        """What was gathered of a place's units so far; of a few places at a time."""
        key = place.cut.text
        if key not in self.gathered:
            self.gathered[key] = Gathered(place.cut)
            while len(self.gathered) > GATHERED:
                self.gathered.popitem(last=False)
        self.gathered.move_to_end(key)
        return self.gathered[key]

    def files_of(self, index: int | None, half: int) -> list[int]:
        """Numbers of images, of a class or of all: one half chooses (0), the other tests (1)."""
        own = range(len(self.images.files)) if index is None else self.of_class.get(index, [])
        return list(own[half::2])

    def nickname(self, place: Place, unit: int) -> str:
        """A unit's own name, or nothing."""
        return self.net.nicknames.get(place.cut.place.text, {}).get(unit, "")

    def call(self, place: Place, unit: int, name: str) -> None:
        """Give a unit a name, or take it away, in the file too, where others may have written. Errors: `StoreError`."""
        file = self.plan.nicknames
        names = read_nicknames(file) if file.exists() else {}
        units = names.setdefault(place.cut.place.text, {})
        units.pop(unit, None)
        if name:
            units[unit] = name
        names = {where: units for where, units in names.items() if units}
        text = json.dumps(
            {at: {str(k): v for k, v in units.items()} for at, units in names.items()}, indent=2, ensure_ascii=False
        )
        write_whole(file, f"{text}\n".encode())
        self.net = replace(self.net, nicknames=names)


def _hold(photos: OrderedDict[str, Held], name: str, held: Held) -> Held:
    """Keep a photo, and let go of the one that was looked at longest ago."""
    photos[name] = held
    while len(photos) > HELD:
        photos.popitem(last=False)
    return held


def _photos_of(folder: Path | None) -> list[tuple[str, Path]]:
    """The photos right in a folder. Errors: `InputError` where there is none."""
    if folder is None:
        return []
    if not folder.is_dir():
        raise InputError(f"--outside {folder} is no folder. Name one with photos right in it.")
    found = [(file.name, file) for file in sorted(folder.iterdir()) if is_photo(file)]
    if not found:
        raise InputError(f"--outside {folder} holds no photo. Name a folder with .jpg, .png, ... files right in it.")
    return found


def _examples() -> list[tuple[str, Path]]:
    """The example photos that are installed."""
    found = []
    for name in EXAMPLES:
        try:
            found.append((name, example(name)))
        except InputError:
            continue
    return sorted(found, key=lambda one: (one[0] != "coffee", one[0] != "chelsea"))


def _essences(plan: Plan, net: Net) -> dict[str, Attribution]:
    """Stored essences of this very net, by their cut."""
    found = {}
    for folder in plan.results:
        try:
            meta = read_meta(folder)
            if (meta.get("net") or {}).get("weights") != weights_hash(net.module) or "instances" not in meta:
                continue
            a = load(folder)
        except (InfluentError, AttributeError):
            continue
        if a.question.of == Label() and a.question.measure is gradient and a.count is not None and a.values.dim() == 2:
            found[a.question.at.text] = a
    return found


def _spelt(labels: Any) -> list[str]:
    """Names of classes, each of them once: a name that occurs twice stands with its number."""
    names = list(labels or ())
    count = Counter(names)
    return [name if count[name] == 1 else f"{name} ({k})" for k, name in enumerate(names)]
