"""The model that writes listings: LLaVA on the encoder's image tower, or any image-text-to-text model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPImageProcessor,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)

from components.encoder.model.towers.files import LoadedEncoder
from components.opal.model.errors import ListingConfigurationError
from components.opal.model.language.aligned_start import (
    HeadWords,
    align,
    align_heads,
    zero_initialise_residuals,
)
from components.opal.model.language.pictures import (
    Pictures,
    TowerPictures,
    catalogue_pictures,
    catalogue_pixels,
    reads_crops,
    tower_of,
)
from components.opal.model.language.tokenizer import CHAT_TEMPLATE, IMAGE, learn_listing_tokenizer
from components.opal.model.language.value_heads import Fact, StatedValues
from components.opal.model.language.vision_tower import (
    EncoderVisionConfig,
    EncoderVisionTower,
    load_encoder_weights,
    register_tower,
    tower_config,
)
from components.opal.model.params import LanguageModel, ListingParams, PretrainedListingModel, VisionParams
from components.stage.files.model_files import check_loaded, check_weights
from components.stage.paths import Paths
from components.stage.resources.accelerator import computed_in, device

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class ListingModel:
    """A model and the processor that prepares its input."""

    model: PreTrainedModel
    processor: ProcessorMixin
    context_length: int

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer


class Material(NamedTuple):
    """What a new model takes from the train split before its first step.

    Args:
        texts: that the tokenizer is learned from. shown: rows of the catalogue whose pictures the tower's
            tokens are whitened on. values: what is stated of them, for the tower's heads.
    """

    texts: Sequence[str]
    shown: npt.NDArray[np.int64]
    values: StatedValues


def create_listing_model(
    params: ListingParams, encoder: LoadedEncoder, material: Material, paths: Paths
) -> tuple[ListingModel, Pictures]:
    """The model before its first step, and the catalogue's pictures as it is to learn from them.

    Args:
        encoder: its image side becomes the vision tower.

    Raises:
        ListingConfigurationError: pretrained weights cannot be loaded.
    """
    if params.pretrained is not None:
        side = params.pretrained.image_px
        return _pretrained(params.pretrained), catalogue_pixels(paths, side, crop=False)
    register_tower()
    language, vision = params.language, params.vision
    tokenizer = learn_listing_tokenizer(material.texts, language.vocabulary_size, language.context_length)
    columns = material.values.columns(vision.head_values) if vision.frozen and vision.head_tokens else []
    options = _feature_options(vision, len(columns))
    vector = vision.encoder_vector or not (vision.grid or options)
    shown = {"encoder_vector": vector, "dropout": vision.encoder_dropout, "features": options}
    told = [list(fact) for fact in columns] or None
    tower = tower_config(encoder, vision.grid, vision.frozen, params.precision, told=told, **shown)
    torch.manual_seed(params.seed)
    model = LlavaForConditionalGeneration._from_config(_config(language, tokenizer, tower))
    plain_attention(model)
    load_encoder_weights(model.model.vision_tower, encoder)
    model.model.vision_tower.eval()
    pixels = catalogue_pixels(paths, tower.image_px, reads_crops(params, paths))
    pictures = catalogue_pictures(model.model.vision_tower, pixels, paths)
    model.model.vision_tower.whiten(as_input(pictures.take(material.shown)))
    if columns and isinstance(pictures, TowerPictures):
        pictures.fit_heads(material.values, columns)
    zero_initialise_residuals(model.model.language_model, params.seed)
    if language.aligned_start:
        names = [tokenizer.decode([i]) for i in range(len(tokenizer))]
        align(model, encoder, names, params.seed)
        if columns:
            slots = material.values.slots(columns, vision.head_tokens)
            align_heads(model, _head_words(tokenizer, columns, slots), params.seed)
    model.generation_config = _greedy(tokenizer)
    return ListingModel(model, _processor(tokenizer, tower), language.context_length), pictures


def _head_words(
    tokenizer: PreTrainedTokenizerFast, columns: Sequence[Fact], slots: Sequence[int]
) -> list[HeadWords]:
    """What each head tells, as an answer has it: the key, and the first token of the value."""

    def _ids(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    return [
        HeadWords(
            slot, _ids(f'","{name}":"' if name else '{"type":"'), [_ids(value)[0], _ids(f" {value}")[0]]
        )
        for (name, value), slot in zip(columns, slots, strict=True)
    ]


def _feature_options(vision: VisionParams, values: int) -> dict[str, Any] | None:
    """Options of the tower's feature tokens; None without any."""
    told = vision.head_tokens if values else 0
    if not vision.feature_tokens and not told:
        return None
    return {
        "learned": vision.feature_tokens,
        "dropout": vision.feature_dropout,
        "told": told,
        "values": values,
    }


def as_input(pictures: npt.NDArray[Any]) -> torch.Tensor:
    """Pixels ``[B, px, px, 3]`` as uint8 ``[B, 3, px, px]``; a tower's tokens as float32."""
    if pictures.ndim == 3:
        return torch.from_numpy(pictures.astype(np.float32))
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def _config(language: LanguageModel, tokenizer: PreTrainedTokenizerFast, tower: Any) -> LlavaConfig:
    """Configuration of a LLaVA on this tower with this tokenizer."""
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=language.width,
        intermediate_size=language.feed_forward,
        num_hidden_layers=language.layers,
        num_attention_heads=language.heads,
        num_key_value_heads=language.heads,
        max_position_embeddings=language.context_length,
        tie_word_embeddings=True,
        **ids,
    )
    return LlavaConfig(
        vision_config=tower,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=tower.tokens,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        projector_hidden_act="linear" if language.aligned_start else "gelu",
        tie_word_embeddings=True,
        **ids,
    )


def _greedy(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )


def _processor(tokenizer: PreTrainedTokenizerFast, tower: EncoderVisionConfig) -> LlavaProcessor:
    """Square pictures, pixels 0..255 as the encoder wants them: it normalises itself."""
    image_px, grid = tower.image_px, max(tower.grid, 1)
    if image_px % grid:
        raise ListingConfigurationError(
            f"listing.vision.grid {grid} does not divide the encoder's {image_px} pixels; use a divisor."
        )
    side = {"height": image_px, "width": image_px}
    images = CLIPImageProcessor(
        size=side, crop_size=side, do_center_crop=False, do_rescale=False, do_normalize=False
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=image_px // grid,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
        num_additional_image_tokens=tower.tokens - grid**2,
    )


def _pretrained(params: PretrainedListingModel) -> ListingModel:
    """A model and its processor from a folder or the hub, as they come."""
    register_tower()
    options: dict[str, Any] = {"trust_remote_code": False}
    options |= {"revision": params.revision} if params.revision else {}
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            params.model,
            dtype=DTYPES[computed_in(params.dtype, device())],
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
        check_loaded(report, unused=True)
        check_weights(model.state_dict().items())
        processor = AutoProcessor.from_pretrained(params.model, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ListingConfigurationError(
            f"listing.pretrained.model {params.model} does not load: {' '.join(str(error).split())[:300]}."
        ) from None
    model.generation_config = _greedy(processor.tokenizer)  # no penalty for what an answer must repeat
    return ListingModel(model, processor, context_length(model))


def plain_attention(model: Any) -> None:
    """Let a model built here attend by two plain products; others keep what their library chose.

    On a CPU the fused kernel's backward takes four times as long on sequences this short, and one token's
    look back at a batch of them three times as long.
    """
    if isinstance(tower_of(model), EncoderVisionTower):
        model.set_attn_implementation({"text_config": "eager"})


def context_length(model: PreTrainedModel) -> int:
    """The longest sequence a model can read, tokens."""
    config = model.config.get_text_config()
    return int(config.max_position_embeddings)


def offline_if_local(name: str) -> None:
    """A model folder needs no network: keep the hub's client from asking for one."""
    if Path(name).exists():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
