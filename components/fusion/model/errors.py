"""Errors of fusion retrieval."""

from components.stage.errors import ConfigurationError, InvalidDataError
from components.stage.left_out import NotPossibleError


class FusionConfigurationError(ConfigurationError):
    """A parameter or a command of fusion retrieval cannot be used (exit code 2)."""


class FusionDataError(InvalidDataError):
    """There is nothing, or not enough, to align, fuse, evaluate or search (exit code 4)."""


class NoQueriesError(FusionDataError, NotPossibleError):
    """The catalogue has no queries to learn from or to ask: fusion retrieval is left out."""


class TowerFileError(InvalidDataError):
    """The head of aligned towers is damaged, or something foreign lies beside it (exit code 4)."""


class NetworkFileError(InvalidDataError):
    """A network folder is missing, cut, or made for other towers than those beside it (exit code 4)."""
