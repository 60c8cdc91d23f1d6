"""What a run looks like while it goes: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Column
from rich.text import Text

from components.report.budget import duration, memory, shown_state, title
from components.stage.record import StageResult

HEARTBEAT_S = 30.0
LINE = Column(ratio=1, no_wrap=True, overflow="ellipsis")


class Display:
    """Shows the stages of one run; use as a context manager around it."""

    def __init__(self, console: Console, stages: tuple[str, ...]) -> None:
        self.console = console
        self._told: dict[str, float] = {}  # running stage -> when a line of it was last printed
        self._live = console.is_terminal and not console.is_dumb_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.fields[state]}"),
            TextColumn("{task.fields[spent]}", justify="right"),
            TextColumn("{task.fields[line]}", style="dim", markup=False, table_column=LINE),
            console=console,
            transient=True,
            expand=True,
            disable=not self._live,
        )
        blank: dict[str, Any] = {"state": "", "spent": "", "line": ""}
        self._tasks = {name: self._progress.add_task(f"[dim]{title(name)}", **blank) for name in stages}

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _show(self, stage: str, style: str, state: str, spent: str, line: str) -> None:
        name = f"[{style}]{title(stage)}"
        self._progress.update(self._tasks[stage], description=name, state=state, spent=spent, line=line)

    def say(self, text: str) -> None:
        """Print a sentence between the lines."""
        self.console.print(Text(f"  {text}", style="dim"), soft_wrap=True)

    def follow(self, stage: str, seconds: float, line: str) -> None:
        """A running stage and the newest line of its log."""
        first = stage not in self._told
        self._told.setdefault(stage, time.monotonic())
        if self._live:
            self._show(stage, "bold", "[yellow]running", duration(seconds), line)
        elif first:
            self.console.print(f"{title(stage)}: running", highlight=False)
        elif time.monotonic() - self._told[stage] >= HEARTBEAT_S:
            self._told[stage] = time.monotonic()
            text = f"{title(stage)}: {duration(seconds)}  {line[:160]}"
            self.console.print(text, highlight=False, markup=False, no_wrap=True, overflow="ellipsis")

    def ended(self, result: StageResult) -> None:
        """A stage is through."""
        self._told.pop(result.stage, None)
        cached = result.state == "cached"
        spent, used = ("", "") if cached else (duration(result.seconds), memory(result.peak_memory_bytes))
        if self._live:
            self._show(result.stage, "default", shown_state(result), spent, used)
        else:
            text = f"{title(result.stage)}: {shown_state(result)}[/]  {spent}  {used}"
            self.console.print(text.rstrip(), highlight=False)
