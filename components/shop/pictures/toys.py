"""Outlines of toys. Each function gives parts from back to front."""

from __future__ import annotations

from components.shop.pictures.shapes import (
    Part,
    Slot,
    both,
    box,
    ellipse,
    path,
    polygon,
    smooth,
    strip,
)
from components.shop.pictures.wearables import Form, Parts


def _wheel(x: float, y: float, radius: float) -> list[Part]:
    slots: tuple[tuple[Slot, float], ...] = (("dark", 1.0), ("metal", 0.55), ("dark", 0.15))
    return [
        Part(ellipse(x, y, radius * scale, radius * scale, count=20), slot, 1, 1.0) for slot, scale in slots
    ]


def toy_car(parts: Parts, form: Form) -> list[Part]:
    """A toy car from its side, bonnet to the right."""
    top = -0.42 + 0.04 * form[0]
    bodies = {
        "hatchback": smooth(
            [
                (-0.92, 0.34),
                (-0.90, -0.05),
                (-0.62, top),
                (0.12, top),
                (0.42, -0.08),
                (0.90, 0.04),
                (0.96, 0.34),
                (0.0, 0.38),
            ],
            4,
        ),
        "van": box(-0.95, top - 0.18, 0.95, 0.36, 0.16),
        "racer": smooth(
            [
                (-1.0, 0.34),
                (-0.95, -0.12),
                (-0.30, -0.10),
                (-0.10, top + 0.14),
                (0.12, -0.02),
                (1.05, 0.24),
                (1.05, 0.36),
                (0, 0.38),
            ],
            4,
        ),
        "pickup": polygon(
            (-1.0, 0.36),
            (-1.0, -0.04),
            (-0.14, -0.04),
            (-0.08, top - 0.04),
            (0.42, top - 0.04),
            (0.56, -0.04),
            (0.98, 0.02),
            (1.0, 0.36),
        ),
    }
    windows = {
        "hatchback": [
            polygon((-0.56, top + 0.10), (-0.20, top + 0.10), (-0.20, -0.04), (-0.68, -0.04)),
            polygon((-0.12, top + 0.10), (0.08, top + 0.10), (0.26, -0.04), (-0.12, -0.04)),
        ],
        "van": [box(0.50, top - 0.06, 0.86, -0.06, 0.06), box(0.08, top - 0.06, 0.42, -0.06, 0.06)],
        "racer": [smooth([(-0.10, top + 0.18), (0.06, -0.02), (-0.22, -0.04)], 4)],
        "pickup": [polygon((0.0, top + 0.06), (0.36, top + 0.06), (0.46, -0.06), (0.0, -0.06))],
    }
    peak = {"hatchback": top, "van": top - 0.18, "racer": -0.10, "pickup": top - 0.04}[parts["body"]]
    middle = {"hatchback": -0.26, "van": -0.15, "racer": -0.62, "pickup": 0.16}[parts["body"]]
    roof = []
    if parts["roof"] == "roof rack":
        roof = [
            Part(box(middle - 0.30, peak - 0.14, middle + 0.30, peak - 0.07), "metal"),
            *(
                Part(box(middle + x - 0.03, peak - 0.10, middle + x + 0.03, peak + 0.06), "metal")
                for x in (-0.2, 0.2)
            ),
        ]
    elif parts["roof"] == "siren":
        roof = [Part(box(middle - 0.10, peak - 0.17, middle + 0.10, peak + 0.06, 0.06), "accent", 1.1, 0.8)]
    glass = [Part(outline, "lens", 1.25, 0.5) for outline in windows[parts["body"]]]
    stripe = strip([(-0.95, 0.17), (0.97, 0.17)], 0.08, "accent", 1, 0.7)
    lamp_front = Part(ellipse(0.92, 0.10, 0.06, 0.06, count=10), "pale", 1, 0.9)
    return [
        *roof,
        Part(bodies[parts["body"]]),
        stripe,
        *glass,
        lamp_front,
        *_wheel(-0.55, 0.38, 0.24),
        *_wheel(0.55, 0.38, 0.24),
    ]


def teddy_bear(parts: Parts, form: Form) -> list[Part]:
    """A bear with round ears; it sits with its soles to us or stands."""
    head = 0.40 + 0.03 * form[0]
    ears = both(Part(ellipse(head * 0.80, -0.82, 0.17, 0.17), "body", 0.9, 0.4)) + both(
        Part(ellipse(head * 0.80, -0.81, 0.09, 0.09, count=14), "accent", 1, 0.4)
    )
    if parts["pose"] == "sitting":
        limbs = both(strip(path([(0.34, -0.10), (0.62, 0.14), (0.60, 0.42)]), 0.26, "body", 0.88, 0.5))
        legs = both(Part(ellipse(0.52, 0.70, 0.25, 0.25), "body", 0.95, 0.9)) + both(
            Part(ellipse(0.54, 0.72, 0.14, 0.15), "accent", 1, 0.95)
        )
        body = Part(ellipse(0, 0.34, 0.46, 0.54), "body", 1, 0.7)
    else:
        limbs = both(strip(path([(0.30, -0.14), (0.66, -0.06), (0.88, -0.26)]), 0.22, "body", 0.88, 0.5))
        legs = both(strip(path([(0.20, 0.40), (0.26, 0.70), (0.32, 0.96)]), 0.30, "body", 0.9, 0.5)) + both(
            Part(ellipse(0.36, 0.98, 0.20, 0.10), "accent", 0.9, 0.7)
        )
        body = Part(ellipse(0, 0.24, 0.40, 0.48), "body", 1, 0.7)
    belly = Part(ellipse(0, 0.34, 0.24, 0.28), "accent", 1.05, 0.8)
    face = [
        Part(ellipse(0, -0.52, head, head * 0.90), "body", 1.02, 0.9),
        Part(ellipse(0, -0.40, 0.20, 0.16), "accent", 1.08, 1.0),
        Part(ellipse(0, -0.47, 0.07, 0.05, count=12), "dark", 1, 1.0),
    ]
    face += both(Part(ellipse(0.16, -0.60, 0.045, 0.05, count=10), "dark", 1, 1.0))
    outfit: list[Part] = []
    if parts["outfit"] == "bow tie":
        outfit = [
            *both(Part(polygon((0, -0.13), (0.26, -0.26), (0.26, 0.02)), "metal", 1, 1.0)),
            Part(ellipse(0, -0.13, 0.07, 0.07, count=10), "dark", 1, 1.0),
        ]
    elif parts["outfit"] == "scarf":
        outfit = [
            strip(path([(-0.36, -0.18), (0, -0.07), (0.36, -0.18)]), 0.17, "pale", 0.98, 1.0),
            strip([(0.18, -0.10), (0.26, 0.36)], 0.17, "pale", 0.92, 1.0),
        ]
    return [*ears, *limbs, body, belly, *legs, *face, *outfit]


DRAWN = (toy_car, teddy_bear)
