"""What can be wrong with a catalogue or with the source it is built from."""

from __future__ import annotations

from components.stage.errors import ConfigurationError, InvalidDataError


class CatalogueError(InvalidDataError):
    """A catalogue folder is missing, incomplete or inconsistent, or is being written in a wrong order."""


class SchemaError(CatalogueError):
    """A schema file cannot be read, or contradicts itself."""


class ImageError(CatalogueError):
    """Image bytes are refused: unknown format, broken, animated, or beyond the limits."""


class SourceError(CatalogueError):
    """A source file or folder is missing, unreadable, or holds no product."""


class WrongEncodingError(SourceError):
    """A table is not in the encoding that it was read with; ``likely`` is one that it may be in."""

    def __init__(self, message: str, likely: str) -> None:
        super().__init__(message)
        self.likely = likely


class MappingError(ConfigurationError):
    """A mapping names a field, file or value that the source does not have."""
