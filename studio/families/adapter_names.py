"""Adapter files by their names alone: which tensors belong together, whose layout it is, and which base model it was made for."""

import re
from dataclasses import dataclass

from studio.families.header import Header

ENDS = {  # what follows a layer's name in an adapter file -> kind
    r"\.lora_(?:A|B|down|up)(?:\.[\w-]+)?\.weight": "LoRA",
    r"\.lora_(?:A|B)(?:\.(?!bias$)[\w-]*)?": "LoRA",
    r"\.lora_B(?:\.[\w-]+)?\.bias": "biases",
    r"\.lora_linear_layer\.(?:down|up)\.weight": "LoRA",
    r"\.lora\.(?:down|up)\.weight": "LoRA",
    r"_lora\.(?:down|up)\.weight": "LoRA",
    r"\.lora_mid\.weight": "LoRA",
    r"\.hada_(?:w[12]_[ab]|t[12])": "LoHa",
    r"\.lokr_(?:w[12](?:_[ab])?|t2)": "LoKr",
    r"\.oft_(?:blocks|diag|R)(?:\.\w+)?(?:\.weight)?": "OFT",
    r"\.(?:a1|a2|b1|b2)\.weight": "GLoRA",
    r"\.boft_[Rs](?:\.\w+)?": "BOFT",
    r"\.(?:on_input|ia3_l(?:\.\w+)?)": "IA3",
    r"\.vera_lambda_[bd](?:\.\w+)?": "VeRA",
    r"\.(?:diff|diff_b|w_norm|b_norm)": "full difference",
}
PLAIN = (  # one part as several programs spell it, PEFT's with the name of the adapter in it -> as it is called here
    (re.compile(r"^\.(lora_[AB])(\.(?!bias$)[\w-]*)?(\.weight)?$"), r".\1.weight"),
    (re.compile(r"^\.lora_B(\.[\w-]+)?\.bias$"), ".lora_B.bias"),
    (re.compile(r"^\.(lora_down|lora_up)\.[\w-]+\.weight$"), r".\1.weight"),
    (re.compile(r"^\.lora_linear_layer\."), ".lora."),
)
XLABS = re.compile(r"\.processor\.(qkv|proj)_lora(\d?)\.(down|up)\.weight$")  # two layers at one place, told by the number
ALSO = re.compile(r"\.(alpha|dora_scale|bias)$|\.lora_magnitude_vector(\.\w+)*$")
END = {re.compile(rf"(?:{end})$"): kind for end, kind in ENDS.items()}
LAYOUTS = (  # (whose, how its names begin or end); the first that is found
    ("xlabs", r"\.processor\.\w+_lora\d\.(down|up)\."),
    ("diffusers of 2023", r"\.processor\.|[._]lora\.(down|up)\.|\.lora_linear_layer\."),
    ("LyCORIS", r"^lycoris_"),
    ("OneTrainer", r"^lora_(transformer|prior_unet)_"),
    ("LyCORIS", r"^lora_\w+\.(hada_w|lokr_|oft_|on_input|a1|diff)"),
    ("kohya", r"^lora_(unet|te\d?)_"),
    ("PEFT", r"^base_model\.model\."),
    ("ai-toolkit", r"^diffusion_model\."),
    ("diffusers", r"^(transformer|unet|text_encoder(_\d)?|prior|denoiser)\."),
    ("PEFT", r"\.lora_[AB]\."),
)
WEIGHED = r"\.(dora_scale|lora_magnitude_vector(\.\w+)*)$"  # magnitudes of DoRA (Liu 2024), beside the factors of any kind
IMAGE_PROMPT = r"^(ip_adapter|image_proj)\."  # of faces, beside which layers of a LoRA lie
PREFIX = re.compile(
    r"^(?:lycoris_|lora_(?:unet|transformer|prior_unet)_|base_model_model_|transformer_(?!blocks)|unet_|(?:model_)?diffusion_model_|module_)+"
)
TEXT_PREFIX = re.compile(r"^(?:lora_te\d?|text_encoders?(?:_\d)?)[._]")
UNET_TEXT_WIDTHS = {
    768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "Stable Diffusion XL", 1280: "the Stable Diffusion XL refiner",
}  # fmt: skip
SDXL_ONLY = r"(_blocks_\d_1|_attentions_\d|^middle_block_1)_transformer_blocks_[1-9]"
BASES = (  # (base, what its layers are called with underscores); the first that is found
    ("AuraFlow", r"^(joint|single)_transformer_blocks_\d+_(attn|ff)_\w*(linear|add_)|^joint_transformer_blocks_|^double_layers_\d+_"),
    ("HiDream-I1", r"^(double|single)_stream_blocks_\d+_"),
    ("FLUX.2", r"attn_to_qkv_mlp_proj|double_stream_modulation|single_stream_modulation"),
    ("Chroma", r"^distilled_guidance_layer"),
    ("HunyuanVideo", r"txt_in_individual_token_refiner|token_refiner_refiner"),
    ("FLUX.1", r"^double_blocks_\d+_|^single_blocks_\d+_|^single_transformer_blocks_\d+_"),
    ("Stable Diffusion 3", r"^joint_blocks_\d+_"),
    ("Qwen-Image", r"^transformer_blocks_\d+_(img_mlp|txt_mlp|img_mod|txt_mod)|^transformer_blocks_(2[4-9]|[345]\d)_attn_add_q_proj"),
    ("AnimateDiff", r"_motion_modules_"),
    ("Wan", r"^blocks_\d+_(self_attn|cross_attn)_(q|k|v|o)(_img)?$|condition_embedder"),
    ("PixArt", r"^blocks_\d+_(cross_attn_kv_linear|attn_qkv)"),
    ("Kandinsky 5", r"^visual_transformer_blocks_"),
    ("Stable Cascade", r"^(down|up)_blocks_\d_\d+_attention_"),
    ("Stable Diffusion XL", SDXL_ONLY),
)


@dataclass(frozen=True)
class AdapterKind:
    """What an adapter file is."""

    kind: str  # LoRA, LoHa, …
    layout: str  # whose names
    base: str  # the base model it was made for, in words; empty where its names do not say
    num_layers: int


def split_end(name: str) -> tuple[str, str, str]:
    """(layer, what follows it, kind of adapter) of a tensor's name; kind empty where it is no tensor of an adapter."""
    name = XLABS.sub(r".processor.\1\2.lora_\3.weight", name)
    for end, kind in END.items():
        if found := end.search(name):
            return name[: found.start()], _plain(name[found.start() :]), kind
    if found := ALSO.search(name):
        return name[: found.start()], name[found.start() :], ""
    return name, "", ""


def _plain(end: str) -> str:
    for spelled, plain in PLAIN:
        end = spelled.sub(plain, end)
    return end


def adapter_kind(header: Header) -> AdapterKind | None:
    """What adapter a file holds, by its header; None where it holds none."""
    layers: dict[str, str] = {}
    for name in header.shapes:
        layer, _, kind = split_end(name)
        if kind:
            layers.setdefault(layer, kind)
    if not layers or _mostly_other(header, layers) or re.search(IMAGE_PROMPT, header.text, re.MULTILINE):
        return None
    layout = next((whose for whose, how in LAYOUTS if re.search(how, header.text, re.MULTILINE)), "unknown")
    kinds = list(dict.fromkeys(layers.values()))
    if re.search(WEIGHED, header.text, re.MULTILINE):
        kinds = ["DoRA" if kind == "LoRA" else kind for kind in kinds] if "LoRA" in kinds else [*kinds, "DoRA"]
    plain = Header(header.path, {"".join(split_end(name)[:2]): shape for name, shape in header.shapes.items()}, header.metadata)
    return AdapterKind("/".join(kinds), layout, _base(plain, layers), len(layers))


def _mostly_other(header: Header, layers: dict[str, str]) -> bool:
    """Whether most tensors belong to no layer of an adapter, as where a whole model merely has a layer of such a name."""
    return sum(split_end(name)[0] in layers for name in header.shapes) * 2 < len(header.shapes)


def bare(layer: str) -> str:
    """A denoiser layer's name with underscores and without what programs put before it."""
    return PREFIX.sub("", layer.replace(".", "_"))


def _base(header: Header, layers: dict[str, str]) -> str:
    names = [bare(layer) for layer in layers if not TEXT_PREFIX.match(layer)]
    text = "\n".join(names)
    has_second = re.search(r"^(lora_te2|text_encoder_2)[._]", header.text, re.MULTILINE)
    if has_second and (not names or re.search(r"^\w+put_blocks|_blocks_\d_att", text)):
        return "Stable Diffusion XL"
    found = next((base for base, how in BASES if re.search(how, text, re.MULTILINE)), "")
    widths = {in_width(header, layer) for layer in layers if layer.endswith(("attn2.to_k", "attn2_to_k", "attn2.processor.to_k"))}
    if found == "Stable Diffusion XL" and widths == {1280}:
        return UNET_TEXT_WIDTHS[1280]
    if found:
        is_wide = any(in_width(header, layer) in {4096, 6144} for layer in layers if "img_attn" in layer or "to_q" in layer)
        return "FLUX.2" if found == "FLUX.1" and is_wide else found
    if re.search(r"_attentions_\d_|^(input|output)_blocks_|^middle_block_|^mid_block_", text, re.MULTILINE):
        return next((UNET_TEXT_WIDTHS[w] for w in widths if w in UNET_TEXT_WIDTHS), "Stable Diffusion")
    return _by_width(header, layers, text) or _by_text_encoder(header)


def _by_width(header: Header, layers: dict[str, str], text: str) -> str:
    """Transformers whose names are alike, by the width of their attention."""
    widths = {
        in_width(header, layer) for layer in layers if re.search(r"attn[12]?[._](to_[qk]|add_q_proj)$|attention[._](to_q|qkv)$", layer)
    }
    if re.search(r"^(layers|noise_refiner|context_refiner)_\d+_(attention|feed_forward)_", text, re.MULTILINE):
        return "Lumina 2" if 2304 in widths else "Z-Image"
    if re.search(r"^transformer_blocks_\d+_attn_add_q_proj", text, re.MULTILINE):
        if 3072 in widths:
            return "FLUX.1" if "_ff_context_" in text else "Qwen-Image"
        return "Stable Diffusion 3"
    if re.search(r"^transformer_blocks_\d+_attn[12]_", text, re.MULTILINE):
        known = {1152: "PixArt or Sana", 2240: "Sana", 2048: "LTX-Video", 4096: "CogView4"}
        return next((known[w] for w in widths if w in known), "PixArt or Sana")
    return ""


def _by_text_encoder(header: Header) -> str:
    widths = {in_width(header, split_end(n)[0]) for n in header.shapes if TEXT_PREFIX.match(n) and "q_proj" in n}
    return next((UNET_TEXT_WIDTHS[w] for w in widths if w in {768, 1024}), "")


def in_width(header: Header, layer: str) -> int:
    """How wide the inputs of a layer are, by the shapes of its adapter; 0 where they do not say."""
    for end in (".lora_down.weight", ".lora_A.weight", "_lora.down.weight", ".lora.down.weight", ".hada_w1_b"):
        if shape := header.shapes.get(layer + end):
            return shape[1] if len(shape) > 1 else 0
    first, second = (header.shapes.get(f"{layer}.lokr_{w}") or header.shapes.get(f"{layer}.lokr_{w}_b") for w in ("w1", "w2"))
    return first[1] * second[1] if first and second and min(len(first), len(second)) > 1 else 0
