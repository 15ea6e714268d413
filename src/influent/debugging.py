"""What `influent debug` does: why a model fails on a folder of images by class, on one page and as `report.json`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from .begun import digest_of, parts_of
from .comparison import REPORT, read_earlier
from .confusion import Objects
from .cut import Cut
from .diagnosis import debug, debug_share
from .errors import InfluentWarning, InputError
from .explain import PAGE
from .limits import Limits
from .nets import Net, weights_hash
from .parts import Parts, kept_until_done
from .photos import is_photo
from .pixels import PixelTransform
from .report import Report
from .samples import Folder
from .shards import Share
from .shared import where
from .store import fresh_folder, record, seal
from .verdicts import spell_units
from .views.diagnosis import Cause, debug_page
from .views.shared import Pictured, lit, thumbnail

Progress = Callable[[int], None]
GROUPS, EXAMPLES, UNITS = 3, 4, 3
"""How many groups of mistakes of a confusion have pictures, how many pictures, and how many units of a wrong reason."""


@dataclass(frozen=True)
class Patient:
    """What is asked about a folder of images by class: a net by name, and the units that are looked at.

    - `train`: the folder that the net was trained on; `masks`: a folder with a picture of each object, white on black,
      under the image's own name (whatever its ending);
    - `against`: another net by name, or the folder of an earlier report.
    """

    net: Net
    name: str
    at: str | None = None
    train: Folder | None = None
    masks: Path | None = None
    against: tuple[Net, str] | Path | None = None
    chunk: int = 16


def debug_folder(
    patient: Patient, folder: Folder, out: Path, progress: Progress | None = None, planned: Progress | None = None
) -> Report:
    """The report on a folder, stored in `out`: `report.json`, the confusion matrix as a tensor, and a page.

    Parts that are finished are kept beside `out` until all is done: called again after a kill, it goes on from there.
    Errors as `debug`; nothing is written into `out` where there is one.
    """
    started, net, earlier = perf_counter(), patient.net, None
    # The places and the names are asked for before an hour's pass, not behind it.
    folder.classes(net)
    if patient.train is not None:
        patient.train.classes(net)
    if isinstance(patient.against, Path):
        earlier = read_earlier(patient.against)
        earlier.check({file for file, _ in folder.files})
    elif patient.against is not None:
        folder.classes(patient.against[0])
        if planned is not None:
            planned(len(folder.files))
    nets = [(net, patient.name)] + ([patient.against] if isinstance(patient.against, tuple) else [])
    parts = [_parts(patient, one, folder, out, name) for one, name in nets]
    with kept_until_done(parts), fresh_folder(out) as work:
        report = _asked(patient, *nets[0], folder, parts[0], progress, planned)
        if len(nets) > 1:
            other = replace(patient, train=None, masks=None)
            report = report.beside(_asked(other, *nets[1], folder, parts[1], progress, planned))
        elif earlier is not None:
            report = report.beside(earlier)
        facts = {
            "net": patient.name, "at": report.at, "images": str(folder.stored),
            **({"trained on": str(patient.train.stored)} if patient.train is not None else {}),
            **({"masks": patient.masks.name} if patient.masks is not None else {}),
            **{name: f"{value:g}" for name, value in vars(report.limits).items()},
        }  # fmt: skip
        (work / REPORT).write_text(report.json, encoding="utf-8")
        record(work, facts, report.lines, {"confusion": report.confusion}, net=weights_hash(net.module))
        title = f"{folder.path.resolve().name}: what {patient.name} gets wrong, and why"
        wrong = _wrong(net, patient.train or folder, report)
        page = debug_page(title, report, _causes(net, folder, report), wrong, facts, perf_counter() - started)
        (work / PAGE).write_text(page, encoding="utf-8")
        seal(work)
    return report


def share_of_debug(
    patient: Patient, folder: Folder, out: Path, share: Share, progress: Progress | None = None
) -> tuple[int, Path]:
    """One worker's share of the passes over the images; how many parts that are, and where they are kept.

    `debug_folder` with the same words finds them, and does what is left. Errors as `debug`.
    """
    kept = _parts(patient, patient.net, folder, out, patient.name)
    objects = None if patient.masks is None else masks_of(patient.net, patient.masks, _marked(patient, folder))
    done = debug_share(
        patient.net, folder, patient.at, share, kept, train=patient.train, objects=objects, chunk=patient.chunk,
        progress=progress,
    )  # fmt: skip
    if isinstance(patient.against, tuple):
        other, name = patient.against
        beside = _parts(patient, other, folder, out, name)
        done += debug_share(other, folder, None, share, beside, chunk=patient.chunk, progress=progress)
    return done, kept.folder or out


def _asked(
    patient: Patient, net: Net, name: str, folder: Folder, parts: Parts, progress: Progress | None,
    planned: Progress | None,
) -> Report:  # fmt: skip
    at = patient.at if net is patient.net else None
    objects = None if patient.masks is None else masks_of(net, patient.masks, _marked(patient, folder))
    report = debug(
        net, folder, at, train=patient.train, objects=objects, chunk=patient.chunk, parts=parts, progress=progress,
        planned=planned,
    )  # fmt: skip
    return replace(report, net=name)


def _marked(patient: Patient, folder: Folder) -> list[str]:
    """The images that masks are for."""
    return [file for file, _ in (patient.train or folder).files]


def masks_of(net: Net, folder: Path, images: Iterable[str]) -> Objects:
    """Where the object of each image is, as the net sees it: pictures under the images' names, their endings apart.

    Errors: `InputError` where there is no such folder, no mask of any of the `images`, or a transform that shows no
    pictures. An `InfluentWarning` says where masks are missing or cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Name one with a picture for each image, white where the object is.")
    if not isinstance(net.transform, PixelTransform):
        raise InputError(
            "This net's transform is a function that shows no pictures, so a mask cannot take an image's way. Give the "
            "net a PixelTransform(mean, std, see=...)."
        )
    files = {f.relative_to(folder).with_suffix("").as_posix(): f for f in sorted(folder.rglob("*")) if is_photo(f)}
    if not files:
        raise InputError(f"{folder} holds no pictures. Name them as the images: {folder / 'tabby' / '1.png'}.")
    names = {Path(name).with_suffix("").as_posix() for name in images}
    marked = len(names & set(files))
    if not marked:
        raise InputError(
            f"{folder} holds no mask of any image. Name them as the images, endings apart: {sorted(names)[0]}.png, and "
            f"not {sorted(files)[0]}."
        )
    if marked < len(names):
        warnings.warn(f"{marked} of {len(names)} images have a mask.", InfluentWarning, stacklevel=2)
    view = net.transform.view

    def objects(name: str) -> Tensor | None:
        file = files.get(Path(name).with_suffix("").as_posix())
        if file is None:
            return None
        try:
            seen = view(file).convert("L")
        except InputError as error:
            warnings.warn(f"A mask is left out: {error}", InfluentWarning, stacklevel=2)
            return None
        return torch.frombuffer(bytearray(seen.tobytes()), dtype=torch.uint8).reshape(seen.height, seen.width) / 255

    return objects


def _parts(patient: Patient, net: Net, folder: Folder, out: Path, name: str) -> Parts:
    """The finished parts of this very question."""
    marked = patient.masks
    masks = marked and digest_of(marked, sorted(f.relative_to(marked).as_posix() for f in marked.rglob("*")))
    folders = [one for one in (folder, patient.train) if one is not None]
    return parts_of(out, net, folders, name=name, at=patient.at, limits=Limits(), masks=masks)


def _causes(net: Net, folder: Folder, report: Report) -> list[Cause]:
    """The groups of mistakes with pictures of a few: dimmed where the unit that pulls most is silent."""
    made = []
    for found in report.mistakes:
        for group in found.groups[:GROUPS]:
            unit = group.units[0].unit if group.units else None
            heading = f"{report.spell_pair(found.pair)}: {len(group.names)} of {found.looked} mistakes"
            made.append(Cause(heading, spell_units(group.units), _pictured(net, folder, report.at, unit, group.names)))
    return made


def _wrong(net: Net, folder: Folder, report: Report) -> list[Cause]:
    """The units of wrong reasons with the samples of most evidence."""
    made = []
    for checked in report.checked:
        own = [one for one in report.reasons if one.index == checked.index and one.unit in checked.units]
        for one in own[:UNITS]:
            why = ", ".join(one.why(report.limits, len(report.reasons)))
            heading = f"{report.name(one.index)}: unit {one.unit}, {why}"
            said = f"{one.share:.0%} of the evidence for {report.name(one.index)}; the samples with most of it"
            made.append(Cause(heading, said, _pictured(net, folder, report.at, one.unit, one.names)))
    return made


def _pictured(net: Net, folder: Folder, at: str, unit: int | None, names: tuple[str, ...]) -> tuple[Pictured, ...]:
    """A few images, dimmed where a unit is silent."""
    pictures = []
    for file in names[:EXAMPLES]:
        x = net.read(folder.path / file)
        fired = where(net, x, [(Cut(at), unit)])[0] if unit is not None else None
        pictures.append(Pictured(thumbnail(lit(net, x, fired)), Path(file).name, file))
    return tuple(pictures)
