"""Scans made by the tests: DICOM series, NIfTI volumes and GeoTIFF scenes, with identities planted where tags can hold them."""

from pathlib import Path

import numpy as np

SECRETS = ("Zwillinger", "QX-77-4411", "19530412", "Saint-Planted", "Dr. Wexelblatt", "1.2.826.0.1.99.31337")
SIDE = 64


def head(share: float, side: int = SIDE) -> np.ndarray:
    """A slice in Hounsfield units, int16 [side, side]: air, a disc of tissue that grows with `share`, bone around it, a grain."""
    y, x = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    radius = np.hypot(x, y)
    size = 0.35 + 0.5 * np.sin(np.pi * min(max(share, 0.05), 0.95))
    values = np.full((side, side), -1000.0)
    values[radius < size] = 40 + 30 * np.cos(7 * x[radius < size] + 9 * share)
    values[(radius > size - 0.08) & (radius < size)] = 900
    return (values + np.random.default_rng(int(share * 1000)).normal(0, 2, values.shape)).astype(np.int16)


def dicom(path: Path, values: np.ndarray, *, syntax: str = "", **tags) -> Path:
    """Write `values` as a CT slice with a planted identity; `tags` replace or, being None, remove tags."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset(str(path), Dataset(), file_meta=meta, preamble=b"\0" * 128)
    is_colour = values.ndim == 3 and values.shape[2] == 3
    given = {
        "PatientName": SECRETS[0] + "^Ada", "PatientID": SECRETS[1], "PatientBirthDate": SECRETS[2], "InstitutionName": SECRETS[3],
        "ReferringPhysicianName": SECRETS[4], "StudyInstanceUID": SECRETS[5] + ".1", "SeriesInstanceUID": SECRETS[5] + ".2",
        "SeriesDescription": f"T1 of {SECRETS[0]}", "SOPClassUID": CTImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "CT", "BodyPartExamined": "HEAD", "InstanceNumber": 1, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "Rows": values.shape[-3] if is_colour else values.shape[-2], "Columns": values.shape[-2] if is_colour else values.shape[-1],
        "BitsAllocated": 8 * values.itemsize, "BitsStored": 8 * values.itemsize, "HighBit": 8 * values.itemsize - 1,
        "PixelRepresentation": int(values.dtype.kind == "i"), "SamplesPerPixel": 3 if is_colour else 1,
        "PhotometricInterpretation": "RGB" if is_colour else "MONOCHROME2", "RescaleSlope": 1, "RescaleIntercept": 0,
        "WindowCenter": 40, "WindowWidth": 400,
    }  # fmt: skip
    if is_colour:
        given["PlanarConfiguration"] = 0
    for name, value in (given | tags).items():
        if value is not None:
            setattr(ds, name, value)
    ds.PixelData = values.tobytes()
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    elif syntax:
        meta.TransferSyntaxUID, ds.PixelData = UID(syntax), encapsulate([b"not decoded here"])
        ds["PixelData"].is_undefined_length = True
    ds.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, num: int, *, patient: str = SECRETS[1], uid: str = SECRETS[5] + ".2", shuffled: bool = True, **tags) -> Path:
    """A series of `num` slices, their files and instance numbers not in the order of space; first and last show air alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(num):
        values = np.full((SIDE, SIDE), -1000, np.int16) if i in {0, num - 1} else head(i / num)
        number = (i * 7) % num if shuffled else i
        place = {"ImagePositionPatient": [0, 0, 5.0 * i], "InstanceNumber": number + 1, "PatientID": patient, "SeriesInstanceUID": uid}
        dicom(folder / f"{SECRETS[0]}-{number:03d}.dcm", values, **place | tags)
    return folder


def nifti(path: Path, values: np.ndarray, *, axes: str = "RAS", spacing: tuple[float, ...] = (1, 1, 1), **header) -> Path:
    """Write a volume whose array axes point to `axes`, such as LPS; a planted identity is in its description."""
    import nibabel

    orientation = nibabel.orientations.axcodes2ornt(tuple(axes))
    affine = np.zeros((4, 4))
    for axis, (to, sign) in enumerate(orientation):
        affine[int(to), axis] = sign * spacing[axis]
    affine[3, 3] = 1
    image = nibabel.Nifti1Image(values, affine)
    image.header["descrip"] = SECRETS[0].encode()
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def scene(path: Path, values: np.ndarray, *, names: tuple[str, ...] = (), **options) -> Path:
    """Write `values` [bands, H, W] as a tiled GeoTIFF with 10 m pixels; identities are planted in its tags and band names."""
    import rasterio
    from rasterio.transform import from_origin

    kind = {"driver": "GTiff", "count": len(values), "dtype": values.dtype, "height": values.shape[1], "width": values.shape[2]}
    kind |= {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    place = {"crs": "EPSG:32632", "transform": from_origin(500000, 5100000, 10, 10)}
    with rasterio.open(path, "w", **kind | place | options) as file:
        file.write(values)
        for i, name in enumerate(names, 1):
            file.set_band_description(i, name)
        file.update_tags(OPERATOR=SECRETS[0], ACQUISITION_DATE="2021-06-30T10:20:30Z", TIFFTAG_ARTIST=SECRETS[4])
    return path


def land(bands: int, height: int, width: int, top: int = 4000) -> np.ndarray:
    """Reflectances, uint16 [bands, H, W]: smooth fields that differ from band to band, never 0."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    fields = [200 + (top - 200) * (0.5 + 0.5 * np.sin(x / (19 + 7 * b) + b) * np.cos(y / (23 + 5 * b))) for b in range(bands)]
    return np.stack(fields).astype(np.uint16)
