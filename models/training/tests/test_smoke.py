"""Each command once, on tiny generated data, as a user runs them one after the other."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from squeezenet_training import balance, calibrate, classify, compare, descriptors, export, quantize, segment


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def segment_run(command, backbone: Path, street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("segment")
    options = [
        "--data", street, "--val", street, "--classes", street / "classes.yaml", "--backbone", backbone,
        "--out", out, "--size", 96, 64, "--batch", 3, "--workers", 0, "--device", "cpu",
    ]
    command(segment, *options, "--epochs", 1)
    (out / "final.pt").unlink()
    command(segment, *options, "--epochs", 12, "--score-every", 12)
    return out


@pytest.fixture(scope="module")
def exported(command, backbone: Path, street: Path, segment_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model")
    (out / "imagenet_classes.txt").write_bytes((backbone.parent / "imagenet_classes.txt").read_bytes())
    command(
        export, "--name", "tiny", "--out", out, "--backbone", backbone, "--segmenter", segment_run / "final.pt",
        "--classes", street / "classes.yaml", "--size", 128, 96, "--pictures", street / "images" / "0.png",
    )
    return out / "tiny.yaml"


def test_segment_goes_on_where_it_stopped_and_learns(segment_run: Path):
    log = log_of(segment_run)
    assert [record["epoch"] for record in log] == list(range(1, 13))
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["mean_iou"] > 0.5
    assert len(list((segment_run / "pictures").glob("worst*.png"))) == 3


def test_export_writes_a_manifest_that_fits_its_file(exported: Path):
    manifest = yaml.safe_load(exported.read_text())
    (entry,) = manifest["files"]
    content = (exported.parent / entry["path"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert [c["name"] for c in manifest["segmentation"]["classes"]] == ["sky", "floor", "box"]
    assert (exported.parent / "tiny.md").exists()


def test_the_exported_model_keeps_the_classifier_as_it_was(exported: Path, backbone: Path):
    image = np.random.default_rng(3).uniform(-120, 130, (1, 3, 104, 136)).astype(np.float32)
    both = onnxruntime.InferenceSession(exported.with_suffix(".onnx"))
    alone = onnxruntime.InferenceSession(backbone)
    logits, segmentation = both.run(["logits", "segmentation"], {"image": image})
    np.testing.assert_allclose(logits, alone.run(["logits"], {"image": image})[0], rtol=1e-4, atol=1e-4)
    assert segmentation.shape == (1, 3, 52, 68)


def test_quantize_enters_an_int8_file(command, exported: Path, street: Path):
    command(quantize, "--manifest", exported, "--pictures", street / "images", "--count", 3, "--rounds", 1)
    entry = yaml.safe_load(exported.read_text())["files"][1]
    path = exported.parent / entry["path"]
    assert entry["precision"] == "int8"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    assert path.stat().st_size < 0.5 * exported.with_suffix(".onnx").stat().st_size
    nodes = onnx.load(path).graph.node
    source = {output: node for node in nodes for output in node.output}
    readers = {name: node for node in nodes for name in node.input}
    fires = [node for node in nodes if node.op_type == "Concat" and "fire" in node.name]
    assert len(fires) == 8
    for node in fires:  # copied, not looked up: of one scale and zero point
        assert {tuple(source[name].input[1:]) for name in node.input} == {tuple(readers[node.output[0]].input[1:])}


def test_balance_never_lowers_the_mean(command, backbone: Path, street: Path, segment_run: Path, tmp_path: Path):
    command(
        balance, "--backbone", backbone, "--segmenter", segment_run / "final.pt",
        "--classes", street / "classes.yaml", "--data", street, "--out", tmp_path / "balance.json",
    )
    record = json.loads((tmp_path / "balance.json").read_text())
    assert len(record["bias"]) == 3
    assert record["mean_iou_after"][street.name] >= record["mean_iou_before"][street.name]


def test_calibrate_finds_a_temperature(command, backbone: Path, street: Path, segment_run: Path, tmp_path: Path):
    command(
        calibrate, "--backbone", backbone, "--segmenter", segment_run / "final.pt",
        "--classes", street / "classes.yaml", "--val", street, "--out", tmp_path / "t.json",
    )
    record = json.loads((tmp_path / "t.json").read_text())
    assert 0.5 <= record["segmentation"] <= 3.0
    assert record["val_mean_iou"] > 0.5


def test_classify_tells_stripes_apart(command, backbone: Path, stripes: Path, tmp_path: Path):
    options = [
        "--data", stripes, "--val", stripes, "--backbone", backbone, "--out", tmp_path,
        "--size", 96, "--batch", 8, "--workers", 0, "--device", "cpu",
    ]
    command(classify, *options, "--epochs", 2)
    command(classify, *options, "--epochs", 8, "--lr", 3e-3)
    log = log_of(tmp_path)
    assert [record["epoch"] for record in log] == list(range(1, 9))
    assert log[-1]["top1"] >= 0.9
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    assert torch.load(tmp_path / "final.pt", weights_only=True)["names"] == ["lying", "standing"]
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for name, other in (("lying", "standing"), ("standing", "upright")):
        (renamed / other).symlink_to(stripes / name)
    with pytest.raises(SystemExit, match="learnt lying, standing; the folders are standing, upright"):
        command(classify, "--data", renamed, *options[4:], "--epochs", 8)


def test_classify_fine_tunes_an_untrained_1_0(command, stripes: Path, tmp_path: Path):
    command(
        classify, "--data", stripes, "--out", tmp_path, "--version", "1.0", "--train-backbone",
        "--size", 64, "--epochs", 1, "--workers", 0, "--device", "cpu",
    )
    assert torch.load(tmp_path / "final.pt", weights_only=True)["version"] == "1.0"


def test_compare_counts_what_the_paper_counts(command, backbone: Path, tmp_path: Path):
    command(
        compare, "--backbone", backbone, "--size", 128, 96, "--rounds", 1, "--out", tmp_path / "table.md"
    )
    rows = [row.split(" | ") for row in (tmp_path / "table.md").read_text().splitlines()[2:]]
    assert [row[4] for row in rows[::3]] == ["1.25 M", "1.24 M"]
    assert len(rows) == 6


def test_descriptors_are_learnt_and_named_in_the_manifest(command, exported: Path, street: Path):
    command(descriptors, "--manifest", exported, "--pictures", street / "images", "--count", 3, "--threads", 1)
    entry = yaml.safe_load(exported.read_text())["descriptors"]
    content = (exported.parent / entry["path"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    tensors = load_file(exported.parent / entry["path"])
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    assert {name.split(".")[0] for name in tensors} == {"place", "label"}
