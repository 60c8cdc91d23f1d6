"""What goes into a model and what comes out, as MLflow's signature; nothing of the model is loaded.

MLflow reads a signature from the file ``MLmodel``. Ours names the weights as a flavor of its own,
``safetensors``: no library of MLflow's loads them, and nothing in it is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = "MLmodel"
FLAVOR = "safetensors"


def vector_size(config: Mapping[str, Any]) -> int:
    """Numbers of the vectors that a model of this ``config.json`` makes; -1 where it does not say."""
    towers = config.get("architecture") or {}
    found = (
        config.get("dimension"),
        (towers.get("heads") or {}).get("embed_dim"),  # behind the towers, where there are heads
        towers.get("embed_dim"),
    )
    return next((size for size in found if isinstance(size, int)), -1)


def signature_of(system: str, name: str, config: Mapping[str, Any]) -> Any | None:
    """The signature of a system's model; None for one that is not known.

    Args:
        system: first folder below ``models``. name: last one. config: its ``config.json``.
    """
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import DataType
    from mlflow.types.schema import Array, ColSpec, Map, Schema, TensorSpec

    picture, text = ColSpec("binary", "image"), ColSpec("string", "text")
    either = [ColSpec("binary", "image", required=False), ColSpec("string", "text", required=False)]
    vector = TensorSpec(np.dtype("float32"), (-1, vector_size(config)), "vector")
    kind = name if name in ("align_text", "align_image") else system
    known: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {
        "encoder": (either, [vector]),
        "vlclip": (either, [vector]),
        "align_text": ([text], [vector]),
        "align_image": (either, [vector]),
        "fusion": (either, [vector]),
        "grounder": (
            [picture, ColSpec("string", "product_type")],
            [ColSpec(Array(DataType.double), "box"), ColSpec("double", "score")],
        ),
        "listing": (
            [picture, ColSpec("string", "category")],
            [ColSpec("string", "title"), ColSpec(Map(DataType.string), "attributes")],
        ),
    }
    if kind not in known:
        return None
    inputs, outputs = known[kind]
    return ModelSignature(inputs=Schema(list(inputs)), outputs=Schema(list(outputs)))


def write_signature(folder: Path, place: tuple[str, str], model: Any, weights: Sequence[str]) -> None:
    """Write ``MLmodel`` into ``folder``, beside the ``config.json`` that lies there or below it.

    Args:
        place: system and name, as in ``signature_of``. model: MLflow's LoggedModel.
    """
    from mlflow.models import Model

    found = signature_of(*place, _config(folder))
    if found is None:
        return
    made = Model(run_id=model.source_run_id, signature=found, model_uuid=None, model_id=model.model_id)
    made.add_flavor(FLAVOR, files=list(weights))
    made.save(str(folder / FILE))


def _config(folder: Path) -> dict[str, Any]:
    """The nearest ``config.json``: {} where there is none, or none that can be read."""
    for path in sorted(folder.rglob("config.json"), key=lambda path: len(path.parts)):
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(loaded, dict):
            return loaded
    return {}
