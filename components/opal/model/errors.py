"""Errors of OPAL's model stages."""

from components.stage.errors import ConfigurationError, InvalidDataError, VitrineError
from components.stage.left_out import NotPossibleError


class ListingConfigurationError(ConfigurationError):
    """A parameter of the listing model cannot be used (exit code 2)."""


class ListingModelFileError(InvalidDataError):
    """A model folder is missing, cut, of another version, or holds a file not allowed (exit code 4)."""


class ListingDataError(InvalidDataError):
    """Rows that cannot be trained or evaluated on; the message names them (exit code 4)."""


class NoAttributesError(ListingDataError, NotPossibleError):
    """The catalogue has no attributes to refine and to write: OPAL is left out."""


class NoTruthError(ListingDataError, NotPossibleError):
    """What is true is not known apart from what sellers wrote: nothing can be held against it."""


class PhotoError(InvalidDataError):
    """A photo cannot be described: missing, broken, too large (exit code 4)."""


class ListingDivergedError(VitrineError):
    """A loss is not finite (exit code 1)."""
