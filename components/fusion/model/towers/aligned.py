"""Aligned towers: an encoder, and a head of their own for product texts that are read field by field."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import LoadedEncoder, load_encoder, save_encoder
from components.encoder.model.towers.heads import Head
from components.fusion.model.errors import FusionDataError
from components.stage.files.model_files import CHECKSUMS, check_files, check_weights, write_checksums
from components.stage.resume import sha256_file

ENCODER, FIELDS = "encoder", "fields.safetensors"
HIDDEN_WEIGHTS = "layers.1.weight"  # of a head, [hidden, inputs]


class AlignedTowers(nn.Module):
    """What alignment trains.

    Attributes:
        encoder: of queries and pictures. fields: head on the features of a product's fields, side by side;
            None where product texts are read as queries are.
    """

    def __init__(self, encoder: Encoder, fields: Head | None) -> None:
        super().__init__()
        self.encoder, self.fields = encoder, fields

    def query_vectors(self, texts: Tensor) -> Tensor:
        """Vectors ``[N, D]`` of features ``[N, F]`` or tokens ``[N, L]``."""
        return (
            self.encoder.text_vectors(texts) if texts.is_floating_point() else self.encoder.encode_text(texts)
        )

    def product_vectors(self, texts: Tensor) -> Tensor:
        """Vectors ``[N, D]`` of fields ``[N, K (F + 1)]`` as ``FieldFeatures`` draws them, or of tokens."""
        if not texts.is_floating_point():
            return self.encoder.encode_text(texts)
        if self.fields is not None:
            vectors: Tensor = self.fields(texts)
            return vectors
        width = self.encoder.architecture.embed_dim
        fields = texts.shape[1] // (width + 1)
        there = texts[:, fields * width :].sum(dim=1, keepdim=True)
        total = texts[:, : fields * width].unflatten(1, (fields, width)).sum(dim=1)
        return self.encoder.text_vectors(total / there.clamp(min=1))


@dataclass(frozen=True)
class LoadedTowers:
    """Aligned towers ready to use.

    Attributes:
        encoder: of queries and pictures. fields: see ``AlignedTowers``. names: of what that head reads.
        model_sha256: of all weights.
    """

    encoder: LoadedEncoder
    fields: Head | None
    names: tuple[str, ...]
    model_sha256: str

    @property
    def module(self) -> AlignedTowers:
        """Both parts as one network, in evaluation mode: a frozen tower must not drop what it reads."""
        towers = AlignedTowers(self.encoder.encoder, self.fields)
        towers.eval()
        return towers


def save_towers(towers: LoadedTowers, folder: Path) -> None:
    """Write the folder; ``folder`` must not exist."""
    folder.mkdir(parents=True)
    save_encoder(towers.encoder.encoder, towers.encoder.tokenizer, folder / ENCODER)
    if towers.fields is not None:
        state = {
            name: value.detach().cpu().contiguous() for name, value in towers.fields.state_dict().items()
        }
        save_file(state, folder / FIELDS, metadata={"fields": ",".join(towers.names)})
        write_checksums(folder)


def load_towers(folder: Path) -> LoadedTowers:
    """Read aligned towers, in evaluation mode; a plain encoder folder is towers without a head for fields.

    Raises:
        ModelFileError: the encoder folder is missing, damaged, or holds what it must not.
        FusionDataError: the same of the head.
    """
    if not (folder / ENCODER).is_dir():
        encoder = load_encoder(folder)
        return LoadedTowers(encoder, None, (), encoder.model_sha256)
    if wrong := sorted({path.name for path in folder.iterdir()} - {ENCODER, FIELDS, CHECKSUMS}):
        raise FusionDataError(f"{folder} may hold {ENCODER} and {FIELDS} alone, not {', '.join(wrong)}.")
    encoder = load_encoder(folder / ENCODER)
    if not (folder / FIELDS).exists():
        return LoadedTowers(encoder, None, (), encoder.model_sha256)
    head, names = _read_head(folder / FIELDS, encoder.encoder.embed_dim)
    sha256 = hashlib.sha256(f"{encoder.model_sha256} {sha256_file(folder / FIELDS)}".encode()).hexdigest()
    return LoadedTowers(encoder, head, names, sha256)


def _read_head(file: Path, outputs: int) -> tuple[Head, tuple[str, ...]]:
    try:
        check_files(file.parent)
        with safe_open(file, framework="pt") as opened:
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            names = tuple((opened.metadata() or {})["fields"].split(","))
        hidden, inputs = state[HIDDEN_WEIGHTS].shape
        head = Head(inputs, hidden, outputs, 0.0)
        head.load_state_dict(state)
        check_weights(state.items())
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        told = " ".join(str(error).split())[:200]
        raise FusionDataError(f"{file} cannot be loaded ({told}); run its alignment stage again.") from None
    return head.eval(), names
