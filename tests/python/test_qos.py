"""The QoS of every topic can be overridden at start, as in rclcpp nodes."""

import subprocess

import pytest
from conftest import BEST_EFFORT, RELIABLE, binary, image_message, photograph, wait
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

OVERRIDES = {
    "qos_overrides./squeezenet/labels.publisher.reliability": "best_effort",
    "qos_overrides./squeezenet/labels.publisher.deadline": 5_000_000_000,
    "qos_overrides./squeezenet/mask.publisher.durability": "transient_local",
    "qos_overrides./eye.subscription.reliability": "best_effort",
    "qos_overrides./tf.publisher.reliability": "best_effort",
    "qos_overrides./rosout.publisher.durability": "volatile",
}


def offered(peer, topic: str):
    """QoS of the node's end of a topic."""
    found: list = []

    def look() -> bool:
        ends = peer.node.get_publishers_info_by_topic(topic) + peer.node.get_subscriptions_info_by_topic(topic)
        found[:] = [end.qos_profile for end in ends if end.node_name == "squeezenet"]
        return bool(found)

    wait(look, 20, lambda: f"the node has no end of {topic}")
    return found[0]


def test_overrides_are_in_force_on_remapped_topics(start, peer):
    # The publisher is reliable, which `input.reliability: auto` would follow.
    camera = peer.publisher(Image, "/eye", RELIABLE)
    labels = peer.collect(Classification, "/squeezenet/labels", BEST_EFFORT)
    start({"image_topic": "/looks/here", **OVERRIDES}, ["-r", "/looks/here:=/eye"])
    peer.wait_subscribed(camera)
    assert offered(peer, "/eye").reliability == ReliabilityPolicy.BEST_EFFORT
    said = offered(peer, "/squeezenet/labels")
    assert said.reliability == ReliabilityPolicy.BEST_EFFORT and said.deadline == Duration(seconds=5)
    assert said.durability == DurabilityPolicy.VOLATILE, "what is not named stays"
    assert offered(peer, "/squeezenet/mask").durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert offered(peer, "/squeezenet/confidence").durability == DurabilityPolicy.VOLATILE
    assert offered(peer, "/tf").reliability == ReliabilityPolicy.BEST_EFFORT
    assert offered(peer, "/rosout").durability == DurabilityPolicy.VOLATILE
    assert peer.answer(camera, image_message(photograph("coffee")), labels).results


def test_outputs_offer_what_the_parameter_says(start, peer):
    camera = peer.publisher(Image, "/camera/image_raw", RELIABLE)
    labels = peer.collect(Classification, "/squeezenet/labels", BEST_EFFORT)
    start({"output.reliability": "best_effort"})
    peer.wait_subscribed(camera)
    for name in ("labels", "mask", "confidence", "traversability", "timing"):
        assert offered(peer, f"/squeezenet/{name}").reliability == ReliabilityPolicy.BEST_EFFORT, name
    latched = offered(peer, "/squeezenet/label_info")
    assert latched.reliability == ReliabilityPolicy.RELIABLE, "what is latched has to arrive"
    assert latched.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert peer.answer(camera, image_message(photograph("coffee")), labels).results


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("/squeezenet/labels.publisher.colour:=red", "history, depth"),
        ("/squeezenet/labels.publisher.reliability:=often", "reliable, best_effort"),
        ("/squeezenet/labels.publisher.depth:=0", "1 to"),
    ],
)
def test_a_wrong_override_is_said_at_start(environment, parameter, reason):
    command = [binary(), "--ros-args", "-p", f"qos_overrides.{parameter}"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0 and reason in ended.stderr and "qos_overrides./squeezenet" in ended.stderr
