"""Parameters of hubs, which the index and the encoder's evaluation share."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt

from components.stage.params import Params


class HubParams(Params):
    """Block ``hubs``: products that are near to every text are held back."""

    # the part of a product's mean similarity to its nearest texts that is taken from its scores; auto: what
    # ranks validation queries and titles best; 0: nothing is taken
    strength: NonNegativeFloat | Literal["auto"] = "auto"
    bank: PositiveInt = 1000  # titles of the train split that products are compared with
    nearest: PositiveInt = 20  # of them, whose mean similarity counts
