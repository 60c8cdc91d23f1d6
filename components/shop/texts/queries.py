"""What shoppers ask for, and which products of the same split answer it.

A query asks for a product type and some attributes. It starts from a product, so one exact answer exists, and
is made narrower until few others do. Relevance follows from the true attributes alone (see ``grades``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.catalog.format.records import SPLITS, QrelRow, Query, Split
from components.shop.assortment import COLOURS, PATTERNS
from components.shop.design import ProductPlan, Specification, generator, pick, specification
from components.shop.errors import ShopError
from components.shop.params import EngagementParams
from components.shop.pictures.scene import camera
from components.shop.texts.text import write_listing
from components.shop.texts.wording import ACCENTS, HUES, NOUNS, SEEN, TEMPLATES

_NOUN_SHARE = 0.3  # of visual queries that name the type in words of their own
_HUE_SHARE = 0.35  # the same for colours
_TRIES = 2000  # in a row that give nothing new, before the shop is called too small


@dataclass(frozen=True)
class Wish:
    """What a query asks for: a product type and attributes that must all hold."""

    product_type: str
    attributes: dict[str, str]


def grades(matched: NDArray[np.int64], asked: int) -> NDArray[np.int64]:
    """Relevance 0..3 of products of the asked type that match ``matched`` of ``asked`` attributes.

    All of them is 3, at least two thirds 2, at least half 1, less is 0; any other type is 0.
    """
    share = matched / asked
    return np.select([matched == asked, share >= 2 / 3 - 1e-9, share >= 0.5], [3, 2, 1], 0)


class _Shelf:
    """The products of one split and type, their attributes ready to be compared."""

    def __init__(self, products: list[Specification]) -> None:
        self.products = products
        self._columns: dict[str, NDArray[np.str_]] = {}

    def column(self, name: str) -> NDArray[np.str_]:
        """``[products]`` values of an attribute; empty where a product has none."""
        if name not in self._columns:
            self._columns[name] = np.array([what.attributes.get(name, "") for what in self.products])
        return self._columns[name]

    def matched(self, attributes: dict[str, str]) -> NDArray[np.int64]:
        """``[products]``: how many of ``attributes`` each product has."""
        total = np.zeros(len(self.products), np.int64)
        for name, value in attributes.items():
            total += self.column(name) == value
        return total


def _narrowed(
    shelf: _Shelf, what: Specification, names: list[str], start: int, max_exact: int
) -> dict[str, str] | None:
    """The first ``start`` of ``names`` or more, until at most ``max_exact`` products match; else None."""
    for count in range(min(start, len(names)), len(names) + 1):
        wanted = {name: what.attributes[name] for name in names[:count]}
        if int((shelf.matched(wanted) == count).sum()) <= max_exact:
            return wanted
    return None


def _shuffled(rng: np.random.Generator, names: list[str]) -> list[str]:
    return [names[k] for k in rng.permutation(len(names))]


def _visual(
    rng: np.random.Generator, shelf: _Shelf, what: Specification, shop: ProductPlan, split: Split
) -> tuple[str, Wish] | None:
    """A query in a shopper's own words for what is seen in the picture."""
    shown = [*what.kind.parts, *(["pattern"] if len(set(what.kind.patterns)) > 1 else [])]
    if what.attributes["pattern"] != "plain" and rng.random() < 0.5:
        shown.remove("pattern")
        shown.insert(0, "pattern")
    first = _shuffled(rng, shown) if rng.random() < 0.5 else shown[-1:] + _shuffled(rng, shown[:-1])
    hues = ["colour", *(["accent_colour"] if "accent_colour" in what.attributes else [])]
    names = [first[0], *_shuffled(rng, [*hues, *first[1:3]])]
    wanted = _narrowed(shelf, what, names, 2 + int(rng.random() < 0.5), shop.params.queries.max_exact)
    if wanted is None:
        return None
    held_out = split == "test" and rng.random() < shop.params.queries.held_out_share
    return _see(rng, what, wanted, held_out), Wish(what.kind.name, wanted)


def _hue(rng: np.random.Generator, colour: str) -> str:
    return HUES[colour] if rng.random() < _HUE_SHARE else colour


def _see(rng: np.random.Generator, what: Specification, wanted: dict[str, str], held_out: bool) -> str:
    """Word a visual wish; ``held_out`` takes templates and phrases of test queries only."""
    phrases = [SEEN[name][value][held_out] for name, value in wanted.items() if name in SEEN]
    if "accent_colour" in wanted:
        phrases.append(ACCENTS[held_out].format(_hue(rng, wanted["accent_colour"])))
    name = what.kind.name
    noun = NOUNS.get(name, name) if rng.random() < _NOUN_SHARE else name
    seen = " and ".join(_shuffled(rng, phrases)) if len(phrases) < 3 else ", ".join(_shuffled(rng, phrases))
    kind = "held_out" if held_out else "visual"
    if "colour" not in wanted:
        return pick(rng, TEMPLATES[f"{kind}_plain"]).format(noun=noun, seen=seen)
    template = pick(rng, TEMPLATES[kind])
    return template.format(colour=_hue(rng, wanted["colour"]), noun=noun, seen=seen)


def _textual(
    rng: np.random.Generator, shelf: _Shelf, what: Specification, shop: ProductPlan, split: Split
) -> tuple[str, Wish] | None:
    """A query in the listing's words: attributes that the product's own title or description states."""
    listing = write_listing(what, generator(shop.seed, "listing", what.index))
    names = [
        name
        for name in sorted(listing.stated)
        if name in ("brand", "colour", "material", "use")
        or (name == "pattern" and what.attributes[name] != "plain")
    ]
    if len(names) < 2 and "brand" not in names:
        return None
    names = _shuffled(rng, names)
    start = 1 if names[0] == "brand" and rng.random() < 0.3 else 2 + int(rng.random() < 0.35)
    wanted = _narrowed(shelf, what, names, start, shop.params.queries.max_exact)
    if wanted is None:
        return None
    front = " ".join(_shuffled(rng, [value for name, value in wanted.items() if name != "use"]))
    back = f"for {wanted['use']}" if "use" in wanted else ""
    text = pick(rng, TEMPLATES["textual"]).format(front=front, noun=what.kind.name, back=back)
    return " ".join(text.split()).lower(), Wish(what.kind.name, wanted)


def _shelves(shop: ProductPlan, split: Split) -> dict[str, _Shelf]:
    products: dict[str, list[Specification]] = {}
    for index in shop.in_split(SPLITS.index(split)):
        what = specification(shop, index)
        products.setdefault(what.kind.name, []).append(what)
    return {name: _Shelf(items) for name, items in products.items()}


def wishes(
    shop: ProductPlan, split: Split, shelves: dict[str, _Shelf], taken: set[str]
) -> Iterator[tuple[str, str, Wish]]:
    """Kind, text and wish of each query of a split; texts in ``taken`` are not used again.

    Raises:
        ShopError: the split's products do not give that many different queries.
    """
    total: int = getattr(shop.params.queries.count, split)
    visual = round(total * shop.params.queries.visual_share)
    products = [what for shelf in shelves.values() for what in shelf.products]
    rng = generator(shop.seed, "queries", split)
    made, vain = 0, 0
    while made < total:
        vain += 1
        if vain > _TRIES or not products:
            raise ShopError(
                f"only {made} different queries were found for the {len(products)} {split} products: "
                f"lower shop.queries.count.{split} (now {total}) or raise shop.products."
            )
        what = pick(rng, products)
        kind = "visual" if made < visual else "textual"
        asked = (_visual if kind == "visual" else _textual)(rng, shelves[what.kind.name], what, shop, split)
        if asked is not None and asked[0] not in taken:
            taken.add(asked[0])
            made, vain = made + 1, 0
            yield kind, *asked


def _judged(
    shop: ProductPlan, query_id: str, wish: Wish, shelf: _Shelf, appeals: dict[int, float]
) -> list[QrelRow]:
    """The judgements of one query: every product of its split with a relevance above 0."""
    relevance = grades(shelf.matched(wish.attributes), len(wish.attributes))
    found = np.flatnonzero(relevance)
    liked = np.array([appeals[shelf.products[k].index] for k in found])
    steps = desirability(
        relevance[found], liked, shop.params.engagement, generator(shop.seed, "shopper", query_id)
    )
    return [
        QrelRow(query_id, shelf.products[k].product_id, grade, step)
        for k, grade, step in zip(found.tolist(), relevance[found].tolist(), steps.tolist(), strict=True)
    ]


def ask(shop: ProductPlan) -> Iterator[tuple[Query, Wish, list[QrelRow]]]:
    """All queries, what each one asks for, and its judgements (in product order).

    Test queries are worded first, so that no other split's query has the text of a test query.
    """
    taken: set[str] = set()
    for split in reversed(SPLITS):
        shelves = _shelves(shop, split)
        products = [what for shelf in shelves.values() for what in shelf.products]
        scores = appeal(shop, products).tolist() if products else []
        appeals = {what.index: score for what, score in zip(products, scores, strict=True)}
        for number, (kind, text, wish) in enumerate(wishes(shop, split, shelves, taken)):
            query = Query(query_id=f"Q-{split}-{number:06d}", text=text, kind=kind, split=split)
            yield query, wish, _judged(shop, query.query_id, wish, shelves[wish.product_type], appeals)


STEPS = 4  # seen, click, cart, purchase


def fashion(seed: int) -> dict[str, float]:
    """How much this year's shoppers like each colour and each pattern (mean 0)."""
    rng = generator(seed, "fashion")
    colours, patterns = rng.normal(0, 1, len(COLOURS)), rng.normal(0, 0.6, len(PATTERNS))
    return dict(zip((*COLOURS, *PATTERNS), [*colours.tolist(), *patterns.tolist()], strict=True))


def appeal(shop: ProductPlan, products: list[Specification]) -> NDArray[np.float64]:
    """``[products]``: visible appeal, mean 0 and standard deviation 1 over the given products."""
    liking = fashion(shop.seed)
    clarity = np.array([camera(shop, what.index).clarity for what in products])
    taste = np.array(
        [liking[what.attributes["colour"]] + liking[what.attributes["pattern"]] for what in products]
    )
    raw: NDArray[np.float64] = _standard(clarity) + _standard(taste)
    return _standard(raw)


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = values - values.mean()
    return centred / max(float(values.std()), 1e-9)


def desirability(
    relevance: NDArray[np.int64],
    appeals: NDArray[np.float64],
    params: EngagementParams,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """``[products]`` grades 0..4: the steps one shopper goes with each product of a query's answer."""
    count = len(relevance)
    taste = rng.normal(0, 1, count) * params.noise
    logit = (
        params.step_logit + params.relevance_weight * (relevance - 2) + params.appeal_weight * appeals + taste
    )
    harder = params.step_cost * np.arange(STEPS)[:, None]
    goes_on = rng.random((STEPS, count)) < 1 / (1 + np.exp(harder - logit))
    steps: NDArray[np.int64] = np.cumprod(goes_on, axis=0).sum(0)
    return steps
