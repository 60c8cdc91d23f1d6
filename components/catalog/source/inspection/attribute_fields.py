"""Which fields make attributes of few, short values, and why others do not."""

from __future__ import annotations

import re

from components.catalog.source.inspection.sample import FieldFacts
from components.catalog.source.values.paths import own_name

MOST_VALUES = 200  # of an attribute with closed values, as catalog.enum_max_values
LONGEST_VALUE = 60  # characters; attributes are short
MOST_NUMBERS = 12  # different ones: more are a measure or a price
FILLED = 0.05  # share of the rows that must have an attribute
_NUMBER = re.compile(r"[-+]?[\d.,]+")
_PRICE = re.compile("price|cost|preis|prix|precio|prezzo|prijs|cena")

# Of delivery and stock, in the seven languages whose names are known and Polish.
_LOGISTICS = re.compile(
    "deliver|shipping|availab|in.?stock|stock.?(level|status|quantity)|lieferzeit|versand|verfügbar|bestand(?!teil)|"
    "livraison|disponib|entrega|envío|consegna|spedizione|levertijd|verzend|voorraad|dostaw|wysyłk"
)


def unfit(path: str, facts: FieldFacts, rows: int) -> str:
    """Why a field is no attribute of few, short values; empty where it is one."""
    different, texts = len(facts.values), "".join(facts.examples())
    many = f"{different:,} different values in {facts.filled:,} rows"
    name = own_name(path)
    if facts.pictures:
        return "holds pictures"
    if not facts.filled:
        return "is empty"
    if "://" in texts or texts.startswith("//"):
        return "holds addresses"
    if all(map(_NUMBER.fullmatch, facts.values)) and _PRICE.search(name.casefold()):
        return (
            f"a price that names no currency: write price_eur: {{field: {path}, price: true}}, or what it is"
        )
    if _LOGISTICS.search(name.casefold()):
        return "says how it is delivered, which no picture shows"
    if facts.filled < FILLED * rows:
        return f"only {facts.filled:,} of {rows:,} rows have it"
    if different < 2:
        return f"says {facts.examples()[0][:LONGEST_VALUE]!r} in every row that has it"
    if facts.length > LONGEST_VALUE:
        return f"long text, {facts.length:.0f} characters on average"
    if different > MOST_NUMBERS and all(map(_NUMBER.fullmatch, facts.values)):
        return f"{many}, all numbers: a measure; add {name}: {path} if a picture shows it"
    if different > max(2, facts.filled / 2):
        return f"{many}: nearly every product has its own"
    return f"{many}, more than {MOST_VALUES}" if different > MOST_VALUES else ""
