"""Queries made from a catalogue's own attributes, where shoppers' are missing or too few to learn from.

"White shirts for men" is asked once per split and combination of values that occurs there; every product of
that type and split is judged by comparing tables. Such queries flatter every system that reads the table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

from components.catalog.format.attributes import Attributes, Value, each
from components.catalog.format.records import Qrel, Query
from components.catalog.source.mapping import DerivedQueries, names_in

Folded = dict[str, str]  # the values of an attribute in small letters, and as they are written
EXACT, NEAR = 3, 1  # relevance where everything is as asked, and where one of several attributes is not


class TableDescription(NamedTuple):
    """What a product's table says of it."""

    product_id: str
    split: str
    product_type: str
    attributes: Attributes


def derived_queries(
    products: Iterable[TableDescription], rule: DerivedQueries
) -> Iterator[tuple[Query, list[Qrel]]]:
    """Yield each query with its judgements, a pure function of the products.

    Capitals make no difference: "Navy" and "navy" are one value. A product is judged 3 where type and every
    asked attribute agree, and 1 where one of at least two does not; of several values one must agree.
    Takes memory for the tables of all products, and time by the square of a type's products.
    """
    by_type: defaultdict[tuple[str, str], list[TableDescription]] = defaultdict(list)
    for member in products:
        if member.split in rule.splits:
            by_type[member.split, member.product_type.casefold()].append(member)
    for number, template in enumerate(rule.templates):
        names = [name for name in names_in(template) if name != "product_type"]
        for (split, _), members in sorted(by_type.items()):
            held = [(p, tuple(_folded(p.attributes.get(name)) for name in names)) for p in members]
            first = {asked: p for p, values in reversed(held) for asked in product(*values)}
            for asked in sorted(first):
                said = first[asked].attributes
                shown = {n: _folded(said[n])[folded] for n, folded in zip(names, asked, strict=True)}
                text = template.format(product_type=first[asked].product_type, **shown).lower()
                query_id = "-".join((rule.kind, split, str(number), text.replace(" ", "_")))
                query = Query(query_id=query_id, text=text, kind=rule.kind, split=split)
                yield query, [*_judged(query_id, asked, held)]


def _folded(value: Value | None) -> Folded:
    return {text.casefold(): text for text in each(value)}


def _judged(
    query_id: str, asked: tuple[str, ...], held: Iterable[tuple[TableDescription, tuple[Folded, ...]]]
) -> Iterator[Qrel]:
    for member, values in held:
        wrong = sum(a not in b for a, b in zip(asked, values, strict=True))
        if wrong == 0 or (wrong == 1 and len(asked) > 1):
            yield Qrel(query_id=query_id, product_id=member.product_id, relevance=NEAR if wrong else EXACT)
