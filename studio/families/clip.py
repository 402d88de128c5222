"""Texts as CLIP's text towers read them (Radford 2021), shared by the families that are conditioned on them."""

from typing import TYPE_CHECKING, Any

from studio.families.base import Parts

if TYPE_CHECKING:
    from torch import Tensor


def read_texts(parts: Parts, encoder: str, captions: list[str], **options: Any) -> Any:
    """What the encoder of this name says to captions, padded and cut to its length as diffusers' pipelines do; keeps gradients."""
    import torch

    module, tokenizer = parts.modules[encoder], parts.tokenizers[tokenizer_of(encoder)]
    ids = tokenizer(captions, padding="max_length", max_length=max_tokens(parts, encoder), truncation=True, return_tensors="pt")
    uses_mask = getattr(module.config, "use_attention_mask", False)
    mask = ids.attention_mask.to(module.device) if uses_mask else None
    frozen = not any(p.requires_grad for p in module.parameters())
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        return module(ids.input_ids.to(module.device), attention_mask=mask, **options)


def read_penultimate(parts: Parts, encoders: tuple[str, ...], captions: list[str]) -> "tuple[list[Tensor], list[Tensor]]":
    """Per encoder: the last but one hidden states [B, L, D], and what it says of each whole caption [B, P]."""
    answers = [read_texts(parts, name, captions, output_hidden_states=True) for name in encoders]
    return [a.hidden_states[-2] for a in answers], [a[0] for a in answers]


def tokenizer_of(encoder: str) -> str:
    """The name of the tokenizer that belongs to a text encoder: text_encoder_2 -> tokenizer_2."""
    return encoder.replace("text_encoder", "tokenizer")


def max_tokens(parts: Parts, encoder: str = "text_encoder") -> int:
    """How many tokens the encoder reads."""
    return min(parts.tokenizers[tokenizer_of(encoder)].model_max_length, parts.modules[encoder].config.max_position_embeddings)


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption with its two end marks, tokens the model reads)."""
    return len(parts.tokenizers["tokenizer"](caption).input_ids), max_tokens(parts)
