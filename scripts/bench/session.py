"""Times one engine on one network, without ROS: a JSON line of percentiles in ms.

Started by the benchmarks as a process of its own, so that no engine's threads meet another's.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

Run = Callable[[np.ndarray], list[np.ndarray]]


def onnxruntime_session(path: str, threads: int, spinning: bool = True):
    """A session with ONNX Runtime's defaults but for the threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def onnxruntime_run(path: str, shape: tuple, threads: int) -> Run:
    session = onnxruntime_session(path, threads)
    name = session.get_inputs()[0].name
    return lambda tensor: session.run(None, {name: tensor})


def openvino_run(path: str, shape: tuple, threads: int) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(shape)
    compiled = core.compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1,
        # No bfloat16 where the processor has it: the others calculate in 32 bits too.
        "INFERENCE_PRECISION_HINT": "f32",
    })
    request = compiled.create_infer_request()

    def run(tensor: np.ndarray) -> list[np.ndarray]:
        request.infer([tensor], share_inputs=True)
        return [request.get_output_tensor(index).data for index in range(len(compiled.outputs))]

    return run


def opencv_run(path: str, shape: tuple, threads: int) -> Run:
    import cv2

    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(path)
    names = net.getUnconnectedOutLayersNames()

    def run(tensor: np.ndarray) -> list[np.ndarray]:
        net.setInput(tensor)
        return list(net.forward(names))

    return run


# Name, package, how to run a file, and which files.
ENGINES = {
    "onnxruntime": ("ONNX Runtime", "onnxruntime", onnxruntime_run, ["fp32", "int8"]),
    "openvino": ("OpenVINO", "openvino", openvino_run, ["fp32", "int8"]),
    # It calculates int8 files in floating point, at half the speed of the fp32 ones.
    "opencv": ("OpenCV dnn", "opencv-python-headless", opencv_run, ["fp32"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="ONNX file")
    parser.add_argument("--engine", choices=ENGINES, default="onnxruntime")
    parser.add_argument("--precision", default="fp32", help="of the file")
    parser.add_argument("--size", default="480x360", help="of the input, WIDTHxHEIGHT")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--save", type=Path, help="where the outputs go, .npz")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    shape = (1, 3, height, width)
    tensor = np.random.default_rng(1).uniform(-110, 130, shape).astype(np.float32)
    _, package, make, _ = ENGINES[args.engine]
    run = make(args.model, shape, args.threads)
    for _ in range(max(3, args.frames // 10)):
        outputs = run(tensor)
    times = []
    cpu = time.process_time()
    for _ in range(args.frames):
        start = time.perf_counter()
        outputs = run(tensor)
        times.append(1e3 * (time.perf_counter() - start))
    cpu = time.process_time() - cpu
    if args.save:
        args.save.parent.mkdir(parents=True, exist_ok=True)
        np.savez(args.save, *[np.asarray(output) for output in outputs])
    p50, p95, p99, most = np.percentile(times, [50, 95, 99, 100])
    print(json.dumps({
        "engine": args.engine, "version": version(package), "precision": args.precision, "threads": args.threads,
        "size": args.size, "frames": args.frames, "frames_per_s": 1e3 / np.mean(times), "p50": p50, "p95": p95, "p99": p99, "max": most,
        "cpu_ms_per_frame": 1e3 * cpu / args.frames,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))


if __name__ == "__main__":
    main()
