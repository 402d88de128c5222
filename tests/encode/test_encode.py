"""Nothing is encoded twice, nothing depends on its neighbours, and every picture fills its bucket."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from studio.dataset.framing import Edit, render
from studio.encode.buckets import MAX_BUCKETS, assign_buckets, bucket_shapes, frames
from studio.encode.build import Encoder, encode_dataset, to_tensor
from studio.encode.cache import Cache
from studio.errors import StudioError
from studio.families import sd
from studio.store import Workspace
from tests.fixtures.runs import dataset, spec_for


@pytest.mark.parametrize(("size_px", "multiple"), [(512, 64), (64, 16), (16, 4), (768, 64)])
def test_buckets_have_about_the_models_area(size_px, multiple):
    for width, height in bucket_shapes(size_px, multiple):
        assert width % multiple == 0 and height % multiple == 0
        assert width * height <= size_px**2 and max(width / height, height / width) <= 4
    assert (size_px, size_px) in bucket_shapes(size_px, multiple)


def test_pictures_go_to_the_nearest_of_few_buckets():
    sizes = [(100, 100)] * 5 + [(200, 100), (100, 200), (300, 100), (150, 100), (100, 150), (120, 100), (100, 300)]
    buckets = assign_buckets(sizes, 512, 64)
    assert buckets[0] == (512, 512) and len(set(buckets)) <= MAX_BUCKETS
    wide, tall = assign_buckets([(200, 100), (100, 200)], 512, 64)
    assert wide[0] > wide[1] and tall == (wide[1], wide[0])


@pytest.mark.parametrize("size", [(256, 256), (1000, 300), (300, 1000), (17, 16), (64, 65)])
def test_crops_lie_inside_and_the_first_is_the_centre(size):
    bucket = assign_buckets([size], 64, 16)[0]
    found = frames(size, Edit(), bucket, 4, "identity")
    assert found == frames(size, Edit(), bucket, 4, "identity") and len(set(found)) == len(found)
    for f in found:
        assert f.size == bucket and f.box == (0, 0, *size)
        assert 0 <= f.place[0] and f.place[2] <= f.resized[0] and 0 <= f.place[1] and f.place[3] <= f.resized[1]
        assert f.resized[0] == bucket[0] or f.resized[1] == bucket[1], "one side is used whole"
    assert found[0].place[0] == (found[0].resized[0] - bucket[0]) // 2


def test_pixels_are_the_picture():
    image = Image.new("RGB", (40, 20), (0, 0, 0))
    image.paste((255, 255, 255), (20, 0, 40, 20))
    frame = frames((40, 20), Edit(), (16, 16), 1, "x")[0]
    px = to_tensor(render(image, frame))
    assert px.shape == (3, 16, 16) and px[:, :, 0].max() < -0.9 and px[:, :, -1].min() > 0.9
    assert torch.equal(to_tensor(render(image, replace(frame, further_mirror=1))), px.flip(-1))


@pytest.fixture()
def room(tmp_path, tiny_folder, tiny_parts):
    workspace = Workspace.at(tmp_path / "workspace")
    data = dataset(workspace, tmp_path / "pictures", 6)
    spec = spec_for(data, tiny_folder)

    def encode(*settings):
        encoder = Encoder(sd, tiny_parts, "tiny", Cache(workspace.cache / "encoded"))
        made = spec_for(data, tiny_folder, *settings) if settings else spec
        return encode_dataset(data, encoder, made, False, lambda done, total: None)

    return data, encode


def test_a_second_time_nothing_is_encoded(room):
    _, encode = room
    first, second = encode(), encode()
    assert first.num_made > 0 and second.num_made == 0
    assert second.num_reused == first.num_made + first.num_reused
    assert first.items == second.items


def test_an_edited_caption_encodes_only_itself(room):
    data, encode = room
    encode()
    data.set_caption(data.rows[0], "an entirely new caption")
    again = encode()
    assert again.num_made == 1
    assert again.items[0].caption == "an entirely new caption"


def test_a_damaged_entry_is_made_again(room):
    _, encode = room
    first = encode()
    key = first.items[0].latents[0]
    file = first.cache.path(key)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert encode().num_made == 1
    assert file.read_bytes() == whole, "encoding is deterministic"


def test_a_picture_changed_behind_the_datasets_back_is_told(room):
    data, encode = room
    Image.new("RGB", (32, 32), "red").save(data.path(data.rows[2]))
    with pytest.raises(StudioError, match="was changed after it was read in"):
        encode()


def test_an_entry_does_not_depend_on_what_was_encoded_with_it(room, tiny_parts):
    data, encode = room
    encoded = encode()
    item = encoded.items[-1]
    mean, std = encoded.latent(item.latents[0])
    image = Image.open(data.path(data.rows[-1])).convert("RGB")
    frame = frames(image.size, Edit(), item.bucket, 1, "")[0]
    alone = sd.encode_image(tiny_parts, to_tensor(render(image, frame))[None])
    assert torch.equal(mean, alone.mean[0]) and torch.equal(std, alone.std[0])


def test_mirrored_pictures_are_kept_beside_the_plain_ones(room):
    _, encode = room
    both, plain = encode("data.flip=true"), encode()
    assert all(len(i.latents) == 2 * len(j.latents) for i, j in zip(both.train, plain.train, strict=True))
    assert both.held_out == plain.held_out, "what is held out is measured as it is"


def test_other_settings_make_only_what_they_change(room):
    _, encode = room
    plain = encode("data.crops=1")
    both = encode("data.crops=1", "data.flip=true")
    assert both.num_made == len(plain.train) and encode("data.crops=1").num_made == 0, "a mirror image of each that is trained"
    shifted = encode("data.crops=1", "data.flip=true", "data.colour=0.1")
    assert shifted.num_made == 2 * len(plain.train) and {*both.train[0].latents} < {*shifted.train[0].latents}
    other = encode("data.crops=1", "data.flip=true", "data.colour=0.2")
    assert 0 < other.num_made <= 2 * len(plain.train), "only what is coloured otherwise"
    assert all(item.latents[0] == first.latents[0] for item, first in zip(other.items, plain.items, strict=True))
    assert plain.held_out == other.held_out


def test_long_captions_are_named_and_shown_cut(room, tiny_parts):
    data, encode = room
    caption = " ".join(f"word{n}" for n in range(300))
    data.set_caption(data.rows[1], caption)
    ((file, read, rest),) = encode().long_captions
    tokens, limit = sd.num_tokens(tiny_parts, read)
    assert file == data.rows[1].file and f"{read} {rest}" == caption
    assert tokens <= limit < sd.num_tokens(tiny_parts, f"{read} {rest.split()[0]}")[0]
