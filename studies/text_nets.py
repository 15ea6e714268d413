"""The nets of the text studies: the sentence CNN on sentiment and on questions, and a small encoder; their accuracy.

    python3 dev.py study text_nets [--only NAME] [--small]

Trains each net with a fixed seed on one thread, writes its weights (float16), and measures what was written:
`textcnn-sentiment` and `textcnn-questions`, with their words, into src/influent/zoo; `encoder` into studies/results.

Fixed before any result was seen; nothing was tuned:

- Data: `_text.py` says what is trained on, what says when to stop, and what is reported on.
- Words: those in two training texts or more; the rest are one word, unknown. The encoder has the sentiment net's.
- CNN: the layers of Dhamdhere et al. 2018, section 6, with two softmax outputs in the place of two binary heads. Adam
  at 0.001, 64 texts a step; half of the filters dropped (Kim 2014); one word in ten replaced by the unknown one, so
  that it learns what an unknown word is worth; embeddings drawn from ±0.25 (Kim 2014).
- Encoder: Adam at 0.0005, 64 texts a step, the same replaced words; dropout 0.2.
- Stopping: the epoch with the lowest cross-entropy on the texts set aside for that, of at most 8 (questions: 30).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import _text
import torch
from localisation import version
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

import influent as inf
from influent.text import Words
from influent.zoo.textcnn import ANSWERS, SENTIMENTS, TextCNN

HERE = Path(__file__).parent
RESULT = HERE / "results" / "text-nets.json"
ZOO = Path(inf.__file__).parent / "zoo"
SEED, BATCH, UNKNOWN, DROPPED = 0, 64, 0.1, 0.5
PUBLISHED = {
    "textcnn-sentiment": "82.7 % (Kim 2014, Table 2, CNN-rand on SST-2: 300-d embeddings, 300 filters)",
    "textcnn-questions": "none (the paper names no accuracy of the whole net)",
    "encoder": "none",
}


@dataclass(frozen=True)
class Course:
    """How a net is trained: texts, words, its module, what it says in training, the rate, the most epochs."""

    parts: _text.Parts
    words: list[str]
    make: Callable[[int], nn.Module]
    scores: Callable[[nn.Module, Tensor, Tensor], Tensor]
    rate: float
    epochs: int


def main(arguments: Sequence[str]) -> int:
    """The nets, from the command line to the weights and the file."""
    parser = argparse.ArgumentParser(description="Train the nets of the text studies.")
    parser.add_argument("--only", choices=list(PUBLISHED), help="train this one; the others stay as they are")
    parser.add_argument("--small", action="store_true", help="one epoch on 2000 texts; no file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # sums in another order give other weights
    try:
        plan = courses(_text.sentiments(), _text.questions())
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    report = json.loads(RESULT.read_text(encoding="utf-8"))["nets"] if options.only and RESULT.is_file() else {}
    for name in [options.only] if options.only else list(PUBLISHED):
        course = small(plan[name]) if options.small else plan[name]
        module, epochs = trained(course, name)
        if not options.small:
            write(name, module, course.words)
            report[name] = measured(name, course, epochs)
    if not options.small:
        print(table(report))
        RESULT.write_text(json.dumps(record(report), indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: studies/results/{RESULT.name} and the weights")
    return 0


def courses(sentiments: _text.Parts, questions: _text.Parts) -> dict[str, Course]:
    """The three nets by name."""
    moods, kinds = (_text.vocabulary(parts.sentences) for parts in (sentiments, questions))
    return {
        "textcnn-sentiment": Course(sentiments, moods, lambda n: new_cnn(n, len(SENTIMENTS)), dropping, 1e-3, 8),
        "textcnn-questions": Course(questions, kinds, lambda n: new_cnn(n, len(ANSWERS)), dropping, 1e-3, 30),
        "encoder": Course(sentiments, moods, _text.encoder_module, logits_of, 5e-4, 8),
    }


def small(course: Course) -> Course:
    """The same on few texts."""
    return replace(course, parts=replace(course.parts, train=course.parts.train[:2000]), epochs=1)


# ---- training ---------------------------------------------------------------------------------------------


def new_cnn(words: int, classes: int) -> TextCNN:
    """The net before training."""
    net = TextCNN(words, classes)
    with torch.no_grad():
        net.embedding.weight[1:].uniform_(-0.25, 0.25)  # padding stays zero
    return net


def dropping(net: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """The CNN's scores with half of its filters dropped."""
    filters = net.filters(net.embedding(ids), mask.sum(1))
    return net.classify(net.relu(net.dense(functional.dropout(filters, DROPPED))))


def logits_of(net: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """The encoder's scores; it drops by itself in training."""
    return net(input_ids=ids, attention_mask=mask).logits


def numbered(pairs: Sequence[tuple[str, int]], words: Sequence[str]) -> list[tuple[list[int], int]]:
    """Texts as the numbers of their words, with their classes."""
    known = Words(words)
    return [(known.numbered(text)[0], label) for text, label in pairs]


def batches(rows: Sequence[tuple[list[int], int]], dice: torch.Generator | None) -> Iterator[tuple[Tensor, ...]]:
    """Ids, mask and classes, in an order drawn by lot; texts of about one length together, for little padding."""
    order = range(len(rows)) if dice is None else torch.randperm(len(rows), generator=dice).tolist()
    pool = [sorted(order[k : k + 50 * BATCH], key=lambda i: len(rows[i][0])) for k in range(0, len(rows), 50 * BATCH)]
    groups = [some[k : k + BATCH] for some in pool for k in range(0, len(some), BATCH)]
    turns = range(len(groups)) if dice is None else torch.randperm(len(groups), generator=dice).tolist()
    for group in (groups[k] for k in turns):
        width = max(6, *(len(rows[i][0]) for i in group))
        ids = torch.tensor([rows[i][0] + [0] * (width - len(rows[i][0])) for i in group])
        mask = torch.tensor([[1] * len(rows[i][0]) + [0] * (width - len(rows[i][0])) for i in group])
        yield ids, mask, torch.tensor([rows[i][1] for i in group])


def trained(course: Course, name: str) -> tuple[nn.Module, list[float]]:
    """The net of its best epoch, and the cross-entropy after each on the texts that say when to stop."""
    torch.manual_seed(SEED)
    dice = torch.Generator().manual_seed(SEED)
    net = course.make(len(course.words) + 2)
    train, stopping = (numbered(pairs, course.words) for pairs in (course.parts.train, course.parts.stopping))
    solver = torch.optim.Adam(net.parameters(), lr=course.rate)
    best, losses = net.state_dict(), []
    for epoch in range(course.epochs):
        net.train()
        for ids, mask, labels in batches(train, dice):
            hidden = (torch.rand(ids.shape, generator=dice) < UNKNOWN) & (mask == 1)
            solver.zero_grad()
            functional.cross_entropy(course.scores(net, ids.masked_fill(hidden, 1), mask), labels).backward()
            solver.step()
        losses.append(loss(net, stopping))
        print(f"{name}: epoch {epoch + 1}, cross-entropy {losses[-1]:.4f}", flush=True)
        if losses[-1] == min(losses):
            best = {key: value.clone() for key, value in net.state_dict().items()}
    net.load_state_dict(best)
    return net.eval(), losses


@torch.no_grad()
def loss(net: nn.Module, rows: Sequence[tuple[list[int], int]]) -> float:
    """Mean cross-entropy."""
    net.eval()
    total = 0.0
    for ids, mask, labels in batches(rows, None):
        made = net(input_ids=ids, attention_mask=mask)
        total += float(functional.cross_entropy(getattr(made, "logits", made), labels, reduction="sum"))
    return total / len(rows)


# ---- results ----------------------------------------------------------------------------------------------


def write(name: str, module: nn.Module, words: Sequence[str]) -> None:
    """Weights as float16, and the words of the zoo's nets."""
    weights = {
        key: value.half().contiguous() for key, value in module.state_dict().items() if value.is_floating_point()
    }
    if name == "encoder":
        save_file(weights, _text.ENCODER)
        return
    save_file(weights, ZOO / f"{name}.safetensors")
    (ZOO / f"{name}.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


def measured(name: str, course: Course, losses: list[float]) -> dict[str, Any]:
    """What is known of a net as it was written."""
    net = _text.encoder() if name == "encoder" else inf.zoo.load(name)
    test = course.parts.test
    share = _text.accuracy(net, test)
    common = Counter(label for _, label in test).most_common(1)[0][1]
    return {
        "accuracy, %": share,
        "standard error": (share * (100 - share) / len(test)) ** 0.5,
        "largest class, %": 100 * common / len(test),
        "texts reported on": len(test),
        "texts trained on": len(course.parts.train),
        "words": len(course.words),
        "parameters": sum(p.numel() for p in net.module.parameters()),
        "cross-entropy after each epoch": losses,
        "recall by class, %": recalls(net, test),
        "published": PUBLISHED[name],
    }


def recalls(net: inf.Net, test: Sequence[tuple[str, int]]) -> dict[str, float]:
    """Percent of each class that is named rightly."""
    return {
        name: _text.accuracy(net, [pair for pair in test if pair[1] == k]) for k, name in enumerate(net.labels or ())
    }


def table(report: dict[str, dict[str, Any]]) -> str:
    """A line for each net."""
    lines = [f"{'net':<20}{'accuracy, %':>15}{'largest class':>15}{'texts':>7}   published"]
    for name, one in report.items():
        ours = f"{one['accuracy, %']:.1f} ± {one['standard error']:.1f}"
        lines.append(
            f"{name:<20}{ours:>15}{one['largest class, %']:>15.1f}{one['texts reported on']:>7}   {one['published']}"
        )
    return "\n".join(lines)


def record(report: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What is stored."""
    return {
        "study": "text_nets",
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": {name: version(name) for name in ("influent", "torch", "transformers")},
        "settings": {"batch": BATCH, "unknown": UNKNOWN, "dropped": DROPPED, "seed": SEED},
        "nets": report,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
