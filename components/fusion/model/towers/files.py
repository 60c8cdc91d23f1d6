"""Aligned towers on disk: an encoder folder, and beside it the word path where there is one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import LoadedEncoder, load_encoder, save_encoder
from components.fusion.model.errors import TowerFileError
from components.fusion.model.towers.word_path import TwoPathEncoder, WordPath, two_paths
from components.stage.resume import sha256_file

ENCODER, WORDS = "encoder", "words.safetensors"


def save_towers(towers: LoadedEncoder, folder: Path) -> None:
    """Write the folder; ``folder`` must not exist."""
    encoder = towers.encoder
    plain = Encoder(encoder.clip, encoder.image_px, encoder.mean, encoder.std)
    plain.patches = encoder.patches
    folder.mkdir(parents=True)
    save_encoder(plain, towers.tokenizer, towers.vision, folder / ENCODER)
    words = encoder.words if isinstance(encoder, TwoPathEncoder) else None
    if words is not None:
        state = {name: value.detach().cpu().contiguous() for name, value in words.state_dict().items()}
        save_file(state, folder / WORDS)


def load_towers(folder: Path) -> LoadedEncoder:
    """Read aligned towers, in evaluation mode; a plain encoder folder is towers without a word path.

    Raises:
        ModelFileError: the encoder folder is missing, damaged, or holds what it must not.
        TowerFileError: the same of the word path.
    """
    if not (folder / ENCODER).is_dir():
        return load_encoder(folder)
    if wrong := sorted({path.name for path in folder.iterdir()} - {ENCODER, WORDS}):
        raise TowerFileError(f"{folder} may hold {ENCODER} and {WORDS} alone, not {', '.join(wrong)}.")
    loaded = load_encoder(folder / ENCODER)
    words, sha256 = None, loaded.model_sha256
    if (folder / WORDS).exists():
        words = _words(folder / WORDS, loaded)
        sha256 = hashlib.sha256(f"{sha256} {sha256_file(folder / WORDS)}".encode()).hexdigest()
    return replace(loaded, encoder=two_paths(loaded.encoder, words).eval(), model_sha256=sha256)


def _words(file: Path, loaded: LoadedEncoder) -> WordPath:
    words = WordPath(loaded.tokenizer.vocabulary_size, loaded.encoder.embed_dim, 1.0, 0)
    try:
        words.load_state_dict(load_file(file))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TowerFileError(
            f"{file} cannot be loaded ({' '.join(str(error).split())[:200]}); run its alignment stage again."
        ) from None
    if not all(torch.isfinite(value).all() for value in words.state_dict().values()):
        raise TowerFileError(f"{file} holds values that are not finite; run its alignment stage again.")
    return words
