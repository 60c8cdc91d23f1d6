"""Chat models of some thousand random weights, made here: a text model and an image-text model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}<|assistant|>"
)


def tokenizer(says: str = "") -> Any:
    """A byte-level BPE tokenizer without merges; ``says`` is one more token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<image>", "<|system|>", "<|user|>", "<|assistant|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({t: i for i, t in enumerate([*special, *letters])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    words = PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=special[2:],
        chat_template=TEMPLATE,
        model_max_length=8192,
    )
    if says:
        words.add_tokens([says])
    return words


def always_say(model: Any, words: Any, says: str) -> None:
    """Let a Llama answer everything with the token ``says``, and end.

    With nothing added to the residual stream, a token's logits depend on that token alone.
    """
    import torch

    start, end = words.convert_tokens_to_ids(["<|assistant|>", words.eos_token])
    answer = words.convert_tokens_to_ids(says)
    decoder = getattr(model.base_model, "language_model", model.base_model)
    with torch.no_grad():
        for layer in decoder.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedded, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        for at, (said, then) in enumerate(((start, answer), (answer, end))):
            embedded[said] = 0
            embedded[said, at] = 1
            head[then] = 0
            head[then, at] = 50


def text_config(vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
    }


def save_text_model(folder: Path, says: str = "") -> None:
    """A Llama with random weights, or one that always ``says`` the same."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    words = tokenizer(says)
    model = LlamaForCausalLM(LlamaConfig(**text_config(len(words))))
    if says:
        always_say(model, words, says)
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def save_image_text_model(folder: Path, says: str = "") -> None:
    """A LLaVA with random weights, or one that always ``says`` the same."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(1)
    words = tokenizer(says)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**text_config(len(words))),
        image_token_index=2,
        vision_feature_layer=-1,
    )
    model = LlavaForConditionalGeneration(config)
    if says:
        always_say(model, words, says)
    model.save_pretrained(folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
