"""Writing of manifests and of the files whose SHA-256 they hold: what is there stays until all of the new is on disk."""

import hashlib
from pathlib import Path

import yaml


def digest(path: Path) -> str:
    """SHA-256, as manifests have it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unproven(path: Path) -> Path:
    """Beside it, for what is to take its place once it is known to be good."""
    return path.with_name(f".{path.name}")


def write_whole(path: Path, content: bytes) -> None:
    unproven(path).write_bytes(content)
    unproven(path).replace(path)


def write_manifest(path: Path, manifest: dict) -> None:
    write_whole(path, yaml.safe_dump(manifest, sort_keys=False, default_flow_style=None, width=100).encode())


def keep_entries(manifest: dict, path: Path) -> None:
    """Takes over what other commands entered at `path`, where a manifest of the same network is to be written anew."""
    old = yaml.safe_load(path.read_text()) if path.exists() else {"files": []}
    entries = {file["precision"]: file for file in old["files"] if file["precision"] != "fp32"}
    entries |= {name: old[name] for name in ("descriptors", "guard") if name in old}
    for name, entry in entries.items():
        is_same = manifest["files"][0] in old["files"]
        if name == "guard":  # whose margins are those of the mask
            is_same = is_same and manifest.get("segmentation") == old.get("segmentation")
        if not is_same or not (path.parent / entry["path"]).exists():
            print(f"{path}: {name} left out: it was made for what stood here before, or its file is gone; make it anew")
        elif name in ("descriptors", "guard"):
            manifest[name] = entry
        else:
            manifest["files"].append(entry)
