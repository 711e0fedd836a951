"""Parameters as any rclcpp node has them, asked by rclpy over real DDS."""

from __future__ import annotations

import math
import time

import pytest
from conftest import BEST_EFFORT, image_message, photograph, wait
from rcl_interfaces.msg import Parameter, ParameterEvent, ParameterType, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.qos import qos_profile_parameters
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

NODE = "/squeezenet"
TOPIC = "/camera/image_raw"


def value_message(value: object) -> ParameterValue:
    if isinstance(value, bool):
        return ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
    if isinstance(value, int):
        return ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value)
    if isinstance(value, float):
        return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
    if isinstance(value, str):
        return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
    if value is None:
        return ParameterValue()
    assert isinstance(value, list)
    if value and isinstance(value[0], int):
        return ParameterValue(type=ParameterType.PARAMETER_INTEGER_ARRAY, integer_array_value=value)
    return ParameterValue(type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=value)


def plain(message: ParameterValue) -> object:
    return {
        ParameterType.PARAMETER_NOT_SET: lambda: None,
        ParameterType.PARAMETER_BOOL: lambda: message.bool_value,
        ParameterType.PARAMETER_INTEGER: lambda: message.integer_value,
        ParameterType.PARAMETER_DOUBLE: lambda: message.double_value,
        ParameterType.PARAMETER_STRING: lambda: message.string_value,
        ParameterType.PARAMETER_STRING_ARRAY: lambda: list(message.string_array_value),
    }[message.type]()


class Parameters:
    """What `ros2 param` does, by its own services."""

    def __init__(self, peer, node: str = NODE) -> None:
        self.peer, self.node = peer, node

    def call(self, kind, service: str, request):
        return self.peer.call(kind, f"{self.node}/{service}", request)

    def list(self, prefixes: list[str] | None = None, depth: int = 0):
        request = ListParameters.Request(prefixes=prefixes or [], depth=depth)
        return self.call(ListParameters, "list_parameters", request).result

    def get(self, *names: str) -> list:
        answer = self.call(GetParameters, "get_parameters", GetParameters.Request(names=names))
        return [plain(value) for value in answer.values]

    def types(self, *names: str) -> list[int]:
        request = GetParameterTypes.Request(names=names)
        return list(self.call(GetParameterTypes, "get_parameter_types", request).types)

    def describe(self, *names: str) -> list:
        request = DescribeParameters.Request(names=names)
        return self.call(DescribeParameters, "describe_parameters", request).descriptors

    def set(self, values: dict) -> list:
        request = SetParameters.Request(parameters=messages(values))
        return self.call(SetParameters, "set_parameters", request).results

    def set_atomically(self, values: dict):
        request = SetParametersAtomically.Request(parameters=messages(values))
        return self.call(SetParametersAtomically, "set_parameters_atomically", request).result

    def dump(self) -> dict:
        names = list(self.list().names)
        return dict(zip(names, self.get(*names), strict=True))


def messages(values: dict) -> list[Parameter]:
    return [Parameter(name=name, value=value_message(value)) for name, value in values.items()]


@pytest.fixture
def parameters(start, peer) -> Parameters:
    start()
    return Parameters(peer)


def test_list_has_prefixes_and_depth(parameters: Parameters) -> None:
    everything = parameters.list()
    assert {"model", "labels.top_k", "use_sim_time"} <= set(everything.names)
    assert {"labels", "input", "mask"} <= set(everything.prefixes)
    below = parameters.list(["labels"])
    assert set(below.names) == {"labels.top_k", "labels.threshold", "labels.class_id_format"}
    assert list(below.prefixes) == ["labels"]
    top = parameters.list(depth=1)
    assert "model" in top.names and not [name for name in top.names if "." in name]
    assert list(parameters.list(["label"]).names) == [], "a prefix is a whole word"


def test_get_and_types(parameters: Parameters) -> None:
    assert parameters.get("labels.top_k", "labels.threshold", "mask.cost") == [5, 0.0, []]
    assert parameters.types("labels.top_k", "labels.threshold", "use_sim_time", "model", "mask.cost") == [
        ParameterType.PARAMETER_INTEGER, ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_BOOL,
        ParameterType.PARAMETER_STRING, ParameterType.PARAMETER_STRING_ARRAY,
    ]
    assert parameters.get("labels.top_q") == []
    assert parameters.types("labels.top_q") == []


def test_descriptors_carry_what_a_slider_needs(parameters: Parameters) -> None:
    top_k, threshold, fit, sim_time = parameters.describe(
        "labels.top_k", "labels.threshold", "input.fit", "use_sim_time"
    )
    assert (top_k.integer_range[0].from_value, top_k.integer_range[0].to_value) == (1, 1000)
    assert (threshold.floating_point_range[0].from_value, threshold.floating_point_range[0].to_value) == (0.0, 1.0)
    assert "letterbox" in fit.additional_constraints
    assert sim_time.read_only and not fit.read_only
    described = parameters.describe(*parameters.list().names)
    assert all(descriptor.description for descriptor in described)
    types = parameters.types(*parameters.list().names)
    assert [descriptor.type for descriptor in described] == types


REFUSED = [
    ("labels.top_k", 0, "1 to 1000"),
    ("labels.top_k", 1001, "1 to 1000"),
    ("labels.top_k", 3.0, "integer"),
    ("labels.threshold", 1, "double"),
    ("labels.threshold", 1.5, "0.0 to 1.0"),
    ("labels.threshold", math.nan, "NaN"),
    ("labels.threshold", math.inf, "inf"),
    ("input.fit", "squash", "letterbox"),
    ("input.width", 7, "64"),
    ("mask.cost", ["road"], "class=cost"),
    ("mask.cost", [1, 2], "string array"),
    ("labels.top_k", None, "integer"),
    ("cameras", ["front left"], "no name for a camera"),
    ("model", "nonsense", "no model"),
    ("precision", "int4", "fp32"),
    ("inference.threads", 65, "0 to 64"),
    ("use_sim_time", True, "read-only"),
    ("image_topic", "9x", "no topic name"),
    ("labels.top_q", 1, "no such parameter"),
]


def test_refusals_say_why_and_change_nothing(parameters: Parameters) -> None:
    before = parameters.dump()
    for name, value, reason in REFUSED:
        (result,) = parameters.set({name: value})
        assert not result.successful, f"{name} took {value}"
        assert name in result.reason and reason in result.reason, result.reason
    assert parameters.dump() == before


def test_set_takes_each_alone(parameters: Parameters) -> None:
    results = parameters.set({"labels.top_k": 3, "labels.threshold": 2.0, "labels.class_id_format": "index"})
    assert [result.successful for result in results] == [True, False, True]
    assert parameters.get("labels.top_k", "labels.threshold", "labels.class_id_format") == [3, 0.0, "index"]


def test_set_atomically_takes_all_or_none(parameters: Parameters) -> None:
    before = parameters.dump()
    refused = parameters.set_atomically({"labels.top_k": 3, "labels.threshold": 2.0})
    assert not refused.successful and "labels.threshold" in refused.reason
    assert parameters.dump() == before
    assert parameters.set_atomically({"labels.top_k": 3, "labels.threshold": 0.25}).successful
    assert parameters.get("labels.top_k", "labels.threshold") == [3, 0.25]


def test_events_tell_what_changed(start, peer) -> None:
    events = peer.collect(ParameterEvent, "/parameter_events")
    start()
    parameters = Parameters(peer)

    def changes() -> list[dict]:
        own = [event for event in events if event.node == NODE]
        return [{p.name: plain(p.value) for p in event.changed_parameters} for event in own]

    # The peer has a publisher of that topic itself.
    wait(lambda: peer.node.count_publishers("/parameter_events") > 1, 20)
    time.sleep(0.3)
    parameters.set({"labels.top_k": 0})
    assert parameters.set_atomically({"labels.top_k": 3, "labels.threshold": 0.25}).successful
    wait(lambda: {"labels.top_k": 3, "labels.threshold": 0.25} in changes(), 10, lambda: str(changes()))
    assert not [change for change in changes() if change.get("labels.top_k") == 0], "a refused set is no change"


def test_all_who_ask_while_a_model_is_loaded_are_answered(start, peer) -> None:
    start({"model": "squeezenet1_1_imagenet"})
    parameters = Parameters(peer)
    # rclpy's own clients keep ten answers that come at once.
    client = peer.node.create_client(SetParameters, f"{NODE}/set_parameters", qos_profile=qos_profile_parameters)
    assert client.wait_for_service(20)
    time.sleep(0.5)
    asked = [{"model": "squeezenet1_1_street"}, *({"labels.top_k": 1 + number % 20} for number in range(40))]
    answers = []
    for one in asked:
        answers.append(client.call_async(SetParameters.Request(parameters=messages(one))))
        # r2r loses what is more than eleven at the very same moment.
        time.sleep(0.01)
    wait(lambda: all(answer.done() for answer in answers), 30, lambda: f"{sum(a.done() for a in answers)} of {len(answers)}")
    assert all(answer.result().results[0].successful for answer in answers)
    assert parameters.get("labels.top_k") == [20]


def test_a_dump_loads_again(start, peer) -> None:
    """What `ros2 param dump` reads, `ros2 param load` sets again."""
    start()
    parameters = Parameters(peer)
    assert parameters.set_atomically({"labels.top_k": 3, "mask.cost": ["road=7"], "input.max_age_ms": 90.0}).successful
    dumped = parameters.dump()
    writable = {
        name: value for name, value in dumped.items() if not parameters.describe(name)[0].read_only
    }
    assert parameters.set_atomically({"labels.top_k": 9, "mask.cost": []}).successful
    assert all(result.successful for result in parameters.set(writable)), "as `ros2 param load` does"
    assert parameters.dump() == dumped


def test_overrides_from_file_and_command_line(start, peer) -> None:
    start({"labels": {"top_k": 2, "threshold": 0.5}}, ["-p", "labels.top_k:=4"])
    parameters = Parameters(peer)
    assert parameters.get("labels.top_k", "labels.threshold") == [4, 0.5], "the command line stands over the file"


def test_a_namespace_and_a_new_name_are_kept(start, peer) -> None:
    start({"labels": {"top_k": 2}}, ["-r", "__ns:=/robot", "-r", "__node:=eyes"])
    assert Parameters(peer, "/robot/eyes").get("labels.top_k") == [2]


def test_cameras_have_their_own(start, peer) -> None:
    start({"cameras": ["front", "rear"], "labels": {"top_k": 2}, "rear": {"labels": {"top_k": 7}}})
    parameters = Parameters(peer)
    assert parameters.get("front.labels.top_k", "rear.labels.top_k") == [2, 7]
    assert parameters.set({"front.labels.top_k": 3})[0].successful
    assert parameters.get("front.labels.top_k", "rear.labels.top_k", "labels.top_k") == [3, 7, 2]
    assert not parameters.set({"left.labels.top_k": 3})[0].successful


def test_a_change_holds_from_the_next_frame(start, peer) -> None:
    start()
    parameters = Parameters(peer)
    received = peer.collect(Classification, f"{NODE}/labels")
    camera = peer.publisher(Image, TOPIC, BEST_EFFORT)
    peer.wait_subscribed(camera)
    peer.wait_published(f"{NODE}/labels")
    message = image_message(photograph("coffee"))
    assert len(peer.answer(camera, message, received).results) == 5
    assert parameters.set({"labels.top_k": 2})[0].successful
    while True:
        before = len(received)
        time.sleep(0.3)
        if len(received) == before:
            break
    assert len(peer.answer(camera, message, received).results) == 2
    assert camera.get_subscription_count() == 1, "the subscription is not dropped"
