"""timm's nets by name: `timm:vit_tiny_patch16_224`, with timm's own transforms and class names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from influent.errors import InputError, nearest
from influent.nets import Net

from .files import weights_for
from .imagenet import imagenet_labels
from .library import RANDOM, imported, ready, seeded
from .transforms import taken_apart


def timm_net(name: str, weights: str | None = None, classes: int | None = None) -> Net:
    """One of `timm.list_models()` (`resnet50`, or with its training, `resnet50.a1_in1k`), in evaluation mode.

    `weights` is a file, "random", or None for timm's own, which are looked for in the cache of the Hugging Face hub and
    where torch keeps downloads, and never fetched. `classes` is the number of outputs, where they are not timm's.

    Errors: `InputError` where timm, the net or the file is missing: which, and how to get it.
    """
    timm = imported("timm")
    plain, _, training = name.partition(".")
    if not timm.is_model(plain):
        raise InputError(f"timm has no net {plain!r}.{nearest(plain, timm.list_models())} timm.list_models() has all.")
    known = timm.list_pretrained(f"{plain}.*")
    if training and name not in known:
        raise InputError(f"timm has no {plain} trained as {training!r}; it has {', '.join(known) or 'none'}.")
    with seeded():
        module = timm.create_model(name, **({} if classes is None else {"num_classes": classes}))
    config = dict(module.pretrained_cfg)
    file = None if weights == RANDOM else Path(weights).expanduser() if weights else _at_hand(name, config)
    if file is not None:
        module.load_state_dict(weights_for(module, file), strict=False)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module), is_training=False)
    return Net(ready(module), _labels(timm, config) if classes is None else None, taken_apart(transform))


def _at_hand(name: str, config: dict[str, Any]) -> Path:
    """The file of timm's own weights, where an earlier download left it."""
    hub, url = config.get("hf_hub_id"), config.get("url")
    if hub:
        for file in ("model.safetensors", "pytorch_model.bin"):
            found = imported("huggingface_hub").try_to_load_from_cache(hub, file)
            if isinstance(found, str):
                return Path(found)
    if url:
        kept = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        if kept.is_file():
            return kept
    get = f"Type `hf download {hub} model.safetensors`" if hub else f"Fetch {url} to {kept}" if url else ""
    raise InputError(
        f"The weights of timm's {name} are not on this machine, and nothing is downloaded behind your back. "
        f"{get + ', or name a' if get else 'Name a'} file: --weights FILE (weights= in Python); --weights random takes "
        "the net untrained."
    )


def _labels(timm: Any, config: dict[str, Any]) -> tuple[str, ...] | None:
    if config.get("label_names"):
        return tuple(config["label_names"])
    subset = timm.data.infer_imagenet_subset(config)
    if subset == "imagenet-1k":
        return imagenet_labels()
    return tuple(timm.data.ImageNetInfo(subset).label_descriptions()) if subset else None
