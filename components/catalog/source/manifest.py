"""``data/source``: where a catalogue comes from, and how a user's files get there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import yaml
from pydantic import model_validator

from components.catalog.format.errors import SourceError
from components.catalog.source.drafts import RowProblem
from components.catalog.source.importer import mapped_rows, product_drafts
from components.catalog.source.mapping import Mapping, field_paths, mapping_values
from components.catalog.source.rows import source_files
from components.stage.params import Params, read_yaml, validate
from components.stage.publish import published, write_text

MANIFEST = "manifest.yaml"
FILES = "files"


class SourceManifest(Params):
    """``manifest.yaml``: files with their mapping, or a folder that has the form of a catalogue."""

    kind: Literal["catalogue", "files"]
    folder: Path | None = None  # relative to the workspace, such as data/shop
    mapping: Mapping | None = None

    @model_validator(mode="after")
    def _fields_fit_kind(self) -> SourceManifest:
        given = {"folder": self.folder is not None, "mapping": self.mapping is not None}
        wanted = "folder" if self.kind == "catalogue" else "mapping"
        if given != {name: name == wanted for name in given}:
            raise ValueError(f"kind: {self.kind} needs a {wanted} and nothing else")
        return self


class Imported(NamedTuple):
    """What ``import_source`` found and brought in."""

    rows: int
    rejected: int
    images: int
    missing_images: int


def read_source(folder: Path) -> SourceManifest:
    """Read ``manifest.yaml`` of a source folder.

    Raises:
        ConfigurationError: it is missing or does not say what the source is.
    """
    path = folder / MANIFEST
    return validate(SourceManifest, read_yaml(path), str(path))


def import_source(source: Path, mapping: Mapping, into: Path, *, link: bool) -> Imported:
    """Bring the files that ``mapping`` names to ``into/files`` and write ``into/manifest.yaml``.

    The whole source is read through the mapping first, so that a mistake shows here and not in the graph.
    ``link`` makes hard links where the file system can: nothing is copied, but the originals must not be
    edited afterwards.

    Raises:
        SourceError: a file or the image folder is missing or unreadable, or no picture is where it should be.
        MappingError: a mapped field is in no row.
    """
    put = _link if link else _copy
    with _replaced(into / FILES) as target:
        for file in _tables(source, mapping):
            if not file.resolve().is_relative_to(
                source.resolve()
            ):  # as for pictures: a link may lead anywhere
                raise SourceError(f"{file} is a link out of {source}; put the file itself there.")
            put(file, target / file.relative_to(source))
        imported = _images(source, mapping, target, put)
        _read_rest(source, mapping)
    manifest = {"kind": "files", "mapping": mapping_values(mapping)}
    write_text(into / MANIFEST, yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True))
    return imported


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` on success.

    As ``published``, but the disk is flushed once: file by file, 9,000 pictures would take 40 s.
    """
    with published(folder, flush=lambda _: os.sync()) as temporary:
        temporary.mkdir()
        yield temporary


def _tables(source: Path, mapping: Mapping) -> Iterator[Path]:
    yield from source_files(source, mapping.products)
    for rule in (mapping.queries, mapping.qrels):
        if rule:
            yield from source_files(source, rule.file)
    if mapping.schema_file:
        if not (source / mapping.schema_file).is_file():
            raise SourceError(
                f"{source / mapping.schema_file} does not exist; correct 'schema' in the mapping."
            )
        yield source / mapping.schema_file


def _images(source: Path, mapping: Mapping, target: Path, put: Callable[[Path, Path], None]) -> Imported:
    rows = rejected = images = missing = 0
    inside = source.resolve()
    for _, _, draft in product_drafts(source, mapping):
        rows += 1
        if isinstance(draft, RowProblem):
            rejected += 1
            continue
        if isinstance(draft.image, bytes):
            images += 1
            continue
        picture = source / draft.image
        # A link may lead anywhere; only what lies in the source may come in.
        if picture.is_file() and picture.resolve().is_relative_to(inside):
            put(picture, target / draft.image)
            images += 1
        else:
            missing += 1
    if not images:
        reason = (
            f"none of its {missing} pictures exists in {source / mapping.image.folder}"
            if missing
            else "no row fits"
        )
        raise SourceError(f"{source} gives no product: {reason}; correct the mapping.")
    return Imported(rows, rejected, images, missing)


def _read_rest(source: Path, mapping: Mapping) -> None:
    for rule in (mapping.queries, mapping.qrels):
        if rule:
            for _ in mapped_rows(source, rule.file, field_paths(rule.fields)):
                pass


def _copy(file: Path, to: Path) -> None:
    if not to.exists():  # two products may share a picture
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)


def _link(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), to)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        _copy(file, to)
