"""The managed node, driven as Nav2's lifecycle manager and `ros2 lifecycle` drive one."""

import time

import pytest
from bond.msg import Status
from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

from conftest import image_message, photograph, wait

TOPIC = "/camera/image_raw"
NAME = "/squeezenet"


class Manager:
    """What drives a managed node."""

    def __init__(self, peer) -> None:
        self.peer = peer
        self.events = peer.collect(TransitionEvent, f"{NAME}/transition_event")

    def call(self, name: str, kind=GetAvailableTransitions, request=None):
        return self.peer.call(kind, f"{NAME}/{name}", request or kind.Request(), 60)

    def change(self, transition: int, label: str = "") -> bool:
        request = ChangeState.Request(transition=Transition(id=transition, label=label))
        return self.call("change_state", ChangeState, request).success

    def state(self) -> str:
        return self.call("get_state", GetState).current_state.label

    def state_again(self) -> str:
        """The state, asked for until there is an answer: a node that was killed has its requests still."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            future = self.peer.client(GetState, f"{NAME}/get_state").call_async(GetState.Request())
            until = time.monotonic() + 2
            while not future.done() and time.monotonic() < until:
                time.sleep(0.05)
            if future.done():
                return future.result().current_state.label
        raise AssertionError("get_state did not answer")

    def goals(self) -> list[str]:
        return [event.goal_state.label for event in self.events]


def topics(peer) -> set[str]:
    found = peer.node.get_publisher_names_and_types_by_node("squeezenet", "/")
    return {name for name, _ in found if name.startswith(NAME)}


def subscribed(peer) -> bool:
    return peer.node.count_subscribers(TOPIC) > 0


@pytest.fixture
def manager(peer):
    return Manager(peer)


def test_services_say_what_rcl_lifecycle_says(start, peer, manager):
    start({"managed": True, "autostart": False}, until="managed")
    assert manager.state() == "unconfigured"
    states = manager.call("get_available_states", GetAvailableStates).available_states
    assert [(state.id, state.label) for state in states] == [
        (0, "unknown"), (1, "unconfigured"), (2, "inactive"), (3, "active"), (4, "finalized"), (10, "configuring"),
        (11, "cleaningup"), (12, "shuttingdown"), (13, "activating"), (14, "deactivating"), (15, "errorprocessing"),
    ]
    now = manager.call("get_available_transitions").available_transitions
    assert [(t.transition.id, t.transition.label, t.goal_state.label) for t in now] == [
        (Transition.TRANSITION_CONFIGURE, "configure", "configuring"),
        (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, "shutdown", "shuttingdown"),
    ]
    graph = manager.call("get_transition_graph").available_transitions
    assert len(graph) == 25
    ways = {(t.start_state.id, t.transition.id): t.goal_state.id for t in graph}
    assert ways[State.PRIMARY_STATE_ACTIVE, Transition.TRANSITION_DEACTIVATE] == State.TRANSITION_STATE_DEACTIVATING
    assert ways[State.TRANSITION_STATE_CONFIGURING, Transition.TRANSITION_ON_CONFIGURE_FAILURE] == State.PRIMARY_STATE_UNCONFIGURED
    # What the state does not allow is refused and changes nothing.
    for transition in (0, Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_ON_CONFIGURE_SUCCESS, 200):
        assert not manager.change(transition)
    assert manager.state() == "unconfigured" and not manager.events


def test_up_and_down_twice(start, peer, manager):
    """Each state has what it should and nothing else; the second round works as the first."""
    running = start({"managed": True, "autostart": False}, until="managed")
    frames = peer.publisher(Image, TOPIC)
    labels = peer.collect(Classification, f"{NAME}/labels")
    picture = image_message(photograph("coffee"))
    assert manager.state() == "unconfigured"
    assert topics(peer) == {f"{NAME}/transition_event"}
    for _ in range(2):
        assert manager.change(Transition.TRANSITION_CONFIGURE)
        assert manager.state() == "inactive"
        wait(lambda: f"{NAME}/labels" in topics(peer), 10)
        # Frames that come now are nobody's concern.
        before = len(labels)
        for _ in range(5):
            frames.publish(picture)
            time.sleep(0.1)
        assert len(labels) == before and not subscribed(peer)
        assert manager.change(Transition.TRANSITION_ACTIVATE)
        assert manager.state() == "active"
        wait(lambda: subscribed(peer), 10)
        peer.answer(frames, picture, labels)
        assert manager.change(Transition.TRANSITION_DEACTIVATE)
        assert manager.state() == "inactive"
        before = len(labels)
        for _ in range(5):
            frames.publish(picture)
            time.sleep(0.1)
        assert len(labels) == before, "an inactive node answers nothing"
        wait(lambda: not subscribed(peer), 10)
        assert manager.change(Transition.TRANSITION_CLEANUP)
        assert manager.state() == "unconfigured"
        wait(lambda: topics(peer) == {f"{NAME}/transition_event"}, 10, lambda: str(topics(peer)))
    assert manager.goals() == 2 * [
        "configuring", "inactive", "activating", "active", "deactivating", "inactive", "cleaningup", "unconfigured",
    ]
    first = manager.events[0]
    assert (first.transition.id, first.transition.label, first.start_state.label) == (1, "configure", "unconfigured")
    assert first.timestamp > 0
    assert manager.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert manager.state() == "finalized"
    assert not manager.change(Transition.TRANSITION_CONFIGURE)
    assert running.stop() == 0


def test_a_failed_configure_says_why_and_can_be_mended(start, peer, manager):
    running = start({"managed": True, "autostart": False, "model": "no_such_model"}, until="managed")
    assert not manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.state() == "unconfigured"
    running.wait_for("no model \"no_such_model\"")
    assert manager.goals() == ["configuring", "unconfigured"]
    # An unconfigured node has parameters: with another model it can be configured.
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="squeezenet1_1_imagenet")
    request = SetParameters.Request(parameters=[Parameter(name="model", value=value)])
    result = peer.call(SetParameters, f"{NAME}/set_parameters", request)
    assert result.results[0].successful, result
    assert manager.change(0, "configure"), running.log()
    assert manager.state() == "inactive"


def test_autostart_and_shutdown_while_active(start, peer, manager):
    running = start({"managed": True})
    frames = peer.publisher(Image, TOPIC)
    labels = peer.collect(Classification, f"{NAME}/labels")
    peer.answer(frames, image_message(photograph("coffee")), labels, 60)
    assert manager.state() == "active"
    # A manager shuts down by the number that it knows for an unconfigured node.
    assert manager.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert manager.state() == "finalized"
    assert running.process.poll() is None
    assert running.stop() == 0


def test_requests_of_an_unconfigured_node_are_refused(start, peer, manager):
    start({"managed": True, "autostart": False}, until="managed")
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.change(Transition.TRANSITION_CLEANUP)
    answer = peer.trigger(f"{NAME}/save_places")
    assert not answer.success and "not configured" in answer.message


class Bond:
    """The manager's side of a bond."""

    def __init__(self, peer, instance: str) -> None:
        self.publisher = peer.publisher(Status, "/bond")
        self.peer, self.instance = peer, instance
        self.received = peer.collect(Status, "/bond")

    def heartbeat(self, active: bool = True) -> None:
        message = Status(id="squeezenet", instance_id=self.instance, active=active)
        message.heartbeat_timeout, message.heartbeat_period = 4.0, 0.25
        message.header.stamp = self.peer.stamp()
        self.publisher.publish(message)

    def heard(self) -> list:
        return [status for status in self.received if status.id == "squeezenet" and status.instance_id != self.instance]


def test_a_bond_with_who_wants_one(start, start_doomed, peer, manager):
    running = start_doomed({"managed": True, "autostart": False}, until="managed")
    bond = Bond(peer, "manager")
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    peer.wait_subscribed(bond.publisher)
    time.sleep(1)
    assert not bond.heard(), "nobody wanted a bond yet"
    for _ in range(12):
        bond.heartbeat()
        time.sleep(0.25)
    alive = bond.heard()
    assert len(alive) > 6 and all(status.active for status in alive), len(alive)
    assert len({status.instance_id for status in alive}) == 1
    # The node leaves: the manager is told, and finds no node dead that it deactivated itself.
    assert manager.change(Transition.TRANSITION_DEACTIVATE)
    wait(lambda: not bond.heard()[-1].active, 5)
    count = len(bond.heard())
    bond.heartbeat()
    time.sleep(1)
    assert len(bond.heard()) == count
    # Active again, with a bond of its own; killed, it falls silent.
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    for _ in range(8):
        bond.heartbeat()
        time.sleep(0.25)
    assert bond.heard()[-1].active and bond.heard()[-1].instance_id != alive[-1].instance_id
    running.process.kill()
    running.process.wait(10)
    time.sleep(0.5)  # what is under way
    count = len(bond.heard())
    time.sleep(1)
    assert len(bond.heard()) == count
    # The one that is started in its place is managed as the first was.
    start({"managed": True, "autostart": False}, until="managed")
    assert manager.state_again() == "unconfigured"
    assert manager.change(Transition.TRANSITION_CONFIGURE) and manager.change(Transition.TRANSITION_ACTIVATE)
    for _ in range(8):
        bond.heartbeat()
        time.sleep(0.25)
    assert len(bond.heard()) > count and bond.heard()[-1].active
