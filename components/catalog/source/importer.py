"""A user's files as a source of products: mapped, sorted and grouped on disk, pictures checked.

A row that is no product (a required field or its picture is missing or unreadable) is set aside with the
reason; the gate after this stage counts these. Only a source that cannot be read at all, or a mapping that
names what no row has, ends the import.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from components.catalog.format.attributes import Attributes
from components.catalog.format.errors import ImageError, MappingError, SourceError
from components.catalog.format.images import catalogue_picture, decode_image, reencode
from components.catalog.format.records import Product, Qrel, Query, Truth
from components.catalog.format.schema import CatalogSchema, read_schema
from components.catalog.format.truth import truth_of_listing
from components.catalog.source.derived_queries import TableDescription, derived_queries
from components.catalog.source.drafts import Draft, product_draft, qrel_row, query_row
from components.catalog.source.mapping import Mapping, QrelRule, QueryRule, field_paths
from components.catalog.source.observed_schema import ObservedSchema
from components.catalog.source.params import SourceParams
from components.catalog.source.reading.row import all_composed
from components.catalog.source.reading.rows import SourceRow, read_rows, source_files
from components.catalog.source.staging import Staged, Staging
from components.catalog.source.tables.continued import SkippedRow, whole_products
from components.catalog.source.tables.joins import Joined
from components.catalog.source.values.paths import Fields, field_names, look_up
from components.catalog.source.values.pictures import is_file
from components.catalog.source.values.texts import RowProblem

A = TypeVar("A")
B = TypeVar("B")
AHEAD_PER_WORKER = 16  # pictures being decoded or waiting to be written
SAMPLE_ROWS = 100  # looked at to tell which fields a source has


def mapped_rows(
    root: Path, pattern: str, paths: list[str], encoding: str, joined: Joined | None = None
) -> Iterator[tuple[str, SourceRow]]:
    """Yield (file name, row) of all files of ``pattern``; at the end, judge whether the mapping fits.

    ``encoding`` is the mapping's; ``joined`` puts the rows of other tables into each row.

    Raises:
        SourceError: no such file, an unreadable file, or no row in any of them.
        MappingError: one of ``paths`` is in none of the rows; the message lists the fields that are.
    """
    files = source_files(root, pattern)
    unseen, rows, problems = list(paths), 0, Counter[str]()
    for file in files:
        for row in read_rows(file, [*paths, *(path.split(".")[0] for path in paths)], encoding):
            rows += 1
            if row.problem:
                problems[row.problem] += 1
            elif joined is not None:
                row = joined.into(row)
            if unseen:
                unseen = [path for path in unseen if not look_up(row.fields, path)[0]]
            yield file.relative_to(root).as_posix(), row
    if not rows:
        raise SourceError(f"{root / pattern} holds no rows; give a source with products.")
    broken = "".join(
        f" {n:,} {'row says' if n == 1 else 'rows say'}: {reason}." for reason, n in problems.most_common(1)
    )
    if unseen and problems.total() == rows:
        raise SourceError(f"no row of {root / pattern} can be read:{broken} Correct the file.")
    if unseen:
        sample = islice(read_rows(files[0], (), encoding), SAMPLE_ROWS)
        known = dict.fromkeys(name for row in sample for name in field_names(row.fields))
        raise MappingError(
            f"no row of {root / pattern} has the mapped field {', '.join(map(repr, unseen))}; "
            f"it has these: {', '.join(list(known)[:60]) or 'none'}. Correct the mapping.{broken}"
        )


def product_drafts(
    root: Path, mapping: Mapping
) -> Iterator[tuple[str, int, Draft | RowProblem | SkippedRow]]:
    """Yield (file, row number, draft or the reason why it is none) for every row of products.

    Raises:
        SourceError, MappingError: as ``mapped_rows``; SourceError also when the image folder is missing.
    """
    if mapping.image.path is not None and not (root / mapping.image.folder).is_dir():
        raise SourceError(f"{root / mapping.image.folder} is not a folder of images; correct image.folder.")
    read = partial(product_draft, mapping=mapping, root=root)
    paths = mapping.product_fields()
    with Joined(mapping, partial(mapped_rows, root, encoding=mapping.encoding)) as joined:
        beside = joined if mapping.join else None
        rows = mapped_rows(root, mapping.products, paths, mapping.encoding, beside)
        for file, row, left_out in whole_products(rows, mapping):
            yield file, row.number, _outcome(row, read) if left_out is None else left_out


def _outcome(row: SourceRow, read: Callable[[Fields], B]) -> B | RowProblem:
    """What ``read`` makes of a row, or why it makes nothing."""
    try:
        if row.problem:
            raise RowProblem("row", row.problem)
        return read(row.fields)
    except RowProblem as problem:
        return problem


class FileSource(ExitStack):
    """Products, queries and judgements of mapped files, in the order of the catalogue.

    The rows are staged in ``work`` when the source is made; use as a context manager.

    Attributes:
        product_count: rows that may become products, if their pictures can be read.
        has_more_images: whether some product names further pictures that exist.

    Raises:
        SourceError, MappingError: the source cannot be read, or the mapping does not fit it.
    """

    def __init__(self, root: Path, mapping: Mapping, params: SourceParams, work: Path) -> None:
        super().__init__()
        self._root, self._mapping, self._params = root, mapping, params
        self._staging = self.enter_context(Staging(work))
        self.has_more_images = False
        self._left_out: dict[str, set[str]] = {}  # attributes beyond the budget, by category
        self._observed = ObservedSchema(params)
        try:
            self._stage()
        except BaseException:
            self.close()
            raise
        self.product_count = self._staging.product_count

    def _stage(self) -> None:
        for file, number, draft in product_drafts(self._root, self._mapping):
            if isinstance(draft, RowProblem):
                self._staging.reject("product", file, number, draft)
            elif isinstance(draft, Draft):
                self._staging.add_product(draft, file, number)
                self._observed.add(draft.category, draft.product_type, draft.attributes)
                self.has_more_images |= bool(draft.more_images)
        if not self._staging.product_count:
            raise SourceError(
                f"no row of {self._root / self._mapping.products} is a product: {self.worst()}."
            )
        if not self._mapping.schema_file:
            self._left_out = {name: set(names) for name, names in self._observed.left_out().items()}
        self._staging.group()
        if queries := self._mapping.queries:
            self._stage_rows("query", queries, query_row)
        if qrels := self._mapping.qrels:
            self._stage_rows("qrel", qrels, qrel_row)
        if self._mapping.derive_queries:
            for query, judged in derived_queries(self._described(), self._mapping.derive_queries):
                self._staging.add("query", query.model_dump())
                for qrel in judged:
                    self._staging.add("qrel", qrel.model_dump())

    def _described(self) -> Iterator[TableDescription]:
        for draft, group_id, *_ in self._staging.products():
            if isinstance(draft.image, str) and not is_file(self._root / draft.image):
                continue  # no product comes of it: a judgement of it would count as a bad row as well
            split = draft.split or self._params.splits.split_of(group_id, self._params.seed)
            yield TableDescription(draft.product_id, split, draft.product_type, self._kept(draft))

    def _stage_rows(
        self, kind: str, rule: QueryRule | QrelRule, read: Callable[[Fields, Any], dict[str, Any]]
    ) -> None:
        encoding = self._mapping.encoding
        for file, row in mapped_rows(self._root, rule.file, field_paths(rule.fields), encoding):
            found = _outcome(row, lambda fields: read(fields, rule.fields))
            if isinstance(found, RowProblem):
                self._staging.reject(kind, file, row.number, found)
            else:
                self._staging.add(kind, found)

    def schema(self) -> CatalogSchema:
        """The source's own ``schema.json`` when the mapping names one, else what its products show."""
        if self._mapping.schema_file:
            own = read_schema(self._root / self._mapping.schema_file)
            return CatalogSchema.model_validate(all_composed(own.model_dump()))
        return self._observed.schema()

    def products(self) -> Iterator[tuple[Product, Truth]]:
        """Yield products by id; the truth repeats the listing, for nothing more is known of it."""
        workers, drafts = self._params.workers, self._staging.products()
        pool = ThreadPoolExecutor(workers) if workers > 1 else None
        for staged, image, more in in_order(pool, self._pictures, drafts, AHEAD_PER_WORKER * workers):
            if isinstance(image, ImageError):
                problem = RowProblem("image", str(image), staged.draft.product_id)
                self._staging.reject("product", staged.file, staged.row, problem)
            else:
                yield self._product(staged, image, more)

    def _pictures(self, staged: Staged) -> tuple[Staged, bytes | ImageError, tuple[bytes, ...]]:
        """The main picture, or why it is none, and the further ones that can be read."""
        image = self._picture(staged.draft.image)
        more = [found for found in map(self._picture, staged.draft.more_images) if isinstance(found, bytes)]
        return staged, image, tuple(data for data in dict.fromkeys(more) if data != image)

    def _picture(self, image: Any) -> bytes | ImageError:
        try:
            data = self._read(image)
        except ImageError as error:
            return error  # it names the file
        try:
            data = catalogue_picture(data, self._params.images)
            if self._params.reencode:
                return reencode(data, self._params.images, self._params.reencode)
            # One pixel is enough: the decoder must still read the picture to its end.
            decode_image(data, self._params.images, target_px=1)
            return data
        except ImageError as error:
            return ImageError(f"the image {error}")

    def _read(self, image: Any) -> bytes:
        if isinstance(image, list):
            return self._staging.image_bytes(image)
        path: Path = self._root / image
        try:
            if (size := path.stat().st_size) > self._params.images.max_bytes:
                raise ImageError(
                    f"{image} has {size:,} bytes, more than max_bytes={self._params.images.max_bytes:,}"
                )
            return path.read_bytes()
        except FileNotFoundError:
            raise ImageError(
                f"{image} cannot be read (the import found no such file, or one over max_bytes)"
            ) from None
        except OSError as error:
            raise ImageError(f"{image} cannot be read ({error.strerror})") from None

    def _product(self, staged: Staged, image: bytes, more: tuple[bytes, ...]) -> tuple[Product, Truth]:
        draft = staged.draft
        product = Product(
            product_id=draft.product_id,
            image=image,
            image_path=draft.image if isinstance(draft.image, str) else "",
            more_images=more,
            title=draft.title,
            description=draft.description,
            category=draft.category,
            product_type=draft.product_type,
            attributes=self._kept(draft),
            group_id=staged.group_id,
            split=draft.split or self._params.splits.split_of(staged.group_id, self._params.seed),
        )
        return product, truth_of_listing(product)

    def _kept(self, draft: Draft) -> Attributes:
        left_out = self._left_out.get(draft.category, ())
        return {name: value for name, value in draft.attributes.items() if name not in left_out}

    def queries(self) -> tuple[Iterable[Query], Iterable[Qrel]]:
        """The queries by id, and the judgements by query and product."""
        queries, qrels = self._staging.asked("query"), self._staging.asked("qrel")
        return (Query(**row) for row in queries), (Qrel(**row) for row in qrels)

    def rejects(self) -> Iterator[dict[str, Any]]:
        """Yield what was set aside so far, as rows of ``rejects.parquet``; complete after ``products``."""
        return self._staging.rejects()

    def worst(self) -> str:
        """The most frequent reason for setting rows aside, as a phrase."""
        return self._staging.worst_reject()


def in_order(pool: Executor | None, work: Callable[[A], B], items: Iterable[A], window: int) -> Iterator[B]:
    """Map over ``items`` in order, at most ``window`` items ahead of the reader; then shut the pool down.

    Without a pool the work is done here.
    """
    if pool is None:
        yield from map(work, items)
        return
    waiting: deque[Future[B]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
