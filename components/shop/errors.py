"""Errors of the synthetic shop."""

from __future__ import annotations

from components.stage.errors import ConfigurationError


class ShopError(ConfigurationError):
    """The shop cannot be built as its parameters ask; the message names the parameter to change."""
