"""How shoppers say what they see: words of their own, unlike those of titles and descriptions.

Each value has phrases that every split's queries use, and one that only test queries use.
"""

from __future__ import annotations

NOUNS: dict[str, str] = {
    "shirt": "upper wear", "dress": "gown", "trousers": "pants", "sneaker": "trainer", "pump": "heeled shoe",
    "handbag": "purse", "backpack": "rucksack", "suitcase": "luggage", "hat": "headwear",
    "watch": "wristwatch",
    "sunglasses": "shades", "mug": "cup", "bottle": "flask", "teapot": "tea kettle", "chair": "seat for one",
    "table": "desk", "sofa": "couch", "vase": "flower jar", "lamp": "light", "cushion": "pillow",
    "toy car": "little car", "teddy bear": "stuffed bear",
}  # fmt: skip
HUES: dict[str, str] = {
    "red": "scarlet", "orange": "tangerine", "yellow": "lemon", "green": "grass coloured",
    "teal": "blue-green",
    "blue": "sky coloured", "navy": "dark blue", "purple": "violet", "pink": "rosy", "brown": "chocolate",
    "beige": "sand coloured", "black": "jet dark", "white": "snowy", "grey": "ash coloured",
}  # fmt: skip
# attribute -> value -> (phrase of all splits, phrase of test queries only)
SEEN: dict[str, dict[str, tuple[str, str]]] = {
    "pattern": {
        "plain": ("without any print", "of one single tint"),
        "striped": ("with lines across it", "like a barcode"),
        "checked": ("with little squares", "like a chessboard"),
        "dotted": ("covered in spots", "with round freckles"),
        "floral": ("with blossoms on it", "full of daisies"),
        "zigzag": ("with jagged waves", "with lightning rows"),
    },
    "sleeves": {
        "sleeveless": ("that leaves the arms bare", "without anything over the shoulders"),
        "short": ("that ends above the elbow", "with half arms"),
        "long": ("that covers the arms", "reaching down to the wrists"),
    },
    "neckline": {
        "round": ("with a crew neck", "closed in a ring below the chin"),
        "v-neck": ("with a pointed neck opening", "open in a wedge at the chest"),
        "collar": ("that buttons up", "with folded points at the neck"),
    },
    "pocket": {
        "chest pocket": ("with a pouch on the breast", "with room for a pen in front"),
        "no pocket": ("with nothing on the breast", "with a clear front"),
    },
    "length": {
        "mini": ("that stays above the knee", "very brief"),
        "midi": ("that ends at the calf", "of medium drop"),
        "maxi": ("down to the floor", "reaching the ankles"),
    },
    "leg": {
        "slim": ("narrow all the way", "tight on the calves"),
        "straight": ("even from hip to foot", "like two pipes"),
        "flared": ("with bell bottoms", "wider at the foot"),
    },
    "hem": {
        "full": ("of whole length", "touching the shoes"),
        "cropped": ("that shows the ankle", "cut off early"),
        "turned-up": ("with rolled cuffs", "folded over below"),
    },
    "cut": {
        "pencil": ("tight and narrow", "like a tube"),
        "a-line": ("getting wider below", "like a triangle"),
        "pleated": ("with folds", "like an accordion"),
    },
    "height": {
        "low-top": ("below the ankle bone", "low around the foot"),
        "high-top": ("over the ankle", "tall like for basketball"),
    },
    "closure": {
        "laces": ("with strings to tie", "tied with a bow"),
        "straps": ("with two bands to press shut", "that closes without tying"),
        "zip": ("with a metal slider", "opened by pulling a tab"),
        "pull-on": ("that slips on", "with nothing to fasten"),
        "flap": ("with a lid that folds over", "covered like an envelope"),
        "clasp": ("that snaps shut", "with two kissing balls"),
        "roll-top": ("rolled shut at the top", "with a rolled mouth"),
    },
    "sole": {
        "flat": ("thin underneath", "close to the ground"),
        "chunky": ("thick underneath", "on a fat bottom"),
    },
    "shaft": {
        "ankle": ("that is cut low", "just over the foot"),
        "knee": ("going up high", "covering the whole shin"),
    },
    "heel": {
        "flat": ("without any rise at the back", "level to walk on"),
        "block": ("on a sturdy rise", "with a brick below the back"),
        "slim": ("on a thin spike", "with a needle below the back"),
        "wedge": ("raised by a solid slope", "on a ramp"),
    },
    "toe": {
        "closed": ("covering the front of the foot", "shut in front"),
        "open": ("that lets the toes peep out", "with a hole in front"),
    },
    "strap": {
        "ankle strap": ("tied around the leg", "with a loop behind"),
        "no strap": ("that one steps into", "without a loop behind"),
    },
    "handle": {
        "top handle": ("with a bow to hold above", "held by an arch on top"),
        "shoulder strap": ("to hang from the arm", "with a long thin band"),
        "chain": ("with links to carry it", "hung from beads of metal"),
        "telescopic": ("with a rod to pull it", "that draws out two tubes"),
        "round handle": ("with a curved ear", "with half a ring to grip"),
        "square handle": ("with an angular ear", "with a boxy grip"),
        "no handle": ("without ears", "smooth on both sides"),
        "side handle": ("with an ear behind", "gripped from the back"),
        "two handles": ("with an ear on both sides", "like a trophy"),
    },
    "shape": {
        "box": ("like a brick", "angular"),
        "tote": ("narrowing downwards", "like a bucket"),
        "half-moon": ("like a crescent", "like half a circle"),
        "straight": ("with upright walls", "like a tin can"),
        "tapered": ("narrower below", "like a cone cut off"),
        "rounded": ("with a belly", "like a barrel"),
        "round": ("like a ball", "circular"),
        "tall": ("high and narrow", "like a tower"),
        "bulb": ("with a fat middle", "like an onion"),
        "cylinder": ("like a tube", "even all the way up"),
        "flared": ("opening wide at the top", "like a trumpet"),
        "bottle": ("with a thin throat", "like for wine"),
        "square": ("with four corners", "quadratic"),
        "bolster": ("like a roll", "like a sausage"),
    },
    "pockets": {
        "no pocket": ("with an empty front", "without pouches"),
        "one pocket": ("with one pouch in front", "with a single extra space"),
        "two pockets": ("with twin pouches", "with a pair of extra spaces"),
    },
    "shell": {
        "ribbed": ("with grooves", "ridged from top to bottom"),
        "smooth": ("with an even surface", "with a belt around"),
    },
    "corners": {
        "capped": ("with protected tips", "with triangles at the tips"),
        "bare": ("with unprotected tips", "with nothing at the tips"),
    },
    "style": {
        "cap": ("with a visor", "with a peak in front"),
        "fedora": ("with a dent and a brim", "like a detective's"),
        "beanie": ("tight for winter", "with a folded rim"),
        "sun hat": ("with a huge brim", "wide against the heat"),
    },
    "trim": {
        "band": ("with a ribbon", "with a stripe around the head"),
        "pompom": ("with a bobble", "with a fluffy ball"),
        "no trim": ("without decoration", "left bare"),
    },
    "dial": {
        "round": ("with a circular face", "with a face like a coin"),
        "square": ("with a boxy face", "with four edges to its face"),
    },
    "markers": {
        "ticks": ("with strokes for hours", "with little lines around"),
        "dots": ("with points for hours", "with pearls around"),
        "no markers": ("with an empty face", "showing hands only"),
    },
    "frame": {
        "round": ("with circles", "like a wizard's"),
        "square": ("with boxy rims", "like two windows"),
        "cat-eye": ("with upswept tips", "pointing up at the ends"),
        "aviator": ("shaped like drops", "like a pilot's"),
    },
    "lens": {
        "dark": ("that hides the eyes", "with night-like glass"),
        "tinted": ("with bright glass", "to see the world in another light"),
    },
    "neck": {
        "long neck": ("with a thin throat", "like a swan"),
        "wide mouth": ("with a big opening", "easy to fill"),
    },
    "stopper": {
        "cork": ("with a plug of bark", "with a woody plug"),
        "screw cap": ("with a lid to twist", "turned shut"),
        "loop cap": ("with a ring above", "to hang on a hook"),
    },
    "spout": {
        "curved": ("pouring through a bent pipe", "with an elephant's trunk"),
        "straight": ("pouring through a direct pipe", "with a pipe like a ray"),
    },
    "back": {
        "slatted": ("with bars behind", "like a ladder behind"),
        "solid": ("closed behind", "with a board behind"),
        "round": ("with a disc behind", "with a moon behind"),
    },
    "legs": {
        "straight": ("standing upright", "on four vertical posts"),
        "splayed": ("standing astride", "on spread feet"),
    },
    "arms": {
        "armrests": ("to rest the elbows", "with elbow bars"),
        "armless": ("open at the sides", "without sides"),
        "rounded": ("with soft sides", "with rolls at the sides"),
        "square": ("with boxy sides", "with blocks at the sides"),
    },
    "top": {
        "round": ("with an oval plate", "with a plate like a disc"),
        "rectangular": ("with a four-cornered plate", "with a plate like a door"),
    },
    "base": {
        "four legs": ("on four posts", "standing like a horse"),
        "pedestal": ("on one foot", "standing like a mushroom"),
        "trestle": ("on crossed beams", "standing on two letters X"),
        "column": ("on a stick", "upright like a pole"),
        "ball": ("on a sphere", "with a globe below"),
        "tripod": ("on three feet", "standing like a camera"),
    },
    "drawer": {
        "drawer": ("with a compartment", "with a knob in front"),
        "no drawer": ("without compartment", "with free space for knees"),
    },
    "seats": {
        "two seats": ("for a couple", "for you and me"),
        "three seats": ("for a family", "for a trio"),
    },
    "shade": {
        "cone": ("with a pointed hood", "with a hood like a tent"),
        "drum": ("with an upright hood", "with a hood like a pot"),
        "dome": ("with half a sphere above", "like a mushroom"),
        "globe": ("with a full sphere above", "like a lollipop"),
    },
    "edge": {
        "bare": ("without border", "that just ends"),
        "piped": ("with a border", "with a line around"),
        "tasselled": ("with tufts", "with fringes at its tips"),
    },
    "body": {
        "hatchback": ("for everyday roads", "with a short tail"),
        "van": ("tall like a bus", "to deliver parcels"),
        "racer": ("low and fast", "to win on the track"),
        "pickup": ("with a loading bed", "open behind the cabin"),
    },
    "roof": {
        "roof rack": ("with a carrier above", "with rails above"),
        "siren": ("with an emergency beacon", "with a bump above"),
        "bare roof": ("with nothing above", "clear above"),
    },
    "outfit": {
        "bow tie": ("dressed for a ball", "with a butterfly at its neck"),
        "scarf": ("dressed for winter", "with a wrap around its neck"),
        "no outfit": ("wearing nothing", "undressed"),
    },
    "pose": {
        "sitting": ("that sits", "showing the soles of its feet"),
        "standing": ("that stands", "waving on two feet"),
    },
}  # fmt: skip
ACCENTS = ("with {} details", "and some {} on it")  # of all splits; of test queries only
VISUAL = (
    "{colour} {noun} {seen}",
    "{noun} {seen} in {colour}",
    "a {noun} {seen}, {colour}",
    "{colour} one: {noun} {seen}",
)
VISUAL_PLAIN = ("{noun} {seen}", "a {noun} {seen}", "any {noun} {seen}")  # no colour asked
HELD_OUT = (
    "show me a {noun} {seen}; it must be {colour}",
    "i saw a {colour} {noun} once, {seen}",
    "do you have this {noun}, {seen}, {colour}?",
)
HELD_OUT_PLAIN = (
    "show me a {noun} {seen}",
    "i saw a {noun} once, {seen}",
    "do you have this {noun}, {seen}?",
)
TEXTUAL = (
    "{front} {noun} {back}",
    "{noun} {front} {back}",
    "{back} {front} {noun}",
    "buy {front} {noun} {back}",
)
