"""Everything that can be changed, changed at random while frames flow: no answer is a mixture.

Each change of the settings that show in an answer sets several of them at once: how many labels, how
their classes are written, and now and then the model. The picture stays the same, so an answer tells
by the number, the form and the score of its labels what it was made with; that has to have been in
force together at some moment between the frame's publication and the answer's arrival.

SQUEEZENET_STORM_S is how long it lasts, SQUEEZENET_STORM_SEED what is drawn.
"""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from conftest import image_message, photograph, wait
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from test_parameters import NODE, Parameters
from vision_msgs.msg import Classification

SECONDS = float(os.environ.get("SQUEEZENET_STORM_S", "20"))
SEED = int(os.environ.get("SQUEEZENET_STORM_SEED", "1"))
DEEP = QoSProfile(depth=100, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
MODELS = ["squeezenet1_1_street", "squeezenet1_1_imagenet"]
# Odd numbers of labels go with names, even ones with indices. Larger ones are only ever refused.
COUNTS = range(1, 13)
REFUSED = range(21, 30)


def class_id_format(count: int) -> str:
    return "name" if count % 2 else "index"


@dataclass(frozen=True)
class State:
    """Settings that show in an answer."""

    count: int
    format: str
    model: str

    def pair(self) -> dict:
        return {"labels.top_k": self.count, "labels.class_id_format": self.format}


@dataclass
class Period:
    """When a state may have been in force: from the request on, to the reply to the next one."""

    state: State
    since: float
    until: float = float("inf")


@dataclass
class Camera:
    """The same picture at about 15 Hz, each frame with a number as its stamp."""

    peer: object
    topic: str
    published: dict = field(default_factory=dict)
    answers: list = field(default_factory=list)
    is_over: bool = False

    def __post_init__(self) -> None:
        self.source = self.peer.publisher(Image, self.topic, DEEP)
        self.message = image_message(photograph("coffee", (320, 240)))
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        while not self.is_over:
            number = len(self.published) + 1
            self.message.header.stamp.sec = number
            self.published[number] = time.monotonic()
            self.source.publish(self.message)
            time.sleep(1 / 15)

    def on_labels(self, message: Classification) -> None:
        self.answers.append((time.monotonic(), message))

    def start(self) -> None:
        self.peer.wait_subscribed(self.source)
        time.sleep(0.3)
        self.thread.start()

    def end(self) -> None:
        self.is_over = True
        self.thread.join()


class Storm:
    """Draws what is done next, and keeps what may be in force when."""

    def __init__(self, parameters: Parameters, file: Path, state: State) -> None:
        self.parameters, self.file, self.random = parameters, file, random.Random(SEED)
        self.periods = [Period(state, time.monotonic())]
        # The number of labels of the file that was taken last.
        self.taken = state.count
        self.done: dict[str, int] = {}

    @property
    def state(self) -> State:
        return self.periods[-1].state

    def step(self) -> None:
        actions = [self.set_pair, self.set_pair, self.set_pair, self.save, self.save_often, self.refused_set,
                   self.refused_save, self.set_others, self.swap, self.second_camera]
        action = self.random.choice(actions)
        action()
        self.done[action.__name__] = self.done.get(action.__name__, 0) + 1

    def draw(self, is_other=lambda count: True) -> State:
        counts = [count for count in COUNTS if count != self.state.count and is_other(count)]
        count = self.random.choice(counts)
        return State(count, class_id_format(count), self.state.model)

    def begin(self, state: State) -> None:
        self.periods.append(Period(state, time.monotonic()))

    def confirm(self) -> None:
        """From now on nothing but the newest state is in force."""
        now = time.monotonic()
        for period in self.periods[:-1]:
            period.until = min(period.until, now)

    def set_pair(self) -> None:
        state = self.draw()
        self.begin(state)
        assert self.parameters.set_atomically(state.pair()).successful
        self.confirm()

    def swap(self) -> None:
        pair = self.draw()
        model = self.random.choice([model for model in MODELS if model != self.state.model])
        state = State(pair.count, pair.format, model)
        self.begin(state)
        assert self.parameters.set_atomically({**state.pair(), "model": model}).successful
        self.confirm()

    def refused_set(self) -> None:
        count = self.random.choice(REFUSED)
        wrong = self.random.choice([
            {"labels.threshold": 1.5}, {"labels.top_q": 1}, {"model": "nonsense"}, {"cameras": ["to the rear"]},
            {"use_sim_time": True}, {"rear.image_topic": 5},
        ])
        changes = {"labels.top_k": count, "labels.class_id_format": class_id_format(count + 1), **wrong}
        assert not self.parameters.set_atomically(changes).successful

    def set_others(self) -> None:
        results = self.parameters.set({
            "obstacles.max_count": self.random.randint(1, 50), "overlay.alpha": self.random.random(),
            "rate.weight": self.random.uniform(0.5, 2.0), "labels.threshold": 2.0, "diagnostics.late_ms": 100.0,
        })
        assert [result.successful for result in results] == [True, True, True, False, True]

    def second_camera(self) -> None:
        cameras = self.random.choice([["front"], ["front", "rear"], ["rear", "front", "left"]])
        assert self.parameters.set({"cameras": cameras})[0].successful

    def write(self, text: str) -> None:
        """Whole, as most editors do: a file that is being written may be read half."""
        beside = self.file.with_suffix(".tmp")
        beside.write_text(text)
        beside.rename(self.file)

    def save_state(self, **more) -> State:
        # An edit takes what it changes: so that it says another number and another form than the
        # file that was taken before, it changes from an odd number to an even one or back.
        state = self.draw(lambda count: count % 2 != self.taken % 2)
        self.begin(state)
        self.write(file_text(state, **more))
        return state

    def wait_taken(self, state: State) -> None:
        def is_taken() -> bool:
            return self.parameters.get(*state.pair()) == list(state.pair().values())

        wait(is_taken, 20, lambda: f"{state} was not taken from the file")
        self.taken = state.count
        self.confirm()

    def save(self) -> None:
        self.wait_taken(self.save_state())

    def save_often(self) -> None:
        for _ in range(self.random.randint(2, 5)):
            state = self.save_state()
            time.sleep(self.random.uniform(0.0, 0.15))
        self.wait_taken(state)

    def refused_save(self) -> None:
        count = self.random.choice(REFUSED)
        state = State(count, class_id_format(count + 1), self.state.model)
        self.write(self.random.choice([
            file_text(state, threshold=1.5), file_text(state, top_q=1), file_text(state) + "  - [\n",
        ]))
        time.sleep(self.random.uniform(0.0, 0.3))


def file_text(state: State, **more) -> str:
    labels = {"top_k": state.count, "class_id_format": state.format, **more}
    parameters = {
        "cameras": ["front"], "front": {"image_topic": "/front/image"}, "precision": "fp32", "labels": labels,
    }
    return yaml.safe_dump({"squeezenet": {"ros__parameters": parameters}})


def shown(message: Classification, scores: dict) -> State:
    """What an answer was made with, by what it looks like."""
    results = message.results
    is_index = {result.class_id.isdigit() for result in results}
    assert len(is_index) == 1, f"names and indices in one answer: {results}"
    model = min(scores, key=lambda model: abs(scores[model] - results[0].score))
    assert abs(scores[model] - results[0].score) < 1e-3, f"{results[0].score} is of none of {scores}"
    return State(len(results), "index" if is_index == {True} else "name", model)


def test_no_answer_is_a_mixture(start, peer, tmp_path: Path) -> None:
    first = State(5, "name", MODELS[0])
    file = tmp_path / "tuned.yaml"
    file.write_text(file_text(first))
    process = start(arguments=["--params-file", str(file)])
    parameters = Parameters(peer)
    camera = Camera(peer, "/front/image")
    peer.node.create_subscription(Classification, f"{NODE}/front/labels", camera.on_labels, DEEP)
    peer.wait_published(f"{NODE}/front/labels")
    camera.start()

    # How each model scores the picture.
    scores = {}
    for model in reversed(MODELS):
        assert parameters.set({"model": model})[0].successful
        seen = len(camera.published)
        wait(lambda seen=seen: camera.answers and camera.answers[-1][1].header.stamp.sec > seen + 3, 20, process.log)
        scores[model] = camera.answers[-1][1].results[0].score
    assert abs(scores[MODELS[0]] - scores[MODELS[1]]) > 0.01, f"the models cannot be told apart: {scores}"

    before = len(camera.answers)
    storm = Storm(parameters, file, first)
    storm_starts = len(camera.published) + 1
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            storm.step()
            time.sleep(storm.random.uniform(0.0, 0.1))
        # After it all the node answers, with what is in force.
        seen = len(camera.published)
        wait(lambda: camera.answers[-1][1].header.stamp.sec > seen + 3, 20, process.log)
    finally:
        camera.end()
    assert process.process.poll() is None and "panicked" not in process.log()

    answers = [(at, message) for at, message in camera.answers[before:] if message.header.stamp.sec >= storm_starts]
    states = set()
    for at, message in answers:
        state = shown(message, scores)
        published = camera.published[message.header.stamp.sec]
        possible = {p.state for p in storm.periods if p.since <= at and p.until >= published}
        assert state in possible, (
            f"seed {SEED}: frame {message.header.stamp.sec} was answered with {state}, in force were {possible}"
        )
        states.add(state)
    assert shown(answers[-1][1], scores) == storm.state
    print(f"seed {SEED}: {len(camera.published)} frames, {len(answers)} answers with {len(states)} states;", storm.done)
    assert len(answers) > 10 and len(states) > 3, f"{len(answers)} answers show too little:\n{process.log()}"
