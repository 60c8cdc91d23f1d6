"""Written rules behind the protocol of chat models.

There is no language model in this: each role is a function from the data of the request to an answer. It lets
the whole path run with no network and no weights; what it writes is as good as its rules and no better.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from components.llm.chat import Reply, Request, Usage
from components.llm.errors import ReplyError

Rule = Callable[[dict[str, Any]], dict[str, Any]]


class OfflineModel:
    """Answers a task by the rule of its name; the last user message must be a JSON object.

    Args:
        rules: task to rule. version: names the rules, as a model's name names its weights.
    """

    concurrency = 1
    sees_pictures = False
    caches_answers = False

    def __init__(self, rules: Mapping[str, Rule], version: str) -> None:
        self._rules = rules
        self.identity = f"offline:{version}"
        self.counts: dict[str, int] = {}

    async def reply(self, request: Request) -> Reply:
        """The answer that written rules give; ReplyError: there is no rule for the task."""
        rule = self._rules.get(request.task)
        if rule is None:
            raise ReplyError(f"there is no written rule for the task {request.task!r}")
        data = next((m.text for m in reversed(request.messages) if m.role == "user"), "{}")
        return Reply(json.dumps(rule(json.loads(data)), ensure_ascii=False), cut=False, usage=Usage())

    async def close(self) -> None:
        """Nothing to free."""
