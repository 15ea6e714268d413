"""What users bring as files: weights and class names. Tensors and text are read, code never is."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from influent.errors import InputError

# Where training scripts keep the weights among other things, the likeliest first.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")


def weights_for(module: nn.Module, file: str | os.PathLike[str], advice: str = "") -> dict[str, Tensor]:
    """The tensors of a weights file that fit a module, by the names of its `state_dict()`.

    A file is safetensors, or what `torch.save(net.state_dict(), file)` writes (read with `weights_only=True`: nothing
    in it is run). Weights inside a training checkpoint (`{"state_dict": ...}`) are found, and a prefix that all names
    share (`module.`, `_orig_mod.`) is dropped. `advice` ends every lesson.

    Errors: `InputError` for files that are missing, damaged, hold code, or fit another net.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"module.weight": torch.ones(1, 2)}, f"{folder}/net.pth")
    ...     weights_for(nn.Linear(2, 1, bias=False), f"{folder}/net.pth")
    {'weight': tensor([[1., 1.]])}
    """
    path = Path(file).expanduser()
    found = tensors_in(path, advice)
    wanted = {name: weight for name, weight in module.state_dict(keep_vars=True).items() if isinstance(weight, Tensor)}
    found = _without_prefix(found, wanted)
    # Tied weights may stand in a file once; counters of batches came late to batch norm, and decide nothing.
    held = {id(wanted[name]) for name in found.keys() & wanted.keys()}
    absent = {n for n in wanted.keys() - found.keys() if id(wanted[n]) not in held and "num_batches_tracked" not in n}
    odd = sorted(absent | {n for n, w in found.items() if n not in wanted or w.shape != wanted[n].shape})
    if odd:
        name = odd[0]
        raise InputError(
            f"{path} does not fit this net: {len(odd)} of its tensors are missing, unknown or of another shape, first "
            f"{name!r}: {_shape(found.get(name))} in the file, {_shape(wanted.get(name))} in the net. "
            f"{advice or _advice(found, wanted)}"
        )
    return found


def filled(module: nn.Module, file: str | os.PathLike[str], advice: str = "") -> nn.Module:
    """A convolution net made on the meta device, with the weights of a file, frozen and in evaluation mode.

    Its weights lie in channels-last memory: forward and input gradient run 1.3 times as fast on a CPU; values stay the
    same. Errors as `weights_for`.
    """
    laid_out = {
        name: weight.contiguous(memory_format=torch.channels_last) if weight.dim() == 4 else weight
        for name, weight in weights_for(module, file, advice).items()
    }
    module.load_state_dict(laid_out, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def data_file(name: str, advice: str) -> Path:
    """A file below the folder that `INFLUENT_DATA` names. Errors: `InputError` with `advice` where it is not there."""
    folder = os.environ.get("INFLUENT_DATA")
    if not folder:
        raise InputError(
            f"The environment variable INFLUENT_DATA is not set, so there is no place to look for {name}, which is not "
            f"on PyPI. {advice}"
        )
    if not (Path(folder) / name).is_file():
        raise InputError(f"There is no file {Path(folder) / name} (INFLUENT_DATA is {folder!r}). {advice}")
    return Path(folder) / name


def _shape(weight: Tensor | None) -> str:
    return "nothing" if weight is None else str(list(weight.shape))


def _advice(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What the difference between file and net points to."""
    ends = [n for n in found.keys() & wanted.keys() if found[n].shape != wanted[n].shape]
    if ends and found.keys() == wanted.keys() and len(ends) <= 4:
        classes = {len(found[n]) for n in ends if found[n].dim()}
        if len(classes) == 1:
            return f"It was trained for {classes.pop()} outputs: give their names, --labels FILE (labels= in Python)."
    return "Name the net that it was trained as."


def tensors_in(file: str | os.PathLike[str], advice: str = "") -> dict[str, Tensor]:
    """The tensors of a weights file by their names there; code is refused. Errors as `weights_for`."""
    path = Path(file).expanduser()
    return _unwrapped(_content(path, advice), path, advice)


def _content(path: Path, advice: str) -> Any:
    _check_there(path, "weights", advice)
    with path.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a pointer of git-lfs, not the weights themselves. Type `git lfs pull` there.")
    try:
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            return load_file(path)
        if not start.startswith((b"PK", b"\x80")):  # torch writes zip archives, and wrote pickles
            raise pickle.UnpicklingError
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} {_refusal(error)} {advice}".rstrip()) from None


def _refusal(error: Exception) -> str:
    """Why a file was not read, and what to do instead."""
    text = str(error)
    if isinstance(error, SafetensorError):
        return f"is no readable safetensors file ({text}). A download or copy that stopped half way looks like this."
    if "TorchScript" in text:
        return (
            "is a traced or scripted net (torch.jit), not a file of weights: no hook runs inside it. Save the original "
            "net's state_dict()."
        )
    if code := re.search(r"GLOBAL ([\w.]+)", text):
        return (
            f"holds code ({code[1]}), not only tensors: it was refused, and nothing in it was run. Where it comes "
            "from, type torch.save(net.state_dict(), FILE), or safetensors.torch.save_model(net, FILE)."
        )
    if isinstance(error, pickle.UnpicklingError):
        return "is no file of weights that torch or safetensors wrote. Name a .safetensors or .pth file."
    return f"cannot be read as weights: {text.splitlines()[0] if text else type(error).__name__}. Copy it again."


def _check_there(path: Path, what: str, advice: str = "") -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder. Name the file of {what} in it.")
    if not path.is_file():
        raise InputError(f"There is no file {path} of {what}. {advice}".rstrip())
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes). Copy or download it again.")


def _unwrapped(found: Any, path: Path, advice: str) -> dict[str, Tensor]:
    """The weights among what a training script stored beside them."""
    if isinstance(found, Mapping):
        if weights := _only_tensors(found):
            return weights
        inside = {str(k): w for k, v in found.items() if isinstance(v, Mapping) and (w := _only_tensors(v))}
        named = [name for name in _WRAPPERS if name in inside] or list(inside)
        if named:
            return inside[named[0]]
    raise InputError(
        f"{path} holds no dictionary of tensors by name, but a {type(found).__name__}. Save the net's: "
        f"torch.save(net.state_dict(), FILE). {advice}".rstrip()
    )


def _only_tensors(found: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The dictionary, if there is nothing but tensors in it (and nothing at all, else)."""
    weights = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
    return weights if len(weights) == sum(not str(k).endswith("_extra_state") for k in found) else {}


def _without_prefix(found: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the net's own names: without what wrappers put before all of them."""
    while not found.keys() & wanted.keys():
        prefixes = {name.partition(".")[0] + "." for name in found}
        if len(prefixes) != 1 or not all("." in name for name in found):
            break
        found = {name.partition(".")[2]: weight for name, weight in found.items()}
    return found


def read_labels(file: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names in the order of the outputs: a text file, one a line, or JSON.

    JSON is a list of names, or a dictionary from index to name (`{"0": "cat"}`) or to several, the last of which is the
    name (`{"0": ["n02123045", "tabby"]}`, as ImageNet's list is often passed on).

    Errors: `InputError` for other files, and for dictionaries that leave an index out.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "labels.txt").write_text("cat\\ndog\\n")
    ...     read_labels(f"{folder}/labels.txt")
    ('cat', 'dog')
    """
    path = Path(file).expanduser()
    _check_there(path, "class names")
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as class names: {error}. Give a text file, one name a line.") from None
    if isinstance(found, dict):
        if sorted(found) != sorted(map(str, range(len(found)))):
            raise InputError(
                f'{path}: its keys are not the indices "0" to "{len(found) - 1}" of the outputs, each once.'
            )
        found = [found[str(k)] for k in range(len(found))]
    if not isinstance(found, list) or not found:
        raise InputError(f"{path} holds no class names. Give a text file, one name a line, or a JSON list.")
    names: list[Any] = [entry[-1] if isinstance(entry, list) and entry else entry for entry in found]
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: class names are text; {names[0]!r} is not. Give a text file, one name a line.")
    while len(names) > 1 and not names[-1].strip():
        names.pop()
    return tuple(name.strip() for name in names)


def read_nicknames(file: str | os.PathLike[str]) -> dict[str, dict[int, str]]:
    """Names for single units by place and index, from JSON: `{"inception_3a": {"52": "glare", "31": "red"}}`.

    Errors: `InputError` for other files.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "names.json").write_text('{"conv1": {"3": "edges"}}')
    ...     read_nicknames(f"{folder}/names.json")
    {'conv1': {3: 'edges'}}
    """
    path = Path(file).expanduser()
    _check_there(path, "nicknames")
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        return {str(place): {int(k): str(name) for k, name in units.items()} for place, units in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f'{path} cannot be read as nicknames: {error}. Write JSON: {{"inception_3a": {{"52": "glare"}}}}.'
        ) from None
