"""A net with its manners: labels, transform, baseline and axes beside the module."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .codes import attributes, code_of, codes_in, plainly
from .errors import InputError, NetError, QuestionError, nearest
from .kernels import bringer
from .photos import read_photo
from .pixels import BASELINES, baseline
from .shapes import checksum
from .text import TextTransform


@dataclass(frozen=True, eq=False)
class Net:
    """A module, and what one must know to use it: what the zoo gives, and every function takes.

    - `labels`: a name for each class, in the order of the outputs;
    - `aliases`: further names of classes, `{"n01440764": 0}`, as folders of images are called;
    - `transform`: photo → `[1, *shape]`; with `encode` and `decode` (as `PixelTransform` has them)
      baselines can be named and pictures drawn over the photo;
    - `baseline`: the name of the default baseline, or a function `x → baseline`;
    - `axes`: names of the neuron axes of cuts, `{"features.*": ("row", "column", "channel")}`;
    - `layer`: the cut that the command line explains when none is asked for;
    - `embedding`: of a text net, the module that turns tokens into vectors (found where there is one);
    - `nicknames`: names for single units, `{"inception_3a": {52: "glare"}}`, which rankings then show.

    `torch.compile`d and `DataParallel` nets are unwrapped. Errors: `NetError` for traced nets.

    >>> Net(nn.Linear(2, 3), labels=["cat", "dog", "cup"]).class_index("dog")
    1
    """

    module: nn.Module
    labels: Sequence[str] | None = None
    transform: Callable[..., Any] | None = None
    baseline: str | Callable[[Tensor], Tensor] | None = None
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    layer: str | None = None
    nicknames: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    embedding: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", _unwrap(self.module))
        object.__setattr__(self, "axes", dict(self.axes or {}))
        labels = self.labels
        if labels is not None and (isinstance(labels, str | Mapping) or not all(isinstance(n, str) for n in labels)):
            raise QuestionError("labels= is a list of names, one for each class in order: labels=['cat', 'dog'].")
        if isinstance(self.transform, TextTransform) and self.embedding is None:
            object.__setattr__(self, "embedding", _embedding(self.module))

    def class_index(self, name: int | str) -> int:
        """The index of a class given by index or by name.

        Errors: `QuestionError` for unknown names (with the nearest) and for names that occur twice.
        """
        if isinstance(name, bool) or not isinstance(name, int | str):
            raise QuestionError(f"Class({name!r}): a class is one index or one name, Class(3) or Class('cat').")
        if isinstance(name, int):
            return name
        if name in self.aliases:
            return self.aliases[name]
        if self.labels is None:
            raise QuestionError(
                f"Class {name!r} is asked for by name, but this net has no labels. Give the index, Class(3), or the "
                "names, inf.Net(module, labels=[...])."
            )
        found = [i for i, label in enumerate(self.labels) if label == name]
        found = found or [i for i, label in enumerate(self.labels) if label.lower() == name.lower()]
        if not found:
            known = f" It has {', '.join(self.labels)}." if len(self.labels) <= 8 else ""
            raise QuestionError(f"This net has no class {name!r}.{nearest(name, self.labels) or known}")
        if len(found) > 1:
            both = ", ".join(f"Class({i})" for i in found)
            raise QuestionError(f"The name {name!r} belongs to {len(found)} classes. Say which by index: {both}.")
        return found[0]

    def label(self, index: int) -> str:
        """The name of a class, or `class 3` where there are no labels."""
        return self.labels[index] if self.labels is not None and index < len(self.labels) else f"class {index}"

    def read(self, photo: Any, **how: Any) -> Any:
        """A photo (path, PIL image or binary stream) as the net's input, `[1, *shape]`, on the net's device.

        The transform may give a picture without its first dimension, or Hugging Face's `{"pixel_values": ...}`. A net
        with a `TextTransform` reads one text or a list of them, with its words `answer=` and `truncate=`, as a `Text`.
        Errors: `InputError` for photos that cannot be read, and transforms that give no tensor; for texts, those of
        `TextTransform`.
        """
        if isinstance(self.transform, TextTransform):
            return self.transform(photo, **how)
        if self.transform is None:
            raise InputError(
                "This net has no transform, so a photo cannot be read for it. "
                "Give one, inf.Net(module, transform=...) or --transform package.module:function, or pass a tensor."
            )
        return self.placed(as_input(self.transform(read_photo(photo))))

    def placed(self, x: Tensor) -> Tensor:
        """A tensor on the net's device, and in its floating type."""
        weight = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        if weight is None:
            return x
        device = _device(self.module)
        return x.to(device, weight.dtype) if x.is_floating_point() else x.to(device)

    def placed_all(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs of a text net on its device."""
        return {key: self.placed(x) for key, x in inputs.items()}

    @property
    def reads(self) -> TextTransform:
        """How this net reads texts. Errors: `InputError` where it reads none."""
        if isinstance(self.transform, TextTransform):
            return self.transform
        if self.transform is not None:
            raise InputError(
                "This net reads photos and no texts: net.read(photo), influent explain PHOTO. Nets that read texts are "
                "textcnn-sentiment, minilm, and hf:NAME_OR_FOLDER with a tokenizer."
            )
        raise InputError(
            "This net has no tokenizer, so a text cannot be read for it. Give one, inf.Net(module, "
            "transform=inf.TextTransform(tokenizer)); hf:FOLDER needs tokenizer.json beside the weights: "
            "tokenizer.save_pretrained(FOLDER)."
        )

    def token(self, token: int | str) -> int:
        """A token's number, from its number or its text. Errors: `QuestionError` for a text of several tokens."""
        return token if isinstance(token, int) else self.reads.number(token)

    def tokens(self, text: str) -> tuple[int, ...]:
        """The numbers of a text's tokens, without special ones."""
        return tuple(self.reads.numbers(text))

    def spelling(self, token: int) -> str:
        """How a token reads; its number where the net has no tokenizer."""
        return self.transform.spelling(token) if isinstance(self.transform, TextTransform) else str(token)

    def baseline_for(self, named: Any, x: Tensor) -> Tensor:
        """A baseline of the shape of `x [instance, *shape]`: a tensor, a name, a photo's file, or a function of `x`."""
        named = self.baseline if named is None else named
        if isinstance(named, str) and named not in BASELINES and Path(named).is_file():
            named = self.read(named)
        if isinstance(named, Tensor):
            return self.placed(named)
        if callable(named):
            made = named(x)
            if not isinstance(made, Tensor):
                raise QuestionError(
                    f"The baseline function gives a {type(made).__name__}, not a tensor like its input."
                )
            return self.placed(made)
        if isinstance(named, str):
            transform: Any = self.transform
            if not (hasattr(transform, "encode") and hasattr(transform, "decode")):
                raise QuestionError(
                    f"The baseline {named!r} is a name in pixel space, but this net's transform cannot turn pixels "
                    "into inputs. Give a tensor of the input's shape, or a transform with encode and decode "
                    "(inf.PixelTransform)."
                )
            return self.placed(baseline(transform, named, x))
        raise QuestionError(
            "A Line needs a baseline, and this net names none. Give one: Line('black', x), Line(tensor, x), or "
            "inf.Net(module, baseline=...)."
        )


def _unwrap(module: nn.Module) -> nn.Module:
    """The module that hooks reach: out of `torch.compile` and `DataParallel`; traced nets are refused."""
    if isinstance(module, Net):
        return module.module
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if inner is None:
            break
        module = inner
    if isinstance(module, torch.jit.ScriptModule):
        raise NetError("This net is traced or scripted (torch.jit): no hook runs inside it. Pass the original module.")
    if not isinstance(module, nn.Module):
        raise NetError(f"A net is a torch module or inf.Net(module, ...), not {type(module).__name__}.")
    return module


def _embedding(module: nn.Module) -> str | None:
    """The cut at which a text net turns tokens into vectors: the one that it names, or the only one there is."""
    found, twice = _asked(module), False
    whole: Any = module
    if getattr(getattr(whole, "config", None), "is_encoder_decoder", False) and hasattr(whole, "get_encoder"):
        # Nets that read one text and write another may use the same for both: what they read comes first.
        found = _asked(whole.get_encoder()) or found
        twice = found is not None and found is _asked(whole.get_decoder())
    every = [m for m in module.modules() if isinstance(m, nn.Embedding)]
    if found is None and len(every) == 1:
        found = every[0]
    names = [name for name, m in module.named_modules(remove_duplicate=False) if m is found]
    return None if found is None or not names else names[0] + ("#1" if twice else "")


def _device(module: nn.Module) -> torch.device:
    """Where a net runs: where its weights are, or where they are brought to."""
    for name, weight in module.named_parameters():
        if not weight.is_meta:
            return weight.device
        if found := bringer(module, name):
            return torch.device(found[0].execution_device)
    return torch.device("meta")


def _asked(module: nn.Module) -> Any:
    """The embedding that a module of the transformers library names; None elsewhere."""
    own = getattr(module, "get_input_embeddings", None)
    return own() if callable(own) else None


def weights_hash(net: nn.Module) -> str:
    """The first 16 hex digits of the SHA-256 of a net's names, shapes and weights.

    >>> weights_hash(nn.Linear(2, 2)) == weights_hash(nn.Linear(2, 2))
    False
    """
    digest = hashlib.sha256()
    for name, weight in sorted(net.state_dict().items()):
        if isinstance(weight, Tensor) and weight.is_meta and (found := bringer(net, name)):
            weight = found[0].weights_map[found[1]]
        digest.update(f"{name} {checksum(weight)}".encode() if isinstance(weight, Tensor) else name.encode())
    return digest.hexdigest()[:16]


def as_input(made: Any) -> Tensor:
    """What a transform gives, as `[1, *shape]`: a picture `[channel, row, column]` gets its first dimension.

    >>> as_input({"pixel_values": torch.zeros(3, 8, 8)}).shape
    torch.Size([1, 3, 8, 8])
    """
    found = made["pixel_values"] if isinstance(made, Mapping) and "pixel_values" in made else made
    if not isinstance(found, Tensor):
        raise InputError(
            f"This net's transform gives a {type(made).__name__} for a photo, not a tensor [channel, row, column]. End "
            "it with torchvision.transforms.ToTensor(), or write a function that gives a tensor."
        )
    return found[None] if found.dim() == 3 else found


def as_net(net: Net | nn.Module) -> Net:
    """A `Net` from one, or from a plain module."""
    return net if isinstance(net, Net) else Net(net)


def identity_of(net: Net) -> dict[str, str]:
    """What tells a net with its manners from another: weights, modules and their code, types, way in, labels, axes.

    >>> identity_of(Net(nn.Linear(2, 2)))["weights"] == weights_hash(Net(nn.Linear(3, 2)).module)
    False
    """
    told = []
    for name, m in net.module.named_modules():
        hooks = [code_of(hook) for hook in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
        forward = "" if type(m).__module__.startswith("torch.") else code_of(type(m).forward)
        told.append(f"{name} {type(m).__qualname__} {forward} {hooks} {attributes(m)}")
    types = sorted({str(p.dtype) for p in (*net.module.parameters(), *net.module.buffers())})
    return {
        "weights": weights_hash(net.module), "types": " ".join(types), "axes": repr(net.axes),
        "transform": f"{plainly(net.transform)} {code_of(net.transform)} {codes_in(net.transform)}".strip(),
        "modules": hashlib.sha256("\n".join(told).encode()).hexdigest()[:16],
        "labels": hashlib.sha256(repr(net.labels).encode()).hexdigest()[:16],
    }  # fmt: skip
