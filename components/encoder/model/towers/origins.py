"""Where an encoder's first weights come from, for whoever gets the model: licences, what they have seen."""

from __future__ import annotations

from pathlib import Path

from components.encoder.model.params import ModelParams, PretrainedEncoder, Weights
from components.encoder.model.towers.weights import weights_file
from components.stage.resume import sha256_file

Origins = dict[str, dict[str, str]]
UNKNOWN = "not stated"


def origins_of(model: ModelParams) -> Origins:
    """Part of the encoder to facts about its weights: name, source, licence, what they were trained on."""
    if model.pretrained is not None:
        return {"dual encoder": _of_dual(model.pretrained)}
    text = None if model.text.random else model.text.weights
    return {
        "image tower": {"architecture": model.image.architecture, **_of_weights(model.image.weights)},
        "text tower": _of_weights(text),
    }


def _of_dual(chosen: PretrainedEncoder) -> dict[str, str]:
    kind, _, where = chosen.architecture.partition(":")
    if kind == "local-dir":  # a path of this machine says nothing elsewhere
        architecture = f"folder {Path(where).name}"
        facts = _of_weights(None) if chosen.weights is None else _stated(None)
        return {"architecture": architecture, **facts}
    if isinstance(chosen.weights, Weights):
        return {"architecture": chosen.architecture, **_of_weights(chosen.weights)}
    if chosen.weights is None:
        return {"architecture": chosen.architecture, **_of_weights(None)}
    if chosen.of_a_file:
        return {"architecture": chosen.architecture, **_of_weights(Weights(path=chosen.weights))}
    return {"architecture": chosen.architecture, "source": f"open_clip {chosen.weights}", **_stated(None)}


def _of_weights(weights: Weights | None) -> dict[str, str]:
    if weights is None:
        return {"source": "random"}
    source = f"package {weights.package}" if weights.package else f"file {Path(weights.path).name}"
    sha256 = weights.sha256 or sha256_file(weights_file(weights))
    return {"source": source, "sha256": sha256, **_stated(weights)}


def _stated(weights: Weights | None) -> dict[str, str]:
    licence, seen = (weights.licence, weights.trained_on) if weights is not None else (None, None)
    return {"licence": licence or UNKNOWN, "trained on": seen or UNKNOWN}
