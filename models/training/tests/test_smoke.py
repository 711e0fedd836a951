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
from squeezenet_training.segmenter import GroundBranch


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
    (out / "pictures" / "best_of_all.png").write_bytes(b"the user's own")
    command(segment, *options, "--epochs", 12, "--score-every", 12)
    return out


@pytest.fixture(scope="module")
def exported(
    command, backbone: Path, street: Path, stripes: Path, segment_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("model")
    (out / "imagenet_classes.txt").write_bytes((backbone.parent / "imagenet_classes.txt").read_bytes())
    command(
        export, "--name", "tiny", "--out", out, "--backbone", backbone, "--segmenter", segment_run / "final.pt",
        "--classes", street / "classes.yaml", "--size", 128, 96, "--pictures", street / "images" / "0.png", stripes,
    )
    return out / "tiny.yaml"


def test_segment_goes_on_where_it_stopped_and_learns(segment_run: Path):
    log = log_of(segment_run)
    assert [record["epoch"] for record in log] == list(range(1, 13))
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["mean_iou"] > 0.5
    for kind in ("best", "worst"):
        assert len(list((segment_run / "pictures").glob(f"{kind}[1-3]_*.png"))) == 3
    assert (segment_run / "pictures" / "best_of_all.png").exists(), "only its own pictures are replaced"


def options_of(module, backbone: Path, street: Path, stripes: Path) -> list:
    """Two epochs of little work, with a loader process."""
    common = ["--backbone", backbone, "--workers", 1, "--device", "cpu", "--epochs", 2]
    if module is classify:
        return [*common, "--data", stripes, "--size", 64, "--batch", 8]
    return [*common, "--data", street, "--classes", street / "classes.yaml", "--size", 96, 64, "--batch", 3]


@pytest.mark.parametrize("module", [segment, classify])
def test_a_run_that_was_interrupted_ends_as_any_other(
    command, module, backbone: Path, street: Path, stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = options_of(module, backbone, street, stripes)
    command(module, *options, "--out", tmp_path / "whole")

    def until_the_second_epoch(step: int, *rest) -> float:
        if step == 2:
            raise KeyboardInterrupt
        return rate(step, *rest)

    rate = module.learning_rate
    monkeypatch.setattr(module, "learning_rate", until_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        command(module, *options, "--out", tmp_path / "parts")
    monkeypatch.undo()
    command(module, *options, "--out", tmp_path / "parts")
    whole, parts = (log_of(tmp_path / name) for name in ("whole", "parts"))
    assert [record["loss"] for record in whole] == pytest.approx([record["loss"] for record in parts], abs=2e-4)


def test_of_a_checkpoint_the_settings_of_the_command_line_hold():
    def optimizer(decay: float, **more) -> torch.optim.Optimizer:
        return torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.ones(2))], **more}], weight_decay=decay)

    saved, here = optimizer(0.1, share=0.5), optimizer(0.3, share=0.2)
    (parameter,) = saved.param_groups[0]["params"]
    parameter.grad = torch.ones(2)
    saved.step()
    segment.restore([here], [saved.state_dict()], Path("last.pt"))
    (group,) = here.param_groups
    assert (group["weight_decay"], group["share"]) == (0.3, 0.2)
    assert here.state[group["params"][0]]["step"] == 1
    with pytest.raises(SystemExit, match="last.pt: was trained without the backbone, .* take another --out"):
        segment.restore([here, here], [saved.state_dict()], Path("last.pt"))


@pytest.mark.parametrize("options, words", [
    (["--batch", 1], "--batch 1: at least 2"),
    (["--size", 100, 60], "--size 100 60: both must be multiples of 8"),
    (["--size", 16, 64], "24 at least"),
    (["--limit", 1], "1 picture to learn from, at least 2"),
])
def test_segment_refuses_what_the_branch_cannot_learn_from(command, backbone: Path, street: Path, tmp_path: Path, options, words: str):
    with pytest.raises(SystemExit, match=words):
        command(
            segment, "--data", street, "--classes", street / "classes.yaml", "--backbone", backbone, "--out", tmp_path,
            "--workers", 0, "--device", "cpu", *options,
        )


def test_segment_does_not_go_on_with_classes_in_another_order(command, backbone: Path, street: Path, segment_run: Path, tmp_path: Path):
    content = yaml.safe_load((street / "classes.yaml").read_text())
    content["classes"].reverse()
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit, match="learnt sky, floor, box; now they are box, floor, sky: take another --out"):
        command(
            segment, "--data", street, "--classes", tmp_path / "classes.yaml", "--backbone", backbone, "--out", segment_run,
            "--batch", 3, "--workers", 0, "--device", "cpu", "--epochs", 13,
        )


def test_export_writes_a_manifest_that_fits_its_file(exported: Path):
    manifest = yaml.safe_load(exported.read_text())
    (entry,) = manifest["files"]
    content = (exported.parent / entry["path"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert [c["name"] for c in manifest["segmentation"]["classes"]] == ["sky", "floor", "box"]
    assert "range on 18 pictures" in (exported.parent / "tiny.md").read_text(), "one that is named, 16 of a folder's folders, its own"


@pytest.mark.parametrize("options, words", [
    (["--segmenter", "final.pt"], "--segmenter needs --classes"),
    (["--classes", "classes.yaml"], "--classes needs --segmenter"),
    (["--segmenter", "final.pt", "--classes", "classes.yaml", "--size", 100, 60], "--size 100 60: both must be multiples of 8"),
    (["--pictures", Path(__file__).parent], "no pictures in"),
])
def test_export_refuses_what_makes_no_model(command, backbone: Path, tmp_path: Path, options, words: str):
    with pytest.raises(SystemExit, match=words):
        command(export, "--name", "tiny", "--out", tmp_path, "--backbone", backbone, *options)
    assert not list(tmp_path.iterdir())


def test_the_exported_model_keeps_the_classifier_as_it_was(exported: Path, backbone: Path):
    image = np.random.default_rng(3).uniform(-120, 130, (1, 3, 104, 136)).astype(np.float32)
    both = onnxruntime.InferenceSession(exported.with_suffix(".onnx"))
    alone = onnxruntime.InferenceSession(backbone)
    logits, segmentation = both.run(["logits", "segmentation"], {"image": image})
    np.testing.assert_allclose(logits, alone.run(["logits"], {"image": image})[0], rtol=1e-4, atol=1e-4)
    assert segmentation.shape == (1, 3, 52, 68)


def test_quantize_enters_an_int8_file(command, exported: Path, stripes: Path):
    command(quantize, "--manifest", exported, "--pictures", stripes, "--count", 3, "--rounds", 1)
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


def test_quantize_leaves_all_as_it_was_where_it_is_interrupted(
    command, exported: Path, street: Path, stripes: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = {path: path.read_bytes() for path in exported.parent.iterdir()}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(quantize, "agreement", interrupt)
        command(quantize, "--manifest", exported, "--pictures", street / "images", stripes, "--count", 2, "--keep", "/classifier")
    assert {path: path.read_bytes() for path in exported.parent.iterdir()} == before
    with pytest.raises(SystemExit, match="no pictures in"):
        command(quantize, "--manifest", exported, "--pictures", exported.parent)


def test_quantize_sees_what_the_node_feeds(backbone: Path, street: Path):
    spec = yaml.safe_load(backbone.with_suffix(".yaml").read_text())["input"]
    (tensor,) = quantize.Pictures([street / "images" / "0.png"], spec).tensors
    assert tensor.shape == (1, 3, 227, 227)


def test_balance_never_lowers_the_mean(command, backbone: Path, street: Path, segment_run: Path, tmp_path: Path):
    command(
        balance, "--backbone", backbone, "--segmenter", segment_run / "final.pt",
        "--classes", street / "classes.yaml", "--data", street, "--out", tmp_path / "balance.json",
    )
    record = json.loads((tmp_path / "balance.json").read_text())
    assert len(record["bias"]) == 3
    assert record["mean_iou_after"][street.name] >= record["mean_iou_before"][street.name]


def test_calibrate_finds_a_temperature(command, backbone: Path, street: Path, segment_run: Path, tmp_path: Path):
    options = ["--backbone", backbone, "--segmenter", segment_run / "final.pt", "--classes", street / "classes.yaml", "--val", street]
    command(calibrate, *options, "--out", tmp_path / "t.json")
    record = json.loads((tmp_path / "t.json").read_text())
    assert 0.5 <= record["segmentation"] <= 3.0
    assert record["val_mean_iou"] > 0.5
    command(calibrate, *options, "--size", 88, 64, "--out", tmp_path / "small" / "t.json")
    assert json.loads((tmp_path / "small" / "t.json").read_text())["val_iou"] != record["val_iou"]


@pytest.mark.parametrize("options, words", [
    (["--val", "val", "--classes", "classes.yaml"], "give --segmenter with --val"),
    (["--val", "val", "--classes", "classes.yaml", "--imagenet", "pictures"], "give --segmenter with --val"),
    (["--segmenter", "final.pt", "--val", "val"], "--segmenter needs --val, and --classes or --sets"),
    (["--segmenter", "final.pt", "--classes", "classes.yaml"], "--segmenter needs --val"),
])
def test_calibrate_refuses_where_there_is_nothing_to_do(command, backbone: Path, tmp_path: Path, options, words: str):
    with pytest.raises(SystemExit, match=words):
        command(calibrate, "--backbone", backbone, "--out", tmp_path / "t.json", *options)
    assert not (tmp_path / "t.json").exists()


def test_a_branch_of_anywhere_is_balanced_and_calibrated_too(command, backbone: Path, street: Path, tmp_path: Path):
    torch.save(GroundBranch(3).state_dict(), tmp_path / "final.pt")
    options = ["--backbone", backbone, "--segmenter", tmp_path / "final.pt", "--classes", street / "classes.yaml"]
    command(balance, *options, "--data", street, "--pictures", 2, "--out", tmp_path / "balance.json")
    assert len(json.loads((tmp_path / "balance.json").read_text())["bias"]) == 3
    command(calibrate, *options, "--val", street, "--balance", tmp_path / "balance.json", "--out", tmp_path / "t.json")
    assert "segmentation" in json.loads((tmp_path / "t.json").read_text())


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
    with pytest.raises(SystemExit, match="learnt lying, standing; now they are standing, upright"):
        command(classify, "--data", renamed, *options[4:], "--epochs", 8)
    with pytest.raises(SystemExit, match="last.pt: was trained without the backbone, .* take another --out"):
        command(classify, *options, "--epochs", 9, "--train-backbone")


def test_classify_fine_tunes_an_untrained_1_0(command, stripes: Path, tmp_path: Path):
    command(
        classify, "--data", stripes, "--out", tmp_path, "--version", "1.0", "--train-backbone",
        "--size", 64, "--epochs", 1, "--workers", 0, "--device", "cpu",
    )
    assert torch.load(tmp_path / "final.pt", weights_only=True)["version"] == "1.0"
    with pytest.raises(SystemExit, match="is of version 1.0"):
        command(classify, "--data", stripes, "--out", tmp_path, "--train-backbone", "--size", 64, "--workers", 0, "--device", "cpu")


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
