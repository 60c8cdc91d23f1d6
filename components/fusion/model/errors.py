"""Errors of fusion retrieval."""

from components.stage.errors import ConfigurationError, InvalidDataError
from components.stage.left_out import NotPossibleError


class FusionConfigurationError(ConfigurationError):
    """A parameter or a command of fusion retrieval cannot be used (exit code 2)."""


class FusionDataError(InvalidDataError):
    """There is not enough to align, fuse, evaluate or search, or a model folder is broken (exit code 4)."""


class NoQueriesError(FusionDataError, NotPossibleError):
    """The catalogue has no queries to learn from or to ask: fusion retrieval is left out."""
