"""``python -m components.opal.describe PHOTO --category X``: no stage of the graph, a tool for people."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.stage.arguments import Parser, composed
from components.stage.errors import ConfigurationError, VitrineError
from components.stage.files.printable import printable
from components.stage.files.publish import write_text
from components.stage.frame import explain
from components.stage.params import load_params, validate

if TYPE_CHECKING:
    from components.opal.describe.describe import Described
    from components.opal.model.params import DescribeParams


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog="python -m components.opal.describe",
        description="Write the listing of a photo (JSON), or of a folder's photos (JSONL and a page).",
    )
    made.add_argument("photo", type=Path, help="a JPEG, PNG or WebP photo, or a folder of them")
    made.add_argument("--category", required=True, type=composed, help="a category of the schema")
    made.add_argument("--model", type=Path, default=None, help="model folder; params.yaml names the default")
    made.add_argument("--schema", type=Path, default=Path("data/checked/schema.json"))
    made.add_argument("--precision", type=float, default=None, help="promised share of right values, 0..1")
    made.add_argument("--completion", type=float, default=None, help="or the share of fields to fill, 0..1")
    made.add_argument("--out", type=Path, default=None, help="of a folder: where JSONL and page go")
    return made


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    asked = parser().parse_args(arguments)
    try:
        return _describe(asked)
    except VitrineError as error:
        message, code = explain(error)
        print(f"error: {message}", file=sys.stderr)
        return code


def at_point(params: DescribeParams, precision: float | None, completion: float | None) -> DescribeParams:
    """The parameters with the asked point of the curve instead of their own.

    Raises:
        ConfigurationError: no share, or both are asked for.
    """
    if precision is None and completion is None:
        return params
    if precision is not None and completion is not None:
        raise ConfigurationError("Give --precision or --completion, not both.")
    asked = {"precision": precision, "completion": completion}
    return validate(type(params), params.model_dump() | asked, "the command line")


def nothing_stated(described: Sequence[Described], params: DescribeParams, can_promise: bool) -> str:
    """What to do where no listing states any attribute; empty where one does, or no photo was known.

    Args:
        can_promise: whether the model keeps the promise that was asked for; if not, that was told already.
    """
    seen = [
        each.generated.listing
        for each in described
        if each.generated and each.generated.listing and each.stated and not each.stated.unlike
    ]
    if not can_promise or not seen or any(listing.attributes for listing in seen):
        return ""
    now = f"--completion {params.completion:g}" if params.completion is not None else ""
    now = now or (f"--precision {params.precision:g}" if params.precision is not None else "every value")
    return (
        f"No value was sure enough to be stated (asked for: {now}). Ask for a lower --precision, or for the "
        "surest values of a share of the fields with --completion 0.5."
    )


def unlike_training(described: Sequence[Described]) -> str:
    """How many photos nothing is stated of because the model knows nothing like them; empty for none."""
    unlike = sum(bool(each.stated and each.stated.unlike) for each in described)
    if not unlike:
        return ""
    which = "This photo is" if len(described) == 1 else f"{unlike:,} of {len(described):,} photos are"
    return f"{which} unlike every picture that the model has learned from, so nothing is stated."


def _describe(asked: argparse.Namespace) -> int:
    """Print one photo's listing, or write lines and a page for a folder; returns the exit code."""
    import torch

    from components.catalog.format.schema import read_schema
    from components.opal.describe.describe import describe, describe_page, limits_of
    from components.opal.describe.photos import photos_of
    from components.opal.model.certainty.abstain import about_point, threshold_of
    from components.opal.model.certainty.certainty import read_certainty
    from components.opal.model.certainty.promise import NOWHERE
    from components.opal.model.errors import ListingConfigurationError, PhotoError
    from components.opal.model.params import DescribeParams

    params = at_point(load_params("describe", DescribeParams), asked.precision, asked.completion)
    if not asked.schema.is_file():
        raise ListingConfigurationError(
            f"There is no schema at {asked.schema}; run 'vitrine run --until catalog_quality', or name one "
            "by --schema."
        )
    torch.set_num_threads(params.threads)
    photos, schema = photos_of(asked.photo), read_schema(asked.schema)
    folder = asked.model or Path(params.model)
    described = describe(photos, asked.category, folder, schema, params)
    certainty, wanted = read_certainty(folder), (params.precision, params.completion)
    point = about_point(certainty, *wanted)
    print(point, file=sys.stderr)
    keeps = certainty is None or threshold_of(certainty, *wanted) < NOWHERE
    for hint in filter(None, (unlike_training(described), nothing_stated(described, params, keeps))):
        print(hint, file=sys.stderr)
    if asked.photo.is_file():
        if described[0].problem:
            raise PhotoError(described[0].problem)
        print(printable(json.dumps(described[0].row(), indent=1, ensure_ascii=False), "\n"))
        return 0
    out = asked.out or asked.photo / "listings"
    lines = "".join(json.dumps(d.row(), ensure_ascii=False) + "\n" for d in described)
    write_text(out / "listings.jsonl", lines)
    page = describe_page(described, photos, limits_of(params), params.low_confidence, point)
    write_text(out / "index.html", page)
    failed = sum(bool(d.problem) for d in described)
    made, place = len(described) - failed, printable(str(out))
    print(f"{made} listings, {failed} photos refused: {place}/listings.jsonl, {place}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
