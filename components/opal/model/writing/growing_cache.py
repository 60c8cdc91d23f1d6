"""Keys and values of a generation in buffers with room to grow.

transformers' dynamic cache copies everything it holds for every new token, a fifth of the time of writing
listings. Here a new token is written behind the others, and a full buffer moves to one twice as large.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 64  # tokens a buffer starts with beyond its first ones


class GrowingLayer(DynamicLayer):
    """One layer's keys and values ``[B, heads, tokens, D]``, views of larger buffers.

    Under autocast they are kept in the precision that attention reads them in, rounded once and not anew for
    every token.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep the states ``[B, heads, new tokens, D]`` of new tokens; all keys and values are returned."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = []
        held = self.get_seq_length()
        length = held + key_states.shape[-2]
        if not self._buffers or length > self._buffers[0].shape[-2]:
            self._grow((key_states, value_states), held, 2 * length if held else length + ROOM)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, held:length] = states
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)
        return self.keys, self.values

    def _grow(self, states: tuple[Tensor, Tensor], held: int, room: int) -> None:
        """Move what is held to buffers of ``room`` tokens."""
        larger = []
        for i, new in enumerate(states):
            kind = new.device.type
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else new.dtype
            buffer = new.new_empty((*new.shape[:2], room, new.shape[3]), dtype=dtype)
            if held:
                buffer[:, :, :held] = self._buffers[i][:, :, :held]
            larger.append(buffer)
        self._buffers = larger


def growing_cache(config: Any) -> DynamicCache:
    """An empty cache for a model; layers of other kinds (sliding windows and such) stay transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
