"""Writes the demo's rosbag2, 640x480 at 30 Hz: what a robot sees, and photographs with camera motion in several encodings.

The robot's views are renders of our own in docs/pictures/robot. Photographs and their licences: scikit-image's `chelsea`
(CC0), `coffee` (CC0) and `rocket` (public domain), as its wheel carries them; `--street` puts one of a street before them.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

SIZE = (640, 480)
RATE_HZ = 30
SECONDS_EACH = 1
# Names of the robot's views: NAME_1.jpg, NAME_2.jpg, NAME_3.jpg, each as long as a third of a photograph.
ROOMS = ["hall", "office", "corridor", "flat", "path"]
VIEWS = 3
ROOM_PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "robot"
# Photograph and the encoding in which it travels.
SCENES = [("chelsea", "bgr8"), ("coffee", "yuyv"), ("rocket", "jpeg")]
TOPICS = {"robot": "/robot/image_raw/compressed", "raw": "/camera/image_raw", "jpeg": "/camera/image_raw/compressed"}


def view(picture: Image.Image, progress: float) -> np.ndarray:
    """The camera at a moment of its way over a photograph: it pans and zooms in and out."""
    width, height = picture.size
    zoom = 1.0 + 0.25 * np.sin(np.pi * progress)
    scale = zoom * max(SIZE[0] / width, SIZE[1] / height) * 1.05
    cut = (SIZE[0] / scale, SIZE[1] / scale)
    swing = 0.5 + 0.45 * np.sin(2 * np.pi * progress)
    left, top = (width - cut[0]) * swing, (height - cut[1]) * (1 - swing)
    box = (left, top, left + cut[0], top + cut[1])
    return np.asarray(picture.resize(SIZE, Image.Resampling.BICUBIC, box=box))


def yuyv(rgb: np.ndarray) -> np.ndarray:
    r, g, b = (rgb[:, :, i].astype(np.float32) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    chroma = np.where(np.arange(rgb.shape[1]) % 2 == 0, u, np.roll(v, 1, axis=1))
    return np.dstack([y, chroma]).round().clip(0, 255).astype(np.uint8)


def as_jpeg(rgb: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=90)
    return file.getvalue()


def frames(street: Path | None):
    """Scene, kind of topic, encoding and pixels or file of each frame."""
    count = RATE_HZ * SECONDS_EACH
    for room in ROOMS:
        for number in range(1, VIEWS + 1):
            file = (ROOM_PICTURES / f"{room}_{number}.jpg").read_bytes()
            yield from [(room, "robot", "jpeg", file)] * (count // VIEWS // 2)
    photographs = [(name, encoding, Image.fromarray(getattr(skimage.data, name)())) for name, encoding in SCENES]
    if street:
        photographs.insert(0, (street.stem, "rgb8", Image.open(street).convert("RGB")))
    for name, encoding, picture in photographs:
        for index in range(count):
            rgb = view(picture, index / count)
            if encoding == "jpeg":
                yield name, "jpeg", encoding, as_jpeg(rgb)
            elif encoding == "yuyv":
                yield name, "raw", encoding, yuyv(rgb)
            else:
                yield name, "raw", encoding, rgb if encoding == "rgb8" else rgb[:, :, ::-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bag", type=Path, help="folder to write, must not exist")
    parser.add_argument("--street", type=Path, metavar="FILE", help="a photograph, named as the file")
    args = parser.parse_args()
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    header, time = types["std_msgs/msg/Header"], types["builtin_interfaces/msg/Time"]
    raw, compressed = types["sensor_msgs/msg/Image"], types["sensor_msgs/msg/CompressedImage"]
    start = 1_700_000_000_000_000_000
    with Writer(args.bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            kind: writer.add_connection(topic, (raw if kind == "raw" else compressed).__msgtype__, typestore=store)
            for kind, topic in TOPICS.items()
        }
        scenes = set()
        for count, (name, kind, encoding, content) in enumerate(frames(args.street)):
            scenes.add(name)
            stamp = start + count * 1_000_000_000 // RATE_HZ
            stamped = header(time(stamp // 10**9, stamp % 10**9), name)
            if encoding == "jpeg":
                message = compressed(stamped, "rgb8; jpeg compressed bgr8", np.frombuffer(content, np.uint8))
            else:
                data = np.ascontiguousarray(content).ravel()
                message = raw(stamped, SIZE[1], SIZE[0], encoding, 0, content.shape[2] * SIZE[0], data)
            writer.write(connections[kind], stamp, store.serialize_cdr(message, message.__msgtype__))
    print(f"{args.bag}: {count + 1} frames, {len(scenes)} scenes")


if __name__ == "__main__":
    main()
