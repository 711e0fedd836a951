"""The commands that need no ROS graph, as a user types them."""

import csv
import json
import subprocess
import sys

import colour_model
import numpy as np
import onnxruntime
import pytest
import yaml
from conftest import DATA, ROOT, binary, photograph
from PIL import Image as Picture
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

sys.path.insert(0, str(ROOT / "models" / "training"))
from squeezenet_training.preprocess import crop_picture, to_tensor, whole_picture  # noqa: E402


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=300)


@pytest.fixture
def coffee(tmp_path):
    path = tmp_path / "coffee.png"
    Picture.fromarray(photograph("coffee")).save(path)
    return path


def test_image_json(coffee):
    done = run("image", "--json", str(coffee))
    assert done.returncode == 0, done.stderr
    (record,) = map(json.loads, done.stdout.splitlines())
    assert record["file"] == str(coffee) and (record["width"], record["height"]) == (640, 480)
    assert record["labels"][0]["class_id"] == "espresso" and record["labels"][0]["index"] == 967
    assert set(record["timing_ms"]) >= {"decode", "preprocess", "inference", "postprocess", "total"}


def test_inputs_that_fail_are_named_and_the_others_done(coffee, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    done = run("image", "--json", str(tmp_path / "absent.jpg"), str(broken), str(coffee))
    assert done.returncode == 1
    assert "absent.jpg" in done.stderr and "broken.jpg" in done.stderr
    assert json.loads(done.stdout)["labels"][0]["class_id"] == "espresso"


def test_usage_and_set_up_end_with_2(coffee):
    assert run("image").returncode == 2
    done = run("image", "--model", "resnet", str(coffee))
    assert done.returncode == 2 and "no model \"resnet\"" in done.stderr and "squeezenet1_1_imagenet" in done.stderr


def test_labelled_photographs_are_turned_and_never_written_over(tmp_path):
    """`masks evaluate` on one photograph, as a telephone stores it: upright, lying and on its head."""
    upright = Picture.fromarray(photograph("coffee"))
    label = np.full((480, 640), 2, np.uint8)
    label[240:] = 1
    (tmp_path / "classes.json").write_text(json.dumps({"classes": {"1": ["floor", "traversable"], "2": ["thing", "obstacle"]}}))
    stored = {1: upright, 3: upright.transpose(Picture.Transpose.ROTATE_180), 6: upright.transpose(Picture.Transpose.ROTATE_90)}
    found = {}
    for orientation, picture in stored.items():
        images, labels = tmp_path / f"images{orientation}", tmp_path / f"labels{orientation}"
        images.mkdir()
        labels.mkdir()
        exif = Picture.Exif()
        exif[0x0112] = orientation
        picture.save(images / "a.jpg", quality=97, exif=exif)
        Picture.fromarray(label).save(labels / "a.png")
        asked = ["masks", "evaluate", str(images), str(labels), "--classes", str(tmp_path / "classes.json")]
        done = run(*asked, "--json")
        assert done.returncode == 0, done.stderr
        found[orientation] = json.loads(done.stdout)["ground_iou"]
    assert max(found.values()) - min(found.values()) < 0.03, found
    before = (images / "a.jpg").read_bytes()
    over = run(*asked, "--sheet", str(images / "a.jpg"))
    assert over.returncode == 2 and "which is read" in over.stderr and (images / "a.jpg").read_bytes() == before
    sheet = run(*asked, "--sheet", str(tmp_path / "sheet"))
    assert sheet.returncode == 0 and (tmp_path / "sheet").read_bytes().startswith(b"\x89PNG"), sheet.stderr
    many = run(*asked, "--threads", "65")
    assert many.returncode == 2 and "0 to 64" in many.stderr


def test_networks_of_one_size_are_told_from_those_of_any(coffee, tmp_path):
    done = run("image", "--json", "--model", str(colour_model.write(tmp_path, has_one_size=True)), str(coffee))
    assert done.returncode == 0, done.stderr
    aspect = run("image", "--model", str(colour_model.write(tmp_path, has_one_size=True, fit="aspect")), str(coffee))
    assert aspect.returncode == 2 and "320x240 alone" in aspect.stderr and "stretch" in aspect.stderr


def test_model_lists_and_shows_cards():
    listed = run("model")
    assert listed.returncode == 0 and "squeezenet1_1_imagenet" in listed.stdout
    card = run("model", "squeezenet1_1_imagenet").stdout
    assert "1000 classes" in card and "sha256" in card


def test_a_model_that_was_tampered_with_is_refused(coffee, tmp_path):
    for name in (
        "squeezenet1_1_imagenet.yaml", "squeezenet1_1_imagenet.onnx", "imagenet_classes.txt",
        "squeezenet1_1_imagenet_descriptors.safetensors",
    ):
        (tmp_path / name).write_bytes((ROOT / "models" / name).read_bytes())
    onnx = tmp_path / "squeezenet1_1_imagenet.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"x")
    done = run("image", "--model", str(tmp_path / "squeezenet1_1_imagenet.yaml"), str(coffee))
    assert done.returncode == 2 and "SHA-256" in done.stderr


def test_bench_measures_every_stage():
    done = run("bench", "--json", "--frames", "5", "--model", "squeezenet1_1_imagenet")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[0])
    assert record["stages_ms"]["inference"]["p50"] > 0 and record["frames_per_s"] > 0


def test_accuracy_is_that_of_python_with_pil(tmp_path):
    folder = DATA / "imagenet_dev"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; set SQUEEZENET_DATA")
    rows = list(csv.DictReader((folder / "labels.csv").open()))
    truth = {row["file"]: int(row["class_index"]) for row in rows}
    done = run("image", "--json", "--model", "squeezenet1_1_imagenet", *(str(folder / name) for name in truth))
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(str(ROOT / "models" / "squeezenet1_1_imagenet.onnx"))
    hits = np.zeros((2, 2))
    for line in done.stdout.splitlines():
        record = json.loads(line)
        name = record["file"].rsplit("/", 1)[1]
        picture = crop_picture(Picture.open(folder / name), 256, (227, 227))
        (logits,) = session.run(["logits"], {"image": to_tensor(picture)})
        ours = [label["index"] for label in record["labels"]]
        theirs = np.argsort(-logits[0])[:5].tolist()
        for row, ranked in enumerate((ours, theirs)):
            hits[row] += [ranked[0] == truth[name], truth[name] in ranked]
    scores = hits / len(truth)
    print(f"top-1 and top-5: node {scores[0]}, Python with PIL {scores[1]}")
    assert np.abs(scores[0] - scores[1]).max() <= 0.01


def test_a_replayed_bag_is_read_by_another_reader(tmp_path):
    bag, out = tmp_path / "in", tmp_path / "out"
    subprocess.run([sys.executable, ROOT / "scripts" / "make_bag.py", bag], check=True, timeout=120)
    done = run("replay", str(bag), "--out", str(out), "--copy", "--limit", "12", "--json")
    assert done.returncode == 0, done.stderr
    types = get_typestore(Stores.ROS2_JAZZY)
    with Reader(out) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
        for connection, time, payload in reader.messages():
            if connection.msgtype == "sensor_msgs/msg/Image":
                image = types.deserialize_cdr(payload, connection.msgtype)
                assert len(image.data) == image.step * image.height and connection.topic
                assert 0 < image.header.stamp.sec * 10**9 + image.header.stamp.nanosec <= time
    assert sum(n for topic, n in counts.items() if topic.startswith("/robot/")) == 12, counts
    assert sum(n for topic, n in counts.items() if topic.endswith("/labels")) >= 12, counts
    assert sum(n for topic, n in counts.items() if topic.endswith("/mask")) >= 12, counts


def test_places_from_picture_files(coffee, tmp_path):
    gallery, sheet = ("--gallery", str(tmp_path / "places.bin")), tmp_path / "sheet.png"
    other = tmp_path / "rocket.png"
    Picture.fromarray(photograph("rocket")).save(other)
    for arguments in (("kitchen",), ("--label", "my mug")):
        done = run("places", "learn", *arguments, str(coffee), "nowhere.png", *gallery)
        assert done.returncode == 1 and "nowhere.png" in done.stderr, done.stderr
        assert "a new view" in done.stdout
    again = run("places", "learn", "kitchen", str(coffee), *gallery)
    assert again.returncode == 0 and "known already" in again.stdout
    asked = run("places", "query", str(coffee), str(other), "--json", *gallery)
    records = [json.loads(line) for line in asked.stdout.splitlines()]
    assert [r["class_id"] for r in records[0]["place"]] == ["kitchen"] and records[0]["nearest"]["similarity"] > 0.99
    assert records[1]["place"] == []
    listed = run("places", "list", "--json", "--sheet", str(sheet), *gallery)
    record = json.loads(listed.stdout)
    assert record["places"] == {"kitchen": 1} and record["labels"] == {"my mug": 1}
    assert Picture.open(sheet).size == (160, 280)
    shown = json.loads(run("image", str(coffee), "--json", *gallery).stdout)
    assert shown["place"][0]["class_id"] == "kitchen" and shown["labels"][0]["class_id"] == "my mug"
    (tmp_path / "places.bin").write_bytes(b"SQNPLACE")
    refused = run("places", "query", str(coffee), *gallery)
    assert refused.returncode == 2 and "places.bin" in refused.stderr
    assert (tmp_path / "places.bin").read_bytes() == b"SQNPLACE", "a command leaves the file alone"


def test_places_are_found_on_another_walk():
    folder = DATA / "corridor"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    done = run("places", "evaluate", str(folder / "reference"), str(folder / "query"), "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["figures"][0]
    print(figures)
    assert figures["recall_at_1"] >= 0.9 and figures["filtered_recall_at_1"] >= 0.98


def test_a_replay_recognises_what_was_taught(tmp_path):
    bag, gallery, report = tmp_path / "in", str(tmp_path / "places.bin"), tmp_path / "report"
    subprocess.run([sys.executable, ROOT / "scripts" / "make_bag.py", bag], check=True, timeout=120)
    picture = tmp_path / "first.png"
    types = get_typestore(Stores.ROS2_JAZZY)
    with Reader(bag) as reader:
        images = [c for c in reader.connections if c.msgtype == "sensor_msgs/msg/Image"]
        for connection, _, payload in reader.messages(images):
            image = types.deserialize_cdr(payload, connection.msgtype)
            if image.encoding in ("rgb8", "bgr8"):
                pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)
                pixels = pixels[:, : 3 * image.width].reshape(image.height, image.width, 3)
                Picture.fromarray(pixels if image.encoding == "rgb8" else pixels[:, :, ::-1]).save(picture)
                break
    assert run("places", "learn", "start", str(picture), "--gallery", gallery).returncode == 0
    arguments = ("replay", str(bag), "--topic", "/camera/image_raw", "--limit", "20", "--gallery", gallery, "--report", str(report), "--out", str(tmp_path / "out"))
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    columns = json.loads((report / "report.json").read_text())["series"]
    assert "start" in {column["place"] for column in columns}
    with Reader(tmp_path / "out") as reader:
        assert sum(c.msgcount for c in reader.connections if c.topic.endswith("/place")) == 20
    missing = run("replay", str(bag), "--gallery", str(tmp_path / "none.bin"))
    assert missing.returncode == 2 and "there is no such file" in missing.stderr


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_mask_is_that_of_the_models_output(precision, tmp_path):
    """The node leaves out the last operator and reads what comes before it."""
    # Of the input's size: resizing, which rounds otherwise than Pillow here and there, is left out.
    porch = Picture.open(ROOT / "docs" / "pictures" / "porch.jpg").resize((480, 360))
    file = tmp_path / "porch.png"
    porch.save(file)
    done = run("image", str(file), "--precision", precision, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Picture.open(tmp_path / "porch_semantic.png"))
    suffix = "_int8" if precision == "int8" else ""
    session = onnxruntime.InferenceSession(ROOT / "models" / f"squeezenet1_1_anywhere{suffix}.onnx")
    (logits,) = session.run(["segmentation"], {"image": to_tensor(porch)})
    spec = yaml.safe_load((ROOT / "models" / "squeezenet1_1_anywhere.yaml").read_text())["segmentation"]
    odds = np.exp((logits[0] - logits[0].max(0)) / spec["temperature"])
    size = mask.shape[::-1]
    planes = np.array([Picture.fromarray(p).resize(size, Picture.Resampling.BILINEAR) for p in odds / odds.sum(0)])
    # The most probable traversability, in sum over its classes, and of these the most probable one.
    kinds = [["traversable", "caution", "obstacle", "background"].index(each["traversability"]) for each in spec["classes"]]
    meaning = (np.eye(4)[:, kinds] @ planes.reshape(len(planes), -1)).reshape(4, *mask.shape).argmax(0)
    assert (np.asarray(Picture.open(tmp_path / "porch_mask.png")) == meaning).mean() > 0.999
    planes[np.array(kinds)[:, None, None] != meaning] = 0
    assert (planes.argmax(0) == mask).mean() > 0.999


def test_int8_answers_as_fp32_does_on_this_processor():
    """Without VNNI, weights of 8 bits overflow; the mask then lacks whole classes."""
    picture = to_tensor(whole_picture(Picture.open(ROOT / "docs" / "pictures" / "porch.jpg"), (480, 360)))
    masks, labels = [], []
    for suffix in ("", "_int8"):
        session = onnxruntime.InferenceSession(ROOT / "models" / f"squeezenet1_1_anywhere{suffix}.onnx")
        mask, logits = session.run(["segmentation", "logits"], {"image": picture})
        masks.append(mask.argmax(1))
        labels.append(logits[0].argsort()[::-1])
    assert (masks[0] == masks[1]).mean() > 0.9
    # Of labels that are nearly as likely, either may come first.
    assert labels[0][0] in labels[1][:3] and labels[1][0] in labels[0][:3]


def test_labelled_pictures_teach_and_the_masks_follow(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir(), labels.mkdir()
    # A table that is to be driven on, and all above it not.
    table = photograph("coffee")
    for index in range(4):
        Picture.fromarray(np.roll(table, 40 * index, axis=1)).save(images / f"{index}.png")
        label = np.full(table.shape[:2], 1, np.uint8)
        label[300:] = 0
        Picture.fromarray(label).save(labels / f"{index}.png")
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({"classes": {"0": ["table", "traversable"], "1": ["rest", "obstacle"]}}))
    learnt = tmp_path / "learnt.json"
    folders, options = (str(images), str(labels), "--classes", str(classes)), ("--learning-file", str(learnt))

    def iou(*more: str) -> float:
        done = run("masks", "evaluate", *folders, "--json", *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["ground_iou"]

    before = iou()
    done = run("learning", "teach", *folders, *options)
    assert done.returncode == 0, done.stderr
    assert "learnt from 4 pictures" in done.stdout
    assert iou(*options) > before + 0.1
    # Again goes on, only what is driven on; a label of another size is named, the rest learnt.
    Picture.fromarray(np.zeros((9, 9), np.uint8)).save(labels / "3.png")
    done = run("learning", "teach", *folders, *options, "--driven")
    assert done.returncode == 1 and "3.png" in done.stderr and "9x9" in done.stderr
    shown = json.loads(run("learning", "show", str(learnt), "--json").stdout)
    assert shown["counts"]["frames"] == 7
    # Labels of other ids tell nothing, and are not learnt from in silence.
    for label in labels.iterdir():
        Picture.fromarray(np.full(table.shape[:2], 9, np.uint8)).save(label)
    done = run("learning", "teach", *folders, *options)
    assert done.returncode == 2 and "classes.json" in done.stderr and "learnt from" not in done.stdout
