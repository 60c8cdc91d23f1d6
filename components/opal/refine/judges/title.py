"""The judge of titles: word by word, shouting, misspellings, rare synonyms and keyword stuffing."""

from __future__ import annotations

from collections.abc import Sequence

from components.evidence.listing import SellerListing
from components.evidence.synonyms import Synonyms
from components.evidence.words import Words, affixes, cased_like, core, cores
from components.opal.refine.decisions import Decision, Verb
from components.opal.refine.judge import Inputs, Opened
from components.opal.refine.params import TitleParams

NAME = "title_words"


def record_words(listing: SellerListing) -> set[str]:
    """Words of what the listing's form states: attribute values and product type."""
    return {word for text in (*listing.attributes.values(), listing.product_type) for word in cores(text)}


class TitleJudge:
    """Cleans titles with what the catalogue's train split shows of its own language; knows no word list."""

    def __init__(self, words: Words, synonyms: Synonyms, params: TitleParams) -> None:
        self._words, self._synonyms, self._params = words, synonyms, params

    def judge(self, listings: Sequence[SellerListing]) -> list[list[Decision]]:
        """One decision per word of each title."""
        return [self._title(listing) for listing in listings]

    def _title(self, listing: SellerListing) -> list[Decision]:
        """A decision for each word of the title."""
        record = record_words(listing)
        tokens = listing.title.split()
        mended = [self._mended(token, at, listing, record) for at, token in enumerate(tokens)]
        stuffed = self._stuffed([core(new) for new, _ in mended], listing.product_type, record)
        out = []
        for at, (token, (new, reason)) in enumerate(zip(tokens, mended, strict=True)):
            verb: Verb = "drop" if at >= stuffed else "normalise" if new != token else "keep"
            if verb == "drop":
                new, reason = "", "keyword stuffing: not said of this product type"
            out.append(Decision("title", str(at), token, verb, new, NAME, reason or "fits"))
        return out

    def _mended(self, token: str, at: int, listing: SellerListing, record: set[str]) -> tuple[str, str]:
        """A token as it should be written, and why; unchanged tokens have no reason."""
        before, word, after = affixes(token)
        reasons = []
        if len(word) > 1 and word.isupper() and word.isalpha():
            calm = self._words.usual_case(core(word)) or word.lower()
            calm = calm[:1].upper() + calm[1:] if at == 0 else calm
            if calm != word:
                word, reasons = calm, ["shouting"]
        if meant := self._words.meant(core(word), record):
            usual = self._words.usual_case(meant) or meant
            word = cased_like(usual, word) if at == 0 else usual
            reasons.append("misspelling")
        if value := self._synonyms.usual_word(core(word), listing):
            word = cased_like(value, word)
            reasons.append("rare word for a value that the listing states")
        return (before + word + after, ", ".join(reasons)) if reasons else (token, "")

    def _stuffed(self, words: Sequence[str], product_type: str, record: set[str]) -> int:
        """From which place on the title is stuffed; its length when it is not. The first word stays."""
        end = len(words)
        while end > 1 and not self._belongs(words[end - 1], product_type, record):
            end -= 1
        return end if len(words) - end >= self._params.stuffing_run else len(words)

    def _belongs(self, word: str, product_type: str, record: set[str]) -> bool:
        return word in record or self._words.share(word, product_type) >= self._params.own_share


def open_judge(inputs: Inputs) -> Opened:
    """The judge of titles, with the catalogue's own words."""
    return Opened(TitleJudge(inputs.observed.words, inputs.observed.synonyms, inputs.params.title))
