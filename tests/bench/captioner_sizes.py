"""Captioners in the sizes that people use, with random weights: what their speed takes is there, what their captions take is not."""

from pathlib import Path
from typing import Any

from tests.fixtures.tiny_captioners import word_tokenizer


def save_large(folder: Path, model_class: Any, config: Any, num_tokens: int, *parts: Any) -> Path:
    """Weights drawn where they are computed with, in half precision; every answer is `num_tokens` long."""
    import torch

    from studio.device import pick_device

    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(pick_device()):
            model = model_class(config).eval()
    finally:
        torch.set_default_dtype(default)
    model.generation_config.min_new_tokens = num_tokens
    model.save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)
    return folder


def blip_base(folder: Path, num_tokens: int) -> Path:
    """BLIP-base: ViT-B/16 at 384 px and a BERT-base, 0.25 billion parameters."""
    import transformers as t

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = word_tokenizer(special, ("[CLS]", "[SEP]"), **names)
    text = {"num_attention_heads": 12, "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    config = t.BlipConfig(text_config=text, vision_config={"image_size": 384})
    pixels = t.BlipImageProcessorPil(size={"height": 384, "width": 384})
    return save_large(folder, t.BlipForConditionalGeneration, config, num_tokens, t.BlipProcessor(pixels, tokenizer))


def florence2_base(folder: Path, num_tokens: int) -> Path:
    """Florence-2-base: DaViT at 768 px and a BART-base, 0.23 billion parameters."""
    import transformers as t

    names = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<image>"]
    tokenizer = word_tokenizer(special, ("<s>", "</s>"), extra_special_tokens={"image_token": "<image>"}, **names)
    text = {
        "model_type": "bart", "vocab_size": 51289, "d_model": 768, "encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 3072,
        "decoder_ffn_dim": 3072, "encoder_attention_heads": 12, "decoder_attention_heads": 12, "max_position_embeddings": 1024,
        "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
    }  # fmt: skip
    vision = {"embed_dim": [128, 256, 512, 1024], "num_heads": [4, 8, 16, 32], "num_groups": [4, 8, 16, 32], "projection_dim": 768}
    config = t.Florence2Config(text_config=text, vision_config=vision, image_token_id=5)
    pixels = t.CLIPImageProcessorPil(size={"height": 768, "width": 768}, do_center_crop=False, image_seq_length=577)
    processor = t.Florence2Processor(image_processor=pixels, tokenizer=tokenizer)
    return save_large(folder, t.Florence2ForConditionalGeneration, config, num_tokens, processor)


def qwen3_vl_2b(folder: Path, num_tokens: int) -> Path:
    """Qwen3-VL-2B: 2.1 billion parameters."""
    import transformers as t

    places = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *places, "<unk>"]
    tokenizer = word_tokenizer(special, unk_token="<unk>", pad_token="<|endoftext|>", eos_token="<|im_end|>")
    text = {
        "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 262144, "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 0,
        "rope_parameters": {"rope_type": "default", "mrope_section": [24, 20, 20], "rope_theta": 5e6, "mrope_interleaved": True},
    }  # fmt: skip
    vision = {
        "depth": 24, "hidden_size": 1024, "num_heads": 16, "intermediate_size": 4096, "out_hidden_size": 2048, "patch_size": 16,
        "deepstack_visual_indexes": [5, 11, 17],
    }  # fmt: skip
    ids = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4}
    config = t.Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    pixels = t.Qwen2VLImageProcessorPil(patch_size=16, temporal_patch_size=2, merge_size=2, min_pixels=65536, max_pixels=768 * 768)
    return save_large(folder, t.Qwen3VLForConditionalGeneration, config, num_tokens, tokenizer, pixels)


LARGE = {"blip": blip_base, "florence2": florence2_base, "qwen_vl": qwen3_vl_2b}
