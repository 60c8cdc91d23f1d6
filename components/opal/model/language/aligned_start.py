"""A language model that starts where the encoder's two towers meet.

The encoder knows which words look like which pictures. If a word's embedding starts as the encoder's vector
of that word, and the projector as the same map for pictures, then a picture token already points at the words
that fit it, and training only has to learn when to say them. Without it a model this small does not tell
colours apart within a short training. Our choice; ``listing.language.aligned_start: false`` is the ablation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.towers.files import LoadedEncoder

TEXT_BATCH = 64
SCALE = 0.05  # standard deviation of an embedding's numbers, meaning
LOUDNESS = 0.3  # of a word by one standard deviation of its head
NAMED = 0.7  # of the name of an attribute
NOISE = 0.02  # and of the random part that tells apart words of one meaning ("Red" and "red")


def _word_vectors(loaded: LoadedEncoder, words: Sequence[str]) -> Tensor:
    """Centred text vectors ``[len(words), D]``; a token that is no word has none (zeros)."""
    spoken = sorted({word for word in words if word})
    vectors = torch.from_numpy(BatchEncoder(loaded, TEXT_BATCH, "fp32").texts(spoken)).cpu()
    vectors = vectors - vectors.mean(dim=0)
    at = {word: i for i, word in enumerate(spoken)}
    out = torch.zeros(len(words), vectors.shape[1])
    for i, word in enumerate(words):
        if word:
            out[i] = vectors[at[word]]
    return out


def _shared_map(whitening: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """``[D, width]``: the directions in which pictures differ most, turned at random; angles are kept.

    Whitening makes every direction equally loud, noise included. Where the language model is narrower than
    the encoder a random map would keep as much of the noise as of the picture.
    """
    size = len(whitening)
    square = torch.randn(max(width, size), max(width, size), generator=generator, dtype=torch.float64)
    if width > size:
        return torch.linalg.qr(square)[0][:size, :width].float()
    _, axes = torch.linalg.eigh(whitening.double())  # the least stretched first: those of largest variance
    return (axes[:, :width] @ torch.linalg.qr(square[:width, :width])[0]).float()


def spoken_words(tokens: Sequence[str]) -> list[str]:
    """Letters of each token, lower case; punctuation, digits and special tokens say nothing."""
    cleaned = ["".join(c if c.isalpha() else " " for c in token).split() for token in tokens]
    return [" ".join(parts).casefold() if len(" ".join(parts)) > 1 else "" for parts in cleaned]


@torch.no_grad()  # type: ignore[untyped-decorator]
def zero_initialise_residuals(language: torch.nn.Module, seed: int) -> None:
    """Every block of a new language model adds nothing at first; its inner maps keep the size of what passes.

    The customary deviation of 0.02 fits models a thousand wide. In one of a hundred every product is nearly
    zero, attention is even, and the first hundred steps are spent growing. Maps whose output joins the
    residual stream start at zero (Fixup, Zhang et al. 2019, arXiv 1901.09321), the others at 1/√inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in language.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()
        elif name.endswith("_proj.weight"):
            weight.normal_(std=weight.shape[1] ** -0.5, generator=generator)


class HeadWords(NamedTuple):
    """How the language model writes what a head tells, and which of the tower's tokens tells it."""

    slot: int
    name: list[int]
    value: list[int]


@torch.no_grad()  # type: ignore[untyped-decorator]
def align_heads(model: LlavaForConditionalGeneration, heads: Sequence[HeadWords], seed: int) -> None:
    """Let tokens of the tower's heads speak the language model's words; after :func:`align`.

    Each token is marked with the names that it tells of, so that a name finds it, and holds the words of the
    values, each as loud as its head is sure.
    """
    projector, embeddings = model.model.multi_modal_projector, model.get_input_embeddings().weight
    back = torch.linalg.pinv((projector.linear_2.weight @ projector.linear_1.weight).double()).float().T
    words = torch.stack([embeddings[head.value].mean(dim=0) for head in heads])
    named = torch.zeros(model.model.vision_tower.config.features["told"], embeddings.shape[1])
    for slot, name in sorted({(head.slot, tuple(head.name)) for head in heads if head.name}):
        named[slot] += embeddings[list(name)].mean(dim=0)
    generator = torch.Generator().manual_seed(seed)
    slots = [head.slot for head in heads]
    model.model.vision_tower.features.align(slots, LOUDNESS * words @ back, NAMED * named @ back, generator)


@torch.no_grad()  # type: ignore[untyped-decorator]
def align(
    model: LlavaForConditionalGeneration, loaded: LoadedEncoder, tokens: Sequence[str], seed: int
) -> None:
    """Set embeddings and projector of a new model; ``tokens`` are the texts of its vocabulary."""
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    embeddings = model.get_input_embeddings().weight
    width = embeddings.shape[1]
    generator = torch.Generator().manual_seed(seed)
    shared = _shared_map(tower.whitening[0], width, generator)
    projector.linear_1.weight.copy_(shared.T)
    projector.linear_1.bias.zero_()
    projector.linear_2.weight.copy_(torch.eye(width) * SCALE)
    projector.linear_2.bias.zero_()
    meaning = _word_vectors(loaded, spoken_words(tokens)) @ tower.whitening[0] @ shared
    meaning = meaning / meaning.norm(dim=1, keepdim=True).clamp_min(1e-6) * width**0.5
    noise = torch.randn(embeddings.shape, generator=generator)
    embeddings.copy_(SCALE * meaning + NOISE * noise)
