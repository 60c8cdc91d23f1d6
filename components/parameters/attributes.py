"""Names of attributes in params.yaml, held against the catalogue of the workspace."""

from __future__ import annotations

import json
from pathlib import Path

from components.stage.attribute_names import unknown_attributes
from components.stage.params import PARAMS_FILE, read_yaml
from components.stage.paths import Paths


def unknown_in_workspace(root: Path) -> list[str]:
    """Sentences about attributes that the parameters name and the checked catalogue has not.

    Empty where there is no checked catalogue yet, or one that cannot be read: its stages say so themselves.
    """
    try:
        schema = json.loads((root / Paths().catalogue / "schema.json").read_text(encoding="utf-8"))
        known = {name for category in schema["categories"].values() for name in category["attributes"]}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return []
    return list(unknown_attributes(read_yaml(root / PARAMS_FILE), known))
