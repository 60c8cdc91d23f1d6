"""The errors of the report."""

from __future__ import annotations

from components.stage.errors import ConfigurationError, InvalidDataError


class ReportInputError(InvalidDataError):
    """A file the report is made from is missing, broken, or does not fit the others (exit code 4)."""


class ReportParamsError(ConfigurationError):
    """The block ``report`` of params.yaml asks for something that the inputs do not hold (exit code 2)."""
