"""Errors of OPAL's model stages."""

from components.stage.errors import ConfigurationError, InvalidDataError, VitrineError


class ListingConfigurationError(ConfigurationError):
    """A parameter of the listing model cannot be used (exit code 2)."""


class ListingModelFileError(InvalidDataError):
    """A model folder is missing, cut, of another version, or holds a file not allowed (exit code 4)."""


class ListingDataError(InvalidDataError):
    """Rows that cannot be trained or evaluated on; the message names them (exit code 4)."""


class PhotoError(InvalidDataError):
    """A photo cannot be described: missing, broken, too large (exit code 4)."""


class ListingDivergedError(VitrineError):
    """A loss is not finite (exit code 1)."""
