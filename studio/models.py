"""Which base models are on this machine, and which family each belongs to."""

import os
from dataclasses import dataclass
from pathlib import Path

from studio import registry
from studio.errors import StudioError, one_line
from studio.families.folder import refuse_pickle
from studio.store import ASSETS, Workspace

STARTER = ASSETS / "starter"


@dataclass(frozen=True)
class Base:
    """A usable base model: where it is and which family reads it."""

    source: str
    path: Path
    family: str

    @property
    def preset_key(self) -> str:
        """Which presets fit: the embedded model has its own, others those of their family."""
        return "starter" if self.path == STARTER else self.family


def find_base(source: str, workspace: Workspace | None = None) -> Base:
    """The base model named by `starter`, a path, or a name in the workspace's models folder; StudioError if unusable."""
    if source == "starter":
        path = STARTER
    else:
        path = Path(os.path.expanduser(source))
        if workspace and not path.exists() and (workspace.models / source).exists():
            path = workspace.models / source
    if not path.exists():
        raise StudioError(f"--base {source}: nothing there; give starter, a diffusers model folder or a .safetensors file")
    refuse_pickle(path)
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() == ".safetensors"):
        raise StudioError(f"--base {source}: not a .safetensors file or a model folder")
    path = path.resolve()
    for key in registry.FAMILIES:
        if registry.family(key).recognise(path):
            return Base("starter" if path == STARTER else str(path), path, key)
    titles = ", ".join(registry.family(k).card.title for k in registry.FAMILIES)
    raise StudioError(f"--base {source}: this kind of model is not known here; known are: {titles}")


def size_mib(path: Path) -> float:
    """Size of a file or folder in MiB."""
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return sum(f.stat().st_size for f in files) / 2**20


def list_models(workspace: Workspace) -> list[dict]:
    """One row per model: the embedded one and all in the workspace's models folder, with the reason where one is unusable."""
    found = [("starter", STARTER)]
    if workspace.models.is_dir():
        found += [(p.name, p) for p in sorted(workspace.models.iterdir()) if not p.name.startswith(".")]
    return [_describe(name, path, workspace) for name, path in found]


def _describe(name: str, path: Path, workspace: Workspace) -> dict:
    row = {
        "model": name,
        "path": str(path),
        "family": None,
        "size_mib": round(size_mib(path), 1),
        "licence": None,
        "usable": False,
        "reason": None,
    }
    try:
        base = find_base(name if name == "starter" else str(path), workspace)
    except (StudioError, OSError) as error:
        return row | {"reason": one_line(error)}
    card = registry.family(base.family).card
    return row | {
        "family": card.title,
        "licence": told(path).get("license_name") or told(path).get("license") or card.licence,
        "usable": True,
    }


def told(path: Path) -> dict[str, str]:
    """What a model's README.md says in its front matter, as on model hubs: license, license_name, model_name …"""
    try:
        lines = (path / "README.md").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        return {}
    pairs = (line.partition(":") for line in lines[1 : lines.index("---", 1)])
    return {key.strip(): value.strip().strip("\"'") for key, colon, value in pairs if colon and value.strip()}
