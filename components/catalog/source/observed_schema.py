"""The schema that a source without one shows: its categories, types, attributes and their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from components.catalog.format.schema import Attribute, CatalogSchema, Category


class ObservedSchema:
    """Collect what products show; memory is bounded by ``enum_max_values`` per attribute."""

    def __init__(self, enum_max_values: int) -> None:
        self.enum_max_values = enum_max_values
        self._products: Counter[str] = Counter()
        self._types: dict[str, set[str]] = {}
        self._filled: dict[str, Counter[str]] = {}
        self._values: dict[tuple[str, str], set[str]] = {}

    def add(self, category: str, product_type: str, attributes: Mapping[str, str]) -> None:
        """Count one product."""
        self._products[category] += 1
        self._types.setdefault(category, set()).add(product_type)
        self._filled.setdefault(category, Counter()).update(attributes.keys())
        for name, value in attributes.items():
            values = self._values.setdefault((category, name), set())
            if len(values) <= self.enum_max_values:  # one more than allowed tells a free string
                values.add(value)

    def schema(self) -> CatalogSchema:
        """What was seen: few values make an enum, more a string; what every product has is required.

        Raises:
            pydantic.ValidationError: nothing was added.
        """
        return CatalogSchema(categories={name: self._category(name) for name in sorted(self._products)})

    def _category(self, category: str) -> Category:
        names = sorted(self._filled[category])
        return Category(
            product_types=tuple(sorted(self._types[category])),
            attributes={name: self._attribute(category, name) for name in names},
        )

    def _attribute(self, category: str, name: str) -> Attribute:
        values = self._values[category, name]
        required = self._filled[category][name] == self._products[category]
        if len(values) > self.enum_max_values:
            return Attribute(type="string", required=required)
        return Attribute(type="enum", values=tuple(sorted(values)), required=required)
