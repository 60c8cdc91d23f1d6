"""A model folder's config.json cannot make the loader fetch or read anything but the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.encoder.model.errors import ModelFileError
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import create_encoder
from components.encoder.model.towers.files import load_encoder, save_encoder, vision_config
from components.encoder.model.towers.tokenizer import learn_tokenizer


@pytest.mark.parametrize(
    ("block", "hostile"),
    [
        ("vision", {"timm_model_pretrained": True}),
        ("vision", {"timm_model_name": "hf-hub:somebody/model"}),
        ("vision", {"timm_model_name": "local-dir:/tmp/model"}),
        ("text", {"hf_model_name": "somebody/model"}),
    ],
)
def test_a_folder_that_names_another_model_is_refused(
    tiny: EncoderParams,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    block: str,
    hostile: dict[str, Any],
) -> None:
    tokenizer, folder = learn_tokenizer(["a red mug"], 300, 16), tmp_path / "model"
    save_encoder(
        create_encoder(tiny, tokenizer.vocabulary_size), tokenizer, vision_config(tiny.model), folder
    )
    config = json.loads((folder / "config.json").read_text())
    config[block] |= hostile
    (folder / "config.json").write_text(json.dumps(config))

    def built(*_: object, **__: object) -> None:
        raise AssertionError("open_clip was asked to build it")

    monkeypatch.setattr("components.encoder.model.towers.dual_encoder.CLIP", built)
    with pytest.raises(ModelFileError, match="nothing is fetched to build a model"):
        load_encoder(folder)
