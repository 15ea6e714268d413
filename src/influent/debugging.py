"""What `influent debug` does: why a model fails on a folder of images by class, on one page and as `report.json`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from .cut import Cut
from .diagnosis import Report, debug, spell_units
from .explain import PAGE
from .nets import Net, weights_hash
from .samples import Folder
from .shared import where
from .store import fresh_folder, record, seal
from .views.diagnosis import Cause, debug_page
from .views.shared import Pictured, lit, thumbnail

Progress = Callable[[int], None]
REPORT = "report.json"
GROUPS, EXAMPLES = 3, 4
"""How many groups of mistakes of a confusion have pictures, and how many pictures."""


@dataclass(frozen=True)
class Patient:
    """What is asked about a folder of images by class: a net by name, and the units that are looked at."""

    net: Net
    name: str
    at: str | None = None
    chunk: int = 16


def debug_folder(
    patient: Patient, folder: Folder, out: Path, progress: Progress | None = None, planned: Progress | None = None
) -> Report:
    """The report on a folder, stored in `out`: `report.json`, the confusion matrix as a tensor, and a page.

    Errors as `debug`; nothing is written where there is one.
    """
    started, net = perf_counter(), patient.net
    # The places and the names are asked for before an hour's pass, not behind it.
    folder.classes(net)
    with fresh_folder(out) as work:
        report = debug(net, folder, patient.at, chunk=patient.chunk, progress=progress, planned=planned)
        facts = {
            "net": patient.name, "at": report.at, "images": str(folder.stored),
            **{name: f"{value:g}" for name, value in vars(report.limits).items()},
        }  # fmt: skip
        (work / REPORT).write_text(report.json, encoding="utf-8")
        record(work, facts, report.lines, {"confusion": report.confusion}, net=weights_hash(net.module))
        title = f"{folder.path.resolve().name}: what {patient.name} gets wrong, and why"
        page = debug_page(title, report, _causes(net, folder, report), facts, perf_counter() - started)
        (work / PAGE).write_text(page, encoding="utf-8")
        seal(work)
    return report


def _causes(net: Net, folder: Folder, report: Report) -> list[Cause]:
    """The groups of mistakes with pictures of a few: dimmed where the unit that pulls most is silent."""
    made = []
    for found in report.mistakes:
        for group in found.groups[:GROUPS]:
            pictures = []
            for file in group.names[:EXAMPLES]:
                x = net.read(folder.path / file)
                fired = where(net, x, [(Cut(report.at), group.units[0].unit)])[0] if group.units else None
                pictures.append(Pictured(thumbnail(lit(net, x, fired)), Path(file).name, file))
            heading = f"{report.spell_pair(found.pair)}: {len(group.names)} of {found.looked} mistakes"
            made.append(Cause(heading, spell_units(group.units), tuple(pictures)))
    return made
