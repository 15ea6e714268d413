"""The tokenizers of transformers' nets, and how long a text may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from influent.text import TextTransform

_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
_ENDLESS = 1_000_000  # what a tokenizer's limit is where there is none


def text_transform(transformers: Any, name: str, module: nn.Module) -> TextTransform | None:
    """How a net of transformers reads texts; None where no tokenizer is at hand."""
    folder = Path(name).expanduser()
    if folder.is_dir() and not any((folder / file).is_file() for file in _FILES):
        return None
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except Exception:  # transformers raises what its many parts raise; a net for pictures has none
        return None
    config: Any = module.config
    writes = bool(getattr(config, "is_encoder_decoder", False))
    start = getattr(config, "decoder_start_token_id", None)
    return TextTransform(tokenizer, limit=_limit(tokenizer, config, folder), start=start if writes else None)


def _limit(tokenizer: Any, config: Any, folder: Path) -> int | None:
    """The least of what the tokenizer, the net's table of positions and sentence-transformers say."""
    found = [tokenizer.model_max_length] if tokenizer.model_max_length < _ENDLESS else []
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if positions:
        # RoBERTa's positions begin behind that of padding.
        offset = config.pad_token_id + 1 if "roberta" in str(getattr(config, "model_type", "")) else 0
        found.append(positions - offset)
    sentences = folder / "sentence_bert_config.json"
    if sentences.is_file():
        length = json.loads(sentences.read_text(encoding="utf-8")).get("max_seq_length")
        found += [length] if length else []
    return min(found, default=None)
