"""Errors of OPAL."""

from components.stage.errors import ConfigurationError, InvalidDataError


class ListingConfigurationError(ConfigurationError):
    """A parameter of OPAL cannot be used (exit code 2)."""


class ListingDataError(InvalidDataError):
    """Listings, vectors or refined data are missing, broken or do not belong together (exit code 4)."""
