"""The seller-noise model: what careless listing does to a clean product, act by act.

It applies to any catalogue, given its schema, and its words are its own: nothing here is shared with the
synthetic shop's writer or with anything that later repairs listings. Every act is recorded as ``Noise``; what
no act names is untouched. Values in the attribute table stay legal under the schema, for a shop's form admits
no others: a seller who has own words for a value writes them into the text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from components.catalog.format.attributes import as_value, each, facts
from components.catalog.format.records import Noise, Product
from components.catalog.format.schema import CatalogSchema
from components.catalog.noise.params import NoiseParams
from components.stage.errors import ConfigurationError

# Kinds of act, as recorded. Those with a dot are variants that ``test_only`` can hold back one by one.
KINDS = (
    "attribute_dropped",
    "attribute_wrong",
    "attribute_free_form.hedged",
    "attribute_free_form.clipped",
    "title_value_missing",
    "synonym",
    "misspelling.swapped",
    "misspelling.omitted",
    "misspelling.doubled",
    "misspelling.neighbour_key",
    "shouting",
    "boilerplate.service",
    "boilerplate.disclaimer",
    "keyword_stuffing.types",
    "keyword_stuffing.hype",
    "title_missing",
    "description_missing",
)
SYNONYMS = {
    "big": "jumbo", "large": "oversize", "small": "tiny", "long": "lengthy", "red": "vermilion",
    "blue": "azure", "green": "emerald", "black": "onyx", "white": "ivory", "grey": "slate",
    "yellow": "canary", "pink": "rose", "purple": "plum", "orange": "apricot", "brown": "umber",
    "beige": "fawn", "shoe": "kicks", "shoes": "kicks", "bag": "carryall", "cup": "beaker",
    "lamp": "luminaire", "trousers": "slacks", "striped": "stripy", "dotted": "spotty",
    "plain": "unpatterned", "floral": "flowery", "wooden": "timber", "leather": "hide", "new": "unused",
    "men": "gents", "women": "ladies", "kids": "juniors",
}  # fmt: skip
HEDGES = (
    "sort of {value}",
    "{value}-ish",
    "more or less {value}",
    "{value} I think",
    "{value} or close to it",
)
SERVICE = (
    "Ships tomorrow!!", "Top seller, buy with trust.", "Ask me anything before you pay.",
    "Combined postage on request.", "Five star service.", "Thanks for looking!",
)  # fmt: skip
DISCLAIMERS = (
    "Shade may look different on your screen.", "Item as pictured, sold as seen.",
    "Measured by hand, allow 1-3 cm.", "Props are not part of the sale.",
)  # fmt: skip
HYPE = ("hot", "viral", "must have", "2026 style", "gift idea", "cheapest", "premium", "wow", "best price")
NEIGHBOUR_KEYS = {
    "a": "s", "b": "v", "c": "x", "d": "f", "e": "r", "f": "g", "g": "h", "h": "j", "i": "o", "j": "k",
    "k": "l", "l": "k", "m": "n", "n": "m", "o": "p", "p": "o", "q": "w", "r": "t", "s": "d", "t": "y",
    "u": "i", "v": "b", "w": "e", "x": "c", "y": "u", "z": "x",
}  # fmt: skip
VOWELS = "aeiou"
SHORTEST_MISSPELT = 4  # characters; shorter words turn into other words


def random_of(purpose: str, seed: int, product_id: str) -> np.random.Generator:
    """The chance by which a seller acts on a product: a function of the arguments alone."""
    digest = hashlib.sha256(f"{purpose}\x1f{seed}\x1f{product_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


class SellerNoise:
    """Turns clean products into sellers' listings; a pure function of (seed, product, schema, parameters).

    Raises:
        ConfigurationError: ``params.test_only`` names a kind that does not exist.
    """

    def __init__(self, params: NoiseParams, schema: CatalogSchema, seed: int) -> None:
        if unknown := sorted(set(params.test_only) - set(KINDS)):
            known = ", ".join(KINDS)
            raise ConfigurationError(
                f"catalog.noise.test_only: unknown kind {', '.join(unknown)} (known: {known})."
            )
        self._params, self._schema, self._seed = params, schema, seed
        self._types = sorted(
            {name for category in schema.categories.values() for name in category.product_types}
        )

    def apply(self, product: Product) -> tuple[Product, tuple[Noise, ...]]:
        """The listing a seller would write, and every act that made it differ from ``product``."""
        listing = _Listing(product, self._params, random_of("seller-noise", self._seed, product.product_id))
        self._untold(listing)
        self._attributes(listing)
        self._title(listing)
        self._texts(listing)
        return listing.product(), tuple(listing.acts)

    def _untold(self, listing: _Listing) -> None:
        if not self._params.title_value_missing:  # a draw would shift all that follow
            return
        for _, value in listing.stated():
            if listing.chance(self._params.title_value_missing, "title_value_missing"):
                _leave_out(listing, value)

    def _attributes(self, listing: _Listing) -> None:
        category = self._schema.categories.get(listing.category)
        told = listing.stated()
        for name, value in told:
            known = category.attributes.get(name) if category else None
            held = {*each(listing.attributes.get(name)), *(v for n, v in told if n == name)}
            others = tuple(other for other in known.values if other not in held) if known else ()
            is_text = known is None or known.type == "string"
            if listing.chance(self._params.attribute_dropped, "attribute_dropped"):
                listing.replace(name, value, None)
                listing.act(f"attributes.{name}", "attribute_dropped", value)
            elif others and listing.chance(self._params.attribute_wrong, "attribute_wrong"):
                now = listing.pick(others)
                listing.replace(name, value, now)
                listing.act(f"attributes.{name}", "attribute_wrong", f"{value} → {now}")
            elif kind := listing.variant(self._params.attribute_free_form, "attribute_free_form"):
                _free_form(listing, (name, value), kind, in_table=is_text)

    def _title(self, listing: _Listing) -> None:
        if listing.title and listing.chance(self._params.synonym, "synonym"):
            _replace_synonym(listing)
        if listing.title and listing.chance(self._params.shouting, "shouting"):
            words = listing.title.split(" ")
            count = int(listing.random.integers(1, len(words) + 1))
            shouted = " ".join([word.upper() for word in words[:count]] + words[count:])
            listing.write("title", shouted, "shouting", f"{count} words")
        if listing.title and (kind := listing.variant(self._params.keyword_stuffing, "keyword_stuffing")):
            others = [name for name in self._types if name != listing.product_type] or list(HYPE)
            pool = others if kind.endswith("types") else list(HYPE)
            words = [pool[int(at)] for at in listing.random.permutation(len(pool))[:3]]
            listing.write("title", " ".join([listing.title, *words]), kind, " ".join(words))

    def _texts(self, listing: _Listing) -> None:
        if kind := listing.variant(self._params.boilerplate, "boilerplate"):
            phrase = listing.pick(SERVICE if kind.endswith("service") else DISCLAIMERS)
            listing.write("description", f"{listing.description} {phrase}".strip(), kind, phrase)
        if kind := listing.variant(self._params.misspelling, "misspelling"):
            _misspell(listing, kind)
        if listing.description and listing.chance(self._params.title_missing, "title_missing"):
            listing.erase("title", "title_missing")
        elif listing.title and listing.chance(self._params.description_missing, "description_missing"):
            listing.erase("description", "description_missing")


class _Listing:
    """A product while a seller is at it, and the acts so far."""

    def __init__(self, product: Product, params: NoiseParams, random: np.random.Generator) -> None:
        self._product, self._held_back = product, frozenset(params.test_only)
        self.random = random
        self.title, self.description = product.title, product.description
        self.category, self.product_type = product.category, product.product_type
        self.attributes = dict(product.attributes)
        self.acts: list[Noise] = []

    def stated(self) -> list[tuple[str, str]]:
        """Names and values of the table as it is now, by name."""
        return sorted(facts(self.attributes))

    def replace(self, name: str, value: str, new: str | None) -> None:
        """Put another value in the place of one, or none."""
        held = [text for text in each(self.attributes[name]) if text != value] + ([new] if new else [])
        if held:
            self.attributes[name] = as_value(held)
        else:
            del self.attributes[name]

    def allowed(self, kind: str) -> bool:
        """Whether the kind may happen to this product; one of ``test_only`` needs the test split."""
        return kind not in self._held_back or self._product.split == "test"

    def chance(self, probability: float, kind: str) -> bool:
        """Whether an allowed kind happens, by one draw."""
        # The draw comes first: holding a kind back must not shift the draws that follow it.
        return bool(self.random.random() < probability) and self.allowed(kind)

    def variant(self, probability: float, family: str) -> str:
        """A kind of ``family`` to act by, or nothing."""
        happens, at = self.random.random() < probability, self.random.random()
        kinds = [kind for kind in KINDS if kind.split(".")[0] == family and self.allowed(kind)]
        return kinds[int(at * len(kinds))] if happens and kinds else ""

    def pick(self, items: Any) -> Any:
        """One item of a sequence, by one draw."""
        return items[int(self.random.integers(len(items)))]

    def act(self, field: str, kind: str, detail: str) -> None:
        """Note what was done, for the truth."""
        self.acts.append(Noise(field=field, kind=kind, detail=detail))

    def write(self, field: str, text: str, kind: str, detail: str) -> None:
        """Set title or description and note it; a text that is there already is no act."""
        if text != getattr(self, field):
            setattr(self, field, text)
            self.act(field, kind, detail)

    def erase(self, field: str, kind: str) -> None:
        """Leave title or description blank; the note says how long it was."""
        self.write(field, "", kind, f"{len(getattr(self, field))} characters")

    def product(self) -> Product:
        """What the seller lists: the product itself where nothing was done."""
        if not self.acts:
            return self._product
        listed = {"title": self.title, "description": self.description, "attributes": self.attributes}
        return self._product.model_copy(update=listed)


def _free_form(listing: _Listing, fact: tuple[str, str], kind: str, *, in_table: bool) -> None:
    """Tell a value in own words: in the table where it takes any text, else in the description instead."""
    name, value = fact
    own = listing.pick(HEDGES).format(value=value) if kind.endswith("hedged") else _clipped(value)
    if in_table:
        listing.replace(name, value, own)
    else:
        listing.replace(name, value, None)
        said = f"{name.replace('_', ' ')} {own.rstrip('.')}."
        listing.write("description", f"{listing.description} {said}".strip(), kind, said)
    listing.act(f"attributes.{name}", kind, f"{value} → {own}")


def _bare(word: str) -> str:
    """A word for comparing: small letters, no punctuation, no possessive (``Men's`` is ``men``)."""
    return word.casefold().strip(".,;:!?()'").removesuffix("'s")


def _leave_out(listing: _Listing, value: str) -> None:
    """Take the words of a value out of the title; words that name the product type stay."""
    said = {_bare(word) for word in value.split()} - {_bare(word) for word in listing.product_type.split()}
    words = listing.title.split(" ")
    kept = [word for word in words if _bare(word) not in said]
    if kept:
        gone = " ".join(word for word in words if _bare(word) in said)
        listing.write("title", " ".join(kept), "title_value_missing", gone)


def _clipped(value: str) -> str:
    """An abbreviation as on price tags: the first letter of each word, then its consonants, four at most."""
    words = [
        "".join([word[0], *(c for c in word[1:] if c.lower() not in VOWELS)])[:4] for word in value.split()
    ]
    return " ".join(words) + "."


def _replace_synonym(listing: _Listing) -> None:
    words = listing.title.split(" ")
    known = [index for index, word in enumerate(words) if word.lower() in SYNONYMS]
    if known:
        index = listing.pick(known)
        was, new = words[index], SYNONYMS[words[index].lower()]
        words[index] = new.capitalize() if was[:1].isupper() else new
        listing.write("title", " ".join(words), "synonym", f"{was} → {words[index]}")


def _misspell(listing: _Listing, kind: str) -> None:
    field = (
        "description"
        if not listing.title or (listing.description and listing.random.random() < 0.3)
        else "title"
    )
    words = str(getattr(listing, field)).split(" ")
    candidates = [
        index for index, word in enumerate(words) if len(word) >= SHORTEST_MISSPELT and word.isalpha()
    ]
    if candidates:
        index = listing.pick(candidates)
        was = words[index]
        words[index] = MISSPELLINGS[kind](was, int(listing.random.integers(1, len(was) - 1)))
        listing.write(field, " ".join(words), kind, f"{was} → {words[index]}")


def _neighbour_key(word: str, at: int) -> str:
    return word[:at] + NEIGHBOUR_KEYS.get(word[at].lower(), word[at]) + word[at + 1 :]


# How each variant changes a word at an inner position.
MISSPELLINGS: dict[str, Callable[[str, int], str]] = {
    "misspelling.swapped": lambda word, at: word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    "misspelling.omitted": lambda word, at: word[:at] + word[at + 1 :],
    "misspelling.doubled": lambda word, at: word[:at] + word[at] + word[at:],
    "misspelling.neighbour_key": _neighbour_key,
}
