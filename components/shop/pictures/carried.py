"""Outlines of bags and accessories. Each function gives parts from back to front."""

from __future__ import annotations

from components.shop.pictures.shapes import (
    Part,
    Slot,
    both,
    box,
    ellipse,
    path,
    polygon,
    ribbon,
    ring,
    smooth,
    strip,
    symmetric,
)
from components.shop.pictures.wearables import Form, Parts


def _carry_handle(kind: str, top: float) -> list[Part]:
    if kind == "top handle":
        return [Part(ring(0, top + 0.05, 0.34, 0.42, 0.09, turn=(180, 360)), "accent", 0.95, 0.5)]
    if kind == "shoulder strap":
        return [
            strip(
                path(
                    [
                        (-0.66, top + 0.12),
                        (-0.52, top - 0.50),
                        (0, -1.12),
                        (0.52, top - 0.50),
                        (0.66, top + 0.12),
                    ]
                ),
                0.06,
                "accent",
                0.85,
                0.4,
            )
        ]
    links = path(
        [(-0.64, top + 0.10), (-0.46, top - 0.40), (0, -1.02), (0.46, top - 0.40), (0.64, top + 0.10)], 4
    )
    return [
        Part(ellipse(x, y, 0.055, 0.055, count=9), "metal", 1.0 if k % 2 else 0.7, 0.8)
        for k, (x, y) in enumerate(links)
    ]


def handbag(parts: Parts, form: Form) -> list[Part]:
    """A bag with a handle above and a closure in front."""
    top = -0.22 + 0.05 * form[0]
    wide = 0.82 + 0.06 * form[1]
    bodies = {
        "box": box(-wide, top, wide, 0.78, 0.08),
        "tote": symmetric((wide * 0.98, top - 0.08), (wide * 0.68, 0.82), (0.2, 0.85)),
        "half-moon": smooth(symmetric((wide * 0.98, top), (wide * 0.96, 0.30), (0.45, 0.78))),
    }
    drawn = [*_carry_handle(parts["handle"], top), Part(bodies[parts["shape"]])]
    if parts["closure"] == "flap":
        flap = symmetric((wide * 0.96, top - 0.02), (wide * 0.86, top + 0.30), (0.10, top + 0.56))
        drawn += [
            Part(flap, "accent", 1, 0.9),
            Part(box(-0.08, top + 0.40, 0.08, top + 0.58, 0.03), "metal", 1.1, 1.0),
        ]
    elif parts["closure"] == "zip":
        drawn.append(strip([(-wide * 0.85, top + 0.10), (wide * 0.85, top + 0.10)], 0.06, "metal", 0.9, 1.0))
        drawn.append(Part(box(wide * 0.62, top + 0.10, wide * 0.72, top + 0.34, 0.03), "accent", 1, 1.0))
    else:
        drawn.append(Part(box(-wide * 0.95, top - 0.02, wide * 0.95, top + 0.09, 0.03), "accent", 1, 0.9))
        drawn += both(Part(ellipse(0.06, top - 0.03, 0.07, 0.08, count=12), "metal", 1.1, 1.0))
    return drawn


def backpack(parts: Parts, form: Form) -> list[Part]:
    """A backpack from the front: shoulder straps at its sides, a closure on top, pockets below."""
    wide = 0.62 + 0.05 * form[0]
    straps = both(
        strip(
            path([(wide - 0.15, -0.62), (wide + 0.20, -0.20), (wide + 0.16, 0.50), (wide - 0.05, 0.82)]),
            0.13,
            "accent",
            0.75,
            0.3,
        )
    )
    loop = Part(ring(0, -0.86, 0.17, 0.16, 0.07, turn=(180, 360)), "accent", 0.85, 0.4)
    body = smooth(symmetric((0.30, -0.88), (wide * 0.95, -0.60), (wide, 0.2), (wide, 0.78), (0.3, 0.92)), 4)
    drawn = [*straps, loop, Part(body)]
    if parts["closure"] == "flap":
        drawn += [
            Part(
                smooth(symmetric((0.30, -0.90), (wide, -0.62), (wide, -0.12), (0.2, -0.02)), 4),
                "accent",
                1,
                0.9,
            )
        ]
        drawn += both(Part(box(0.24, -0.20, 0.33, 0.12, 0.03), "metal", 0.9, 1.0))
    elif parts["closure"] == "zip":
        drawn.append(
            strip(
                path(
                    [
                        (-wide + 0.06, -0.10),
                        (-wide + 0.10, -0.52),
                        (0, -0.74),
                        (wide - 0.10, -0.52),
                        (wide - 0.06, -0.10),
                    ]
                ),
                0.06,
                "metal",
                0.9,
                1.0,
            )
        )
    else:
        drawn += [
            Part(box(-wide * 0.98, -1.0, wide * 0.98, -0.62, 0.12), "accent", 1, 0.9),
            Part(box(-0.06, -1.0, 0.06, -0.35, 0.02), "dark", 1, 1.0),
        ]
    pockets = {"no pocket": [], "one pocket": [(-0.40, 0.40)], "two pockets": [(-0.50, -0.04), (0.04, 0.50)]}
    for left, right in pockets[parts["pockets"]]:
        drawn.append(Part(box(left, 0.30, right, 0.82, 0.10), "body", 0.86, 0.9))
        drawn.append(strip([(left + 0.03, 0.36), (right - 0.03, 0.36)], 0.06, "accent", 1.0, 1.0))
    return drawn


def suitcase(parts: Parts, form: Form) -> list[Part]:
    """A standing suitcase on wheels."""
    wide = 0.58 + 0.05 * form[0]
    top = -0.48
    if parts["handle"] == "telescopic":
        grip = [
            Part(box(-0.26, -1.05, -0.19, top), "metal"),
            Part(box(0.19, -1.05, 0.26, top), "metal"),
            Part(box(-0.30, -1.12, 0.30, -0.99, 0.06), "dark", 1, 0.9),
        ]
    else:
        grip = [Part(ring(0, top, 0.24, 0.20, 0.09, turn=(180, 360)), "dark", 1, 0.8)]
    wheels = both(Part(ellipse(wide * 0.72, 0.93, 0.11, 0.11, count=16), "dark", 1, 0.5))
    drawn = [*grip, *wheels, Part(box(-wide, top, wide, 0.88, 0.14))]
    if parts["shell"] == "ribbed":
        drawn += [
            Part(box(x - 0.035, top + 0.10, x + 0.035, 0.78, 0.03), "body", 0.78, 0.25)
            for x in (-0.36, -0.12, 0.12, 0.36)
        ]
    else:
        drawn.append(strip([(-wide, 0.18), (wide, 0.18)], 0.10, "accent", 1, 0.8))
    if parts["corners"] == "capped":
        corner = polygon((wide + 0.01, top - 0.01), (wide + 0.01, top + 0.24), (wide - 0.24, top - 0.01))
        drawn += both(Part(corner, "accent", 0.95, 1.0))
        drawn += both(Part(corner * (1, -1) + (0, 0.40), "accent", 0.95, 1.0))
    return drawn


def hat(parts: Parts, form: Form) -> list[Part]:
    """A cap, a fedora, a beanie or a sun hat, from its side."""
    style = parts["style"]
    tall = -0.55 + 0.06 * form[0]
    if style == "cap":
        drawn = [
            Part(smooth([(-0.62, 0.30), (-0.58, -0.25), (-0.10, tall), (0.38, -0.28), (0.46, 0.30)])),
            Part(
                smooth([(0.30, 0.22), (0.62, 0.18), (1.02, 0.36), (0.95, 0.44), (0.40, 0.36)], 4),
                "accent",
                0.95,
                0.9,
            ),
        ]
        low, left, right = 0.26, -0.62, 0.46
    elif style == "fedora":
        brim = smooth([(-1.0, 0.22), (-0.5, 0.26), (0.5, 0.26), (1.0, 0.18), (0.6, 0.48), (-0.6, 0.50)])
        drawn = [
            Part(brim, "body", 0.9),
            Part(
                smooth(
                    [
                        (-0.56, 0.32),
                        (-0.50, -0.45),
                        (-0.30, tall - 0.08),
                        (0.0, tall + 0.05),
                        (0.30, tall - 0.08),
                        (0.50, -0.45),
                        (0.56, 0.32),
                    ],
                    4,
                )
            ),
        ]
        low, left, right = 0.26, -0.56, 0.56
    elif style == "beanie":
        drawn = [
            Part(smooth([(-0.60, 0.35), (-0.56, -0.30), (0.0, tall - 0.25), (0.56, -0.30), (0.60, 0.35)])),
            Part(box(-0.66, 0.18, 0.66, 0.56, 0.10), "accent", 1, 0.95),
        ]
        low, left, right = 0.10, -0.60, 0.60
    else:
        drawn = [
            Part(ellipse(0, 0.30, 1.05, 0.34), "body", 0.92),
            Part(
                smooth(
                    [(-0.50, 0.28), (-0.46, -0.15), (0, tall + 0.10), (0.46, -0.15), (0.50, 0.28), (0, 0.38)]
                ),
                height=0.9,
            ),
        ]
        low, left, right = 0.22, -0.50, 0.50
    if parts["trim"] == "band" and style != "beanie":
        drawn.append(
            strip(path([(left, low - 0.04), (0, low + 0.05), (right, low - 0.04)]), 0.17, "accent", 0.9, 1.0)
        )
    if parts["trim"] == "band" and style == "beanie":
        drawn.append(Part(box(-0.60, -0.02, 0.60, 0.12, 0.03), "pale", 1, 1.0))
    if parts["trim"] == "pompom":
        peak = tall - (0.33 if style == "beanie" else 0.08)
        drawn.append(Part(ellipse(0, peak, 0.20, 0.18), "accent", 1.05, 1.0))
    return drawn


def watch(parts: Parts, form: Form) -> list[Part]:
    """A wristwatch with its strap laid flat."""
    size = 0.44 + 0.03 * form[0]
    wide = 0.24 + 0.03 * form[1]
    strap = symmetric((wide * 0.8, -1.05), (wide, -0.3), (wide, 0.3), (wide * 0.8, 1.05))
    face = {"round": ellipse(0, 0, size, size), "square": box(-size, -size, size, size, 0.10)}[parts["dial"]]
    holes = [Part(ellipse(0, y, 0.035, 0.035, count=8), "inner", 0.5, 0.1) for y in (0.66, 0.78, 0.90)]
    drawn = [
        Part(strap),
        *holes,
        Part(box(-wide, -1.08, wide, -0.98, 0.03), "metal"),
        Part(box(size - 0.02, -0.07, size + 0.12, 0.07, 0.02), "metal"),
        Part(face, "metal", 1, 0.9),
        Part(face * 0.82, "accent", 1, 0.6),
    ]
    rim = size * 0.64
    hours = ellipse(0, 0, rim, rim, turn=(-90, 240), count=12)
    for k in range(0 if parts["markers"] == "no markers" else 12):
        spot = hours[k]
        mark = (
            ellipse(0, 0, 0.045, 0.045, count=8) + spot
            if parts["markers"] == "dots"
            else ribbon([spot * 0.86, spot * 1.12], 0.045)
        )
        drawn.append(Part(mark, "pale", 1, 0.7))
    hands = [
        ribbon(polygon((0, 0.04), (0.04, -rim * 0.95)), 0.05),
        ribbon(polygon((-0.03, 0), (rim * 0.62, rim * 0.30)), 0.06),
    ]
    return [*drawn, *(Part(hand, "pale", 0.97, 1.0) for hand in hands)]


def sunglasses(parts: Parts, form: Form) -> list[Part]:
    """A pair of glasses from the front."""
    y = 0.02
    shapes = {
        "round": ellipse(0.48, y, 0.38, 0.38),
        "square": box(0.10, y - 0.32, 0.88, y + 0.30, 0.08),
        "cat-eye": smooth(
            [
                (0.10, y - 0.14),
                (0.45, y - 0.24),
                (1.0, y - 0.46),
                (0.88, y + 0.12),
                (0.50, y + 0.34),
                (0.14, y + 0.16),
            ]
        ),
        "aviator": smooth(
            [
                (0.10, y - 0.24),
                (0.50, y - 0.30),
                (0.90, y - 0.24),
                (0.86, y + 0.16),
                (0.52, y + 0.46),
                (0.18, y + 0.20),
            ]
        ),
    }
    frame = shapes[parts["frame"]]
    middle = frame.mean(0)
    shrink = 0.80 + 0.04 * form[0]
    temples = both(
        strip(path([(0.86, y - 0.16), (1.06, y - 0.22), (1.12, y + 0.06)]), 0.08, "accent", 0.85, 0.4)
    )
    bridge = strip(path([(-0.16, y - 0.06), (0, y - 0.16), (0.16, y - 0.06)]), 0.09, "body", 1, 0.8)
    lens = (frame - middle) * shrink + middle
    slot: Slot = "lens" if parts["lens"] == "dark" else "accent"
    shine = ribbon(polygon((-0.16, 0.10), (0.02, -0.16)) + middle, 0.06)
    return [
        *temples,
        bridge,
        *both(Part(frame, "body", 1, 0.9)),
        *both(Part(lens, slot, 1, 0.5)),
        Part(shine, "pale", 0.95, 0.5),
        Part(shine * (1, 1) - (2 * middle[0], 0), "pale", 0.95, 0.5),
    ]


DRAWN = (handbag, backpack, suitcase, hat, watch, sunglasses)
