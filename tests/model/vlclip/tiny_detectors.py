"""Random checkpoints of the open-vocabulary detectors, a few thousand weights each."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "a", "square", "bar"]


def save_grounding_dino(folder: Path, side_logit: float = 0.0, mm: bool = False) -> None:
    """``side_logit`` is added to the logits of a box's sides, layer by layer: above 0, boxes are large.

    ``mm`` saves an MM-Grounding-DINO, which is also what LLMDet's checkpoints are.
    """
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        MMGroundingDinoConfig,
        MMGroundingDinoForObjectDetection,
        SwinConfig,
    )

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=16)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    swin = SwinConfig(
        window_size=2, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], image_size=32,
        out_features=["stage2", "stage3", "stage4"], out_indices=[2, 3, 4],
    )  # fmt: skip
    bert = BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=len(WORDS),
    )
    sizes = {
        "backbone_config": swin, "text_config": bert, "d_model": 32, "encoder_layers": 1,
        "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "num_queries": 6, "num_feature_levels": 3, "max_text_len": 16,
    }  # fmt: skip
    torch.manual_seed(0)
    model = (
        MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**sizes))
        if mm
        else GroundingDinoForObjectDetection(GroundingDinoConfig(use_timm_backbone=False, **sizes))
    )
    for head in model.bbox_embed:
        head.layers[-1].bias.data[2:] = side_logit
    model.save_pretrained(folder)


def save_owlv2(folder: Path) -> None:
    """A random OWLv2 for pictures of 32 pixels."""
    from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor
    from transformers import Owlv2Processor as Processor

    folder.mkdir(parents=True)
    letters = [chr(c) for c in range(97, 123)]
    vocabulary = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=16
    )
    images = Owlv2ImageProcessor(size={"height": 32, "width": 32})
    Processor(images, tokenizer).save_pretrained(folder)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config=tower | {"vocab_size": len(vocabulary), "max_position_embeddings": 16},
        vision_config=tower | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    torch.manual_seed(0)
    Owlv2ForObjectDetection(config).save_pretrained(folder)
