"""The one table of what files of weights are: the names and shapes that tell each from all others that people have on their disks."""

import re
from dataclasses import dataclass

CHECKPOINT, VAE, TEXT, CONTROL, ADAPTER, EMBEDDING, OTHER, UNKNOWN = (
    "checkpoint", "vae", "text_encoder", "controlnet", "adapter", "embedding", "other", "unknown",
)  # fmt: skip
WRAPPED = r"(?:module|state_dict|ema_model|ema|_orig_mod)\."  # what training leaves before all names
DENOISER_PREFIX = re.compile(
    rf"^(?:{WRAPPED})?(?:model\.diffusion_model|diffusion_model|transformer|unet|model)\.|^{WRAPPED}", re.MULTILINE
)
VAE_PREFIX = re.compile(r"^(?:first_stage_model|vae)\.", re.MULTILINE)
TEXT_PARTS = r"^(cond_stage_model|conditioner\.embedders|text_encoders?(_\d)?)\."


@dataclass(frozen=True)
class Sign:
    """A row of the table: a file is this where every pattern of `has` is found in its names and none of `lacks`."""

    what: str
    title: str
    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    shape: tuple[str, int, tuple[int, ...]] | None = None  # (pattern of a name, axis, sizes)


def _c(title: str, *has: str, lacks: tuple[str, ...] = (), shape: tuple[str, int, tuple[int, ...]] | None = None) -> Sign:
    return Sign(CHECKPOINT, title, has, lacks, shape)


IN = r"^model\.diffusion_model\.input_blocks\."
UNET, CROSS, FLUX = r"^input_blocks\.0\.0\.weight$", r"attn2\.to_k\.weight$", r"^double_blocks\.0\.img_attn\."
CONV_IN = r"^conv_in\.weight$"
ANY_UNET = r"^(input_blocks\.0\.0|conv_in)\.weight$"  # in the original names or in diffusers'
FLUX_OURS = r"^single_transformer_blocks\.0\."
SANA = r"\.(mlp\.depth_conv|ff\.conv_depth)\.|^attention_y_norm\."
LABELS = r"^(label_emb\.0\.0|add_embedding\.linear_1)\.weight$"
SIGNS = (  # checkpoints; the first that fits. Names without the prefix of a single file's denoiser
    _c("Stable Video Diffusion", UNET, r"time_stack|time_mixer"),
    _c("Stable Diffusion XL refiner", ANY_UNET, LABELS, shape=(LABELS, 1, (2560,))),
    _c("Stable Diffusion XL inpainting", ANY_UNET, LABELS, shape=(ANY_UNET, 1, (9,))),
    _c("Stable Diffusion XL InstructPix2Pix", ANY_UNET, LABELS, shape=(ANY_UNET, 1, (8,))),
    _c("Kolors", ANY_UNET, LABELS, shape=(LABELS, 1, (5632,))),
    _c("Stable Diffusion 2.x unCLIP", UNET, LABELS, shape=(CROSS, 1, (1024,))),
    _c("Playground 2.5 (Stable Diffusion XL with another noise schedule)", ANY_UNET, r"^edm_mean$"),
    _c("a latent consistency model (LCM) of Stable Diffusion", ANY_UNET, r"^time_embed(ding)?\.cond_proj\."),
    _c("Stable Diffusion with boxes (GLIGEN)", ANY_UNET, r"^position_net\."),
    _c("Stable Diffusion XL", UNET, LABELS),
    _c("Stable Diffusion x4 upscaler", ANY_UNET, r"^(label_emb|class_embedding)\.weight$"),
    _c("Stable Diffusion inpainting", CONV_IN, CROSS, shape=(CONV_IN, 1, (9,))),
    _c("Stable Diffusion 2.x depth", CONV_IN, CROSS, shape=(CONV_IN, 1, (5,))),
    _c("InstructPix2Pix (Stable Diffusion)", CONV_IN, CROSS, shape=(CONV_IN, 1, (8,))),
    _c("Stable Diffusion 1.x inpainting", UNET, shape=(UNET, 1, (9,)), lacks=(r"^cond_stage_model\.model\.",)),
    _c("Stable Diffusion 2.x inpainting", UNET, shape=(UNET, 1, (9,))),
    _c("Stable Diffusion 2.x depth", UNET, shape=(UNET, 1, (5,))),
    _c("InstructPix2Pix (Stable Diffusion)", UNET, shape=(UNET, 1, (8,))),
    _c("Stable Diffusion 2.x", UNET, r"^cond_stage_model\.model\."),
    _c("Stable Diffusion 1.x", UNET, r"^cond_stage_model\.transformer\."),
    _c("Stable Diffusion 2.x", UNET, shape=(CROSS, 1, (1024,))),
    _c("Stable Diffusion 1.x", UNET),
    _c("OmniGen", r"^llm\.layers\.0\."),
    _c("BAGEL", r"^language_model\.model\.layers\.0\.\S*_moe_gen\."),
    _c("OmniGen 2", r"^ref_image_(refiner|patch_embedder)\."),
    _c("Chroma Radiance", r"^distilled_guidance_layer\.", r"^nerf_"),
    _c("Stable Audio", r"^(pretransform\.model|model\.transformer\.layers\.0\.self_attn\.to_qkv)\."),
    _c("FLUX.3", r"^early_stream_modulations\."),
    _c("FLUX.2", r"^(single|double)_stream_modulation(_img|_txt)?\."),
    _c("Chroma", r"^distilled_guidance_layer\."),
    _c("HunyuanVideo", r"^(txt_in\.individual_token_refiner|context_embedder\.token_refiner)\."),
    _c("HunyuanImage", FLUX, r"^byt5_in\."),
    _c("FLUX.1 Fill (inpainting)", FLUX, shape=(r"^img_in\.weight$", 1, (384,))),
    _c("FLUX.1 Control", FLUX, shape=(r"^img_in\.weight$", 1, (128,))),
    _c("FLUX.1 dev", FLUX, r"^guidance_in\."),
    _c("FLUX.1 schnell", FLUX),
    _c("Stable Diffusion 3", r"^joint_blocks\.0\."),
    _c("Krea 2", r"^txtfusion\.|^text_fusion\."),
    _c("Qwen-Image 2.1", r"^txt_in\.text_norm\."),
    _c("Qwen-Image-Layered", r"^transformer_blocks\.0\.img_mod\.", r"addition_t_embedding"),
    _c("Qwen-Image", r"^transformer_blocks\.0\.(img_mod|img_mlp)\."),
    _c("Z-Image Omni", r"^siglip_embedder\.", r"^layers\.0\.adaLN_modulation\.0\.weight$|^all_x_embedder\."),
    _c("Z-Image", r"^layers\.0\.adaLN_modulation\.0\.weight$|^all_x_embedder\."),
    _c("Lumina-Next", r"^layers\.0\.attention\.wk_y\.|^layers\.0\.attn2\.to_k\.", r"^layers\.0\."),
    _c("Lumina 2", r"^(cap_embedder\.0|time_caption_embed)\."),
    _c("Sana Sprint", r"^(cfg_embedder|time_embed\.guidance_embedder)\.", SANA),
    _c("Sana Video", r"\.(mlp\.t_conv|ff\.conv_temp)\.", SANA),
    _c("Sana", SANA),
    _c("AuraFlow", r"^(double_layers\.0\.attn\.w1q|joint_transformer_blocks\.0)\."),
    _c("HiDream-I1", r"^double_stream_blocks\.0\."),
    _c("Wan", r"^head\.modulation$|^condition_embedder\.time_embedder\."),
    _c("LTX-2", r"^(audio_patchify_proj|audio_proj_in)\."),
    _c("LTX-Video", r"^patchify_proj\.|^scale_shift_table$", r"^(patchify_proj\.|proj_in\.)", lacks=(r"^pos_embed\.",)),
    _c("Mochi 1", r"^blocks\.0\.attn\.qkv_x\."),
    _c("Anima", r"^(net\.)?llm_adapter\."),
    _c("Cosmos", r"^net\.(x_embedder|blocks)\."),
    _c("PixArt", r"^(blocks\.0\.cross_attn\.kv_linear|adaln_single)\."),
    _c("CogVideoX", r"^patch_embed\.text_proj\.", shape=(r"^patch_embed\.proj\.weight$", 2, (1, 2))),
    _c("CogView4", r"^patch_embed\.text_proj\."),
    _c("Kandinsky 5", r"^visual_transformer_blocks\.0\."),
    _c("Stable Diffusion 3", r"^transformer_blocks\.0\.attn\.add_q_proj\.", r"^pos_embed\.proj\."),
    _c("FLUX.2", r"^single_transformer_blocks\.0\.attn\.to_qkv_mlp_proj\."),
    _c("FLUX.1 Fill (inpainting)", FLUX_OURS, shape=(r"^x_embedder\.weight$", 1, (384,))),
    _c("FLUX.1 Control", FLUX_OURS, shape=(r"^x_embedder\.weight$", 1, (128,))),
    _c("FLUX.1", FLUX_OURS),
    _c("Stable Cascade", r"^(clip_txt_mapper|effnet_mapper\.0|clf\.1)\.|\.channelwise\.0\."),
    _c("Hunyuan-DiT", r"^mlp_t5\.0\."),
    _c("Hunyuan-DiT", r"^text_embedder\.linear_1\.", r"^pos_embed\.proj\.", r"^blocks\.0\.attn1\."),
    _c("DeepFloyd IF", r"^add_embedding\.pool\."),
    _c("Kandinsky 2", r"^add_embedding\.image_(proj|norm)\.|^encoder_hid_proj\.image_embeds\."),
    _c("Kolors", r"^down_blocks\.0\.", shape=(r"^add_embedding\.linear_1\.weight$", 1, (5632,))),
    _c("Stable Diffusion XL", r"^down_blocks\.0\.", r"^add_embedding\.linear_1\."),
    _c("Stable Diffusion 2.x", r"^down_blocks\.0\.", CROSS, shape=(CROSS, 1, (1024,))),
    _c("Stable Diffusion 1.x", r"^down_blocks\.0\.", r"^mid_block\.", CROSS),
    _c("DDPM (unconditional UNet)", r"^down_blocks\.0\.", r"^mid_block\.", r"^time_embedding\."),
)
DENOISERS = {  # how the tensors of a denoiser begin, in words
    "a UNet": r"^input_blocks\.0\.", "a UNet in diffusers' names": r"^down_blocks\.0\.", "FLUX": r"^double_blocks\.0\.",
    "Stable Diffusion 3": r"^joint_blocks\.0\.", "a transformer in diffusers' names": r"^transformer_blocks\.0\.",
}  # fmt: skip
LEFTOVER = r"^lora_(unet|te\d?)_\S+$|^\S+\.(lora_(down|up|mid|A|B)|hada_\w+|lokr_\w+)(\.[\w-]+)*$"  # of an adapter, left in a base's file
CONTROLNET = (
    r"^(control_model|controlnet_(cond_embedding|down_blocks|blocks|mid_block|x_embedder)|input_hint_block|control_(layers|all_x)\w*)\."
)
IP_ADAPTER = r"^(ip_adapter\.|image_proj\.|ip_adapter_proj_model\.)|\.ip_adapter_\w+_k_proj\."
OTHERS = (  # what is no base model; tried before those
    Sign(CONTROL, "a ControlNet LoRA", (r"^lora_controlnet$",)),
    Sign(CONTROL, "a ControlNet", (CONTROLNET,)),
    Sign(CONTROL, "a ControlNet-LLLite", (r"^lllite_",)),
    Sign(CONTROL, "a T2I-Adapter", (r"^(adapter\.)?body\.\d+\.(in_conv|resnets|block1)\.",)),
    Sign(CONTROL, "an IP-Adapter", (IP_ADAPTER,)),
    Sign(CONTROL, "a FLUX.1 Redux (prompts by a picture)", (r"^redux_(up|down)\.",)),
    Sign(CONTROL, "a PuLID (faces)", (r"^pulid_(ca|encoder)\.",)),
    Sign(OTHER, "averages (EMA) of a training run, without the names of their layers", (r"^shadow_params\.\d+$",)),
    Sign(
        OTHER,
        "averages (EMA) of a Stable Diffusion UNet under training's names",
        (r"^model_ema\.diffusion_model\w+weight$",),
        (IN,),
    ),
    Sign(OTHER, "a Segment Anything model", (r"^(sam_)?mask_decoder\.",)),
    Sign(OTHER, "a depth estimator (Depth Anything)", (r"^depth_head\.",)),
    Sign(OTHER, "Stable Cascade's stage A", (r"^vquantizer\.",)),
    Sign(OTHER, "an AnimateDiff motion module", (r"motion_modules?\.",), (UNET,)),
    Sign(OTHER, "an image upscaler (ESRGAN)", (r"(^|\.)RDB1\.|^body\.0\.rdb1\.|^conv_first\.",)),
    Sign(
        OTHER,
        "an image upscaler (compact)",
        (r"^body\.1\.weight$", r"^body\.2\.bias$|^body\.2\.weight$"),
        shape=(r"^body\.1\.weight$", 0, (64,)),
    ),
    Sign(VAE, "a small autoencoder (TAESD)", (r"^((taesd_)?(encoder|decoder)(\.layers)?\.)?\d+\.(conv\.0|weight)",)),
)
LATENTS = {4: "Stable Diffusion 1.x, 2.x or XL", 16: "Stable Diffusion 3, FLUX.1 or a relative", 32: "FLUX.2"}
VAES = (
    Sign(VAE, "a VAE alone, of a film model", (r"^decoder\.conv_in\.conv\.",)),
    Sign(VAE, "a VAE alone, of Wan or Qwen-Image", (r"^decoder\.(middle\.0\.residual\.0|mid_block\.resnets\.0\.norm1)\.gamma$",)),
    Sign(VAE, "a VAE alone, of Sana (DC-AE)", (r"^decoder\.stages\.|^decoder\.up_blocks\.\d+\.\d+\.",)),
)
TEXTS = (
    Sign(
        TEXT, "a CLIP vision encoder", (r"^(vision_model|visual)\.(encoder|transformer|embeddings)",), (r"text_model\.|^model\.layers\.",)
    ),
    Sign(TEXT, "a CLIP text encoder", (r"(embeddings\.)?token_embedding\.weight$", r"(layers|resblocks)\.0\.")),
    Sign(TEXT, "a T5 text encoder", (r"^(encoder\.)?block\.0\.layer\.0\.SelfAttention\.|^encoder\.block\.0\.",)),
    Sign(TEXT, "a Qwen-VL text encoder", (r"^(model\.)?visual\.blocks\.0\.", r"layers\.0\.self_attn\.q_proj\.")),
    Sign(TEXT, "a Gemma text encoder", (r"layers\.0\.(post_feedforward|pre_feedforward)_layernorm\.",)),
    Sign(TEXT, "a language model (text encoder)", (r"layers\.0\.self_attn\.q_proj\.", r"embed_tokens\.weight$")),
)
QUANTISED = (
    (r"quant_state\.bitsandbytes__(nf4|fp4)", "bitsandbytes, 4 bits"),
    (r"\.SCB$", "bitsandbytes, 8 bits"),
    (r"\.(qweight|wscales|smooth_factor)$", "4 bits: Nunchaku, GPTQ or AWQ"),
    (r"\.(scale_weight|weight_scale|comfy_quant)$|^scaled_fp8$", "scaled fp8"),
)
