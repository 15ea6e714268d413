"""Nets that make one vector of a text: an encoder, what is taken over its tokens, and the length put to 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from influent.errors import InputError

_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}


class SentenceEncoder(nn.Module):
    """An encoder's vectors `[point, token, channel]`, pooled over the tokens that are no padding, `[point, channel]`.

    `pooling` is "mean", "max" or "cls" (the first token's vector); `normalised` puts the length to 1.
    Source: Reimers & Gurevych 2019, section 3.
    """

    def __init__(self, inside: nn.Module, pooling: str = "mean", normalised: bool = True) -> None:
        super().__init__()
        self.inside, self.pooling, self.normalised = inside, pooling, normalised
        self.config: Any = inside.config

    def get_input_embeddings(self) -> Any:
        """The module that turns tokens into vectors."""
        inside: Any = self.inside
        return inside.get_input_embeddings()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        more = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        h = self.inside(input_ids=input_ids, attention_mask=attention_mask, **more).last_hidden_state
        mask = attention_mask[..., None].to(h)
        if self.pooling == "mean":
            made = (h * mask).sum(1) / mask.sum(1)
        else:
            made = h[:, 0] if self.pooling == "cls" else h.masked_fill(mask == 0, -torch.inf).amax(1)
        return nn.functional.normalize(made, dim=1) if self.normalised else made


def as_sentences(module: nn.Module, folder: Path) -> nn.Module:
    """The module, with what a folder of sentence-transformers says is done with its vectors; else as it is.

    Errors: `InputError` for a pooling that is not known.
    """
    if not (folder / "modules.json").is_file():
        return module
    steps = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    kinds = [str(step["type"]).rpartition(".")[2] for step in steps]
    place = next((step["path"] for step, kind in zip(steps, kinds, strict=True) if kind == "Pooling"), None)
    strange = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    config = json.loads((folder / place / "config.json").read_text(encoding="utf-8")) if place is not None else {}
    modes = [word for key, word in _POOLINGS.items() if config.get(key)]
    if strange or len(modes) != 1:
        raise InputError(
            f"{folder} makes vectors of texts by {', '.join(kinds)} with {modes or 'no'} pooling; known are one of "
            "mean, cls and max, and Normalize. Wrap the encoder in a module of your own, package.module:function."
        )
    return SentenceEncoder(module, modes[0], "Normalize" in kinds)
