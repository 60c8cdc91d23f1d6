"""The synthetic shop's products: equal by seed, true boxes, whole groups, the asked distributions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from components.catalog.format.records import SPLITS, Product, Truth
from components.catalog.format.schema import listing_json_schema, parse_schema
from components.shop.assortment import CATEGORIES, COLOURS, TYPES
from components.shop.design import plan, specification
from components.shop.params import ShopParams
from components.shop.pictures.scene import camera, picture
from components.shop.shop import Shop
from tests.data.parameter_blocks import shop_block
from tests.product_problems import product_problems

PARAMS = ShopParams.model_validate(shop_block((60, 20, 40)))
Items = list[tuple[Product, Truth]]


@pytest.fixture(scope="module")
def items() -> Items:
    return list(Shop(PARAMS).products())


def test_any_number_of_workers_gives_the_same_bytes(items: Items) -> None:
    shop = Shop(PARAMS.model_copy(update={"workers": 2}))
    assert list(shop.products()) == items
    assert shop.queries() == Shop(PARAMS).queries()  # made by a worker meanwhile


def test_a_product_drawn_alone_equals_the_one_drawn_in_order(items: Items) -> None:
    shop = Shop(PARAMS)
    for index in (201, 3, 77):
        assert shop.item(index) == items[index]


def test_another_seed_is_another_shop(items: Items) -> None:
    other = Shop(PARAMS.model_copy(update={"seed": 8}))
    drawn = [other.item(index)[0] for index in range(40)]
    assert not {p.image for p in drawn} & {product.image for product, _ in items}
    same = sum(a.title == b.title for a, (b, _) in zip(drawn, items, strict=False))
    assert same <= 4


def test_products_come_in_order_and_in_full(items: Items) -> None:
    ids = [product.product_id for product, _ in items]
    assert ids == sorted(set(ids))
    assert len(ids) == PARAMS.products
    assert {p.category for p, _ in items} == set(CATEGORIES) and len(CATEGORIES) >= 8
    assert {p.product_type for p, _ in items} == set(TYPES)


@pytest.mark.parametrize("products", [48, 200, 6000, 50_000])
def test_every_size_of_shop_splits_as_asked(products: int) -> None:
    shop = plan(PARAMS.model_copy(update={"products": products, "seed": 3}))
    assert len(shop) == products
    of_product = np.bincount(shop.splits[shop.members[:, 0]], minlength=3) / products
    assert of_product.min() > 0
    if products >= 6000:
        assert np.abs(of_product - (0.65, 0.10, 0.25)).max() < 0.02


def test_groups_never_cross_splits_and_share_a_design(items: Items) -> None:
    groups: dict[str, list[Product]] = defaultdict(list)
    for product, _ in items:
        groups[product.group_id].append(product)
    assert sum(len(group) > 1 for group in groups.values()) >= 20
    for group in groups.values():
        assert len({product.split for product in group}) == 1
        designs = [
            {name: value for name, value in p.attributes.items() if "colour" not in name} for p in group
        ]
        assert all(design == designs[0] for design in designs)
        assert len({product.image for product in group}) == len(group), "variants have pictures of their own"


def test_some_variants_change_colour_and_some_do_not() -> None:
    shop = plan(PARAMS.model_copy(update={"products": 2000, "seed": 1}))
    by_group: dict[str, list[str]] = defaultdict(list)
    for index in range(2000):
        what = specification(shop, index)
        by_group[what.group_id].append(what.attributes["colour"])
    pairs = [colours for colours in by_group.values() if len(colours) == 2]
    recoloured = sum(a != b for a, b in pairs) / len(pairs)
    # of two members one is the first; a recoloured one may draw the same of 14 colours again
    assert 0.5 < recoloured < 0.8


def test_every_clean_product_fits_the_schema(items: Items) -> None:
    schema = Shop(PARAMS).schema()
    for product, truth in items:
        assert product_problems(schema, product, require=True) == []
        assert (truth.product_id, truth.title) == (product.product_id, product.title)
        assert truth.attributes == product.attributes and list(product.attributes) == sorted(
            product.attributes
        )
    assert parse_schema(schema.to_json()) == schema
    for category in CATEGORIES:
        assert listing_json_schema(schema, category)["properties"]["attributes"]["required"]


def test_no_colour_or_pattern_is_rare() -> None:
    shop = plan(PARAMS.model_copy(update={"products": 3000, "seed": 2}))
    attributes = [specification(shop, index).attributes for index in range(3000)]
    colours = Counter(a["colour"] for a in attributes)
    assert set(colours) == set(COLOURS) and min(colours.values()) > 3000 / len(COLOURS) / 2
    assert min(Counter(a["pattern"] for a in attributes).values()) > 100


def test_titles_leave_something_to_see(items: Items) -> None:
    for name in ("colour", "material", "pattern"):
        named = [p.attributes[name] in f"{p.title} {p.description}".lower() for p, _ in items]
        assert 0.1 < np.mean(named) < 0.95
    assert len({product.title for product, _ in items}) > 0.7 * len(items)
    assert all(product.title.strip() and product.description.strip() for product, _ in items)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_cluttered_share_is_exact(share: float) -> None:
    shop = plan(PARAMS.model_copy(update={"cluttered_share": share, "seed": 5}))
    assert sum(camera(shop, index).cluttered for index in range(240)) == round(240 * share)


def test_the_scene_is_told_as_it_was_taken(items: Items) -> None:
    assert Counter(truth.scene for _, truth in items) == {"plain": 120, "cluttered": 120}


def test_pictures_are_jpegs_of_the_asked_size(items: Items) -> None:
    for product, _ in items[:40]:
        with Image.open(BytesIO(product.image)) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (48, 48), "RGB")


def test_boxes_bound_the_mask(items: Items) -> None:
    shop = plan(PARAMS)
    for index in range(0, 240, 6):
        taken = picture(shop, specification(shop, index))
        x0, y0, x1, y1 = Image.fromarray(taken.mask).getbbox() or (0, 0, 0, 0)
        assert items[index][1].box == pytest.approx((x0 / 48, y0 / 48, x1 / 48, y1 / 48))
        assert taken.hidden <= PARAMS.max_hidden + 1e-6


def test_masks_are_where_the_product_is_seen() -> None:
    """Paint the product in other colours: the pixels that change are the product, and nothing else is."""
    shop = plan(PARAMS.model_copy(update={"image_px": 128}))
    # of these types no outer part keeps its colour whatever the product's
    kinds = {"shirt", "trousers", "skirt", "cushion", "vase", "chair", "teapot", "mug"}
    checked = {True: 0, False: 0}
    for index in range(len(shop)):
        shot, what = camera(shop, index), specification(shop, index)
        if what.kind.name not in kinds or shot.blur_px or checked[shot.cluttered] >= 8:
            continue
        one, two = (
            picture(shop, replace(what, attributes={**what.attributes, "colour": c, "accent_colour": a}))
            for c, a in (("black", "navy"), ("white", "yellow"))
        )
        changed = np.abs(one.pixels.astype(int) - two.pixels).max(2) > 12
        assert (changed & one.mask).sum() >= 0.93 * one.mask.sum(), what
        # outside of the mask only soft edges change, and what glass lets through
        assert (changed & ~one.mask).sum() <= 0.25 * one.mask.sum() + 60, what
        x0, y0, x1, y1 = Image.fromarray(changed).getbbox() or (0, 0, 0, 0)
        assert np.abs(np.array(one.box) * 128 - (x0, y0, x1, y1)).max() <= 3, what
        checked[shot.cluttered] += 1
    assert min(checked.values()) >= 5


def test_whole_pictures_and_centre_crops_miss_cluttered_products(items: Items) -> None:
    boxes = np.array([truth.box for _, truth in items if truth.scene == "cluttered"])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert np.median(area) < 0.3
    overlap = np.clip(np.minimum(boxes[:, 2:], 0.75) - np.maximum(boxes[:, :2], 0.25), 0, None).prod(1)
    assert np.mean(overlap / (area + 0.25 - overlap) < 0.5) > 0.5


@pytest.mark.slow
def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "draw.py"
    script.write_text(
        "import sys\n"
        "from components.shop.shop import Shop\n"
        "from components.shop.params import ShopParams\n"
        "if __name__ == '__main__':\n"
        "    params = ShopParams.model_validate_json(sys.argv[1])\n"
        "    for number, _ in enumerate(Shop(params).products()):\n"
        "        if number == 0:\n"
        "            print('drawing', flush=True)\n"
    )
    params = PARAMS.model_copy(update={"workers": 2, "products": 5000}).model_dump_json()
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = subprocess.Popen([sys.executable, script, params], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None and parent.stdout.readline() == b"drawing\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(worker.is_running() for worker in workers):
        time.sleep(0.1)
    assert not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers)


def test_split_names_are_the_contract(items: Items) -> None:
    assert {product.split for product, _ in items} == set(SPLITS)
