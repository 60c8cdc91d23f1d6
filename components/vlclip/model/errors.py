"""Errors of VL-CLIP."""

from components.stage.errors import ConfigurationError, InvalidDataError


class VlclipConfigurationError(ConfigurationError):
    """A parameter or an item of a VL-CLIP stage cannot be used (exit code 2)."""


class TextDataError(InvalidDataError):
    """Clarified texts and catalogue do not fit each other, or the file is missing (exit code 4)."""
