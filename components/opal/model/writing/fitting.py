"""Listings that fit the model: whole attributes are left out of an answer that is too long to be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from components.catalog.format.schema import Category
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.listing_text import Listing, answer_text
from components.opal.model.writing.conversation import Conversation, image_tokens, token_counts

Support = Mapping[str, float]  # of a product's attributes: the probability that what they say is right
UNKNOWN = 0.5  # support of an attribute that nobody measured


@dataclass
class LeftOut:
    """What had no room in the answers that are taught."""

    shortened: int = 0  # answers without some of their attributes
    dropped: int = 0  # answers that do not fit even without any
    attributes: Counter[str] = field(default_factory=Counter)  # times that each was left out

    def sentence(self, room: int, most_new: int) -> str:
        """What was left out, for people; empty if nothing.

        Args:
            room: tokens of question and answer that the model can read. most_new: that an answer may have.
        """
        said = []
        if self.shortened:
            often = [name[:40] for name, _ in self.attributes.most_common(3)]
            said.append(
                f"{self.shortened} answers are too long ({room} tokens can be read with their question, "
                f"{most_new} written): {self.attributes.total()} of their attributes are not taught, most "
                f"often {', '.join(often)}"
            )
        if self.dropped:
            said.append(f"{self.dropped} do not fit even without attributes and are left out")
        return "; ".join(said) + "." if said else ""

    def metrics(self) -> dict[str, float]:
        """Counts for a record."""
        return {
            "answers_shortened": float(self.shortened),
            "answers_left_out": float(self.dropped),
            "attributes_left_out": float(self.attributes.total()),
        }


class Fitting:
    """Counts tokens of whole conversations, and shortens listings that a model cannot read or write at once.

    Args:
        picture: of the size that all pictures have. most_new: tokens of an answer, its end included.
    """

    def __init__(self, model: ListingModel, picture: Image.Image, most_new: int) -> None:
        self.model, self.conversation = model, Conversation(model)
        self.room = model.context_length - image_tokens(model, picture)
        self.most_new = most_new

    def fit(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether each question with its answer can be read, and the answer be written."""
        prompts = [self.conversation.prompt(question) for question, _ in pairs]
        answers = [self.conversation.answer(answer) for _, answer in pairs]
        written = token_counts(self.model, answers)
        read = token_counts(self.model, [a + b for a, b in zip(prompts, answers, strict=True)])
        return [w <= self.most_new and r <= self.room for w, r in zip(written, read, strict=True)]

    def shortened(
        self, question: str, listing: Listing, category: Category | None, support: Support
    ) -> Listing | None:
        """The listing with as many attributes as have room, the best supported ones; None if it has no room.

        Where support is equal, attributes that the schema names first stay.
        """
        known = list(category.attributes) if category else []
        places = {name: at for at, name in enumerate(known)}
        ranked = sorted(
            listing.attributes,
            key=lambda name: (-support.get(name, UNKNOWN), places.get(name, len(places)), name),
        )

        def _of(count: int) -> Listing:
            return replace(listing, attributes={n: listing.attributes[n] for n in ranked[:count]})

        def _fits(count: int) -> bool:
            return self.fit([(question, answer_text(_of(count), category))])[0]

        count = _most(_fits, len(ranked))
        return None if count is None else _of(count)


def _most(fits: Callable[[int], bool], most: int) -> int | None:
    """The largest count up to ``most`` that fits, by halving; None if not even 0 does."""
    if not fits(0):
        return None
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
