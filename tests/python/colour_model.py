"""A model whose mask is known: green is floor, red is wall, blue is sky. One 1x1 convolution, written as ONNX by hand."""

import hashlib
import struct
from pathlib import Path

import yaml

WIDTH, HEIGHT = 320, 240
FLOOR, WALL, SKY = (0, 255, 0), (255, 0, 0), (0, 0, 255)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def field(index: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return varint(index << 3 | 2) + varint(len(value)) + value


def tensor_type(name: str, channels: int, has_one_size: bool = False) -> bytes:
    """ValueInfoProto of a float tensor [1, channels, h, w]."""
    sizes = [number(1, 1), number(1, channels)]
    sizes += [number(1, HEIGHT), number(1, WIDTH)] if has_one_size else [field(2, "h"), field(2, "w")]
    shape = b"".join(field(1, size) for size in sizes)
    return field(1, name) + field(2, field(1, number(1, 1) + field(2, shape)))


def network(has_features: bool, has_one_size: bool) -> bytes:
    """ModelProto: logits of floor, wall, sky are the planes green, red, blue of an rgb input; so are the features, where
    they are wanted."""
    weights = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    tensor = b"".join(number(1, size) for size in (3, 3, 1, 1)) + number(2, 1) + field(8, "weights")
    tensor += field(9, struct.pack("<9f", *weights))
    node = field(1, "input") + field(1, "weights") + field(2, "segmentation") + field(4, "Conv")
    graph = field(1, node) + field(2, "colours") + field(5, tensor)
    graph += field(11, tensor_type("input", 3, has_one_size)) + field(12, tensor_type("segmentation", 3))
    if has_features:
        graph += field(1, field(1, "input") + field(2, "mask_features") + field(4, "Relu")) + field(12, tensor_type("mask_features", 3))
    return number(1, 8) + field(7, graph) + field(8, field(1, "") + number(2, 13))


def write(folder: Path, has_features: bool = False, has_one_size: bool = False, fit: str = "stretch") -> Path:
    """The model's files, of one that can learn by driving or not; gives the manifest's path."""
    data = network(has_features, has_one_size)
    (folder / "colours.onnx").write_bytes(data)
    classes = [
        {"name": "floor", "color": [0, 255, 0], "traversability": "traversable", "cost": 0},
        {"name": "wall", "color": [255, 0, 0], "traversability": "obstacle", "cost": 254},
        {"name": "sky", "color": [0, 0, 255], "traversability": "background", "cost": 255},
    ]
    manifest = {
        "schema": 1, "name": "colours", "description": "green floor, red walls, blue sky", "licence": "CC0-1.0",
        "files": [{"precision": "fp32", "path": "colours.onnx", "sha256": hashlib.sha256(data).hexdigest()}],
        "input": {
            "width": WIDTH, "height": HEIGHT, "fit": fit, "channels": "rgb",
            "mean": [0.0, 0.0, 0.0], "scale": [0.0625, 0.0625, 0.0625],
        },
        "segmentation": {"output": "segmentation", "temperature": 1.0, "classes": classes},
    }
    if has_features:
        manifest["features"] = [{"output": "mask_features", "channels": 3, "stride": 1}]
    path = folder / "colours.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return path
