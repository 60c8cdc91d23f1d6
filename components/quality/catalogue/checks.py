"""What must hold of a catalogue: the checks of each kind of record, and of the set that is left."""

from __future__ import annotations

from components.catalog.format.records import SPLITS
from components.catalog.format.schema import CatalogSchema
from components.quality.expectations import Check, Level, between, no_problem, one_of, present, unique
from components.quality.params import QualityParams

MAX_GRADE, MAX_DESIRABILITY = 3, 4


def product_checks(schema: CatalogSchema, params: QualityParams) -> list[Check]:
    """Checks of single products, on the frame of ``product_columns``."""
    values: Level = "row" if params.attribute_values == "quarantine" else "note"
    required: Level = "row" if params.required_attributes == "quarantine" else "note"
    return [
        present("products", "product_id", "product_id"),
        unique("products", "product_id", "product_id"),
        present("products", "split", "split"),
        one_of("products", "split", "split", SPLITS),
        present("products", "group_id", "group_id"),
        _text("products", "title", 0, params.max_title_chars),
        _text("products", "description", 0, params.max_description_chars),
        present("products", "category", "category"),
        one_of("products", "category", "category", sorted(schema.categories)),
        no_problem(
            "products", "product_type", "product_type belongs to its category", "product_type_problem"
        ),
        no_problem("products", "attributes", "attributes belong to the category", "attributes_problem"),
        no_problem("products", "attributes", "attribute values fit the schema", "values_problem", values),
        no_problem("products", "attributes", "required attributes are given", "required_problem", required),
        no_problem("products", "image", "the picture can be decoded, within the limits", "image_problem"),
    ]


def query_checks(params: QualityParams) -> list[Check]:
    """Checks of single queries, on the frame of ``query_columns``."""
    return [
        present("queries", "query_id", "query_id"),
        unique("queries", "query_id", "query_id"),
        _text("queries", "text", 1, params.max_query_chars),
        present("queries", "split", "split"),
        one_of("queries", "split", "split", SPLITS),
    ]


def answered_check(params: QualityParams) -> Check:
    """The check that a test query has an answer, on a column ``answers`` that counts them."""
    says = f"a test query has a product of relevance {params.min_relevance} or more"
    reason = f"no product left has relevance {params.min_relevance} or more"
    return between("queries", "relevance", says, "row", "answers", reason, min_value=1)


def qrel_checks() -> list[Check]:
    """Checks of single judgements, on the frame of ``qrel_columns``."""
    pair = {"column_list": ["query_id", "product_id"]}
    return [
        no_problem("qrels", "query_id", "the query is in the catalogue", "query_problem"),
        no_problem("qrels", "product_id", "the product is in the catalogue", "product_problem"),
        Check(
            "qrels",
            "product_id",
            "a product is judged once for a query",
            "row",
            "ExpectCompoundColumnsToBeUnique",
            pair,
            "product {value!r} is judged more than once for this query",
        ),
        present("qrels", "relevance", "relevance"),
        _grade("relevance", MAX_GRADE),
        _grade("desirability", MAX_DESIRABILITY),
    ]


def set_checks(params: QualityParams) -> list[Check]:
    """Checks of the whole that is left, on a one-row frame of counts."""
    products = [_count("products", "products left", "products", params.min_products)]
    per_split = [
        _count("products", f"products in split {split}", f"products_{split}", params.min_products_per_split)
        for split in SPLITS
    ]
    return [
        *products,
        *per_split,
        _count("queries", "test queries left", "test_queries", params.min_test_queries),
    ]


def leak_checks(params: QualityParams) -> list[Check]:
    """Checks that the splits share nothing, on the products that are left."""
    share = 1 - params.max_cross_split_pictures
    pictures = f"at most {params.max_cross_split_pictures:.2%} of the pictures occur in more than one split"
    return [
        between(
            "products",
            "group_id",
            "a group lies in one split",
            "set",
            "group_splits",
            "its group lies in {value} splits",
            max_value=1,
        ),
        Check(
            "products",
            "image",
            pictures,
            "set",
            "ExpectColumnValuesToBeBetween",
            {"column": "picture_splits", "max_value": 1, "mostly": share},
            "the same picture lies in {value} splits",
        ),
    ]


def _text(kind: str, name: str, least: int, most: int) -> Check:
    says = f"{name} has {least} to {most:,} characters"
    reason = f"{name} has {{value}} characters, not {least} to {most:,}"
    return between(kind, name, says, "row", f"{name}_chars", reason, min_value=least, max_value=most)


def _grade(name: str, most: int) -> Check:
    reason = f"{name} {{value}} is not 0 to {most}"
    return between("qrels", name, f"{name} is 0 to {most}", "row", name, reason, min_value=0, max_value=most)


def _count(kind: str, what: str, column: str, least: int) -> Check:
    reason = f"{what}: {{value}}, fewer than {least}"
    return between(kind, "rows", f"{what}: at least {least:,}", "set", column, reason, min_value=least)
