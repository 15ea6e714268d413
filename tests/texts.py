"""Small tokenizers and small random transformers for the tests on text: made here, nothing is fetched."""

from __future__ import annotations

import functools
import importlib.util
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import influent as inf

if importlib.util.find_spec("transformers") is None:
    pytest.skip('transformers is not installed: pip install "influent[test]"', allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what a peer's import warns of is not ours to mend
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

LINES = [
    "this is not good at all", "a good film, not a bad one", "Paris is in France", "Berlin is in Germany",
    "the capital of France is Paris", "isn't it fine?", "the plot of it is bad", "a fine film is it not",
]  # fmt: skip
SENTENCES = ["this is not good at all", "a fine film"]
FAMILY = "👩\u200d👩\u200d👧"


@functools.cache
def wordpiece(limit: int = 10**30) -> Any:
    """Whole words and their parts, [CLS] in front and [SEP] behind, as BERT has them."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = sorted(set(re.findall(r"\w+|[^\w\s]", " ".join(LINES).lower())))  # its trainer's order is not fixed
    parts = ["##s", "##ly", "##ing", "un", "##good", "e", "##\u0301"]
    made = Tokenizer(models.WordPiece({w: k for k, w in enumerate([*special, *known, *parts])}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    named = {f"{name[1:-1].lower()}_token": name for name in special}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=limit, model_input_names=["input_ids", "attention_mask"], **named
    )


@functools.cache
def byte_level(pad: bool = False) -> Any:
    """Bytes and what they are merged to, a space belonging to the word behind it, as GPT-2 has them; no mask."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), special_tokens=["<|end|>"],
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|end|>", model_input_names=["input_ids", "attention_mask"],
        **({"pad_token": "<|end|>"} if pad else {}),
    )  # fmt: skip


@functools.cache
def sentence_pieces() -> Any:
    """A text as one piece with ▁ for spaces, and bytes for what is not known, as Llama 2 has them."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never")  # merges end at spaces
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=[*named.values(), *(f"<0x{b:02X}>" for b in range(256))], show_progress=False
    )
    made.train_from_iterator(LINES, trainer)
    made.pre_tokenizer = None
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=["input_ids", "attention_mask"], **named)


WIDE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
RANDOM = {"initializer_range": 0.3, "max_position_embeddings": 40}
GROUPED = {**WIDE, **RANDOM, "num_key_value_heads": 2}


def _bert(vocab: int, **more: Any) -> nn.Module:
    config = transformers.BertConfig(vocab_size=vocab, pad_token_id=0, num_labels=3, **WIDE, **RANDOM, **more)
    return transformers.BertForSequenceClassification(config)


def _distilbert(vocab: int, **more: Any) -> nn.Module:
    config = transformers.DistilBertConfig(
        vocab_size=vocab, pad_token_id=0, num_labels=3, dim=16, n_layers=2, n_heads=4, hidden_dim=24, **RANDOM, **more
    )
    return transformers.DistilBertForSequenceClassification(config)


def _roberta(vocab: int, **more: Any) -> nn.Module:
    config = transformers.RobertaConfig(vocab_size=vocab, pad_token_id=0, num_labels=3, **WIDE, **RANDOM, **more)
    return transformers.RobertaForSequenceClassification(config)


def _gpt2(vocab: int, **more: Any) -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=vocab, n_embd=16, n_layer=2, n_head=4, n_inner=24, n_positions=40, initializer_range=0.3,
        bos_token_id=0, eos_token_id=0, **more,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def _decoder(kind: str) -> Callable[..., nn.Module]:
    def made(vocab: int, **more: Any) -> nn.Module:
        sized = {"head_dim": 4} if kind == "Qwen3" else {}
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=vocab, pad_token_id=0, bos_token_id=0, eos_token_id=0, **GROUPED, **sized, **more
        )
        return getattr(transformers, f"{kind}ForCausalLM")(config)

    return made


def _t5(vocab: int, **more: Any) -> nn.Module:
    config = transformers.T5Config(
        vocab_size=vocab, pad_token_id=0, d_model=16, d_kv=4, num_layers=2, num_heads=4, d_ff=24,
        decoder_start_token_id=0, initializer_factor=0.7, **more,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config)


def _marian(vocab: int, **more: Any) -> nn.Module:
    config = transformers.MarianConfig(
        vocab_size=vocab, pad_token_id=0, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=24, decoder_ffn_dim=24, decoder_start_token_id=0,
        max_position_embeddings=40, init_std=0.3, eos_token_id=3, forced_eos_token_id=None, **more,
    )  # fmt: skip
    return transformers.MarianMTModel(config)


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "BERT": _bert, "DistilBERT": _distilbert, "RoBERTa": _roberta, "GPT-2": _gpt2, "Llama": _decoder("Llama"),
    "Qwen2": _decoder("Qwen2"), "Qwen3": _decoder("Qwen3"), "T5": _t5, "Marian": _marian,
}  # fmt: skip
READERS, WRITERS = ("BERT", "DistilBERT", "RoBERTa"), ("T5", "Marian")


def _exact(module: nn.Module) -> None:
    """RMS norms that stay in double precision: x · w / √(mean x² + ε), where the library's convert to float32."""
    for norm in module.modules():
        if "RMS" in type(norm).__name__ or type(norm).__name__ == "T5LayerNorm":
            norm.forward = functools.partial(_rms, norm)


def _rms(norm: Any, x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt() * norm.weight


def net_of(name: str, dtype: torch.dtype = torch.float64, **more: Any) -> inf.Net:
    """A small random net of an architecture, the same in every run, in evaluation mode, with its tokenizer."""
    tokenizer = byte_level() if name == "GPT-2" else wordpiece()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a configuration that transformers would write otherwise
        torch.manual_seed(0)
        module = ARCHITECTURES[name](len(tokenizer), **more).to(dtype).eval()
    if dtype == torch.float64:
        _exact(module)
    start = 0 if name in WRITERS else None
    return inf.Net(module, transform=inf.TextTransform(tokenizer, limit=38, start=start))


def read(name: str, net: inf.Net, texts: Any = None) -> inf.Text:
    """Two texts of different length (or others), with an answer for nets that write."""
    texts = SENTENCES if texts is None else texts
    answers = ["the capital of", "a bad film"]
    if name not in WRITERS:
        return net.read(texts)
    return net.read(texts, answer=answers[: len(texts)] if isinstance(texts, list) else answers[0])


def behaviour(name: str) -> inf.Quantity:
    """What is asked of the net: a class of those that read, and the logit of a token of those that speak."""
    return inf.Class(1) if name in READERS else inf.Logit(7)
