"""Captioners from folders: each class, tiny and with random weights, really generates; what cannot be used is one line."""

import json
import os
import shutil

import pytest
from PIL import Image

from studio import registry
from studio.dataset.captioners import generate, loading, places, tagger
from studio.dataset.captioners.answers import cut, tidy
from studio.dataset.captioners.base import Ask
from studio.dataset.captioners.folder import open_folder
from studio.dataset.captioners.prompts import DEFAULT_PROMPT, PROMPTS
from studio.errors import StudioError
from tests.fixtures.more_captioners import MORE, idefics3
from tests.fixtures.tiny_captioners import LETTERS, MAKERS, TAG_TABLE, WORDS, qwen_vl

SHORT = Ask(max_tokens=6)
WRITERS = [key for key in (*MAKERS, *MORE) if key != "tagger"]
IS_OF = {"llava_next": "llava"}  # folders by another name than their captioner's


@pytest.fixture(scope="module")
def pictures():
    return [Image.new("RGB", (40, 30), "red"), Image.effect_noise((30, 50), 90).convert("RGB"), Image.new("RGB", (20, 20), "navy")]


@pytest.fixture(scope="module")
def loaded(captioner_folders, tmp_path_factory):
    """Each captioner with its weights in memory, loaded once."""
    kept, root = {}, tmp_path_factory.mktemp("more")

    def load(key):
        if key not in kept:
            folder = captioner_folders[key] if key in MAKERS else MORE[key](root / key)
            found, module = open_folder(folder)
            assert found == IS_OF.get(key, key)
            kept[key] = module.load(folder)
        return kept[key]

    return load


@pytest.mark.parametrize("key", [*MAKERS, *MORE])
def test_each_class_generates_from_a_folder(loaded, pictures, key):
    said = loaded(key).caption(pictures, SHORT)
    assert len(said) == len(pictures)
    for each in said:
        assert each.caption or each.reason
        assert each.caption == " ".join(each.caption.split()) and "<" not in each.caption.replace("<o>", "") and "[" not in each.caption
    assert any(each.caption for each in said)
    assert loaded(key).caption(pictures, SHORT) == said, "the same pictures, the same captions"
    assert loaded(key).caption([], SHORT) == [] and loaded(key).batch >= 1
    if key != "tagger":
        words = {word.strip(".,;:!?") for each in said for word in each.caption.split()}
        assert words <= {*WORDS, *LETTERS, "", "cap", "caption", "describe"} | {w.strip(".,;:!?") for w in ("'",)}, words


@pytest.mark.parametrize(
    "known, make, version",
    [
        ("qwen_vl", qwen_vl, "Qwen2_5_VL"),
        ("qwen_vl", qwen_vl, "Qwen2VL"),
        ("qwen_vl", qwen_vl, "Qwen3VLMoe"),
        ("idefics3", idefics3, "SmolVLM"),
    ],
)
def test_other_versions_generate_too(tmp_path, pictures, known, make, version):
    folder = make(tmp_path / version, version=version)
    key, module = open_folder(folder)
    said = module.load(folder).caption(pictures, SHORT)
    assert key == known and len(said) == 3 and any(each.caption for each in said)


INSTRUCTED = ["llava", "llava_next", "llava_onevision", "qwen_vl", "gemma3", "idefics3", "instructblip"]


@pytest.mark.parametrize("key", INSTRUCTED)
def test_an_instruction_changes_the_answer_and_is_not_repeated(loaded, pictures, key):
    plain = [each.caption for each in loaded(key).caption(pictures, SHORT)]
    asked = [each.caption for each in loaded(key).caption(pictures, Ask("axial brain scan", max_tokens=6))]
    assert asked != plain and not any(text.startswith("axial brain scan") for text in asked)
    own = registry.captioner(IS_OF.get(key, key)).FACTS.asked or DEFAULT_PROMPT
    assert loaded(key).caption(pictures, Ask(own, max_tokens=6)) == loaded(key).caption(pictures, SHORT)
    assert "no diagnosis" in PROMPTS["medical"] and all(text.isprintable() for text in PROMPTS.values())


def test_a_batch_says_what_each_picture_alone_gets(loaded, pictures):
    for key in ("qwen_vl", "llava", "llava_next", "llava_onevision", "idefics3", "gemma3"):  # most pad texts of different lengths
        together = [each.caption for each in loaded(key).caption(pictures, SHORT)]
        assert together == [loaded(key).caption([each], SHORT)[0].caption for each in pictures], key


@pytest.mark.parametrize("key", ["blip", "blip2", "git", "kosmos2"])
def test_a_beginning_stands_at_the_beginning(loaded, pictures, key):
    begun = loaded(key).caption(pictures, Ask("a axial", max_tokens=6))
    assert all(each.caption.startswith("a axial ") for each in begun if each.caption) and any(each.caption for each in begun)
    asked = loaded(key).caption(pictures, Ask("view :", max_tokens=6))
    assert not any(each.caption.startswith("view :") for each in asked)


@pytest.mark.parametrize("key", ["florence2", "paligemma"])
def test_details_ask_differently(loaded, pictures, key):
    module = registry.captioner(key)
    assert list(module.FACTS.details) == ["brief", "detailed", "long"]
    ask = loaded(key)._inputs
    seen = [str(ask(pictures[:1], Ask(detail=level))["input_ids"].tolist()) for level in ("brief", "detailed", "long")]
    assert len(set(seen)) == 3, "each level puts another question to the model"


def test_templates_for_questions_that_cannot_be_used_are_a_line(tmp_path, captioner_folders, pictures):
    folder = shutil.copytree(captioner_folders["llava"], tmp_path / "llava")
    for text in ("{% for %}", "{{ ''.__class__.__mro__ }}", "{{ raise_exception('no') }}", "{% for m in messages %}no picture{% endfor %}"):
        (folder / "chat_template.jinja").write_text(text)
        with pytest.raises(StudioError, match="chat template is damaged, or has no place for a picture"):
            open_folder(folder)[1].load(folder).caption(pictures, SHORT)
    (folder / "chat_template.jinja").unlink()
    loaded = open_folder(folder)[1].load(folder)
    assert any(each.caption for each in loaded.caption(pictures, SHORT)), "as LLaVA 1.5 was trained"
    marked = loaded.caption(pictures, Ask("what is <image> in <image>?", max_tokens=6))
    assert len(marked) == len(pictures), "a prompt that writes the picture's own token names no second picture"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "{{ raise_exception('read') }}"}))
    with pytest.raises(StudioError, match="chat template"):
        open_folder(folder)[1].load(folder).caption(pictures, SHORT)


@pytest.mark.parametrize("key", WRITERS)
def test_ten_thousand_tokens_end_where_the_model_cannot_count_further(loaded, pictures, key, monkeypatch):
    class Asked(Exception):
        pass

    def generate_nothing(**given):
        raise Asked(given["max_new_tokens"])

    model = loaded(key)._parts.model
    monkeypatch.setattr(model, "generate", generate_nothing)
    with pytest.raises(Asked) as caught:
        loaded(key).caption(pictures[:1], Ask(max_tokens=10_000))
    assert 0 < caught.value.args[0] <= generate._num_positions(model) < 10_000


def test_a_model_that_says_nothing_gives_a_reason(tmp_path, captioner_folders, pictures):
    import torch
    from transformers import Blip2ForConditionalGeneration

    folder = shutil.copytree(captioner_folders["blip2"], tmp_path / "silent")
    model = Blip2ForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        model.language_model.lm_head.weight.zero_()
        model.language_model.lm_head.weight[1] = 0.0
    model.generation_config.forced_bos_token_id = None
    model.generation_config.suppress_tokens = [i for i in range(len(WORDS) + len(LETTERS) + 4) if i != 1]
    model.save_pretrained(folder)
    said = open_folder(folder)[1].load(folder).caption(pictures, SHORT)
    assert [(each.caption, each.reason) for each in said] == [("", "BLIP-2 answered with nothing")] * 3


def test_nobody_waits_for_an_answer_that_is_not_wanted(loaded, pictures):
    class Enough(Exception):
        pass

    calls = []

    def alive():
        calls.append(1)
        if len(calls) == 3:
            raise Enough

    with pytest.raises(Enough):
        loaded("llava").caption(pictures, Ask(max_tokens=50, alive=alive))
    assert len(calls) == 3, "between two words, not at the end"


@pytest.mark.parametrize(
    "answer, caption",
    [
        ("<s>axial  T1\nslice</s>", "axial T1 slice"),
        ("<|im_end|>a roof<|endoftext|>", "a roof"),
        ('Sure! Here is a caption: "a dog."', "a dog."),
        ("**Caption:** a field", "a field"),
        ("a dog a dog a dog a dog", "a dog"),
        ("the red roof, the red roof, the red roof", "the red roof"),
        ("river river river bank", "river bank"),
        ("A brain. A brain. A brain.", "A brain."),
        ("<loc_12><loc_500>", ""),
        ("<think>\nlet me see\n</think>\n\na roof", "a roof"),
        ("a bone, so</think> axial slice", "axial slice"),
        ("<think>it may be a roof or", ""),
        (" \n\t", ""),
        ("\u202eevil\x00 text", "evil text"),
        ("<b>bold</b>", "<b>bold</b>"),
        ("his hat, her hat", "his hat, her hat"),
        ("一只狗，一只狗，一只狗，一只狗，", "一只狗"),
        ("红色的屋顶。", "红色的屋顶。"),
    ],
)
def test_answers_become_captions(answer, caption):
    assert tidy(answer) == caption


def test_what_ran_on_is_cut_where_it_makes_sense():
    assert tidy("A red roof beside a river. The road leads to a small", ran_on=True) == "A red roof beside a river."
    assert tidy("red roof, small river, wide fie", ran_on=True) == "red roof, small river"
    assert tidy("红色屋顶，小河。一条路通向", ran_on=True) == "红色屋顶，小河。" and tidy("屋顶，小河，田", ran_on=True) == "屋顶，小河"
    assert cut("one two thr") == "one two" and cut("word") == "word"
    assert len(tidy("wor ld " * 10_000).encode()) <= 8192
    assert tidy("A roof. It is red") == "A roof. It is red"


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


WRONG = {  # ways of not being a captioner's folder, and what is said
    "another class": (lambda f, kept: change(f, architectures=["CLIPModel"]), "CLIPModel is no captioner that is known here"),
    "asks for code": (lambda f, kept: change(f, auto_map={"AutoModel": "x.Y"}), "asks for code"),
    "a program": (lambda f, kept: (f / "modeling.py").write_text("print(1)"), "modeling.py is a program"),
    "pickled": (lambda f, kept: (f / "model.safetensors").rename(f / "pytorch_model.bin"), ".bin files can run code"),
    "no weights": (lambda f, kept: (f / "model.safetensors").unlink(), "no .safetensors weights"),
    "torn weights": (lambda f, kept: os.truncate(f / "model.safetensors", 999), "cannot be loaded as BLIP"),
    "other weights": (lambda f, kept: shutil.copy(kept["blip2"] / "model.safetensors", f), "lack what BLIP needs"),
    "no tokenizer": (lambda f, kept: (f / "tokenizer.json").unlink(), "no tokenizer is here"),
    "broken config": (lambda f, kept: (f / "config.json").write_text("{"), "cannot be read as JSON"),
    "no processor": (lambda f, kept: (f / "processor_config.json").unlink(), "no preprocessor_config.json says how BLIP sees pictures"),
    "quantised": (lambda f, kept: change(f, quantization_config={"quant_method": "gptq"}), "its weights are quantised (gptq)"),
    "a part of a drawing model": (
        lambda f, kept: (f / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}'),
        "UNet2DConditionModel is no captioner",
    ),
    "an adapter": (
        lambda f, kept: ((f / "config.json").unlink(), (f / "adapter_config.json").write_text("{}")),
        "this is an adapter, not a whole captioner",
    ),
    "GGUF": (lambda f, kept: ((f / "config.json").unlink(), (f / "x.gguf").write_bytes(b"GGUF")), "GGUF files are for other programs"),
    "a file": (lambda f, kept: (shutil.rmtree(f), f.write_bytes(b"x")), "this is a file: give the folder of a captioner"),
    "parts of weights": (
        lambda f, kept: (
            (f / "model.safetensors").rename(f / "model-00002-of-00002.safetensors"),
            (f / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "../../model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
            ),
        ),
        "model-00001-of-00002.safetensors is missing or damaged",
    ),
    "strange config": (lambda f, kept: change(f, text_config={"hidden_size": 999}), "BLIP"),
    "strange names": (lambda f, kept: change(f, architectures=[1, None]), "no captioner's config.json"),
    "a drawing model": (lambda f, kept: (f / "model_index.json").write_text("{}"), "a model that draws"),
    "no config": (lambda f, kept: (f / "config.json").unlink(), "no captioner's config.json"),
    "nothing": (lambda f, kept: shutil.rmtree(f), "no captioner is there"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_folder_is_a_line(tmp_path, captioner_folders, what):
    folder = shutil.copytree(captioner_folders["blip"], tmp_path / "blip")
    spoil, hint = WRONG[what]
    spoil(folder, captioner_folders)
    with pytest.raises(StudioError) as caught:
        open_folder(folder)[1].load(folder)
    line = str(caught.value)
    assert hint in line and str(folder) in line and line.isprintable() and len(line) < 600, line


def test_memory_decides_how_many_at_once_and_whether_at_all(captioner_folders, monkeypatch):
    import torch

    assert [generate.batch_that_fits(*each) for each in ((8, 0.2), (8, 8), (0.1, 8), (80, 8))] == [16, 1, 1, 8]
    monkeypatch.setattr(loading, "memory_gib", lambda device: (0.0, loading._stored_gib(captioner_folders["blip"]) * 1.5))
    assert loading._dtype_that_fits(captioner_folders["blip"], torch.device("cpu")) == torch.bfloat16
    monkeypatch.setattr(loading, "memory_gib", lambda device: (1.0, 1.0))
    with pytest.raises(StudioError, match="choose a smaller one"):
        registry.captioner("blip").load(captioner_folders["blip"])


def test_tags_have_thresholds_and_are_text(loaded, pictures, tmp_path, captioner_folders):
    every = loaded("tagger").caption(pictures[:1], Ask(threshold=0, character_threshold=0))[0].caption.split(", ")
    assert set(every) == {'=HYPERLINK("x")', "long hair", "red sky", "o_o", "some one (series)", "blue (thing)"}, "ratings are no tags"
    none = loaded("tagger").caption(pictures, Ask(threshold=1, character_threshold=1))
    assert [(each.caption, each.reason) for each in none] == [("", "no tag is above the threshold 1")] * 3
    folder = shutil.copytree(captioner_folders["tagger"], tmp_path / "short")
    lines = (folder / "selected_tags.csv").read_text().splitlines()
    (folder / "selected_tags.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(StudioError, match=f"knows {len(TAG_TABLE)} tags, selected_tags.csv names {len(TAG_TABLE) - 1}"):
        tagger.load(folder)
    (folder / "selected_tags.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StudioError, match="the columns name and category"):
        tagger.load(folder)
    (folder / "model.onnx").write_bytes(b"no network")
    shutil.copy(captioner_folders["tagger"] / "selected_tags.csv", folder)
    with pytest.raises(StudioError, match="model.onnx: cannot be loaded"):
        tagger.load(folder)


def test_a_tagger_sees_a_white_square_blue_first():
    px = tagger.square_bgr(Image.new("RGB", (20, 10), (200, 100, 50)), 20)
    assert px.shape == (20, 20, 3) and px.dtype.name == "float32"
    assert px[0, 0].tolist() == [255, 255, 255] and px[10, 10].tolist() == [50, 100, 200]


def test_captioners_are_found_where_they_lie(workspace, captioner_folders, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    shutil.copytree(captioner_folders["blip"], places.captioners_folder(workspace) / "my-blip")
    hub = tmp_path / "hub-home" / "hub" / "models--some--florence" / "snapshots" / "abc"
    shutil.copytree(captioner_folders["florence2"], hub)
    shelf = tmp_path / "shelf"
    shutil.copytree(captioner_folders["llava"], shelf / "joy")
    (shelf / "holiday").mkdir()
    assert [each["name"] for each in places.add_captioner_place(workspace, f'"{shelf}"')] == ["joy"]
    found = {each["name"]: each for each in places.list_captioners(workspace)}
    assert set(found) == {"", "my-blip", "some/florence", "joy"} and found["joy"]["prompt"] == "instruction"
    assert found["some/florence"]["details"] == ["brief", "detailed", "long"] and found["my-blip"]["bytes"] > 1000
    for name, key in (
        ("my-blip", "blip"),
        ("some/florence", "florence2"),
        ("joy", "llava"),
        ("florence2", "florence2"),
        (str(hub), "florence2"),
    ):
        assert places.find_captioner(workspace, name).key == key
    shutil.copytree(captioner_folders["blip"], shelf / "blip-2nd")
    with pytest.raises(StudioError, match="several are called so"):
        places.find_captioner(workspace, "blip")
    for name, hint in (
        ("qwen_vl", "no folder of Qwen-VL is here"),
        ("nobody", "there are: embedded"),
        ("", "is no captioner"),
        ("\0", "no captioner"),
    ):
        with pytest.raises(StudioError, match=hint):
            places.find_captioner(workspace, name)
    with pytest.raises(StudioError, match="has been added already"):
        places.add_captioner_place(workspace, str(shelf))
    with pytest.raises(StudioError, match="no captioner's config.json"):
        places.add_captioner_place(workspace, str(shelf / "holiday"))
    places.remove_captioner_place(workspace, str(shelf))
    assert "joy" not in {each["name"] for each in places.list_captioners(workspace)} and (shelf / "joy").is_dir()
