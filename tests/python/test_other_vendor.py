"""A peer on another vendor's DDS, without any ROS library."""

import os
import subprocess
import sys

import pytest
from conftest import image_message, photograph
from sensor_msgs.msg import Image

SUBSCRIBER = """
import sys
from dataclasses import dataclass
from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import float64, int32, sequence, uint32
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    sec: int32
    nanosec: uint32

@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    stamp: Time
    frame_id: str

@dataclass
class ObjectHypothesis(IdlStruct, typename="vision_msgs::msg::dds_::ObjectHypothesis_"):
    class_id: str
    score: float64

@dataclass
class Classification(IdlStruct, typename="vision_msgs::msg::dds_::Classification_"):
    header: Header
    results: sequence[ObjectHypothesis]

participant = DomainParticipant(int(sys.argv[1]))
qos = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.History.KeepLast(5))
reader = DataReader(participant, Topic(participant, "rt/squeezenet/labels", Classification), qos=qos)
print("listening", flush=True)
for sample in reader.take_iter(timeout=duration(seconds=30)):
    print(sample.header.frame_id, sample.results[0].class_id, flush=True)
    break
"""
CYCLONE = """<CycloneDDS><Domain><General><Interfaces><NetworkInterface name="lo"/></Interfaces>
<AllowMulticast>false</AllowMulticast></General><Discovery><ParticipantIndex>auto</ParticipantIndex>
<Peers><Peer address="127.0.0.1"/></Peers></Discovery></Domain></CycloneDDS>"""


def test_cyclone_dds_receives_the_labels(start, peer, domain):
    pytest.importorskip("cyclonedds", reason="it has no wheel for this processor")
    start()
    subscriber = subprocess.Popen(
        [sys.executable, "-c", SUBSCRIBER, str(domain)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "CYCLONEDDS_URI": CYCLONE},
    )
    try:
        assert subscriber.stdout.readline() == "listening\n"
        images = peer.publisher(Image, "/camera/image_raw")
        peer.wait_subscribed(images)
        message = image_message(photograph("coffee"))
        timer = peer.node.create_timer(0.2, lambda: images.publish(message))
        line = subscriber.stdout.readline()
        peer.node.destroy_timer(timer)
        assert line == "camera_link espresso\n"
    finally:
        subscriber.kill()
        subscriber.wait()
