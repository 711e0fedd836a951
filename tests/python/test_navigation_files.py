"""What the package brings for Nav2, RViz and Foxglove: every file in config/ and launch/ is loaded."""

import ast
import importlib.util
import json
import xml.etree.ElementTree as ElementTree

import pytest
import rclpy
import yaml
from conftest import ROOT, launch_file
from rclpy.context import Context

CONFIG = ROOT / "config"
NAV2 = CONFIG / "nav2_local_costmap.yaml"
FILES = sorted(file for file in CONFIG.iterdir() if file.is_file())
# Traversability names of the mask's label_info (src/manifest.rs).
LABELS = {"traversable", "caution", "obstacle", "background"}


def costmap() -> dict:
    return yaml.safe_load(NAV2.read_text())["local_costmap"]["local_costmap"]["ros__parameters"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_in_config_loads(file):
    text = file.read_text()
    if file.suffix == ".json":
        json.loads(text)
    elif file.suffix == ".xml":
        ElementTree.fromstring(text)
    elif file.suffix == ".rviz":
        assert yaml.safe_load(text)["Visualization Manager"]["Displays"]
    else:
        assert file.suffix == ".yaml", f"{file.name}: no test knows how to load it"
        # ROS's own parser, which takes less than YAML allows.
        context = Context()
        rclpy.init(args=["--ros-args", "--params-file", str(file)], context=context)
        rclpy.shutdown(context=context)


def test_each_variant_has_its_layer():
    parameters = costmap()
    tree = ast.parse((ROOT / "launch" / "nav2_demo.launch.py").read_text())
    layers = next(
        ast.literal_eval(node.value) for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "LAYERS"
    )
    for layer in [*layers.values(), *parameters["plugins"]]:
        assert "::" in parameters[layer]["plugin"], layer


def test_points_in_the_ground_pass_the_height_limits():
    """Nav2 drops what lies below min_obstacle_height, 0.0 by default, and rounding takes z = 0 below it."""
    parameters = costmap()
    for layer, source, z in (
        ("scan_layer", "feet", 0.0), ("scan_layer", "free", 0.0), ("cloud_layer", "ground", 0.0), ("cloud_layer", "feet", 0.2),
        ("voxel_layer", "ground", 0.0), ("voxel_layer", "feet", 0.2),
    ):
        limits = parameters[layer][source]
        assert limits["min_obstacle_height"] < z < limits["max_obstacle_height"], (layer, source)
        if limits["marking"]:
            assert parameters[layer]["min_obstacle_height"] < z < parameters[layer]["max_obstacle_height"], (layer, source)


def test_free_beams_clear_and_do_not_mark():
    """Nav2 takes a +Inf beam for a point at the scan's range_max, which may be nearer than obstacle_max_range."""
    layer = costmap()["scan_layer"]
    sources = [layer[name] for name in layer["observation_sources"].split()]
    assert {source["topic"] for source in sources} == {"/squeezenet/scan"}
    assert any(source["marking"] for source in sources) and any(source["clearing"] for source in sources)
    for source in sources:
        assert source["inf_is_valid"] == source["clearing"] and source["marking"] != source["clearing"]


def test_rays_along_the_ground_clear_the_voxels_of_the_feet():
    voxels = costmap()["voxel_layer"]
    voxel = lambda z: int((z - voxels["origin_z"]) / voxels["z_resolution"])  # noqa: E731
    assert voxel(-0.001) == voxel(0.001) == voxel(0.2) == 0


def test_the_semantic_layer_knows_every_label():
    """It calls a name of label_info that it has no costs for a critical error."""
    camera = costmap()["semantic_layer"]["camera"]
    assert {name for kind in camera["class_types"] for name in camera[kind]["classes"]} == LABELS
    assert all(name in (ROOT / "src" / "traversability.rs").read_text() for name in LABELS)


def launch_files() -> list:
    return sorted((ROOT / "launch").glob("*.launch.py"))


@pytest.mark.parametrize("file", launch_files(), ids=lambda file: file.name)
@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch_ros is not there (PyPI has none; apt: ros-jazzy-launch-ros), so no launch file was loaded",
)
def test_launch_files_load(file):
    module = launch_file(file.name)
    arguments = {argument.name: argument for argument in module.generate_launch_description().get_launch_arguments()}
    assert "image_topic" in arguments
    assert all(argument.description for argument in arguments.values())


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch_ros is not there (PyPI has none; apt: ros-jazzy-launch-ros), so the Nav2 demo was not composed",
)
@pytest.mark.parametrize("variant", ["scan", "clouds", "voxel", "semantic"])
def test_the_nav2_demo_is_composed(variant):
    from launch import LaunchContext

    module = launch_file("nav2_demo.launch.py")
    context = LaunchContext()
    for argument in module.ARGUMENTS:
        argument.execute(context)
    context.launch_configurations["variant"] = variant
    assert len(module.start(context)) == 4
    # What is not given is left to the parameter file.
    config = str(ROOT / "config" / "squeezenet.yaml")
    assert dict(module.start(context)[0].launch_arguments) == {"config": config}
    assert context.launch_configurations["use_sim_time"] == ""
    given = {"image_topic": "/eye", "config": "mine.yaml", "use_sim_time": "true"}
    context.launch_configurations.update(given)
    assert dict(module.start(context)[0].launch_arguments) == given
    context.launch_configurations["costmap"] = "/nowhere.yaml"
    with pytest.raises(RuntimeError, match="/nowhere.yaml: there is no such file"):
        module.start(context)
