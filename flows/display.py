"""What a run looks like while it goes: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from flows.stages import StageResult, Watcher

HEARTBEAT_S = 30.0
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
        self._stages = stages
        self._ended: dict[str, StageResult] = {}
        self._running: dict[str, tuple[float, str]] = {}  # stage -> seconds, newest line
        self._told: dict[str, float] = {}
        self._spinner = Spinner("dots")
        live = console.is_terminal and not console.is_dumb_terminal
        self._live = (
            Live(get_renderable=self._table, console=console, refresh_per_second=8, transient=True)
            if live
            else None
        )

    @property
    def watcher(self) -> Watcher:
        """Where the flow reports to."""
        return Watcher(say=self.say, follow=self.follow, ended=self.ended)

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """A sentence between the lines."""
        self.console.print(Text(f"  {text}", style="dim"), soft_wrap=True)

    def follow(self, stage: str, seconds: float, line: str) -> None:
        """A running stage and the newest line of its log."""
        if stage not in self._running:
            self._told[stage] = time.monotonic()
            if self._live is None:
                self.console.print(f"{title(stage)}: running", highlight=False)
        self._running[stage] = (seconds, line)
        if self._live is None and time.monotonic() - self._told[stage] >= HEARTBEAT_S:
            self._told[stage] = time.monotonic()
            self.console.print(
                f"{title(stage)}: {duration(seconds)}  {line[:160]}", highlight=False, markup=False
            )

    def ended(self, result: StageResult) -> None:
        """A stage is through."""
        self._ended[result.stage] = result
        self._running.pop(result.stage, None)
        if self._live is None:
            spent = (
                ""
                if result.state == "cached"
                else f"  {duration(result.seconds)}  {memory(result.peak_memory_bytes)}"
            )
            self.console.print(
                f"{title(result.stage)}: {SHOWN[result.state]}[/]{spent.rstrip()}", highlight=False
            )

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, width=min(self.console.width, 110))
        for ratio, justify in ((None, "left"), (None, "left"), (None, "right"), (1, "left")):
            table.add_column(ratio=ratio, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        for name in self._stages:
            table.add_row(*self._row(name))
        return table

    def _row(self, name: str) -> tuple[str | Text, str | Spinner, str, Text]:
        if name in self._ended:
            result = self._ended[name]
            spent = "" if result.state == "cached" else duration(result.seconds)
            return (
                title(name),
                SHOWN[result.state],
                spent,
                Text(memory(result.peak_memory_bytes), style="dim"),
            )
        if (running := self._running.get(name)) is not None:
            seconds, line = running
            return Text(title(name), style="bold"), self._spinner, duration(seconds), Text(line, style="dim")
        return Text(title(name), style="dim"), "", "", Text("")
