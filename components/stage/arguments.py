"""The arguments of commands for people, on a parser that tells its errors as plain text."""

from __future__ import annotations

import argparse
from typing import NoReturn
from unicodedata import normalize

from components.stage.files.printable import printable


def composed(text: str) -> str:
    """A text as catalogues hold it, in Unicode's composed form (NFC), however it was typed."""
    return normalize("NFC", text)


class Parser(argparse.ArgumentParser):
    """Names a wrong argument as text that a terminal does not obey."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and ``message``, and exit with code 2."""
        super().error(printable(message))
