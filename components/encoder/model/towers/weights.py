"""Weights made elsewhere: where they lie, whether they are the ones that were meant, and where they go."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.params import Weights
from components.stage.files.model_files import check_weights
from components.stage.resume import sha256_file

SAFETENSORS = "model.safetensors"
WRAPPERS = ("bert.", "roberta.", "distilbert.", "model.", "encoder.", "0.auto_model.")
NO_WEIGHT = ("position_ids", "num_batches_tracked")


def weights_path(weights: Weights) -> Path:
    """Where the weights lie.

    Raises:
        EncoderConfigurationError: the package is not installed, or the path does not exist.
    """
    if weights.package is None:
        path = Path(weights.path)
        if not path.exists():
            raise EncoderConfigurationError(f"There are no weights at {path}.")
        return path
    try:
        spec = importlib.util.find_spec(weights.package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise EncoderConfigurationError(
            f"The package {weights.package}, which brings a tower's weights, is not installed; install "
            "Vitrine with the extra 'towers' (make env does)."
        )
    path = Path(next(iter(spec.submodule_search_locations))) / weights.path
    if not path.exists():
        raise EncoderConfigurationError(f"The package {weights.package} holds no {weights.path}.")
    return path


def weights_file(weights: Weights) -> Path:
    """The file that holds the tensors: the path itself, or its folder's model.safetensors.

    Raises:
        EncoderConfigurationError: missing, or not the one of the checksum.
    """
    path = weights_path(weights)
    file = path / SAFETENSORS if path.is_dir() else path
    if not file.is_file():
        raise EncoderConfigurationError(
            f"{path} holds no {SAFETENSORS}; save the model with save_pretrained."
        )
    if weights.sha256 is not None and (found := sha256_file(file)) != weights.sha256:
        raise EncoderConfigurationError(
            f"{file} is not the file that was meant: its SHA-256 is {found}, not {weights.sha256}."
        )
    return file


def read_weights(weights: Weights) -> dict[str, Tensor]:
    """The tensors of a file, or of a folder's model.safetensors; no code in them is run.

    Raises:
        EncoderConfigurationError: missing, damaged, or not the ones of the checksum.
    """
    file = weights_file(weights)
    try:
        tensors = file.suffix == ".safetensors"
        state = load_file(file) if tensors else torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises whatever a damaged or foreign file makes it stumble on
        reason = " ".join(str(error).split())[:200]
        raise EncoderConfigurationError(f"{file} cannot be read as weights: {reason}") from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise EncoderConfigurationError(f"{file} holds more than tensors; save a plain state dict.")
    try:
        check_weights(state.items())
    except ValueError as error:
        raise EncoderConfigurationError(f"{file} cannot be used: {error}.") from None
    return dict(state)


def load_image_trunk(visual: nn.Module, architecture: str, weights: Weights) -> None:
    """Put weights into the trunk of open_clip's ``TimmModel``; its classifier is left out.

    Names are timm's, or, in a file whose checksum is known, another library's in timm's order. Positions of
    a transformer are resampled from its own picture size.

    Raises:
        EncoderConfigurationError: they belong to another architecture.
    """
    import timm

    state = read_weights(weights)
    whole = timm.create_model(architecture, num_classes=_classes(state))
    own, trunk = whole.state_dict(), visual.trunk.state_dict()
    if set(trunk) <= set(state):
        named = {name: state[name] for name in trunk}
    elif weights.sha256 and [v.shape for v in own.values()] == [v.shape for v in state.values()]:
        named = dict(zip(own, state.values(), strict=True))
    else:
        raise EncoderConfigurationError(
            f"The weights {weights.path} are of another architecture than {architecture}: "
            f"{_difference(trunk, state)}."
        )
    what = f"{weights.path} into {architecture}"
    _load(whole, named, what)
    if hasattr(whole, "set_input_size"):
        whole.set_input_size(visual.image_size)
    resized = whole.state_dict()
    _load(visual.trunk, {name: resized[name] for name in trunk}, what)


def _classes(state: Mapping[str, Tensor]) -> int:
    """How many classes the file's last layer tells apart."""
    last = list(state.values())[-1] if state else torch.zeros(0)
    return len(last) if last.ndim == 1 else 1000


def load_text_transformer(transformer: nn.Module, weights: Weights) -> None:
    """Put weights into a Hugging Face text transformer, whatever model class they were saved from.

    Raises:
        EncoderConfigurationError: they belong to another architecture.
    """
    own = transformer.state_dict()
    state = read_weights(weights)
    for prefix in WRAPPERS:
        if not set(own) <= set(state):
            state |= {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    found = {name: state[name] for name in own if name in state}
    missing = [n for n in own if n not in found and not n.endswith(NO_WEIGHT)]
    if missing:
        raise EncoderConfigurationError(
            f"The weights {weights.path} are of another text tower than their config.json: "
            f"{_difference(own, state)}."
        )
    _load(transformer, found, f"{weights.path} into its text tower")


def _load(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    try:
        module.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise EncoderConfigurationError(f"Weights do not fit: {what}: {reason}") from None


def _difference(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    missing = [name for name in own if name not in state]
    return f"{len(missing)} of {len(own)} tensors are missing, such as {', '.join(missing[:2]) or 'none'}"


def folder_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a Hugging Face folder.

    Raises:
        EncoderConfigurationError: missing or damaged.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderConfigurationError(f"{folder}/config.json cannot be read: {error}.") from None
    return described(config)


def described(config: Mapping[str, Any]) -> dict[str, Any]:
    """A Hugging Face configuration without where and how it was saved, which is no part of what it is."""
    return {k: v for k, v in config.items() if not k.startswith("_") and k != "transformers_version"}
