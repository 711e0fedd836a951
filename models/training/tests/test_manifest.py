"""Manifests that are written anew: what other commands entered stays where the network is the same."""

import hashlib
import importlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper

from squeezenet_training.manifest import keep_entries, write_manifest


def manifest_of(sha256: str, temperature: float = 1.0) -> dict:
    return {"files": [{"precision": "fp32", "path": "a.onnx", "sha256": sha256}], "segmentation": {"temperature": temperature}}


@pytest.fixture()
def entered(tmp_path: Path) -> Path:
    """A manifest with an int8 version, descriptors and a guard."""
    content = manifest_of("1")
    content["files"].append({"precision": "int8", "path": "a_int8.onnx", "sha256": "2"})
    for name in ("descriptors", "guard"):
        content[name] = {"path": name, "sha256": "3"}
    for name in ("a_int8.onnx", "descriptors", "guard"):
        (tmp_path / name).touch()
    write_manifest(tmp_path / "a.yaml", content)
    return tmp_path / "a.yaml"


def kept(path: Path, manifest: dict) -> list[str]:
    keep_entries(manifest, path)
    return [name for name in ("int8", "descriptors", "guard") if name in manifest or name in str(manifest["files"])]


def test_entries_of_the_same_network_stay(entered: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert kept(entered, manifest_of("1")) == ["int8", "descriptors", "guard"]
    assert kept(entered, manifest_of("1", 1.2)) == ["int8", "descriptors"], "the margins of the guard are those of the mask"
    (tmp_path / "descriptors").unlink()
    assert kept(entered, manifest_of("1")) == ["int8", "guard"]
    capsys.readouterr()
    assert kept(entered, manifest_of("9")) == []
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split()[0] for line in said] == ["int8", "descriptors", "guard"]
    assert kept(tmp_path / "new.yaml", manifest_of("1")) == []


def test_a_manifest_that_cannot_be_written_stays_as_it_was(entered: Path):
    before = entered.read_bytes()
    with pytest.raises(yaml.YAMLError):
        write_manifest(entered, {"scores": np.float32(1)})
    assert entered.read_bytes() == before


@pytest.fixture()
def remake(backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs make_imagenet.py with the weights that are in the shipped file, times a factor, in a folder of its own."""
    monkeypatch.syspath_prepend(backbone.parent)
    module = importlib.import_module("make_imagenet")
    for name in (f"{module.NAME}.yaml", f"{module.NAME}_descriptors.safetensors"):
        (tmp_path / name).write_bytes(backbone.with_name(name).read_bytes())
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(backbone).graph.initializer}
    layers = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]

    def run(factor: float) -> dict:
        weights = {name: [factor * tensors[f"{name}.weight"].transpose(2, 3, 1, 0), tensors[f"{name}.bias"]] for name in layers}
        monkeypatch.setattr(module, "HERE", tmp_path)
        monkeypatch.setattr(module, "fetch", lambda *_: b"")
        monkeypatch.setattr(module, "WEIGHTS_SHA256", hashlib.sha256(b"").hexdigest())
        monkeypatch.setattr(module.ArrayUnpickler, "load", lambda _: weights)
        names = (backbone.parent / "imagenet_classes.txt").read_text().splitlines()
        monkeypatch.setattr(module, "class_names", lambda: names)
        module.main()
        return yaml.safe_load((tmp_path / f"{module.NAME}.yaml").read_text())

    return run


def test_the_imagenet_model_is_made_anew_and_keeps_its_descriptors(remake, backbone: Path, capsys: pytest.CaptureFixture):
    shipped = yaml.safe_load(backbone.with_suffix(".yaml").read_text())
    made = remake(1.0)
    assert made["files"] == shipped["files"] and made["descriptors"] == shipped["descriptors"]
    assert "descriptors" not in remake(1.1)
    assert "descriptors left out" in capsys.readouterr().out
