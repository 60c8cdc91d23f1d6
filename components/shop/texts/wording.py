"""The words of ``wording.yaml``: shoppers say what they see in words of their own, unlike those of listings.

Each value that is seen has phrases that every split's queries use, and one that only test queries use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.stage.params import read_yaml

_WORDS: dict[str, Any] = read_yaml(Path(__file__).with_name("wording.yaml"))
SELLERS: dict[str, Any] = _WORDS["sellers"]  # nouns, prints, parts, whole_values, units, praise
NOUNS: dict[str, str] = _WORDS["shoppers"]["nouns"]
HUES: dict[str, str] = _WORDS["shoppers"]["hues"]
# attribute -> value -> phrase of all splits, phrase of test queries only
SEEN: dict[str, dict[str, list[str]]] = _WORDS["shoppers"]["seen"]
ACCENTS: list[str] = _WORDS["shoppers"]["accents"]
TEMPLATES: dict[str, list[str]] = _WORDS["shoppers"]["templates"]
