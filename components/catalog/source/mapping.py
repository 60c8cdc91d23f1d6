"""The mapping file: which field of a user's rows is which part of a product.

A field is named by a path: ``title``, ``category_path.2`` (third element of a list), ``attributes.colour``
(inside an object), or ``attributes.*`` (everything inside it, for attributes only). A field whose own name
holds dots is found under its whole name first.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from components.catalog.format.records import SPLITS, Split
from components.stage.params import Params, read_yaml, validate

EVERY = ".*"


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise ValueError("must be a relative path inside the source folder")
    return path


def _field_shorthand(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value


def _union_shorthand(value: object) -> object:
    return {"union_of": [value]} if isinstance(value, str) else value


def _names_shorthand(value: object) -> object:
    """``[colour, specs.size, more.*]`` names each attribute by the last part of its path."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {item.rsplit(".", 1)[-1]: item for item in value}
    return value


RelativePath = Annotated[str, AfterValidator(_inside)]


class From(Params):
    """Where one text comes from: a field of the row, or the same constant for every row."""

    field: str | None = None
    constant: str | None = None
    values: dict[str, str] = Field(
        default_factory=dict
    )  # the source's value -> ours; others stay as they are
    default: str | None = None  # where the row has no such field, or nothing in it

    @model_validator(mode="after")
    def _one_origin(self) -> From:
        if (self.field is None) == (self.constant is None):
            raise ValueError("give either a field or a constant")
        return self


Source = Annotated[From, BeforeValidator(_field_shorthand)]


class ProductFields(Params):
    """The texts of a product. Without title or description it is listed without one."""

    product_id: Source
    category: Source
    product_type: Source
    title: Source | None = None
    description: Source | None = None


class ImageRule(Params):
    """Where the picture is: a file, or bytes in the row (binary, base64, or ``{bytes, path}``)."""

    path: str | None = None  # field with a file name relative to ``folder``
    folder: RelativePath = "."
    bytes: str | None = None  # field with the picture itself

    @model_validator(mode="after")
    def _one_origin(self) -> ImageRule:
        if (self.path is None) == (self.bytes is None):
            raise ValueError("give either path (a field with file names) or bytes (a field with pictures)")
        return self


class SplitRule(Params):
    """The field that names the split; ``values`` translates its words to train, validation and test."""

    field: str
    values: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_splits(self) -> SplitRule:
        if unknown := sorted(set(self.values.values()) - set(SPLITS)):
            raise ValueError(f"values may lead to {', '.join(SPLITS)} only, not {', '.join(unknown)}")
        return self


class GroupRule(Params):
    """Products that share a value of any of these fields, directly or through others, form one group."""

    union_of: tuple[str, ...] = Field(min_length=1)


class QueryFields(Params):
    """The texts of a query."""

    query_id: Source
    text: Source
    kind: Source
    split: Source


class QrelFields(Params):
    """The parts of a judgement; relevance is 0 to 3, desirability 0 to 4."""

    query_id: Source
    product_id: Source
    relevance: Source
    desirability: Source | None = None


class QueryRule(Params):
    """A file of queries."""

    file: RelativePath
    fields: QueryFields


class QrelRule(Params):
    """A file of judgements."""

    file: RelativePath
    fields: QrelFields


class DerivedQueries(Params):
    """Queries made from products' attributes (components/catalog/source/derived_queries.py)."""

    # "{colour} {product_type}": the names of attributes and of the product type, in braces
    templates: tuple[str, ...] = Field(min_length=1)
    kind: str = "derived"
    splits: tuple[Split, ...] = SPLITS

    @model_validator(mode="after")
    def _templates_ask_for_a_type(self) -> DerivedQueries:
        for template in self.templates:
            try:
                names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
            except ValueError as error:
                raise ValueError(f"template {template!r}: {error}") from None
            if "product_type" not in names:
                raise ValueError(f"template {template!r} must hold {{product_type}}")
            if odd := sorted(name for name in names if not name or set(name) & set(".[]")):
                raise ValueError(f"template {template!r}: {odd[0]!r} is no name of an attribute")
        return self

    def attributes(self) -> set[str]:
        """Every attribute that a template names."""
        parsed = (Formatter().parse(template) for template in self.templates)
        return {name for parts in parsed for _, name, _, _ in parts if name} - {"product_type"}


class Mapping(Params):
    """A whole mapping file. Files are relative to the source folder; ``products`` may hold ``*``."""

    model_config = ConfigDict(populate_by_name=True)

    products: RelativePath
    fields: ProductFields
    image: ImageRule
    attributes: Annotated[dict[str, Source], BeforeValidator(_names_shorthand)]
    split: Annotated[SplitRule, BeforeValidator(_field_shorthand)] | None = None  # none: by hash of the group
    group: Annotated[GroupRule, BeforeValidator(_union_shorthand)] | None = None  # none: each product alone
    queries: QueryRule | None = None
    qrels: QrelRule | None = None
    derive_queries: DerivedQueries | None = None  # besides those of ``queries``
    # A schema.json of the source's own; without one the schema is what the products show.
    schema_file: RelativePath | None = Field(default=None, alias="schema")

    @model_validator(mode="after")
    def _consistent(self) -> Mapping:
        for name, source in self.attributes.items():
            if (name == "*") != bool(source.field and source.field.endswith(EVERY)):
                raise ValueError(f"attributes.{name}: the name '*' and a field ending in '.*' go together")
        if self.qrels and not self.queries:
            raise ValueError("qrels need queries: map the file of queries too")
        asked = self.derive_queries.attributes() if self.derive_queries else set[str]()
        if "*" not in self.attributes and (unknown := sorted(asked - set(self.attributes))):
            raise ValueError(f"derive_queries asks for {', '.join(unknown)}: no attribute of the mapping")
        return self

    def product_fields(self) -> list[str]:
        """Every field path that rows of products must show somewhere."""
        sources = [*self.fields.__dict__.values(), *self.attributes.values()]
        paths = [source.field for source in sources if source is not None]
        rules = [self.image.path, self.image.bytes, self.split.field if self.split else None]
        return _unique([*paths, *rules, *(self.group.union_of if self.group else ())])


def field_paths(fields: QueryFields | QrelFields) -> list[str]:
    """Every field path that rows of queries or judgements must show somewhere."""
    return _unique([source.field for source in fields.__dict__.values() if source is not None])


def _unique(paths: list[str | None]) -> list[str]:
    return list(dict.fromkeys(path for path in paths if path))


def parse_mapping(values: object, where: str) -> Mapping:
    """Build a mapping from YAML values.

    Raises:
        ConfigurationError: unknown key, missing key or contradiction, all listed with their keys.
    """
    return validate(Mapping, values, where)


def read_mapping(path: Path) -> Mapping:
    """Read a mapping file.

    Raises:
        ConfigurationError: missing, not YAML, or not a mapping as described here.
    """
    return parse_mapping(read_yaml(path), str(path))


def mapping_values(mapping: Mapping) -> dict[str, Any]:
    """The mapping as plain values for YAML, without what is empty."""
    return dict(mapping.model_dump(mode="json", by_alias=True, exclude_defaults=True))
