"""What the shape of a catalogue means for what is learned from it, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from components.catalog.format.schema import CatalogSchema
from components.catalog.source.observed_schema import ObservedSchema

FEW_PRODUCTS = 20  # of a category: its attributes and words are learned from hardly any example
MEANINGFUL = 1000  # products, from which on figures begin to mean something
NAMED = 5  # examples in a sentence


def advice(seen: ObservedSchema, min_products: int, own: CatalogSchema | None = None) -> Iterator[str]:
    """Sentences about a source whose products ``seen`` has counted; none where all is well.

    ``min_products`` is what the catalogue's gate asks for, ``own`` the schema that the source brings.
    """
    total = sum(seen.products.values())
    if total < min_products:
        yield (
            f"{total:,} products are fewer than the {min_products:,} that the gate asks for "
            f"(quality.min_products): it will refuse them."
        )
    elif total < MEANINGFUL:
        yield (
            f"{total:,} products are few: with fewer than about {MEANINGFUL:,}, intervals are wide and the "
            f"listing models learn little."
        )
    few = {name: number for name, number in seen.products.items() if number < FEW_PRODUCTS}
    if few and len(seen.products) > 1:
        yield (
            f"{len(few):,} of {len(seen.products):,} categories have fewer than {FEW_PRODUCTS} products, too "
            f"few to learn what they say: {_named(few)}. Lead them to wider ones by 'values' in the mapping."
        )
    yield from _wide(seen) if own is None else _wide_schema(own, seen.params.max_attributes)


def _wide_schema(own: CatalogSchema, most: int) -> Iterator[str]:
    for name, category in own.categories.items():
        if len(category.attributes) > most:
            yield (
                f"your schema gives category {name[:80]!r} {len(category.attributes):,} attributes, more "
                f"than {most} (catalog.max_attributes): all are kept, and listing models are taught each."
            )


def _wide(seen: ObservedSchema) -> Iterator[str]:
    for category, left in seen.left_out().items():
        kept = seen.params.max_attributes
        yield (
            f"category {category[:80]!r} has {kept + len(left):,} attributes: the {kept} that most of its "
            f"products state are kept (catalog.max_attributes), {len(left):,} are left out of its products: "
            f"{_listed(left)}."
        )
    if free := seen.free_texts():
        yield (
            f"{_counted(free)} more than {seen.params.enum_max_values} values in a category "
            f"(catalog.enum_max_values) and are free text there, without a closed list: {_listed(free)}."
        )
    if singular := seen.singular():
        told = [
            f"{name} ({values} values in {products} products)"
            for name, (values, products) in singular.items()
        ]
        yield (
            f"{_counted(singular)} nearly one value per product in a category "
            f"(catalog.enum_max_share) and are free text there, without a closed list: {_listed(told)}."
        )


def _counted(names: Collection[str]) -> str:
    return f"{len(names):,} attribute{'s have' if len(names) > 1 else ' has'}"


def _named(numbers: Mapping[str, int]) -> str:
    fewest = sorted(numbers, key=lambda name: (numbers[name], name))
    return _listed([f"{name[:40]} ({numbers[name]})" for name in fewest])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(name[:80] for name in names[:NAMED]) + more
