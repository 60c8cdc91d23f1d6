"""Errors of the chat models."""

from components.stage.errors import ConfigurationError, InvalidDataError, VitrineError


class ChatConfigurationError(ConfigurationError):
    """A parameter of the chat models, or an environment variable they name, cannot be used (exit code 2)."""


class ChatModelFileError(InvalidDataError):
    """A folder with a local chat model is missing, broken, or holds a pickle (exit code 4)."""


class EndpointError(VitrineError):
    """The endpoint does not answer any more; its answers so far are cached (exit code 1)."""


class BudgetSpentError(VitrineError):
    """The budget of requests or tokens is spent; what was paid for is cached (exit code 1)."""


class TooManyFailuresError(VitrineError):
    """More items failed than the parameters allow (exit code 1)."""


class ReplyError(VitrineError):
    """One request got no usable reply; others may. The message becomes the item's reason."""
