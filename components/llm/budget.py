"""What the answers of one stage may cost."""

from __future__ import annotations

from components.llm.chat import Request, Usage
from components.llm.errors import BudgetSpentError
from components.llm.params import Budget

CHARACTERS_PER_TOKEN = 3  # an estimate on the safe side, for what is under way and not yet counted
PICTURE_TOKENS = 1024  # likewise


class Spending:
    """Counts answers, cached ones included, and requests under way."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.requests = 0
        self.usage = Usage()
        self._under_way: dict[int, int] = {}  # id of a reservation -> tokens
        self._next = 0

    def count(self, usage: Usage) -> None:
        """Count one answer."""
        self.requests += 1
        self.usage += usage

    def reserve(self, request: Request) -> int:
        """Set aside what a request may cost; give the result to ``settle``.

        Raises:
            BudgetSpentError: it might go over the budget. What is set aside counts as spent, so the budget
                holds at any concurrency.
        """
        tokens = _estimate(request)
        requests = self.requests + len(self._under_way) + 1
        total = self.usage.total + sum(self._under_way.values()) + tokens
        if self._budget.requests is not None and requests > self._budget.requests:
            raise BudgetSpentError(_spent(f"{self._budget.requests:,} requests", "requests"))
        if self._budget.tokens is not None and total > self._budget.tokens:
            raise BudgetSpentError(_spent(f"{self._budget.tokens:,} tokens", "tokens"))
        self._next += 1
        self._under_way[self._next] = tokens
        return self._next

    def settle(self, reservation: int, usage: Usage | None) -> None:
        """A reserved request came back with ``usage``, or without an answer."""
        del self._under_way[reservation]
        if usage is not None:
            self.count(usage)


def _estimate(request: Request) -> int:
    characters = sum(len(m.text) for m in request.messages)
    pictures = sum(m.picture is not None for m in request.messages)
    return request.max_tokens + characters // CHARACTERS_PER_TOKEN + PICTURE_TOKENS * pictures


def _spent(what: str, key: str) -> str:
    return (
        f"The budget of {what} is spent; every answer so far is cached. Raise llm.budget.{key} and run "
        "again: the work goes on where it stopped."
    )
