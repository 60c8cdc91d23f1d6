"""Tiny checkpoints of the architectures that ``conf/gpu.yaml`` names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.model.opal.tiny_backbones import qwen


def save_clip(folder: Path) -> None:
    """open_clip's ViT-B-32 with fewer and narrower layers, random: same patches, pixels and vocabulary."""
    import open_clip
    from safetensors.torch import save_file

    config = open_clip.get_model_config("ViT-B-32")
    config["embed_dim"] = 64
    config["vision_cfg"] |= {"width": 64, "layers": 3, "head_width": 32}
    config["text_cfg"] |= {"width": 64, "layers": 2, "heads": 2}
    torch.manual_seed(0)
    clip = open_clip.model.CLIP(**config)
    folder.mkdir()
    pixels = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    described = {"model_cfg": config, "preprocess_cfg": pixels}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    tensors = {name: value.contiguous() for name, value in clip.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")


def save_listing_model(folder: Path, pairs: Sequence[tuple[str, str]], steps: int) -> None:
    """A tiny Qwen2.5-VL that writes listings, as a pretrained one would, and does not look at the picture.

    A random one never ends a JSON object: no answer could be read, no preference sampled.

    Args:
        pairs: questions and answers that it is taught in ``steps`` steps of 32.
    """
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    from components.opal.model.language.listing_model import ListingModel
    from components.opal.model.writing.conversation import Conversation

    torch.set_num_threads(1)
    qwen(folder, [text for pair in pairs for text in pair], vocabulary_size=700)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    processor = Qwen2_5_VLProcessor.from_pretrained(folder)
    talk = Conversation(ListingModel(model, processor, 512))
    picture = Image.new("RGB", (56, 56), "grey")
    draws, optimiser = np.random.default_rng(0), torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, total_steps=steps)
    for _ in range(steps):
        chosen = [pairs[i] for i in draws.integers(0, len(pairs), 32)]
        prompts = [talk.prompt(question) for question, _ in chosen]
        texts = [prompt + talk.answer(answer) for prompt, (_, answer) in zip(prompts, chosen, strict=True)]
        shown = [[picture]] * len(texts)
        batch = processor(images=shown, text=texts, padding=True, padding_side="right", return_tensors="pt")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        asked = processor(images=shown, text=prompts)["input_ids"]
        for row, prompt in zip(labels, asked, strict=True):
            row[: len(prompt)] = -100
        model(**batch, labels=labels).loss.backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
