"""The synthetic shop: its schema, its products with their truth, and its queries."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

from components.catalog.format.records import Product, QrelRow, Query, Truth
from components.catalog.format.schema import Attribute, CatalogSchema, Category
from components.shop.assortment import CATEGORIES, COLOURS, PATTERNS, REQUIRED, TYPES
from components.shop.design import ProductPlan, generator, plan, specification
from components.shop.errors import ShopError
from components.shop.params import ShopParams
from components.shop.pictures.scene import picture
from components.shop.texts.queries import ask
from components.shop.texts.text import write_listing
from components.stage.frame import die_with_parent

CHUNK = 64  # products a worker draws at a time
_Item = tuple[Product, Truth]


def _item(shop: ProductPlan, index: int) -> _Item:
    """Product ``index`` as listed, and what is true of it."""
    what = specification(shop, index)
    listing = write_listing(what, generator(shop.seed, "listing", index))
    taken = picture(shop, what)
    product = Product(
        product_id=what.product_id,
        image=taken.jpeg(shop.params.jpeg_quality),
        title=listing.title,
        description=listing.description,
        category=what.kind.category,
        product_type=what.kind.name,
        attributes=what.attributes,
        group_id=what.group_id,
        split=shop.split(index),
    )
    truth = Truth(
        product_id=what.product_id,
        title=listing.title,
        description=listing.description,
        attributes=what.attributes,
        box=taken.box,
        scene="cluttered" if taken.cluttered else "plain",
    )
    return product, truth


_worker_shop: ProductPlan | None = None


def _start_worker(params: ShopParams) -> None:
    """Lay out the shop once per process; its layout is cheaper to make than to send.

    A worker dies with its parent: both ends of the pool's queue are open in every worker, so that one that
    waits for work would never learn that nobody is left to send any.
    """
    die_with_parent()
    global _worker_shop
    _worker_shop = plan(params)


def _chunk(start: int) -> list[_Item]:
    assert _worker_shop is not None
    return [_item(_worker_shop, index) for index in range(start, min(start + CHUNK, len(_worker_shop)))]


def _asked(shop: ProductPlan | None = None) -> tuple[list[Query], list[QrelRow]]:
    """Queries and judgements of ``shop``, in a worker of its own."""
    shop = shop or _worker_shop
    assert shop is not None
    asked = sorted(ask(shop), key=lambda entry: entry[0].query_id)
    return [query for query, _, _ in asked], [qrel for _, _, qrels in asked for qrel in qrels]


class Shop:
    """A shop of ``params.products`` rendered products; equal parameters give equal bytes."""

    def __init__(self, params: ShopParams) -> None:
        self.params = params
        self._plan = plan(params)
        self._being_asked: Future[tuple[list[Query], list[QrelRow]]] | None = None

    def schema(self) -> CatalogSchema:
        """Category to product types and attributes; parts of all its types are attributes of a category."""
        return CatalogSchema(categories={name: _category(name) for name in CATEGORIES})

    def item(self, index: int) -> _Item:
        """Product ``index`` (0-based, in product_id order) and its truth."""
        return _item(self._plan, index)

    def sample(self, count: int, product_type: str | None = None) -> Iterator[_Item]:
        """The first ``count`` products, of one type if asked, drawn in this process.

        Raises:
            ShopError: the shop sells no such type.
        """
        if product_type is not None and product_type not in TYPES:
            raise ShopError(f"the shop sells no {product_type!r}; its types are {', '.join(TYPES)}.")
        wanted = (k for k in range(len(self._plan)) if product_type in (None, self._plan.kind(k).name))
        return (self.item(index) for index in islice(wanted, count))

    def products(self) -> Iterator[_Item]:
        """Products in product_id order, drawn by ``params.workers`` processes.

        Only a few chunks are in flight at a time, so memory does not grow with the shop. The queries, which
        need no picture, are made meanwhile.
        """
        if self.params.workers == 1 or self.params.products <= CHUNK:
            for index in range(len(self._plan)):
                yield _item(self._plan, index)
            return
        # Forked children would inherit the locks of a parent's threads (Arrow, torch) in whatever state.
        context = get_context("spawn")
        workers = min(self.params.workers, -(-self.params.products // CHUNK))
        with ProcessPoolExecutor(workers, context, _start_worker, (self.params,)) as pool:
            being_asked = pool.submit(_asked)
            starts = iter(range(0, len(self._plan), CHUNK))
            waiting = [pool.submit(_chunk, start) for start in islice(starts, 2 * workers)]
            try:
                while waiting:
                    items = waiting.pop(0).result()
                    waiting.extend(pool.submit(_chunk, start) for start in islice(starts, 1))
                    yield from items
                self._being_asked = being_asked
            finally:
                for future in waiting:
                    future.cancel()

    def queries(self) -> tuple[list[Query], list[QrelRow]]:
        """Queries ordered by query_id; judgements ordered by query_id, then product_id.

        Raises:
            ShopError: the shop is too small for the number of queries asked.
        """
        return _asked(self._plan) if self._being_asked is None else self._being_asked.result()


def _category(name: str) -> Category:
    """Attributes of a category: what every product has, and the parts and measures of its types."""
    kinds = [kind for kind in TYPES.values() if kind.category == name]
    values: dict[str, dict[str, None]] = {
        "colour": dict.fromkeys(COLOURS),
        "accent_colour": dict.fromkeys(COLOURS),
        "pattern": dict.fromkeys(PATTERNS),
    }
    for kind in kinds:
        parts = {**kind.parts, "material": kind.materials, "use": kind.uses}
        for part, choices in parts.items():
            values.setdefault(part, {}).update(dict.fromkeys(choices))
    attributes = {
        part: Attribute(type="enum", values=tuple(choices), required=part in REQUIRED)
        for part, choices in values.items()
    }
    # A brand is free text: a catalogue meets new ones.
    attributes["brand"] = Attribute(type="string", required=True)
    for kind in kinds:
        if kind.measure:
            attributes[kind.measure[0]] = Attribute(type="number")
    return Category(
        product_types=tuple(kind.name for kind in kinds), attributes=dict(sorted(attributes.items()))
    )
