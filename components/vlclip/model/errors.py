"""Errors of VL-CLIP."""

from components.stage.errors import ConfigurationError, InvalidDataError


class VlclipConfigurationError(ConfigurationError):
    """A parameter or an item of a VL-CLIP stage cannot be used (exit code 2)."""


class BoxError(InvalidDataError):
    """A box is not four finite fractions of its picture in the order x0 y0 x1 y1 (exit code 4)."""


class DetectorError(InvalidDataError):
    """A detector's folder is missing, of another architecture, or holds a file not allowed (exit code 4)."""


class GroundingDataError(InvalidDataError):
    """Boxes and catalogue do not fit each other, or a file of boxes is missing or damaged (exit code 4)."""


class TextDataError(InvalidDataError):
    """Clarified texts and catalogue do not fit each other, or the file is missing (exit code 4)."""


class GrounderFileError(InvalidDataError):
    """A published grounder is missing, damaged, or of another image tower (exit code 4)."""
