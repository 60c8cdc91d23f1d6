"""What is likely of each product: the probability of each value of an attribute, by the shared evidence."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import Value, each, of_pairs
from components.catalog.format.schema import Attribute, CatalogSchema
from components.evidence.calibration import calibrate
from components.evidence.features import EvidenceReader, TextEncoder
from components.evidence.listing import SellerListing, seller_listing
from components.evidence.observed import nothing_yet
from components.vlclip.agent.params import FactParams

Kind = tuple[str, str]  # category, product type
Probabilities = npt.NDArray[np.float64]
BATCH = 1024  # listings whose evidence is in memory at once


@dataclass(frozen=True)
class TypeAttribute:
    """An attribute as one product type has it; ``coverage`` is the share of its products that name it."""

    name: str
    values: tuple[str, ...]
    coverage: float
    multiple: bool = False


def kind_of(row: Mapping[str, Any]) -> Kind:
    """Category and product type of a catalogue row."""
    return row["category"], row["product_type"]


def attributes_of_kinds(
    rows: Sequence[dict[str, Any]], schema: CatalogSchema, params: FactParams
) -> dict[Kind, list[TypeAttribute]]:
    """Which closed attributes each product type has, and which values they take there, as sellers use them.

    A schema is shared by all types of a category; that a pump has no sleeves stands nowhere else.
    """
    sizes = Counter(kind_of(r) for r in rows)
    stated: dict[tuple[Kind, str], Counter[Value]] = {}
    for row in rows:
        for name, value in of_pairs(row["attributes"]).items():
            stated.setdefault((kind_of(row), name), Counter())[value] += 1
    found: dict[Kind, list[TypeAttribute]] = {kind: [] for kind in sizes}
    for kind in sizes:
        category = schema.categories.get(kind[0])
        for name, attribute in category.attributes.items() if category else ():
            counts, total = Counter[str](), 0
            for value, number in stated.get((kind, name), Counter()).items():
                known = attribute.allowed.intersection(each(value))
                counts.update(dict.fromkeys(known, number))
                total += number if known else 0
            used = tuple(v for v in attribute.values if counts[v] >= params.minimum_share * total > 0)
            if used and total >= params.minimum_coverage * sizes[kind]:
                found[kind].append(TypeAttribute(name, used, total / sizes[kind], attribute.multiple))
    return found


def used_schema(schema: CatalogSchema, kinds: Mapping[Kind, Sequence[TypeAttribute]]) -> CatalogSchema:
    """The schema with the values that sellers use: one that nobody uses is no alternative."""
    used: dict[tuple[str, str], set[str]] = {}
    for (category, _), attributes in kinds.items():
        for attribute in attributes:
            used.setdefault((category, attribute.name), set()).update(attribute.values)

    def _used(category: str, name: str, attribute: Attribute) -> Attribute:
        values = tuple(v for v in attribute.values if v in used.get((category, name), ()))
        return attribute.model_copy(update={"values": values})

    categories = {
        name: described.model_copy(
            update={"attributes": {n: _used(name, n, a) for n, a in described.attributes.items()}}
        )
        for name, described in schema.categories.items()
    }
    return schema.model_copy(update={"categories": categories})


class ValueProbabilities:
    """The probability of each value of each product of a catalogue.

    Args:
        rows: catalogue rows without pictures. images: their pictures' vectors ``[products, D]``, length 1.
        encoder: encodes texts to ``[n, D]`` in the same space; not called without prompts among the evidence.
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        images: npt.NDArray[np.float32],
        encoder: TextEncoder,
        schema: CatalogSchema,
        params: FactParams,
    ) -> None:
        self.kinds = attributes_of_kinds(rows, schema, params)
        self._kinds_of_rows = [kind_of(r) for r in rows]
        self._found: dict[tuple[int, str], tuple[tuple[str, ...], Probabilities]] = {}
        used = used_schema(schema, self.kinds)
        listings = [seller_listing(row, image) for row, image in zip(rows, images, strict=True)]
        with tempfile.TemporaryDirectory(prefix="vitrine-clarify-") as scratch:
            observed = nothing_yet(used, params.words, params.model, Path(scratch))
            for start in range(0, len(listings), BATCH):
                observed.add(listings[start : start + BATCH])
            observed.finish()
            self.words = observed.words
            reader = EvidenceReader(encoder, observed, used, params.model)
            validation = [x for x in listings if x.split == "validation"]
            evidence = reader.read(validation[: params.model.calibration_products])
            self._calibration = calibrate(evidence, params.model.penalty, params.support)
            self._weigh(reader, listings)
            observed.siblings.close()
        self._visible = self._calibration.visible(params.model.visible_above)

    def _weigh(self, reader: EvidenceReader, listings: Sequence[SellerListing]) -> None:
        """Every value of every attribute that a product's type has."""
        for start in range(0, len(listings), BATCH):
            for found in reader.read(listings[start : start + BATCH], unstated=True):
                likely = self._calibration.weights(found.name).posterior(found)
                for row, probabilities in zip(found.rows.tolist(), likely, strict=True):
                    key = start + row, found.name
                    # of several stated values each has a row, where it is the likely one
                    _, held = self._found.get(key, ((), probabilities))
                    self._found[key] = found.values, np.maximum(probabilities, held)

    def tells(self, row: int, name: str) -> bool:
        """Whether pictures show the attribute, by the calibration."""
        return name in self._visible and (row, name) in self._found

    def attributes(self, row: int) -> list[TypeAttribute]:
        """The attributes of a row's kind, which the evidence is about."""
        return self.kinds[self._kinds_of_rows[row]]

    def probabilities(self, row: int, attribute: TypeAttribute, table: Sequence[str]) -> Probabilities:
        """How likely each of the attribute's values is, ``[V]``; of one value each, they sum to 1.

        Args:
            table: what the seller's table states. It speaks alone where an attribute has one value or
                more of them than are judged: then it is as likely as sellers are right.
        """
        values, found = self._found.get((row, attribute.name), ((), np.zeros(0)))
        if not values:
            right = 1 - self._calibration.overall.wrong
            return np.array([right if v in table else 0.0 for v in attribute.values])
        place = {value: k for k, value in enumerate(values)}
        own = found[[place[value] for value in attribute.values]]
        shares: Probabilities = own if attribute.multiple else own / own.sum()
        return shares
