"""The dual encoder: two towers of open_clip's and, where asked, heads on what they see.

With heads the towers' features are what a picture and a text come to, and the heads bring them together: the
means of all stages of a convolutional trunk with its pooled end, colour statistics beside them, and the
pooled text. Without heads the towers' own projections do.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIP
from open_clip.transformer import VisionTransformer, text_global_pool
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.towers.architecture import Architecture, build_towers
from components.encoder.model.towers.colours import COLOUR_WIDTH, colour_statistics
from components.encoder.model.towers.heads import Head

PROBE_PX = 64  # side of the picture that tells how wide a tower's features are


class Preprocessing(NamedTuple):
    """What happens to pixels: a square of ``image_px``, then ``(x / 255 - mean) / std``."""

    image_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def shortened(vectors: Tensor, dimensions: int) -> Tensor:
    """The first ``dimensions`` numbers of L2-normalised vectors ``[..., D]``, normalised again."""
    if vectors.shape[-1] == dimensions:
        return vectors
    return F.normalize(vectors[..., :dimensions], dim=-1)


class Encoder(nn.Module):
    """Image tower and text tower with one embedding space; vectors are L2-normalised float32.

    Raises:
        EncoderConfigurationError: the towers cannot be built.
    """

    def __init__(self, architecture: Architecture, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.architecture, self.preprocessing = architecture, preprocessing
        self.origins: dict[str, dict[str, str]] = {}  # of the first weights, for the model card
        self.all_pictures = False  # a product's vector is the mean of all its pictures, not of the main one
        self.towers = build_towers(architecture, preprocessing.image_px)
        self.embed_dim = architecture.embed_dim
        self.heads: nn.ModuleDict | None = None
        sizes = architecture.heads
        if sizes is not None:
            self.embed_dim = sizes.embed_dim
            widths = {"image": (self._image_width(), sizes.views), "text": (architecture.embed_dim, 1)}
            self.heads = nn.ModuleDict(
                {n: Head(w, sizes.hidden, sizes.embed_dim, sizes.dropout, v) for n, (w, v) in widths.items()}
            )

    @property
    def image_px(self) -> int:
        """Side of the square input, pixels."""
        return self.preprocessing.image_px

    @property
    def views(self) -> int:
        """How many views of a picture its vector is made of; the first is the whole picture."""
        return 1 if self.architecture.heads is None else self.architecture.heads.views

    @property
    def view_width(self) -> int:
        """How many features one view of a picture comes to; 0 without heads."""
        return self.heads["image"].inputs if self.heads is not None else 0

    @property
    def feature_width(self) -> int:
        """How many numbers :meth:`image_features` gives of a picture."""
        return self.view_width or self.architecture.embed_dim

    def add_views(self, views: int, trust: float = 0.0) -> None:
        """Let the image head read ``views`` views; with a ``trust`` of 0 every vector stays what it is.

        Raises:
            EncoderConfigurationError: the encoder has no heads, or has further views already.
        """
        if self.heads is None or self.architecture.heads is None or self.views > 1:
            raise EncoderConfigurationError("Further views can be added to an encoder with heads, and once.")
        self.architecture = replace(self.architecture, heads=replace(self.architecture.heads, views=views))
        self.heads["image"].add_views(views, trust)

    def train(self, mode: bool = True) -> Encoder:
        """Training mode, in which a frozen batch normalisation keeps to its own statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and module.affine and not module.weight.requires_grad:
                module.eval()
        return self

    def nest(self, dimensions: tuple[int, ...]) -> None:
        """Say which first numbers of a vector are trained to be vectors of their own."""
        self.architecture = replace(self.architecture, dimensions=dimensions)

    def shorten(self, dimensions: int | None) -> None:
        """Give vectors of so many dimensions from now on; None: as many as there are.

        Matryoshka representation learning (Kusupati et al. 2022, arXiv 2205.13147).

        Raises:
            EncoderConfigurationError: the encoder was not trained to be cut there.
        """
        if dimensions in (None, self.embed_dim):
            return
        if dimensions not in self.architecture.dimensions:
            known = ", ".join(map(str, (*self.architecture.dimensions, self.embed_dim)))
            raise EncoderConfigurationError(
                f"This encoder cannot give vectors of {dimensions} dimensions; it has {known}. Train it with "
                "encoder.training.matryoshka to cut its vectors elsewhere."
            )
        self.embed_dim = dimensions

    @property
    def temperature(self) -> Tensor:
        """The factor that similarities are multiplied by, ``exp(logit_scale)``."""
        scale: Tensor = self.towers.logit_scale.exp()
        return scale

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels ``[B, 3, H, W]`` in 0..255 (any dtype) to the tower's input, channels last."""
        # One multiply-add on the batch: (x/255 - mean)/std.
        _, mean, std = self.preprocessing
        scale = torch.tensor([1 / (255 * s) for s in std], device=pixels.device).view(1, 3, 1, 1)
        shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], device=pixels.device)
        return (pixels.float() * scale - shift.view(1, 3, 1, 1)).contiguous(memory_format=torch.channels_last)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pictures ``[B, 3, H, W]`` in 0..255 to vectors ``[B, D]``, as if seen in every view."""
        return self.image_vectors(self.image_features(pixels))

    def image_features(self, pixels: Tensor) -> Tensor:
        """What the heads, or the tower's own projection, say of pictures: float32 ``[B, F]``."""
        if self.heads is None:
            projected: Tensor = self.towers.visual(self.normalise(pixels))
            return projected.float()
        maps, pooled = self._seen(pixels)
        return self._features([m.float() for m in maps], pooled, pixels)

    def _features(self, maps: list[Tensor], pooled: Tensor, pixels: Tensor) -> Tensor:
        means = [m.mean(dim=(2, 3)) for m in maps]
        return torch.cat([*means, pooled.float(), *self._colours(pixels)], dim=1)

    def grid_features(self, pixels: Tensor, grid: int) -> tuple[Tensor, Tensor]:
        """Features ``[B, F]`` of pictures, and of their ``grid²`` cells ``[B, grid², C]``, row by row.

        A cell has the features of all stages at its place; without heads it has its patches' mean vector, of
        all dimensions.
        """
        if self.heads is None:
            features, patches = self._projected_patches(pixels)
            parts = [patches]
        else:
            maps, pooled = self._seen(pixels)
            parts = [m.float() for m in maps]
            features = self._features(parts, pooled, pixels)
        cells = torch.cat([_resized(part, (grid, grid)) for part in parts], dim=1)
        return features, cells.flatten(2).transpose(1, 2)

    def grid_vectors(self, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors ``[B, D]`` and ``[B, grid², D]`` of what :meth:`grid_features` gives.

        A cell's vector is what the head makes of the features of its own place, and of the pooled end and the
        colours of the whole picture.
        """
        if self.heads is None:
            return self.image_vectors(features), shortened(cells, self.embed_dim)
        head = self.heads["image"]
        assert isinstance(head, Head)
        return self.image_vectors(features), shortened(head.cells(features, cells), self.embed_dim)

    def image_vectors(self, features: Tensor) -> Tensor:
        """Features ``[B, F]`` to vectors ``[B, D]``.

        Of an encoder with several views, features are ``[B, views * F + views - 1]``: of each view, then how
        sure each view after the first is, in 0..1. Features of the whole picture alone stand for every view,
        at no confidence.

        Raises:
            EncoderConfigurationError: the features are of another width.
        """
        vectors = (
            F.normalize(features.float(), dim=-1) if self.heads is None else self.heads["image"](features)
        )
        return shortened(vectors, self.embed_dim)

    def stage_maps(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps ``[B, C, h, w]``, finest first: a trunk's stages, or a transformer's last grid."""
        return self._seen(pixels)[0]

    def _projected_patches(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Of a tower without heads: :meth:`image_features`, and L2-normalised patches ``[B, F, h, w]``.

        A tower whose patches have no projection of their own has one patch, the whole picture.
        """
        visual = self.towers.visual
        if not isinstance(visual, VisionTransformer):
            features = self.image_features(pixels)
            return features, F.normalize(features, dim=-1)[:, :, None, None]
        maps, pooled = self._seen(pixels)
        patches = (maps[0].permute(0, 2, 3, 1) @ visual.proj).float()
        return pooled.float(), F.normalize(patches, dim=-1).permute(0, 3, 1, 2)

    def _colours(self, pixels: Tensor) -> list[Tensor]:
        sizes = self.architecture.heads
        return [colour_statistics(pixels)] if sizes is not None and sizes.colours else []

    def _seen(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps, finest first, and the pooled end ``[B, F]`` of the image tower."""
        images, visual = self.normalise(pixels), self.towers.visual
        if isinstance(visual, VisionTransformer):
            seen = visual.forward_intermediates(images, indices=1, output_fmt="NCHW")
            return seen["image_intermediates"], seen["image_features"]
        if not hasattr(visual, "trunk"):
            raise EncoderConfigurationError(
                "This image tower gives no feature maps; use timm's, or a vision transformer of open_clip."
            )
        final, maps = visual.trunk.forward_intermediates(images)
        pooled = visual.trunk.forward_head(final, pre_logits=True)
        # A transformer of timm gives the same grid after every block.
        return ([maps[-1]] if maps[0].shape[-1] == maps[-1].shape[-1] else maps), pooled

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _image_width(self) -> int:
        """How many numbers the tower's features have."""
        visual = self.towers.visual
        trunk = getattr(visual, "trunk", None)
        fixed = isinstance(visual, VisionTransformer) or hasattr(trunk, "set_input_size")
        side = self.image_px if fixed else min(self.image_px, PROBE_PX)
        training = visual.training
        visual.eval()
        maps, pooled = self._seen(torch.zeros(1, 3, side, side))
        visual.train(training)
        width = int(sum(m.shape[1] for m in maps) + pooled.shape[1])
        assert self.architecture.heads is not None
        return width + (COLOUR_WIDTH if self.architecture.heads.colours else 0)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, L]`` to vectors ``[B, D]``."""
        return self.text_vectors(self.text_features(tokens))

    def text_features(self, tokens: Tensor) -> Tensor:
        """What the head, or the tower's own projection, says of texts: float32 ``[B, F]``.

        Columns of padding that all texts share may be left out where :attr:`trims_texts` says so.
        """
        towers = self.towers
        if not isinstance(towers, CLIP):
            features: Tensor = towers.text(tokens)
            return features.float()
        # open_clip's own forward wants the full length; what follows a text's end cannot change it.
        length = tokens.shape[1]
        mask = None if towers.attn_mask is None else towers.attn_mask[:length, :length]
        x = towers.token_embedding(tokens) + towers.positional_embedding[:length]
        with _attention(x):
            x = towers.transformer(x, attn_mask=mask)
        x = text_global_pool(towers.ln_final(x), tokens, towers.text_pool_type, towers.text_eos_id)
        return self._projected(x).float()

    def _projected(self, x: Tensor) -> Tensor:
        projection = self.towers.text_projection
        if projection is None:
            return x
        out: Tensor = projection(x) if isinstance(projection, nn.Linear) else x @ projection
        return out

    def text_vectors(self, features: Tensor) -> Tensor:
        """Features ``[B, F]`` to vectors ``[B, D]``."""
        vectors = (
            F.normalize(features.float(), dim=-1) if self.heads is None else self.heads["text"](features)
        )
        return shortened(vectors, self.embed_dim)

    @property
    def trims_texts(self) -> bool:
        """Whether padding may be cut off: it is not attended to, and not what the text is pooled at."""
        towers = self.towers
        if isinstance(towers, CLIP):
            return towers.attn_mask is not None and towers.text_pool_type in ("argmax", "eos")
        return isinstance(towers.text, HFTextEncoder)

    def parts(self) -> dict[str, list[str]]:
        """Names of weights by the file that keeps them: ``image``, ``text``, ``heads``."""
        found: dict[str, list[str]] = {"image": [], "text": [], "heads": []}
        for name in self.state_dict():
            if name.startswith(("heads.", "towers.logit_")):
                found["heads"].append(name)
            else:
                found["image" if name.startswith("towers.visual.") else "text"].append(name)
        return found


def _resized(maps: Tensor, size: Any) -> Tensor:
    """Maps ``[B, C, h, w]`` on another grid: averaged where it is coarser, interpolated where finer."""
    if maps.shape[-1] >= size[-1]:
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _attention(x: Tensor) -> AbstractContextManager[Any]:
    """On a CPU, plain attention: for a dozen tokens its flash kernel's backward takes 5 ms per layer."""
    return nullcontext() if x.is_cuda else sdpa_kernel(SDPBackend.MATH)
