"""Learning a category's grammar of titles from the titles and attributes of refined listings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from components.catalog.format.attributes import facts
from components.catalog.format.schema import CatalogSchema, Category
from components.opal.model.listing_text import Listing
from components.opal.model.titles.grammar import CategoryTitles, Slot
from components.opal.model.titles.params import TitlesParams
from components.opal.model.titles.words import cores

TYPE = None  # the name of the product type among the parts of a title
Part = str | None
Run = tuple[str, ...]  # words in a row
PRIOR = 10.0  # titles that a value's own share of being named is drawn to its attribute's by
MOSTLY = 0.5  # share of a part's titles in which the word before or behind it must be the same
TOGETHER = 0.8  # share of those in which a second word must stand with it
LONGEST = 2  # of those words
MEANT = 0.6  # share of a word's titles that state one value, from which it stands for that value
SEEN = 0.01  # share of a category's titles in which a free title's further words must stand


@dataclass(frozen=True)
class _Found:
    """A part of a title: words ``start`` to ``end``; not ``sure`` where two attributes say the same."""

    start: int
    end: int
    part: Part
    value: str
    sure: bool = True


@dataclass
class TitleTally:
    """What the titles of one category show."""

    titles: int = 0
    stated: Counter[tuple[Part, str]] = field(default_factory=Counter)  # of listings with a title
    named: Counter[tuple[Part, str]] = field(default_factory=Counter)
    earlier: Counter[tuple[Part, Part]] = field(default_factory=Counter)  # the first stands before the second
    gaps: list[tuple[Part, Run, Part]] = field(default_factory=list)  # words between two parts, or an end
    words: list[tuple[frozenset[str], list[tuple[Part, str]]]] = field(default_factory=list)

    def add(self, listing: Listing) -> None:
        """Count one titled listing."""
        title = cores(listing.title)
        runs = _runs(listing)
        found = _found(title, runs)
        self.titles += 1
        for said in runs.values():
            if len(said) == 1:  # where two attributes say the same nobody knows which is named
                self.stated[said[0]] += 1
        for place in found:
            if place.sure:
                self.named[place.part, place.value] += 1
        for at, first in enumerate(found):
            for second in found[at + 1 :]:
                if first.sure and second.sure:
                    self.earlier[first.part, second.part] += 1
        self.words.append((self._gaps(title, found), [said for both in runs.values() for said in both]))

    def shares(self) -> dict[str, float]:
        """Of each attribute the share of titles that name it, of listings that state it."""
        stated: Counter[Part] = Counter()
        named: Counter[Part] = Counter()
        for (part, value), count in self.stated.items():
            stated[part] += count
            named[part] += self.named[part, value]
        return {part: named[part] / count for part, count in stated.items() if part is not TYPE}

    def _gaps(self, title: Sequence[str], found: Sequence[_Found]) -> frozenset[str]:
        """Keep what stands between the parts; its words are returned."""
        ends = [_Found(0, 0, "", "", False), *found, _Found(len(title), len(title), "", "", False)]
        words = set[str]()
        for first, second in pairwise(ends):
            gap = tuple(title[first.end : second.start])
            sides = [side.part if side.sure else "" for side in (first, second)]
            self.gaps.append((sides[0], gap, sides[1]))
            words.update(gap)
        return frozenset(words)


def _runs(listing: Listing) -> dict[Run, list[tuple[Part, str]]]:
    """The words of every value of a listing and of its type, with what they say."""
    runs: defaultdict[Run, list[tuple[Part, str]]] = defaultdict(list)
    said: list[tuple[Part, str]] = [*facts(listing.attributes), (TYPE, listing.product_type)]
    for part, value in said:
        if run := tuple(cores(value)):
            runs[run].append((part, value))
    return runs


def _found(title: Sequence[str], runs: Mapping[Run, list[tuple[Part, str]]]) -> list[_Found]:
    """The parts of a title from left to right, longer ones first where they overlap."""
    taken, found = [False] * len(title), []
    for run in sorted(runs, key=lambda run: (-len(run), run)):
        for start in range(len(title) - len(run) + 1):
            end = start + len(run)
            if tuple(title[start:end]) == run and not any(taken[start:end]):
                taken[start:end] = [True] * len(run)
                part, value = runs[run][0]
                found.append(_Found(start, end, part, value, len(runs[run]) == 1))
                break
    return sorted(found, key=lambda place: place.start)


def observe_titles(listings: Iterable[tuple[str, Listing]], schema: CatalogSchema) -> dict[str, TitleTally]:
    """What the titles of each category show; of listings of the train split with their categories."""
    tallies = {name: TitleTally() for name in schema.categories}
    for category, listing in listings:
        if category in tallies and listing.title.strip():
            tallies[category].add(listing)
    return tallies


def learn_titles(
    tallies: Mapping[str, TitleTally],
    schema: CatalogSchema,
    visible: Collection[str],
    params: TitlesParams,
    fallback: Sequence[str],
) -> dict[str, CategoryTitles]:
    """The grammar of each category's titles.

    Args:
        visible: attributes that pictures can tell; a title names no others, unless nobody knows.
        fallback: attributes that a title names, before the type, in a category with too few titles.
    """
    return {
        name: _learned(tally, schema.categories[name], visible, params)
        if tally.titles >= params.fewest
        else _fallback(fallback, schema.categories[name], visible)
        for name, tally in tallies.items()
    }


def _fallback(names: Sequence[str], category: Category, visible: Collection[str]) -> CategoryTitles:
    usable = [n for n in names if n in category.attributes and (not visible or n in visible)]
    return CategoryTitles(slots=(*(Slot(attribute=n) for n in usable), Slot()))


def _learned(
    tally: TitleTally, category: Category, visible: Collection[str], params: TitlesParams
) -> CategoryTitles:
    """The slots of a category, from what its titles show."""
    slots: list[Slot] = []
    before, after = _around(tally, params.fewest // 2)
    for name in category.attributes:
        stated = {value: n for (part, value), n in tally.stated.items() if part == name}
        if not stated or (visible and name not in visible):
            continue
        named = {value: tally.named[name, value] for value in stated}
        share = sum(named.values()) / sum(stated.values())
        of_value = {v: (named[v] + PRIOR * share) / (stated[v] + PRIOR) for v in stated}
        said = {v for v, own in of_value.items() if own >= params.named_above}
        if not said:
            continue
        part = sum(named[v] for v in said) / sum(stated[v] for v in said)
        unsaid = tuple(sorted(set(stated) - said))
        around = {"before": before.get(name, ()), "after": after.get(name, ())}
        slots.append(Slot(attribute=name, named=round(part, 4), unsaid=unsaid, **around))
    slots.append(Slot(before=before.get(TYPE, ()), after=after.get(TYPE, ())))
    closed = {word for a in category.attributes.values() for value in a.values for word in cores(value)}
    return CategoryTitles(slots=_in_order(slots, tally.earlier), words=_further(tally, closed))


def _further(tally: TitleTally, closed: Collection[str]) -> tuple[str, ...]:
    """Words of the category's titles that say nothing of their own: neither a value, nor in place of one.

    "Ruby" stands in titles of red things: said of another it would be wrong.
    """
    counts = Counter(word for words, _ in tally.words for word in words)
    own = {word for _, value in tally.stated for word in cores(value)} | set(closed)
    least = max(3.0, SEEN * tally.titles)
    words = {w for w, n in counts.items() if n >= least and w.isalpha() and w not in own}
    beside: Counter[tuple[str, Part, str]] = Counter()
    every: Counter[tuple[Part, str]] = Counter()
    for found, said in tally.words:
        every.update(said)
        beside.update((word, *one) for word in words & found for one in said)
    totals: Counter[tuple[str, Part]] = Counter()
    for (word, part, _), count in beside.items():
        totals[word, part] += count
    of_part: Counter[Part] = Counter()
    for (part, _), count in every.items():
        of_part[part] += count
    meant = {
        word
        for (word, part, value), count in beside.items()
        if count >= MEANT * totals[word, part]
        and count / totals[word, part] >= 2 * every[part, value] / of_part[part]
    }
    return tuple(sorted(words - meant))


def _in_order(slots: Sequence[Slot], earlier: Mapping[tuple[Part, Part], int]) -> tuple[Slot, ...]:
    """Slots by how many of the others they mostly stand before (Copeland); the type last among equals."""

    def _wins(slot: Slot) -> float:
        a = slot.attribute
        beaten = ((earlier.get((a, o.attribute), 0), earlier.get((o.attribute, a), 0)) for o in slots)
        return sum(1.0 if x > y else 0.5 if x == y else 0.0 for x, y in beaten)

    return tuple(sorted(slots, key=lambda s: (-_wins(s), s.attribute is None, s.attribute or "")))


def _around(tally: TitleTally, fewest: int) -> tuple[dict[Part, Run], dict[Part, Run]]:
    """The words that mostly stand before and behind each part that at least ``fewest`` titles name.

    No word is counted for two of them.
    """
    before = _usual(((part, gap[-LONGEST:]) for _, gap, part in tally.gaps), fewest)
    left = []
    for part, gap, following in tally.gaps:
        claimed = before.get(following, ()) if following != "" else ()
        own = gap[: len(gap) - len(claimed)] if claimed and gap[-len(claimed) :] == claimed else gap
        left.append((part, tuple(reversed(own[:LONGEST]))))
    behind = {part: tuple(reversed(run)) for part, run in _usual(left, fewest).items()}
    return before, behind


def _usual(gaps: Iterable[tuple[Part, Run]], fewest: int) -> dict[Part, Run]:
    """For each part the words that most of its gaps end in; two, if the one hardly stands alone."""
    endings: defaultdict[Part, Counter[Run]] = defaultdict(Counter)
    for part, gap in gaps:
        if part == "":
            continue
        for size in range(len(gap) + 1):
            if all(word.isalpha() for word in gap[len(gap) - size :]):
                endings[part][gap[len(gap) - size :]] += 1
    out: dict[Part, Run] = {}
    for part, counts in endings.items():
        if counts[()] < fewest:
            continue
        usual: Run = ()
        for least in (MOSTLY, *[TOGETHER] * (LONGEST - 1)):
            longer = [run for run in counts if len(run) == len(usual) + 1 and run[1:] == usual]
            best = max(longer, key=lambda run: (counts[run], run), default=())
            if not best or counts[best] < least * counts[usual]:
                break
            usual = best
        if usual:
            out[part] = usual
    return out
