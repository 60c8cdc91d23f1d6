"""What the shop sells: categories, product types, their visible parts, materials, patterns and colours."""

from __future__ import annotations

from dataclasses import dataclass, field

# Hue in degrees, saturation and value in 0..1 of each colour's centre; shades vary around it (see paint.py).
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (357, 0.80, 0.78),
    "orange": (27, 0.86, 0.93),
    "yellow": (50, 0.78, 0.95),
    "green": (125, 0.60, 0.55),
    "teal": (178, 0.68, 0.58),
    "blue": (212, 0.70, 0.82),
    "navy": (224, 0.66, 0.30),
    "purple": (277, 0.52, 0.58),
    "pink": (338, 0.42, 0.95),
    "brown": (22, 0.58, 0.42),
    "beige": (38, 0.24, 0.86),
    "black": (230, 0.10, 0.13),
    "white": (45, 0.03, 0.96),
    "grey": (215, 0.05, 0.56),
}
PATTERNS = ("plain", "striped", "checked", "dotted", "floral", "zigzag")
_FABRIC = (
    "plain",
    "plain",
    "striped",
    "checked",
    "dotted",
    "floral",
    "zigzag",
)  # plain twice: it is commonest
_FIRM = ("plain", "plain", "plain", "striped", "checked", "dotted")
_GLAZED = ("plain", "plain", "striped", "dotted", "floral", "zigzag")
_PLAIN = ("plain",)


@dataclass(frozen=True)
class ProductType:
    """One kind of product. ``parts`` are attributes one can see; ``measure`` is (name, low, high, step)."""

    name: str
    category: str
    parts: dict[str, tuple[str, ...]]
    materials: tuple[str, ...]
    patterns: tuple[str, ...]
    uses: tuple[str, ...]
    measure: tuple[str, int, int, int] | None = field(default=None)


_SLEEVES = ("sleeveless", "short", "long")
_CLOTH = ("cotton", "linen", "silk", "wool", "denim")
_HIDE = ("leather", "suede", "canvas")
_WEAR = ("office", "weekend", "party", "holiday")
_WALK = ("city", "hiking", "running", "evening")
_CARRY = ("work", "travel", "school", "evening")
_ROOM = ("living room", "bedroom", "dining room", "study")
_KITCHEN = ("breakfast", "picnic", "office", "guests")

_TYPES = (
    ProductType(
        "shirt",
        "clothing",
        {
            "sleeves": _SLEEVES,
            "neckline": ("round", "v-neck", "collar"),
            "pocket": ("chest pocket", "no pocket"),
        },
        _CLOTH,
        _FABRIC,
        _WEAR,
    ),
    ProductType(
        "dress",
        "clothing",
        {"sleeves": _SLEEVES, "neckline": ("round", "v-neck"), "length": ("mini", "midi", "maxi")},
        _CLOTH,
        _FABRIC,
        _WEAR,
    ),
    ProductType(
        "trousers",
        "clothing",
        {"leg": ("slim", "straight", "flared"), "hem": ("full", "cropped", "turned-up")},
        _CLOTH,
        _FABRIC,
        _WEAR,
    ),
    ProductType(
        "skirt",
        "clothing",
        {"cut": ("pencil", "a-line", "pleated"), "length": ("mini", "midi", "maxi")},
        _CLOTH,
        _FABRIC,
        _WEAR,
    ),
    ProductType(
        "sneaker",
        "footwear",
        {"height": ("low-top", "high-top"), "closure": ("laces", "straps"), "sole": ("flat", "chunky")},
        _HIDE,
        _FIRM,
        _WALK,
    ),
    ProductType(
        "boot",
        "footwear",
        {
            "shaft": ("ankle", "knee"),
            "heel": ("flat", "block", "slim"),
            "closure": ("laces", "zip", "pull-on"),
        },
        ("leather", "suede", "rubber"),
        _FIRM,
        _WALK,
    ),
    ProductType(
        "pump",
        "footwear",
        {"heel": ("block", "slim", "wedge"), "toe": ("closed", "open"), "strap": ("ankle strap", "no strap")},
        ("leather", "suede", "silk"),
        _FIRM,
        _WALK,
    ),
    ProductType(
        "handbag",
        "bags",
        {
            "shape": ("box", "tote", "half-moon"),
            "handle": ("top handle", "shoulder strap", "chain"),
            "closure": ("flap", "zip", "clasp"),
        },
        _HIDE,
        _FIRM,
        _CARRY,
    ),
    ProductType(
        "backpack",
        "bags",
        {"closure": ("flap", "zip", "roll-top"), "pockets": ("no pocket", "one pocket", "two pockets")},
        ("canvas", "leather", "nylon"),
        _FABRIC,
        _CARRY,
        ("capacity_l", 10, 40, 2),
    ),
    ProductType(
        "suitcase",
        "bags",
        {
            "shell": ("ribbed", "smooth"),
            "handle": ("telescopic", "top handle"),
            "corners": ("capped", "bare"),
        },
        ("plastic", "aluminium", "leather"),
        _FIRM,
        ("travel", "business", "family"),
        ("capacity_l", 30, 100, 5),
    ),
    ProductType(
        "hat",
        "accessories",
        {"style": ("cap", "fedora", "beanie", "sun hat"), "trim": ("band", "pompom", "no trim")},
        ("wool", "cotton", "straw"),
        _FABRIC,
        _WEAR,
    ),
    ProductType(
        "watch",
        "accessories",
        {"dial": ("round", "square"), "markers": ("ticks", "dots", "no markers")},
        ("leather", "steel", "rubber"),
        _PLAIN,
        ("office", "diving", "running", "evening"),
    ),
    ProductType(
        "sunglasses",
        "accessories",
        {"frame": ("round", "square", "cat-eye", "aviator"), "lens": ("dark", "tinted")},
        ("plastic", "steel", "wood"),
        _PLAIN,
        ("beach", "driving", "skiing", "city"),
    ),
    ProductType(
        "mug",
        "kitchen",
        {
            "handle": ("round handle", "square handle", "no handle"),
            "shape": ("straight", "tapered", "rounded"),
        },
        ("ceramic", "enamel", "glass"),
        _GLAZED,
        _KITCHEN,
        ("capacity_ml", 200, 500, 50),
    ),
    ProductType(
        "bottle",
        "kitchen",
        {"neck": ("long neck", "wide mouth"), "stopper": ("cork", "screw cap", "loop cap")},
        ("steel", "glass", "plastic"),
        _GLAZED,
        ("hiking", "office", "school", "gym"),
        ("capacity_ml", 300, 1200, 100),
    ),
    ProductType(
        "teapot",
        "kitchen",
        {
            "spout": ("curved", "straight"),
            "handle": ("side handle", "top handle"),
            "shape": ("round", "tall"),
        },
        ("ceramic", "enamel", "steel"),
        _GLAZED,
        _KITCHEN,
        ("capacity_ml", 600, 1600, 200),
    ),
    ProductType(
        "chair",
        "furniture",
        {
            "back": ("slatted", "solid", "round"),
            "legs": ("straight", "splayed"),
            "arms": ("armrests", "armless"),
        },
        ("wood", "plastic", "wicker"),
        _PLAIN,
        _ROOM,
        ("height_cm", 75, 110, 5),
    ),
    ProductType(
        "table",
        "furniture",
        {
            "top": ("round", "rectangular"),
            "base": ("four legs", "pedestal", "trestle"),
            "drawer": ("drawer", "no drawer"),
        },
        ("wood", "steel", "plastic"),
        _PLAIN,
        _ROOM,
        ("height_cm", 40, 80, 5),
    ),
    ProductType(
        "sofa",
        "furniture",
        {"seats": ("two seats", "three seats"), "arms": ("rounded", "square", "armless")},
        ("velvet", "linen", "leather"),
        _FABRIC,
        ("living room", "study", "lounge"),
        ("width_cm", 140, 260, 10),
    ),
    ProductType(
        "vase",
        "decor",
        {"shape": ("bulb", "cylinder", "flared", "bottle"), "handle": ("two handles", "no handle")},
        ("ceramic", "glass", "brass"),
        _GLAZED,
        _ROOM,
        ("height_cm", 15, 60, 5),
    ),
    ProductType(
        "lamp",
        "decor",
        {"shade": ("cone", "drum", "dome", "globe"), "base": ("column", "ball", "tripod")},
        ("linen", "brass", "ceramic"),
        _GLAZED,
        _ROOM,
        ("height_cm", 30, 160, 10),
    ),
    ProductType(
        "cushion",
        "decor",
        {"shape": ("square", "round", "bolster"), "edge": ("bare", "piped", "tasselled")},
        ("cotton", "velvet", "wool"),
        _FABRIC,
        _ROOM,
        ("width_cm", 30, 70, 5),
    ),
    ProductType(
        "toy car",
        "toys",
        {"body": ("hatchback", "van", "racer", "pickup"), "roof": ("roof rack", "siren", "bare roof")},
        ("wood", "plastic", "tin"),
        _FIRM,
        ("toddlers", "collectors", "playroom"),
        ("length_cm", 8, 30, 2),
    ),
    ProductType(
        "teddy bear",
        "toys",
        {"outfit": ("bow tie", "scarf", "no outfit"), "pose": ("sitting", "standing")},
        ("plush", "wool", "velvet"),
        _PLAIN,
        ("toddlers", "collectors", "bedtime"),
        ("height_cm", 15, 60, 5),
    ),
)
TYPES: dict[str, ProductType] = {kind.name: kind for kind in _TYPES}
CATEGORIES: tuple[str, ...] = tuple(dict.fromkeys(kind.category for kind in _TYPES))
REQUIRED = ("brand", "colour", "pattern", "material")
