"""Errors of the encoder."""

from components.stage.errors import ConfigurationError, InvalidDataError


class EncoderConfigurationError(ConfigurationError):
    """A parameter of the encoder cannot be used (exit code 2)."""


class ModelFileError(InvalidDataError):
    """A model folder is missing, cut, of another version, or holds a file not allowed (exit code 4)."""


class TrainingDataError(InvalidDataError):
    """There is nothing, or not enough, to train or evaluate on (exit code 4)."""


class CacheFileError(InvalidDataError):
    """A cache of vectors is damaged (exit code 4)."""
