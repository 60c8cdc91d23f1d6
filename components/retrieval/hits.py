"""What a search finds, and how both search commands print it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from components.stage.files.printable import printable

MOST_OF_AN_ID = 40  # columns; a longer id goes on in the next line
WIDTH = 120  # columns, where it is no terminal


@dataclass(frozen=True)
class Hit:
    """One product found; ``score`` is what the search ranks by, higher first."""

    rank: int
    score: float
    product_id: str
    title: str
    product_type: str
    attributes: Mapping[str, str | tuple[str, ...]]


def print_hits(hits: Sequence[Hit], as_json: bool, ranked_by: str | None = None) -> None:
    """A table on the terminal for people, with what it is ranked by below; or a JSON list for programs."""
    if as_json:
        print(json.dumps([asdict(hit) for hit in hits], indent=1))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=Text(printable(ranked_by or "")) if ranked_by else None, caption_justify="left")
    id_width = min(MOST_OF_AN_ID, max((len(hit.product_id) for hit in hits), default=0))
    for name, width in (("", None), ("score", 5), ("product", id_width), ("type", None), ("title", None)):
        table.add_column(name, min_width=width, overflow="fold")
    table.add_column("attributes", overflow="fold")
    for hit in hits:
        attributes = "; ".join(
            f"{k}: {v if isinstance(v, str) else ', '.join(v)}" for k, v in hit.attributes.items()
        )
        texts = (hit.product_id, hit.product_type, hit.title, attributes)  # a seller's: no markup of ours
        table.add_row(str(hit.rank), f"{hit.score:.3f}", *(Text(printable(text)) for text in texts))
    out = Console()
    out = out if out.is_terminal else Console(width=WIDTH)
    # not cropped: on a narrow terminal a line may wrap, but an id is whole
    out.print(
        table if hits else "Nothing found: no product fulfils every --where and has what was asked for.",
        crop=False,
    )
