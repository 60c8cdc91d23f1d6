"""The errors of running the graph, and the exit code each one stands for."""

from __future__ import annotations

from pathlib import Path

from components.stage.errors import ConfigurationError, InvalidDataError, VitrineError

SERVER_LOST = (
    "Prefect's server has gone away, so no further stage was begun; those at work were let finish, and their "
    "records are kept. Run again to go on from there."
)


class FlowError(VitrineError):
    """Base of what may go wrong around the stages (exit code 1)."""


class WorkspaceError(FlowError, ConfigurationError):
    """A workspace, a runner's clone, git, DVC or Prefect is not set up as it must be (exit code 2)."""

    exit_code = 2


class SelectionError(FlowError, ConfigurationError):
    """A system, stage or profile that does not exist was asked for (exit code 2)."""

    exit_code = 2


class LockHeldError(FlowError):
    """Another process kept a lock of the workspace for longer than the caller would wait."""


class CalledOffError(FlowError):
    """A stage was stopped from outside: an interruption, or a cancelled flow run (exit code 130)."""

    exit_code = 130


class TrackerError(FlowError):
    """Prefect's API did not start or does not answer."""


class RunnerError(FlowError):
    """A stage could not be run on a GPU runner, or its results could not be brought back (exit code 1)."""


class RunnerTimeoutError(RunnerError):
    """No runner took the stage, or it did not end in time (exit code 1)."""


class RunnerInputError(InvalidDataError):
    """An input of the stage is missing or differs between here and the runner (exit code 4)."""


class StageFailedError(FlowError):
    """A stage ended with an error; carries the exit code of its command and the path of the stage log."""

    def __init__(self, stage: str, error: str, exit_code: int, log: Path | None = None) -> None:
        where = f" (log: {log})" if log else ""
        super().__init__(f"Stage '{stage}' failed: {error}{where}")
        self.stage = stage
        self.exit_code = exit_code
