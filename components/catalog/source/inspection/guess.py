"""Which field of a table looks like which part of a product, by its name and by what it holds."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from components.catalog.format.prices import currency_stated
from components.catalog.format.records import SPLITS
from components.catalog.source.inspection.attribute_fields import LONGEST_VALUE, unfit
from components.catalog.source.inspection.sample import FieldFacts, Folder, SampledTable
from components.catalog.source.values.paths import look_up, own_name
from components.catalog.source.values.pictures import names_of_url
from components.catalog.source.values.texts import text_of

# Words for each part, the surest first; compared without capitals, spaces and punctuation. English, then
# German, French, Spanish, Italian, Dutch and Polish.
NAMES = {
    "product_id": "handle productid itemid sku id asin productcode code uniqid articleid articlenumber key "
    "artikelnummer artnr reference référence referencia codigo código codice referentie kod symbol indeks",
    "title": "title name productname itemname producttitle productdisplayname displayname label "
    "bezeichnung artikelbezeichnung titel produktname artikelname titre nom titulo "
    "título nombre titolo nome naam nazwa nazwaproduktu tytuł",
    "description": "description bodyhtml body productdescription longdescription shortdescription "
    "bulletpoint about beschreibung descripcion descripción descrizione omschrijving opis",
    "category": "category productcategory maincategory department categories categorypath categoryname "
    "mastercategory googleproductcategory producttype type "
    "warengruppe kategorie abteilung bereich raum "
    "categorie catégorie rayon categoria categoría reparto afdeling kategoria dział",
    "product_type": "producttype type kind articletype subcategory itemtype class "
    "artikeltyp artikelart produkttyp produktart warenart typ tipo soort rodzaj",
    "picture": "image imagesrc imagelink imageurl picture photo img images imagepath file filename "
    "mainimage mainimageid imagefrontsmallurl imagefronturl bild foto immagine imagen "
    "afbeelding zdjęcie obraz",
    "split": "split fold subset",
    "group": "itemgroupid groupid design parentid parent modelcode duplicategroup dupgroup",
}
# Kinds of entries of a shop system, which are no kinds of goods
SALE_TYPES = {
    "simple", "variable", "variation", "grouped", "external", "configurable", "bundle", "virtual",
    "downloadable",
}  # fmt: skip
PATHS = (" > ", ">", " / ", "|")  # written between the steps of a category
SHORTEST_KEY = 2  # characters; single digits are in every table
MOST_ATTRIBUTES = 40
PRICED = 0.9  # share of the values of a price that name its currency
SEPARATED = 0.2  # share of the values of a list in a cell that hold several
# Of names of fields with further pictures, beside that of the main one
_FURTHER = re.compile(
    r"(?:more|additional|other|further|extra|alternate|gallery|weitere|zusatz).*(?:image|photo|pic|bild|foto)"
)
_SAYING = re.compile(r"[^\W\d_]\S*\s+\S")  # words, of which the first begins with a letter
MOST_ASKED = 50  # values of the attribute that queries are made of
SPLIT_WORDS = {"val": "validation", "valid": "validation", "dev": "validation", "training": "train"}


@dataclass
class Guess:
    """The parts of a mapping; sources are as the mapping writes them (a path, or keys and values).

    Attributes:
        picture: ``image`` of the mapping. attributes: our name to source. asked: attribute of a template for
            derived queries. notes: by the key of the mapping, what the reader should look at. unmapped: of
            each field that is no part of the mapping, why.
    """

    table: SampledTable
    fields: dict[str, Any] = field(default_factory=dict)
    picture: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] | None = None
    group: str | None = None
    continues: str | None = None
    join: dict[str, Any] = field(default_factory=dict)
    asked: str | None = None
    notes: dict[str, str] = field(default_factory=dict)
    unmapped: dict[str, str] = field(default_factory=dict)


def guess(folder: Folder) -> Guess:
    """The table that looks most like products, with its fields; ``picture`` is empty where none was found."""
    return max((_of_table(folder, table) for table in folder.tables if table.rows), key=_likeness)


def _likeness(found: Guess) -> tuple[int, int, int]:
    named = sum(isinstance(found.fields.get(name), str) for name in ("product_id", "title"))
    return named + 2 * bool(found.picture), len(found.table.rows), len(found.table.fields)


def _of_table(folder: Folder, table: SampledTable) -> Guess:
    found = Guess(table)
    ids = _named(table, "product_id")
    if ids is None:
        return found
    found.fields["product_id"] = ids
    for name in ("title", "description"):
        if path := _named(table, name):
            found.fields[name] = path
    found.picture = _picture(folder, table, ids)
    if not found.picture:
        _join(folder, found)
    _variants(found)
    _categories(found)
    _split_and_group(found)
    _attributes(found)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _candidates(table: SampledTable, part: str) -> list[str]:
    """Paths whose name, or last part, is one of the words for ``part``; the surest first."""
    words = NAMES[part].split()
    ranked = []
    for path, facts in table.fields.items():
        plain = path.split(".[")[0]
        spelt = {_plain(plain), _plain(own_name(plain)), _plain(plain.removesuffix(".value"))}
        ranks = [words.index(word) for word in spelt if word in words]
        if ranks and facts.filled:
            ranked.append((min(ranks), -facts.filled, path))
    return [path for *_, path in sorted(ranked)]


def _named(table: SampledTable, part: str) -> str | None:
    rows = len(table.rows)
    paths = _candidates(table, part)
    if part == "product_id":
        full = [path for path in paths if table.fields[path].filled > 0.9 * rows]
        unique = [path for path in full if len(table.fields[path].values) > 0.99 * rows]
        handles = [path for path in full if _plain(path) == "handle"]
        return next(iter([*handles, *unique, *full, *_keys(table)]), None)
    if part == "title":
        return next((path for path in [*paths, *_sayings(table)] if table.fields[path].length > 1), None)
    return next(iter(paths), None)


def _keys(table: SampledTable) -> list[str]:
    """Fields that tell every row apart in one short word: an id under a name of the shop's own."""
    rows = len(table.rows)
    return [
        path
        for path, facts in table.fields.items()
        if min(facts.filled, len(facts.values)) > 0.99 * rows
        and facts.chars < LONGEST_VALUE * rows
        and not any(" " in value or PurePosixPath(value).suffix for value in facts.values)
    ]


def _sayings(table: SampledTable) -> list[str]:
    """Fields of several words that nearly always differ, the shortest first: titles under another name.

    "180 cm" is a measure and no title.
    """
    found = [
        path
        for path, facts in table.fields.items()
        if len(facts.values) > facts.filled / 2
        and sum(_SAYING.match(value) is not None for value in facts.values) > 0.9 * len(facts.values)
        and not any(map(currency_stated, facts.examples()))
    ]
    return sorted(found, key=lambda path: table.fields[path].length)


def _picture(folder: Folder, table: SampledTable, ids: str) -> dict[str, Any]:
    for path, facts in table.fields.items():
        if facts.pictures > facts.filled / 2:
            return {"bytes": path}
    further = [path for path in table.fields if _FURTHER.search(path.casefold())]
    first = [path for path in _candidates(table, "picture") if path not in further]
    others = [path for path in table.fields if path not in (*first, *further)]
    rules = {path: _files_of(folder, table, path) for path in (*first, *others, *further)}
    best = max(
        rules, key=lambda path: (path not in further and rules[path][0] > 0, rules[path][0]), default=""
    )
    if not best or not rules[best][0]:
        return _named_after_ids(folder, table, ids)
    rule = rules[best][1]
    beside = (more for path in further if path != best and (more := rules[path][1]))
    same = (more["path"] for more in beside if more.get("folder") == rule.get("folder"))
    second = next(same, None)
    return {**rule, "more": second} if second else rule


def _files_of(folder: Folder, table: SampledTable, path: str) -> tuple[int, dict[str, Any]]:
    """In how many rows a field names a picture of the folder, and the rule that finds most of them."""
    folders: Counter[str] = Counter()
    signs: Counter[str] = Counter()  # written between the names of a cell
    for row in table.rows:
        value = look_up(row, path)[1]
        first = next(iter(value), None) if isinstance(value, list) else value
        if not isinstance(first, str) or not first.strip():
            continue
        cut = [part.strip() for part in re.split(r"[,|;]", first)]
        name = first.strip()
        if name not in folder.pictures and len(cut) > 1 and "." in cut[0]:
            name = cut[0]
            signs.update(sign for sign in ",|;" if sign in first)
        for inside in names_of_url(name) or [name]:
            named = folder.by_name.get(PurePosixPath(inside).name, ())
            fitting = [picture for picture in named if f"/{picture}".endswith(f"/{inside}")]
            if fitting:
                folders[fitting[0].removesuffix(inside).rstrip("/") or "."] += 1
                break
    if not folders:
        return 0, {}
    where, hits = folders.most_common(1)[0]
    source: Any = {"field": path, "separator": signs.most_common(1)[0][0]} if signs else path
    return hits, {"path": source} | ({"folder": where} if where != "." else {})


def _named_after_ids(folder: Folder, table: SampledTable, ids: str) -> dict[str, Any]:
    """A rule for pictures that are called like their product."""
    stems = {PurePosixPath(picture).stem: PurePosixPath(picture) for picture in folder.pictures}
    found: Counter[tuple[str, str]] = Counter()
    for row in table.rows:
        picture = stems.get(_text(look_up(row, ids)[1]))
        if picture:
            found[picture.parent.as_posix(), picture.suffix] += 1
    if not found:
        return {}
    (where, suffix), _ = found.most_common(1)[0]
    return {"path": {"template": f"{{{ids}}}{suffix}"}} | ({"folder": where} if where != "." else {})


def _join(folder: Folder, found: Guess) -> None:
    """The table that names pictures, by the field that shares most values with one of ours."""
    best = 0
    for other in folder.tables:
        files = [] if other is found.table else [_files_of(folder, other, path) for path in other.fields]
        hits, rule = max(files, key=lambda pair: pair[0], default=(0, {}))
        if not hits or not isinstance(rule["path"], str):
            continue
        for key, theirs in other.fields.items():
            for path, ours in found.table.fields.items():
                shared = sum(
                    len(value) >= SHORTEST_KEY for value in ours.values.keys() & theirs.values.keys()
                )
                if shared > best and key != rule["path"]:
                    best = shared
                    found.join = {"picture": {"file": other.pattern, "field": path, "key": key}}
                    found.picture = rule | {"path": f"picture.{rule['path']}"}


def _text(value: Any) -> str:
    try:
        return text_of(value)
    except ValueError:
        return ""


def _variants(found: Guess) -> None:
    """Rows without a title: of the product above where the id is its, else of no product."""
    table, title = found.table, found.fields.get("title")
    bare = len(table.rows) - table.fields[title].filled if title else 0
    if not title or bare <= 0.02 * len(table.rows):
        return
    ids = [_text(look_up(row, found.fields["product_id"])[1]) for row in table.rows]
    titles = [bool(_text(look_up(row, title)[1])) for row in table.rows]
    pairs = zip(titles, ids, ["", *ids], strict=False)
    same = sum(not titled and (not own or own == before) for titled, own, before in pairs)
    if same > bare / 2:
        found.continues = title
    else:
        found.notes["title"] = f"{bare:,} of {len(table.rows):,} rows have none"


def _categories(found: Guess) -> None:
    table = found.table
    named, typed = (
        [path for path in _candidates(table, part) if not table.fields[path].values.keys() <= SALE_TYPES]
        for part in ("category", "product_type")
    )
    category = next(iter(named), None)
    kinds = [path for path in typed if path != category]
    if category is None:
        kind = next(iter(kinds), None)
        found.fields["category"] = {"constant": "All"}
        found.fields["product_type"] = _source(found, kind) if kind else {"constant": "product"}
        return
    facts = table.fields[category]
    between = next((s for s in PATHS if sum(s in v for v in facts.values) > len(facts.values) / 2), "")
    steps = between or facts.lists
    more = {"separator": between.strip() or None}
    found.fields["category"] = _source(found, category, **more, take="first" if steps else None)
    if kinds and len(table.fields[kinds[0]].values) > 1:
        found.fields["product_type"] = _source(found, kinds[0])
    else:
        found.fields["product_type"] = _source(found, category, **more, take="last" if steps else None)


def _source(found: Guess, path: str, **more: str | None) -> Any:
    keys: dict[str, Any] = {key: value for key, value in more.items() if value}
    facts = found.table.fields[path]
    rows = len(found.table.rows) if not found.continues else found.table.fields[found.continues].filled
    if facts.lists and "take" not in keys:
        keys["take"] = "first"
    if facts.filled < rows:
        keys["default"] = "other"
    return {"field": path, **keys} if keys else path


def _split_and_group(found: Guess) -> None:
    for path in _candidates(found.table, "split"):
        facts = found.table.fields[path]
        words = {word: SPLIT_WORDS.get(word.casefold(), word.casefold()) for word in facts.values}
        if facts.filled == len(found.table.rows) and set(words.values()) == set(SPLITS):
            translated = {word: ours for word, ours in words.items() if word != ours}
            found.split = {"field": path} | ({"values": translated} if translated else {})
            break
    found.group = next(iter(_candidates(found.table, "group")), None)


def _attributes(found: Guess) -> None:
    pictures = [found.picture.get(key) for key in ("path", "more", "bytes")]
    used = _paths_of([*found.fields.values(), *pictures])
    used |= {path for path in ((found.split or {}).get("field"), found.group) if path}
    # What the category or the type says already is no attribute besides.
    told = [found.table.fields[path].values.keys() for path in _paths_of(found.fields.values()) if path]
    for path, facts in found.table.fields.items():
        if path in used:
            continue
        reason = unfit(path, facts, len(found.table.rows))
        if not reason and facts.values.keys() in told:
            reason = "says what category or product_type says"
        if not reason and len(found.attributes) == MOST_ATTRIBUTES:
            reason = f"{MOST_ATTRIBUTES} attributes are mapped already"
        if reason:
            found.unmapped[path] = reason
        else:
            name = own_name(path.split(".[")[0].removesuffix(".value"))
            found.attributes[name if name not in found.attributes else path] = _listed(path, facts)
    _prices(found, used)
    plain = [n for n in found.attributes if not set(n) & set(".[]{}:!") and n != "product_type"]
    colours = [name for name in plain if re.search("colou?r|farbe|couleur|kleur|kolor", name.casefold())]
    facts_of = {name: found.table.fields[field_of(found.attributes[name])] for name in plain}
    by_fill = sorted(plain, key=lambda name: -facts_of[name].filled)
    asked = (name for name in [*colours, *by_fill] if 2 < len(facts_of[name].values) <= MOST_ASKED)
    found.asked = next(asked, None)


def _listed(path: str, facts: FieldFacts) -> Any:
    """A field, with the separator of its values where they are lists of few different ones."""
    for sign in ",;|":
        cut = [[part.strip() for part in value.split(sign)] for value in facts.values]
        several = sum(len(parts) > 1 for parts in cut)
        different = {part for parts in cut for part in parts}
        decimal = any(re.search(rf"\d{re.escape(sign)}\d", value) for value in facts.values)
        if not decimal and several > SEPARATED * len(cut) and len(different) <= len(cut) / 2:
            return {"field": path, "separator": sign}
    return path


def _prices(found: Guess, used: set[str]) -> None:
    """Fields whose values are prices in one currency, under a name that ends with it."""
    for path, facts in found.table.fields.items():
        named = Counter(filter(None, map(currency_stated, facts.values)))
        currency, count = named.most_common(1)[0] if named else ("", 0)
        name = f"price_{currency.lower()}"
        if count > PRICED * len(facts.values) and path not in used and name not in found.attributes:
            found.attributes.pop(own_name(path), None)
            found.unmapped[path] = f"a price: its line {name} is there to be uncommented"
            found.attributes[name] = {"field": path, "price": True}


def field_of(source: Any) -> str:
    """The path of the field that a source reads; empty for a constant."""
    return str(source if isinstance(source, str) else (source or {}).get("field", ""))


def _paths_of(sources: Any) -> set[str]:
    return {field_of(source) for source in sources if source}
