"""The source that a manifest describes, open for reading."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.catalog.build.catalogue_folder import CatalogueFolder
from components.catalog.source.importer import FileSource
from components.catalog.source.manifest import FILES, SourceManifest
from components.catalog.source.params import SourceParams


@contextmanager
def opened(
    manifest: SourceManifest, root: Path, params: SourceParams, work: Path
) -> Iterator[CatalogueFolder | FileSource]:
    """The source that ``manifest`` describes.

    ``root`` holds the manifest and, for ``kind: files``, the folder ``files``; ``work`` is a folder to make
    and to remove.

    Raises:
        CatalogueError: as ``CatalogueFolder``.
        SourceError, MappingError: as ``FileSource``.
    """
    if manifest.folder is not None:
        yield CatalogueFolder(manifest.folder)
        return
    assert manifest.mapping is not None  # one of the two, as the manifest has checked
    try:
        with FileSource(root / FILES, manifest.mapping, params, work) as source:
            yield source
    except sqlite3.OperationalError as error:
        if "full" in str(error):  # SQLite's words for a full disk, in those of the operating system
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work)) from None
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
