"""Scans and scenes dropped on the page: what was found is shown with choices and a preview, then imported as chosen."""

import re
import zipfile

from studio.dataset.rows import open_dataset
from tests.dataset.scans import SECRETS, dicom, head, land, nifti, scene, series
from tests.ui.browser import drop, shows, wait_until


def dialog(page):
    box = page.locator("dialog.scans")
    box.and_(page.locator("[data-state=ready]")).wait_for()
    return box


def seen(box):
    """The picture shown, once it is drawn."""
    image = box.locator("img.seen")
    wait_until(lambda: image.get_attribute("aria-busy") is None and image.evaluate("i => i.naturalWidth") == 64, "the preview")
    return image.get_attribute("src")


def test_a_dicom_series_is_shown_through_its_window_and_imported_as_chosen(studio, new_page, tmp_path):
    page = new_page(studio.url)
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    several = {"WindowCenter": [40, 300], "WindowWidth": [400, 1500], "WindowCenterWidthExplanation": ["BRAIN", SECRETS[0]]}
    files = sorted(series(tmp_path / "ct", 12, **several).iterdir())
    files.append(dicom(tmp_path / "scout.dcm", head(0.5), SeriesInstanceUID="1.2.3", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    bad = tmp_path / "broken.dcm"
    bad.write_bytes(b"no scan")
    drop(page, "body", [*files, bad])
    box = dialog(page)
    shows(box, "2 series, volumes or scenes found")
    assert SECRETS[0] not in box.inner_text()
    shows(box, "12 slices of 64x64 px, window 40/400 brain from its tags (own 2 is window 300/1500)")
    wait_until(lambda: not box.get_by_role("checkbox", name="Take CT head, axial (localizer)").is_checked())
    first = seen(box)
    shows(box, "“CT of the head, axial plane, slice 7 of 12”", "window 40/400 brain, from its tags")
    box.get_by_label("Window").fill("own 2")
    wait_until(lambda: "window 300/1500, from its tags" in box.locator("figure").inner_text(), "the second of its own")
    box.get_by_label("Window").fill("bone")
    wait_until(lambda: "window bone" in box.locator("figure").inner_text(), "the other window")
    assert seen(box) != first
    box.get_by_label("Window").fill("kidney")
    wait_until(lambda: "window: must be auto" in box.inner_text(), "the line about the window")
    box.get_by_role("button", name="Import").click()
    box.wait_for()  # nothing is imported with a choice that is wrong
    box.get_by_label("Window").fill("brain")
    box.get_by_label("Every n-th slice").fill("2")
    wait_until(lambda: "one of 6" in box.inner_text(), "every second slice")
    box.get_by_role("button", name="Import").click()
    summary = page.locator(".dataset-import")
    wait_until(lambda: "to scans." in summary.inner_text(), "the summary")
    shows(summary, "localizer) (2) is a localizer: take it by its number")
    shows(summary, "broken.dcm is named like a DICOM file, but is none or damaged")
    made = open_dataset(studio.workspace, "scans")
    assert [row.facts["slice"] for row in made.rows] == [3, 5, 7, 9, 11] and {row.note for row in made.rows} == {"window brain"}
    assert not any(secret in made.model_dump_json(exclude={"skipped"}) for secret in SECRETS)
    page.locator(".dataset-grid .card").first.wait_for()
    wait_until(lambda: page.locator(".card textarea").first.input_value() == "CT of the head, axial plane, slice 3 of 12")


def test_a_scene_becomes_tiles_of_the_bands_chosen_and_cancelling_adds_nothing(studio, new_page, tmp_path):
    page = new_page(studio.url)
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    place = scene(tmp_path / "place.tif", land(4, 200, 200), names=("B02", "B03", "B04", "B08"))
    volume = nifti(tmp_path / "t1.nii.gz", land(30, 40, 40).astype("float32"))
    drop(page, "body", [place, volume])
    box = dialog(page)
    shows(box, "2 series, volumes or scenes found", "Here: 1 B2, 2 B3, 3 B4, 4 B8")
    shows(page.locator(".status-strip"), "An import waits for your choices")
    box.get_by_role("button", name="Cancel").click()
    wait_until(lambda: "Cancelled: nothing was added." in page.locator(".dataset-import").inner_text(), "the word")
    wait_until(lambda: not page.locator(".dataset-grid .card").count())
    drop(page, "body", [place, volume])
    box = dialog(page)
    box.get_by_role("checkbox", name="Take volume").uncheck()
    box.locator("button", has_text="scene").click()
    box.get_by_label("Bands").fill("4,3,2")
    box.get_by_label("Tile (px)").fill("64")
    box.get_by_label("Overlap").fill("0.1")
    wait_until(lambda: "one of 16" in box.inner_text(), "sixteen tiles")
    shows(box, "Takes at most 16 pictures")
    box.get_by_text("More choices").click()
    box.get_by_label("Tiles at most").fill("9")
    shows(box, "Takes at most 9 pictures")
    box.get_by_label("Tiles at most").fill("1000")
    box.get_by_role("checkbox", name="Take volume").check()
    wait_until(lambda: int(re.search(r"Takes at most (\d+) pictures", box.inner_text())[1]) > 16, "the slices as well")
    box.get_by_role("checkbox", name="Take volume").uncheck()
    shows(box, "Takes at most 16 pictures")
    seen(box)
    shows(box, "bands B8, B4, B3")
    box.get_by_role("button", name="Import").click()
    wait_until(lambda: "Added 16 pictures" in page.locator(".dataset-import").inner_text(), "the summary")
    name = page.evaluate("new URLSearchParams(location.search).get('dataset')")
    made = open_dataset(studio.workspace, name)
    assert {row.group for row in made.rows} == {"s1"} and made.rows[0].source.startswith("scene ")


def test_a_folder_of_this_machine_is_imported_by_its_path_and_leaves_as_parquet(studio, new_page, tmp_path):
    page = new_page(studio.url)
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    folder = series(tmp_path / SECRETS[0], 5)
    box = page.get_by_label("Path on this machine")
    box.fill("nowhere/at/all")
    page.locator(".by-path").get_by_role("button", name="Import").click()
    wait_until(lambda: "give the whole path of a folder or file here" in page.locator("#studio-toasts").inner_text(), "the line")
    box.fill(str(folder))
    page.locator(".by-path").get_by_role("button", name="Import").click()
    dialog(page).get_by_role("button", name="Import").click()
    wait_until(lambda: "Added 3 pictures" in page.locator(".dataset-import").inner_text(), "the summary")
    shows(page.locator(".dataset-import"), "scans")
    assert len(list(folder.iterdir())) == 5
    page.get_by_role("button", name="Export", exact=True).click()
    exporting = page.locator("dialog.dataset-dialog")
    exporting.get_by_label("Captions").select_option("parquet")
    exporting.get_by_role("checkbox", name="also what is known").check()
    with page.expect_download() as download:
        exporting.get_by_role("link", name="Download zip").click()
    archive = zipfile.ZipFile(download.value.path())
    table = archive.read("data/train-00000-of-00001.parquet")
    assert table[:4] == table[-4:] == b"PAR1" and b"modality" in table
    exporting.get_by_role("textbox", name="Folder").fill(str(tmp_path / "out"))
    exporting.get_by_role("button", name="Copy to folder").click()
    wait_until(lambda: "Written to" in exporting.inner_text(), "the word")
    data = b"".join(path.read_bytes() for path in (tmp_path / "out" / "data").iterdir())
    assert b"modality" in data and not any(secret.encode() in data for secret in SECRETS)
