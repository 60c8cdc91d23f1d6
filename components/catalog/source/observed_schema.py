"""The schema that a source without one shows: its categories, types, attributes and their values."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from components.catalog.format.attributes import Value, each, facts
from components.catalog.format.schema import Attribute, CatalogSchema, Category
from components.catalog.source.params import SourceParams

# Digits as people write quantities: no code with leading zeros, and no article number of ten digits and more.
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,6})?", re.ASCII)
FEW = 20  # values of a category that may all be different: too few products to tell
FLAGS = {"0", "1"}  # yes and no, not how many


class ObservedSchema:
    """Collect what products show; memory is bounded by ``enum_max_values`` per attribute.

    An attribute with more values than that in a category is free text there. So is one of ``FEW`` values or
    more that are more than ``enum_max_share`` of the products that state it: a list of weights that each
    occur once is no choice, and teaches nothing.

    Of each category the ``max_attributes`` that most products state are kept, of equals the first by name.

    Attributes:
        products: how many each category has.
    """

    def __init__(self, params: SourceParams) -> None:
        self.params = params
        self.products: Counter[str] = Counter()
        self._types: defaultdict[str, set[str]] = defaultdict(set)
        self._filled: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._values: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._most: Counter[tuple[str, str]] = Counter()  # values of one product
        self._bounds: dict[tuple[str, str], tuple[float, float] | None] = {}  # None: not numbers alone

    def add(self, category: str, product_type: str, attributes: Mapping[str, Value]) -> None:
        """Count one product."""
        self.products[category] += 1
        self._types[category].add(product_type)
        self._filled[category].update(attributes.keys())
        for name, value in attributes.items():
            self._most[category, name] = max(self._most[category, name], len(each(value)))
        for name, value in facts(attributes):
            values = self._values[category, name]
            if len(values) <= self.params.enum_max_values:  # one more than allowed tells a free string
                values.add(value)
            self._bounds[category, name] = self._widened(category, name, value)

    def _widened(self, category: str, name: str, value: str) -> tuple[float, float] | None:
        """The bounds of an attribute's numbers when ``value`` is one more of them."""
        if not NUMBER.fullmatch(value):
            return None
        number = float(value)
        bounds = self._bounds.get((category, name), (number, number))
        return bounds and (min(bounds[0], number), max(bounds[1], number))

    def schema(self) -> CatalogSchema:
        """What was seen: numbers alone make a number with their bounds, few values an enum, more a string.

        What every product has is required. What has several values in some product is multiple, and no
        number.

        Raises:
            pydantic.ValidationError: nothing was added.
        """
        return CatalogSchema(categories={name: self._category(name) for name in sorted(self.products)})

    def left_out(self) -> dict[str, list[str]]:
        """The attributes beyond ``max_attributes``, most frequent first, of each category that has such."""
        beyond = {name: self._ranked(name)[self.params.max_attributes :] for name in sorted(self.products)}
        return {category: names for category, names in beyond.items() if names}

    def free_texts(self) -> list[str]:
        """Names of the attributes that have more values than an enum may have, in any category."""
        most = self.params.enum_max_values
        return sorted({name for (_, name), held in self._values.items() if len(held) > most})

    def singular(self) -> dict[str, tuple[int, int]]:
        """Attributes whose values are nearly all different in a category: values there, and products."""
        found: dict[str, tuple[int, int]] = {}
        for (category, name), values in self._values.items():
            if self._singular(category, name) and len(values) > found.get(name, (0, 0))[0]:
                found[name] = len(values), self._filled[category][name]
        return dict(sorted(found.items()))

    def _singular(self, category: str, name: str) -> bool:
        count = len(self._values[category, name])
        numbers = self._bounds[category, name] and self._most[category, name] == 1
        own = count > self.params.enum_max_share * self._filled[category][name]
        return FEW <= count <= self.params.enum_max_values and own and not numbers

    def names(self) -> set[str]:
        """Every attribute that is kept in some category."""
        return {
            name
            for category in self.products
            for name in self._ranked(category)[: self.params.max_attributes]
        }

    def _ranked(self, category: str) -> list[str]:
        filled = self._filled[category]
        return sorted(filled, key=lambda name: (-filled[name], name))

    def _category(self, category: str) -> Category:
        names = sorted(self._ranked(category)[: self.params.max_attributes])
        return Category(
            product_types=tuple(sorted(self._types[category])),
            attributes={name: self._attribute(category, name) for name in names},
        )

    def _attribute(self, category: str, name: str) -> Attribute:
        values = self._values[category, name]
        required = self._filled[category][name] == self.products[category]
        bounds = self._bounds[category, name]
        most = self._most[category, name]
        several: dict[str, Any] = {"multiple": True, "max_values": most} if most > 1 else {}
        if bounds and not several and not values <= FLAGS:
            return Attribute(type="number", required=required, minimum=bounds[0], maximum=bounds[1])
        if len(values) > self.params.enum_max_values or self._singular(category, name):
            return Attribute(type="string", required=required, **several)
        return Attribute(type="enum", values=tuple(sorted(values)), required=required, **several)
