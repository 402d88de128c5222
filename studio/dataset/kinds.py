"""What a file is, told by its name and first bytes: a picture we read, or something else and the way out."""

import re

READABLE = "PNG, JPEG, WebP, BMP, GIF, TIFF and AVIF"
PICTURE_SUFFIXES = frozenset(".png .apng .jpg .jpeg .jpe .jfif .webp .bmp .dib .gif .tif .tiff .avif .avifs .mpo".split())
MAX_FILE_BYTES = 2**29
SCAN_SUFFIXES = frozenset(
    ".dcm .dicom .ima .nii .img .hdr .gz .parquet .tif .tiff .gtif .gtiff .btf .tf8 .jp2 .j2k".split()
)  # read in parts, so they may be larger
VIEW_SIZES = (256, 1024)  # longer sides, in pixels, of the re-encoded pictures that pages show
HEAD_BYTES = 4096  # enough of a file for `refusal` and `is_picture`

_EXPORT = "export it as PNG or JPEG"
_CAMERA = ".3fr .arw .cr2 .cr3 .crw .dng .erf .iiq .kdc .mrw .nef .nrw .orf .pef .raf .raw .rw2 .sr2 .srw .x3f"
_VIDEO = ".avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm .wmv"
_ARCHIVE = ".7z .bz2 .cbz .gz .rar .tar .tbz .tgz .txz .xz .zip .zst"


def _table(*lines: tuple[str, str, str]) -> dict[str, str]:
    return {suffix: f"{what}: {way_out}" for suffixes, what, way_out in lines for suffix in suffixes.split()}


_BY_SUFFIX = _table(
    (_CAMERA, "a camera raw file", _EXPORT),
    (_VIDEO, "a video", "export single frames as PNG or JPEG"),
    (_ARCHIVE, "an archive", "unpack it first"),
    (".heic .heif .hif", "a HEIC picture", _EXPORT),
    (".jp2 .j2k .jpf .jpx .jpc .j2c", "a JPEG 2000 picture", _EXPORT),
    (".jxl", "a JPEG XL picture", _EXPORT),
    (".psd .psb", "a Photoshop document", _EXPORT),
    (".xcf .kra .ora .clip .afphoto .sketch", "a paint program's document", _EXPORT),
    (".svg .svgz .ai .eps .ps .wmf .emf .cdr", "a drawing made of shapes", _EXPORT),
    (".pdf .djvu", "a document", "export its pages as PNG or JPEG"),
    (".ico .cur .icns", "an icon file", _EXPORT),
    (".dcm .dicom .nii", "a medical scan", "export its slices as PNG"),
    (".mha .mhd .nrrd .nhdr .mgz .mgh .mnc .mif", "a medical volume of another kind", "convert it to NIfTI (.nii.gz)"),
    (".svs .ndpi .scn .mrxs .czi .lif .nd2 .vsi .oib .oir", "a microscope's file", "export its pictures or tiles as TIFF or PNG"),
    (".nc .grib .grb2 .ecw .sid .hgt .bil", "a scene of another kind", "convert it to GeoTIFF"),
    (".fits .fit .fts", "a FITS picture", _EXPORT),
    (".exr .hdr .pfm", "a high dynamic range picture", _EXPORT),
    (".tga .dds .pcx .pbm .pgm .ppm .pnm .xbm .xpm .sgi .qoi .ktx", "a picture in a rare format", _EXPORT),
    (".vrt", "a list of other rasters", "import the files that it names"),
    (".img", "half of a volume", "import it with its .hdr beside it"),
    (".npy .npz .mat .h5 .hdf5", "an array file", "export its pictures as PNG"),
)

_SURE_MAGIC = rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|....ftyp(avi[fs]|m[is]f1.{0,32}avif)"
_SURE = re.compile(_SURE_MAGIC, re.DOTALL)
_LIKELY = re.compile(_SURE_MAGIC + rb"|BM|II[*+]\0|MM\0[*+]", re.DOTALL)  # BMP, TIFF and BigTIFF begin less distinctly
# First bytes of other formats, each with a suffix that names the same kind in the table above.
_FOREIGN_MAGIC = tuple(
    (re.compile(pattern, re.DOTALL), suffix)
    for pattern, suffix in (
        (rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", ".heic"),
        (rb"....ftypcrx ", ".cr3"),
        (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", ".mp4"),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", ".jp2"),
        (rb"\0\0\0\x0cJXL |\xff\x0a", ".jxl"),
        (rb"8BPS", ".psd"),
        (rb"gimp xcf", ".xcf"),
        (rb"%!PS|\xc5\xd0\xd3\xc6|\xd7\xcd\xc6\x9a", ".eps"),
        (rb"(\xef\xbb\xbf)?\s*<svg|(\xef\xbb\xbf)?\s*<(\?xml|!--|!DOCTYPE svg).*<svg", ".svg"),
        (rb"%PDF", ".pdf"),
        (rb"\0\0[\x01\x02]\0[\x01-\xff]\0|icns", ".ico"),
        (rb".{128}DICM", ".dcm"),
        (rb"SIMPLE  =", ".fits"),
        (rb"\x76\x2f\x31\x01|#\?RADIANCE", ".exr"),
        (rb"DDS |qoif|P[1-7]\s", ".dds"),
        (rb"\x93NUMPY|\x89HDF", ".npy"),
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|\xfd7zXZ|BZh|.{257}ustar", ".zip"),
    )
)

_WRAPPINGS = {".zip", ".npy"}  # in which many formats are packed: what their names say is more

# A data set that begins at once: with group 2, or with the first tags of group 8, their kind of value told or not.
_BARE_DICOM = re.compile(rb"\x02\0\0\0UL\x04\0|\x08\0[\0\x05\x08\x12-\x18]\0(?:CS|UI|UL|DA|TM|.\0\0\0)", re.DOTALL)


def suffix_of(name: str) -> str:
    """The last suffix of a file name, in lower case, with its dot; empty where there is none."""
    dot = name.rfind(".")
    return name[dot:].casefold() if dot > 0 else ""


def view_name(pixels: str, size_px: int) -> str:
    """What the re-encoded picture of this pixel hash is called in the folder of views."""
    return f"{pixels}-{size_px}.webp"


def is_named_like_picture(name: str) -> bool:
    """Whether a name promises a picture (of any format) or an archive of them."""
    suffix = suffix_of(name)
    return suffix in PICTURE_SUFFIXES or suffix in _BY_SUFFIX


def is_picture(head: bytes) -> bool:
    """Whether first bytes are, beyond doubt, those of a picture we read, whatever the name says."""
    return _SURE.match(head) is not None


def is_scan(head: bytes) -> bool:
    """Whether first bytes are those of a DICOM file, which often has no suffix, also without its preamble, or of a Parquet table."""
    return head[128:132] == b"DICM" or head[:4] == b"PAR1" or _BARE_DICOM.match(head) is not None


def refusal(name: str, head: bytes) -> str | None:
    """Why a file of this name and these first bytes cannot be read, and the way out; None where it is worth trying."""
    if not head:
        return "is empty: copy or download it again"
    suffix = suffix_of(name)
    if _LIKELY.match(head) and suffix not in _CAMERA.split():
        return None
    for pattern, kind in _FOREIGN_MAGIC:
        if pattern.match(head):
            return f"is {_BY_SUFFIX[suffix if kind in _WRAPPINGS and suffix in _BY_SUFFIX else kind]}"
    if suffix in (".zip", ".cbz"):
        return "is called like an archive, but is none: copy or download it again"
    if suffix in _BY_SUFFIX:
        return f"is {_BY_SUFFIX[suffix]}"
    what = "holds text, not a picture" if _is_text(head) else "is not a picture, or one in an unknown format"
    return f"{what}: {READABLE} are read"


def _is_text(head: bytes) -> bool:
    text = head[:512].decode("utf-8", "ignore")
    return len(text) >= 0.5 * len(head[:512]) and all(c.isprintable() or c.isspace() for c in text)
