"""torchvision's nets by name: `torchvision:resnet50`, with torchvision's own transforms and class names."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from influent.errors import InputError, nearest
from influent.nets import Net

from .files import weights_for
from .library import RANDOM, imported, ready, seeded
from .transforms import taken_apart


def torchvision_net(name: str, weights: str | None = None, classes: int | None = None) -> Net:
    """One of `torchvision.models.list_models()`, in evaluation mode, with the manners of its weights.

    `weights` is a file, "random", or None for torchvision's own (the default ones first), which are looked for where
    torch keeps downloads and never fetched. `classes` is the number of outputs, where it is not that of the weights.

    Errors: `InputError` where torchvision, the net or the file is missing: which, and how to get it.
    """
    models = imported("torchvision").models
    if name not in (known := models.list_models()):
        raise InputError(
            f"torchvision has no net {name!r}.{nearest(name, known)} torchvision.models.list_models() has all."
        )
    entries = list(models.get_model_weights(name))
    entries.sort(key=lambda entry: entry is not models.get_model_weights(name).DEFAULT)
    entry, file = _chosen(name, entries, weights)
    meta = entry.meta if entry else {}
    labels = tuple(meta.get("categories") or ()) or None
    with seeded():
        module = models.get_model_builder(name)(**_arguments(models, name, meta, classes, file is not None))
    if file is not None:
        module.load_state_dict(weights_for(module, file), strict=False)
    transform = taken_apart(entry.transforms()) if entry else None
    return Net(ready(module), labels if classes in (None, len(labels or ())) else None, transform)


def _arguments(models: Any, name: str, meta: dict[str, Any], classes: int | None, trained: bool) -> dict[str, Any]:
    """What torchvision itself calls the builder with when it loads these weights; no backbone is fetched."""
    arguments: dict[str, Any] = {"weights": None}
    if count := classes or len(meta.get("categories") or ()):
        arguments["num_classes"] = count
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        arguments["weights_backbone"] = None
    if "aux_loss" in inspect.signature(models.get_model_builder(name)).parameters and trained:
        arguments["aux_loss"] = True
    if name in ("googlenet", "inception_v3"):
        # These weights came from TensorFlow: the net turns ImageNet's scaling into theirs, unless told otherwise.
        arguments |= {"init_weights": False, "transform_input": trained}
    if name.startswith("vit_") and "min_size" in meta:
        arguments["image_size"] = meta["min_size"][0]
    return arguments


def _chosen(name: str, entries: list[Any], weights: str | None) -> tuple[Any, Path | None]:
    """The entry of torchvision's list whose transform and names belong to the weights, and their file."""
    default = entries[0] if entries else None
    if weights == RANDOM:
        return default, None
    if weights is not None:
        file = Path(weights).expanduser()
        return next((entry for entry in entries if _file_name(entry) == file.name), default), file
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for entry in entries:
        if (folder / _file_name(entry)).is_file():
            return entry, folder / _file_name(entry)
    where = f"There is no {folder / _file_name(default)}. Fetch {default.url} to that place, or " if default else ""
    raise InputError(
        f"The weights of torchvision's {name} are not on this machine, and nothing is downloaded behind your back. "
        f"{where}name a file: --weights FILE (weights= in Python); --weights random takes the net untrained."
    )


def _file_name(entry: Any) -> str:
    return str(entry.url).rpartition("/")[2]
