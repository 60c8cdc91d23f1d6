"""Small catalogues in the shapes of other systems: by the worked mappings, and by inspection's guesses."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from PIL import Image

from benchmarks.catalogues.__main__ import imported, mapping_of
from benchmarks.catalogues.feeds import SHAPES, Shape
from components.catalog.format.errors import SourceError
from components.catalog.source.drafts import Draft
from components.catalog.source.importer import product_drafts
from components.catalog.source.inspection.starter import inspect
from components.catalog.source.mapping import parse_mapping
from components.parameters.profiles import profile_values
from components.stage.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
COUNT = 36
BY_NAME = {shape.name: shape for shape in SHAPES}
WITH_PICTURES = [shape for shape in SHAPES if shape.name != "text only"]
# Products that have no name in the language asked for, or none at all
NAMELESS = {"Amazon Berkeley Objects": 4, "Open Food Facts": 4}


def drafts(root: Path, mapping: object) -> list[Draft]:
    found = [d for _, _, d in product_drafts(root, parse_mapping(mapping, "m"))]
    return [draft for draft in found if isinstance(draft, Draft)]


@pytest.mark.parametrize("shape", WITH_PICTURES, ids=lambda shape: shape.name)
def test_every_shape_is_imported_by_its_mapping(tmp_path: Path, shape: Shape) -> None:
    found = imported(shape, tmp_path, COUNT)
    assert found.good, found.left_out
    assert found.products == COUNT - NAMELESS.get(shape.name, 0)
    colours = {"Shopify CSV": "option", "Open Food Facts": "brand"}.get(shape.name, "colour")
    files = tmp_path / "into/files"
    attributes = [
        d.attributes for _, _, d in product_drafts(files, mapping_of(shape)) if isinstance(d, Draft)
    ]
    known = {name for names in attributes for name in names}
    assert known & {colours, "color"} or shape.name == "no attributes"


def test_a_variant_feed_says_what_it_left_out(tmp_path: Path) -> None:
    said = "\n".join(imported(BY_NAME["Shopify CSV"], tmp_path, COUNT).left_out)
    assert "rows left out, as no product of its own: it continues the product above." in said
    assert "more pictures are left aside" not in said  # they come along as further ones
    assert "attributes.option" not in said  # it holds them all


def test_texts_without_pictures_are_refused_in_a_sentence(tmp_path: Path) -> None:
    found = imported(BY_NAME["text only"], tmp_path, COUNT)
    assert not found.good
    assert "has the mapped field 'photo'" in found.left_out[0]
    with pytest.raises(SourceError, match="every product needs a picture: a catalogue of texts alone"):
        inspect(tmp_path / "source", "mine")


@pytest.mark.parametrize("shape", WITH_PICTURES, ids=lambda shape: shape.name)
def test_what_inspection_writes_imports_as_it_stands(tmp_path: Path, shape: Shape) -> None:
    shape.write(tmp_path, COUNT)
    text, *_ = inspect(tmp_path, "mine")
    found = drafts(tmp_path, yaml.safe_load(text))
    assert len(found) >= COUNT - NAMELESS.get(shape.name, 0), text
    own = {d.product_id: d for d in drafts(tmp_path, mapping_of(shape).model_dump(by_alias=True))}
    if shape.name != "Amazon Berkeley Objects":  # its ids are made of two fields: nobody can guess that
        assert all(own[d.product_id].title == d.title for d in found if d.product_id in own), text
        assert sum(d.product_id in own for d in found) == len(own), text
    assert {d.image for d in found} >= {d.image for d in own.values()}, text
    assert len({d.product_type for d in found}) == 6, text


def test_the_starter_says_what_it_saw_and_is_a_profile(tmp_path: Path) -> None:
    BY_NAME["Shopify CSV"].write(tmp_path, COUNT)
    text, profile, _ = inspect(tmp_path, "my-shop")
    assert "continues: Title  # rows without it belong to the product above" in text
    assert "# Option1 Value: " in text and "| M | L" in text.replace("S | ", "| ")
    conf = tmp_path / "ws/conf"
    conf.mkdir(parents=True)
    (conf / "my-shop.yaml").write_text(profile)
    (conf / "own.yaml").write_text((ROOT / "conf/own.yaml").read_text())
    (conf.parent / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    assert profile_values(conf.parent, "my-shop")["report"]["title"] == "Vitrine, my-shop"


def test_other_languages_prices_and_lists_in_a_cell_are_recognised(tmp_path: Path) -> None:
    rows = [
        {
            "Art.-Nr.": f"A{i}",
            "Bezeichnung": f"Becher Nr. {i}",
            "Warengruppe": ("Küche", "Bad")[i % 2],
            "Artikeltyp": ("Becher", "Teller", "Seife")[i % 3],
            "Größen": ("S, M", "M, L", "S, L", "S, M, L", "L", "M, S")[i % 6],
            "Gewicht": ("1,5", "2,5", "0,5")[i % 3],
            "Preis": "auf Anfrage" if i == 5 else f"{i + 3},{i:02} €",
            "Foto": f"{i}.png",
        }
        for i in range(24)
    ]
    write_rows(tmp_path, rows)
    text = inspect(tmp_path, "laden")[0]
    found = yaml.safe_load(text)
    assert found["fields"] == {
        "product_id": "Art.-Nr.",
        "title": "Bezeichnung",
        "category": "Warengruppe",
        "product_type": "Artikeltyp",
    }
    assert found["attributes"] == {
        "Größen": {"field": "Größen", "separator": ","},
        "Gewicht": "Gewicht",
    }
    assert "\n  # price_eur: {field: Preis, price: true}   # for search --where" in text
    found["attributes"]["price_eur"] = {"field": "Preis", "price": True}
    draft = drafts(tmp_path, found)[0]
    assert draft.attributes == {"Größen": ("M", "S"), "Gewicht": "1,5", "price_eur": "3.00"}


def test_several_pictures_are_found_whatever_stands_between_them(tmp_path: Path) -> None:
    rows = [
        {
            "sku": f"A{i}",
            "name": f"Mug {i}",
            "Bild": f"{i}.png" + "|0.png" * (i % 3),
            "weitere_bilder": f"{i - 1}.png",
        }
        for i in range(12)
    ]
    write_rows(tmp_path, rows)
    found = yaml.safe_load(inspect(tmp_path, "shop")[0])
    assert found["image"]["path"] == {"field": "Bild", "separator": "|"}
    assert found["image"]["more"] == "weitere_bilder"
    assert len(drafts(tmp_path, found)[4].more_images) == 2


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_table_in_another_encoding_is_read_and_its_mapping_says_which(
    tmp_path: Path, encoding: str
) -> None:
    write_rows(
        tmp_path, [{"Art.-Nr.": f"A{i}", "Größe": "SML"[i % 3], "Foto": f"{i}.png"} for i in range(24)]
    )
    table = tmp_path / "artikel.csv"
    table.write_bytes(table.read_text().encode(encoding))
    (tmp_path / "notes.txt").write_text("no table")
    text = inspect(tmp_path, "laden").mapping
    assert f"encoding: {encoding}   # a guess" in text
    found = drafts(tmp_path, yaml.safe_load(text))
    assert [draft.attributes["Größe"] for draft in found[:3]] == ["S", "M", "L"]


def test_a_polish_feed_is_understood(tmp_path: Path) -> None:
    kinds = ["łopata", "wąż ogrodowy", "sekator", "konewka"]
    rows = [
        {
            "Kod": f"PL-{i}",
            "Długość": f"{100 + i} cm",
            "Nazwa": f"{kinds[i % 4]} ogrodowa żółta nr {i}",
            "Kategoria": ["Narzędzia", "Podlewanie"][i % 2],
            "Rodzaj": kinds[i % 4],
            "Kolor": ["żółty", "zielony", "czerwony"][i % 3],
            "Zdjęcie": f"{i}.png",
        }
        for i in range(24)
    ]
    write_rows(tmp_path, rows)
    found = yaml.safe_load(inspect(tmp_path, "sklep").mapping)
    named = {"product_id": "Kod", "title": "Nazwa", "category": "Kategoria", "product_type": "Rodzaj"}
    assert {name: found["fields"][name] for name in named} == named
    assert found["attributes"] == {"Kolor": "Kolor"} and found["image"]["path"] == "Zdjęcie"
    assert found["derive_queries"]["templates"] == ["{Kolor} {product_type}"]
    other = tmp_path / "other"
    other.mkdir()
    names = {"Kod": "x", "Długość": "size", "Nazwa": "say", "Zdjęcie": "photo"}
    write_rows(other, [{ours: row[theirs] for theirs, ours in names.items()} for row in rows])
    found = yaml.safe_load(inspect(other, "sklep").mapping)
    assert found["fields"]["title"] == "say", "a measure is no title"
    assert "derive_queries" not in found, "a query of a colour and no type asks for nothing"


def test_an_encoding_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'klingon' is no encoding of texts; such are utf-8, cp1252"):
        fields = dict.fromkeys(("product_id", "category", "product_type"), "a")
        rest = {"products": "a.csv", "fields": fields, "image": {"path": "a"}, "attributes": []}
        parse_mapping(rest | {"encoding": "klingon"}, "m")


def test_every_field_is_mapped_or_has_the_reason_why_not(tmp_path: Path) -> None:
    rows = [
        {
            "sku": f"A{i}",
            "name": f"Mug no. {i}",
            "department": ("Kitchen", "Bath")[i % 2],
            "kind": ("mug", "plate")[i // 2 % 2],
            "colour": ("red", "blue", "green")[i % 3],
            "photo": f"{i}.png",
            "price": f"{i + 3}.90",
            "weight": f"{i * 7 + 100}",
            "size": f"{i} x {i + 1} cm",
            "made in": "Portugal",
            "note": "a note" if i == 5 else "",
            "page": f"https://shop.example/{i}",
            "story": f"{i} " + "It was made by hand in a small workshop. " * 3,
            "type of goods": ("mug", "plate")[i // 2 % 2],
            "Lieferzeit": ("2 Tage", "1 Woche")[i % 2],
            "Bestandteile": ("Ton", "Glas")[i % 2],
        }
        for i in range(24)
    ]
    write_rows(tmp_path, rows)
    start = inspect(tmp_path, "shop")
    mapped = yaml.safe_load(start.mapping)
    assert mapped["attributes"] == {"colour": "colour", "Bestandteile": "Bestandteile"}
    told = {
        "price": "a price that names no currency: write price_eur: {field: price, price: true}",
        "weight": "24 different values in 24 rows, all numbers: a measure; add weight: weight",
        "size": "24 different values in 24 rows: nearly every product has its own",
        "made in": "says 'Portugal' in every row",
        "note": "only 1 of 24 rows have it",
        "page": "holds addresses",
        "story": "long text, ",
        "type of goods": "says what category or product_type says",
        "Lieferzeit": "says how it is delivered",
    }
    assert {name: start.unmapped.get(name, "")[: len(why)] for name, why in told.items()} == told
    assert set(start.unmapped) - set(told) <= {"name"} and "; not mapped: holds addresses" in start.mapping


def test_a_title_of_no_known_name_is_the_short_text_that_differs(tmp_path: Path) -> None:
    rows = [
        {"koodi": f"A{i}", "teksti": f"pitkä kuvaus {i} ja vielä", "nimike": f"Muki {i}", "kuva": f"{i}.png"}
        for i in range(12)
    ]
    write_rows(tmp_path, rows)
    assert yaml.safe_load(inspect(tmp_path, "kauppa")[0])["fields"]["title"] == "nimike"


def write_rows(root: Path, rows: list[dict[str, str]]) -> None:
    """A table of products, and a picture for each."""
    (root / "images").mkdir()
    for i in range(len(rows)):
        Image.new("RGB", (8, 8)).save(root / f"images/{i}.png")
    with (root / "artikel.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def test_urls_alone_are_named_as_such(tmp_path: Path) -> None:
    BY_NAME["Google Merchant TSV"].write(tmp_path, COUNT)
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    with pytest.raises(SourceError, match=r"field 'image_link' of .* holds URLs, and URLs are never fetched"):
        inspect(tmp_path, "mine")


def test_strange_names_and_values_make_a_mapping_that_yaml_reads(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    rows = ['"s:k #u",id,"Max. load","{x}: ""y""",pic']
    for n in range(20):
        (tmp_path / "p" / f"{n}.png").write_bytes(b"x")
        rows.append(f'a{n},i{n},"{n % 3}: #\x1b[31m","- [{n % 2}","{n}.png"')
    (tmp_path / "t [1].csv").write_text("\n".join(rows) + "\n")
    text, *_ = inspect(tmp_path, "mine")
    assert "\x1b" not in text
    mapping = yaml.safe_load(text)
    assert mapping["attributes"]["Max. load"] == "Max. load"
    assert [d.attributes["Max. load"][:2] for d in drafts(tmp_path, mapping)][:3] == ["0:", "1:", "2:"]


def test_an_id_may_have_a_name_of_the_shop_s_own(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    rows = ["Photo,Price,Name,Artikelnr.,Type"]
    for n in range(20):
        (tmp_path / "p" / f"{n}.png").write_bytes(b"x")
        rows.append(f"{n}.png,{n // 2}.90,Mug {n},A-{n},mug")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    text, *_ = inspect(tmp_path, "mine")
    assert yaml.safe_load(text)["fields"]["product_id"] == "Artikelnr."


def test_entities_of_a_feed_are_not_resolved(tmp_path: Path) -> None:
    from components.catalog.source.reading.rows import read_rows

    (tmp_path / "secret").write_text("secret")
    head = f'<!DOCTYPE r [<!ENTITY e SYSTEM "file://{tmp_path}/secret"><!ENTITY b "bbb">]>'
    item = "<item><id>1</id><t>&e;&b;x</t><img>a</img><img>b</img></item>"
    (tmp_path / "f.xml").write_text(f"{head}<rss><channel>{item}</channel></rss>")
    (row,) = read_rows(tmp_path / "f.xml", ())
    assert "secret" not in str(row.fields)
    assert (row.fields["id"], row.fields["img"]) == ("1", ["a", "b"])
    (tmp_path / "f.xml").write_text("<rss><channel><item><id>1</id></item><item>")
    with pytest.raises(SourceError, match=r"f\.xml is not readable XML"):
        list(read_rows(tmp_path / "f.xml", ()))


@pytest.mark.parametrize("path", sorted((ROOT / "conf/mappings").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_worked_mapping_is_valid_and_short(path: Path) -> None:
    assert parse_mapping(yaml.safe_load(path.read_text()), path.name)
    assert len(path.read_text().splitlines()) <= 40


def test_the_inspecting_command_writes_two_files_once(tmp_path: Path) -> None:
    from components.catalog.source.__main__ import main

    BY_NAME["WooCommerce CSV"].write(tmp_path / "shop", COUNT)
    mapping, profile = tmp_path / "conf/mappings/a.yaml", tmp_path / "conf/a.yaml"
    arguments = [f"--source={tmp_path / 'shop'}", f"--mapping={mapping}", f"--inspect={profile}"]
    assert main(arguments) == 0
    before = mapping.read_text()
    assert before and profile.read_text().startswith("# A start for your own catalogue")
    assert main(arguments) == 2
    assert mapping.read_text() == before
    assert main([*arguments[:2], f"--into={tmp_path / 'into'}"]) == 0
