"""The page of layers: which units carry the score at each, and how exact that is."""

from __future__ import annotations

from collections.abc import Sequence

from influent.attribution import Attribution

from .page import Section, page

COLUMNS = ("layer", "units", "top units, in % of the score's change", "gap", "residual")


def layer_row(a: Attribution, top: int) -> tuple[str, ...]:
    """One layer as text: its name, how many units it has, the top ones, and the error."""
    change = float(a.gap.change.flatten()[0]) if a.gap is not None else 0.0
    units = ", ".join(
        f"{u.name or u.index} {u.value / change:+.1%}" if change else f"{u.name or u.index} {u.value:+.3g}"
        for u in a.top(top)
        if u.value
    )
    gap = f"{float(a.gap.signed.flatten()[0]) / change:+.2%}" if a.gap is not None and change else a.note
    residual = f"{float(a.residual.flatten()[0]) / abs(change):.2%}" if a.residual is not None and change else ""
    return a.question.at.text, str(a.values[0].numel()), units, gap, residual


def layers_page(
    title: str, predictions: Sequence[tuple[str, float]], found: Sequence[Attribution], beginning: str, top: int,
    seconds: float,
) -> str:  # fmt: skip
    """The HTML of a table of layers, `found` in the order in which they run; `beginning` says how the path began."""
    rows = [layer_row(a, top) for a in found]
    facts = {"question, at the first layer": repr(found[0].question), "velocity": found[0].velocity}
    facts |= {a.question.at.text: a.sentence(top) for a in found}
    summary = f"gaps and residuals are in % of F(x) − F(x′). The baseline: {beginning}" if beginning else ""
    return page(
        title, predictions, [Section("Total conductance, layer by layer", COLUMNS, rows, summary, (), facts)], seconds
    )
