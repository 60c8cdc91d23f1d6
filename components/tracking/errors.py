"""The errors of tracking."""

from __future__ import annotations

from components.stage.errors import ConfigurationError, InvalidDataError, VitrineError


class TrackingError(VitrineError):
    """MLflow answered, and its answer cannot be used (exit code 1)."""


class TrackerUnavailableError(TrackingError):
    """The tracking store cannot be reached, is locked or is broken; records wait (exit code 1)."""


class UnknownReferenceError(ConfigurationError):
    """A name given by the user is not a run, profile, commit, model or alias (exit code 2)."""


class OtherCatalogueError(ConfigurationError):
    """Sides of different catalogues were to be compared, and nobody forced it (exit code 2)."""


class LockFileError(InvalidDataError):
    """dvc.lock cannot be read (exit code 4)."""


class ModelFolderError(InvalidDataError):
    """A model folder holds what may not be registered, or lacks what must be there (exit code 4)."""
