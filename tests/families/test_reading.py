"""What a base reads of a caption is told without its weights just as it is with them."""

import subprocess
import sys

import pytest
import torch

from studio import registry
from studio.errors import StudioError
from studio.families.reading import cut, open_reader
from tests.fixtures import tiny_files
from tests.fixtures.families import FAMILIES

WORDS = "an axial slice of the upper brain, T1, ü “quoted” (very) long " * 200
TEXTS = ("", "a tree", " two  blanks ", WORDS[:200], WORDS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(name):
        if name not in made:
            made[name] = FAMILIES[name].make(tmp_path_factory.mktemp("models") / name)
        return made[name]

    return folder


@pytest.mark.parametrize("name", [name for name in FAMILIES if registry.family(name).card.text])
def test_a_reader_counts_as_the_loaded_base_does(name, folders):
    family = registry.family(name)
    parts, reader = family.load(folders(name), torch.float32, torch.device("cpu")), open_reader(family, folders(name))
    assert reader.limit == family.num_tokens(parts, "")[1] > 1
    for text in TEXTS:
        assert family.num_tokens(reader.parts, text) == family.num_tokens(parts, text)
        read, rest = cut(family, parts, text)
        assert reader.end(text) == (len(read) if rest else None)
    end = reader.end(WORDS)
    assert 0 < end < len(WORDS) and family.num_tokens(parts, WORDS[:end])[0] <= reader.limit


def test_no_torch_is_imported_for_it_and_a_checkpoint_file_reads_with_clip(folders, tmp_path):
    lines = (
        "import sys; from pathlib import Path; from studio import registry; from studio.families.reading import open_reader",
        "for key, path in zip(sys.argv[1::2], sys.argv[2::2]): print(open_reader(registry.family(key), Path(path)).end('tree ' * 400))",
        "assert 'torch' not in sys.modules",
    )
    file = tmp_path / "model.safetensors"  # which is not opened
    named = [word for name in ("sd", "sdxl", "flux", "z_image") for word in (name, str(folders(name)))]
    command = [sys.executable, "-c", "\n".join(lines), *named, "sd", str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split()[-1] == str(len("tree ") * 75 - 1) and "None" not in said.stdout.split()[:4], said.stdout


@pytest.mark.parametrize("name", ["flux dev", "z_image"])
def test_a_file_and_its_pieces_are_read_by_the_bundled_tokenizers(tmp_path, name):
    from studio.models.bases import find_base

    folder = tiny_files.save(name, tmp_path / "folder" / "model")
    whole, several = (
        tiny_files.as_one_file(name, folder, tmp_path / "model.safetensors"),
        tiny_files.as_files(name, folder, tmp_path / "models"),
    )
    for file in (whole, several):
        base = find_base(str(file))
        reader = open_reader(registry.family(base.family), base.path)
        of_folder = open_reader(registry.family(base.family), folder)
        assert (reader.limit, reader.end(WORDS)) == (of_folder.limit, of_folder.end(WORDS)) and reader.limit == 512


def test_a_base_without_a_readable_tokenizer_says_which_file(folders, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline", "tokenizer": ["transformers", "Strange"]}')
    with pytest.raises(StudioError, match="tokenizer is a Strange, which is not known here"):
        open_reader(registry.family("sd"), folder)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline", "tokenizer": ["transformers", "CLIPTokenizer"]}')
    with pytest.raises(StudioError, match="folder tokenizer is missing"):
        open_reader(registry.family("sd"), folder)
