"""How the shop's sellers write when they write well: clean titles and descriptions of a product.

A title states some attributes, the description some more; the rest stands in the attribute table and can be
seen in the picture. Words here are the sellers' own: queries (queries.py) and seller noise use others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from components.shop.design import Specification, pick
from components.shop.texts.wording import SELLERS

_Rng = np.random.Generator


@dataclass(frozen=True)
class ShopListing:
    """A clean listing and the names of the attributes that its title or its description states."""

    title: str
    description: str
    stated: frozenset[str]


def _part(name: str, value: str) -> str:
    if name == "arms" or value == "sleeveless":
        return str(SELLERS["whole_values"].get(value, value))
    return value if " " in value else str(SELLERS["parts"].get(name, "{}").format(value))


def _said(rng: _Rng, what: Specification, share: dict[str, float]) -> set[str]:
    """Attributes that a seller thinks of, each with its own likelihood."""
    return {name for name, likely in share.items() if name in what.attributes and rng.random() < likely}


def _front(rng: _Rng, what: Specification, said: set[str]) -> list[str]:
    """Adjectives before the noun, in one of several orders."""
    words = {
        "colour": what.attributes["colour"],
        "pattern": pick(rng, SELLERS["prints"][what.attributes["pattern"]]),
        "material": what.attributes["material"],
    }
    order = pick(
        rng,
        (
            ("colour", "pattern", "material"),
            ("material", "colour", "pattern"),
            ("pattern", "colour", "material"),
        ),
    )
    return [words[name] for name in order if name in said]


def _title(rng: _Rng, what: Specification) -> tuple[str, set[str]]:
    said = _said(rng, what, {"brand": 0.75, "colour": 0.65, "pattern": 0.5, "material": 0.45, "use": 0.3})
    if what.attributes["pattern"] == "plain" and rng.random() < 0.7:
        said.discard("pattern")
    part = pick(rng, tuple(what.kind.parts))
    noun = pick(rng, SELLERS["nouns"].get(what.kind.name, (what.kind.name,)))
    core = [*_front(rng, what, said), noun]
    if rng.random() < 0.4 and not what.attributes[part].startswith("no "):
        said.add(part)
        core.append("with " + _part(part, what.attributes[part]))
    brand = what.attributes["brand"] if "brand" in said else ""
    use = f"for {what.attributes['use']}" if "use" in said else ""
    layouts: tuple[Callable[[str], str], ...] = (
        lambda c: f"{brand} {c} {use}",
        lambda c: f"{c} {use} by {brand}" if brand else f"{c} {use}",
        lambda c: f"{brand}: {c} {use}" if brand else f"{c} {use}",
        lambda c: f"{c}, {brand} {use}" if brand else f"{c}, {use}" if use else c,
    )
    text = " ".join(pick(rng, layouts)(" ".join(core)).split())
    return text[0].upper() + text[1:], said


def _sentences(rng: _Rng, what: Specification, said: set[str]) -> list[str]:
    """One sentence or half a sentence for each attribute the description states."""
    a = what.attributes
    noun = what.kind.name
    shown = [_part(name, a[name]) for name in what.kind.parts if name in said]
    lines = []
    if "material" in said:
        lines.append(
            pick(
                rng,
                (
                    f"Made of {a['material']}.",
                    f"The {noun} is made from {a['material']}.",
                    f"We chose {a['material']} for it.",
                ),
            )
        )
    if shown:
        listed = " and ".join(shown) if len(shown) < 3 else ", ".join(shown[:-1]) + " and " + shown[-1]
        lines.append(pick(rng, (f"It comes with {listed}.", f"Features: {listed}.", f"Note the {listed}.")))
    if "colour" in said and "accent_colour" in said:
        lines.append(f"In {a['colour']}, finished in {a['accent_colour']}.")
    elif "colour" in said:
        lines.append(pick(rng, (f"Colour: {a['colour']}.", f"This one is {a['colour']}.")))
    if "pattern" in said:
        lines.append(pick(rng, (f"The design is {a['pattern']}.", f"Pattern: {a['pattern']}.")))
    if "use" in said:
        lines.append(pick(rng, (f"Good for {a['use']}.", f"We like it for {a['use']}.")))
    return lines


def write_listing(what: Specification, rng: _Rng) -> ShopListing:
    """Write a title and a description of a product."""
    title, in_title = _title(rng, what)
    likely = {
        "material": 0.5,
        "colour": 0.35,
        "accent_colour": 0.5,
        "pattern": 0.25,
        "use": 0.4,
    } | dict.fromkeys(what.kind.parts, 0.4)
    said = _said(rng, what, likely)
    if "colour" not in said:
        said.discard("accent_colour")
    lines = _sentences(rng, what, said)
    if what.kind.measure and rng.random() < 0.6:
        name = what.kind.measure[0]
        lines.append("Size: " + SELLERS["units"][name].format(what.attributes[name]) + ".")
        said.add(name)
    if rng.random() < 0.3:
        lines.append(f"From {what.attributes['brand']}.")
        said.add("brand")
    if rng.random() < 0.5 or not lines:
        lines.append(pick(rng, SELLERS["praise"]))
    ordered = [lines[k] for k in rng.permutation(len(lines))]
    return ShopListing(title, " ".join(ordered), frozenset(said | in_title))
