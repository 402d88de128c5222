"""DICOM as devices really write it: lookup tables, window functions, enhanced and bare files, colour, padding, copies, asides."""

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from studio.dataset.intake import create_dataset
from studio.dataset.pixels import Unreadable
from studio.dataset.readers import dicom as dicom_reader
from studio.dataset.readers.base import parse_choices
from studio.errors import StudioError
from studio.store import Workspace
from tests.dataset.scans import SECRETS, SIDE, dicom, head

PLAIN = {"Modality": "CR", "BodyPartExamined": "HAND", "ImageOrientationPatient": None, "SeriesDescription": None}
RAMP = np.tile(np.linspace(0, 4095, SIDE).astype(np.uint16), (SIDE, 1))


def lut(first, values, bits, words=""):
    """An item of a VOI or modality lookup table."""
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(values), first, bits], np.asarray(values, "<u2").tobytes()
    if words:
        item.LUTExplanation = words
    return item


def curve(bits):
    return (np.linspace(0, 1, 4096) ** 2 * (2**bits - 1)).round().astype(int)


def one(place, name, values, **tags):
    """A series of one file, called by its body part in captions."""
    return dicom(place / name, values, **{**PLAIN, "SeriesInstanceUID": generate_uid(), **tags})


def made_of(folder, tmp_path, **choices):
    return create_dataset(Workspace.at(tmp_path / "workspace"), "odd", [folder], choices=parse_choices(choices))


def shown(folder, values, **tags):
    """(levels, note) of `values` as a file with `tags` is seen; `choose` are choices, `after` changes the written file."""
    choices, after = parse_choices(tags.pop("choose", {})), tags.pop("after", None)
    path = one(folder, "one.dcm", values, **tags)
    if after:
        after(path)
    assert dicom_reader.recognise("one", path.read_bytes()[:4096])
    (found,) = dicom_reader.gather([(path, dicom_reader.survey(path, "00"))])
    ranges = [dicom_reader.read(path, ask).ranges for _, ask in dicom_reader.measured(found, choices)]
    (take,) = dicom_reader.plan(found, choices, ranges)
    scan = dicom_reader.read(path, take.ask)
    return np.asarray(scan.image, int), "; ".join(scan.notes)


def encoding(syntax):
    return {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}


def rewrite(**options):
    """A change of a written file: another syntax, or without its preamble and head."""

    def change(path):
        ds = dcmread(path)
        if "syntax" in options:
            ds.file_meta.TransferSyntaxUID = options["syntax"]
            if not options["syntax"].is_little_endian:
                ds.PixelData = RAMP.astype(">u2").tobytes()
            dcmwrite(path, ds, force_encoding=True, **encoding(options["syntax"]))
        if options.get("bare"):
            del ds.file_meta, ds.preamble
            ds.save_as(path, implicit_vr=options.get("implicit", False), little_endian=True, enforce_file_format=False)
        if options.get("packed"):
            ds.compress(JPEG2000Lossless, generate_instance_uid=False)
            ds.save_as(path)

    return change


WINDOWS = {"WindowCenter": ["2000", "100", "3000"], "WindowWidth": ["4000", "200", "500"]}
NAMED = WINDOWS | {"WindowCenterWidthExplanation": ["WINDOW1", SECRETS[0], "BONE"]}
LINEAR = np.clip((RAMP - 1999.5) / 3999 + 0.5, 0, 1) * 255
BONE = np.clip((RAMP - 2999.5) / 499 + 0.5, 0, 1) * 255
SQUARED = {bits: curve(bits)[RAMP] / (2**bits - 1) * 255 for bits in (8, 12)}
GREY = {
    "linear": ({}, LINEAR, "window 2000/4000, from its tags"),
    "exact": ({"VOILUTFunction": "LINEAR_EXACT"}, np.clip(RAMP / 4000, 0, 1) * 255, "window 2000/4000"),
    "sigmoid": ({"VOILUTFunction": "SIGMOID"}, 255 / (1 + np.exp(-4 * (RAMP - 2000.0) / 4000)), "window 2000/4000 (sigmoid)"),
    "by number": (NAMED | {"choose": {"window": "own 3"}}, BONE, "window 3000/500 bone, from its tags"),
    "by name": (NAMED | {"choose": {"window": "Own bone"}}, BONE, "window 3000/500 bone"),
    "not there": (NAMED | {"choose": {"window": "own lung"}}, LINEAR, "window 2000/4000, from its tags; it has no window own lung"),
    "table of 12 bits": ({"VOILUTSequence": [lut(0, curve(12), 12, SECRETS[0])]}, SQUARED[12], "its lookup table, from its tags"),
    "table of 8 bits": ({"VOILUTSequence": [lut(0, curve(8), 8)]}, SQUARED[8], "its lookup table"),
    "table, implicit": (
        {"VOILUTSequence": [lut(0, curve(12), 12)], "after": rewrite(syntax=ImplicitVRLittleEndian)}, SQUARED[12], "its lookup table",
    ),
    "window beside a table": ({"VOILUTSequence": [lut(0, curve(12), 12)], "choose": {"window": "own 2"}}, LINEAR, "window 2000/4000"),
    "modality table": (
        {"ModalityLUTSequence": [lut(0, 2 * curve(11) // 1, 12)], "WindowCenter": 2048, "WindowWidth": 4096},
        np.clip((2.0 * curve(11)[RAMP] - 2047.5) / 4095 + 0.5, 0, 1) * 255, "window 2048/4096",
    ),
    "slope alone": ({"RescaleSlope": 2, "RescaleIntercept": None, "WindowCenter": 4000, "WindowWidth": 8000}, LINEAR, "window 4000/8000"),
    "inverted": ({"PhotometricInterpretation": "MONOCHROME1"}, 255 - LINEAR, "window 2000/4000"),
    "big endian": ({"after": rewrite(syntax=ExplicitVRBigEndian)}, LINEAR, "window 2000/4000"),
    "implicit": ({"after": rewrite(syntax=ImplicitVRLittleEndian)}, LINEAR, "window 2000/4000"),
    "bare": ({"after": rewrite(bare=True)}, LINEAR, "window 2000/4000"),
    "bare, implicit": ({"after": rewrite(bare=True, implicit=True)}, LINEAR, "window 2000/4000"),
    "JPEG 2000": ({"after": rewrite(packed=True)}, LINEAR, "window 2000/4000"),
}  # fmt: skip


@pytest.mark.parametrize("case", GREY)
def test_grey_is_shown_as_its_tags_ask(case, tmp_path):
    tags, expected, note = GREY[case]
    seen, told = shown(tmp_path, RAMP, **{**WINDOWS, "BitsStored": 12, "HighBit": 11, **tags})
    assert np.abs(seen[..., 0] - expected).max() <= 1.01, case
    assert told.startswith(note), told


def garble(tag, letter):
    """A change of a written file: the value of a tag, given by its bytes, becomes letters."""

    def change(path):
        data = path.read_bytes()
        start = data.index(tag) + 8
        length = int.from_bytes(data[start - 2 : start], "little")
        path.write_bytes(data[:start] + letter * length + data[start + length :])

    return change


def deflate(path):
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path)


def without_pixels(path):
    ds = dcmread(path)
    del ds.PixelData
    ds.save_as(path)


def test_deflated_files_and_tags_of_nonsense_are_read_all_the_same(tmp_path):
    tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": "2000", "WindowWidth": "4000", "NumberOfFrames": 1}
    nonsense = {b"\x20\0\x13\0IS": b"q", b"\x28\0\x53\x10DS": b"x"}
    for change in (deflate, *(garble(*each) for each in nonsense.items())):
        seen, note = shown(tmp_path, RAMP, **tags, after=change)
        assert np.abs(seen[..., 0] - LINEAR).max() <= 1.01 and note == "window 2000/4000, from its tags"
    _, note = shown(tmp_path, RAMP, **tags, after=garble(b"\x28\0\x50\x10DS", b"z"))
    assert note.startswith("values 0 to 4095 shown, by percentiles")
    with pytest.raises(Unreadable, match="is a DICOM file whose pixels are missing: export it again"):
        shown(tmp_path, RAMP, **tags, after=without_pixels)


def test_high_bits_padding_and_pixels_that_are_not_square(tmp_path):
    stored = (RAMP.astype(np.int32) - 2048).astype(np.int16)
    dirty = (stored & 0x0FFF | (np.arange(SIDE, dtype=np.int16) % 16 << 12)).astype(np.int16)
    dirty[:9, :9] = -2000 & 0x0FFF
    tags = {"BitsStored": 12, "HighBit": 11, "PixelPaddingValue": -2000, "WindowCenter": None, "PixelSpacing": [2.0, 1.0]}
    seen, note = shown(tmp_path, dirty, **tags, PhotometricInterpretation="MONOCHROME1")
    assert seen.shape == (2 * SIDE, SIDE, 3), "twice as high as wide, as the patient is"
    assert note.startswith("values -2007 to") or note.startswith("values -20")
    assert (seen[:16, :8] == 0).all() and seen[-1, 0, 0] > 250 and seen[-1, -1, 0] < 5, "padding is black, also in inverted pictures"


def test_colour_is_told_from_its_kind(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    ybr = np.asarray(Image.fromarray(colour).convert("YCbCr"))
    seen, _ = shown(tmp_path, ybr, PhotometricInterpretation="YBR_FULL")
    assert np.abs(seen - colour).max() <= 3
    index = (np.arange(SIDE * SIDE) % 200).astype(np.uint8).reshape(SIDE, SIDE)
    tables = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    data = {name: (np.arange(256) * step % 256 * 257).astype("<u2").tobytes() for name, step in (("Red", 1), ("Green", 3), ("Blue", 7))}
    tables |= {f"{name}PaletteColorLookupTableData": each for name, each in data.items()}
    seen, _ = shown(tmp_path, index, **tables, PhotometricInterpretation="PALETTE COLOR")
    assert np.abs(seen - np.stack([index.astype(int) * step % 256 for step in (1, 3, 7)], -1)).max() <= 1


def item(**tags):
    inner = Dataset()
    for name, value in tags.items():
        setattr(inner, name, value)
    return inner


def enhanced(path, num=5):
    """Frames stored from head to foot, each with its own place, slope and window in its functional groups."""
    frames = np.stack([(head(0.2 + i / 10) + 1024).astype(np.uint16) for i in range(num)])
    groups = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, -5.0 * i])],
            PixelValueTransformationSequence=[item(RescaleSlope=1 + i, RescaleIntercept=-1024 * (1 + i), RescaleType="HU")],
            FrameVOILUTSequence=[item(WindowCenter=40 * (1 + i), WindowWidth=400 * (1 + i))],
        )
        for i in range(num)
    ]
    shared = item(PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])])
    tags = {name: None for name in ("ImageOrientationPatient", "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept")}
    return dicom(
        path, frames, **tags, NumberOfFrames=num, PerFrameFunctionalGroupsSequence=groups, SharedFunctionalGroupsSequence=[shared],
        SeriesInstanceUID=generate_uid(),
    )  # fmt: skip


def test_frames_of_enhanced_files_are_in_the_order_of_space_each_with_its_own_values(tmp_path):
    made = made_of(enhanced(tmp_path / "IM0"), tmp_path)
    assert [made.caption(row) for row in made.rows] == [f"CT of the head, axial plane, slice {k} of 5" for k in range(1, 6)]
    for k, row in enumerate(made.rows):
        i = 4 - k  # stored the other way round
        seen = np.asarray(Image.open(made.path(row)).convert("L"), int)
        values = head(0.2 + i / 10) * (1.0 + i)
        width = 400 * (1 + i) - 1
        assert np.abs(seen - np.clip((values - 40 * (1 + i) + 0.5) / width + 0.5, 0, 1) * 255).max() <= 1.01


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A study with all that is not one plain series: localizer, copies, time, cine, disc list, report, bare files."""
    place = tmp_path_factory.mktemp("mixed")
    uid = generate_uid()
    for i in range(4):
        for t in range(2):
            where = {"ImagePositionPatient": [0, 0, 3.0 * i], "InstanceNumber": 4 * t + i + 1, "SeriesInstanceUID": uid}
            dicom(place / f"{SECRETS[0]}^{i}-{t}.dcm", head(0.2 + i / 8), **where, Modality="PT", PatientID="anonymous")
    (place / "zz.dcm").write_bytes((place / f"{SECRETS[0]}^0-0.dcm").read_bytes())
    dicom(place / "scout.dcm", head(0.5), SeriesInstanceUID=uid, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    dicom(place / "mip.dcm", head(0.5), SeriesInstanceUID=uid, ImageType=["DERIVED", "SECONDARY", "PROJECTION IMAGE"])
    film = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    one(place, "film", film[0], Modality="US", after=None)
    ds = dcmread(place / "film")
    ds.NumberOfFrames, ds.FrameTime, ds.PixelData = 3, 40, film.tobytes()
    ds.save_as(place / "film")
    for name, kind in (("report.dcm", "1.2.840.10008.5.1.4.1.1.88.11"), ("plan.dcm", "1.2.840.10008.5.1.4.1.1.481.3")):
        dicom(place / name, head(0.5), SOPClassUID=kind, Rows=None, Columns=None, SeriesInstanceUID=generate_uid())
    listing = dcmread(dicom(place / "DICOMDIR", head(0.5), Rows=None, Columns=None))
    listing.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    listing.save_as(place / "DICOMDIR")
    one(place, "IM1", RAMP, Modality="MR", ImageType=["ORIGINAL"], PatientID="", PatientName="")
    rewrite(bare=True)(place / "IM1")
    return place


def test_a_mixed_study_is_taken_apart_and_what_is_aside_is_named(mixed, tmp_path):
    made = made_of(mixed, tmp_path)
    told = {each.file: each.reason for each in made.skipped}
    assert told["report.dcm"] == "is a DICOM file without pictures (Basic Text SR Storage)" and "RT Structure Set" in told["plan.dcm"]
    assert told["DICOMDIR"] == "is the list of a DICOM disc: the pictures lie in the folders beside it"
    assert told["zz.dcm"] == "is a second copy of a picture of this import"
    (scout,) = [reason for file, reason in told.items() if "localizer" in file]
    assert scout.startswith("is a localizer: take it by its number, --series ")
    number = scout.rpartition(" ")[2]
    captions = [made.caption(row) for row in made.rows]
    assert captions.count("PET of the head, axial plane, slice 1 of 4") == 2, "two times at four places"
    assert [c for c in captions if c.startswith("ultrasound")] == [f"ultrasound of the hand, frame {k} of 3" for k in (1, 2, 3)]
    assert captions.count("CT of the head, axial plane") == 1 and captions.count("MRI of the hand") == 1
    assert len({row.group for row in made.rows if row.facts["modality"] in {"PET", "MRI"}}) == 2, (
        "nameless patients are told by their study"
    )
    assert made_of(mixed, tmp_path / "again", series=number).rows[0].facts["plane"] == "axial"
    assert SECRETS[0].casefold() not in "".join([*captions, *(row.model_dump_json() for row in made.rows)]).casefold()


def test_claims_beyond_reason_are_one_line(tmp_path):
    one(tmp_path, "frames.dcm", RAMP, NumberOfFrames=2_000_000_000)
    with pytest.raises(StudioError, match="claims 2000000000 frames, more than 20000: export it again"):
        made_of(tmp_path / "frames.dcm", tmp_path)


SAID = {
    "where an X-ray was taken from": ({"ViewPosition": "PA"}, "", "X-ray of the hand, PA view"),
    "by other words": ({"ViewPosition": "MLO", "Modality": "MG"}, "{modality} of {region}, {view}", "mammography of hand, MLO"),
    "a plane is a view": ({"Modality": "CT", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "{modality}[, {view}]", "CT, axial"),
    "free text is none": ({"ViewPosition": f"PA {SECRETS[0]}"}, "{modality}[, {view}]", "X-ray"),
    "no modality that is known": ({"Modality": "OT"}, "", "scan of the hand"),
    "tiles of a slide": ({"Modality": "SM", "NumberOfFrames": 2, "TotalPixelMatrixColumns": 9}, "", "microscopy of the hand"),
}


@pytest.mark.parametrize("case", SAID)
def test_captions_say_what_tags_say_and_no_more(case, tmp_path):
    tags, template, caption = SAID[case]
    values = np.stack([RAMP, RAMP[::-1]]) if "NumberOfFrames" in tags else RAMP
    one(tmp_path, "one.dcm", values, **tags)
    made = made_of(tmp_path / "one.dcm", tmp_path, caption=template)
    assert {made.caption(row) for row in made.rows} == {caption}


def test_what_is_no_template_is_one_line(tmp_path):
    one(tmp_path, "one.dcm", RAMP)
    for template in ("{modality of {body_part}", "{modality}[, [{plane}]]"):
        with pytest.raises(StudioError, match="caption template: .* has no partner"):
            made_of(tmp_path / "one.dcm", tmp_path, caption=template)
