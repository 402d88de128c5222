"""A small byte-pair tokenizer in the CLIPTokenizer layout, trained on emoji names, tags and words of our captions."""

from pathlib import Path

from studio.starter.captions import BACKGROUNDS, captions
from studio.starter.packages import STYLES
from studio.starter.pictures import read_concepts, read_labels

# English beyond emoji that small domains are described with, so that such words are few tokens.
DOMAIN_WORDS = """photo image picture drawing painting sketch texture pattern scan slice axial coronal sagittal brain
mri ct x-ray t1 t2 weighted lesion tumour cell microscope stained satellite aerial view coast desert forest ice ocean
mountains island river city field north south east west upper lower left right front back middle background style
object person of in on the with and at near small large bright dark colour black white""".split()


def corpus(folder: Path) -> list[str]:
    """Return the training text: labels and tags, our captions several times, domain words."""
    lines = [f"{label} {' '.join(tags)}" for label, tags in read_labels(folder).items()]
    for name in read_concepts():
        for style in STYLES:
            lines += captions(name, style.word)
    for background in BACKGROUNDS:
        lines += captions("star", "noto", background)
    return [line.lower() for line in lines] + DOMAIN_WORDS * 5


def train_tokenizer(folder: Path, vocab_size: int, token_length: int, out: Path) -> int:
    """Train byte-pair encoding and write a CLIPTokenizer folder; returns the vocabulary size."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    word = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # CLIP's own split
    start, end = "<|startoftext|>", "<|endoftext|>"
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token=end))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(word), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[start, end],
        initial_alphabet=sorted(alphabet),
        end_of_word_suffix="</w>",
        continuing_subword_prefix="",
        show_progress=False,
    )
    bpe.train_from_iterator(corpus(folder), trainer)
    parts = bpe_parts(bpe)
    tokenizer = CLIPTokenizer(**parts, model_max_length=token_length, bos_token=start, eos_token=end)
    tokenizer.save_pretrained(out)
    return len(parts["vocab"])


def bpe_parts(bpe) -> dict:
    """Return vocab and merges; every byte gets its end-of-word form too, so that no text is ever unknown."""
    import json

    model = json.loads(bpe.to_str())["model"]
    vocab = dict(model["vocab"])
    for token in [t for t in vocab if len(t) == 1]:
        vocab.setdefault(f"{token}</w>", len(vocab))
    return {"vocab": vocab, "merges": [tuple(m) for m in model["merges"]]}
