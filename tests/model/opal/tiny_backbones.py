"""Random checkpoints of pretrained image-text-to-text architectures, some ten thousand weights each.

Each is made of its family's own configuration, processor and template as they are published, but for sizes.
The signs that end a turn and a text are two where they are two in the published model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GotOcr2ImageProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from components.opal.model.language.tokenizer import learn_listing_tokenizer

TEXTS = ('{"type":"bar","attributes":{"colour":"red"},"title":"red bar"}',) * 3
SIDE = 56  # pixels of a picture
QWEN = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
SMOL = ("<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", "<|im_start|>")
IDEFICS = (*SMOL[:4], *(f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2)), "<|begin_of_text|>")
INTERN = ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
GEMMA_IMAGE = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
GEMMA = ("<bos>", "<start_of_turn>", "<end_of_turn>", *GEMMA_IMAGE)
PARTS = (
    "{{% for c in m['content'] %}}{{% if c['type'] == 'image' %}}{image}"
    "{{% else %}}{{{{ c['text'] }}}}{{% endif %}}{{% endfor %}}"
)
CHATML = (
    "{{% for m in messages %}}<|im_start|>{{{{ m['role'] }}}}\n" + PARTS + "<|im_end|>\n{{% endfor %}}"
    "{{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
)
QWEN_TEMPLATE = CHATML.format(image="<|vision_start|><|image_pad|><|vision_end|>")
INTERN_TEMPLATE = CHATML.format(image="<IMG_CONTEXT>\n")
SMOL_TEMPLATE = (
    "{{% for m in messages %}}<|im_start|>{{{{ m['role'] }}}}: " + PARTS
    + "<end_of_utterance>\n{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant: {{% endif %}}"
).format(image="<image>")  # fmt: skip
IDEFICS_TEMPLATE = (
    "<|begin_of_text|>{{% for m in messages %}}{{{{ m['role'].capitalize() }}}}:" + PARTS
    + "<end_of_utterance>\n{{% endfor %}}{{% if add_generation_prompt %}}Assistant:{{% endif %}}"
).format(image="<image>")  # fmt: skip
GEMMA_TEMPLATE = (
    "{{{{ bos_token }}}}{{% for m in messages %}}"
    "<start_of_turn>{{{{ 'model' if m['role'] == 'assistant' else m['role'] }}}}\n"
    + PARTS + "<end_of_turn>\n{{% endfor %}}"
    "{{% if add_generation_prompt %}}<start_of_turn>model\n{{% endif %}}"
).format(image="<start_of_image>")  # fmt: skip


def tokenizer(
    extra: tuple[str, ...],
    end: str = "<end>",
    texts: Sequence[str] = TEXTS,
    vocabulary_size: int = 400,
    **names: str,
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of ``texts`` with the special tokens of a model's template, some under ``names``."""
    learned = learn_listing_tokenizer(texts, vocabulary_size, 512)
    made = PreTrainedTokenizerFast(
        tokenizer_object=learned.backend_tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        extra_special_tokens=names,
    )
    made.add_tokens(list(extra), special_tokens=True)
    made.eos_token = end
    return made


def text_config(words: PreTrainedTokenizerFast, **changes: Any) -> dict[str, Any]:
    """A language model of two layers, 32 wide."""
    return {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "pad_token_id": words.pad_token_id,
        "eos_token_id": words.eos_token_id,
        "bos_token_id": None,
    } | changes


def vision_config(**changes: Any) -> dict[str, Any]:
    """A vision transformer of two layers, 32 wide, on patches of 14 pixels."""
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 14,
    } | changes


def save(folder: Path, model: type[PreTrainedModel], config: Any, processor: ProcessorMixin) -> None:
    """The checkpoint of a random model, in which no projection starts at zero: it would hide the picture."""
    torch.manual_seed(0)
    made = model(config)
    for weight in made.parameters():
        if weight.ndim > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    made.save_pretrained(folder)
    processor.save_pretrained(folder)


def _qwen_ids(words: PreTrainedTokenizerFast) -> dict[str, int]:
    names = ("vision_start_token_id", "image_token_id", "vision_end_token_id", "video_token_id")
    return {name: words.convert_tokens_to_ids(sign) for name, sign in zip(names, QWEN[2:], strict=True)}


def qwen(folder: Path, texts: Sequence[str] = TEXTS, vocabulary_size: int = 400) -> None:
    """A random Qwen2.5-VL whose processor makes four tokens of any square picture."""
    words = tokenizer(QWEN, "<|im_end|>", texts, vocabulary_size)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen2_5_VLConfig(
        text_config=text_config(words, rope_parameters=rope),
        vision_config={**vision, "fullatt_block_indexes": [1], "window_size": SIDE},
        **_qwen_ids(words),
    )
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=SIDE * SIDE),
        tokenizer=words,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=QWEN_TEMPLATE,
    )
    save(folder, Qwen2_5_VLForConditionalGeneration, config, processor)


def qwen3(folder: Path) -> None:
    """A random Qwen3-VL, whose language model is given what an early layer of the tower saw, too."""
    words = tokenizer(QWEN, "<|im_end|>")
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen3VLConfig(
        text_config=text_config(words, rope_parameters=rope | {"mrope_interleaved": True}, head_dim=16),
        vision_config={**vision, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        tie_word_embeddings=True,
        **_qwen_ids(words),
    )
    sides = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}  # areas
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=sides, patch_size=16),
        tokenizer=words,
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=QWEN_TEMPLATE,
    )
    save(folder, Qwen3VLForConditionalGeneration, config, processor)


def smol(folder: Path) -> None:
    """A random SmolVLM."""
    words = tokenizer(SMOL, "<end_of_utterance>")
    config = SmolVLMConfig(
        text_config=text_config(words, model_type="llama"),
        vision_config=vision_config(),
        scale_factor=2,
        pad_token_id=words.pad_token_id,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    size = {"longest_edge": SIDE}
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(size=size, max_image_size=size, do_image_splitting=False),
        tokenizer=words,
        video_processor=SmolVLMVideoProcessor(),
        image_seq_len=4,
        chat_template=SMOL_TEMPLATE,
    )
    save(folder, SmolVLMForConditionalGeneration, config, processor)


def idefics3(folder: Path) -> None:
    """A random Idefics3, which cuts a picture into four and looks at it as a whole besides."""
    words = tokenizer(IDEFICS)
    config = Idefics3Config(
        text_config=text_config(words, model_type="llama"),
        vision_config=vision_config(),
        scale_factor=2,
        pad_token_id=words.pad_token_id,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    images = Idefics3ImageProcessor(size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE})
    processor = Idefics3Processor(images, words, image_seq_len=4, chat_template=IDEFICS_TEMPLATE)
    save(folder, Idefics3ForConditionalGeneration, config, processor)


def internvl(folder: Path) -> None:
    """A random InternVL, whose vision tower has a token of the whole."""
    parts = ("start_image_token", "end_image_token", "context_image_token", "video_token")
    words = tokenizer(INTERN, "<|im_end|>", **dict(zip(parts, INTERN[2:], strict=True)))
    config = InternVLConfig(
        text_config=text_config(words, model_type="qwen2"),
        vision_config=vision_config(image_size=[SIDE, SIDE], patch_size=[14, 14]),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size={"height": SIDE, "width": SIDE}),
        tokenizer=words,
        video_processor=InternVLVideoProcessor(size={"height": SIDE, "width": SIDE}),
        image_seq_length=4,
        chat_template=INTERN_TEMPLATE,
    )
    save(folder, InternVLForConditionalGeneration, config, processor)


def gemma3(folder: Path) -> None:
    """A random Gemma 3, whose first layer looks back over 32 tokens alone."""
    names = dict(zip(("boi_token", "eoi_token", "image_token"), GEMMA_IMAGE, strict=True))
    words = tokenizer(GEMMA, **names)
    words.bos_token = "<bos>"
    layers = ["sliding_attention", "full_attention"]
    config = Gemma3Config(
        text_config=text_config(
            words, head_dim=16, sliding_window=32, layer_types=layers, query_pre_attn_scalar=16
        ),
        vision_config={"model_type": "siglip_vision_model", **vision_config()},
        mm_tokens_per_image=4,
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": SIDE, "width": SIDE}),
        words,
        chat_template=GEMMA_TEMPLATE,
        image_seq_length=4,
    )
    save(folder, Gemma3ForConditionalGeneration, config, processor)


FAMILIES: dict[str, Callable[[Path], None] | None] = {
    "llava": None,  # built here
    "qwen2_5_vl": qwen,
    "qwen3_vl": qwen3,
    "smolvlm": smol,
    "idefics3": idefics3,
    "internvl": internvl,
    "gemma3": gemma3,
}
