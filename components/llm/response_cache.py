"""Answers that were paid for, in one SQLite file: kept at once, found again by everything that decides them.

Deleting the file costs money and time, and changes no result as long as the model itself repeats its answers.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from components.llm.chat import Reply, Usage


class ResponseCache:
    """Replies by request key; a kill loses at most the replies that have not arrived yet."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(file, timeout=60, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, text TEXT, cut INTEGER, "
            "prompt_tokens INTEGER, completion_tokens INTEGER) WITHOUT ROWID"
        )

    def get(self, key: bytes) -> Reply | None:
        """The kept reply, if there is one."""
        row = self._db.execute(
            "SELECT text, cut, prompt_tokens, completion_tokens FROM replies WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else Reply(row[0], bool(row[1]), Usage(row[2], row[3]))

    def put(self, key: bytes, reply: Reply) -> None:
        """Keep a reply; it is on disk when this returns."""
        usage = reply.usage
        self._db.execute(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)",
            (key, reply.text, int(reply.cut), usage.prompt_tokens, usage.completion_tokens),
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()
