"""How a full disk, and a process killed from outside, show themselves, and what to do about them.

Libraries tell of a full disk in their own words, and a page of a mapped file that finds no place on it ends
the process with SIGBUS. People need one sentence for all of them.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

DISK_FULL = (
    "the disk is full: 'vitrine gc' frees what no branch needs ('--cache': our caches too); then run again; "
    "finished stages are kept."
)
KILLED = "its process was killed from outside (out of memory?); run again, finished stages are kept."
NO_SPACE = re.compile(
    r"No space left on device|os error 28\b|disk (?:is|or disk is) full|Disk quota exceeded", re.IGNORECASE
)
# How DVC and a shell tell of SIGKILL and SIGTERM, and of SIGBUS
KILLED_BY = re.compile(r"(?:exited with|exit code) (?:-9|-15|137|143)\b")
NO_PAGE = re.compile(r"(?:exited with|exit code) (?:-7|135)\b")
LEAST_FREE_BYTES = 16 * 2**20  # where less is free, this is why things fail


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def of_full_disk(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, says that the disk is full."""
    chain = list(causes(error))
    known = any(isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT) for e in chain)
    return known or any(NO_SPACE.search(str(e)) for e in chain)


def full(place: Path) -> bool:
    """Whether the disk that holds ``place`` has no room left to speak of."""
    return shutil.disk_usage(place).free < LEAST_FREE_BYTES


def why_it_ended(told: str, log_end: str, place: Path) -> str:
    """What people can do about a process that ended with ``told`` and ``log_end``; else ``told`` itself."""
    if NO_SPACE.search(told) or NO_SPACE.search(log_end) or NO_PAGE.search(told) or full(place):
        return DISK_FULL
    return KILLED if KILLED_BY.search(told) else told
