"""A managed node driven at random: transitions that are allowed and such that are not, parameters, models, cameras.

A model of the node says what each step has to give: whether it is granted, the state afterwards, which topics are
subscribed, and, while the node is active, that it answers, with as many labels as were asked for last.

SQUEEZENET_STORM_S is how long it lasts, SQUEEZENET_STORM_SEED what is drawn.
"""

from __future__ import annotations

import random
import time
from collections import Counter

from conftest import image_message, photograph, wait
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import Image
from test_lifecycle import NAME, Manager
from test_parameters import Parameters
from test_storm import SECONDS, SEED
from vision_msgs.msg import Classification

# From which state, to which.
TRANSITIONS = {
    Transition.TRANSITION_CONFIGURE: ("unconfigured", "inactive"),
    Transition.TRANSITION_ACTIVATE: ("inactive", "active"),
    Transition.TRANSITION_DEACTIVATE: ("active", "inactive"),
    Transition.TRANSITION_CLEANUP: ("inactive", "unconfigured"),
}
MODELS = ["squeezenet1_1_imagenet", "squeezenet1_1_anywhere", "squeezenet1_1_street"]
CAMERAS = ["front", "rear"]


class Storm:
    """The node, and what it ought to be like."""

    def __init__(self, process, peer) -> None:
        self.process, self.peer = process, peer
        self.manager, self.parameters = Manager(peer), Parameters(peer)
        self.random = random.Random(SEED)
        self.state, self.top_k, self.cameras, self.model = "unconfigured", 5, {"front"}, MODELS[0]
        self.picture = image_message(photograph("coffee", (320, 240)))
        self.sources = {name: peer.publisher(Image, f"/{name}/image_raw") for name in CAMERAS}
        self.labels = {name: peer.collect(Classification, f"{NAME}/{name}/labels") for name in CAMERAS}
        self.done: Counter[str] = Counter()

    def step(self) -> None:
        actions = [self.transition, self.transition, self.allowed, self.allowed, self.set_labels, self.set_cameras,
                   self.set_model, self.refused, self.wrong_model]
        action = self.random.choice(actions)
        self.done[f"{action.__name__} while {self.state}"] += 1
        action()
        self.check()

    def change(self, transition: int) -> None:
        start, goal = TRANSITIONS[transition]
        is_allowed = self.state == start
        assert self.manager.change(transition) == is_allowed, f"{transition} in {self.state}"
        if is_allowed:
            self.state = goal

    def transition(self) -> None:
        self.change(self.random.choice(list(TRANSITIONS)))

    def allowed(self) -> None:
        self.change(self.random.choice([id for id, (start, _) in TRANSITIONS.items() if start == self.state]))

    def set_labels(self) -> None:
        self.top_k = self.random.randint(1, 12)
        assert self.parameters.set({"labels.top_k": self.top_k})[0].successful

    def set_cameras(self) -> None:
        self.cameras = set(self.random.choice([["front"], ["rear"], ["rear", "front"]]))
        assert self.parameters.set({"cameras": sorted(self.cameras)})[0].successful

    def set_model(self) -> None:
        self.model = self.random.choice(MODELS)
        assert self.parameters.set({"model": self.model})[0].successful

    def refused(self) -> None:
        wrong = self.random.choice([{"labels.top_k": 0}, {"labels.top_q": 1}, {"cameras": ["to the rear"]}])
        assert not self.parameters.set(wrong)[0].successful

    def wrong_model(self) -> None:
        """A configured node refuses a model that it cannot load; an unconfigured one fails to configure, and can be mended."""
        result = self.parameters.set({"model": "nonsense"})[0]
        if self.state != "unconfigured":
            assert not result.successful
            return
        assert result.successful, result.reason
        assert not self.manager.change(Transition.TRANSITION_CONFIGURE)
        assert self.manager.state() == "unconfigured"
        assert self.parameters.set({"model": self.model})[0].successful

    def check(self) -> None:
        assert self.process.process.poll() is None, self.process.log()
        assert self.manager.state() == self.state
        wanted = [self.top_k, sorted(self.cameras), self.model]
        held = self.parameters.get("labels.top_k", "cameras", "model")
        assert [held[0], sorted(held[1]), held[2]] == wanted, f"{held} instead of {wanted}"
        subscribed = self.cameras if self.state == "active" else set()

        def is_subscribed() -> bool:
            # A subscription that has ended leaves the graph with the next message that it would have had.
            for name in set(CAMERAS) - subscribed:
                self.sources[name].publish(self.picture)
            return all((self.peer.node.count_subscribers(f"/{name}/image_raw") > 0) == (name in subscribed) for name in CAMERAS)

        wait(is_subscribed, 20, lambda: f"{self.state}: not {subscribed} alone is subscribed\n{self.process.log()}")
        before = {name: len(labels) for name, labels in self.labels.items()}
        for name, source in self.sources.items():
            if name in subscribed:
                self.answered(name, source)
            else:
                source.publish(self.picture)
        time.sleep(0.1)
        for name in set(CAMERAS) - subscribed:
            assert len(self.labels[name]) == before[name], f"{name} was answered while {self.state}"

    def answered(self, name: str, source) -> None:
        """The first frame may find the settings of a moment ago; soon one does not."""
        deadline = time.monotonic() + 20
        counts: list[int] = []
        while time.monotonic() < deadline:
            answer = self.peer.answer(source, self.picture, self.labels[name], 20)
            counts.append(len(answer.results))
            if counts[-1] == self.top_k:
                return
        raise AssertionError(f"{name}: {counts} labels instead of {self.top_k}\n{self.process.log()}")


def test_a_managed_node_is_what_it_ought_to_be_after_every_step(start, peer) -> None:
    cameras = {f"{name}.image_topic": f"/{name}/image_raw" for name in CAMERAS}
    parameters = {"managed": True, "autostart": False, "cameras": ["front"], "model": MODELS[0], **cameras}
    process = start(parameters, until="managed")
    storm = Storm(process, peer)
    storm.check()
    end = time.monotonic() + SECONDS
    steps = 0
    try:
        while time.monotonic() < end:
            storm.step()
            steps += 1
    except AssertionError as error:
        raise AssertionError(f"seed {SEED}, after {steps} steps, {dict(storm.done)}: {error}") from error
    print(f"seed {SEED}: {steps} steps; {dict(storm.done)}")
    assert steps > 10 and "panicked" not in process.log(), process.log()
    # From whatever state it ended in, it can be shut down and ends by itself.
    assert storm.manager.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert storm.manager.state() == "finalized"
    assert process.stop() == 0
