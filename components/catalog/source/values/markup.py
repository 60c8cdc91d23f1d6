"""HTML as text: shops write descriptions, and often titles, as they stand on their pages."""

from __future__ import annotations

import html
import re

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
# Tags that tell HTML from a text with angle brackets, such as "size <S>".
_TAG = re.compile(
    r"<(?:/?(?:a|b|i|u|p|em|ul|ol|li|dl|dt|dd|td|th|tr|br|hr|h[1-6]|div|sup|sub|pre|img|nav|font|span|code|"
    r"small|strong|style|table|tbody|thead|center|script|iframe|video|section|article|blockquote)"
    r"(?:\s[^<>]*)?/?>|!--)",
    re.IGNORECASE,
)
_UNSEEN = ("script", "style", "iframe", "video", "template", "noscript")
_INLINE = {
    "a", "abbr", "b", "bdi", "code", "em", "font", "i", "mark", "s", "small", "span", "strong", "sub", "sup",
    "u",
}  # fmt: skip


def plain_text(text: str) -> str:
    """``text`` without tags, comments and scripts, its entities as characters; no HTML stays as it is."""
    if "<" in text and _TAG.search(text):
        return _of_html(text)
    return _ENTITY.sub(lambda entity: html.unescape(entity.group()), text) if "&" in text else text


def _of_html(text: str) -> str:
    from lxml import etree
    from lxml import html as lxml_html

    try:
        text.encode()
        root = lxml_html.fragment_fromstring(text.replace("\x00", " "), create_parent="div")
    except (ValueError, etree.LxmlError):  # such as characters that are no Unicode: judged by who asked
        return text
    etree.strip_elements(root, etree.Comment, etree.ProcessingInstruction, *_UNSEEN, with_tail=False)
    parts: list[str] = []
    for event, element in etree.iterwalk(root, events=("start", "end")):
        gap = "" if element.tag in _INLINE else " "
        parts += [gap, (element.text if event == "start" else element.tail) or ""]
    return "".join(parts)
