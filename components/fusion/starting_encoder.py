"""The encoder that alignment starts from: markers added to its vocabulary, positions for longer texts."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import torch
from open_clip.model import CLIPTextCfg
from torch import Tensor

from components.encoder.files import LoadedEncoder
from components.encoder.model import Encoder, build_clip
from components.encoder.tokenizer import AnyTokenizer, CaptionTokenizer, ClipTokenizer
from components.fusion.product_text import MARKER_TOKENS

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


def starting_encoder(
    loaded: LoadedEncoder, context_length: int, seed: int, keep_text_tower: float, untrained: bool
) -> LoadedEncoder:
    """``loaded`` with the markers and with room for ``context_length`` tokens; its weights if it has both.

    Until it is trained it encodes every text of the old length without markers as before.

    Args:
        seed: of markers and new weights. keep_text_tower: share of the text tower's old weights; the rest is
            newly drawn. untrained: keep the vocabulary and the network's shape alone.
    """
    tokenizer = marked_tokenizer(loaded.tokenizer, context_length)
    old, clip = loaded.encoder, loaded.encoder.clip
    block = clip.transformer.resblocks[0]
    text = CLIPTextCfg(
        context_length=context_length,
        vocab_size=tokenizer.vocabulary_size,
        width=clip.transformer.width,
        heads=block.attn.num_heads,
        layers=len(clip.transformer.resblocks),
    )
    torch.manual_seed(seed)
    new = Encoder(
        build_clip(old.embed_dim, loaded.vision, text, old.image_px), old.image_px, old.mean, old.std
    )
    if untrained:
        new.clip.logit_scale.data.copy_(torch.tensor(math.log(1 / UNTRAINED_TEMPERATURE)))
        return replace(loaded, encoder=new.to(memory_format=torch.channels_last), tokenizer=tokenizer)
    state = old.state_dict()
    state[EMBEDDING] = _embedding(state[EMBEDDING], tokenizer.vocabulary_size, seed)
    state[POSITIONS] = _positions(state[POSITIONS], context_length)
    if keep_text_tower < 1:
        drawn = new.state_dict()
        for name in (n for n in state if _of_text_tower(n)):
            state[name] = keep_text_tower * state[name] + (1 - keep_text_tower) * drawn[name]
    new.load_state_dict(state)
    return replace(loaded, encoder=new.to(memory_format=torch.channels_last), tokenizer=tokenizer)
