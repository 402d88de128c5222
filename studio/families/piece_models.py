"""Encoders and autoencoders made of a file's tensors: the published configuration with the sizes that the tensors' shapes tell."""

import re
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError, first_line
from studio.families.kl_file import kl_config, kl_state
from studio.families.pieces import Piece
from studio.families.single_file import TEXT_PARTS, clip_sizes
from studio.families.tensors import fill, read_tensors

if TYPE_CHECKING:
    from torch import nn

    from studio.families.tensors import State


def make(piece: Piece, config: dict, cls: Any, dtype: Any) -> "nn.Module":
    """The module of this class, of the published configuration; StudioError unless every tensor is there and fits."""
    import torch

    try:
        module = MAKERS[piece.kind](piece, config, cls, dtype)
    except StudioError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError) as error:  # shapes that no model of this kind has
        raise StudioError(
            f"{piece.path}: no {cls.__name__} can be made of its tensors ({type(error).__name__}: {first_line(error)}): fetch it again"
        ) from error
    kept = set(getattr(module, "_keep_in_fp32_modules", None) or ()) if dtype == torch.float16 else set()
    for name, part in module.named_modules():
        if name.rpartition(".")[2] in kept:  # what T5 computes there is too large for fp16
            part.float()
    return module


def _own(piece: Piece, dtype: Any) -> "State":
    """The piece's tensors by what stands behind its root."""
    return {name.removeprefix(piece.root): value for name, value in read_tensors(piece.path, piece.root, dtype).items()}


def _clip(piece: Piece, config: dict, cls: Any, dtype: Any) -> "nn.Module":
    """A CLIP text encoder. Of OpenAI's the projection is not used: where the class has one, it changes nothing (Stable Diffusion 3)."""
    import torch
    from transformers import CLIPTextConfig

    projects, is_openai = cls.__name__.endswith("Projection"), config["hidden_act"] == "quick_gelu"
    config, state = config | clip_sizes(piece.header, piece.root, config), {}
    for name, value in _own(piece, dtype).items():
        plain = name.removeprefix("text_model.")
        if plain.startswith(TEXT_PARTS) and not plain.endswith("position_ids"):
            state[f"text_model.{plain}" if projects else plain] = value
        elif plain == "text_projection.weight" and projects:
            state[plain] = value
    if projects and is_openai:
        state["text_projection.weight"] = torch.eye(piece.width, dtype=dtype)
    if "text_projection.weight" in state:
        config["projection_dim"] = state["text_projection.weight"].shape[0]
    return fill(piece.path, "text encoder", lambda: cls(CLIPTextConfig(**config)), state)


def _t5(piece: Piece, config: dict, cls: Any, dtype: Any) -> "nn.Module":
    from transformers import T5Config

    header, root = piece.header, piece.root + "encoder.block."
    attention = root + "0.layer.0.SelfAttention."
    heads = header.shape(attention + "relative_attention_bias.weight")[1]
    gated = root + "0.layer.1.DenseReluDense.wi_0.weight"
    state = {name: value for name, value in _own(piece, dtype).items() if name.startswith(("shared.", "encoder."))}
    tokens = state.get("shared.weight", state.get("encoder.embed_tokens.weight"))
    state |= {"shared.weight": tokens, "encoder.embed_tokens.weight": tokens}
    config |= {
        "d_model": piece.width,
        "num_layers": header.count(root),
        "num_heads": heads,
        "d_kv": header.shape(attention + "q.weight")[0] // heads,
        "d_ff": header.shape(gated if gated in header.shapes else root + "0.layer.1.DenseReluDense.wi.weight")[0],
        "feed_forward_proj": "gated-gelu" if gated in header.shapes else "relu",
        "vocab_size": tokens.shape[0],
    }
    return _tied(fill(piece.path, "text encoder", lambda: cls(T5Config(**config)), state))


def _tied(model: "nn.Module") -> "nn.Module":
    """The same with tables that are one thing as one tensor."""
    model.tie_weights()
    return model


def _qwen3(piece: Piece, config: dict, cls: Any, dtype: Any) -> "nn.Module":
    """Qwen3, with the head that predicts tokens, or, as files may come without, tied to its table, or without one."""
    from transformers import Qwen3Config

    state = _own(piece, dtype)
    is_causal = cls.__name__.endswith("CausalLM")
    plain = {name.removeprefix("model."): value for name, value in state.items() if not name.startswith("lm_head.")}
    config |= _decoder_sizes(plain, plain["layers.0.self_attn.q_norm.weight"].shape[0])
    config["tie_word_embeddings"] = "lm_head.weight" not in state
    if is_causal:
        head = state.get("lm_head.weight", plain["embed_tokens.weight"])
        plain = {f"model.{name}": value for name, value in plain.items()} | {"lm_head.weight": head}
    return _tied(fill(piece.path, "text encoder", lambda: cls(Qwen3Config(**config)), plain))


def _decoder_sizes(state: "State", head_width: int) -> dict:
    """The sizes of a language model by its tensors."""
    attention, tokens = "layers.0.self_attn.", state["embed_tokens.weight"]
    return {
        "vocab_size": tokens.shape[0],
        "hidden_size": tokens.shape[1],
        "head_dim": head_width,
        "num_attention_heads": state[attention + "q_proj.weight"].shape[0] // head_width,
        "num_key_value_heads": state[attention + "k_proj.weight"].shape[0] // head_width,
        "num_hidden_layers": 1 + max(int(found[1]) for name in state if (found := re.match(r"layers\.(\d{1,3})\.", name))),
        "intermediate_size": state["layers.0.mlp.gate_proj.weight"].shape[0],
    }


def _qwen_vl(piece: Piece, config: dict, cls: Any, dtype: Any) -> "nn.Module":
    from transformers import Qwen2_5_VLConfig

    state = {}
    for name, value in _own(piece, dtype).items():
        rest = name.removeprefix("model.").removeprefix("language_model.")
        place = "" if rest.startswith("lm_head.") else "model." if rest.startswith("visual.") else "model.language_model."
        state[place + rest] = value
    text = {n.removeprefix("model.language_model."): v for n, v in state.items() if n.startswith("model.language_model.")}
    eyes = {n.removeprefix("model.visual."): v for n, v in state.items() if n.startswith("model.visual.")}
    state.setdefault("lm_head.weight", text["embed_tokens.weight"])
    sizes = _decoder_sizes(text, config["text_config"]["hidden_size"] // config["text_config"]["num_attention_heads"])
    config["text_config"] |= {key: value for key, value in sizes.items() if key != "head_dim"}
    config["vision_config"] |= {
        "depth": 1 + max(int(found[1]) for name in eyes if (found := re.match(r"blocks\.(\d{1,3})\.", name))),
        "hidden_size": eyes["patch_embed.proj.weight"].shape[0],
        "intermediate_size": eyes["blocks.0.mlp.gate_proj.weight"].shape[0],
        "out_hidden_size": eyes["merger.mlp.2.weight"].shape[0],
    }
    return fill(piece.path, "text encoder", lambda: cls(Qwen2_5_VLConfig(**config)), state)


def _kl(piece: Piece, config: dict, cls: Any, dtype: Any) -> "nn.Module":
    """A KL autoencoder, in the original names or in diffusers'."""
    import torch

    config = kl_config(piece.header, piece.root, config)
    state = _own(piece, dtype)
    ours = kl_state(state, config)
    if "bn.running_mean" in state:
        numbers = {f"bn.{name}": state[f"bn.{name}"] for name in ("running_mean", "running_var")}
        ours = ours | numbers | {"bn.num_batches_tracked": torch.tensor(0)}
    return fill(piece.path, "VAE", lambda: cls.from_config(config), ours)


def _qwen_vae(piece: Piece, config: dict, cls: Any, dtype: Any) -> "nn.Module":
    """The autoencoder of Qwen-Image, in Wan's names or in diffusers'."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    state = _own(piece, dtype)
    ours = state if "decoder.conv_in.weight" in state else convert_wan_vae_to_diffusers(state)
    config |= {"base_dim": ours["encoder.conv_in.weight"].shape[0], "z_dim": piece.width}
    return fill(piece.path, "VAE", lambda: cls.from_config(config), ours)


MAKERS = {"clip": _clip, "t5": _t5, "qwen3": _qwen3, "qwen_vl": _qwen_vl, "kl": _kl, "kl_flux2": _kl, "qwen_vae": _qwen_vae}
