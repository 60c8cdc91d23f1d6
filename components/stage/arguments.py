"""The arguments of commands for people, on a parser that tells its errors as plain text."""

from __future__ import annotations

import argparse
from typing import NoReturn

from components.stage.files.printable import printable


class Parser(argparse.ArgumentParser):
    """Names a wrong argument as text that a terminal does not obey."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and ``message``, and exit with code 2."""
        super().error(printable(message))
