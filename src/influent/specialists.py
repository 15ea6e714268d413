"""What `influent experts` does: experts for the classes of a folder, chosen on one half, reported on the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from .begun import parts_of
from .counting import Counts, InParts
from .cut import Cut
from .dataset import Dataset
from .errors import QuestionError
from .essences import cut_of
from .experts import Cell, Expert, Grid, OfClasses, essences, random_units, sweep
from .explain import PAGE
from .mask import Mask
from .measures import activation, gradient
from .nets import Net, weights_hash
from .parts import Parts, kept_until_done
from .quantities import Class, Label
from .samples import Folder
from .shards import Share, Work
from .store import fresh_folder, record, seal
from .views.experts import experts_page
from .views.text import aligned

Progress = Callable[[int], None]
INFLUENCE, ACTIVATION, LOT = "influence", "activation", "by lot"
WAYS = (INFLUENCE, ACTIVATION, LOT)
COLUMNS = ("class", "net", *WAYS, "units")


@dataclass(frozen=True)
class Search:
    """What is asked about a folder of images by class: a net by name, units, classes (all without any), α and β."""

    net: Net
    name: str
    at: str | None = None
    classes: tuple[str, ...] = ()
    alphas: tuple[int, ...] = (5, 10, 20, 50, 100, 200)
    betas: tuple[int, ...] = (0, 5, 10, 20, 50, 100, 200)
    criterion: str = "recall"
    chunk: int = 64

    def passes(self, folder: Folder) -> int:
        """How many images go through the net: the first half for the orders and for the sweeps, the second once."""
        first, second = halves(folder)
        return 2 * len(first.files) + len(second.files)


@dataclass(frozen=True)
class Found:
    """One class: its grid by each way, the chosen cells, and the counts of all on the other half."""

    name: str
    index: int
    grid: Grid
    cells: dict[str, Cell | None]
    net: Counts
    counts: dict[str, Counts]

    @property
    def row(self) -> tuple[str, ...]:
        """The class as text."""
        cell = self.cells[INFLUENCE]
        units = f"α {cell.alpha}, β {cell.beta}: {len(cell.units)}" if cell else "no cell keeps the precision"
        said = [rates(self.counts[way]) if way in self.counts else "none" for way in WAYS]
        return self.name, rates(self.net), *said, units


def rates(counts: Counts) -> str:
    """Recall and precision as text."""
    precision = float(counts.precision)
    said = "never said" if precision != precision else f"{precision:.0%}"
    return f"{float(counts.recall):.0%} / {said}"


def halves(folder: Folder) -> tuple[Folder, Folder]:
    """The images of each class in two halves, every other one in the order of the folder."""
    seen: dict[str, int] = {}
    parts: tuple[list[Any], list[Any]] = ([], [])
    for file in folder.files:
        seen[file[1]] = seen.get(file[1], -1) + 1
        parts[seen[file[1]] % 2].append(file)
    # A class of one image is in the first half alone; the second knows it all the same, so that both count alike.
    names = {name for _, name in folder.files} | set(folder.empty)
    first, second = (
        replace(folder, files=tuple(part), empty=tuple(sorted(names - {name for _, name in part}))) for part in parts
    )
    return first, second


def experts_of_folder(search: Search, folder: Folder, out: Path, progress: Progress | None = None) -> list[Found]:
    """Experts by influence, by activation and by lot for each class; stored in `out` with a page.

    Each expert by influence lies in a folder of its own, `Expert.load` reads it. Called again after a kill, it goes on
    from what is finished. Errors: `QuestionError` for classes that the folder does not have; as `sweep`.
    """
    started, net = perf_counter(), search.net
    cut = cut_of(net, search.at, folder)
    of = _classes(search, folder)
    choose, report = halves(folder)
    parts = _parts(search, folder, out)
    with kept_until_done([parts]), fresh_folder(out) as work:
        swept = _swept(search, cut, of, choose, parts, None, progress)
        grids = {INFLUENCE: swept[: len(of)], ACTIVATION: swept[len(of) :]}
        found = _reported(search, cut, of, grids, report, InParts(parts, "report"), progress)
        title = f"{folder.path.resolve().name}: experts for {len(found)} classes"
        facts = {
            "net": search.name, "at": cut.text, "images": str(folder.stored), "criterion": search.criterion,
            "chosen on": f"{len(choose.files)} images", "reported on": f"{len(report.files)} images",
        }  # fmt: skip
        for one in found:
            cell = one.cells[INFLUENCE]
            if cell is not None:
                Expert(net, cell.mask, Class(one.index)).save(work / f"expert-{one.index}")
        record(work, facts, expert_lines(found), {}, net=weights_hash(net.module))
        page = experts_page(title, found, COLUMNS, facts, perf_counter() - started)
        (work / PAGE).write_text(page, encoding="utf-8")
        seal(work)
    return found


def share_of_experts(
    search: Search, folder: Folder, out: Path, share: Share, progress: Progress | None = None
) -> str:  # fmt: skip
    """One worker's share of the round that can be done now: the orders of units, the sweeps, the report.

    Each round needs all of the one before; returns what is to be typed next. Errors as `experts_of_folder`.
    """
    cut, of = cut_of(search.net, search.at, folder), _classes(search, folder)
    choose, report = halves(folder)
    parts = _parts(search, folder, out)
    rows = Dataset(choose, by=OfClasses(tuple(int(q.index) for q in of)))
    orders = Work.of(
        search.net, cut, Label(), rows, [gradient, activation], ledger=_orders(parts), chunk=search.chunk,
        progress=progress,
    )  # fmt: skip
    for start, stop in orders.share(share):
        orders.compute(start, stop)
    if orders.missing():
        return "round 1 of 3, orders of units: when all shares are done, type the same again"
    sweeps = InParts(parts, "sweep", share)
    swept = _swept(search, cut, of, choose, parts, share, progress)
    if not sweeps.whole(Dataset(choose)):
        return "round 2 of 3, sweeps over α and β: when all shares are done, type the same again"
    grids = {INFLUENCE: swept[: len(of)], ACTIVATION: swept[len(of) :]}
    _reported(search, cut, of, grids, report, InParts(parts, "report", share), progress)
    return "round 3 of 3, the other half: when all shares are done, type the same without --shard"


def _parts(search: Search, folder: Folder, out: Path) -> Parts:
    words = (search.at, search.classes, search.alphas, search.betas, search.criterion)
    return parts_of(out, search.net, [folder], experts=words)


def _orders(parts: Parts) -> Path:
    """Where the orders of units are kept."""
    return Path(parts.folder or ".") / "orders"


def _swept(
    search: Search, cut: Cut, of: Sequence[Class], choose: Folder, parts: Parts, share: Share | None,
    progress: Progress | None,
) -> list[Grid]:  # fmt: skip
    """The grids of all classes by influence, then by activation."""
    words: dict[str, Any] = {"chunk": search.chunk, "progress": progress}
    orders = essences(
        search.net, cut, Dataset(choose), of, (gradient, activation), ledger=_orders(parts), **words
    )  # fmt: skip
    swept: list[Grid] = sweep(
        search.net, cut, Dataset(choose), [*of, *of], search.alphas, search.betas, influence=[*orders[0], *orders[1]],
        counted=InParts(parts, "sweep", share), **words,
    )  # fmt: skip
    return swept


def _classes(search: Search, folder: Folder) -> list[Class]:
    known = folder.classes(search.net)
    here = sorted({known[name] for _, name in folder.files})
    if not search.classes:
        return [Class(index) for index in here]
    asked = [known.get(name, -1) if name in known else search.net.class_index(name) for name in search.classes]
    for name, index in zip(search.classes, asked, strict=True):
        if index not in here:
            names = ", ".join(search.net.label(k) for k in here[:10])
            raise QuestionError(f"--class {name}: {folder.path} has no image of it. Its classes: {names}.")
    return [Class(index) for index in asked]


def _reported(
    search: Search,
    cut: Cut,
    of: Sequence[Class],
    grids: dict[str, list[Grid]],
    report: Folder,
    counted: InParts,
    progress: Progress | None,
) -> list[Found]:
    """The chosen experts of each way on the other half, and units by lot, as many as by influence."""
    net = search.net
    cells = {way: [grid.best(search.criterion) for grid in those] for way, those in grids.items()}
    masks: dict[tuple[str, int], Mask] = {
        (way, k): cell.mask for way, best in cells.items() for k, cell in enumerate(best) if cell is not None
    }
    size = grids[INFLUENCE][0].size
    for k, cell in enumerate(cells[INFLUENCE]):
        if cell is not None:
            masks[LOT, k] = Mask(cut, random_units(len(cell.units), size, seed=k))
    # A mask that silences nothing, so that the net itself is counted where no expert was found.
    masks |= {("net", k): Mask(cut, range(size)) for k in range(len(of))}
    classes = [of[k] for _, k in masks]
    done = counted(net, Dataset(report), list(masks.values()), classes, chunk=search.chunk, progress=progress)
    counts = {key: done.masked[n] for n, key in enumerate(masks)}
    return [
        Found(
            net.label(int(q.index)), int(q.index), grids[INFLUENCE][k], {way: best[k] for way, best in cells.items()},
            counts["net", k], {way: counts[way, k] for way in WAYS if (way, k) in counts},
        )
        for k, q in enumerate(of)
    ]  # fmt: skip


def expert_lines(found: Sequence[Found]) -> list[str]:
    """What the command prints: a line for each class, recall / precision on the half that chose nothing."""
    better = sum(
        INFLUENCE in one.counts and float(one.counts[INFLUENCE].recall) > float(one.net.recall) for one in found
    )
    lines = ["recall / precision of the class against the rest, on the half of the images that chose nothing", ""]
    return [*lines, *aligned([COLUMNS, *(one.row for one in found)]), "", f"more recall in {better} of {len(found)}"]
