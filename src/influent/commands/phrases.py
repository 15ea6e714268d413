"""`influent phrases CORPUS --like "not good"`: the phrases that units look for, as rules."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from influent.errors import InputError

from .options import add_execution, add_net, load_net, settings, text_net
from .terminal import Bar, print_place


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "phrases", help="phrases of a corpus that units look for: those that look at a phrase, or units by number",
        description="Units that look at a phrase, the n-grams of a corpus that they look for, and rules made of them.",
        epilog="""example: influent phrases reviews.txt --like "not good" --in "this is not good" """,
    )  # fmt: skip
    command.add_argument(
        "corpus", metavar="CORPUS", help=".txt, a text a line; .csv or .tsv with columns text and label; - for input"
    )
    command.add_argument("--like", metavar="PHRASE", help="units are looked for that look at this phrase")
    command.add_argument("--in", dest="sentence", metavar="TEXT", help="a sentence with the phrase (default: it alone)")
    command.add_argument("--units", help="units by number instead, 3,17")
    add_net(command)
    command.add_argument("--at", help="which layer, filters/channel (default: the net's own)")
    command.add_argument("--of", help="which behaviour (default: the class that the net says of the sentence)")
    command.add_argument("--baseline", metavar="NAME", help="where lines begin: pad, mask, mean, zero")
    command.add_argument("--top", type=int, help="how many units are looked for (default 3)")
    command.add_argument(
        "--share", type=float, default=0.5, help="the least part of a unit that the phrase carries (0.5)"
    )
    command.add_argument("--longest", type=int, default=4, help="words of the longest phrase (default 4)")
    command.add_argument("--least", type=int, default=2, help="texts that a phrase is of at least (default 2)")
    add_execution(command, "phrases-CORPUS")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """A table of phrases; exit code 1 where some texts could not be read."""
    started = time.perf_counter()
    chosen = settings(options)
    for name in ("longest", "least"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)}: give 1 or more.")
    if not 0 <= options.share <= 1:
        raise InputError(f"--share {options.share:g}: give a part, 0 to 1.")

    from influent.corpus import read_corpus
    from influent.explain import PAGE
    from influent.harvest import RULES, Search, harvest

    corpus = read_corpus(options.corpus)
    name = text_net(options, chosen)
    baseline = (chosen["baseline"] or [None])[0] if isinstance(chosen["baseline"], list) else chosen["baseline"]
    search = Search(
        load_net({**chosen, "net": name}), name, options.like, options.sentence, _numbers(options.units), chosen["at"],
        chosen["of"], baseline, chosen["top"], options.share, options.longest, options.least,
    )  # fmt: skip
    stem = "input" if options.corpus == "-" else Path(options.corpus).name.split(".")[0]
    out = Path(chosen["out"] or f"phrases-{stem}")
    with Bar(len(corpus.texts), "texts") as progress:
        made = harvest(search, corpus, options.corpus, out, progress)
    for text, why in made.found.left_out.items():
        print(f"{text[:60]}: {why}", file=sys.stderr)
    print(f"units {', '.join(str(u.index) for u in made.units)} of {made.at.place.text}, for {made.of!r}", "", sep="\n")
    print(*made.lines, sep="\n")
    print(f"\nrules  {out / RULES}", end="")
    print_place(out / PAGE, started)
    return 1 if made.found.left_out else 0


def _numbers(text: str | None) -> tuple[int, ...]:
    try:
        return () if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--units {text}: write numbers between commas, 3,17.") from None
