"""The errors of the quality gates."""

from __future__ import annotations

from components.stage.errors import GateFailedError


class GateError(GateFailedError):
    """Data that broke its contract, or a check that could not be carried out: either way nothing passes."""
