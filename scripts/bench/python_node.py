"""The same work as squeezenet_node's, as one would write it in Python: rclpy, ONNX Runtime, OpenCV.

Labels, traversability mask and confidence of the newest frame, on the same topics with the same
parameters, for the benchmark to compare with; one camera.
"""

import array

import cv2
import numpy as np
import rclpy
import rclpy.executors
from model import MEANINGS, Model
from PIL import Image as Picture
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from session import onnxruntime_session
from vision_msgs.msg import Classification, ObjectHypothesis

YUV = {"yuv422_yuy2": cv2.COLOR_YUV2BGR_YUY2, "yuyv": cv2.COLOR_YUV2BGR_YUY2}
INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}
TOP_K = 5


class PythonNode(Node):
    """One subscription, one session with the wanted outputs, results published as they are ready."""

    def __init__(self) -> None:
        super().__init__("squeezenet")

        def parameter(name: str, default):
            return self.declare_parameter(name, default).value

        self.model = Model(parameter("model", "squeezenet1_1_street"))
        topic = parameter("image_topic", "/camera/image_raw")
        path = parameter("network", "") or str(self.model.file(parameter("precision", "fp32")))
        self.session = onnxruntime_session(path, parameter("inference.threads", 2), parameter("spinning", True))
        self.resize = parameter("resize", "linear")
        self.has_mask = bool(parameter("mask", True) and self.model.segmentation)
        self.outputs = self.model.outputs(["labels", "mask"] if self.has_mask else ["labels"])
        self.input_name = self.session.get_inputs()[0].name
        self.names = self.model.class_names()
        if self.has_mask:
            classes = self.model.segmentation["classes"]
            meanings = [MEANINGS[each["traversability"]] for each in classes]
            # [4, classes]: sums up the classes of each traversability.
            self.sums = np.eye(4, dtype=np.float32)[:, meanings]
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self.labels = self.create_publisher(Classification, "~/labels", qos)
        self.mask = self.create_publisher(Image, "~/mask", qos)
        self.confidence = self.create_publisher(Image, "~/confidence", qos)
        kind, decode = (CompressedImage, decode_compressed) if topic.endswith("/compressed") else (Image, decode_raw)
        newest = QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)
        self.create_subscription(kind, topic, lambda message: self.answer(message.header, decode(message)), newest)

    def answer(self, header, bgr: np.ndarray) -> None:
        outputs = self.session.run(self.outputs, {self.input_name: self.tensor(bgr)})
        self.labels.publish(self.classification(header, outputs[0][0]))
        if self.has_mask:
            mask, confidence = self.maps(outputs[1][0], bgr.shape[1], bgr.shape[0])
            self.mask.publish(mono8(header, mask))
            self.confidence.publish(mono8(header, confidence))

    def tensor(self, bgr: np.ndarray) -> np.ndarray:
        place = self.model.place(bgr.shape[1], bgr.shape[0])
        left, top, width, height = (round(value) for value in place.source)
        seen = bgr[top:top + height, left:left + width]
        size = place.width, place.height
        if self.resize == "pillow":
            # Smoothed as the node's and as in training; slower than OpenCV's.
            resized = np.asarray(Picture.fromarray(seen).resize(size, Picture.Resampling.BILINEAR))
        else:
            resized = cv2.resize(seen, size, interpolation=INTERPOLATIONS[self.resize])
        return cv2.dnn.blobFromImage(resized, 1.0, None, self.model.input["mean"])

    def classification(self, header, logits: np.ndarray) -> Classification:
        scores = np.exp((logits - logits.max()) / self.model.classification["temperature"])
        scores /= scores.sum()
        best = np.argpartition(scores, -TOP_K)[-TOP_K:]
        best = best[np.argsort(-scores[best])]
        results = [ObjectHypothesis(class_id=self.names[index], score=float(scores[index])) for index in best]
        return Classification(header=header, results=results)

    def maps(self, logits: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Softmax on the network's grid, summed by traversability, interpolated to the picture, arg-max there."""
        exponentials = cv2.exp((logits - logits.max(0)).reshape(len(logits), -1))
        sums = self.sums @ exponentials
        probabilities = (sums * (1.0 / sums.sum(0))).reshape(4, *logits.shape[1:])
        best, mask = np.full((height, width), -1.0, np.float32), np.zeros((height, width), np.uint8)
        plane, is_better = np.empty_like(best), np.empty(best.shape, bool)
        for index, coarse in enumerate(probabilities):
            cv2.resize(coarse, (width, height), dst=plane, interpolation=cv2.INTER_LINEAR)
            np.greater(plane, best, out=is_better)
            np.copyto(mask, index, where=is_better)
            np.maximum(best, plane, out=best)
        return mask, cv2.convertScaleAbs(best, alpha=255.0)


def decode_raw(message: Image) -> np.ndarray:
    pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    if message.encoding in YUV:
        return cv2.cvtColor(pixels.reshape(message.height, message.width, 2), YUV[message.encoding])
    return pixels[:, :3 * message.width].reshape(message.height, message.width, 3)


def decode_compressed(message: CompressedImage) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)


def mono8(header, pixels: np.ndarray) -> Image:
    height, width = pixels.shape
    # An array is taken over as it is; bytes would be checked one by one.
    data = array.array("B", pixels.tobytes())
    return Image(header=header, height=height, width=width, encoding="mono8", step=width, data=data)


def main() -> None:
    rclpy.init()
    node = PythonNode()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass


if __name__ == "__main__":
    main()
