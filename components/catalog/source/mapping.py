"""The mapping file: which field of a user's rows is which part of a product.

A field is named by a path (components/catalog/source/values/paths.py): ``title``, ``category_path.-1``,
``attributes.colour``, or ``attributes.*`` (everything inside it, for attributes only).
"""

from __future__ import annotations

import codecs
from datetime import date
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from components.catalog.format.prices import currency_of
from components.catalog.format.records import SPLITS, Split
from components.catalog.source.reading.row import all_composed
from components.catalog.source.values.paths import EVERY, own_name
from components.stage.params import Params, read_yaml, validate

FILES = frozenset({"products", "folder", "file", "schema"})  # keys with names of files, left as they are


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
        names = ["*" if item.endswith(EVERY) else own_name(item) for item in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"two fields would be named {twice[0]!r}; write the names, as in NAME: {value[0]}"
            )
        return dict(zip(names, value, strict=True))
    return value


def _plain_text(value: object) -> object:
    """``3``, ``1.5`` and ``true`` as YAML reads them are the texts ``3``, ``1.5`` and ``true``."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float | date) else value


def names_in(template: str) -> list[str]:
    """The fields that a template names in braces.

    Raises:
        ValueError: a brace is open, or a name is missing.
    """
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"template {template!r}: {error}") from None
    if "" in names:
        raise ValueError(f"template {template!r}: a pair of braces holds no name")
    return list(dict.fromkeys(names))


def _known_encoding(name: str) -> str:
    """The name by which Python knows an encoding of texts."""
    try:
        "a".encode(name)
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        known = "utf-8, cp1252, latin-1, utf-16, gb18030"
        raise ValueError(f"{name!r} is no encoding of texts; such are {known}") from None


Text = Annotated[str, BeforeValidator(_plain_text)]
RelativePath = Annotated[str, AfterValidator(_inside)]
Encoding = Annotated[str, AfterValidator(_known_encoding)]


class From(Params):
    """Where one text comes from: a field of the row, several by a template, or a constant for every row."""

    field: str | None = None
    template: str | None = None  # "{locale}-{id}": fields in braces; nothing where one of them is empty
    constant: Text | None = None
    # the source's value -> ours; others stay as they are
    values: dict[Text, Text] = Field(default_factory=dict)
    default: Text | None = None  # where the row has no such field, or nothing in it
    separator: str | None = Field(None, min_length=1)  # the cell is a list, written with this between
    # Of a list. None: an attribute holds all of it; a title or description too, joined; anything else the
    # first, and that is told.
    take: Literal["first", "last", "join"] | None = None

    raw: bool = False  # true keeps HTML tags and entities as they stand; else they are read as text
    # An attribute whose name ends with a currency (price_eur) becomes the amount: "1.299,00 €" is 1299.00
    price: bool = False
    currency: str | None = None  # of a price: the field that names its currency, where there is one

    @model_validator(mode="after")
    def _one_origin(self) -> From:
        if sum(origin is not None for origin in (self.field, self.template, self.constant)) != 1:
            raise ValueError("give one of field, template and constant")
        if self.template is not None and not names_in(self.template):
            raise ValueError(f"template {self.template!r} names no field; write {{FIELD}}, or a constant")
        if self.currency is not None and not self.price:
            raise ValueError("currency is of a price; add price: true")
        return self

    def paths(self) -> list[str]:
        """The fields of the row that it reads."""
        named = [self.field] if self.field else names_in(self.template or "")
        return [*named, self.currency] if self.currency else named

    def __str__(self) -> str:
        return self.field or self.template or repr(self.constant)


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

    # field (or template, as for a text) with a file name relative to ``folder``; of a list, the first that
    # exists is the main picture
    path: str | From | None = None
    more: str | From | None = None  # a field with the file names of further pictures, where ``path`` has one
    folder: RelativePath = "."
    bytes: str | None = None  # field with the picture itself
    most: int = Field(8, ge=1, le=32)  # pictures of one product; 1 keeps the main one alone

    @model_validator(mode="after")
    def _one_origin(self) -> ImageRule:
        if (self.path is None) == (self.bytes is None):
            raise ValueError("give either path (a field with file names) or bytes (a field with pictures)")
        if self.more is not None and self.path is None:
            raise ValueError("more goes with path; of bytes, let the field hold a list")
        return self

    def named(self) -> list[From]:
        """Where file names come from, the main picture's first; nothing where the row holds pictures."""
        given = [source for source in (self.path, self.more) if source is not None]
        return [From(field=source) if isinstance(source, str) else source for source in given]


class SplitRule(Params):
    """The field that names the split; ``values`` translates its words to train, validation and test."""

    field: str
    values: dict[Text, Text] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_splits(self) -> SplitRule:
        if unknown := sorted(set(self.values.values()) - set(SPLITS)):
            raise ValueError(f"values may lead to {', '.join(SPLITS)} only, not {', '.join(unknown)}")
        return self


class GroupRule(Params):
    """Products that share a value of any of these fields, directly or through others, form one group."""

    union_of: tuple[str, ...] = Field(min_length=1)


class JoinRule(Params):
    """Another table: its row whose ``key`` is what ``field`` holds is a field named like the rule."""

    file: RelativePath
    field: str  # field of the product's row
    key: str  # field of the other table; several rows of one key are a list


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
            names = names_in(template)
            if "product_type" not in names:
                raise ValueError(f"template {template!r} must hold {{product_type}}")
            if odd := sorted(name for name in names if set(name) & set(".[]")):
                raise ValueError(f"template {template!r}: {odd[0]!r} is no name of an attribute")
        return self

    def attributes(self) -> set[str]:
        """Every attribute that a template names."""
        return {name for template in self.templates for name in names_in(template)} - {"product_type"}


class Mapping(Params):
    """A whole mapping file. Files are relative to the source folder; ``products`` may hold ``*``."""

    model_config = ConfigDict(populate_by_name=True)

    products: RelativePath
    encoding: Encoding = "utf-8"  # of CSV and TSV, of every one of them
    fields: ProductFields
    image: ImageRule
    attributes: Annotated[dict[str, Source], BeforeValidator(_names_shorthand)]
    # Tables to join, by the name under which their fields are known: {photos: {file, field, key}}.
    join: dict[str, JoinRule] = Field(default_factory=dict)
    # Rows without this field belong to the product above: they add pictures, and values of attributes.
    continues: str | None = None
    skip_where_empty: str | None = None  # rows without this field are left out, and counted
    split: Annotated[SplitRule, BeforeValidator(_field_shorthand)] | None = None  # none: by hash of the group
    group: Annotated[GroupRule, BeforeValidator(_union_shorthand)] | None = None  # none: each product alone
    queries: QueryRule | None = None
    qrels: QrelRule | None = None
    derive_queries: DerivedQueries | None = None  # besides those of ``queries``
    # A schema.json of the source's own; without one the schema is what the products show.
    schema_file: RelativePath | None = Field(default=None, alias="schema")

    @model_validator(mode="before")
    @classmethod
    def _has_pictures(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("image"):
            raise ValueError("image is missing: every product needs a picture, a file or bytes in its row")
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Mapping:
        for name, source in self.attributes.items():
            if (name == "*") != bool(source.field and source.field.endswith(EVERY)):
                raise ValueError(f"attributes.{name}: the name '*' and a field ending in '.*' go together")
        self._prices_name_a_currency()
        if odd := sorted(name for name in self.join if "." in name or not name):
            raise ValueError(f"join.{odd[0]}: the name of a joined table holds no dot")
        if self.qrels and not self.queries:
            raise ValueError("qrels need queries: map the file of queries too")
        asked = self.derive_queries.attributes() if self.derive_queries else set[str]()
        if "*" not in self.attributes and (unknown := sorted(asked - set(self.attributes))):
            raise ValueError(f"derive_queries asks for {', '.join(unknown)}: no attribute of the mapping")
        return self

    def _prices_name_a_currency(self) -> None:
        for name, source in self.attributes.items():
            if source.price and not currency_of(name):
                raise ValueError(f"attributes.{name}: a price's name ends with its currency, as in price_eur")
        others = (source for source in self.fields.__dict__.values() if source is not None)
        if any(source.price for source in others):
            raise ValueError("price: true is for attributes")

    def product_fields(self) -> list[str]:
        """Every field path that rows of products, with what is joined to them, must show somewhere."""
        sources = [*self.fields.__dict__.values(), *self.attributes.values(), *self.image.named()]
        paths = [path for source in sources if source is not None for path in source.paths()]
        rules = [self.image.bytes, self.split.field if self.split else None]
        rows = [self.continues, self.skip_where_empty, *(rule.field for rule in self.join.values())]
        return _unique([*paths, *rules, *(self.group.union_of if self.group else ()), *rows])


def field_paths(fields: QueryFields | QrelFields) -> list[str]:
    """Every field path that rows of queries or judgements must show somewhere."""
    return _unique([path for source in fields.__dict__.values() if source for path in source.paths()])


def _unique(paths: list[str | None]) -> list[str]:
    return list(dict.fromkeys(path for path in paths if path))


def parse_mapping(values: object, where: str) -> Mapping:
    """Build a mapping from YAML values.

    Raises:
        ConfigurationError: unknown key, missing key or contradiction, all listed with their keys.
    """
    return validate(Mapping, all_composed(values, FILES), where)


def read_mapping(path: Path) -> Mapping:
    """Read a mapping file.

    Raises:
        ConfigurationError: missing, not YAML, or not a mapping as described here.
    """
    return parse_mapping(read_yaml(path), str(path))


def mapping_values(mapping: Mapping) -> dict[str, Any]:
    """The mapping as plain values for YAML, without what is empty."""
    return dict(mapping.model_dump(mode="json", by_alias=True, exclude_defaults=True))
