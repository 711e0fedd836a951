"""`anywhere` on tiny generated data: sets of different labels, a backbone that learns and keeps its labels."""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image

from squeezenet_training import anywhere, export
from squeezenet_training.anywhere_data import UNLABELLED, Anywhere, ObjectPictures, mixed
from squeezenet_training.backbone import load_pretrained
from squeezenet_training.segmenter import GroundBranch
from squeezenet_training.unfold import load_model

CLASSES = [
    {"name": "sky", "color": [120, 170, 230], "traversability": "background", "cost": 255},
    {"name": "floor", "color": [110, 110, 110], "traversability": "traversable", "cost": 0},
    {"name": "box", "color": [200, 40, 40], "traversability": "obstacle", "cost": 254},
]
PHOTOGRAPH = Path(__file__).parents[3] / "docs" / "pictures" / "porch.jpg"


@pytest.fixture(scope="module")
def data(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of the same pictures, of which one tells ground from the rest alone, and a folder of things."""
    folder = tmp_path_factory.mktemp("sets")
    for name in ("fine", "coarse"):
        for part in ("train", "val"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / part).symlink_to(street)
    (folder / "things").mkdir()
    (folder / "things" / "porch.jpg").symlink_to(PHOTOGRAPH)
    sets = [
        {"name": "fine", "folder": "fine", "free": True, "share": 1.0, "labels": {0: ["sky"], 1: ["floor"], 2: ["box"]}},
        {"name": "coarse", "folder": "coarse", "free": False, "share": 1.0, "labels": {0: ["sky", "box"], 1: ["floor"], 2: ["sky", "box"]}},
        {"name": "nothing", "free": True, "share": 0.2, "labels": {0: ["sky", "box"]}},
    ]
    (folder / "sets.yaml").write_text(yaml.safe_dump({"classes": CLASSES, "sets": sets}))
    return folder


def test_the_backbone_learns_and_keeps_its_labels(command, backbone: Path, data: Path, tmp_path: Path):
    out = tmp_path / "run"
    options = [
        "--data", data, "--sets", data / "sets.yaml", "--backbone", backbone, "--out", out, "--size", 96, 64, "--view", 128, 96,
        "--batch", 4, "--workers", 0, "--device", "cpu", "--backbone-rate", 0.05, "--objects", data / "things",
    ]
    command(anywhere, *options, "--steps", 20)
    first = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    command(anywhere, *options, "--steps", 120)
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [first["step"], records[-1]["step"]] == [20, 120], "it goes on where it stopped"
    scores = [record["scores"] for record in records if "scores" in record]
    assert scores[-1]["fine"]["right"] > scores[0]["fine"]["right"], scores
    before, after = load_pretrained(backbone), load_pretrained(out / "backbone.onnx")
    assert torch.equal(before[0].conv1.weight, after[0].conv1.weight)
    content = yaml.safe_load((data / "sets.yaml").read_text())
    content["classes"].reverse()
    (tmp_path / "reversed.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit, match="learnt sky, floor, box; now they are box, floor, sky"):
        command(anywhere, "--data", data, "--sets", tmp_path / "reversed.yaml", *options[4:], "--steps", 140)
    without = [option for option in options if option not in ("--backbone-rate", 0.05)]
    with pytest.raises(SystemExit, match="last.pt: was trained with the backbone, .* take another --out"):
        command(anywhere, *without, "--steps", 140)
    assert not torch.equal(before[0].fire5.expand3x3.weight, after[0].fire5.expand3x3.weight)
    assert torch.equal(before[1].conv10.weight, after[1].conv10.weight), "the classifier stays as it is"

    model = tmp_path / "model"
    command(
        export, "--name", "tiny", "--out", model, "--backbone", out / "backbone.onnx", "--segmenter", out / "final.pt",
        "--classes", data / "sets.yaml", "--size", 128, 96, "--pictures", data / "fine" / "val" / "images" / "0.png",
    )
    again = load_pretrained(model / "tiny.onnx")
    assert torch.equal(after[0].fire5.expand3x3.weight, again[0].fire5.expand3x3.weight), "an exported model is read, too"
    image = np.random.default_rng(3).uniform(-120, 130, (1, 3, 96, 128)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(model / "tiny.onnx").run(["logits"], {"image": image})
    assert logits.shape == (1, 1000)


def test_a_wide_branch_is_trained_and_exported_and_goes_on_as_one(command, backbone: Path, data: Path, tmp_path: Path):
    run, model = tmp_path / "run", tmp_path / "model"
    options = [
        "--data", data, "--sets", data / "sets.yaml", "--backbone", backbone, "--size", 96, 64, "--view", 128, 96,
        "--batch", 4, "--workers", 0, "--device", "cpu",
    ]
    command(anywhere, *options, "--out", run, "--steps", 4, "--wide")
    command(
        export, "--name", "wide", "--out", model, "--backbone", backbone, "--segmenter", run / "final.pt",
        "--classes", data / "sets.yaml", "--size", 128, 96, "--pictures", data / "fine" / "val" / "images" / "0.png",
    )
    image = np.zeros((1, 3, 96, 128), np.float32)
    (features,) = onnxruntime.InferenceSession(model / "wide.onnx").run(["mask_features"], {"image": image})
    assert features.shape == (1, 64, 24, 32)
    for way in ([], ["--init", run / "stable.pt"], ["--init", run / "final.pt"], ["--init", model / "wide.onnx"]):
        with pytest.raises(SystemExit, match="--wide"):
            command(anywhere, *options, "--out", tmp_path / "other" if way else run, "--steps", 8, *way)


@pytest.mark.parametrize("options, words", [(["--batch", 1], "--batch 1: at least 2"), (["--size", 100, 60], "multiples of 8")])
def test_what_the_branch_cannot_learn_from_is_refused(command, data: Path, tmp_path: Path, options, words: str):
    with pytest.raises(SystemExit, match=words):
        command(anywhere, "--data", data, "--sets", data / "sets.yaml", "--out", tmp_path, "--steps", 4, *options)


def test_an_exported_model_goes_on_as_the_same_function():
    models = Path(__file__).resolve().parents[2]
    backbone, _ = load_pretrained(models / "squeezenet1_1_imagenet.onnx")
    backbone.eval()
    torch.manual_seed(1)
    branch = GroundBranch(22)
    exported = models / "squeezenet1_1_anywhere_free.onnx"
    images = [60.0 * torch.randn(1, 3, 96, 128) for _ in range(3)]
    load_model(branch, exported, backbone, images)
    branch.eval()
    session = onnxruntime.InferenceSession(exported)
    names = [one.name for one in session.get_outputs()]
    for image in images:
        answers = dict(zip(names, session.run(names, {"image": image.numpy()}), strict=True))
        assert answers["mask_features"].shape[1] == branch.WIDTH
        with torch.no_grad():
            logits, _ = branch(backbone(image))
        assert np.abs(logits.numpy() - answers["segmentation"]).max() < 2e-3 * np.abs(answers["segmentation"]).max()


def test_animals_are_no_ground_and_of_the_rest_nothing_is_told(backbone: Path, data: Path, tmp_path: Path):
    network, classifier = load_pretrained(backbone)
    network.eval(), classifier.eval()
    told = ObjectPictures(data / "things", (128, 96), 7, network, classifier)
    ((picture, target),) = told.pictures
    assert target.shape == picture.size[::-1]
    assert (target == UNLABELLED).all(), "a porch is no animal"
    skimage = pytest.importorskip("skimage.data")
    Image.fromarray(skimage.chelsea()).save(tmp_path / "cat.png")
    ((picture, target),) = ObjectPictures(tmp_path, (480, 360), 7, network, classifier).pictures
    assert 0.01 < (target == 7).mean() < 0.7
    ys, xs = np.nonzero(target == 7)
    middle = (xs.mean() / picture.width, ys.mean() / picture.height)
    assert 0.25 < middle[0] < 0.75 and 0.2 < middle[1] < 0.8, "the cat is in the middle"


def test_half_of_the_labels_of_another_crop_lie_over_a_crop():
    below, above = Image.new("RGB", (40, 30), (10, 20, 30)), Image.new("RGB", (40, 30), (200, 100, 0))
    target, target_above = np.full((30, 40), 3, np.uint8), np.zeros((30, 40), np.uint8)
    target_above[:10], target_above[10:20] = 1, 2
    target_above[:, :5] = UNLABELLED
    picture, labels = mixed(below, target, above, target_above)
    changed = labels != target
    assert len(np.unique(labels[changed])) == 2, "two of three"
    assert not changed[:, :5].any(), "what is not told stays below"
    assert np.array_equal(labels[changed], target_above[changed])
    assert np.array_equal((np.asarray(picture) == (200, 100, 0)).all(2), changed), "pixels and labels go together"
    assert mixed(below, target, above, np.full_like(target, UNLABELLED))[1].tolist() == target.tolist()


def test_a_label_that_may_be_ground_or_not_is_neither(data: Path):
    read = Anywhere.load(data / "sets.yaml")
    for meant, wanted in ((["sky", "floor"], UNLABELLED), (["floor", "sky"], UNLABELLED), (["floor"], 1), (["sky", "box"], 0)):
        one = dataclasses.replace(read.sets[0], labels={0: meant})
        assert read.ground_of_labels(one)[0] == wanted, meant


def test_a_rate_without_cooling_stays():
    args = argparse.Namespace(steps=1000, lr=4e-3, cool=0.0)
    assert [anywhere.rate(0.0, step, args) for step in (500, 999)] == [4e-3, 4e-3]


def test_kinds_are_by_traversability(data: Path):
    read = Anywhere.load(data / "sets.yaml")
    assert read.kinds.astype(int).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]
