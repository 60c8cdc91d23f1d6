"""Text to tokens: the tokenizer that a text tower was made with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from components.encoder.model.errors import EncoderConfigurationError, ModelFileError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Tokens = npt.NDArray[np.int64]
CLEANERS = ("whitespace", "lower", "canonicalize")  # open_clip's; what a tokenizer was made with


class TextTokenizer(Protocol):
    """Texts to rows of token ids of one length."""

    context_length: int

    @property
    def vocabulary_size(self) -> int:
        """Ids are below it."""

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokens ``[len(texts), context_length]``, padded; a longer text is cut."""

    def lengths(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """Tokens of each row that are no padding, ``[N]``; at least one."""

    def with_context(self, context_length: int) -> TextTokenizer:
        """The same for texts of another length."""

    def to_json(self) -> str:
        """The tokenizer as one JSON document."""


class ClipTokenizer:
    """The BPE of OpenAI's CLIP, as open_clip ships it."""

    def __init__(self, context_length: int) -> None:
        import open_clip

        self.context_length = context_length
        self._tokenizer = open_clip.SimpleTokenizer(context_length=context_length)

    @property
    def vocabulary_size(self) -> int:
        """Ids are below it."""
        return int(self._tokenizer.vocab_size)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokens ``[len(texts), context_length]``, zero-padded; the end token has the highest id."""
        tokens: Tokens = self._tokenizer(list(texts)).numpy()
        return tokens

    def lengths(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """Up to the end token."""
        found: npt.NDArray[np.int64] = tokens.argmax(axis=1) + 1
        return found

    def with_context(self, context_length: int) -> ClipTokenizer:
        """The same for texts of another length."""
        return ClipTokenizer(context_length)

    def to_json(self) -> str:
        """The tokenizer as one JSON document."""
        return json.dumps({"kind": "clip", "context_length": self.context_length})


class FastTokenizer:
    """A tokenizer of Hugging Face's ``tokenizers``.

    Args:
        tokenizer: with its own special tokens. padding: id that fills up a row.
        cleaner: what open_clip does to a text before: ``whitespace``, ``lower`` or ``canonicalize``.
    """

    def __init__(self, tokenizer: Tokenizer, context_length: int, padding: int, cleaner: str) -> None:
        from open_clip.tokenizer import get_clean_fn

        if cleaner not in CLEANERS:
            raise EncoderConfigurationError(
                f"A tokenizer may clean by {', '.join(CLEANERS)}, not '{cleaner}'."
            )
        self.context_length, self.padding, self._cleaner = context_length, padding, cleaner
        self._clean = get_clean_fn(cleaner)
        self._tokenizer = tokenizer
        tokenizer.enable_truncation(context_length)
        tokenizer.no_padding()

    @property
    def vocabulary_size(self) -> int:
        """Ids are below it."""
        return int(self._tokenizer.get_vocab_size())

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokens ``[len(texts), context_length]``, padded; a longer text is cut."""
        out = np.full((len(texts), self.context_length), self.padding, dtype=np.int64)
        cleaned = [self._clean(text) for text in texts]
        for row, encoding in zip(out, self._tokenizer.encode_batch(cleaned), strict=True):
            row[: len(encoding.ids)] = encoding.ids
        return out

    def lengths(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """Up to the last token that is no padding."""
        real = tokens != self.padding
        found: npt.NDArray[np.int64] = tokens.shape[1] - real[:, ::-1].argmax(axis=1)
        return np.where(real.any(axis=1), found, 1)

    def with_context(self, context_length: int) -> FastTokenizer:
        """The same for texts of another length."""
        from tokenizers import Tokenizer

        same = Tokenizer.from_str(self._tokenizer.to_str())
        return FastTokenizer(same, context_length, self.padding, self._cleaner)

    def to_json(self) -> str:
        """The tokenizer as one JSON document."""
        return json.dumps(
            {
                "kind": "fast",
                "context_length": self.context_length,
                "padding": self.padding,
                "cleaner": self._cleaner,
                "tokenizer": json.loads(self._tokenizer.to_str()),
            }
        )


def folder_tokenizer(folder: Path, context_length: int) -> FastTokenizer:
    """The tokenizer of a Hugging Face folder: ``tokenizer.json``, ``tokenizer_config.json``.

    Raises:
        EncoderConfigurationError: a file is missing or damaged, or no padding token is named.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        token = settings["pad_token"]
        padding = tokenizer.token_to_id(token["content"] if isinstance(token, dict) else token)
    except Exception as error:  # the Rust library raises plain Exception
        raise EncoderConfigurationError(
            f"{folder} holds no usable tokenizer.json and tokenizer_config.json with a pad_token: {error!r}."
        ) from None
    if padding is None:
        raise EncoderConfigurationError(f"{folder}/tokenizer_config.json names a pad_token that is no token.")
    return FastTokenizer(tokenizer, context_length, int(padding), "whitespace")


def open_clip_tokenizer(architecture: str, context_length: int | None = None) -> TextTokenizer:
    """The tokenizer of an open_clip architecture.

    Raises:
        EncoderConfigurationError: it cannot be had, or has no fast form.
    """
    import open_clip

    try:
        found = open_clip.get_tokenizer(architecture)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EncoderConfigurationError(
            f"The tokenizer of {architecture} cannot be had; its folder needs a tokenizer.json. ({reason})"
        ) from None
    length = context_length or int(found.context_length)
    if isinstance(found, open_clip.SimpleTokenizer):
        return ClipTokenizer(length)
    inner = found.tokenizer
    if found.strip_sep_token or found.tokenizer_mode:
        raise EncoderConfigurationError(
            f"The tokenizer of {architecture} works in a mode that is not supported (strip_sep_token, clips)."
        )
    backend = getattr(inner, "backend_tokenizer", None)
    if backend is None:
        raise EncoderConfigurationError(
            f"The tokenizer of {architecture} has no fast form (tokenizer.json); save one with it."
        )
    names = {getattr(open_clip.tokenizer, f"_clean_{name}"): name for name in CLEANERS}
    return FastTokenizer(backend, length, int(inner.pad_token_id), names.get(found.clean_fn, "whitespace"))


def read_tokenizer(path: Path) -> TextTokenizer:
    """Read ``tokenizer.json`` of a model folder.

    Raises:
        ModelFileError: the file is missing, cut, or of an unknown kind.
    """
    from tokenizers import Tokenizer

    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if loaded["kind"] == "clip":
            return ClipTokenizer(loaded["context_length"])
        if loaded["kind"] == "fast":
            tokenizer = Tokenizer.from_str(json.dumps(loaded["tokenizer"]))
            return FastTokenizer(tokenizer, loaded["context_length"], loaded["padding"], loaded["cleaner"])
    except Exception as error:  # the Rust library raises plain Exception
        raise ModelFileError(
            f"{path} cannot be read as a tokenizer ({error}); train or pull the model again."
        ) from None
    raise ModelFileError(f"{path} holds a tokenizer of unknown kind '{loaded['kind']}'.")
