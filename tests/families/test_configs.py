"""The bundled configurations and tokenizer are those of the published models, and need no network."""

import pytest

from studio.families import bundled
from studio.families.bundled import CONFIGS
from studio.families.timesteps import shift_of


@pytest.mark.parametrize(
    ("name", "caption", "ids"),
    [
        ("sd15", "a photo of a cat", [49406, 320, 1125, 539, 320, 2368, 49407]),
        ("sd21", "a photo of a cat", [49406, 320, 1125, 539, 320, 2368, 49407]),
        ("sd15", "Hello, world!", [49406, 3306, 267, 1002, 256, 49407]),
    ],
)
def test_the_bundled_tokenizer_gives_clips_ids(no_network, name, caption, ids):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(CONFIGS / name / "tokenizer", local_files_only=True)
    assert tokenizer(caption).input_ids == ids
    padded = tokenizer(caption, padding="max_length", max_length=len(ids) + 2).input_ids
    assert padded[len(ids) :] == [0, 0] if name == "sd21" else [49407, 49407]
    assert (len(tokenizer), tokenizer.model_max_length) == (49408, 77)


@pytest.mark.parametrize(("name", "width", "layers"), [("sd15", 768, 12), ("sd21", 1024, 23)])
def test_the_bundled_configurations_build_the_published_sizes(name, width, layers):
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = CONFIGS / name
    assert DiffusionPipeline.load_config(folder, local_files_only=True)["_class_name"] == "StableDiffusionPipeline"
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae"))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
    assert (text.config.hidden_size, text.config.num_hidden_layers) == (width, layers)
    counts = [sum(p.numel() for p in module.parameters()) for module in (unet, vae, text)]
    published = {"sd15": [859_520_964, 83_653_863, 123_060_480], "sd21": [865_910_724, 83_653_863, 340_387_840]}
    assert counts == published[name]


@pytest.mark.parametrize(
    ("kind", "caption", "ids"),
    [
        ("t5", "translate English to German: That is good.", [13959, 1566, 12, 2968, 10, 466, 19, 207, 5, 1]),
        ("t5", "Hello world", [8774, 296, 1]),
        ("t5", "", [1]),
        ("qwen", "Hello world", [9707, 1879]),
        ("qwen", "<|im_start|>user\n<|im_end|><think></think>", [151644, 872, 198, 151645, 151667, 151668]),
        ("qwen", "<|endoftext|><|vision_start|><|image_pad|>", [151643, 151652, 151655]),
    ],
)
def test_the_bundled_tokenizers_give_the_published_ids(no_network, kind, caption, ids):
    assert bundled.TOKENIZERS[kind]()(caption).input_ids == ids


@pytest.mark.parametrize("kind", bundled.TOKENIZERS)
def test_a_bundled_tokenizer_is_read_once(no_network, kind):
    tokenizer = bundled.TOKENIZERS[kind]()
    assert tokenizer is bundled.TOKENIZERS[kind]()
    own = list(bundled.TOKENIZERS).index(kind)
    others = [bundled.TOKENIZERS[k]() for k in bundled.TOKENIZERS]
    assert [t is tokenizer for t in others] == [i == own for i in range(len(others))]


def test_the_bundled_tokenizers_know_the_published_tokens(no_network):
    t5, qwen = bundled.t5_tokenizer(), bundled.qwen_tokenizer()
    assert (len(t5), t5.pad_token_id, t5.eos_token_id, t5.unk_token_id) == (32_100, 0, 1, 2)
    assert t5.convert_tokens_to_ids("<extra_id_0>") == 32_099
    assert (len(qwen), qwen.pad_token_id) == (151_669, 151_643)
    for text in ("Žluťoučký kůň 日本語 🐱 1234\n\tdef f():", "a  b"):
        assert qwen.decode(qwen(text).input_ids) == text
    told = qwen.apply_chat_template(
        [{"role": "user", "content": "a cat"}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert told == "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


PUBLISHED = {  # numbers of the transformer and of the autoencoder
    "flux": (11_901_408_320, 83_819_683), "flux_schnell": (11_891_178_560, 83_819_683), "chroma": (8_899_983_424, 83_819_683),
    "sd3": (2_028_328_000, 83_819_683), "z_image": (6_154_908_736, 83_819_683), "flux2": (3_875_544_576, 84_046_115),
    "qwen_image": (20_430_401_088, 126_892_531), "pixart": (610_856_096, 83_653_863),
}  # fmt: skip


def test_transformers_and_autoencoders_are_of_the_published_sizes():
    import diffusers
    from accelerate import init_empty_weights

    for name, numbers in PUBLISHED.items():
        configs = [bundled.read(CONFIGS / name, f"{part}/config.json") for part in ("transformer", "vae")]
        with init_empty_weights():
            modules = [getattr(diffusers, config["_class_name"]).from_config(config) for config in configs]
        assert tuple(sum(p.numel() for p in module.parameters()) for module in modules) == numbers, name


def test_language_models_are_of_the_published_sizes():
    from accelerate import init_empty_weights
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen3Config, Qwen3ForCausalLM, T5Config, T5EncoderModel

    with init_empty_weights():
        t5 = T5EncoderModel(T5Config(**bundled.read(CONFIGS, "t5/config.json")))
        qwen3 = Qwen3ForCausalLM(Qwen3Config(**bundled.read(CONFIGS, "qwen3/config.json")))
        eyes = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**bundled.read(CONFIGS, "qwen_vl/config.json")))
    for module in (t5, qwen3):
        module.tie_weights()
    counts = [sum(p.numel() for p in module.parameters()) for module in (t5, qwen3, eyes)]
    assert counts == [4_762_310_656, 4_022_468_096, 8_292_166_656]


SHIFTS = {  # of noise levels for 512 and 1024 px, as each is drawn by the programs that people use it with
    "flux": (1.88, 3.16), "flux_schnell": (1.0, 1.0), "sd3": (3.0, 3.0), "qwen_image": (1.71, 2.0),
    "chroma": (3.0, 3.0), "chroma_base": (1.0, 1.0), "chroma_flash": (1.0, 1.0), "z_image": (3.0, 3.0), "z_image_base": (6.0, 6.0),
}  # fmt: skip


def test_noise_schedules_shift_as_the_published_ones():
    for name, shifts in SHIFTS.items():
        config = bundled.read(CONFIGS / name, "scheduler/scheduler_config.json")
        assert config["num_train_timesteps"] == 1000
        found = tuple(shift_of(config, (px // 16) ** 2) for px in (512, 1024))
        assert found == pytest.approx(shifts, abs=0.01), name
