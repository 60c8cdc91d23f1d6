"""Union-find (Galler and Fischer 1964): groups that grow as their members turn out to belong together.

A group is a tree in ``parent``, one entry per member, which begins as ``range(n)``; two groups become one by
``parent[root(parent, a)] = root(parent, b)``.
"""

from __future__ import annotations

from collections.abc import MutableSequence


def root(parent: MutableSequence[int], member: int) -> int:
    """The member that a group is known by; halves the way to it, so that the next one is shorter."""
    while parent[member] != member:
        parent[member] = parent[parent[member]]
        member = parent[member]
    return member
