"""Progress of long work: a bar with rate and ETA on a terminal, one line every few seconds elsewhere."""

from __future__ import annotations

import shutil
import sys
import time

LINE_EVERY_S = 5.0


class Progress:
    """Count finished items of ``total`` and report the progress on standard error."""

    def __init__(self, what: str, total: int, unit: str = "items") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._start = time.perf_counter()
        self._reported = self._start
        self._live = sys.stderr.isatty()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more; ``note`` is shown behind the rate (loss, share of time waiting for data)."""
        self.done += count
        now = time.perf_counter()
        if now - self._reported < (0.1 if self._live else LINE_EVERY_S) and self.done < self.total:
            return
        self._reported = now
        rate = self.done / max(now - self._start, 1e-9)
        left = (self.total - self.done) / rate if rate else float("inf")
        text = (
            f"{self.what}: {self.done:,}/{self.total:,} {self.unit}, {rate:,.0f}/s, {left:.0f} s left {note}"
        )
        # a line that wraps could not be written over
        text = text.rstrip()[: shutil.get_terminal_size().columns - 1 if self._live else None]
        end = "\n" if not self._live or self.done >= self.total else ""
        print(("\r\x1b[2K" if self._live else "") + text, end=end, file=sys.stderr, flush=True)
