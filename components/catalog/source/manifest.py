"""``data/source``: where a catalogue comes from, and how a user's files get there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import yaml
from pydantic import model_validator

from components.catalog.format.errors import ImageError, SourceError
from components.catalog.format.images import check_start
from components.catalog.format.params import ImageLimits
from components.catalog.source.drafts import Draft
from components.catalog.source.importer import mapped_rows, product_drafts
from components.catalog.source.mapping import Mapping, field_paths, mapping_values
from components.catalog.source.observed_schema import ObservedSchema
from components.catalog.source.params import SourceParams
from components.catalog.source.reading.rows import source_files
from components.catalog.source.summary import Summary
from components.catalog.source.values.pictures import is_file
from components.stage.files.publish import published, write_text
from components.stage.params import Params, read_yaml, validate

MANIFEST = "manifest.yaml"
FILES = "files"
START_BYTES = 1024  # of a picture, which tell its format


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


def read_source(folder: Path) -> SourceManifest:
    """Read ``manifest.yaml`` of a source folder.

    Raises:
        ConfigurationError: it is missing or does not say what the source is.
    """
    path = folder / MANIFEST
    return validate(SourceManifest, read_yaml(path), str(path))


def import_source(
    source: Path, mapping: Mapping, into: Path, *, link: bool, params: SourceParams | None = None
) -> Summary:
    """Bring the files that ``mapping`` names to ``into/files`` and write ``into/manifest.yaml``.

    The whole source is read through the mapping first, so that a mistake shows here and not in the graph.
    ``link`` makes hard links where the file system can: nothing is copied, but the originals must not be
    edited afterwards. A picture file over ``params.images.max_bytes`` stays where it is.

    Raises:
        SourceError: a file or the image folder is missing or unreadable, or no picture is where it should be.
        MappingError: a mapped field is in no row.
    """
    put, params = partial(_put, link=link), params or SourceParams()
    summary = Summary(ObservedSchema(params))
    # The disk is flushed once: file by file, 9,000 pictures would take 40 s.
    with published(into / FILES, flush=lambda _: os.sync()) as target:
        for file in _tables(source, mapping):
            if _leads_out(file, source):
                raise SourceError(f"{file} is a link out of {source}; put the file itself there.")
            put(file, target / file.relative_to(source))
        _images(source, mapping, partial(_put_picture, put, target, params.images), summary)
        for rule in (mapping.queries, mapping.qrels):
            for _ in (
                mapped_rows(source, rule.file, field_paths(rule.fields), mapping.encoding) if rule else ()
            ):
                pass
    manifest = {"kind": "files", "mapping": mapping_values(mapping)}
    write_text(into / MANIFEST, yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True))
    return summary


def _tables(source: Path, mapping: Mapping) -> Iterator[Path]:
    yield from source_files(source, mapping.products)
    for rule in (mapping.queries, mapping.qrels, *mapping.join.values()):
        if rule:
            yield from source_files(source, rule.file)
    if mapping.schema_file:
        schema = source / mapping.schema_file
        if not schema.is_file():
            raise SourceError(f"{schema} does not exist; correct 'schema' in the mapping.")
        yield schema


def _images(
    source: Path, mapping: Mapping, put: Callable[[Path, str | bytes], str], summary: Summary
) -> None:
    for file, number, row in product_drafts(source, mapping):
        summary.add(file, number, row)
        if isinstance(row, Draft):
            if problem := put(source, row.image):
                summary.fail("image", problem, f"{file} row {number}")
            else:
                more = [one for one in row.more_images if not put(source, one)]
                summary.has_picture(row, len(more))
    if not summary.products:
        reasons = "; ".join(summary.reasons()) or f"all {summary.rows:,} rows are left out"
        raise SourceError(
            f"{source} gives no product: {reasons}. Correct the mapping; every product needs a picture."
        )


def _put_picture(
    put: Callable[[Path, Path], None], target: Path, limits: ImageLimits, source: Path, image: str | bytes
) -> str:
    """Bring a picture in, if it is a file that may come; why it can be no product's picture, else empty."""
    if isinstance(image, bytes):
        return _start_problem("its bytes", image[:START_BYTES])
    name, picture = repr(image[:80]), source / image
    if not is_file(picture):
        other = _names_in(picture.parent).get(picture.name.casefold())
        return f"{name} does not exist" + (f", but {other!r} does: capitals differ" if other else "")
    if _leads_out(picture, source):
        return f"{name} is a link out of the source"
    if (size := picture.stat().st_size) > limits.max_bytes:
        return f"{name} has {size:,} bytes, more than max_bytes={limits.max_bytes:,}; it is not brought in"
    put(picture, target / image)
    with picture.open("rb") as handle:
        return _start_problem(name, handle.read(START_BYTES))


@lru_cache(maxsize=8)
def _names_in(folder: Path) -> dict[str, str]:
    """The files of a folder by their names in small letters: Windows tells no capitals apart, Linux does."""
    try:
        return {file.name.casefold(): file.name for file in folder.iterdir()}
    except OSError:  # it is not there
        return {}


def _start_problem(name: str, start: bytes) -> str:
    try:
        check_start(start)
    except ImageError as error:
        return f"{name} {error}"
    return ""


def _leads_out(file: Path, source: Path) -> bool:
    """Whether a file is a link to elsewhere: only what lies in the source may come in."""
    return not file.resolve().is_relative_to(source.resolve())


def _put(file: Path, to: Path, *, link: bool) -> None:
    """Copy or link a file; one that is there already stays, for two products may share a picture."""
    if to.exists():
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(file.resolve(), to)
            return
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
    shutil.copyfile(file, to)
