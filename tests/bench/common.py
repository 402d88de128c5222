"""What the benchmarks share: the model and the pictures they are about, interleaved timing, one line of figures.

They compute on the CPU with all its cores; OMP_NUM_THREADS=1 in the environment takes one.
"""

import argparse
import http.client
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from studio import quiet

quiet.silence()  # before the libraries are imported

ROOT = Path(__file__).resolve().parents[2]
UNET_PARAMETERS = (8_000_000, 10_000_000)


def parser(about: str, rounds: int) -> argparse.ArgumentParser:
    """A command line with --rounds; `about` is the docstring of the script."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=_positive, default=rounds, metavar="N", help=f"measured rounds (default {rounds})")
    return made


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


@dataclass
class Timing:
    """Seconds of every way, one value per round: on the clock, and of processor time over all threads."""

    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def seconds(self, way: str) -> float:
        """The median of a way on the clock."""
        return statistics.median(self.wall[way])

    def cpu_seconds(self, way: str) -> float:
        """The median of a way in processor time."""
        return statistics.median(self.cpu[way])

    def ratio(self, slow: str, fast: str) -> float:
        """How many times longer `slow` takes: median of the rounds' quotients, so that other load of the machine cancels."""
        return _ratio(self.wall, slow, fast)

    def cpu_ratio(self, slow: str, fast: str) -> float:
        """The same of processor time, which other load changes least."""
        return _ratio(self.cpu, slow, fast)


def _ratio(seconds: Mapping[str, list[float]], slow: str, fast: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int) -> Timing:
    """Time the ways in rounds A B C, A B C, …; one round before them warms up and is not counted."""
    timing = Timing({name: [] for name in ways}, {name: [] for name in ways})
    for number in range(rounds + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if number:
                timing.wall[name].append(wall)
                timing.cpu[name].append(cpu)
    return timing


def report(**figures: object) -> None:
    """Print the figures as one JSON line, rounded to four digits behind the point."""
    print(json.dumps({name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}))


def small_sd(folder: Path) -> Path:
    """Save the model the figures are about: the topology of Stable Diffusion 1.5, narrow, with random weights.

    UNet 32/64/128/128 (about 9 M parameters), VAE 16/32/64/64, text encoder 12 layers of 96; 32x32 latents from 256 px.
    """
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from tests.fixtures.tiny import CLIP_VOCABULARY, CONFIGS, NOISE

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(CONFIGS / "sd15" / "tokenizer", local_files_only=True)
    marks = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 12, "num_attention_heads": 4}
    vae = {"block_out_channels": (16, 32, 64, 64), "layers_per_block": 2, "norm_num_groups": 16, "latent_channels": 4, "sample_size": 256}
    sides = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    unet = UNet2DConditionModel(
        sample_size=32, block_out_channels=(32, 64, 128, 128), attention_head_dim=4, cross_attention_dim=text["hidden_size"]
    )
    low, high = UNET_PARAMETERS
    assert low < num_parameters(unet) < high, f"the UNet has {num_parameters(unet)} parameters"
    StableDiffusionPipeline(
        unet=unet,
        vae=AutoencoderKL(**vae, **sides),
        text_encoder=CLIPTextModel(CLIPTextConfig(vocab_size=CLIP_VOCABULARY, **text, **marks)).eval(),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(**NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def num_threads() -> int:
    """How many threads torch computes with."""
    import torch

    return torch.get_num_threads()


def num_parameters(module: Any) -> int:
    """How many parameters a module has."""
    return sum(p.numel() for p in module.parameters())


def load(base: Path) -> Any:
    """The parts of a base model, fp32 on the CPU."""
    import torch

    from studio.families import sd

    return sd.load(base, torch.float32, torch.device("cpu"))


def pictures(folder: Path, n: int = 40, size_px: int = 256) -> Path:
    """A folder of `n` different pictures with captions."""
    from tests.fixtures.tiny import images

    return images(folder, n, size_px)


def picture_dataset(workspace: Any, folder: Path) -> tuple[Any, Path]:
    """A dataset of the pictures that are made in `folder`, and the folder."""
    from studio.dataset.intake import create_dataset

    return create_dataset(workspace, "shapes", [pictures(folder)]), folder


def spec_with(dataset: Any, base: Path, *settings: str) -> Any:
    """The spec that training `dataset` on `base` has by default, with `settings` (key=value) on top."""
    from studio.models.bases import find_base
    from studio.recipes import Choice, resolve

    return resolve(Choice(dataset, find_base(str(base)), settings=list(settings)))


def ask(path: str, port: int, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes, float]:
    """(status, body, seconds) of one request on a connection of its own."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        kind = {"Content-Type": "application/json"} if body and body[:1] in b"{[" else {}
        connection.request(method, path, body, kind)
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, data, time.perf_counter() - began
    finally:
        connection.close()


class Client:
    """Requests to one studio."""

    def __init__(self, studio: Any) -> None:
        self.port = int(studio.url.rpartition(":")[2])

    def json(self, path: str, method: str = "GET", value: Any = None) -> Any:
        status, data, _ = ask(path, self.port, method, None if value is None else json.dumps(value).encode())
        assert status < 400, (path, status, data[:300])
        return json.loads(data)

    def seconds(self, path: str) -> float:
        status, data, seconds = ask(path, self.port)
        assert status < 400, (path, status, data[:300])
        return seconds
