"""The errors a stage may end with, and the exit code each one stands for."""

from __future__ import annotations


class VitrineError(Exception):
    """Base of every error Vitrine raises on purpose.

    The message is one sentence a person can act on: what is wrong, where (file, row, field), what to do.
    ``exit_code`` is what the process returns; each component derives its own family from a subclass.
    """

    exit_code = 1


class ConfigurationError(VitrineError):
    """A parameter, mapping or workspace is set up wrongly (exit code 2)."""

    exit_code = 2


class GateFailedError(VitrineError):
    """A data-quality gate refused the data, or failed while checking (exit code 3)."""

    exit_code = 3


class InvalidDataError(VitrineError):
    """An input file, row, image or model folder is missing, broken or inconsistent (exit code 4)."""

    exit_code = 4
