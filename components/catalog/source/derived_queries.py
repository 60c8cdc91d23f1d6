"""Queries made from a catalogue's own attributes, where shoppers' are missing or too few to learn from.

"White shirts for men" is asked once per split and combination of values that occurs there; every product of
that type and split is judged by comparing tables. Such queries flatter every system that reads the table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from string import Formatter
from typing import NamedTuple

from components.catalog.format.records import Qrel, Query
from components.catalog.source.mapping import DerivedQueries

EXACT, NEAR = 3, 1  # relevance where everything is as asked, and where one of several attributes is not


class Described(NamedTuple):
    """What a product's table says of it."""

    product_id: str
    split: str
    product_type: str
    attributes: dict[str, str]


def attributes_asked(template: str) -> tuple[str, ...]:
    """Attributes that a template names, in its order."""
    names = (name for _, name, _, _ in Formatter().parse(template) if name)
    return tuple(dict.fromkeys(name for name in names if name != "product_type"))


def derived_queries(
    products: Iterable[Described], rule: DerivedQueries
) -> Iterator[tuple[Query, list[Qrel]]]:
    """Yield each query with its judgements, a pure function of the products.

    Capitals make no difference: "Navy" and "navy" are one value. A product is judged 3 where type and every
    asked attribute agree, and 1 where one of at least two does not.
    Takes memory for the tables of all products, and time by the square of a type's products.
    """
    by_type: defaultdict[tuple[str, str], list[Described]] = defaultdict(list)
    for product in products:
        if product.split in rule.splits:
            by_type[product.split, product.product_type.casefold()].append(product)
    for number, template in enumerate(rule.templates):
        names = attributes_asked(template)
        for (split, _), members in sorted(by_type.items()):
            held = [(p, tuple(p.attributes.get(name, "").casefold() for name in names)) for p in members]
            first = {values: p for p, values in reversed(held) if all(values)}
            for asked in sorted(first):
                shown = {name: first[asked].attributes[name] for name in names}
                text = template.format(product_type=first[asked].product_type, **shown).lower()
                query_id = "-".join((rule.kind, split, str(number), text.replace(" ", "_")))
                query = Query(query_id=query_id, text=text, kind=rule.kind, split=split)
                yield query, [*_judged(query_id, asked, held)]


def _judged(
    query_id: str, asked: tuple[str, ...], held: Iterable[tuple[Described, tuple[str, ...]]]
) -> Iterator[Qrel]:
    for product, values in held:
        wrong = sum(a != b for a, b in zip(asked, values, strict=True))
        if wrong == 0 or (wrong == 1 and len(asked) > 1):
            yield Qrel(query_id=query_id, product_id=product.product_id, relevance=NEAR if wrong else EXACT)
