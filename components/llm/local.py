"""A chat model in this process: a folder read with transformers, one request at a time.

For many requests put the same folder behind a server that batches (vLLM), and use the endpoint.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.llm.chat import Message, Reply, Request, Usage
from components.llm.errors import ChatModelFileError, ReplyError
from components.llm.params import LocalParams
from components.stage.files.model_files import check_files, check_loaded, check_weights
from components.stage.resources.accelerator import computed_in, device

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Files that run code when read; a folder that holds one is refused, even where it would not be read.
REFUSED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py")


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not a safetensors model.

    Raises:
        ChatModelFileError: it is missing, has no config or weights, or holds a pickle or code.
    """
    if not (folder / "config.json").is_file():
        raise ChatModelFileError(
            f"{folder} is not a model folder: it has no config.json; see llm.local.folder."
        )
    names = sorted(p.name for p in folder.iterdir())
    if refused := [name for name in names if name.endswith(REFUSED)]:
        raise ChatModelFileError(
            f"{folder} holds {', '.join(refused[:3])}, which may run code when read; keep safetensors, JSON "
            "and tokenizer files only."
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise ChatModelFileError(f"{folder} has no safetensors weights; convert or download it again.")


class LocalModel:
    """A text or image-text model with a chat template.

    Raises:
        ChatModelFileError: the folder cannot be used.
    """

    concurrency = 1
    caches_answers = True

    def __init__(self, params: LocalParams) -> None:
        import torch

        from components.stage.resume import sha256_folder

        folder = Path(params.folder)
        check_folder(folder)
        torch.set_num_threads(params.threads)
        self._params = params
        self.sees_pictures = params.pictures
        self.counts: dict[str, int] = {}
        decoding = "constrained" if params.constrained else "free"
        self._device = device()
        precision = computed_in(params.precision, self._device)
        self.identity = f"local:{sha256_folder(folder)}:{precision}:{decoding}"
        self._processor, self._model = _load(folder, params, self._device)
        self._tokenizer = getattr(self._processor, "tokenizer", self._processor)
        self._grammar: Any = None

    async def reply(self, request: Request) -> Reply:
        """The answer to one request; ReplyError: it does not fit into the context."""
        import torch

        inputs = self._inputs(request)
        length = int(inputs["input_ids"].shape[1])
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and length + request.max_tokens > limit:
            raise ReplyError(
                f"{length} prompt tokens and {request.max_tokens} for the answer do not fit into the "
                f"model's {limit}"
            )
        options: dict[str, Any] = {"max_new_tokens": request.max_tokens, "do_sample": request.temperature > 0}
        if request.temperature > 0:
            torch.manual_seed(request.seed)
            options["temperature"] = request.temperature
        if self._params.constrained:
            options["logits_processor"] = [self._processor_of(request, length)]
        with torch.inference_mode():
            output = self._model.generate(**inputs, **options)[0, length:]
        return self._reply(output, length, request.max_tokens)

    async def close(self) -> None:
        """Give the model back."""
        self._model = self._processor = self._tokenizer = self._grammar = None

    def _inputs(self, request: Request) -> Any:
        turns = [_turn_of(m, self.sees_pictures) for m in request.messages]
        try:
            inputs = self._processor.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise ReplyError(f"the chat template does not take the request ({str(error)[:120]})") from None
        return inputs.to(self._device)

    def _processor_of(self, request: Request, length: int) -> Any:
        import llguidance.hf

        if self._grammar is None:
            vocabulary = self._model.config.get_text_config().vocab_size
            self._grammar = llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=vocabulary)
        return SchemaDecoding(self._grammar, json.dumps(dict(request.schema)), length, self._ends()[0])

    def _ends(self) -> list[int]:
        ends = self._model.generation_config.eos_token_id
        if ends is None:
            ends = self._tokenizer.eos_token_id
        return list(ends) if isinstance(ends, list | tuple) else [int(ends)]

    def _reply(self, output: Tensor, length: int, most: int) -> Reply:
        tokens = output.tolist()
        cut = len(tokens) >= most and tokens[-1] not in self._ends()
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return Reply(str(text).strip(), cut, Usage(length, len(tokens)))


def _load(folder: Path, params: LocalParams, where: torch.device) -> tuple[Any, Any]:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

    reader, architecture = (
        (AutoProcessor, AutoModelForImageTextToText)
        if params.pictures
        else (AutoTokenizer, AutoModelForCausalLM)
    )
    options = {"local_files_only": True, "trust_remote_code": False}
    dtype = torch.bfloat16 if computed_in(params.precision, where) == "bf16" else torch.float32
    try:
        check_files(folder)
        processor = reader.from_pretrained(folder, **options)
        model, report = architecture.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
        check_loaded(report, unused=True)
        check_weights(model.state_dict().items())
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())[:200]
        raise ChatModelFileError(f"{folder} cannot be loaded ({said}); download it again.") from None
    return processor, model.to(where).eval()


def _turn_of(message: Message, pictures: bool) -> dict[str, Any]:
    if not pictures:
        return {"role": message.role, "content": message.text}
    content: list[dict[str, Any]] = [{"type": "text", "text": message.text}]
    if message.picture is not None:
        from PIL import Image

        content.insert(0, {"type": "image", "image": Image.open(io.BytesIO(message.picture)).convert("RGB")})
    return {"role": message.role, "content": content}


class SchemaDecoding:
    """Decoding under a JSON Schema, with llguidance: a token that would break the schema cannot be chosen.

    A logits processor for one sequence, in the sense of transformers.

    Args:
        tokens: llguidance's view of the tokenizer. schema: JSON text.
        prompt_length: tokens before the answer.
        end: the token that ends an answer; all that is left once the JSON is complete.
    """

    def __init__(self, tokens: Any, schema: str, prompt_length: int, end: int) -> None:
        import llguidance
        import llguidance.torch

        # compact separators: free whitespace lets a weak model write blanks until it is cut
        compact = {"whitespace_flexible": False}
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults=compact)
        self._matcher = llguidance.LLMatcher(tokens, grammar)
        self._mask = llguidance.torch.allocate_token_bitmask(1, tokens.vocab_size)
        self._seen, self._end = prompt_length, end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores ``[1, vocabulary]`` with minus infinity at every token that breaks the schema."""
        import llguidance.torch
        import torch

        for token in input_ids[0, self._seen :].tolist():
            self._matcher.consume_token(token)
        self._seen = input_ids.shape[1]
        if self._matcher.is_stopped():
            ended = torch.full_like(scores, float("-inf"))
            ended[:, self._end] = 0.0
            return ended
        llguidance.torch.fill_next_token_bitmask(self._matcher, self._mask, 0)
        llguidance.torch.apply_token_bitmask_inplace(scores, self._mask.to(scores.device))
        return scores
