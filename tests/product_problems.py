"""What a schema has against a product."""

from __future__ import annotations

from components.catalog.format.records import Product
from components.catalog.format.schema import CatalogSchema, Problem, listing_problems


def product_problems(schema: CatalogSchema, product: Product, *, require: bool = False) -> list[Problem]:
    """Every way in which ``product`` breaks ``schema``; see ``listing_problems``."""
    listing = (product.category, product.product_type, product.attributes)
    return listing_problems(schema, *listing, require=require)
