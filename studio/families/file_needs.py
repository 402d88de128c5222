"""What families' files need beside their denoiser, and sizes that several of them tell in the same way."""

from fractions import Fraction

from studio.families.file_layout import COUNT, Need, Size

CLIP_L = Need(
    "text_encoder", "clip", "pooled_projection_dim", "clip_l.safetensors", "sd15/text_encoder/config.json", tokenizer=("tokenizer", "clip")
)
QUARTER = Fraction(1, 4)  # of a token of 2 x 2 positions
MMDIT: tuple[Size, ...] = (  # of FLUX.1 and its kin
    Size("num_layers", COUNT, ("double_blocks.", "transformer_blocks.")),
    Size("num_single_layers", COUNT, ("single_blocks.", "single_transformer_blocks.")),
    Size("in_channels", 1, ("img_in.weight", "x_embedder.weight")),
    Size("joint_attention_dim", 1, ("txt_in.weight", "context_embedder.weight")),
    Size(
        "attention_head_dim",
        0,
        (
            "double_blocks.0.img_attn.norm.query_norm.scale",
            "double_blocks.0.img_attn.norm.query_norm.weight",
            "transformer_blocks.0.attn.norm_q.weight",
        ),
    ),
    Size("num_attention_heads", 0, ("img_in.weight", "x_embedder.weight"), per="attention_head_dim"),
)


def t5(component: str, tokenizer: str, reads: str = "joint_attention_dim", optional: bool = False) -> Need:
    """T5's encoder under this name of a pipeline, read by the denoiser as this setting says."""
    return Need(component, "t5", reads, "t5xxl_fp16.safetensors", "t5/config.json", tokenizer=(tokenizer, "t5"), optional=optional)


def kl(usual: str, share: Fraction = QUARTER, hint: str = "") -> Need:
    """A KL autoencoder."""
    return Need("vae", "kl", "in_channels", usual, share=share, hint=hint)
