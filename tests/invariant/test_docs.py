"""What the documentation names is there: files, stages, and what its links lead to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from components.stage.frame import rooms

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCE = re.compile(
    r"\b(?:components|flows|tests|benchmarks|conf|infra)/[\w/.-]*\.(?:py|yaml|jinja|css|sh)\b"
)
COMMAND = re.compile(r"python -m components\.stage ([a-z][\w.]*)")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
MERGE_MARK = re.compile(r"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)
# Files that a page tells its reader to make.
OF_THE_READER = re.compile(r"NAME|/X\.|^conf/(mappings/)?mine\.yaml$")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_stages_and_links_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = {n for n in SOURCE.findall(text) if not OF_THE_READER.search(n) and not (ROOT / n).exists()}
    missing |= {room for room in COMMAND.findall(text) if room not in rooms()}
    missing |= {link for link in LINK.findall(text) if not (page.parent / link).exists()}
    assert not missing, f"{page.relative_to(ROOT)} names what does not exist: {sorted(missing)}"


def test_no_file_holds_the_marks_of_a_merge() -> None:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = (ROOT / n for n in names.split() if Path(n).suffix in {".md", ".py", ".yaml", ".toml", ".txt"})
    assert not [
        str(p.relative_to(ROOT)) for p in texts if p.exists() and MERGE_MARK.search(p.read_text("utf-8"))
    ]
