"""The errors of retrieval."""

from __future__ import annotations

from components.stage.errors import ConfigurationError, InvalidDataError


class RetrievalDataError(InvalidDataError):
    """Scores, vectors or judgements that cannot be ranked or measured."""


class IndexFileError(RetrievalDataError):
    """An index folder that is missing, damaged, or made from another model than the one asked for."""


class FilterError(ConfigurationError):
    """A search filter names a field or a value that no product of the index has."""
