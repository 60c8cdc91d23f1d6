"""The smallest towers: a BERT of one layer whose words are the tests' own, and timm's ``test_resnet``."""

from __future__ import annotations

import atexit
import json
import re
import shutil
import string
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

WORDS = (
    "red green blue white crimson teal indigo amber square bar mug lamp kettle ladle shape number",
    "made to last in of the with beside home shapes round wide narrow thing maker",
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def write_text_tower(
    folder: Path, texts: Sequence[str], *, width: int = 32, layers: int = 1, longest: int = 64
) -> Path:
    """A Hugging Face folder with a random BERT and a WordPiece tokenizer of the words of ``texts``.

    Words that are not among them are spelled by their letters.
    """
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    vocabulary = write_tokenizer(folder, texts)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=longest,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(config, add_pooling_layer=False)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


def write_tokenizer(folder: Path, texts: Sequence[str]) -> int:
    """``tokenizer.json`` and ``tokenizer_config.json``; gives the number of tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = sorted({w for text in texts for w in re.findall(r"\w+", text.lower()) if len(w) > 1})
    letters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words]
    places = {token: at for at, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(places, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, places[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    settings |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(tokens)


@cache
def text_tower() -> Path:
    """A text tower that all tests of this process share; it knows :data:`WORDS` and goes with the process."""
    folder = tempfile.mkdtemp(prefix="tiny-text-tower-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return write_text_tower(Path(folder), WORDS)


def model_block(
    embed_dim: int = 16, context_length: int = 12, text: Path | None = None, image: str = "test_resnet"
) -> dict[str, Any]:
    """Block ``encoder.model``: the towers, frozen at random weights, with small heads."""
    return {
        "image": {"architecture": image, "weights": None},
        "text": {"weights": {"path": str(text or text_tower())}, "context_length": context_length},
        "heads": {"hidden": 64, "dropout": 0.1, "colours": True},
        "embed_dim": embed_dim,
    }
