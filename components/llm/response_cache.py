"""Answers that were paid for, cached at once and found again by everything that decides them.

Deleting the folder costs money and time, and changes no result as long as the model repeats its answers.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from diskcache import Cache, JSONDisk

from components.llm.chat import Reply, Usage, counted_tokens
from components.llm.errors import ReplyError


class ResponseCache:
    """Replies by request key, as JSON in a folder; a kill loses at most those that have not arrived yet."""

    def __init__(self, folder: Path) -> None:
        # JSON, because diskcache's default form would run code that somebody has put into the folder
        self._cache = Cache(folder, disk=JSONDisk, eviction_policy="none", size_limit=2**62)

    def get(self, key: bytes) -> Reply | None:
        """The cached reply, if there is one; an entry that cannot be used is dropped, and asked for again."""
        try:
            kept = self._cache.get(key.hex())
            return None if kept is None else _reply(kept)
        except (ValueError, TypeError, KeyError, RecursionError, zlib.error, ReplyError):
            self._cache.delete(key.hex())
            return None

    def put(self, key: bytes, reply: Reply) -> None:
        """Cache a reply; it is on disk when this returns."""
        tokens = (reply.usage.prompt_tokens, reply.usage.completion_tokens)
        self._cache.set(key.hex(), {"text": reply.text, "cut": reply.cut, "tokens": tokens})

    def close(self) -> None:
        """Close the files."""
        self._cache.close()


def _reply(kept: dict[str, Any]) -> Reply:
    """The reply in a cached entry; anything may stand in a folder that other versions have written to."""
    text, cut, (prompt, completion) = kept["text"], kept["cut"], kept["tokens"]
    if not isinstance(cut, bool):
        raise TypeError("'cut' is true or false")
    str.encode(text)  # of a text only; fails for half a character, which no file of a stage can hold
    return Reply(text, cut, Usage(counted_tokens("prompt", prompt), counted_tokens("completion", completion)))
