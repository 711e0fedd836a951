"""Starts squeezenet_node: labels and traversability masks of a camera's pictures."""

import os
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(__file__).resolve().parent.parent
ARGUMENTS = [
    DeclareLaunchArgument(
        "image_topic", default_value="", description="Topic of the pictures, raw or compressed; empty: as config says."
    ),
    DeclareLaunchArgument(
        "config", default_value=str(SHARE / "config" / "squeezenet.yaml"), description="ROS 2 parameter file."
    ),
    DeclareLaunchArgument(
        "model", default_value="", description="Model name or path of a manifest; empty: as config says."
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node."),
    DeclareLaunchArgument(
        "log_level", default_value="", choices=["", "error", "warn", "info", "debug", "trace"],
        description="How much the node logs; empty: as config says.",
    ),
    DeclareLaunchArgument(
        "use_sim_time", default_value="", choices=["", "true", "false"],
        description="Take the time from /clock, as when a bag is replayed with --clock; empty: as config says.",
    ),
    DeclareLaunchArgument(
        "managed", default_value="", choices=["", "true", "false"],
        description="A lifecycle node, for Nav2's lifecycle manager among others; empty: as config says.",
    ),
    DeclareLaunchArgument(
        "autostart", default_value="", choices=["", "true", "false"],
        description="Whether a managed node configures and activates itself; empty: as config says.",
    ),
    DeclareLaunchArgument(
        "respawn", default_value="false", choices=["true", "false"],
        description="Start the node anew, half a second after it has ended by itself.",
    ),
]


def environment() -> dict[str, str]:
    """What the node needs and the user has not set."""
    added = {}
    if not os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE") and not os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE"):
        added["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(SHARE / "config" / "fastdds_large_frames.xml")
    return added


def start(context):
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    config = value("config")
    if config and not Path(config).is_file():
        raise RuntimeError(f"config:={config}: there is no such file")
    given = {name: value(name) for name in ("image_topic", "model", "log_level") if value(name)}
    given |= {name: value(name) == "true" for name in ("use_sim_time", "managed", "autostart") if value(name)}
    # What is given here reaches the node as another parameter file: the one to watch is the user's.
    if config and given:
        given["config_file"] = config
    node = Node(
        package="squeezenet_node", executable="squeezenet_node", name="squeezenet",
        namespace=value("namespace"), parameters=([config] if config else []) + ([given] if given else []),
        additional_env=environment(), output="screen", emulate_tty=True,
        respawn=value("respawn") == "true", respawn_delay=0.5,
    )
    return [node]


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
