"""A listing model on disk: safetensors, JSON, tokenizer files and nothing else.

One that reads crops holds a folder more: the dense head that finds them on the maps of its own tower.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging

from components.opal.model.errors import ListingModelFileError
from components.opal.model.language.listing_model import (
    ListingModel,
    context_length,
    offline_if_local,
    plain_attention,
)
from components.opal.model.language.vision_tower import register_tower
from components.opal.model.params import Note
from components.stage.errors import ConfigurationError
from components.stage.files.model_files import (
    check_files,
    check_loaded,
    check_weights,
    read_json,
    write_checksums,
)
from components.stage.left_out import reason_in
from components.stage.params import validate

if TYPE_CHECKING:
    from components.opal.model.certainty.certainty import Certainty

FORMAT = 1
NOTE = "listing.json"  # format, and how the model is asked
ALLOWED = (".safetensors", ".json", ".jinja", ".txt", ".md")
GROUNDER = "grounder"  # folder of the dense head
NEEDED = ("config.json", "processor_config.json", "tokenizer.json", NOTE)
SHARD_BYTES = "2GB"


def save_listing_model(
    model: ListingModel,
    note: dict[str, Any],
    folder: Path,
    certainty: Certainty | None = None,
    grounder: Path | None = None,
) -> None:
    """Write the model folder; ``folder`` must not exist. ``note`` becomes listing.json."""
    folder.mkdir(parents=True)
    quiet = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.model.save_pretrained(folder, max_shard_size=SHARD_BYTES)
        model.processor.save_pretrained(folder)
    finally:
        if quiet:
            logging.enable_progress_bar()
    text = json.dumps({"format": FORMAT, **note}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / NOTE).write_text(text, encoding="utf-8")
    _without_paths(folder / "config.json")
    if certainty is not None:
        certainty.save(folder)
    if grounder is not None:
        shutil.copytree(grounder, folder / GROUNDER)
    write_checksums(folder)
    check_listing_folder(folder)


def _without_paths(config: Path) -> None:
    """Where a model was loaded from is no part of what it is: equal models get equal files."""
    loaded = json.loads(config.read_text(encoding="utf-8"))
    for key in ("_name_or_path", "name_or_path"):
        loaded.pop(key, None)
    config.write_text(json.dumps(loaded, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def check_listing_folder(folder: Path) -> None:
    """Refuse a folder before anything in it is loaded.

    Raises:
        ListingModelFileError: it is missing; holds a file that is not allowed (pickles are code); lacks a
            file; a weight file is cut; a file is another than was saved.
    """
    if not folder.is_dir():
        raise ListingModelFileError(
            f"There is no model at {folder}; run 'vitrine run opal' or 'dvc pull {folder}'."
        )
    files = sorted(p for p in folder.rglob("*") if not p.is_dir())
    places = (folder, folder / GROUNDER)
    wrong = [p for p in files if p.suffix not in ALLOWED or p.parent not in places or p.is_symlink()]
    if wrong:
        names = ", ".join(str(p.relative_to(folder)) for p in wrong[:5])
        raise ListingModelFileError(
            f"{folder} holds {names}; only safetensors, JSON and tokenizer files are loaded: remove the rest."
        )
    present = {p.name for p in files if p.parent == folder}
    missing = [name for name in NEEDED if name not in present] + [
        name for name in _weight_files(folder, present) if name not in present
    ]
    if reason := reason_in(folder):
        raise ListingModelFileError(f"{folder} holds no model: it was left out. {reason}")
    if missing:
        raise ListingModelFileError(f"{folder} lacks {', '.join(missing)}; train or pull the model again.")
    for path in (p for p in files if p.suffix == ".safetensors"):
        try:
            with safe_open(path, framework="pt") as weights:
                weights.keys()
        except (SafetensorError, OSError) as error:
            raise ListingModelFileError(
                f"{path} is cut or damaged ({error}); train or pull the model again."
            ) from None
    try:
        for place in filter(Path.is_dir, places):
            check_files(place)
    except (OSError, ValueError) as error:
        raise ListingModelFileError(f"{folder} is damaged: {error}; train or pull the model again.") from None


def _weight_files(folder: Path, present: set[str]) -> list[str]:
    """Names of the weight files that the folder must hold, one or several with an index."""
    index = "model.safetensors.index.json"
    if index not in present:
        return ["model.safetensors"]
    try:
        return sorted(set(read_json(folder / index)["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ListingModelFileError(f"{folder / index} cannot be read ({error}).") from None


def read_note(folder: Path) -> dict[str, Any]:
    """``listing.json``: the prompt, the picture size, the base.

    Raises:
        ListingModelFileError: unreadable, of another format, or a key is missing or cannot be used.
    """
    try:
        note = read_json(folder / NOTE)
    except (OSError, ValueError) as error:
        raise ListingModelFileError(f"{folder / NOTE} cannot be read: {error}.") from None
    if note.get("format") != FORMAT:
        raise ListingModelFileError(
            f"{folder / NOTE} has format {str(note.get('format'))[:80]}; this version reads {FORMAT}."
        )
    try:
        validate(Note, {key: value for key, value in note.items() if key != "format"}, str(folder / NOTE))
    except ConfigurationError as error:
        raise ListingModelFileError(f"{error} Train or pull the model again.") from None
    return note


def load_listing_model(folder: Path) -> ListingModel:
    """Read a model folder, in evaluation mode.

    Raises:
        ListingModelFileError: as ``check_listing_folder``, and when files do not fit each other.
    """
    check_listing_folder(folder)
    read_note(folder)
    offline_if_local(str(folder))
    register_tower()
    logging.disable_progress_bar()
    try:
        # A config.json may name code elsewhere: it is neither fetched nor asked about.
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder, use_safetensors=True, dtype="auto", output_loading_info=True, **options
        )
        check_loaded(report)
        check_weights(model.state_dict().items())
        processor = AutoProcessor.from_pretrained(folder, **options)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
        raise ListingModelFileError(
            f"{folder} cannot be loaded ({' '.join(str(error).split())[:300]}); train or pull it again."
        ) from None
    if model.dtype == torch.float32:
        model = model.float()
    plain_attention(model)
    return ListingModel(model.eval(), processor, context_length(model))
