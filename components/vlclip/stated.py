"""Which attribute values of the schema a text states, in its own words."""

from __future__ import annotations

import re

from components.catalog.schema import CatalogSchema
from components.encoder.captions import attribute_phrase


class StatedFacts:
    """Finds a category's closed attribute values in texts.

    A value counts where its phrase (see ``attribute_phrase``: "blue", but "accent blue") stands as whole
    words. Longer phrases are looked for first and take their words with them: "accent blue" does not also say
    that the product is blue.
    """

    def __init__(self, schema: CatalogSchema) -> None:
        closed = schema.closed_attributes()
        self._meaning: dict[str, dict[str, list[tuple[str, str]]]] = {}
        self._pattern: dict[str, re.Pattern[str]] = {}
        for name, category in schema.categories.items():
            meaning: dict[str, list[tuple[str, str]]] = {}
            for attribute, values in category.attributes.items():
                for value in values.values if attribute in closed else ():
                    phrase = attribute_phrase(attribute, value, closed).casefold()
                    meaning.setdefault(phrase, []).append((attribute, value))
            longest_first = sorted(meaning, key=lambda p: (-len(p), p))
            self._meaning[name] = meaning
            self._pattern[name] = re.compile(
                r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)" if meaning else r"(?!)"
            )

    def of(self, text: str, category: str) -> list[dict[str, str]]:
        """``[{name, value}]`` in the order of the text, one value per attribute.

        A phrase that is a value of several attributes goes to the first of them that has none yet; an unknown
        category states nothing.
        """
        if category not in self._pattern:
            return []
        found: dict[str, str] = {}
        for match in self._pattern[category].finditer(text.casefold()):
            for attribute, value in self._meaning[category][match.group()]:
                if attribute not in found:
                    found[attribute] = value
                    break
        return [{"name": name, "value": value} for name, value in found.items()]
