"""The package as colcon lays it out, and its launch file under the real launch system."""

import ast
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from conftest import ROOT, Peer, image_message, launch_file, photograph, wait
from sensor_msgs.msg import Image
from test_parameters import Parameters
from vision_msgs.msg import Classification

INSTALL = ROOT / ".deps" / "install"
SHARE = INSTALL / "share" / "squeezenet_node"
CONTRACT = {
    "image_topic", "config", "model", "log_level", "use_sim_time", "namespace", "managed", "autostart", "respawn",
}
# What `ros2 launch FILE NAME:=VALUE...` does, without the ros2 command.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

file, *arguments = sys.argv[1:]
service = LaunchService()
service.include_launch_description(LaunchDescription([
    IncludeLaunchDescription(
        PythonLaunchDescriptionSource(file),
        launch_arguments=[tuple(argument.split(":=", 1)) for argument in arguments],
    )
]))
sys.exit(service.run())
"""

needs_install = pytest.mark.skipif(not SHARE.is_dir(), reason="nothing is installed: run `make install`")
needs_launch = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch_ros is not there (PyPI has none; apt: ros-jazzy-launch-ros), so the launch file was not started",
)


@needs_install
def test_the_install_is_complete():
    assert os.access(INSTALL / "lib" / "squeezenet_node" / "squeezenet_node", os.X_OK)
    assert (INSTALL / "share" / "ament_index" / "resource_index" / "packages" / "squeezenet_node").is_file()
    assert ElementTree.parse(SHARE / "package.xml").findtext("name") == "squeezenet_node"
    for folder in ("launch", "config", "models"):
        for source in (ROOT / folder).glob("*.*"):
            # What makes a model is no part of it.
            if source.is_file() and source.suffix != ".py" and not source.name.startswith("requirements"):
                assert (SHARE / folder / source.name).is_file(), f"{folder}/{source.name} is not installed"


@needs_install
def test_the_installed_models_are_found_from_anywhere(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "SQUEEZENET_MODELS"}
    done = subprocess.run(
        [INSTALL / "lib" / "squeezenet_node" / "squeezenet_node", "model"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "squeezenet1_1_imagenet" in done.stdout


def test_the_launch_arguments_are_the_documented_ones():
    """Read from the source, so that it holds where launch is not installed."""
    tree = ast.parse((ROOT / "launch" / "detect.launch.py").read_text())
    calls = [
        node for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DeclareLaunchArgument"
    ]
    assert {call.args[0].value for call in calls} == CONTRACT
    for call in calls:
        keywords = {keyword.arg for keyword in call.keywords}
        assert {"default_value", "description"} <= keywords, f"{call.args[0].value} lacks one of them"


class Part:
    """Whatever a launch file makes of launch and launch_ros, with what it was given."""

    def __init__(self, *arguments, **options) -> None:
        self.arguments, self.options = arguments, options

    def perform(self, context: dict) -> str:
        return context[self.arguments[0]]


def composed(monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, str]) -> list[Part]:
    """What a launch file starts, told by itself: by stand-ins, since PyPI has no launch_ros, so that each line of it runs."""
    names = {
        "launch": ["LaunchDescription"],
        "launch.actions": ["DeclareLaunchArgument", "IncludeLaunchDescription", "OpaqueFunction"],
        "launch.conditions": ["IfCondition"],
        "launch.launch_description_sources": ["PythonLaunchDescriptionSource"],
        "launch.substitutions": ["LaunchConfiguration"],
        "launch_ros": [], "launch_ros.actions": ["Node"],
    }
    for module, parts in names.items():
        stand_in = ModuleType(module)
        vars(stand_in).update({part: type(part, (Part,), {}) for part in parts})
        monkeypatch.setitem(sys.modules, module, stand_in)
    file = launch_file(name)
    *arguments, start = file.generate_launch_description().arguments[0]
    defaults = {argument.arguments[0]: argument.options["default_value"] for argument in arguments}
    assert set(given) <= set(defaults)
    return start.options["function"](defaults | given)


def test_the_launch_file_gives_the_node_what_it_was_given(monkeypatch, start, peer, tmp_path):
    config = str(ROOT / "config" / "squeezenet.yaml")
    [node] = composed(monkeypatch, "detect.launch.py", {})
    assert node.options["parameters"] == [config] and node.options["respawn"] is False
    given = {"image_topic": "/eye", "model": "squeezenet1_1_street", "use_sim_time": "false", "namespace": "robot", "respawn": "true"}
    [node] = composed(monkeypatch, "detect.launch.py", given)
    options = node.options
    assert (options["package"], options["executable"], options["name"]) == ("squeezenet_node", "squeezenet_node", "squeezenet")
    assert options["namespace"] == "robot" and options["respawn"] is True
    # As launch_ros hands them over: what is no file becomes one.
    arguments = ["-r", f"__node:={options['name']}", "-r", f"__ns:=/{options['namespace']}"]
    for number, parameters in enumerate(options["parameters"]):
        if isinstance(parameters, dict):
            file = tmp_path / f"launch_params_{number}"
            whole_name = f"/{options['namespace']}/{options['name']}"
            file.write_text(yaml.safe_dump({whole_name: {"ros__parameters": parameters}}))
            parameters = str(file)
        arguments += ["--params-file", parameters]
    process = start(arguments=arguments)
    parameters = Parameters(peer, "/robot/squeezenet")
    assert parameters.get("image_topic", "model", "config_file") == ["/eye", "squeezenet1_1_street", config]
    assert f"watching {config}" in process.log()
    with pytest.raises(RuntimeError, match="config:=/nowhere.yaml: there is no such file"):
        composed(monkeypatch, "detect.launch.py", {"config": "/nowhere.yaml"})


@pytest.mark.parametrize(("variant", "layer"), [("scan", "scan_layer"), ("semantic", "semantic_layer")])
def test_the_nav2_demo_starts_what_it_says(monkeypatch, variant, layer):
    squeezenet, costmap, manager, rviz = composed(monkeypatch, "nav2_demo.launch.py", {"variant": variant, "image_topic": "/eye"})
    assert dict(squeezenet.options["launch_arguments"])["image_topic"] == "/eye"
    assert costmap.options["parameters"][1]["plugins"] == [layer, "inflation_layer"]
    assert manager.options["parameters"][0]["node_names"] == ["local_costmap/local_costmap"]
    assert Path(rviz.options["arguments"][1]).is_file()


@contextmanager
def launched(environment: dict, folder: Path, *arguments: str) -> Iterator[list[str]]:
    """The launch file at work, and what it and the node have said; logs go to `folder`."""
    prefixes = os.pathsep.join([str(INSTALL), environment.get("AMENT_PREFIX_PATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(SHARE / "launch" / "detect.launch.py"), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={**environment, "AMENT_PREFIX_PATH": prefixes, "ROS_LOG_DIR": str(folder)},
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        finally:
            process.kill()
            reader.join(5)


def said(lines: list[str], words: str) -> None:
    wait(lambda: any(words in line for line in list(lines)), 30, lambda: f"{words!r} not in:\n{''.join(lines)}")


@needs_launch
@needs_install
def test_launched_with_its_arguments(environment, peer: Peer, tmp_path: Path):
    arguments = ["image_topic:=/robot/color", "namespace:=robot", "model:=squeezenet1_1_imagenet"]
    with launched(environment, tmp_path, *arguments) as lines:
        said(lines, "ready")
        labels = peer.collect(Classification, "/robot/squeezenet/labels")
        images = peer.publisher(Image, "/robot/color")
        peer.wait_subscribed(images)
        peer.wait_published("/robot/squeezenet/labels")
        answer = peer.answer(images, image_message(photograph("coffee")), labels)
        assert answer.results[0].class_id == "espresso"
    assert any("finished cleanly" in line for line in lines), "".join(lines)


@needs_launch
@needs_install
def test_launched_with_a_parameter_file(environment, peer: Peer, tmp_path: Path):
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"/**": {"ros__parameters": {
        "image_topic": "/own/image", "labels": {"top_k": 2},
    }}}))
    with launched(environment, tmp_path, f"config:={own}") as lines:
        said(lines, "ready")
        labels = peer.collect(Classification, "/squeezenet/labels")
        images = peer.publisher(Image, "/own/image")
        peer.wait_subscribed(images)
        peer.wait_published("/squeezenet/labels")
        assert len(peer.answer(images, image_message(photograph("coffee")), labels).results) == 2


@needs_launch
@needs_install
def test_a_config_that_is_absent_is_named(environment, tmp_path: Path):
    with launched(environment, tmp_path, "config:=/nowhere/own.yaml") as lines:
        said(lines, "/nowhere/own.yaml: there is no such file")
