"""The words of titles and of values, for comparing."""

from __future__ import annotations


def core(token: str) -> str:
    """A token without signs at its ends, in lower case; empty when it is made of signs."""
    start, end = 0, len(token)
    while start < end and not token[start].isalnum():
        start += 1
    while end > start and not token[end - 1].isalnum():
        end -= 1
    return token[start:end].casefold()


def cores(text: str) -> list[str]:
    """The words of a text, those made of signs alone left out."""
    return [word for word in map(core, text.split()) if word]
