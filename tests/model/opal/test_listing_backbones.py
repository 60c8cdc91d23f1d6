"""The same code on tiny random checkpoints of other architectures: Qwen2.5-VL and SmolVLM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from components.catalog.schema import read_schema
from components.encoder.pixels import PixelCache
from components.opal.dpo import prefer
from components.opal.generate import Decoding, ListingGenerator
from components.opal.listing_files import load_listing_model, read_note, save_listing_model
from components.opal.listing_params import DpoParams, ListingParams, SftParams
from components.opal.listing_tokenizer import learn_listing_tokenizer
from components.opal.preference_pairs import Pair
from components.opal.publish_sft import note_of, samples_of, starting_model
from components.opal.sft import tune
from tests.model.opal.listing_shop import blocks, write_workspace

pytestmark = pytest.mark.slow
QWEN = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
SMOL = ("<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", "<|im_start|>")
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOL_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}: "
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
)


def tokenizer(extra: tuple[str, ...], end: str) -> PreTrainedTokenizerFast:
    learned = learn_listing_tokenizer(['{"title":"red bar","attributes":{"colour":"red"}}'] * 3, 400, 512)
    made = PreTrainedTokenizerFast(
        tokenizer_object=learned.backend_tokenizer, pad_token="<pad>", eos_token="<end>"
    )
    made.add_tokens(list(extra), special_tokens=True)
    made.eos_token = end
    return made


def qwen(folder: Path) -> None:
    words = tokenizer(QWEN, "<|im_end|>")
    ids = {
        name: words.convert_tokens_to_ids(token)
        for name, token in zip(
            ("image_token_id", "vision_start_token_id", "vision_end_token_id", "video_token_id"),
            ("<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>"),
            strict=True,
        )
    }
    text = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        "pad_token_id": words.pad_token_id,
        "eos_token_id": words.eos_token_id,
        "bos_token_id": None,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [1],
        "window_size": 56,
    }
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    )
    images = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56)
    processor = Qwen2_5_VLProcessor(
        image_processor=images,
        tokenizer=words,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=QWEN_TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def smol(folder: Path) -> None:
    words = tokenizer(SMOL, "<end_of_utterance>")
    text = {
        "model_type": "llama",
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "pad_token_id": words.pad_token_id,
        "eos_token_id": words.eos_token_id,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    torch.manual_seed(0)
    model = SmolVLMForConditionalGeneration(
        SmolVLMConfig(
            text_config=text,
            vision_config=vision,
            scale_factor=2,
            pad_token_id=words.pad_token_id,
            image_token_id=words.convert_tokens_to_ids("<image>"),
        )
    )
    size = {"longest_edge": 56}
    images = SmolVLMImageProcessor(size=size, max_image_size=size, do_image_splitting=False)
    processor = SmolVLMProcessor(
        image_processor=images,
        tokenizer=words,
        video_processor=SmolVLMVideoProcessor(),
        image_seq_len=4,
        chat_template=SMOL_TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.mark.parametrize(
    "lora", [None, {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": ["q_proj", "v_proj"]}]
)
@pytest.mark.parametrize("build", [qwen, smol])
def test_tuning_preferring_saving_and_writing(
    build: Callable[[Path], None], lora: dict[str, object] | None, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    write_workspace(tmp_path)
    build(tmp_path / "base")
    made = blocks()
    source = {"model": str(tmp_path / "base"), "revision": None, "dtype": "fp32", "image_px": 56}
    made["listing"] |= {"pretrained": source, "lora": lora}
    listing, sft = ListingParams.model_validate(made["listing"]), SftParams.model_validate(made["sft"])
    dpo, catalogue = DpoParams.model_validate(made["dpo"]), tmp_path / "data/checked"
    samples = samples_of("refined", catalogue, tmp_path / "data/refined", listing, sft)
    model, pixels = starting_model(
        listing, tmp_path / "models/encoder", [], samples, catalogue, tmp_path / "cache"
    )
    assert isinstance(pixels, PixelCache) and pixels.image_px == 56
    shared = (listing.lora, "fp32")
    done = tune(model, samples, pixels.take, sft.training, *shared, 1, tmp_path / "sft")
    assert done.longest < model.context_length and len(done.curves) == sft.training.steps
    whole = next(s for s in samples if s.grain == "listing")
    pair = Pair(whole.product_id, "shapes", whole.question, whole.answer, "{}", "seller", ("not a listing",))
    positions = {whole.product_id: whole.position}
    preferred = prefer(done.model, [pair], positions, pixels.take, dpo, *shared, tmp_path / "dpo")
    assert preferred.curves[-1]["accuracy"] >= 0
    save_listing_model(preferred.model, note_of(listing, 56), tmp_path / "out")
    loaded = load_listing_model(tmp_path / "out")
    writer = ListingGenerator(
        loaded, read_note(tmp_path / "out"), read_schema(catalogue / "schema.json"), Decoding(4, 120, "fp32")
    )
    import numpy as np

    written = writer(pixels.take(np.array([0, 1, 2])), ["shapes"] * 3, constrained=True)
    assert all(generated.listing is not None for generated in written)
