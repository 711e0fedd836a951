"""Copies a drive that record.py made, with odometry, a bumper and a lens that are not what they should be: what is
learnt from the copy is learnt from wrong evidence.

    bash scripts/sim/run.sh spoil.py drive spoilt --yaw-drift 2 --slip 0.1
    bash scripts/sim/run.sh spoil.py drive spoilt --false-bumps 1
    bash scripts/sim/run.sh spoil.py drive spoilt --dirt 12
    squeezenet_node replay spoilt --learn --masks-topic /sim/mask --masks-kind traversability
"""

import argparse
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from record import BLOCKED, Bag, Faults
from robot import Camera
from rosbags.highlevel import AnyReader

IMAGE = "/camera/image_raw"
# Diameters of drops and specks, as shares of the picture's width, and how much of the light they take at most.
SPECKS, LEAST_LIGHT = (0.03, 0.15), 0.25
MUD = np.array([70.0, 55.0, 40.0])


def dirt(shape: tuple[int, int], count: int, chance: np.random.Generator) -> np.ndarray:
    """How much light comes through a lens with specks, by pixel: they are out of focus, so soft."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    light = np.ones(shape)
    for _ in range(count):
        x, y, size = chance.uniform(0, width), chance.uniform(0, height), width * chance.uniform(*SPECKS)
        near = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (size / 2) ** 2)
        light *= 1 - (1 - LEAST_LIGHT) * near
    return light[..., None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drive", type=Path, help="bag of record.py, with true odometry")
    parser.add_argument("bag", type=Path, help="folder to write, must not exist")
    parser.add_argument("--dirt", type=int, default=0, metavar="N", help="specks on the lens")
    parser.add_argument("--seed", type=int, default=1, help="of what happens by chance")
    Faults.add_options(parser)
    options = parser.parse_args()
    faults, camera = Faults(options), Camera()
    light = dirt((camera.height, camera.width), options.dirt, np.random.default_rng(options.seed))
    bag = Bag(options.bag, camera)
    before, metres, frames = None, 0.0, 0
    bag.mounting()
    with AnyReader([options.drive]) as reader:
        for connection, ns, raw in reader.messages():
            if connection.topic == "/tf":
                pose = reader.deserialize(raw, connection.msgtype).transforms[0].transform
                x, y = pose.translation.x, pose.translation.y
                at = SimpleNamespace(x=x, y=y, yaw=2 * math.atan2(pose.rotation.z, pose.rotation.w))
                driven = math.dist(before, (x, y)) if before else 0.0
                before, metres = (x, y), metres + driven
                bag.pose(ns, faults.place(at, metres))
                if faults.bumps(driven):
                    bag.bump(ns)
            elif connection.topic == IMAGE and options.dirt:
                message = reader.deserialize(raw, connection.msgtype)
                pixels = message.data.reshape(message.height, message.width, 3)
                bag.image(IMAGE, ns, np.uint8(light * pixels + (1 - light) * MUD), "rgb8")
                frames += 1
            elif connection.topic not in ("/tf_static", BLOCKED):
                bag.copy(connection.topic, ns, connection.msgtype, raw)
    bag.close()
    print(f"{options.bag}: {metres:.1f} m of {options.drive}" + (f", dirt on {frames} frames" if frames else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
