"""From a specification to the outlines of its product."""

from __future__ import annotations

from collections.abc import Callable

from components.shop.design import Specification
from components.shop.pictures import carried, household, toys, wearables
from components.shop.pictures.shapes import Part
from components.shop.pictures.wearables import Form, Parts

_DRAWN: dict[str, Callable[[Parts, Form], list[Part]]] = {
    "shirt": wearables.shirt,
    "dress": wearables.dress,
    "trousers": wearables.trousers,
    "skirt": wearables.skirt,
    "sneaker": wearables.sneaker,
    "boot": wearables.boot,
    "pump": wearables.pump,
    "handbag": carried.handbag,
    "backpack": carried.backpack,
    "suitcase": carried.suitcase,
    "hat": carried.hat,
    "watch": carried.watch,
    "sunglasses": carried.sunglasses,
    "mug": household.mug,
    "bottle": household.bottle,
    "teapot": household.teapot,
    "chair": household.chair,
    "table": household.table,
    "sofa": household.sofa,
    "vase": household.vase,
    "lamp": household.lamp,
    "cushion": household.cushion,
    "toy car": toys.toy_car,
    "teddy bear": toys.teddy_bear,
}


def outlines(specification: Specification) -> list[Part]:
    """The parts of a product, from back to front."""
    return _DRAWN[specification.kind.name](specification.attributes, specification.form)
