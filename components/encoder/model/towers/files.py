"""A model on disk: what it is as JSON, its weights by part, its tokenizer, and nothing else.

A frozen tower is a file of its own, so models that share it share its bytes in every content-addressed store.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file

from components.encoder.model.errors import EncoderConfigurationError, ModelFileError
from components.encoder.model.towers.architecture import Architecture, HeadSizes
from components.encoder.model.towers.dual_encoder import Encoder, Preprocessing
from components.encoder.model.towers.tokenizer import TextTokenizer, read_tokenizer
from components.stage.files.model_files import (
    CHECKSUMS,
    check_files,
    check_weights,
    read_json,
    write_checksums,
)
from components.stage.resume import sha256_file

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
PARTS = {"image": "image.safetensors", "text": "text.safetensors", "heads": "heads.safetensors"}
FILES = (CONFIG, TOKENIZER, *PARTS.values())
FORMAT = 3
ALL_PICTURES = "all_pictures"  # of config.json, where it is true
MOST_PX = 4096  # side of a picture that an encoder may ask for


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder ready to use, and the hashes that identify what it computes.

    Attributes:
        image_sha256: of all that decides a picture's features. text_sha256: of all that decides a text's.
        model_sha256: of all weights, and of whether products' vectors are of all their pictures.
        preprocessing_sha256: of picture size and normalisation.
    """

    encoder: Encoder
    tokenizer: TextTokenizer
    image_sha256: str
    text_sha256: str
    model_sha256: str
    preprocessing_sha256: str


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def save_encoder(encoder: Encoder, tokenizer: TextTokenizer, folder: Path) -> None:
    """Write the folder; it may exist and must be empty."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "format": FORMAT,
        "architecture": asdict(encoder.architecture),
        "preprocessing": encoder.preprocessing._asdict(),
        "origins": encoder.origins,
    }
    if encoder.all_pictures:
        config[ALL_PICTURES] = True
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
    (folder / TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
    state = encoder.state_dict()
    for part, names in encoder.parts().items():
        save_file({name: state[name].cpu().contiguous() for name in names}, folder / PARTS[part])
    write_checksums(folder)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelFileError(
            f"There is no model at {folder}; run 'vitrine run encoder' or 'dvc pull {folder}'."
        )
    names = {p.name for p in folder.iterdir()} - {CHECKSUMS}  # which folders of earlier versions lack
    if names != set(FILES):
        wrong = ", ".join(sorted(names ^ set(FILES)))
        raise ModelFileError(f"{folder} must hold exactly {', '.join(FILES)}; differs in: {wrong}.")


def load_encoder(folder: Path) -> LoadedEncoder:
    """Read a model folder, in evaluation mode.

    Raises:
        ModelFileError: a file is missing, not allowed, cut, or does not fit the others.
    """
    _check_folder(folder)
    try:
        config = read_json(folder / CONFIG)
        if config["format"] != FORMAT:
            raise ModelFileError(
                f"{folder}/{CONFIG} has format {config['format']}; this version reads {FORMAT}: "
                "train the model again."
            )
        check_files(folder)
        encoder = _built(config)
        state = {k: v for file in PARTS.values() for k, v in load_file(folder / file).items()}
        check_weights(state.items())
        encoder.load_state_dict(state)
        encoder.origins = dict(config.get("origins", {}))
        encoder.all_pictures = bool(config.get(ALL_PICTURES, False))
    except EncoderConfigurationError as error:
        raise ModelFileError(f"{folder}/{CONFIG} cannot be used: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelFileError(f"{folder} cannot be loaded ({error}); train or pull the model again.") from None
    tokenizer = read_tokenizer(folder / TOKENIZER)
    if tokenizer.vocabulary_size > encoder.towers.vocab_size:
        raise ModelFileError(f"{folder}/{TOKENIZER} has more tokens than the text tower knows.")
    return _identified(encoder, tokenizer, {n: sha256_file(folder / f) for n, f in PARTS.items()})


def comparable_encoder(folder: Path, embeddings: Path) -> LoadedEncoder:
    """Read a model folder, for vectors of as many dimensions as an embeddings folder of it has.

    Raises:
        ModelFileError: see :func:`load_encoder`.
        EncoderConfigurationError: the encoder cannot give so many.
    """
    loaded, meta = load_encoder(folder), embeddings / "meta.json"
    if meta.is_file():  # whoever reads the vectors says that they are missing
        loaded.encoder.shorten(json.loads(meta.read_text(encoding="utf-8")).get("dimension"))
    return loaded


def model_sha256(folder: Path) -> str:
    """What :attr:`LoadedEncoder.model_sha256` is of the model in a folder, without loading it.

    Raises:
        ModelFileError: a file is missing, not allowed, or unreadable.
    """
    _check_folder(folder)
    try:
        config = read_json(folder / CONFIG)
        weights = {name: sha256_file(folder / file) for name, file in PARTS.items()}
        return _model_digest(weights, _described(config), bool(config.get(ALL_PICTURES, False)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{folder} cannot be read ({error}); train or pull the model again.") from None


def _model_digest(weights: dict[str, str], architecture: Architecture, all_pictures: bool) -> str:
    return _digest(weights, asdict(architecture), *([ALL_PICTURES] if all_pictures else []))


def in_memory(encoder: Encoder, tokenizer: TextTokenizer) -> LoadedEncoder:
    """An encoder that is on no disk yet, with the hashes that its folder would have."""
    weights = {part: part_sha256(encoder, part) for part in PARTS}
    return _identified(encoder, tokenizer, weights)


def _described(config: dict[str, Any]) -> Architecture:
    described = dict(config["architecture"])
    if described["heads"] is not None:
        described["heads"] = HeadSizes(**described["heads"])
    described["dimensions"] = tuple(described.get("dimensions", ()))
    return Architecture(**described)


def _built(config: dict[str, Any]) -> Encoder:
    seen = config["preprocessing"]
    if not 1 <= int(seen["image_px"]) <= MOST_PX:
        raise ValueError(f"image_px is {str(seen['image_px'])[:20]}, not 1 to {MOST_PX}")
    preprocessing = Preprocessing(int(seen["image_px"]), tuple(seen["mean"]), tuple(seen["std"]))
    return Encoder(_described(config), preprocessing)


def part_sha256(encoder: Encoder, part: str) -> str:
    """SHA-256 of the file that keeps the weights of a part: ``image``, ``text`` or ``heads``."""
    state, names = encoder.state_dict(), encoder.parts()[part]
    return hashlib.sha256(save({n: state[n].cpu().contiguous() for n in names})).hexdigest()


def image_sha256(encoder: Encoder, weights: str) -> str:
    """Of all that decides a picture's features; ``weights`` is the SHA-256 of the image tower's file."""
    architecture = encoder.architecture
    colours = architecture.heads is not None and architecture.heads.colours
    image = (architecture.vision, architecture.quick_gelu, architecture.heads is not None, colours)
    return _digest("image", weights, image, encoder.preprocessing._asdict())


def _identified(encoder: Encoder, tokenizer: TextTokenizer, weights: dict[str, str]) -> LoadedEncoder:
    architecture, preprocessing = encoder.architecture, encoder.preprocessing._asdict()
    text = (architecture.text, architecture.hugging_face, architecture.quick_gelu)
    return LoadedEncoder(
        encoder=encoder.to(memory_format=torch.channels_last).eval(),
        tokenizer=tokenizer,
        image_sha256=image_sha256(encoder, weights["image"]),
        text_sha256=_digest("text", weights["text"], text, tokenizer.to_json()),
        model_sha256=_model_digest(weights, architecture, encoder.all_pictures),
        preprocessing_sha256=_digest(preprocessing),
    )
