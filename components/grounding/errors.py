"""Errors of grounders."""

from components.stage.errors import InvalidDataError


class DetectorError(InvalidDataError):
    """A detector's folder is missing, of another architecture, or holds a file not allowed (exit code 4)."""


class GrounderFileError(InvalidDataError):
    """A published grounder is missing, damaged, or of another image tower (exit code 4)."""
