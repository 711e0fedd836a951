"""Photographs of scikit-image as serialized messages of a camera."""

import io
import struct

import numpy as np
import skimage.data
from make_bag import yuyv
from PIL import Image as Picture
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

PICTURES = ["coffee", "astronaut", "chelsea", "rocket"]
ENCODINGS = ["bgr8", "yuyv", "jpeg"]


def message_type(encoding: str) -> type:
    return CompressedImage if encoding == "jpeg" else Image


def topic(camera: str, encoding: str) -> str:
    return f"/{camera}/image_raw" + ("/compressed" if encoding == "jpeg" else "")


def image_message(name: str, width: int, height: int, encoding: str) -> Image | CompressedImage:
    """frame_id is the picture's name."""
    picture = Picture.fromarray(getattr(skimage.data, name)()).convert("RGB").resize((width, height))
    if encoding == "jpeg":
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=90)
        message, payload = CompressedImage(format="jpeg"), file.getvalue()
    else:
        rgb = np.asarray(picture)
        pixels = np.ascontiguousarray(rgb[:, :, ::-1]) if encoding == "bgr8" else yuyv(rgb)
        ros_name = {"bgr8": "bgr8", "yuyv": "yuv422_yuy2"}[encoding]
        message = Image(height=height, width=width, encoding=ros_name, step=width * pixels.shape[2])
        payload = pixels.tobytes()
    message.header.frame_id = name
    message.data.frombytes(payload)
    return message


def serialized(name: str, width: int, height: int, encoding: str) -> bytearray:
    return bytearray(serialize_message(image_message(name, width, height, encoding)))


def stamp(message: bytearray, nanoseconds: int) -> bytes:
    """The serialized message with that stamp: a header stands behind the four bytes of the encapsulation."""
    struct.pack_into("<iI", message, 4, *divmod(nanoseconds, 1_000_000_000))
    return bytes(message)


def stamp_of(message: bytes) -> int:
    """Stamp of a serialized message that begins with a header, ns."""
    seconds, nanoseconds = struct.unpack_from("<iI", message, 4)
    return seconds * 1_000_000_000 + nanoseconds
