"""Errors of boxes and of files of them."""

from components.stage.errors import InvalidDataError


class BoxError(InvalidDataError):
    """A box is not four finite fractions of its picture in the order x0 y0 x1 y1 (exit code 4)."""


class GroundingDataError(InvalidDataError):
    """Boxes and catalogue do not fit each other, or a file of boxes is missing or damaged (exit code 4)."""
