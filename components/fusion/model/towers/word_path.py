"""A second, shallow path of the text tower: the sum of its words' vectors beside the transformer's one.

Our choice: a small transformer pools a text at one token and is slow to learn to copy a name through it, so a
query's brand hardly finds the listings that say it. A table of word vectors learns that from the first step,
and the transformer keeps what depends on order and context: wide and deep (Cheng et al. 2016, arXiv
1606.07792), the wide half a sum of words (Iyyer et al. 2015, "Deep unordered composition").
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from components.encoder.model.towers.dual_encoder import Encoder


class WordPath(nn.Module):
    """Texts as the normalised sum of their tokens' vectors.

    Args:
        vocabulary: tokens. dimension: of the vectors. weight: of this path beside the transformer's, at the
            start. seed: of the table, whose rows start at about unit length.
    """

    def __init__(self, vocabulary: int, dimension: int, weight: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn((vocabulary, dimension), generator=generator) * dimension**-0.5)
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, L]`` to vectors ``[B, D]``; zero for a text without words.

        What counts stands between the start token and the end token, the highest id; padding never does.
        """
        place = torch.arange(tokens.shape[1], device=tokens.device)
        inside = (place > 0) & (place < tokens.argmax(dim=-1, keepdim=True))
        with torch.autocast(tokens.device.type, enabled=False):
            total = F.embedding_bag(
                tokens, self.table, mode="sum", per_sample_weights=inside.to(self.table.dtype)
            )
        return F.normalize(total, dim=-1)


class TwoPathEncoder(Encoder):
    """An encoder whose text vectors are the normalised sum of both paths; pictures are as they were."""

    def __init__(self, clip: CLIP, image_px: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__(clip, image_px, mean, std)
        self.words: WordPath | None = None

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, L]`` to vectors ``[B, D]``; the transformer's alone without a word path."""
        vectors = super().encode_text(tokens)
        if self.words is None:
            return vectors
        return F.normalize(vectors + self.words.weight * self.words(tokens), dim=-1)


def two_paths(encoder: Encoder, words: WordPath | None) -> TwoPathEncoder:
    """``encoder`` with a word path beside it; the weights are shared with the one given."""
    out = TwoPathEncoder(encoder.clip, encoder.image_px, encoder.mean, encoder.std)
    out.patches, out.words = encoder.patches, words
    moved: TwoPathEncoder = out.to(memory_format=torch.channels_last)
    return moved
