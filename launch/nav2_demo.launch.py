"""One camera into a Nav2 costmap: squeezenet_node, a local costmap of its own and, if wanted, RViz.

    ros2 launch squeezenet_node nav2_demo.launch.py image_topic:=/camera/image_raw variant:=scan rviz:=true

The costmap is the one that Nav2's controller server would hold, with the same parameters, alone: what it
publishes on /local_costmap/costmap is what Nav2 would drive by.
"""

from pathlib import Path

import yaml
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(__file__).resolve().parent.parent
# The layer that each variant takes from the costmap's file.
LAYERS = {"scan": "scan_layer", "clouds": "cloud_layer", "voxel": "voxel_layer", "semantic": "semantic_layer"}
ARGUMENTS = [
    DeclareLaunchArgument(
        "image_topic", default_value="", description="Topic of the pictures, camera_info beside it; empty: as config says."
    ),
    # What is declared here holds in the included file, too, its own defaults notwithstanding.
    DeclareLaunchArgument(
        "config", default_value=str(SHARE / "config" / "squeezenet.yaml"), description="Parameter file of squeezenet_node."
    ),
    DeclareLaunchArgument("model", default_value="", description="Model name or path of a manifest; empty: as config says."),
    DeclareLaunchArgument(
        "variant", default_value="scan", choices=list(LAYERS), description="What the costmap is fed by: see docs/navigation.md."
    ),
    DeclareLaunchArgument(
        "costmap", default_value=str(SHARE / "config" / "nav2_local_costmap.yaml"), description="Parameter file of the costmap."
    ),
    DeclareLaunchArgument(
        "use_sim_time", default_value="", choices=["true", "false", ""],
        description="Take the time from /clock, as with `make sim`; empty: not, but for what config says of squeezenet_node.",
    ),
    DeclareLaunchArgument("rviz", default_value="false", choices=["true", "false"], description="Show it in RViz."),
]


def start(context):
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    file = value("costmap")
    if not Path(file).is_file():
        raise RuntimeError(f"costmap:={file}: there is no such file")
    layer = LAYERS[value("variant")]
    try:
        parameters = yaml.safe_load(Path(file).read_text())["local_costmap"]["local_costmap"]["ros__parameters"]
    except (KeyError, TypeError, yaml.YAMLError) as error:
        raise RuntimeError(f"costmap:={file}: no local_costmap/local_costmap/ros__parameters in it ({error})") from error
    if layer not in parameters:
        raise RuntimeError(f"costmap:={file}: variant:={value('variant')} needs the layer {layer}, and the file has none")
    sim_time = value("use_sim_time") == "true"
    given = {name: value(name) for name in ("image_topic", "config", "model") if value(name)}
    if sim_time:
        given["use_sim_time"] = "true"
    squeezenet = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "detect.launch.py")),
        launch_arguments=given.items(),
    )
    costmap = Node(
        package="nav2_costmap_2d", executable="nav2_costmap_2d", name="local_costmap", namespace="local_costmap", output="screen",
        parameters=[file, {"plugins": [layer, "inflation_layer"], "use_sim_time": sim_time}],
    )
    manager = Node(
        package="nav2_lifecycle_manager", executable="lifecycle_manager", name="lifecycle_manager_local_costmap", output="screen",
        # Nav2's costmap node makes no bond where it runs alone.
        parameters=[{
            "autostart": True, "node_names": ["local_costmap/local_costmap"], "bond_timeout": 0.0, "use_sim_time": sim_time,
        }],
    )
    rviz = Node(
        package="rviz2", executable="rviz2", arguments=["-d", str(SHARE / "config" / "squeezenet.rviz")],
        parameters=[{"use_sim_time": sim_time}], condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return [squeezenet, costmap, manager, rviz]


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
