"""Which attributes of a category a model writes, and in which order.

A model that writes from left to right rests each value on those before it. So what a picture tells comes
first, beginning with what titles name most, and what no picture tells comes last: a guessed brand misleads
nothing behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from components.catalog.format.schema import CatalogSchema
from components.opal.model.listing_text import Listing

MOST_NAMES = 400  # of a category that a model was not taught; llguidance follows 2,000 rules at once

Arrangement = Mapping[str, Sequence[str]]  # category -> names of its attributes


def arrangement(
    listings: Iterable[tuple[str, Listing]],
    schema: CatalogSchema,
    named: Mapping[str, Mapping[str, float]],
    visible: Collection[str],
    most: int,
) -> dict[str, tuple[str, ...]]:
    """The attributes of each category in the order in which they are written.

    Args:
        listings: categories and listings of the train split.
        named: of each category the share of titles that name an attribute.
        visible: attributes that pictures can tell; empty if nobody knows.
        most: names of a category; those that most listings state are kept.
    """
    stated: Counter[tuple[str, str]] = Counter()
    for category, listing in listings:
        stated.update((category, name) for name in listing.attributes)
    out = {}
    for category, known in schema.categories.items():
        names = sorted(known.attributes, key=lambda name: -stated[category, name])[:most]
        places = {name: at for at, name in enumerate(known.attributes)}
        shares = named.get(category, {})
        out[category] = tuple(
            sorted(
                names,
                key=lambda name: (
                    bool(visible) and name not in visible,
                    -shares.get(name, 0.0),
                    places[name],
                ),
            )
        )
    return out


def arranged(schema: CatalogSchema, attributes: Arrangement) -> CatalogSchema:
    """The schema with the attributes that are written, in their order.

    Of a category that is not in the arrangement, the first ``MOST_NAMES`` in the schema's order.
    """
    categories = {}
    for category, known in schema.categories.items():
        names = attributes.get(category, list(known.attributes)[:MOST_NAMES])
        held = {name: known.attributes[name] for name in names if name in known.attributes}
        categories[category] = known.model_copy(update={"attributes": held})
    return schema.model_copy(update={"categories": categories})
