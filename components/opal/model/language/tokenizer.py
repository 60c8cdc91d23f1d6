"""The byte-level BPE of the small language model, learned from the training texts."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, USER, ASSISTANT, END, IMAGE = "<pad>", "<user>", "<assistant>", "<end>", "<image>"
SPECIAL = (PAD, USER, ASSISTANT, END, IMAGE)

LONGEST_TOKEN = 200  # bytes; llguidance panics at tokens of a thousand, as a row of one emoji becomes

# A JSON key with the punctuation around it is one piece, so that an attribute costs about two tokens: its
# name and its value. Otherwise: a word with its space, a digit, or a run of anything else.
PIECES = r"""[",{}:\]]*"[\w ]+":(?:\{|\[?")?|"?[}]+| ?\p{L}+| ?\p{N}|[^\s\p{L}\p{N}]+|\s+"""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<user>"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}"
    "{% else %}<assistant>"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}<end>"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def learn_listing_tokenizer(
    texts: Iterable[str], vocabulary_size: int, context_length: int
) -> PreTrainedTokenizerFast:
    """Learn the tokenizer from training texts only; equal texts give an equal tokenizer.

    Every byte has a token, so no text is out of vocabulary; ``vocabulary_size`` is an upper bound.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        max_token_length=LONGEST_TOKEN,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens={"image_token": IMAGE},
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
