"""Text to tokens: a BPE learned from the shop's own captions, or the tokenizer of a pretrained CLIP."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from components.encoder.model.errors import ModelFileError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, UNKNOWN, START = "<pad>", "<unk>", "<start>"
Tokens = npt.NDArray[np.int64]


class CaptionTokenizer:
    """Lower-cased BPE with a start token first and the end token, the highest id, last.

    The end token must be the highest id: open_clip pools the text at ``tokens.argmax()``.
    """

    def __init__(self, tokenizer: Tokenizer, context_length: int) -> None:
        self._tokenizer = tokenizer
        self.context_length = context_length
        self.start = int(tokenizer.token_to_id(START) or 0)
        self.end = tokenizer.get_vocab_size()
        self.vocabulary_size = self.end + 1

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokens ``[len(texts), context_length]``, zero-padded; a longer text is cut before its end token."""
        out = np.zeros((len(texts), self.context_length), dtype=np.int64)
        for row, encoding in zip(out, self._tokenizer.encode_batch(list(texts)), strict=True):
            ids: list[int] = [self.start, *encoding.ids[: self.context_length - 2], self.end]
            row[: len(ids)] = ids
        return out

    def to_json(self) -> str:
        """The tokenizer as one JSON document."""
        return json.dumps(
            {
                "kind": "bpe",
                "context_length": self.context_length,
                "tokenizer": json.loads(self._tokenizer.to_str()),
            }
        )


class ClipTokenizer:
    """The BPE of OpenAI's CLIP, as open_clip ships it."""

    def __init__(self, context_length: int) -> None:
        import open_clip

        self.context_length = context_length
        self._tokenizer = open_clip.SimpleTokenizer(context_length=context_length)
        self.vocabulary_size = self._tokenizer.vocab_size

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokens ``[len(texts), context_length]``, zero-padded."""
        tokens: Tokens = self._tokenizer(list(texts)).numpy()
        return tokens

    def to_json(self) -> str:
        """The tokenizer as one JSON document."""
        return json.dumps({"kind": "clip", "context_length": self.context_length})


AnyTokenizer = CaptionTokenizer | ClipTokenizer


def learn_tokenizer(captions: Iterable[str], vocabulary_size: int, context_length: int) -> CaptionTokenizer:
    """Learn a BPE from training captions only; ``vocabulary_size`` is an upper bound."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    # Word starts are marked in the text itself. With a subword prefix or suffix the trainer numbers its first
    # symbols in the order of a randomly seeded hash map: two runs would learn two vocabularies.
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - 1,
        special_tokens=[PAD, UNKNOWN, START],
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return CaptionTokenizer(tokenizer, context_length)


def read_tokenizer(path: Path) -> AnyTokenizer:
    """Read ``tokenizer.json`` of a model folder.

    Raises:
        ModelFileError: the file is missing, cut, or of an unknown kind.
    """
    from tokenizers import Tokenizer

    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if loaded["kind"] == "clip":
            return ClipTokenizer(loaded["context_length"])
        if loaded["kind"] == "bpe":
            return CaptionTokenizer(
                Tokenizer.from_str(json.dumps(loaded["tokenizer"])), loaded["context_length"]
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{path} cannot be read as a tokenizer ({error}); train or pull the model again."
        ) from None
    raise ModelFileError(f"{path} holds a tokenizer of unknown kind '{loaded['kind']}'.")
