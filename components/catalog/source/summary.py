"""What an import found, in sentences: which field failed how often, and what was left aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from components.catalog.source.drafts import Draft
from components.catalog.source.observed_schema import ObservedSchema
from components.catalog.source.tables.continued import SkippedRow
from components.catalog.source.values.texts import RowProblem

EXAMPLES = 3
SPLIT_EXAMPLES = 12  # the words for splits that the mapping does not translate are few: all are named
MAX_REASONS = 1000  # different ones that are kept per field


@dataclass
class Failures:
    """Rows that one field set aside, and their reasons with the first place of each."""

    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Count a row."""
        self.rows += 1
        if reason in self.places or len(self.places) < MAX_REASONS:
            self.reasons[reason] += 1
            self.places.setdefault(reason, place)

    def examples(self, most: int) -> str:
        """The most frequent reasons, each with how many rows have it and where the first is."""
        named = [
            f"{self.places[reason]}: {reason}" + (f" ({n:,} rows)" if n > 1 else "")
            for reason, n in self.reasons.most_common(most)
        ]
        more = len(self.reasons) - len(named)
        return "; ".join(named) + (f"; and {more:,} other reasons" if more else "")


@dataclass
class Summary:
    """What was found in a source.

    Attributes:
        observed: what the products show. rows: all that were read. products: those with a picture.
        more_pictures: kept beside the main ones. pictures_left: named and not kept.
        failures: by our name of the field. left_out: by reason. several: our name of a field with several
            values, which of them was taken, and an example. alike: products whose picture has another URL
            than an earlier product's, and the same file. unread: our names of attributes whose value was left
            out, with examples.
    """

    observed: ObservedSchema
    rows: int = 0
    products: int = 0
    more_pictures: int = 0
    pictures_left: int = 0
    failures: dict[str, Failures] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    several: dict[str, Failures] = field(default_factory=dict)
    alike: int = 0
    unread: dict[str, Failures] = field(default_factory=dict)
    _urls: dict[str, str] = field(default_factory=dict, repr=False)

    def add(self, file: str, number: int, row: Draft | RowProblem | SkippedRow) -> None:
        """Count a row; a draft becomes a product by ``has_picture``, or fails by ``fail``."""
        self.rows += 1
        if isinstance(row, SkippedRow):
            self.left_out[row.reason] += 1
        elif isinstance(row, RowProblem):
            self.fail(row.field, row.reason, f"{file} row {number}")

    def fail(self, name: str, reason: str, place: str) -> None:
        """Count a row that cannot become a product."""
        self.failures.setdefault(name, Failures()).add(reason, place)

    def has_picture(self, draft: Draft, more: int = 0) -> None:
        """Count a product, ``more`` pictures of it besides the main one, and what is left aside of it."""
        self.products += 1
        self.more_pictures += more
        self.pictures_left += draft.pictures_left + len(draft.more_images) - more
        self.observed.add(draft.category, draft.product_type, draft.attributes)
        if draft.url and self._urls.setdefault(str(draft.image), draft.url) != draft.url:
            self.alike += 1
        for name, reason in draft.unread.items():
            self.unread.setdefault(name, Failures()).add(reason, draft.product_id)
        for name, values in draft.several.items():
            self.several.setdefault(name, Failures()).add(values, draft.product_id)

    @property
    def failed(self) -> int:
        """Rows that cannot become products."""
        return sum(failures.rows for failures in self.failures.values())

    def reasons(self) -> Iterator[str]:
        """One phrase per field that failed, the most frequent first."""
        for name, found in sorted(self.failures.items(), key=lambda item: -item[1].rows):
            most = SPLIT_EXAMPLES if name == "split" else EXAMPLES
            yield f"{name} in {_rows(found.rows)}: {found.examples(most)}"

    def warnings(self) -> Iterator[str]:
        """Sentences about everything that did not come in as it was."""
        if self.failed:
            yield f"{self.failed:,} of them cannot become products; they will be listed in quarantine:"
            yield from (f"  {reason}" for reason in self.reasons())
        for reason, number in self.left_out.items():
            yield f"{_rows(number)} left out, as no product of its own: {reason}."
        for name, found in self.several.items():
            how, values = next(iter(found.reasons)).split(": ", 1)
            kept = {"join": "joined into one text", "last": "the last is taken"}.get(
                how, "the first is taken"
            )
            choice = (
                "as the mapping's take says. Without it the attribute holds them all."
                if name.startswith("attributes.")
                else "for a field holds one value. Choose with take: first, last or join in the mapping."
            )
            yield f"{name} has several values in {found.rows:,} products, such as {values}: {kept}, {choice}"
        for name, found in self.unread.items():
            yield f"{name} is left out of {found.rows:,} products: {found.examples(EXAMPLES)}."
        if self.alike:
            yield (
                f"{self.alike:,} products have a picture whose URL ends like that of another product's: "
                f"they share one file. Save pictures under host and path, as `wget -x` does."
            )
        if self.pictures_left:
            yield (
                f"{self.pictures_left:,} more pictures are left aside: they do not exist, cannot be read, or "
                f"are more than image.most of one product."
            )


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number:,} rows"
