"""The stage: from a catalogue to texts and traces, with written rules and with a server."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lamps
import pyarrow.parquet as pq
import pytest
import yaml
from faulty_server import KEY, URL, Act, FaultyServer, Script
from lamps import CLARIFY, COLOURS, MATERIALS, SHAPES, listing, write_encoder, write_shop

from components.evidence.words import words
from components.llm.errors import BudgetSpentError, EndpointError, TooManyFailuresError
from components.llm.params import LLMParams
from components.stage.params import load_params
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resume import sha256_folder
from components.vlclip.agent.errors import VectorsDataError
from components.vlclip.agent.facts import FUNCTION_WORDS
from components.vlclip.agent.params import ClarifyParams
from components.vlclip.agent.stage import Blocks, run
from tests.model.llm.conftest import LLM
from tests.model.red_team import LISTING_TEXTS
from tests.model.spoiled_catalogue import large_photo

ROOT = Path(__file__).parents[3]
Serve = Callable[[Script], FaultyServer]
Make = Callable[..., LLMParams]
SMALL = 40  # products
MESSY: dict[int, dict[str, Any]] = {
    2: {"title": "BLEU GLASS LAMP WOW SALE", "description": "Best price!! Call me."},
    5: {"title": "", "description": ""},
    7: {"attributes": {"colour": "red", "material": "glass"}},  # a white one
    9: {"title": "x" * 400},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    write_shop(root, MESSY)
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    write_shop(root, {}, products=SMALL)
    return root


@dataclass(frozen=True)
class Done:
    """What an undisturbed run has left."""

    out: Path
    record: Record
    server: Any = None  # that was asked


@pytest.fixture(scope="module")
def by_rules(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Texts of the written rules alone; a test must not change them."""
    root = tmp_path_factory.mktemp("rules")
    record = clarify(
        shop, root / "out", LLMParams.model_validate(LLM | {"backend": "offline"}), root / "cache"
    )
    return Done(root / "out", record)


@pytest.fixture(scope="module")
def by_model(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """Texts of an honest language model; a test must not change them."""
    root, server = tmp_path_factory.mktemp("model"), FaultyServer(honest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL, server.url)
        patch.setenv(KEY, "secret-key")
        record = clarify(small, root / "out", LLMParams.model_validate(LLM), root / "cache")
    yield Done(root / "out", record, server)
    server.stop()


def clarify(shop: Path, out: Path, llm: LLMParams, cache: Path, **params: Any) -> Record:
    record = Record(stage="clarify")
    blocks = Blocks(clarify=ClarifyParams.model_validate({**CLARIFY, **params}), llm=llm)
    folders = {"catalogue": "checked", "embeddings": "embeddings", "encoder": "encoder"}
    paths = Paths(clarified=out, cache=cache, **{name: shop / folder for name, folder in folders.items()})
    run(blocks, paths, record)
    return record


def texts(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "texts.parquet").to_pylist()


def honest(_: int, body: dict[str, Any]) -> Act:
    """A language model that does its work: it writes the record's facts, and heeds the critique."""
    data = json.loads(body["messages"][1]["content"][1]["text"])
    record = data["record"]
    role = body["response_format"]["json_schema"]["name"]
    if role == "summarizer":
        return Act(
            json.dumps({"text": f"shiny {record['attributes'].get('colour', '')} {record['product_type']}"})
        )
    if role == "evaluator":
        bad = data["checks"]["unsupported"] or data["checks"]["strange"]
        return Act(json.dumps({"critique": "Take out what has no ground." if bad else "<STOP>"}))
    said = " ".join(f["value"] for f in data["evidence"] if f["name"] == "colour")
    return Act(json.dumps({"text": f"{said} {record['product_type']}"}))


def test_written_rules_write_clean_texts(by_rules: Done) -> None:
    rows, record = texts(by_rules.out), by_rules.record
    assert [r["product_id"] for r in rows] == [listing(i)["product_id"] for i in range(160)]
    assert rows[0]["text"] == "red glass lamp, round shade, bedside"
    assert rows[2]["text"] == "blue glass lamp, round shade"  # shouting, stuffing, boilerplate, a slip
    assert rows[7]["text"].startswith("white") and rows[7]["facts_removed"] == 1
    assert rows[5]["text"] and "x" * 20 not in rows[9]["text"]
    assert all(r["stopped"] and not r["reason"] and len(r["text"]) <= 80 for r in rows)
    assert {"name": "colour", "value": "red"} in rows[0]["facts"]
    assert record.metrics["llm.requests"] > 160 and record.metrics["failed"] == 0


def test_traces_tell_every_step(by_rules: Done) -> None:
    steps = [
        r for r in pq.read_table(by_rules.out / "traces.parquet").to_pylist() if r["product_id"] == "P0007"
    ]
    assert [(s["round"], s["role"]) for s in steps] == [
        (0, "summarizer"),
        (1, "evaluator"),
        (1, "refiner"),
        (2, "evaluator"),
    ]
    assert "red" in steps[0]["output"] and "Take out: colour red" in steps[1]["output"]
    assert steps[-1]["output"] == "<STOP>"


def test_the_record_keeps_prompts_and_what_the_questions_about_a_sample_cost(by_model: Done) -> None:
    record = by_model.record
    assert set(record.prompts) == {"summarizer", "evaluator", "refiner"}
    assert "You are the Refiner" in record.prompts["refiner"]
    asked = {e.product_id for e in record.exchanges}
    assert len(asked) == 20
    traced = pq.read_table(by_model.out / "traces.parquet").to_pylist()
    steps = {p: [s["role"] for s in traced if s["product_id"] == p] for p in asked}
    assert steps == {p: [e.task for e in record.exchanges if e.product_id == p] for p in asked}
    assert all(e.seconds > 0 and e.prompt_tokens > 0 and e.completion_tokens > 0 for e in record.exchanges)


def test_equal_input_gives_equal_bytes_without_queries_truth_or_cache(
    shop: Path, by_rules: Done, llm_params: Make, tmp_path: Path
) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(shop, blind)
    (blind / "checked/queries.parquet").unlink()
    (blind / "checked/qrels.parquet").unlink()
    clarify(blind, tmp_path / "b", llm_params(backend="offline"), tmp_path / "other")
    assert sha256_folder(by_rules.out) == sha256_folder(tmp_path / "b")


def test_a_language_model_is_shown_the_picture_and_checked(by_model: Done) -> None:
    rows, bodies = texts(by_model.out), by_model.server.bodies
    assert rows[0] == {
        "product_id": "P0000",
        "text": "red lamp",
        "rounds": 2,
        "stopped": True,
        "facts_removed": 1,  # shiny
        "facts": [{"name": "colour", "value": "red"}],
        "reason": "",
    }
    assert bodies[0]["messages"][1]["content"][0]["image_url"]["url"].startswith("data:image/")
    assert "lantern" not in str(bodies)  # of the query


def obedient(_: int, body: dict[str, Any]) -> Act:
    """A language model that writes what the listing tells it to, and approves of it."""
    title = json.loads(body["messages"][1]["content"][1]["text"])["record"]["title"]
    form = body["response_format"]["json_schema"]["schema"]["properties"]
    return Act(json.dumps({"text": title[:80]} if "text" in form else {"critique": "<STOP>"}))


@pytest.mark.parametrize("backend", ["endpoint", "offline"])
def test_forty_orders_in_listings_leave_texts_of_the_shops_words(
    serve: Serve, llm_params: Make, tmp_path: Path, backend: str
) -> None:
    attacked = {i: {"title": said, "description": said} for i, said in enumerate(LISTING_TEXTS)}
    assert len(attacked) >= 40
    write_shop(tmp_path, attacked, products=80)
    serve(obedient)
    record = clarify(tmp_path, tmp_path / "out", llm_params(backend=backend), tmp_path / "cache")
    own = {*COLOURS, *SHAPES, *MATERIALS, "lamp", "mug", "colour", "accent", "shade", "material", "brand"}
    for row in texts(tmp_path / "out"):
        assert set(words(row["text"])) <= own | {"bedside"} | FUNCTION_WORDS, row["text"]
        assert 0 < len(row["text"]) <= 80 and not row["reason"]
    assert record.metrics["facts_removed"] > 40 or backend == "offline"


def test_rounds_are_bounded(small: Path, serve: Serve, llm_params: Make, tmp_path: Path) -> None:
    def never(n: int, body: dict[str, Any]) -> Act:
        content = body["response_format"]["json_schema"]["schema"]["properties"]
        return Act(json.dumps({"text": "a shiny lamp"} if "text" in content else {"critique": "Again."}))

    server = serve(never)
    clarify(small, tmp_path / "out", llm_params(), tmp_path / "cache", max_rounds=2)
    rows = texts(tmp_path / "out")
    assert all(r["rounds"] == 2 and not r["stopped"] and "shiny" not in r["text"] for r in rows)
    assert len(server.bodies) == SMALL * (1 + 2)  # of an unchanged text nobody is asked twice


def test_an_item_that_fails_keeps_the_sellers_text_with_a_reason(
    small: Path, serve: Serve, llm_params: Make, tmp_path: Path
) -> None:
    def script(n: int, body: dict[str, Any]) -> Act:
        return Act("I would rather not.") if '"blue wood mug' in str(body) else honest(n, body)

    serve(script)
    record = clarify(small, tmp_path / "out", llm_params(), tmp_path / "cache")
    failed = [r for r in texts(tmp_path / "out") if r["reason"]]
    assert failed and record.metrics["failed"] == len(failed)
    assert all(r["text"] == "blue wood mug for the bedside" and "not JSON" in r["reason"] for r in failed)


def test_too_many_failures_leave_no_output(
    small: Path, serve: Serve, llm_params: Make, tmp_path: Path
) -> None:
    serve(lambda *_: Act("no"))
    with pytest.raises(TooManyFailuresError, match=f"{SMALL} of {SMALL}"):
        clarify(small, tmp_path / "out", llm_params(), tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_the_blocks_of_the_gpu_profile_meet_a_server(
    small: Path, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(honest)
    monkeypatch.setenv("VITRINE_LLM_URL", server.url)
    monkeypatch.setenv("VITRINE_LLM_KEY", "the-key")
    llm = load_params("llm", LLMParams, ROOT / "conf/gpu.yaml")
    block = load_params("clarify", ClarifyParams, ROOT / "conf/gpu.yaml").model_dump()
    block["evidence"]["model"]["evidence"] = CLARIFY["evidence"]["model"][
        "evidence"
    ]  # its encoder is a stand-in
    record = clarify(small, tmp_path / "out", llm, tmp_path / "cache", **block)
    assert record.metrics["failed"] == 0 and server.bodies[0]["model"] == "Qwen/Qwen3-VL-8B-Instruct"
    assert server.headers[0]["authorization"] == "Bearer the-key"
    written = b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    assert b"the-key" not in written and "the-key" not in record.model_dump_json()


def test_one_request_at_a_time_gives_the_same_bytes(
    small: Path, serve: Serve, llm_params: Make, tmp_path: Path
) -> None:
    serve(lambda n, body: Act(honest(n, body).text, hang_s=0.004 * (n % 3)))
    for name, concurrency in (("one", 1), ("many", 16)):
        params = llm_params(endpoint={"concurrency": concurrency})
        clarify(small, tmp_path / name, params, tmp_path / f"cache-{name}", max_rounds=1)
    assert sha256_folder(tmp_path / "one") == sha256_folder(tmp_path / "many")


def test_a_picture_that_cannot_be_read_is_not_shown(
    serve: Serve, llm_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamps.picture", lambda colour: b"no picture")
    write_shop(tmp_path, {}, products=40)

    def blind(n: int, body: dict[str, Any]) -> Act:
        assert isinstance(body["messages"][1]["content"], str)
        return Act('{"text": "lamp"}' if "summarizer" in str(body) else '{"critique": "<STOP>"}')

    serve(blind)
    record = clarify(tmp_path, tmp_path / "out", llm_params(), tmp_path / "cache")
    assert record.metrics["failed"] == 0


def test_a_photo_of_40_megabytes_is_shown_small(
    serve: Serve, llm_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = iter([large_photo()])
    small_one = lamps.picture
    monkeypatch.setattr("lamps.picture", lambda colour: next(pictures, None) or small_one(colour))
    write_shop(tmp_path, {}, products=40)
    server = serve(honest)
    clarify(tmp_path, tmp_path / "out", llm_params(), tmp_path / "cache")
    assert len(large_photo()) > 40_000_000
    assert max(len(json.dumps(body)) for body in server.bodies) < 50_000
    assert texts(tmp_path / "out")[0]["text"] == "red lamp"


def test_products_of_no_type_and_no_words_get_a_text_of_their_category(
    llm_params: Make, tmp_path: Path
) -> None:
    nothing = {"title": "", "description": "", "attributes": {}}
    changes = {3: {"product_type": "", **nothing}, 4: {"product_type": "spaceship", **nothing}}
    write_shop(tmp_path, changes, products=80)
    clarify(tmp_path, tmp_path / "out", llm_params(backend="offline"), tmp_path / "cache")
    rows = texts(tmp_path / "out")
    assert rows[3]["text"] == "home" and rows[4]["text"] == "spaceship" and not rows[4]["facts"]
    assert all(r["text"] for r in rows)


@pytest.mark.parametrize("how", ["gone", "budget"])
def test_work_that_stops_is_kept_and_goes_on_with_equal_bytes(
    small: Path, by_model: Done, serve: Serve, llm_params: Make, tmp_path: Path, how: str
) -> None:
    stop = len(by_model.server.paid) // 3
    first = serve(lambda n, body: Act(close=True) if how == "gone" and n >= stop else honest(n, body))
    budget = {"requests": stop if how == "budget" else None, "tokens": None}
    with pytest.raises((EndpointError, BudgetSpentError)):
        clarify(small, tmp_path / "out", llm_params(budget=budget), tmp_path / "cache")
    assert not (tmp_path / "out").exists()
    second = serve(honest)
    clarify(small, tmp_path / "out", llm_params(), tmp_path / "cache")
    assert sha256_folder(tmp_path / "out") == sha256_folder(by_model.out)
    both = first.paid + second.paid
    assert sum(first.paid.values()) == stop and max(both.values()) == 1
    assert set(both) == set(by_model.server.paid)


def test_vectors_of_another_catalogue_or_encoder_are_refused(
    small: Path, llm_params: Make, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(small, other)
    write_encoder(other / "encoder", b"others")
    with pytest.raises(VectorsDataError, match="embeddings stage"):
        clarify(other, tmp_path / "out", llm_params(backend="offline"), tmp_path / "cache")
    shutil.rmtree(other / "encoder")
    with pytest.raises(VectorsDataError, match="vitrine run encoder"):
        clarify(other, tmp_path / "out", llm_params(backend="offline"), tmp_path / "cache")


def constants(path: Path) -> set[str]:
    """Phrases and words of a module's text constants, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found = {
        n.value.strip().lower()
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and n not in docs
    }
    return {word for text in found for word in (text, *text.split()) if len(word) > 3 and word.isalpha()} | {
        text for text in found if " " in text
    }


# Names of columns, attributes of the record and words of code; they say nothing about a product.
NEUTRAL = {"attributes", "category", "description", "product_type", "title", "train", "value", "values"}

# What writes and checks texts. Of the others, prompts for models among them, whole phrases are compared.
RULES = {"agent.py", "offline.py", "words.py", "facts.py", "fact_book.py"}


def test_the_written_rules_share_no_words_with_noise_and_shop() -> None:
    ours = sorted((ROOT / "components/vlclip/agent").glob("*.py"))
    assert {"agent.py", "facts.py", "stage.py"} <= {file.name for file in ours}
    theirs = [
        ROOT / "components/catalog/noise/seller_text.py",
        *(ROOT / f"components/shop/texts/{name}.py" for name in ("text", "wording")),
    ]
    rules = {w for file in ours if file.name in RULES for w in constants(file)}
    phrases = {w for file in ours for w in constants(file) if " " in w}
    foreign = {w for file in theirs for w in constants(file)}
    shared = (rules | phrases) & foreign - NEUTRAL - {"from", "with", "this", "without"}
    assert not shared
    for file in ours:
        text = file.read_text(encoding="utf-8")
        assert "catalog.noise" not in text and "components.shop" not in text and "truth" not in text.lower()
        assert "read_queries" not in text and "qrels" not in text


@pytest.mark.slow
def test_a_killed_run_goes_on_with_equal_bytes(
    small: Path, by_model: Done, serve: Serve, llm_params: Make, tmp_path: Path
) -> None:
    def slow(n: int, body: dict[str, Any]) -> Act:
        act = honest(n, body)
        return Act(act.text, hang_s=0.05)

    server, once = serve(slow), set(by_model.server.paid)
    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    (work / "models").mkdir()
    (work / "data/checked").symlink_to(small / "checked")
    (work / "data/embeddings").symlink_to(small / "embeddings")
    (work / "models/encoder").symlink_to(small / "encoder")
    blocks = {"llm": llm_params().model_dump(mode="json"), "clarify": CLARIFY}
    (work / "params.yaml").write_text(yaml.safe_dump(blocks))
    command = [sys.executable, "-m", "components.stage", "vlclip.agent"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=work, env=environment)
    deadline = time.monotonic() + 60
    while sum(server.paid.values()) < SMALL and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    paid = sum(server.paid.values())
    assert SMALL <= paid < len(once) and not (work / "data/clarified").exists()
    subprocess.run(command, cwd=work, env=environment, check=True)
    assert sha256_folder(work / "data/clarified") == sha256_folder(by_model.out)
    assert set(server.paid) == once
    # at most what was under way at the kill is asked again
    assert sum(server.paid.values()) <= len(once) + 4
