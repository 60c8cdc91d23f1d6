"""Errors of the text agent."""

from components.stage.errors import InvalidDataError


class VectorsDataError(InvalidDataError):
    """Vectors of pictures, encoder and catalogue do not fit each other, or one is missing (exit code 4)."""
