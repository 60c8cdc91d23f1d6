"""Errors of training."""

from components.stage.errors import VitrineError


class DivergedError(VitrineError):
    """The loss is not finite; the message names the batch's examples (exit code 1)."""
