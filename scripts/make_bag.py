"""Writes the demo's rosbag2: photographs with camera motion, 640x480, 30 Hz, several encodings.

Photographs and their licences: scikit-image's `chelsea` (CC0), `coffee` (CC0), `astronaut` and
`rocket` (public domain), as its wheel carries them; `--add` puts others behind them.
"""

import argparse
import io
from itertools import cycle
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

SIZE = (640, 480)
RATE_HZ = 30
SECONDS_EACH = 3
# Picture and the encoding in which it travels.
SCENES = [("chelsea", "bgr8"), ("coffee", "yuyv"), ("astronaut", "jpeg"), ("rocket", "rgb8")]
ADDED_ENCODINGS = ["jpeg", "bgr8"]
TOPICS = {"raw": "/camera/image_raw", "jpeg": "/camera/image_raw/compressed"}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bag", type=Path, help="folder to write, must not exist")
    parser.add_argument("--add", type=Path, nargs="*", default=[], metavar="FILE", help="scenes named as the files")
    args = parser.parse_args()
    scenes = [(name, encoding, Image.fromarray(getattr(skimage.data, name)())) for name, encoding in SCENES]
    scenes += [(file.stem, encoding, Image.open(file).convert("RGB")) for file, encoding in zip(args.add, cycle(ADDED_ENCODINGS))]
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    header, time = types["std_msgs/msg/Header"], types["builtin_interfaces/msg/Time"]
    raw, compressed = types["sensor_msgs/msg/Image"], types["sensor_msgs/msg/CompressedImage"]
    start = 1_700_000_000_000_000_000
    with Writer(args.bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            "raw": writer.add_connection(TOPICS["raw"], raw.__msgtype__, typestore=store),
            "jpeg": writer.add_connection(TOPICS["jpeg"], compressed.__msgtype__, typestore=store),
        }
        count = 0
        for name, encoding, picture in scenes:
            frames = RATE_HZ * SECONDS_EACH
            for index in range(frames):
                rgb = view(picture, index / frames)
                stamp = start + count * 1_000_000_000 // RATE_HZ
                count += 1
                stamped = header(time(stamp // 10**9, stamp % 10**9), name)
                if encoding == "jpeg":
                    file = io.BytesIO()
                    Image.fromarray(rgb).save(file, "JPEG", quality=90)
                    data = np.frombuffer(file.getvalue(), np.uint8)
                    message = compressed(stamped, "rgb8; jpeg compressed bgr8", data)
                else:
                    pixels = {"rgb8": rgb, "bgr8": rgb[:, :, ::-1], "yuyv": None}[encoding]
                    pixels = yuyv(rgb) if pixels is None else pixels
                    data = np.ascontiguousarray(pixels).ravel()
                    message = raw(stamped, SIZE[1], SIZE[0], encoding, 0, pixels.shape[2] * SIZE[0], data)
                connection = connections["jpeg" if encoding == "jpeg" else "raw"]
                writer.write(connection, stamp, store.serialize_cdr(message, message.__msgtype__))
    print(f"{args.bag}: {count} frames, {len(scenes)} scenes")


if __name__ == "__main__":
    main()
