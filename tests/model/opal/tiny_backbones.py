"""Random checkpoints of pretrained image-text-to-text architectures, some ten thousand weights each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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

from components.opal.model.language.tokenizer import learn_listing_tokenizer

TEXTS = ('{"type":"bar","attributes":{"colour":"red"},"title":"red bar"}',) * 3
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


def tokenizer(
    extra: tuple[str, ...], end: str, texts: Sequence[str] = TEXTS, vocabulary_size: int = 400
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of ``texts`` with the special tokens of a model's template."""
    learned = learn_listing_tokenizer(texts, vocabulary_size, 512)
    made = PreTrainedTokenizerFast(
        tokenizer_object=learned.backend_tokenizer, pad_token="<pad>", eos_token="<end>"
    )
    made.add_tokens(list(extra), special_tokens=True)
    made.eos_token = end
    return made


def qwen(folder: Path, texts: Sequence[str] = TEXTS, vocabulary_size: int = 400) -> None:
    """A random Qwen2.5-VL whose processor makes four tokens of any square picture."""
    words = tokenizer(QWEN, "<|im_end|>", texts, vocabulary_size)
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
    """A random SmolVLM for pictures of 56 pixels."""
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
