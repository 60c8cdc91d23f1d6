"""The judge of titles: word by word, shouting, misspellings and keyword stuffing.

It changes a word only where something besides the title speaks against it. A rare word for a stated value
("vermilion" of something red) is no fault, and says more than the usual one: it stays. Nor is a word that is
printed on the product.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from components.catalog.format.attributes import facts
from components.evidence.listing import SellerListing
from components.evidence.words import Words, affixes, cased_like, core, cores
from components.opal.refine.decisions import Decision, Verb
from components.opal.refine.judge import JudgeInputs, OpenedJudge
from components.opal.refine.params import TitleParams

NAME = "title_words"
LONGEST_ABBREVIATION = 3  # letters of a word in capitals that nobody writes otherwise: it stays


class TitleJudge:
    """Cleans titles with what the catalogue's train split shows of its own language; knows no word list."""

    def __init__(self, words: Words, params: TitleParams) -> None:
        self._words, self._params = words, params

    def judge(self, listings: Sequence[SellerListing]) -> list[list[Decision]]:
        """One decision per word of each title."""
        return [self._title(listing) for listing in listings]

    def _title(self, listing: SellerListing) -> list[Decision]:
        """A decision for each word of the title."""
        stated = [value for _, value in facts(listing.attributes)]
        record = {word for text in (*stated, listing.product_type) for word in cores(text)}
        printed = listing.printed.keys()
        tokens = listing.title.split()
        shouted = self._shouted(tokens, record)
        mended = [self._mended(token, at, record, shouted[at], printed) for at, token in enumerate(tokens)]
        stuffed = self._stuffed([core(new) for new, _ in mended], listing.product_type, record | printed)
        out = []
        for at, (token, (new, reason)) in enumerate(zip(tokens, mended, strict=True)):
            verb: Verb = "drop" if at >= stuffed else "normalise" if new != token else "keep"
            if verb == "drop":
                new, reason = "", "keyword stuffing: not said of this product type"
            out.append(Decision("title", str(at), token, verb, new, NAME, reason or "fits"))
        return out

    def _mended(
        self, token: str, at: int, record: set[str], shouted: bool, printed: Collection[str]
    ) -> tuple[str, str]:
        """A token as it should be written, and why; unchanged tokens have no reason."""
        before, word, after = affixes(token)
        reasons = []
        if shouted and (calm := self._calm(word, at, record)) != word:
            word, reasons = calm, ["shouting"]
        if meant := self._meant(core(word), record, printed):
            usual = self._words.usual_case(meant) or meant
            word = cased_like(usual, word) if at == 0 else usual
            reasons.append("misspelling")
        return (before + word + after, ", ".join(reasons)) if reasons else (token, "")

    def _meant(self, word: str, record: set[str], printed: Collection[str]) -> str:
        """The word that ``word`` misspells; empty where there is none, or where it is printed like this.

        A rare word may misspell a printed one that other listings use, too: readers misread letters, and
        what nobody else says may be such a slip.
        """
        if word in printed:
            return ""
        named = set() if self._words.common(word) else {each for each in printed if self._words.common(each)}
        return self._words.meant(word, record | named)

    def _calm(self, word: str, at: int, record: set[str]) -> str:
        """A word in capitals as the catalogue writes it; names and abbreviations keep their own."""
        usual = self._words.usual_case(core(word))
        if not usual:
            if len(word) <= LONGEST_ABBREVIATION:
                return word
            said = core(word) in record or self._words.used(core(word))
            usual = word.lower() if said else word.capitalize()
        return usual[:1].upper() + usual[1:] if at == 0 else usual

    def _shouted(self, tokens: Sequence[str], record: set[str]) -> list[bool]:
        """Which tokens are shouted: several in capitals in a row, or one that the record states.

        One word in capitals between others is a name, a size or an abbreviation: KURA, LED, HP.
        """
        words = [affixes(token)[1] for token in tokens]
        large = [len(word) > 1 and word.isupper() and word.isalpha() for word in words]
        out = []
        for at, token in enumerate(tokens):
            beside = (at > 0 and large[at - 1]) or (at + 1 < len(tokens) and large[at + 1])
            out.append(large[at] and (beside or core(token) in record))
        return out

    def _stuffed(self, words: Sequence[str], product_type: str, record: set[str]) -> int:
        """From which place on the title is stuffed; its length when it is not. The first word stays."""
        end = len(words)
        while end > 1 and not self._belongs(words[end - 1], product_type, record):
            end -= 1
        return end if len(words) - end >= self._params.stuffing_run else len(words)

    def _belongs(self, word: str, product_type: str, record: set[str]) -> bool:
        """Stuffing is made of words that are common elsewhere; one that is new here may be a name."""
        if word in record or not self._words.common(word):
            return True
        return self._words.share(word, product_type) >= self._params.own_share


def open_judge(inputs: JudgeInputs) -> OpenedJudge:
    """The judge of titles, with the catalogue's own words."""
    return OpenedJudge(TitleJudge(inputs.observed.words, inputs.params.title))
