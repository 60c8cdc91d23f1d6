"""Outlines of kitchenware, furniture and decor. Each function gives parts from back to front."""

from __future__ import annotations

from components.shop.pictures.shapes import (
    Part,
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


def mug(parts: Parts, form: Form) -> list[Part]:
    """A mug with its handle to the right."""
    high = 0.74 + 0.10 * form[0]
    low = {"straight": 0.60, "tapered": 0.42, "rounded": 0.50}[parts["shape"]]
    middle = {"straight": 0.60, "tapered": 0.53, "rounded": 0.72}[parts["shape"]]
    half = [(0.60, -high), (middle, 0.10), (low, high - 0.06), (low * 0.6, high)]
    body = smooth(symmetric(*half), 4) if parts["shape"] == "rounded" else symmetric(*half)
    grips = {
        "round handle": ring(0.62, 0.02, 0.36, 0.42, 0.13, turn=(-100, 100)),
        "square handle": ribbon(polygon((0.50, -0.36), (0.94, -0.36), (0.94, 0.36), (0.46, 0.36)), 0.13),
    }
    handle = [Part(grips[parts["handle"]], "accent", 0.92, 0.4)] if parts["handle"] in grips else []
    rim = [
        Part(ellipse(0, -high, 0.61, 0.15), "accent", 1.02, 0.9),
        Part(ellipse(0, -high + 0.01, 0.53, 0.11), "inner", 0.7, 0.1),
    ]
    return [*handle, Part(body), *rim]


def bottle(parts: Parts, form: Form) -> list[Part]:
    """A drinking bottle with its stopper."""
    wide = 0.34 + 0.05 * form[0]
    neck, shoulder = (0.13, -0.12) if parts["neck"] == "long neck" else (0.24, -0.42)
    body = smooth(
        symmetric(
            (neck, -0.74),
            (neck, shoulder - 0.14),
            (wide, shoulder + 0.22),
            (wide, 0.60),
            (wide * 0.92, 0.96),
            (wide * 0.4, 1.0),
        ),
        4,
    )
    band = [Part(box(-wide * 0.99, 0.52, wide * 0.99, 0.66), "accent", 1, 0.7)]
    cap: list[Part]
    if parts["stopper"] == "cork":
        cap = [Part(symmetric((neck * 0.95, -0.98), (neck * 0.8, -0.70)), "wood", 1.05, 0.8)]
    elif parts["stopper"] == "screw cap":
        cap = [
            Part(box(-neck * 1.15, -0.96, neck * 1.15, -0.68, 0.04), "accent", 0.95, 0.9),
            strip([(-neck * 1.1, -0.76), (neck * 1.1, -0.76)], 0.03, "dark", 1, 0.9),
        ]
    else:
        cap = [
            Part(ring(0, -0.92, 0.15, 0.17, 0.07), "accent", 0.85, 0.6),
            Part(box(-neck * 1.2, -0.82, neck * 1.2, -0.66, 0.04), "accent", 1, 0.9),
        ]
    return (
        [*cap[:1], Part(body), *cap[1:], *band] if parts["stopper"] == "cork" else [Part(body), *cap, *band]
    )


def teapot(parts: Parts, form: Form) -> list[Part]:
    """A teapot, spout to the right."""
    wide, high = (0.62, 0.52) if parts["shape"] == "round" else (0.46, 0.70)
    wide += 0.04 * form[0]
    if parts["spout"] == "curved":
        spout = ribbon(
            path([(wide * 0.7, 0.40), (wide + 0.22, 0.26), (wide + 0.20, -0.18), (wide + 0.44, -0.36)]),
            0.26,
            0.10,
        )
    else:
        spout = ribbon(polygon((wide * 0.6, 0.30), (wide + 0.42, -0.40)), 0.30, 0.10)
    if parts["handle"] == "side handle":
        handle = ring(-wide + 0.02, 0.05, 0.34, 0.36, 0.11, turn=(95, 265))
    else:
        handle = ring(0, -high * 0.6, wide * 0.78, 0.56, 0.09, turn=(185, 355))
    body = smooth(
        symmetric(
            (wide * 0.35, 0.1 - high),
            (wide * 0.92, 0.08 - high * 0.45),
            (wide, 0.22),
            (wide * 0.72, 0.1 + high),
        ),
        5,
    )
    lid = [
        Part(ellipse(0, 0.10 - high * 0.93, wide * 0.46, 0.13), "accent", 1, 0.9),
        Part(ellipse(0, 0.0 - high * 0.98 - 0.06, 0.10, 0.10, count=14), "accent", 0.9, 1.0),
    ]
    foot = Part(box(-wide * 0.55, high + 0.02, wide * 0.55, high + 0.13, 0.04), "accent", 0.85, 0.4)
    return [Part(spout, "body", 0.95, 0.4), Part(handle, "accent", 0.9, 0.4), foot, Part(body), *lid]


def chair(parts: Parts, form: Form) -> list[Part]:
    """A chair turned a little, so that all four legs show."""
    splay = 0.16 if parts["legs"] == "splayed" else 0.0
    seat = 0.16 + 0.05 * form[0]
    back_legs = [
        strip([(x, seat), (x + splay * side * 0.6, 0.80)], 0.09, "body", 0.66, 0.3)
        for x, side in ((-0.34, -1), (0.46, 1))
    ]
    legs = [
        strip([(x, seat + 0.1), (x + splay * side, 1.0)], 0.11, "body", 0.88, 0.7)
        for x, side in ((-0.50, -1), (0.40, 1))
    ]
    posts = [(-0.38, 0.44), (-0.36, 0.42)]
    back: list[Part]
    if parts["back"] == "slatted":
        back = [strip([(x, seat), (x, -0.92)], 0.10, "body", 0.9) for x in (-0.38, 0.44)]
        back += [Part(box(-0.38, y, 0.44, y + 0.13, 0.03), "body", 1.0, 0.7) for y in (-0.94, -0.64, -0.34)]
    elif parts["back"] == "solid":
        back = [Part(box(posts[0][0] - 0.06, -0.98, posts[0][1] + 0.06, seat, 0.12), "body", 0.95)]
    else:
        back = [strip([(x, seat), (x, -0.30)], 0.09, "body", 0.85) for x in (-0.18, 0.24)]
        back.append(Part(ellipse(0.03, -0.55, 0.46, 0.44), "body", 1.0, 0.7))
    top = Part(
        polygon((-0.40, seat - 0.06), (0.52, seat - 0.06), (0.56, seat + 0.14), (-0.58, seat + 0.14)),
        "accent",
        1.02,
        0.9,
    )
    apron = Part(
        polygon((-0.58, seat + 0.14), (0.56, seat + 0.14), (0.54, seat + 0.24), (-0.56, seat + 0.24)),
        "body",
        0.72,
        0.6,
    )
    drawn = [*back_legs, *back, *legs, apron, top]
    if parts["arms"] == "armrests":
        for x, z in ((-0.52, -0.40), (0.56, 0.50)):
            drawn.append(strip([(x, seat), (x, seat - 0.30)], 0.08, "body", 0.9, 0.9))
            drawn.append(strip([(z, seat - 0.38), (x, seat - 0.28)], 0.11, "body", 1.0, 1.0))
    return drawn


def table(parts: Parts, form: Form) -> list[Part]:
    """A table seen slightly from above."""
    deep = 0.20 + 0.04 * form[0]
    y = -0.32
    if parts["base"] == "four legs":
        legs = [
            Part(box(x - 0.05, y, x + 0.05, bottom), "body", shade, 0.4)
            for x, bottom, shade in (
                (-0.55, 0.52, 0.6),
                (0.55, 0.52, 0.6),
                (-0.80, 0.78, 0.85),
                (0.80, 0.78, 0.85),
            )
        ]
    elif parts["base"] == "pedestal":
        legs = [
            Part(ellipse(0, 0.66, 0.46, 0.15), "body", 0.8, 0.4),
            Part(symmetric((0.10, y), (0.08, 0.3), (0.22, 0.64)), "body", 0.9, 0.6),
        ]
    else:
        legs = [
            strip([(x + a, y), (x + b, 0.74)], 0.09, "body", shade, 0.5)
            for x in (-0.56, 0.56)
            for a, b, shade in ((-0.06, 0.24, 0.7), (0.06, -0.24, 0.88))
        ]
        legs.append(strip([(-0.56, 0.28), (0.56, 0.28)], 0.07, "body", 0.7, 0.5))
    if parts["top"] == "round":
        top = [
            Part(ellipse(0, y + 0.08, 1.0, deep + 0.06), "body", 0.65, 0.6),
            Part(ellipse(0, y, 1.0, deep + 0.06), "accent", 1, 0.9),
        ]
    else:
        slab = polygon((-0.78, y - deep), (0.78, y - deep), (1.0, y + deep), (-1.0, y + deep))
        top = [
            Part(box(-1.0, y + deep, 1.0, y + deep + 0.10), "body", 0.65, 0.6),
            Part(slab, "accent", 1, 0.9),
        ]
    drawer = []
    if parts["drawer"] == "drawer":
        low = y + deep + 0.08
        drawer = [
            Part(box(-0.36, low, 0.36, low + 0.24, 0.02), "body", 0.92, 0.8),
            Part(ellipse(0, low + 0.13, 0.06, 0.05, count=10), "metal", 1, 1.0),
        ]
    return [*legs, *drawer, *top]


def sofa(parts: Parts, form: Form) -> list[Part]:
    """A sofa from the front: back, seat cushions, arms."""
    count = 3 if parts["seats"] == "three seats" else 2
    wide = 0.78 if count == 3 else 0.66
    top = -0.46 + 0.05 * form[0]
    feet = both(Part(box(wide - 0.02, 0.50, wide + 0.08, 0.68), "wood", 0.8, 0.3))
    drawn = [
        *feet,
        Part(box(-wide - 0.04, top, wide + 0.04, 0.40, 0.14), "body", 0.92, 0.4),
        Part(box(-wide, 0.30, wide, 0.56, 0.04), "body", 0.78, 0.5),
    ]
    for k in range(count):
        left, right = -wide + 2 * wide * k / count, -wide + 2 * wide * (k + 1) / count
        drawn.append(Part(box(left + 0.02, top + 0.10, right - 0.02, 0.18, 0.10), "body", 0.99, 0.7))
        drawn.append(Part(box(left + 0.015, 0.08, right - 0.015, 0.36, 0.09), "accent", 1.06, 0.95))
    if parts["arms"] == "rounded":
        drawn += both(Part(box(wide - 0.02, -0.12, wide + 0.24, 0.56, 0.06), "body", 0.86, 0.8))
        drawn += both(Part(ellipse(wide + 0.11, -0.10, 0.17, 0.16), "body", 1.0, 1.0))
    elif parts["arms"] == "square":
        drawn += both(Part(box(wide - 0.02, -0.16, wide + 0.22, 0.58, 0.02), "body", 0.88, 0.9))
    return drawn


def vase(parts: Parts, form: Form) -> list[Part]:
    """A vase with an accent rim and base."""
    w = 0.04 * form[0]
    halves = {
        "bulb": [(0.24, -0.80), (0.20, -0.50), (0.62 + w, 0.10), (0.44, 0.72), (0.26, 0.86)],
        "cylinder": [(0.38 + w, -0.86), (0.40 + w, -0.2), (0.40 + w, 0.4), (0.38 + w, 0.88), (0.2, 0.9)],
        "flared": [(0.64 + w, -0.84), (0.36, -0.40), (0.22, 0.25), (0.30, 0.80), (0.18, 0.88)],
        "bottle": [(0.13, -1.0), (0.12, -0.35), (0.46 + w, 0.25), (0.42, 0.76), (0.24, 0.88)],
    }
    half = halves[parts["shape"]]
    mouth, top = half[0]
    handles = []
    if parts["handle"] == "two handles":
        reach = 0.62 if parts["shape"] in ("bulb", "flared") else 0.40
        handle = ring(reach * 0.62, -0.30, 0.32, 0.30, 0.10, turn=(-120, 100))
        handles = both(Part(handle, "accent", 0.9, 0.4))
    rim = [
        Part(ellipse(0, top, mouth + 0.03, 0.09), "accent", 1.03, 0.9),
        Part(ellipse(0, top, mouth * 0.78, 0.055), "inner", 0.55, 0.1),
    ]
    base = Part(box(-0.30, 0.80, 0.30, 0.92, 0.04), "accent", 0.9, 0.5)
    return [*handles, Part(smooth(symmetric(*half), 5)), base, *rim]


def lamp(parts: Parts, form: Form) -> list[Part]:
    """A lamp: the shade carries colour and pattern, the base the second colour."""
    split = -0.05 + 0.05 * form[0]
    if parts["base"] == "column":
        base = [
            Part(box(-0.06, split - 0.1, 0.06, 0.90), "metal", 0.95, 0.5),
            Part(ellipse(0, 0.90, 0.36, 0.10), "accent", 1, 0.8),
        ]
    elif parts["base"] == "ball":
        base = [
            Part(box(-0.06, split - 0.1, 0.06, 0.40), "metal", 0.9, 0.4),
            Part(ellipse(0, 0.55, 0.36, 0.36), "accent", 1, 0.8),
            Part(box(-0.26, 0.86, 0.26, 0.96, 0.03), "dark", 1.3, 0.6),
        ]
    else:
        base = [
            strip([(0, split - 0.1), (x, 0.96)], 0.08, "accent", shade, 0.6)
            for x, shade in ((0.04, 0.7), (-0.52, 1.0), (0.52, 0.9))
        ]
    shades = {
        "cone": symmetric((0.16, -0.95), (0.66, split), (0.3, split + 0.04)),
        "drum": symmetric((0.54, -0.88), (0.58, split), (0.3, split + 0.05)),
        "dome": ellipse(0, split, 0.68, 0.82, turn=(180, 360)),
        "globe": ellipse(0, split - 0.42, 0.50, 0.50),
    }
    trim = strip(
        path([(-0.58, split - 0.02), (0, split + 0.03), (0.58, split - 0.02)]), 0.06, "accent", 1, 0.9
    )
    return [
        *base,
        Part(shades[parts["shade"]], "body", 1.06, 0.9),
        *([] if parts["shade"] == "globe" else [trim]),
    ]


def cushion(parts: Parts, form: Form) -> list[Part]:
    """A cushion; its edge is bare, piped or hung with tassels."""
    pinch = 0.06 + 0.03 * form[0]
    corners = [
        (-0.86, -0.86),
        (0, -0.86 + pinch),
        (0.86, -0.86),
        (0.86 - pinch, 0),
        (0.86, 0.86),
        (0, 0.86 - pinch),
        (-0.86, 0.86),
        (-0.86 + pinch, 0),
    ]
    outlines = {
        "square": path([*corners, corners[0]], 4),
        "round": ellipse(0, 0, 0.88, 0.86),
        "bolster": smooth(
            [
                (-0.95, -0.30),
                (0, -0.36),
                (0.95, -0.30),
                (1.02, 0),
                (0.95, 0.30),
                (0, 0.36),
                (-0.95, 0.30),
                (-1.02, 0),
            ],
            4,
        ),
    }
    outline = outlines[parts["shape"]]
    ends = {
        "square": [corners[k] for k in (0, 2, 4, 6)],
        "round": [(0.0, 0.86), (0.0, -0.86), (0.88, 0.0), (-0.88, 0.0)],
        "bolster": [(1.02, 0.0), (-1.02, 0.0)],
    }
    drawn = []
    if parts["edge"] == "tasselled":
        for x, y in ends[parts["shape"]]:
            drawn += [
                Part(ribbon([(x * 0.96, y * 0.96), (x * 1.22, y * 1.22)], 0.10, 0.24), "accent", 0.95, 0.8)
            ]
    if parts["edge"] == "piped":
        drawn.append(Part(outline * 1.07, "accent", 1, 0.4))
    drawn.append(Part(outline, height=0.7))
    if parts["shape"] == "bolster":
        drawn += both(strip(path([(0.72, -0.33), (0.78, 0), (0.72, 0.33)]), 0.06, "accent", 0.95, 0.9))
    elif parts["shape"] == "round":
        drawn.append(Part(ellipse(0, 0, 0.09, 0.09, count=14), "accent", 0.95, 0.2))
    return drawn


DRAWN = (mug, bottle, teapot, chair, table, sofa, vase, lamp, cushion)
