"""What every test shares."""

from __future__ import annotations

import os
import sys

# Some machines forbid compiled modules; then each process that a test starts compiles the project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
