"""The node's log as ROS tools see it: /rosout, and how much of it."""

from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from conftest import wait

ROSOUT = QoSProfile(
    depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


def number(level: int | bytes) -> int:
    """A level; releases of the messages differ in its type."""
    return level if isinstance(level, int) else int.from_bytes(level, "little")


def lines(peer) -> list:
    return peer.collect(Log, "/rosout", ROSOUT)


def test_the_log_reaches_rosout_under_the_nodes_name(start, peer):
    received = lines(peer)
    node = start()
    wait(lambda: any("nobody publishes on" in line.msg for line in received), 20, node.log)
    own = [line for line in received if line.name == "squeezenet"]
    warning = next(line for line in own if "nobody publishes on" in line.msg)
    assert warning.level == number(Log.WARN) and warning.file.endswith(".rs")
    assert any(line.level == number(Log.INFO) for line in own)
    assert not any(line.level <= number(Log.DEBUG) for line in own)
    # The console has the same, in rcl's form.
    assert "[WARN]" in node.log() and "[squeezenet]: " in node.log()


def test_log_level_of_the_command_line_goes_before_the_parameter_file(start, peer):
    received = lines(peer)
    node = start({"log_level": "error"}, ["--log-level", "squeezenet:=info"])
    wait(lambda: any("ready" in line.msg for line in received), 20, node.log)


def test_log_level_of_another_logger_is_not_the_nodes(start):
    node = start({}, ["--log-level", "other:=error"])
    assert "[INFO]" in node.log()
