"""What a run looks like while it goes: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Column
from rich.text import Text

from flows.stages import StageResult, Watcher

HEARTBEAT_S = 30.0
LINE = Column(ratio=1, no_wrap=True, overflow="ellipsis")
SHOWN = {"ran": "[green]done", "restored": "[cyan]from cache", "unchanged": "[cyan]unchanged",
         "cached": "[cyan]cached", "failed": "[red]failed"}  # fmt: skip


def duration(seconds: float) -> str:
    """Seconds for people: ``0.8 s``, ``42 s``, ``3 min 07 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(size: int) -> str:
    """Bytes for people; nothing for nothing."""
    if not size:
        return ""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def title(stage: str) -> str:
    """A stage's name without the file DVC puts before it."""
    return stage.rpartition(":")[2]


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

    @property
    def watcher(self) -> Watcher:
        """Where the flow reports to."""
        return Watcher(say=self.say, follow=self.follow, ended=self.ended)

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
        """A sentence between the lines."""
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
            self.console.print(text, highlight=False, markup=False)

    def ended(self, result: StageResult) -> None:
        """A stage is through."""
        self._told.pop(result.stage, None)
        spent = "" if result.state == "cached" else duration(result.seconds)
        used = "" if result.state == "cached" else memory(result.peak_memory_bytes)
        if self._live:
            self._show(result.stage, "default", SHOWN[result.state], spent, used)
        else:
            text = f"{title(result.stage)}: {SHOWN[result.state]}[/]  {spent}  {used}"
            self.console.print(text.rstrip(), highlight=False)
