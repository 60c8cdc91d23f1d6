"""Outlines of clothing and footwear. Each function gives parts from back to front.

``parts`` maps part attributes to values; ``form`` holds four proportions in -1..1 that a design keeps.
"""

from __future__ import annotations

from collections.abc import Mapping

from components.shop.pictures.shapes import (
    Part,
    Points,
    both,
    box,
    ellipse,
    path,
    polygon,
    ribbon,
    smooth,
    strip,
    symmetric,
)

Parts = Mapping[str, str]
Form = tuple[float, float, float, float]


def _sleeves(kind: str, width: float, top: float) -> list[Part]:
    """A pair of sleeves hung from shoulders at ``top``; a coloured cuff ends them."""
    if kind == "sleeveless":
        return []
    if kind == "short":
        sleeve = polygon(
            (0.30, top), (width, top + 0.06), (0.98, top + 0.50), (0.72, top + 0.68), (0.36, top + 0.42)
        )
        cuff = ribbon(polygon((0.98, top + 0.50), (0.72, top + 0.68)), 0.10)
    else:
        sleeve = polygon(
            (0.30, top), (width, top + 0.06), (0.98, top + 1.38), (0.74, top + 1.44), (0.40, top + 0.42)
        )
        cuff = ribbon(polygon((0.99, top + 1.36), (0.73, top + 1.42)), 0.12)
    return both(Part(sleeve, shade=0.93, height=0.5)) + both(Part(cuff, "accent", 0.95))


def _neckline(kind: str, top: float, wide: float) -> list[Part]:
    if kind == "round":
        return [
            Part(ellipse(0, top, wide + 0.07, 0.25, turn=(0, 180)), "accent"),
            Part(ellipse(0, top - 0.01, wide, 0.17, turn=(0, 180)), "inner", 0.8, 0.1),
        ]
    if kind == "v-neck":
        return [
            Part(polygon((-wide - 0.08, top), (wide + 0.08, top), (0, top + 0.62)), "accent"),
            Part(polygon((-wide, top - 0.01), (wide, top - 0.01), (0, top + 0.46)), "inner", 0.8, 0.1),
        ]
    flap = polygon(
        (0.02, top + 0.20), (wide + 0.06, top - 0.10), (wide + 0.20, top + 0.14), (0.20, top + 0.36)
    )
    buttons = [Part(ellipse(0, top + 0.45 + 0.26 * k, 0.04, 0.04, count=9), "pale", 1, 0.9) for k in range(5)]
    return [
        Part(polygon((-wide, top - 0.03), (wide, top - 0.03), (0, top + 0.22)), "inner", 0.75, 0.1),
        Part(box(-0.07, top + 0.18, 0.07, 0.86), "body", 0.9, 0.75),
        *both(Part(flap, "accent", 1, 0.9)),
        *buttons,
    ]


def shirt(parts: Parts, form: Form) -> list[Part]:
    """A top with sleeves, a neckline and perhaps a chest pocket."""
    hem = 0.50 + 0.06 * form[0]
    torso = symmetric((0.20, -0.84), (0.56, -0.74), (0.52, -0.25), (0.47, 0.20), (hem, 0.88))
    drawn = [
        *_sleeves(parts["sleeves"], 0.60, -0.82),
        Part(torso),
        *_neckline(parts["neckline"], -0.84, 0.21),
    ]
    if parts["pocket"] == "chest pocket":
        pocket = polygon((0.12, -0.28), (0.40, -0.28), (0.40, 0.00), (0.26, 0.08), (0.12, 0.00))
        drawn += [Part(pocket, "body", 0.86, 0.85), Part(box(0.12, -0.30, 0.40, -0.23), "accent", 0.95, 0.9)]
    return drawn


def dress(parts: Parts, form: Form) -> list[Part]:
    """A bodice, a belt and a skirt that widens to its hem."""
    bottom = {"mini": 0.30, "midi": 0.66, "maxi": 1.0}[parts["length"]]
    flare = {"mini": 0.62, "midi": 0.72, "maxi": 0.70}[parts["length"]] + 0.08 * form[0]
    waist = -0.18 + 0.06 * form[1]
    straps = 0.40 if parts["sleeves"] == "sleeveless" else 0.46
    bodice = symmetric((0.17, -0.98), (straps, -0.94), (0.36, -0.60), (0.28, waist))
    skirt = smooth(
        symmetric((0.28, waist), (0.42, (waist + bottom) / 2), (flare, bottom), (flare * 0.5, bottom + 0.05)),
        3,
    )
    folds = [
        strip([(x * 0.3, waist + 0.12), (x * flare * 1.1, bottom)], 0.03, "body", 0.80, 0.4)
        for x in (-0.7, 0, 0.7)
    ]
    sleeves = [
        Part(p.points * (0.72, 0.78) + (0.0, -0.18), p.slot, p.shade, p.height)
        for p in _sleeves(parts["sleeves"], 0.60, -0.98)
    ]
    belt = Part(box(-0.29, waist - 0.05, 0.29, waist + 0.06, 0.03), "accent", 1, 0.9)
    return [*sleeves, Part(skirt), *folds, Part(bodice), belt, *_neckline(parts["neckline"], -0.98, 0.18)]


def trousers(parts: Parts, form: Form) -> list[Part]:
    """Two legs under a waistband."""
    end = 0.62 if parts["hem"] == "cropped" else 0.96
    foot = {"slim": 0.20, "straight": 0.31, "flared": 0.50}[parts["leg"]]
    knee = {"slim": 0.24, "straight": 0.31, "flared": 0.24}[parts["leg"]]
    middle = 0.30 + 0.03 * form[0]
    hip = 0.47 + 0.03 * form[1]
    leg = polygon(
        (0.0, -0.82),
        (hip - 0.06, -0.82),
        (hip, -0.45),
        (middle + knee / 2, 0.15),
        (middle + foot / 2 + 0.03, end),
        (middle - foot / 2 + 0.03, end),
        (middle - knee / 2, 0.15),
        (0.03, -0.28),
        (0.0, -0.30),
    )
    crease = ribbon(polygon((0.26, -0.4), (middle + 0.02, end - 0.05)), 0.025)
    drawn = both(Part(leg)) + both(Part(crease, "body", 0.82, 0.5))
    drawn += both(strip([(0.36, -0.70), (hip - 0.02, -0.42)], 0.04, "inner", 0.9, 0.3))
    if parts["hem"] == "turned-up":
        cuff = box(middle + 0.03 - foot / 2 - 0.03, end - 0.14, middle + 0.03 + foot / 2 + 0.03, end)
        drawn += both(Part(cuff, "accent", 1, 0.9))
    return [
        *drawn,
        Part(box(-hip + 0.05, -0.92, hip - 0.05, -0.78, 0.02), "accent", 0.95, 0.8),
        Part(ellipse(0, -0.85, 0.04, 0.04, count=9), "metal"),
    ]


def skirt(parts: Parts, form: Form) -> list[Part]:
    """A waistband over a straight, flaring or folded skirt."""
    bottom = {"mini": 0.15, "midi": 0.55, "maxi": 1.0}[parts["length"]]
    wide = {"pencil": 0.42, "a-line": 0.86, "pleated": 0.80}[parts["cut"]] + 0.04 * form[0]
    hip = 0.50 if parts["cut"] == "pencil" else 0.46
    outline = symmetric((0.36, -0.74), (hip, -0.40), (wide, bottom), (wide * 0.4, bottom + 0.06))
    drawn = [Part(outline)]
    if parts["cut"] == "pleated":
        for k in range(-3, 4):
            fold = polygon(
                (k * 0.10, -0.72),
                (k * 0.10 + 0.05, -0.72),
                (k * wide / 3.5 + 0.12, bottom),
                (k * wide / 3.5, bottom),
            )
            drawn.append(Part(fold, "body", 0.68, 0.3))
    if parts["cut"] == "pencil":
        drawn.append(
            Part(
                polygon((0.12, bottom + 0.06), (0.20, bottom + 0.06), (0.16, bottom - 0.35)),
                "inner",
                0.7,
                0.1,
            )
        )
    return [*drawn, Part(box(-0.38, -0.88, 0.38, -0.70, 0.03), "accent", 1, 0.8)]


def _laces(line: Points, across: float, count: int) -> list[Part]:
    """Short bars over a line from its first point to its last."""
    drawn = []
    for k in range(count):
        x, y = line[0] + (line[-1] - line[0]) * (k + 0.5) / count
        drawn.append(strip([(x - across, y - 0.05), (x + across, y + 0.05)], 0.05, "pale", 1, 1.0))
    return drawn


def sneaker(parts: Parts, form: Form) -> list[Part]:
    """A sports shoe seen from its side, toe to the right."""
    top = -0.62 if parts["height"] == "high-top" else -0.22
    thick = 0.30 if parts["sole"] == "chunky" else 0.16
    base = 0.58
    upper = smooth(
        [
            (-0.86, base),
            (-0.88, 0.10),
            (-0.80, top),
            (-0.42, top - 0.04),
            (-0.22, 0.0),
            (0.30, 0.18),
            (0.80, 0.30),
            (0.94, base),
        ],
        4,
    )
    sole = smooth(
        [
            (-0.95, base - 0.04),
            (0.0, base - 0.02),
            (0.98, base - 0.08),
            (1.0, base + thick * 0.7),
            (0.0, base + thick),
            (-0.96, base + thick),
        ],
        4,
    )
    toe = smooth([(0.55, base), (0.60, 0.30), (0.80, 0.30), (0.96, base)], 4)
    heel = polygon((-0.90, base), (-0.88, 0.08), (-0.62, 0.18), (-0.60, base))
    drawn = [
        Part(upper),
        Part(ellipse(-0.61, top, 0.20, 0.07), "inner", 0.7, 0.2),
        Part(toe, "accent", 1, 0.8),
        Part(heel, "accent", 0.95, 0.8),
    ]
    tongue = (
        polygon((-0.38, top + 0.06), (0.42, 0.22)) if top > -0.5 else polygon((-0.36, -0.45), (0.42, 0.22))
    )
    if parts["closure"] == "laces":
        drawn += _laces(tongue, 0.10, 4 if top > -0.5 else 6)
    else:
        drawn += [
            strip([(x - 0.22, y + 0.28), (x + 0.12, y - 0.06)], 0.16, "accent", 1.08, 1.0)
            for x, y in ((-0.22, 0.06), (0.14, 0.16))
        ]
    drawn.append(Part(sole, "pale", 1, 0.9))
    drawn.append(strip([(-0.93, base + thick * 0.5), (0.96, base + thick * 0.42)], 0.04, "accent", 0.9, 0.6))
    return drawn


def boot(parts: Parts, form: Form) -> list[Part]:
    """A boot seen from its side, toe to the right."""
    top = -0.98 if parts["shaft"] == "knee" else -0.30
    wide = 0.34 + 0.03 * form[0]
    lift = {"flat": 0.80, "block": 0.70, "slim": 0.66}[parts["heel"]]
    outline = smooth(
        [
            (-0.58, lift),
            (-0.55, 0.20),
            (-0.60, top),
            (-0.60 + 2 * wide, top),
            (-0.02, 0.16),
            (0.42, 0.42),
            (0.78, 0.60),
            (0.80, 0.82),
            (0.15, 0.80 if lift > 0.75 else 0.74),
        ],
        4,
    )
    drawn = [Part(outline), Part(ellipse(-0.60 + wide, top + 0.01, wide, 0.06), "inner", 0.6, 0.2)]
    drawn.append(strip([(-0.60, top + 0.13), (-0.60 + 2 * wide, top + 0.13)], 0.14, "accent", 1, 0.9))
    if parts["closure"] == "laces":
        drawn += _laces(polygon((-0.26, top + 0.28), (0.34, 0.40)), 0.12, 7 if top < -0.5 else 4)
    elif parts["closure"] == "zip":
        drawn.append(strip(path([(-0.30, top + 0.18), (-0.32, 0.20), (-0.20, 0.62)]), 0.05, "metal", 1, 1.0))
    sole = path([(-0.58, lift + 0.03), (0.10, 0.80 if lift > 0.75 else 0.76), (0.45, 0.86), (0.84, 0.86)])
    heels = {
        "flat": box(-0.62, 0.78, -0.10, 0.92),
        "block": polygon((-0.62, 0.68), (-0.20, 0.72), (-0.22, 0.96), (-0.58, 0.96)),
        "slim": polygon((-0.60, 0.66), (-0.30, 0.70), (-0.47, 0.98), (-0.55, 0.98)),
    }
    return [*drawn, Part(heels[parts["heel"]], "dark", 1, 0.8), strip(sole, 0.10, "dark", 1, 0.9)]


def pump(parts: Parts, form: Form) -> list[Part]:
    """A court shoe seen from its side, toe to the right."""
    rise = 0.06 * form[0]
    body = smooth(
        [
            (-0.84, 0.05 + rise),
            (-0.90, -0.34 + rise),
            (-0.70, -0.30 + rise),
            (-0.45, 0.02),
            (0.05, 0.30),
            (0.40, 0.24),
            (0.72, 0.42),
            (0.98, 0.66),
            (0.60, 0.70),
            (0.20, 0.62),
            (-0.30, 0.28),
        ],
        4,
    )
    heels = {
        "block": polygon((-0.90, -0.02 + rise), (-0.50, 0.12), (-0.54, 0.74), (-0.86, 0.74)),
        "slim": polygon((-0.90, -0.02 + rise), (-0.56, 0.10), (-0.78, 0.76), (-0.86, 0.76)),
        "wedge": polygon((-0.90, -0.02 + rise), (-0.30, 0.26), (0.30, 0.64), (0.55, 0.74), (-0.86, 0.74)),
    }
    drawn = [Part(heels[parts["heel"]], "accent", 0.92, 0.5), Part(body)]
    if parts["toe"] == "open":
        drawn.append(Part(smooth([(0.70, 0.50), (0.84, 0.54), (0.98, 0.68), (0.72, 0.66)], 4), "hole"))
    drawn.append(strip(path([(-0.30, 0.31), (0.20, 0.66), (0.62, 0.74), (1.0, 0.71)]), 0.07, "dark", 1, 0.8))
    if parts["strap"] == "ankle strap":
        drawn.append(
            strip(
                path(
                    [
                        (-0.86, -0.30),
                        (-0.62, -0.52),
                        (-0.30, -0.50),
                        (-0.16, -0.30),
                        (-0.40, -0.16),
                        (-0.80, -0.24),
                    ]
                ),
                0.08,
                "accent",
                1,
                1.0,
            )
        )
    else:
        drawn.append(Part(ellipse(0.42, 0.34, 0.09, 0.07, count=14), "accent", 1, 1.0))
    return drawn


DRAWN = (shirt, dress, trousers, skirt, sneaker, boot, pump)
