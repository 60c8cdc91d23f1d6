"""Answers that were paid for, cached at once and found again by everything that decides them.

Deleting the folder costs money and time, and changes no result as long as the model repeats its answers.
"""

from __future__ import annotations

from pathlib import Path

from diskcache import Cache, JSONDisk

from components.llm.chat import Reply, Usage


class ResponseCache:
    """Replies by request key, as JSON in a folder; a kill loses at most those that have not arrived yet."""

    def __init__(self, folder: Path) -> None:
        # JSON, because diskcache's default form would run code that somebody has put into the folder
        self._cache = Cache(folder, disk=JSONDisk, eviction_policy="none", size_limit=2**62)

    def get(self, key: bytes) -> Reply | None:
        """The cached reply, if there is one."""
        kept = self._cache.get(key.hex())
        return None if kept is None else Reply(kept["text"], kept["cut"], Usage(*kept["tokens"]))

    def put(self, key: bytes, reply: Reply) -> None:
        """Cache a reply; it is on disk when this returns."""
        tokens = (reply.usage.prompt_tokens, reply.usage.completion_tokens)
        self._cache.set(key.hex(), {"text": reply.text, "cut": reply.cut, "tokens": tokens})

    def close(self) -> None:
        """Close the folder."""
        self._cache.close()
