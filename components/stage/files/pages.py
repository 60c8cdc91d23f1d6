"""Self-contained HTML pages from a Jinja template and the style sheet that stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from components.stage.files.printable import escaped


def render_page(
    template: Path, filters: Mapping[str, Callable[..., Any]] = MappingProxyType({}), **context: object
) -> str:
    """The page of ``template`` with its ``.css`` as ``css``: values escaped, undefined names an error.

    A template may import ``photo.jinja``, which lies here. Of values that are text, characters that a reader
    would not see stand as ``\\u202e``.
    """
    environment = _environment(template.parent)
    environment.filters |= filters
    style = Markup(template.with_suffix(".css").read_text(encoding="utf-8"))
    return environment.get_template(template.name).render(**context, css=style).strip() + "\n"


@cache
def _environment(folder: Path) -> Environment:
    """Kept, so that a template is compiled once for all pages made of it."""
    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _seen(value: object) -> object:
    return escaped(value, "\n\t") if type(value) is str else value
