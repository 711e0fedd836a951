"""What runs fastest is measured once; a provider that fails gives way to the processor."""

import os

from conftest import image_message, photograph, wait
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification


def test_the_fastest_is_measured_once_and_remembered(start, environment, tmp_path):
    environment["ROS_HOME"] = str(tmp_path / "new_home")
    first = start({"model": "squeezenet1_1_imagenet"})
    assert "measuring which of" in first.log() or os.cpu_count() == 1
    remembered = (tmp_path / "new_home" / "squeezenet_tuning.json").read_text()
    assert "squeezenet1_1_imagenet" in remembered
    assert first.stop() == 0
    again = start({"model": "squeezenet1_1_imagenet"})
    assert "measuring which" not in again.log()


def test_a_provider_that_the_runtime_lacks_gives_way_to_the_processor(start, peer):
    node = start({"inference.provider": "tensorrt", "labels.top_k": 1})
    labels = peer.collect(Classification, "/squeezenet/labels")
    diagnostics = peer.diagnostics()
    images = peer.publisher(Image, "/camera/image_raw")
    peer.wait_subscribed(images)
    peer.wait_published("/squeezenet/labels")
    node.wait_for("tensorrt fails: ")
    node.wait_for("the processor serves instead")
    answer = peer.answer(images, image_message(photograph("coffee")), labels)
    assert answer.results[0].class_id == "espresso"
    wait(lambda: "tensorrt fails" in (diagnostics.value("model trouble") or ""), 10)
    assert diagnostics.value("provider") == "cpu"
