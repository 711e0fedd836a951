"""The parameter file and the model, changed while the node drives."""

from __future__ import annotations

import shlex
import shutil
import threading
import time
from pathlib import Path

import pytest
import yaml
from conftest import BEST_EFFORT, LATCHED, ROOT, image_message, photograph, wait
from sensor_msgs.msg import Image
from test_parameters import NODE, TOPIC, Parameters
from vision_msgs.msg import Classification, VisionInfo

OTHER_MODEL = "squeezenet1_1_street"


def text(parameters: dict) -> str:
    return yaml.safe_dump({"/**": {"ros__parameters": parameters}})


def save(path: Path, parameters: dict) -> None:
    path.write_text(text(parameters))


class Reloaded:
    """A node whose parameter file is `file`."""

    def __init__(self, start, peer, file: Path, parameters: dict) -> None:
        save(file, parameters)
        self.process = start(arguments=["--params-file", str(file)])
        self.parameters = Parameters(peer)

    def get(self, name: str):
        return self.parameters.get(name)[0]

    def wait_for(self, name: str, value) -> None:
        wait(lambda: self.get(name) == value, 10, lambda: f"{name} is {self.get(name)}:\n{self.process.log()}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tuned.yaml"


def test_a_saved_file_is_taken_over(start, peer, file: Path) -> None:
    node = Reloaded(start, peer, file, {"labels": {"top_k": 3}, "overlay": {"alpha": 0.25}})
    assert node.get("labels.top_k") == 3
    save(file, {"labels": {"top_k": 4}})
    node.wait_for("labels.top_k", 4)
    assert node.get("overlay.alpha") == 0.5, "a key that is gone returns to its default"
    # As most editors save: written beside, renamed into place.
    beside = file.with_suffix(".tmp")
    save(beside, {"labels": {"top_k": 6}})
    beside.rename(file)
    node.wait_for("labels.top_k", 6)
    file.unlink()
    node.process.wait_for("has gone")
    assert node.get("labels.top_k") == 6
    save(file, {"labels": {"top_k": 7}})
    node.wait_for("labels.top_k", 7)
    for top_k in range(1, 30):
        save(file, {"labels": {"top_k": top_k}})
        time.sleep(0.01)
    node.wait_for("labels.top_k", 29)


def test_a_symlink_is_followed_where_it_points_now(start, peer, file: Path, tmp_path: Path) -> None:
    """As Kubernetes mounts a config map: the file is a link through a folder that is swapped."""
    for version, top_k in (("a", 2), ("b", 8)):
        (tmp_path / version).mkdir()
        save(tmp_path / version / "tuned.yaml", {"labels": {"top_k": top_k}})
    data = tmp_path / "data"
    data.symlink_to("a")
    file.symlink_to("data/tuned.yaml")
    process = start(arguments=["--params-file", str(file)])
    parameters = Parameters(peer)
    assert parameters.get("labels.top_k") == [2]
    (tmp_path / "next").symlink_to("b")
    (tmp_path / "next").rename(data)
    wait(lambda: parameters.get("labels.top_k") == [8], 10, process.log)


def test_a_bad_file_changes_nothing_and_says_where(start, peer, file: Path) -> None:
    diagnostics = peer.diagnostics()
    node = Reloaded(start, peer, file, {"labels": {"top_k": 3}})
    camera = peer.publisher(Image, TOPIC, BEST_EFFORT)
    received = peer.collect(Classification, f"{NODE}/labels")
    peer.wait_subscribed(camera)
    peer.answer(camera, image_message(photograph("coffee")), received)
    before = node.parameters.dump()
    bad = "/**:\n  ros__parameters:\n    labels:\n      top_k: 7\n      threshold: 1.5\n"
    for content, words in (
        (bad, "line 5: parameter labels.threshold"), ("/**:\n  ros__parameters: [\n", "line "),
        ("/**:\n  ros__parameters:\n    model: nonsense\n", "line 3: parameter model"),
    ):
        file.write_text(content)
        node.process.wait_for(words)
        assert node.parameters.dump() == before
        diagnostics.wait_for(lambda status, words=words: any(
            pair.key == "parameter file" and words in pair.value for pair in status.values
        ))
    save(file, {"labels": {"top_k": 9}})
    node.wait_for("labels.top_k", 9)
    diagnostics.received.clear()
    diagnostics.wait_for(lambda status: all(pair.key != "parameter file" for pair in status.values))


def test_a_key_that_no_message_can_hold_is_refused(start, peer, file: Path) -> None:
    diagnostics = peer.diagnostics()
    node = Reloaded(start, peer, file, {"labels": {"top_k": 3}})
    file.write_text('/squeezenet:\n  ros__parameters:\n    "a\\0b": 1\n')
    diagnostics.wait_for(lambda status: any(pair.key == "parameter file" for pair in status.values))
    assert node.get("labels.top_k") == 3
    save(file, {"labels": {"top_k": 9}})
    node.wait_for("labels.top_k", 9)


def test_what_came_through_a_pipe_stays(start, peer) -> None:
    given = text({"labels": {"top_k": 3}})
    process = start(within=["bash", "-c", f'exec "$@" --params-file <(printf %s {shlex.quote(given)})', "bash"])
    time.sleep(1)
    assert Parameters(peer).get("labels.top_k") == [3], process.log()


def test_of_two_files_the_one_that_has_gone_is_told_once(start, file: Path) -> None:
    other = file.with_name("other.yaml")
    for path in (file, other):
        save(path, {"labels": {"top_k": 3}})
    process = start(arguments=["--params-file", str(file), "--params-file", str(other)])
    time.sleep(0.5)
    file.unlink()
    other.write_bytes(b"\xff")
    process.wait_for("nothing of the file was taken")
    time.sleep(1)
    assert process.log().count("has gone") == 1, process.log()


def test_what_was_set_stays_unless_the_file_changes_it(start, peer, file: Path) -> None:
    node = Reloaded(start, peer, file, {"labels": {"top_k": 3, "threshold": 0.25}})
    assert node.parameters.set({"labels.top_k": 9})[0].successful
    save(file, {"labels": {"top_k": 3, "threshold": 0.5}})
    node.wait_for("labels.threshold", 0.5)
    assert node.get("labels.top_k") == 9
    save(file, {"labels": {"top_k": 4, "threshold": 0.5}})
    node.wait_for("labels.top_k", 4)


def test_config_file_names_another_file(start, peer, file: Path) -> None:
    save(file, {"labels": {"top_k": 2}})
    start({"config_file": str(file), "labels": {"top_k": 8}})
    parameters = Parameters(peer)
    assert parameters.get("labels.top_k") == [2]
    save(file, {"labels": {"top_k": 4}})
    wait(lambda: parameters.get("labels.top_k") == [4], 10)


def test_config_file_may_be_a_copy_of_the_shipped_one(start, peer, file: Path) -> None:
    """What is fixed at start stands in it, too."""
    shutil.copy(ROOT / "config/squeezenet.yaml", file)
    start({"config_file": str(file), "use_sim_time": True})
    parameters = Parameters(peer)
    assert parameters.get("config_file", "use_sim_time", "labels.top_k") == [str(file), False, 5]
    file.write_text(file.read_text().replace("top_k: 5", "top_k: 4"))
    wait(lambda: parameters.get("labels.top_k") == [4], 10)


def test_a_file_is_the_same_however_it_is_named(start, peer, file: Path) -> None:
    save(file, {"labels": {"top_k": 2}, "config_file": "", "use_sim_time": False})
    detour = file.parent / "." / ".." / file.parent.name / file.name
    given = ["-p", "labels.top_k:=7", "-p", "use_sim_time:=true", "-p", f"config_file:={detour}"]
    process = start(arguments=["--params-file", str(file), *given])
    parameters = Parameters(peer)
    assert parameters.get("labels.top_k", "use_sim_time") == [7, True]
    # What the command line fixed is not the file's to take back.
    save(file, {"labels": {"top_k": 3}})
    wait(lambda: parameters.get("labels.top_k") == [3], 10, process.log)
    assert parameters.get("use_sim_time") == [True]


class Stream:
    """A camera at 30 Hz in a thread of its own."""

    def __init__(self, peer) -> None:
        self.peer, self.sent, self.is_over = peer, 0, False
        self.camera = peer.publisher(Image, TOPIC, BEST_EFFORT)
        peer.wait_subscribed(self.camera)
        self.message = image_message(photograph("coffee"))
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.is_over:
            self.message.header.stamp = self.peer.stamp()
            self.camera.publish(self.message)
            self.sent += 1
            time.sleep(1 / 30)

    def end(self) -> None:
        self.is_over = True
        self.thread.join()


def test_a_model_is_swapped_between_two_frames(start, peer) -> None:
    received = peer.collect(Classification, f"{NODE}/labels")
    infos = peer.collect(VisionInfo, f"{NODE}/vision_info", LATCHED)
    diagnostics = peer.diagnostics()
    start({"model": "squeezenet1_1_imagenet"})
    parameters = Parameters(peer)
    stream = Stream(peer)
    try:
        wait(lambda: len(received) > 10, 20)
        assert parameters.set({"model": OTHER_MODEL})[0].successful
        wait(lambda: infos and infos[-1].database_version == 2, 10)
        seen = len(received)
        wait(lambda: len(received) > seen + 10, 20)
    finally:
        stream.end()
    assert OTHER_MODEL in infos[-1].method
    assert all(message.results[0].class_id == "espresso" for message in received)
    diagnostics.wait_for(lambda status: any(p.key == "model" and p.value == OTHER_MODEL for p in status.values))
    rejected = diagnostics.value("frames rejected")
    assert rejected == "0"
    # The newest frame wins while the processor is busy loading: answered or replaced, none is lost.
    wait(lambda: int(diagnostics.value("frames processed")) + int(diagnostics.value("frames replaced"))
         + int(diagnostics.value("frames unheard")) == stream.sent, 5,
         lambda: f"{stream.sent} sent; " + "; ".join(
             f"{key} {diagnostics.value(f'frames {key}')}" for key in ("received", "processed", "replaced", "unheard")))


def test_a_head_that_the_model_lacks_is_said(start, peer) -> None:
    diagnostics = peer.diagnostics()
    masks = peer.collect(Image, f"{NODE}/mask")
    process = start({"model": "squeezenet1_1_imagenet"})
    camera = peer.publisher(Image, TOPIC, BEST_EFFORT)
    peer.wait_subscribed(camera)
    peer.wait_published(f"{NODE}/mask")
    camera.publish(image_message(photograph("coffee")))
    process.wait_for("has no head for: the mask; choose another model")

    def is_said() -> bool:
        camera.publish(image_message(photograph("coffee")))
        return any("has no head for: the mask" in status.message for status in diagnostics.statuses()[-3:])

    wait(is_said, 10, process.log)
    # Who looks at the overlay, which is drawn with what there is, changes nothing of it.
    overlays = peer.collect(Image, f"{NODE}/overlay")
    peer.answer(camera, image_message(photograph("coffee")), overlays)
    diagnostics.received.clear()
    wait(lambda: len(diagnostics.received) > 2 and is_said(), 10, process.log)
    assert process.log().count("has no head for") == 1
    assert Parameters(peer).set({"model": OTHER_MODEL})[0].successful
    mask = peer.answer(camera, image_message(photograph("coffee")), masks)
    assert (mask.width, mask.height, mask.encoding) == (640, 480, "mono8")
    diagnostics.received.clear()
    wait(lambda: diagnostics.value("frames rejected") is not None, 5)
    assert diagnostics.value("frames rejected") == "0"


def test_a_model_that_does_not_load_leaves_the_old_one(start, peer, tmp_path: Path) -> None:
    """A manifest whose network is not the one that it was made for."""
    received = peer.collect(Classification, f"{NODE}/labels")
    start()
    for suffix in (".yaml", ".onnx", "_descriptors.safetensors"):
        shutil.copy(ROOT / "models" / f"squeezenet1_1_imagenet{suffix}", tmp_path / f"squeezenet1_1_imagenet{suffix}")
    shutil.copy(ROOT / "models" / "imagenet_classes.txt", tmp_path)
    with (tmp_path / "squeezenet1_1_imagenet.onnx").open("ab") as network:
        network.write(b"x")
    parameters = Parameters(peer)
    before = parameters.dump()
    (result,) = parameters.set({"model": str(tmp_path / "squeezenet1_1_imagenet.yaml")})
    assert not result.successful and "parameter model" in result.reason and "SHA-256" in result.reason, result.reason
    assert parameters.dump() == before
    camera = peer.publisher(Image, TOPIC, BEST_EFFORT)
    peer.wait_subscribed(camera)
    peer.wait_published(f"{NODE}/labels")
    assert peer.answer(camera, image_message(photograph("coffee")), received).results[0].class_id == "espresso"


def test_a_copy_of_the_shipped_file_holds_from_the_start(start, peer, file: Path) -> None:
    """Its section has a wildcard, as a node of any namespace needs it; later files hold over it."""
    shipped = (ROOT / "config" / "squeezenet.yaml").read_text()
    edited = shipped.replace('model: "squeezenet1_1_anywhere"', 'model: "squeezenet1_1_imagenet"').replace("top_k: 5", "top_k: 2")
    assert edited.count("squeezenet1_1_imagenet") == 1 and "top_k: 2" in edited
    file.write_text(edited)
    later = file.with_name("later.yaml")
    save(later, {"config_file": str(file), "image_topic": TOPIC})
    process = start(arguments=["--params-file", str(file), "--params-file", str(later), "-p", "overlay.alpha:=0.25"])
    process.wait_for("model squeezenet1_1_imagenet loaded")
    parameters = Parameters(peer)
    names = ["labels.top_k", "image_topic", "overlay.alpha"]
    assert parameters.get(*names) == [2, TOPIC, 0.25]
    file.write_text(edited.replace("top_k: 2", "top_k: 3"))
    wait(lambda: parameters.get("labels.top_k") == [3], 10, process.log)
