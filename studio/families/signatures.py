"""What a file of weights is, told by its header alone: the one table of names and shapes of all that people have on their disks."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from studio.errors import StudioError
from studio.families.adapter_names import AdapterKind, adapter_kind
from studio.families.header import Header, read_header

CHECKPOINT, VAE, TEXT, CONTROL, ADAPTER, EMBEDDING, OTHER, UNKNOWN = (
    "checkpoint", "vae", "text_encoder", "controlnet", "adapter", "embedding", "other", "unknown",
)  # fmt: skip
DENOISER_PREFIX = re.compile(r"^(?:model\.diffusion_model|diffusion_model|transformer|unet|model)\.", re.MULTILINE)
VAE_PREFIX = re.compile(r"^(?:first_stage_model|vae)\.", re.MULTILINE)
TEXT_PARTS = r"^(cond_stage_model|conditioner\.embedders|text_encoders?)\."
SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")


@dataclass(frozen=True)
class Kind:
    """What a file is."""

    what: str  # checkpoint, vae, text_encoder, controlnet, adapter, embedding, other, unknown
    title: str  # in words
    parts: tuple[str, ...] = ()  # of a checkpoint: what it has beside the denoiser
    adapter: AdapterKind | None = None
    quantised: str = ""
    shard: str = ""  # "1 of 3"

    @property
    def is_readable(self) -> bool:
        """Whether its weights can be read as plain numbers: as they are, or out of 8-bit floats."""
        return self.quantised in READABLE

    def words(self) -> str:
        """What it is, as it stands after "this is"."""
        text = self.title
        if self.adapter:
            base = f" for {self.adapter.base}" if self.adapter.base else ""
            many = "" if self.adapter.num_layers == 1 else "s"
            text = f"an adapter ({self.adapter.kind}){base} in {self.adapter.layout} layout, {self.adapter.num_layers} layer{many}"
        if self.quantised:
            text += f", quantised ({self.quantised})"
        return f"{text}, shard {self.shard}" if self.shard else text


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


UNET, CROSS, FLUX = r"^input_blocks\.0\.0\.weight$", r"attn2\.to_k\.weight$", r"^double_blocks\.0\.img_attn\."
FLUX_OURS = r"^single_transformer_blocks\.0\."
LABELS = r"^label_emb\.0\.0\.weight$"
SIGNS = (  # checkpoints; the first that fits. Names without the prefix of a single file's denoiser
    _c("Stable Video Diffusion", UNET, r"time_stack|time_mixer"),
    _c("Stable Diffusion XL refiner", UNET, LABELS, shape=(LABELS, 1, (2560,))),
    _c("Stable Diffusion XL inpainting", UNET, LABELS, shape=(UNET, 1, (9,))),
    _c("Stable Diffusion XL InstructPix2Pix", UNET, LABELS, shape=(UNET, 1, (8,))),
    _c("Stable Diffusion 2.x unCLIP", UNET, LABELS, shape=(CROSS, 1, (1024,))),
    _c("Playground 2.5 (Stable Diffusion XL with another noise schedule)", UNET, r"^edm_mean$"),
    _c("Stable Diffusion XL", UNET, LABELS),
    _c("Stable Diffusion x4 upscaler", UNET, r"^label_emb\.weight$"),
    _c("Stable Diffusion 1.x inpainting", UNET, shape=(UNET, 1, (9,)), lacks=(r"^cond_stage_model\.model\.",)),
    _c("Stable Diffusion 2.x inpainting", UNET, shape=(UNET, 1, (9,))),
    _c("Stable Diffusion 2.x depth", UNET, shape=(UNET, 1, (5,))),
    _c("InstructPix2Pix (Stable Diffusion)", UNET, shape=(UNET, 1, (8,))),
    _c("Stable Diffusion 2.x", UNET, r"^cond_stage_model\.model\."),
    _c("Stable Diffusion 1.x", UNET, r"^cond_stage_model\.transformer\."),
    _c("Stable Diffusion 2.x", UNET, shape=(CROSS, 1, (1024,))),
    _c("Stable Diffusion 1.x", UNET),
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
    _c("Qwen-Image", r"^transformer_blocks\.0\.(img_mod|img_mlp)\."),
    _c("Z-Image", r"^layers\.0\.adaLN_modulation\.0\.weight$|^all_x_embedder\."),
    _c("Lumina 2", r"^(cap_embedder\.0|time_caption_embed)\."),
    _c("Sana", r"\.(mlp\.depth_conv|ff\.conv_depth)\.|^attention_y_norm\."),
    _c("AuraFlow", r"^(double_layers\.0\.attn\.w1q|joint_transformer_blocks\.0)\."),
    _c("HiDream-I1", r"^double_stream_blocks\.0\."),
    _c("Wan", r"^head\.modulation$|^condition_embedder\.time_embedder\."),
    _c("LTX-Video", r"^patchify_proj\.|^scale_shift_table$", r"^(patchify_proj\.|proj_in\.)", lacks=(r"^pos_embed\.",)),
    _c("Mochi 1", r"^blocks\.0\.attn\.qkv_x\."),
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
    _c("DeepFloyd IF", r"^add_embedding\.pool\."),
    _c("Kolors", r"^down_blocks\.0\.", shape=(r"^add_embedding\.linear_1\.weight$", 1, (5632,))),
    _c("Stable Diffusion XL", r"^down_blocks\.0\.", r"^add_embedding\.linear_1\."),
    _c("Stable Diffusion 2.x", r"^down_blocks\.0\.", CROSS, shape=(CROSS, 1, (1024,))),
    _c("Stable Diffusion 1.x", r"^down_blocks\.0\.", r"^mid_block\.", CROSS),
    _c("DDPM (unconditional UNet)", r"^down_blocks\.0\.", r"^mid_block\.", r"^time_embedding\."),
)
DENOISERS = {  # how the tensors of a denoiser begin, in words
    "a UNet": r"^input_blocks\.0\.", "a UNet in diffusers' names": r"^down_blocks\.0\.", "FLUX": r"^double_blocks\.0\.",
    "Stable Diffusion 3": r"^joint_blocks\.0\.", "a transformer in diffusers' names": r"^transformer_blocks\.0\.",
    "an adapter": r"\.(lora_(down|up)|hada_w1_a|lokr_w1|lora_[AB])(\.|$)",
}  # fmt: skip
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
READABLE = {"", "fp8", "scaled fp8"}
INTEGERS = re.compile(r"^[IU](8|16|32)$")  # precisions that no plain weight has
MIN_VECTOR = 8  # numbers of a word's vector
QUANTISED = (
    (r"quant_state\.bitsandbytes__(nf4|fp4)", "bitsandbytes, 4 bits"),
    (r"\.SCB$", "bitsandbytes, 8 bits"),
    (r"\.(qweight|wscales|smooth_factor)$", "4 bits: Nunchaku, GPTQ or AWQ"),
    (r"\.(scale_weight|weight_scale|comfy_quant)$|^scaled_fp8$", "scaled fp8"),
)


def identify(path: Path) -> Kind:
    """What the .safetensors file at `path` is; StudioError if damaged. Read again only when the file has changed."""
    stat = path.stat()
    return _identify(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=2000)
def _identify(path: Path, size: int, time_ns: int) -> Kind:
    return kind_of(read_header(path))


def kind_of(header: Header) -> Kind:
    """What a file with this header is."""
    shard = SHARD.search(header.path.stem)
    more = {"quantised": _quantised(header), "shard": f"{int(shard[1])} of {int(shard[2])}" if shard else ""}
    if found := adapter_kind(header):
        return Kind(ADAPTER, f"an adapter ({found.kind})", adapter=found, **more)
    if sign := _first(OTHERS, header.text, header):
        return Kind(sign.what, sign.title, **more)
    names = DENOISER_PREFIX.sub("", header.text)
    if sign := _first(SIGNS, names, header):
        if len(mixed := [what for what, how in DENOISERS.items() if re.search(how, names, re.MULTILINE)]) > 1:
            return Kind(CHECKPOINT, f"a file of mixed layouts ({' and '.join(mixed)})", **more)
        return Kind(CHECKPOINT, sign.title, _parts(header), **more)
    if sign := _first(VAES, VAE_PREFIX.sub("", header.text), header):
        return Kind(VAE, sign.title, **more)
    if channels := _latent_channels(header):
        return Kind(
            VAE, f"a VAE alone, of {LATENTS[channels]}" if channels in LATENTS else f"a VAE alone, with {channels} latent channels", **more
        )
    if _is_embedding(header):
        return Kind(EMBEDDING, "an embedding (textual inversion)", **more)
    sign = _first(TEXTS, header.text, header)
    return Kind(TEXT, f"{sign.title} alone", **more) if sign else Kind(UNKNOWN, "a file of weights of an unknown kind", **more)


def _first(signs: tuple[Sign, ...], names: str, header: Header) -> Sign | None:
    """The first sign that a file bears; `names` one a line."""

    def search(pattern: str) -> re.Match | None:
        return re.search(pattern, names, re.MULTILINE)

    for sign in signs:
        if all(search(p) for p in sign.has) and not any(search(p) for p in sign.lacks) and _has_shape(sign, header):
            return sign
    return None


def _has_shape(sign: Sign, header: Header) -> bool:
    if sign.shape is None:
        return True
    pattern, axis, sizes = sign.shape
    named = (shape for name, shape in header.shapes.items() if re.search(pattern, DENOISER_PREFIX.sub("", name)))
    return any(len(shape) > axis and shape[axis] in sizes for shape in named)


def _parts(header: Header) -> tuple[str, ...]:
    found = {"VAE": r"^(first_stage_model|vae)\.", "text encoder": TEXT_PARTS}
    return tuple(part for part, pattern in found.items() if re.search(pattern, header.text, re.MULTILINE))


def _latent_channels(header: Header) -> int:
    """What the decoder of an autoencoder alone reads; 0 where the file is none."""
    for name in ("decoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight", "vae.decoder.conv_in.weight"):
        shape = header.shapes.get(name, ())
        if len(shape) in {4, 5}:
            return shape[1]
    return 0


def _is_embedding(header: Header) -> bool:
    """A few small matrices of vectors: `emb_params`, `clip_l` and `clip_g`, or the word itself."""
    small = all(1 <= len(shape) <= 2 and shape[0] <= 8192 and shape[-1] >= MIN_VECTOR for shape in header.shapes.values())
    return 0 < len(header.shapes) <= 3 and small and not any("." in name for name in header.shapes)


def _quantised(header: Header) -> str:
    for pattern, title in QUANTISED:
        if re.search(pattern, header.text, re.MULTILINE):
            return "4 or 8 bits, as ComfyUI packs them" if title == "scaled fp8" and _packed(header) else title
    if any(dtype.startswith("F8") for dtype in header.dtypes.values()):
        return "fp8"
    return "whole numbers" if _packed(header) else ""


def _packed(header: Header) -> bool:
    """Whether weights are stored as integers, several in one or scaled by blocks."""
    return any(name.endswith(".weight") and INTEGERS.match(dtype) and len(header.shapes[name]) > 1 for name, dtype in header.dtypes.items())


def refuse_other(path: Path) -> None:
    """StudioError, saying what it is and the way out, for a file that is no base model; nothing where it may be one."""
    kind = identify(path)
    if kind.shard:
        raise StudioError(f"{path}: this is {kind.words()}: give the folder that all shards of the model lie in")
    if "mixed layouts" in kind.title:
        raise StudioError(f"{path}: this is {kind.words()}: use another copy of the model")
    if kind.what == CHECKPOINT and NOT_PLAIN.search(kind.title):
        raise StudioError(f"{path}: this is {kind.words()}, which reads more than text and noise: use its plain version")
    if kind.what == CHECKPOINT and not kind.is_readable:
        raise StudioError(
            f"{path}: this is {kind.words()}, which is for drawing and cannot be trained on: fetch its bf16, fp16 or fp8 version"
        )
    if kind.what not in {CHECKPOINT, UNKNOWN}:
        raise StudioError(f"{path}: this is {kind.words()}, not a base model: {WAY_OUT[kind.what]}")


HAS_FAMILY = re.compile(r"Stable Diffusion (1|2|XL|3)|FLUX\.[12]|(Chroma|Qwen-Image)$|Z-Image|Sana|PixArt|DDPM")  # titles that are read
NOT_PLAIN = re.compile(r"inpainting|depth|Pix2Pix|upscaler|unCLIP|Control")
WAY_OUT = {
    ADAPTER: "give the base model that it was made for, then drop it on Compare or continue it with --from",
    EMBEDDING: "give the base model that it was made for, then drop it on Compare",
    VAE: "give a whole model, or its transformer's file, which finds this part near it by itself",
    TEXT: "give a whole model, or its transformer's file, which finds this part near it by itself",
    CONTROL: "it steers a base model that lies elsewhere: give the one it steers",
    OTHER: "it draws nothing by itself: give a whole model",
}
