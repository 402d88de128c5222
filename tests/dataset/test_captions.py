"""Caption text survives encodings, editors and hostile files."""

import os

import pytest

from studio.dataset.captions import MAX_BYTES, clean, decode, read_caption

TEXT = "Größe, 東京, café"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_encodings_are_recognised(encoding):
    assert clean(decode(TEXT.encode(encoding)))[0] == TEXT


def test_text_that_is_not_utf8_is_read_as_latin():
    assert decode("café “au lait”".encode("cp1252")) == "café “au lait”"
    assert decode(b"caf\xe9 \x81") == "café \x81"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("two\r\nlines\tand\x00a\x07bell ", "two lines and a bell"),
        ("\ufeffmarked", "marked"),
        ("turned \u202ednuora", "turned dnuora"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("family 👨‍👩‍👧 stays", "family 👨‍👩‍👧 stays"),
        ("   ", ""),
    ],
)
def test_control_characters_become_spaces(text, expected):
    assert clean(text) == (expected, "")


def test_a_long_caption_is_cut_with_a_note(tmp_path):
    (tmp_path / "long.txt").write_text("ä" * 65536, encoding="utf-8")
    caption, note = read_caption(tmp_path / "long.txt")
    assert len(caption.encode()) == MAX_BYTES
    assert set(caption) == {"ä"}
    assert note == "its caption was cut at 8 KiB"


def test_a_file_of_blanks_is_read_no_further_than_needed(tmp_path):
    (tmp_path / "blank.txt").write_bytes(b" " * 100_000 + b"end")
    assert read_caption(tmp_path / "blank.txt") == ("", "only the first 32 KiB of its caption file were read")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(OSError, match="not a regular file"):
        read_caption(tmp_path / "pipe.txt")
