"""Open-vocabulary detectors as grounders, from a folder or from the hub.

Grounding DINO (Liu et al. 2023, arXiv 2303.05499) is what VL-CLIP uses; MM-Grounding-DINO (Zhao et al. 2024,
arXiv 2401.02361), whose architecture LLMDet (Fu et al. 2025, arXiv 2501.18954) has too, and OWLv2 (Minderer
et al. 2023, arXiv 2306.09683) are our further choices. Weights are read from safetensors only, and no code
of a checkpoint is ever run. Their scores differ in scale, so each one's threshold is calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from components.encoder.model.crops.errors import GroundingDataError
from components.grounding.errors import DetectorError
from components.grounding.grounding import NO_PICTURE, Prompt, Proposals, readable
from components.grounding.params import DetectorGrounding
from components.stage.files.model_files import check_weights
from components.stage.resources.accelerator import autocast, device

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

GROUNDING_DINO, MM_GROUNDING_DINO, OWLV2 = "grounding-dino", "mm-grounding-dino", "owlv2"
KINDS = (GROUNDING_DINO, MM_GROUNDING_DINO, OWLV2)
ALLOWED = {".safetensors", ".json", ".txt", ".model", ".md"}
# Both resize to about this side themselves; a larger JPEG is decoded at a half, a quarter or an eighth.
DECODE_PX = 1333


def check_folder(folder: Path) -> None:
    """Refuse a folder that lacks safetensors or holds anything that could run.

    Raises:
        DetectorError: names the folder and the files.
    """
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
    if wrong := sorted(p.name for p in files if p.suffix not in ALLOWED):
        raise DetectorError(
            f"{folder} holds files that a detector's folder may not ({', '.join(wrong[:5])}); keep "
            "safetensors, JSON and text only."
        )
    if not any(p.suffix == ".safetensors" for p in files):
        raise DetectorError(f"{folder} holds no .safetensors file; save the detector with save_pretrained.")


def load_detector(checkpoint: str, revision: str | None) -> tuple[Any, Any, str]:
    """Model, processor and kind, one of ``KINDS``.

    Raises:
        DetectorError: the checkpoint cannot be found or read, lacks weights, or is of another architecture.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForZeroShotObjectDetection, AutoProcessor

    if Path(checkpoint).is_dir():
        check_folder(Path(checkpoint))
    options: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": False}
    try:
        kind = AutoConfig.from_pretrained(checkpoint, **options).model_type
        if kind not in KINDS:
            raise DetectorError(f"{checkpoint} is a '{kind}'; ground.detector takes {', '.join(KINDS)}.")
        processor = AutoProcessor.from_pretrained(checkpoint, **options)
        model, report = AutoModelForZeroShotObjectDetection.from_pretrained(
            checkpoint, use_safetensors=True, output_loading_info=True, **options
        )
        check_weights(model.state_dict().items())
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DetectorError(f"The detector {checkpoint} cannot be loaded: {reason}.") from None
    if missing := sorted(report["missing_keys"]):
        raise DetectorError(
            f"The detector {checkpoint} lacks {len(missing)} weights, such as {missing[0]}; "
            "it would find boxes at random."
        )
    return model.eval(), processor, kind


class DetectorGrounder:
    """The most confident box of a detector that is asked for the product type.

    Attributes:
        threshold: least confidence of a box that is used; until it is calibrated, the parameters' own or 0.
    """

    def __init__(self, params: DetectorGrounding, precision: str, batch_size: int) -> None:
        self.params, self.precision, self.batch_size = params, precision, batch_size
        self.device = device()
        model, self.processor, self.kind = load_detector(params.checkpoint, params.revision)
        self.model = model.to(self.device)
        self.threshold = params.threshold or 0.0

    def calibrate(self, pictures: Sequence[bytes], absent_types: Sequence[str]) -> None:
        """Set the threshold by pictures that do not show what they are asked for.

        Raises:
            GroundingDataError: there is no such picture that can be read.
        """
        asked = [(data, kind) for data, kind in zip(pictures, absent_types, strict=True) if kind]
        scores = self.propose([data for data, _ in asked], [kind for _, kind in asked]).scores
        scores = scores[np.isfinite(scores)]
        if not len(scores):
            raise GroundingDataError(
                "There are no pictures of several types to calibrate the detector's threshold on; set "
                "ground.detector.threshold."
            )
        self.threshold = float(np.quantile(scores, self.params.absent_quantile))

    def propose(self, pictures: Sequence[bytes], prompts: Sequence[Prompt]) -> Proposals:
        """The most confident box of each picture; its middle is the point."""
        images = [readable(data, DECODE_PX) for data in pictures]
        boxes = np.full((len(images), 4), np.nan)
        scores = np.full(len(images), np.nan)
        seen = [i for i, image in enumerate(images) if image is not None]
        for start in range(0, len(seen), self.batch_size):
            part = seen[start : start + self.batch_size]
            some = [image for i in part if (image := images[i]) is not None]
            boxes[part], scores[part] = self._best(some, [prompts[i] for i in part])
        points = (boxes[:, :2] + boxes[:, 2:]) / 2
        return Proposals(boxes, scores, points, ["" if i is not None else NO_PICTURE for i in images])

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Any:
        """The model's input, one prompt for each picture; OWLv2 wants lists of queries of one length."""
        owl = self.kind == OWLV2
        texts: Any = [[p] for p in prompts] if owl else list(prompts)
        options = {"return_tensors": "pt", "padding": "max_length" if owl else True, "truncation": True}
        return self.processor(images=list(images), text=texts, **options)

    def _best(
        self, images: Sequence[Image.Image], asked: Sequence[Prompt]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Boxes in fractions ``[N, 4]`` and confidences ``[N]``."""
        import torch

        names = [a if isinstance(a, str) else a.name for a in asked]
        prompts = [self.params.prompt.format(product_type=name.lower()) for name in names]
        inputs = self.inputs(images, prompts)
        with torch.inference_mode(), autocast(self.device, self.precision):
            outputs = self.model(**inputs.to(self.device))
        return best_boxes(outputs, [image.size for image in images], self.kind)


def best_boxes(
    outputs: Any, sizes: Sequence[tuple[int, int]], kind: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The most confident box of each picture in a detector's output.

    Args:
        outputs: ``logits [N, queries, words]`` and ``pred_boxes [N, queries, 4]`` (centre and sides).
        sizes: width and height of each picture, pixels. OWLv2 pads pictures to a square on the right and at
            the bottom, and its fractions are of that square.
    """
    confidence: Tensor = outputs.logits.float().sigmoid().amax(dim=-1)
    scores, best = confidence.max(dim=-1)
    chosen = outputs.pred_boxes.float()[range(len(best)), best].cpu().numpy().astype(np.float64)
    corners = np.concatenate([chosen[:, :2] - chosen[:, 2:] / 2, chosen[:, :2] + chosen[:, 2:] / 2], axis=1)
    if kind == OWLV2:
        sides = np.array(sizes, dtype=np.float64)
        corners *= np.tile(sides.max(axis=1, keepdims=True) / sides, (1, 2))
    return corners, scores.cpu().numpy().astype(np.float64)
