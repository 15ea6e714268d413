"""Nets of the transformers library, by name or folder: `hf:google/vit-base-patch16-224`, `hf:my/folder`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from influent.errors import InputError
from influent.nets import Net

from .files import tensors_in
from .library import RANDOM, imported, ready, seeded
from .sentences import as_sentences
from .tokenizers import text_transform
from .transforms import as_pixels


def huggingface_net(
    name: str, weights: str | None = None, classes: int | None = None, dtype: torch.dtype = torch.float32
) -> Net:
    """A net from a folder that `save_pretrained` wrote, or from the hub's cache, in evaluation mode.

    Its class names are the configuration's, its transform the tokenizer's or the image processor's (None where there is
    neither). `weights` is a file or "random", instead of the folder's own. A folder of sentence-transformers gives the
    vectors that it makes of texts. Nothing is fetched, and no code that comes with a net is run.

    Errors: `InputError` where transformers, the folder or a file in it is missing, and for quantised nets.
    """
    transformers = imported("transformers")
    with _quiet(transformers), seeded():
        config = _read(transformers.AutoConfig, name, "config.json")
        _check_plain(name, config)
        if classes is not None:
            config.num_labels = classes
        kinds = [kind for kind in (config.architectures or []) if hasattr(transformers, kind)]
        kind = getattr(transformers, kinds[0]) if kinds else transformers.AutoModel
        if weights == RANDOM:
            module = (kind(config) if kinds else kind.from_config(config)).to(dtype)
        else:
            given: dict[str, Any] = {"config": config, "dtype": dtype, "output_loading_info": True}
            if weights is None:
                module, info = _read(kind, name, "model.safetensors", **given)
            else:
                module, info = _filled(kind, weights, **given)
            _check_whole(weights or f"hf:{name}", module, info)
        labels = config.id2label if "ForImageClassification" in str(kinds) or "ForSequence" in str(kinds) else {}
        module, folder = ready(module), Path(name).expanduser()
        reads = text_transform(transformers, name, module)
        return Net(
            as_sentences(module, folder).eval(), tuple(labels[k] for k in sorted(labels)) or None,
            _transform(transformers, name) if reads is None else reads,
        )  # fmt: skip


def _read(kind: Any, name: str, file: str, **more: Any) -> Any:
    """`kind.from_pretrained` from files at hand; safetensors, or a .bin that holds nothing but tensors."""
    try:
        return kind.from_pretrained(name, local_files_only=True, trust_remote_code=False, **more)
    except Exception as error:  # transformers raises what its many parts raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        if Path(name).expanduser().is_dir():
            there = ", ".join(sorted(p.name for p in Path(name).expanduser().iterdir())[:8]) or "nothing"
            raise InputError(
                f"{name} holds {there}, from which transformers cannot make a net: {reason[0]} It needs config.json "
                "and model.safetensors: net.save_pretrained(FOLDER) writes them."
            ) from error
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise InputError(
                f"hf:{name}: there is no folder {name}. Name one that net.save_pretrained(FOLDER) wrote."
            ) from error
        raise InputError(
            f"hf:{name}: there is no folder {name}, and the hub's cache on this machine has no {file} of that name; "
            f"nothing is downloaded behind your back. Type `hf download {name}` to fetch it, or name a folder that "
            "net.save_pretrained(FOLDER) wrote."
        ) from error


def _filled(kind: Any, weights: str, **given: Any) -> Any:
    """A net with the weights of a file, under the names that transformers stores: not always the module's."""
    tensors = tensors_in(weights)
    try:
        return kind.from_pretrained(None, state_dict=tensors, **given)
    except Exception as error:  # transformers raises what its many parts raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{weights} does not fit {kind.__name__}: {reason[0]}") from error


def _check_plain(name: str, config: Any) -> None:
    """Refuse a net that was stored quantised."""
    how = getattr(config, "quantization_config", None)
    if how is not None:
        kind = how.get("quant_method", "quantised") if isinstance(how, dict) else type(how).__name__
        raise InputError(
            f"hf:{name} was stored quantised ({kind}): whole numbers have no gradient. Name the net as it was before "
            "quantisation."
        )


def _check_whole(name: str, module: Any, info: dict[str, Any]) -> None:
    """Refuse a net with weights that were in no file: transformers makes them up."""
    if absent := sorted(info["missing_keys"]):
        raise InputError(
            f"{name}: {len(absent)} weights of {type(module).__name__} are not there, first {absent[0]!r}. Name the "
            "folder of a trained net, a whole file of weights with --weights FILE, or --weights random."
        )


def _transform(transformers: Any, name: str) -> Any:
    """The net's own image processor, taken apart; None where the folder has none."""
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            name, local_files_only=True, trust_remote_code=False
        )
    except Exception:  # no file of one: a net for text, or for sound
        return None

    def see(picture: Image.Image) -> Image.Image:
        pixels = processor(picture, do_normalize=False, do_rescale=False, return_tensors="np")["pixel_values"][0]
        return Image.fromarray(np.asarray(pixels, dtype=np.uint8).transpose(1, 2, 0))

    def whole(picture: Image.Image) -> Any:
        return processor(picture, return_tensors="pt")

    normalises = getattr(processor, "do_normalize", False)
    mean = processor.image_mean if normalises else (0.0,) * 3
    std = processor.image_std if normalises else (1.0,) * 3
    scale = processor.rescale_factor if getattr(processor, "do_rescale", False) else 1.0
    return as_pixels(whole, see, mean, std, scale)


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' progress bars and advice on faster processors; as before afterwards."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
