"""The encoder that alignment starts from: markers in its vocabulary, room for longer texts, a word path."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import torch
from open_clip.model import CLIPTextCfg
from torch import Tensor

from components.encoder.model.towers.dual_encoder import Encoder, build_clip
from components.encoder.model.towers.files import LoadedEncoder
from components.encoder.model.towers.tokenizer import AnyTokenizer, CaptionTokenizer, ClipTokenizer
from components.fusion.model.data.product_text import MARKER_TOKENS
from components.fusion.model.params import FusionParams, WordPathParams
from components.fusion.model.towers.word_path import TwoPathEncoder, WordPath

UNTRAINED_TEMPERATURE = 0.07  # open_clip's own start
EMBEDDING, POSITIONS = "clip.token_embedding.weight", "clip.positional_embedding"


def marked_tokenizer(tokenizer: AnyTokenizer, context_length: int) -> AnyTokenizer:
    """The same vocabulary with a token for each field marker, for texts of ``context_length`` tokens.

    CLIP's own tokenizer keeps its vocabulary: its markers are words.
    """
    from tokenizers import Tokenizer

    if isinstance(tokenizer, ClipTokenizer):
        return ClipTokenizer(context_length)
    learned = Tokenizer.from_str(json.dumps(json.loads(tokenizer.to_json())["tokenizer"]))
    learned.add_special_tokens(list(MARKER_TOKENS.values()))
    return CaptionTokenizer(learned, context_length)


def _embedding(old: Tensor, size: int, seed: int) -> Tensor:
    """Old rows in their places, the end token's last, and markers drawn from the table's own spread."""
    added = size - len(old)
    if not added:
        return old
    generator = torch.Generator().manual_seed(seed)
    markers = torch.randn((added, old.shape[1]), generator=generator) * old.std()
    return torch.cat([old[:-1], markers, old[-1:]])


def _positions(old: Tensor, length: int) -> Tensor:
    """Learned positions stay; further ones start as the last one and are learned from there."""
    return torch.cat([old, old[-1:].expand(max(0, length - len(old)), -1)])[:length].clone()


def _of_text_tower(name: str) -> bool:
    return name.startswith("clip.") and not name.startswith(("clip.visual.", "clip.logit_scale"))


def _word_path(loaded: LoadedEncoder, vocabulary: int, params: WordPathParams, seed: int) -> WordPath:
    """The word path that is there, or a new one."""
    words = loaded.encoder.words if isinstance(loaded.encoder, TwoPathEncoder) else None
    return words or WordPath(vocabulary, loaded.encoder.embed_dim, params.weight, seed)


def _text_config(encoder: Encoder, context_length: int, vocabulary: int) -> CLIPTextCfg:
    block = encoder.clip.transformer.resblocks[0]
    return CLIPTextCfg(
        context_length=context_length,
        vocab_size=vocabulary,
        width=encoder.clip.transformer.width,
        heads=block.attn.num_heads,
        layers=len(encoder.clip.transformer.resblocks),
    )


def starting_encoder(
    loaded: LoadedEncoder, fusion: FusionParams, seed: int, keep_text_tower: float, untrained: bool
) -> LoadedEncoder:
    """``loaded`` with markers, room for long texts and a word path; its weights where it has all of them.

    Its transformer encodes every text of the old length without markers as before, until it is trained.

    Args:
        seed: of markers and new weights. keep_text_tower: share of the text tower's old weights; the rest is
            newly drawn. untrained: keep the vocabulary and the network's shape alone.
    """
    tokenizer = marked_tokenizer(loaded.tokenizer, fusion.text.context_length)
    old = loaded.encoder
    text = _text_config(old, fusion.text.context_length, tokenizer.vocabulary_size)
    torch.manual_seed(seed)
    clip = build_clip(old.embed_dim, loaded.vision, text, old.image_px)
    new = TwoPathEncoder(clip, old.image_px, old.mean, old.std)
    if untrained:
        new.clip.logit_scale.data.copy_(torch.tensor(math.log(1 / UNTRAINED_TEMPERATURE)))
    else:
        state = {name: value for name, value in old.state_dict().items() if not name.startswith("words.")}
        state[EMBEDDING] = _embedding(state[EMBEDDING], tokenizer.vocabulary_size, seed)
        state[POSITIONS] = _positions(state[POSITIONS], fusion.text.context_length)
        if keep_text_tower < 1:
            drawn = new.state_dict()
            for name in (n for n in state if _of_text_tower(n)):
                state[name] = keep_text_tower * state[name] + (1 - keep_text_tower) * drawn[name]
        new.load_state_dict(state)
    if fusion.word_path is not None:
        new.words = _word_path(loaded, tokenizer.vocabulary_size, fusion.word_path, seed)
    return replace(loaded, encoder=new.to(memory_format=torch.channels_last), tokenizer=tokenizer)
