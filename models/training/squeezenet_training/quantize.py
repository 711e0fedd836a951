"""`quantize`: a model's ONNX file -> int8 beside it, entered in its manifest.

Static, per channel, QDQ: unsigned 8-bit activations, signed weights of 7 bits. Processors without
VNNI (AVX2, early AVX-512) add products in pairs of 16 bits, which weights of 8 bits overflow: a
class of a mask was then lost altogether, on those processors alone. What loses accuracy stays in
fp32: what `--keep` names, and the `--keep-worst` convolutions whose own error is largest.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import yaml
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import ImageEnhance

from .manifest import digest, unproven, write_manifest
from .pictures import find_pictures, open_picture
from .preprocess import as_fed, to_tensor

METHODS = {
    "minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--manifest", type=Path, required=True, help="NAME.yaml beside NAME.onnx")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="folders of pictures to calibrate with; what lies below them counts, too")
    parser.add_argument("--count", type=int, default=48, help="pictures to calibrate with")
    parser.add_argument("--method", choices=METHODS, default="minmax")
    parser.add_argument("--keep", nargs="*", default=[], help="beginnings of names of nodes that stay fp32")
    parser.add_argument("--keep-worst", type=int, default=0, help="so many convolutions of the largest error stay fp32 too")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=25, help="timed runs of each precision; they take turns")
    parser.add_argument("--seed", type=int, default=1)


class Pictures(CalibrationDataReader):
    """The pictures as the node feeds them, a third of them darker, a third brighter."""

    def __init__(self, files: list[Path], spec: dict) -> None:
        """`spec`: the manifest's `input`."""
        self.tensors = []
        for index, file in enumerate(files):
            picture = as_fed(open_picture(file), spec)
            picture = ImageEnhance.Brightness(picture).enhance((1.0, 0.4, 1.6)[index % 3])
            self.tensors.append(to_tensor(picture))
        self.rewind()

    def rewind(self) -> None:
        self.queue = iter(self.tensors)

    def get_next(self) -> dict[str, np.ndarray] | None:
        tensor = next(self.queue, None)
        return None if tensor is None else {"image": tensor}


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def quantize(prepared: Path, target: Path, reader: Pictures, method: str, kept: list[str]) -> None:
    reader.rewind()
    quantize_static(
        prepared, target, reader, quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=METHODS[method], nodes_to_exclude=kept,
        op_types_to_quantize=["Conv", "Relu", "MaxPool", "AveragePool", "Concat", "Add"],
        extra_options={"ActivationSymmetric": False},
    )


def align_concatenations(path: Path) -> None:
    """Gives what goes into a concatenation the scale of what comes out of it.

    They are rounded to that scale by the concatenation anyway; rounded to it at once they lose less,
    and ONNX Runtime copies them instead of looking up each value in a table.
    """
    model = onnx.load(path)
    nodes = model.graph.node
    source = {output: node for node in nodes for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def only(name: str, kind: str) -> onnx.NodeProto | None:
        found = readers.get(name, [])
        return found[0] if len(found) == 1 and found[0].op_type == kind else None

    for concatenation in nodes:
        if concatenation.op_type != "Concat":
            continue
        after = only(concatenation.output[0], "QuantizeLinear")
        for name in concatenation.input if after else ():
            decode = source.get(name)
            encode = source.get(decode.input[0]) if decode and decode.op_type == "DequantizeLinear" else None
            # What others read as well keeps its own scale.
            if encode and only(name, "Concat") and only(encode.output[0], "DequantizeLinear"):
                for node in (encode, decode):
                    node.input[1:] = after.input[1:]
    used = {name for node in nodes for name in node.input}
    unused = [tensor for tensor in model.graph.initializer if tensor.name not in used]
    for tensor in unused:
        model.graph.initializer.remove(tensor)
    onnx.save(model, path)


def convolutions(path: Path) -> list[str]:
    return [node.name for node in onnx.load(path).graph.node if node.op_type == "Conv"]


def agreement(exact: onnxruntime.InferenceSession, small: onnxruntime.InferenceSession, tensors: list[np.ndarray]) -> dict:
    """How often both precisions answer the same: pixels of the mask, first label."""
    names = [output.name for output in exact.get_outputs() if output.name in ("segmentation", "logits")]
    same = {name: [] for name in names}
    for tensor in tensors:
        pairs = zip(names, exact.run(names, {"image": tensor}), small.run(names, {"image": tensor}))
        for name, one, other in pairs:
            same[name].append(float((one.argmax(1) == other.argmax(1)).mean()))
    return {name: round(float(np.mean(values)), 4) for name, values in same.items()}


def worst_convolutions(prepared: Path, reader: Pictures, method: str, kept: list[str], count: int) -> list[str]:
    """Those whose quantisation alone changes the outputs most."""
    exact = open_session(prepared, 0)
    names = [output.name for output in exact.get_outputs() if output.name in ("segmentation", "logits")]
    sample = reader.tensors[:2]
    wanted = [exact.run(names, {"image": tensor}) for tensor in sample]
    errors = {}
    every = convolutions(prepared)
    few = Pictures([], {})
    few.tensors = reader.tensors[:4]
    with tempfile.TemporaryDirectory() as folder:
        for name in every:
            if name in kept:
                continue
            path = Path(folder) / "one.onnx"
            quantize(prepared, path, few, method, [other for other in every if other != name])
            session = open_session(path, 0)
            gaps = [
                np.square(a - b).mean() / max(1e-9, np.square(b).mean())
                for tensor, outputs in zip(sample, wanted)
                for a, b in zip(session.run(names, {"image": tensor}), outputs)
            ]
            errors[name] = float(np.mean(gaps))
    ranked = sorted(errors, key=errors.get, reverse=True)
    for name in ranked[: count + 3]:
        print(f"  {name}: relative squared error {errors[name]:.2e}")
    return ranked[:count]


def make(args: argparse.Namespace, source: Path, target: Path, reader: Pictures) -> None:
    """The int8 version of `source`, with what the options leave in fp32."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        kept = [name for name in convolutions(prepared) if name.startswith(tuple(args.keep))] if args.keep else []
        if args.keep_worst:
            kept += worst_convolutions(prepared, reader, args.method, kept, args.keep_worst)
        others = [
            node.name for node in onnx.load(prepared).graph.node
            if args.keep and node.name.startswith(tuple(args.keep))
        ]
        quantize(prepared, target, reader, args.method, sorted({*kept, *others}))
    align_concatenations(target)


def compare(args: argparse.Namespace, source: Path, target: Path, reader: Pictures) -> None:
    """Prints how often both answer the same, and how long they take."""
    exact, small = open_session(source, args.threads), open_session(target, args.threads)
    print(f"same answer: {agreement(exact, small, reader.tensors[:12])}")
    times: dict[str, list[float]] = {"fp32": [], "int8": []}
    for turn in range(args.rounds + 2):
        for name, session in (("fp32", exact), ("int8", small)):
            started = time.perf_counter()
            session.run(None, {"image": reader.tensors[0]})
            if turn >= 2:
                times[name].append(1e3 * (time.perf_counter() - started))
    print("median latency: " + ", ".join(f"{n} {np.median(t):.1f} ms" for n, t in times.items()))


def run(args: argparse.Namespace) -> None:
    manifest = yaml.safe_load(args.manifest.read_text())
    source = args.manifest.parent / next(f["path"] for f in manifest["files"] if f["precision"] == "fp32")
    target = source.with_name(f"{source.stem}_int8.onnx")
    files = [path for folder in args.pictures for path in find_pictures(folder)]
    random.Random(args.seed).shuffle(files)
    reader = Pictures(files[: args.count], manifest["input"])
    shapes = {tensor.shape[2:] for tensor in reader.tensors}
    if args.method != "minmax" and len(shapes) > 1:
        told = ", ".join(f"{width}x{height}" for height, width in sorted(shapes))
        raise SystemExit(f"--method {args.method} takes pictures of one aspect ratio alone; these come as {told}: leave some out, or use minmax")
    new = unproven(target)
    try:
        make(args, source, new, reader)
        compare(args, source, new, reader)
        manifest["files"] = [f for f in manifest["files"] if f["precision"] != "int8"]
        manifest["files"].append({"precision": "int8", "path": target.name, "sha256": digest(new)})
        new.replace(target)
        write_manifest(args.manifest, manifest)
    finally:
        new.unlink(missing_ok=True)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
