"""A user's catalogue brings in its own files, never what a link in it leads to."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.catalog.format.errors import SourceError
from components.catalog.source.manifest import import_source
from components.catalog.source.mapping import parse_mapping
from tests.data.test_catalog_importer import folder_of, item, mapping_of


@pytest.mark.parametrize("link", [False, True])
def test_a_table_that_is_a_link_out_of_the_source_is_refused(tmp_path: Path, link: bool) -> None:
    root = folder_of(tmp_path / "s", [item(1)])
    private = (root / "items.jsonl").rename(tmp_path / "private.jsonl")
    (root / "items.jsonl").symlink_to(private)
    with pytest.raises(SourceError, match="is a link out of"):
        import_source(root, parse_mapping(mapping_of(), "m"), tmp_path / "into", link=link)
    assert not (tmp_path / "into/files").exists()


def test_a_schema_that_is_a_link_out_of_the_source_is_refused(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(1)])
    (tmp_path / "secret").write_text("{}")
    (root / "schema.json").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceError, match="is a link out of"):
        import_source(
            root, parse_mapping(mapping_of(schema="schema.json"), "m"), tmp_path / "into", link=False
        )


def test_a_link_inside_the_source_is_fine(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(1)])
    (root / "items.jsonl").rename(root / "real.jsonl")
    (root / "items.jsonl").symlink_to("real.jsonl")
    assert import_source(root, parse_mapping(mapping_of(), "m"), tmp_path / "into", link=False).products == 1
