"""How the node starts: what it is given on the command line and in files, and what it says of it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from conftest import binary, image_message, photograph, wait
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from test_parameters import Parameters

ALL = "/**:\n  ros__parameters:\n"
OWN = "/**/squeezenet:\n  ros__parameters:\n"


def end_of(arguments: list[str], environment: dict) -> tuple[int, str]:
    """Exit status and log of a node that is expected not to start."""
    done = subprocess.run(
        [binary(), "--ros-args", *arguments], env=environment, capture_output=True, text=True, timeout=20
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(("lines", "words"), [
    ("\tlabels.top_k: 3\n", "line 3: "),
    ("    labels.top_k:\n", "line 3: labels.top_k has no value"),
    ("    labels.top_k: ~\n", "line 3: labels.top_k has no value"),
    ("    obstacles.max_count: &n 3\n    labels.top_k: *n\n", "line 4: aliases"),
    ("    <<: {labels.top_k: 3}\n", "line 3: merge keys"),
    ("    labels.top_k: 3\n    labels: {top_k: 4}\n", "line 4: duplicate key: labels.top_k"),
    ("    labels.top_k: 1_0\n", 'line 3: parameter labels.top_k: "1_0" is a string'),
    ("    image_topic: /" + 100_000 * "a" + "\n", "at most 247 letters"),
    ("    model: [\n", "line "),
])
def test_a_file_that_cannot_be_read_is_named_with_its_line(environment, tmp_path: Path, lines: str, words: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(ALL + lines)
    status, log = end_of(["--params-file", str(file)], environment)
    assert status == 2, log
    assert str(file) in log and words in log and "panicked" not in log, log


@pytest.mark.parametrize(("arguments", "words"), [
    (["--params-file", "none.yaml"], "none.yaml: No such file"),
    (["-p", "x"], "-p x: it is not NAME:=VALUE"),
    (["-p", "labels.top_k:=many"], 'parameter labels.top_k: "many" is a string'),
    (["-r", "__node:=9bad"], "__node:=9bad"),
    (["--log-level", "nonsense"], "nonsense"),
])
def test_arguments_that_cannot_be_taken_are_told_in_a_line(environment, arguments: list[str], words: str) -> None:
    status, log = end_of(arguments, environment)
    assert status == 2, log
    assert words in log and "panicked" not in log and len(log.splitlines()) <= 3, log


def test_a_log_folder_that_cannot_be_made_is_named(environment, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    status, log = end_of([], {**environment, "ROS_HOME": str(tmp_path)})
    assert status == 2 and str(tmp_path / "log") in log and "ROS_LOG_DIR" in log, log


def test_what_a_dump_holds_is_taken(start, peer, tmp_path: Path) -> None:
    """Empty arrays as `ros2 param dump` writes them, and type tags of later releases."""
    file = tmp_path / "dumped.yaml"
    file.write_text(OWN + '    cameras: []\n    mask:\n      traversability: []\n    labels.top_k: !!int "4"\n    overlay.jpeg_quality: 077\n')
    start(arguments=["--params-file", str(file)])
    parameters = Parameters(peer)
    assert parameters.get("labels.top_k", "overlay.jpeg_quality") == [4, 0o77]


@pytest.mark.parametrize(("order", "expected"), [
    (["all:3", "own:4"], 4), (["own:4", "all:3"], 3), (["all:3", "p:9"], 9), (["p:9", "all:3"], 3),
    (["own:4", "p:9"], 9), (["p:9", "own:4"], 4), (["all:3", "own:4", "p:9"], 4),
])
def test_the_order_of_the_command_line_decides_as_in_rclcpp(start, peer, tmp_path: Path, order: list[str], expected: int) -> None:
    """Sections follow each other as they first appear; `-p` is one of `/**`."""
    arguments = []
    for number, word in enumerate(order):
        kind, value = word.split(":")
        if kind == "p":
            arguments += ["-p", f"labels.top_k:={value}"]
        else:
            file = tmp_path / f"{number}.yaml"
            file.write_text((ALL if kind == "all" else OWN) + f"    labels.top_k: {value}\n")
            arguments += ["--params-file", str(file)]
    start(arguments=arguments)
    assert Parameters(peer).get("labels.top_k") == [expected]


def test_every_given_file_is_watched(start, peer, tmp_path: Path) -> None:
    """As `ros2 launch` gives them: the user's file, then a temporary one of a dictionary."""
    user, other = tmp_path / "user.yaml", tmp_path / "launch_params"
    user.write_text(ALL + "    labels.top_k: 3\n    overlay.alpha: 0.25\n")
    other.write_text(ALL + "    overlay.alpha: 0.75\n")
    node = start(arguments=["--params-file", str(user), "--params-file", str(other)])
    parameters = Parameters(peer)
    assert parameters.get("labels.top_k", "overlay.alpha") == [3, 0.75]
    user.write_text(ALL + "    labels.top_k: 7\n    overlay.alpha: 0.125\n")
    wait(lambda: parameters.get("labels.top_k") == [7], 10, node.log)
    assert parameters.get("overlay.alpha") == [0.75], "the later file holds"
    other.write_text(ALL + "    labels.topk: 1\n    overlay.alpha: 2.0\n")
    node.wait_for(f"{other}, line 4: parameter overlay.alpha")
    other.write_text(ALL)
    wait(lambda: parameters.get("overlay.alpha") == [0.125], 10, node.log)


def test_a_section_of_another_namespace_is_passed_over_and_named(start, tmp_path: Path) -> None:
    file = tmp_path / "plain.yaml"
    file.write_text("squeezenet:\n  ros__parameters:\n    labels.top_k: 3\n")
    node = start(arguments=["-r", "__ns:=/robot", "--params-file", str(file)])
    node.wait_for("the section /squeezenet is passed over, this node is /robot/squeezenet")


def test_names_that_look_like_ours_are_named(start, tmp_path: Path) -> None:
    node = start(arguments=["-p", "labels.topk:=3", "-p", "frame_rate:=30.0"])
    node.wait_for("the nearest is labels.top_k")
    assert "frame_rate" not in node.log(), "another node's"


def test_a_misspelt_class_is_refused(start, peer, environment) -> None:
    status, log = end_of(["-p", "mask.traversability:=[pavment=caution]"], environment)
    assert status == 2 and 'no class "pavment"; it has ' in log and "pavement" in log, log
    start()
    parameters = Parameters(peer)
    answer = parameters.set({"mask.cost": ["pavment=7"]})[0]
    assert not answer.successful and "pavement" in answer.reason
    assert parameters.set({"mask.cost": ["pavement=7"]})[0].successful


def test_the_other_transport_is_named(start, peer) -> None:
    peer.publisher(CompressedImage, "/camera/image_raw/compressed")
    node = start(arguments=["-p", "image_transport:=compressed"])
    node.wait_for("the pictures are on /camera/image_raw/compressed: set image_topic to that")


def test_a_second_node_of_the_same_name_is_told(start) -> None:
    nodes = [start(), start()]
    for node in nodes:
        # One that is there before might have been killed a moment ago.
        node.wait_for("there are 2 nodes of the name /squeezenet", 40)


def test_of_two_nodes_with_one_file_of_places_the_second_says_so(start, peer, tmp_path: Path) -> None:
    file = tmp_path / "places.bin"
    # A node is ready before it has its file: the second is started when the first holds it.
    nodes = [
        start(
            arguments=["-r", f"__node:={name}", "-p", f"places.file:={file}", "-p", f"image_topic:=/{name}"], until=until)
        for name, until in (("one", "0 places"), ("two", "ready"))
    ]
    nodes[1].wait_for("is held by another, node /one")

    def teach(name: str, place: str, words: str, shown: str = "") -> None:
        camera, lessons = peer.publisher(Image, f"/{name}"), peer.publisher(String, f"/{name}/learn_place")
        peer.wait_subscribed(camera)
        peer.wait_subscribed(lessons)
        node = nodes[0] if name == "one" else nodes[1]
        lessons.publish(String(data=place))

        def is_answered() -> bool:
            camera.publish(image_message(photograph("coffee")))
            time.sleep(0.1)
            return any(words in line and (shown or place) in line for line in node.lines)
        wait(is_answered, 10, node.log)

    teach("one", "hall\nway", "a new view", shown="hall\\nway")
    teach("one", "kitchen", "a new view")
    teach("two", "garage", "is not learnt")
    nodes[0].stop()
    # The request that finds the file free opens it; the next one is taken.
    teach("two", "cellar", "is not learnt")
    nodes[1].wait_for("2 places with")
    teach("two", "attic", "a new view")
    nodes[1].stop()
    done = subprocess.run(
        [binary(), "places", "list", "--gallery", str(file)], capture_output=True, text=True, timeout=20
    )
    assert "kitchen" in done.stdout and "attic" in done.stdout and "garage" not in done.stdout, done.stdout
