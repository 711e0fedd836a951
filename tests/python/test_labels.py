"""Pictures in, labels out, over real DDS."""

import io
import re

import numpy as np
import pytest
from conftest import BEST_EFFORT, LATCHED, RELIABLE, Process, image_message, photograph, wait
from diagnostic_msgs.msg import DiagnosticStatus
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification, VisionInfo

TOPIC = "/camera/image_raw"


def names(classification: Classification) -> list[str]:
    return [result.hypothesis.class_id if hasattr(result, "hypothesis") else result.class_id for result in classification.results]


def yuv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r, g, b = (rgb[:, :, i].astype(float) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return tuple(plane.round().clip(0, 255).astype(np.uint8) for plane in (y, u, v))


def encoded(rgb: np.ndarray, encoding: str) -> Image:
    height, width = rgb.shape[:2]
    y, u, v = yuv(rgb)
    gray = rgb.mean(2).astype(np.uint8)
    if encoding in ("yuyv", "yuv422_yuy2", "uyvy", "yuv422"):
        chroma = np.where(np.arange(width) % 2 == 0, u, np.roll(v, 1, axis=1))
        pair = (y, chroma) if encoding in ("yuyv", "yuv422_yuy2") else (chroma, y)
        data, step = np.dstack(pair), 2 * width
    elif encoding in ("nv12", "nv21"):
        planes = (u[::2, ::2], v[::2, ::2]) if encoding == "nv12" else (v[::2, ::2], u[::2, ::2])
        data, step = np.concatenate([y.ravel(), np.dstack(planes).ravel()]), width
    elif encoding == "nv24":
        data, step = np.concatenate([y.ravel(), np.dstack((u, v)).ravel()]), width
    elif encoding.startswith("bayer_"):
        order = {"r": 0, "g": 1, "b": 2}
        pattern = [order[letter] for letter in encoding[6:10]]
        data, step = np.empty((height, width), np.uint8), width
        for index, channel in enumerate(pattern):
            data[index // 2 :: 2, index % 2 :: 2] = rgb[index // 2 :: 2, index % 2 :: 2, channel]
        if encoding.endswith("16"):
            data, step = data.astype("<u2") << 8, 2 * width
    elif encoding == "mono16":
        data, step = (gray.astype("<u2") << 8), 2 * width
    else:
        return image_message(rgb, encoding)
    message = Image(height=height, width=width, encoding=encoding, step=step)
    message.data.frombytes(np.ascontiguousarray(data).tobytes())
    message.header.frame_id = "camera_link"
    return message


def test_every_encoding_names_the_cat(start, peer):
    start()
    labels = peer.collect(Classification, "/squeezenet/labels")
    images = peer.publisher(Image, TOPIC)
    peer.wait_subscribed(images)
    peer.wait_published("/squeezenet/labels")
    cat = photograph("chelsea")
    encodings = [
        "rgb8", "bgr8", "rgba8", "bgra8", "yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21", "nv24",
        "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8", "bayer_gbrg16", "mono8", "mono16",
    ]
    for encoding in encodings:
        message = encoded(cat, encoding)
        message.header.stamp = peer.stamp()
        answer = peer.answer(images, message, labels)
        assert answer.header == message.header, f"{encoding}: stamp and frame_id of the source"
        found = names(answer)
        assert len(found) == 5
        scores = [result.score for result in answer.results]
        assert scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1.0001
        cats = {"Egyptian cat", "tabby", "tiger cat", "lynx"}
        is_gray = encoding.startswith("mono")
        assert cats & set(found if is_gray else found[:2]), f"{encoding}: {found}"


@pytest.mark.parametrize("qos", [RELIABLE, BEST_EFFORT], ids=["reliable", "best effort"])
def test_either_reliability_is_matched(start, peer, qos):
    node = start({"labels.top_k": 1})
    labels = peer.collect(Classification, "/squeezenet/labels", qos)
    images = peer.publisher(Image, TOPIC, qos)
    peer.wait_subscribed(images)
    peer.wait_published("/squeezenet/labels")
    for name, expected in [("coffee", "espresso"), ("chelsea", "Egyptian cat")]:
        # What an earlier publication of the last picture has left is passed over.
        message = image_message(photograph(name), "bgr8", padding=12)
        message.header.stamp = peer.stamp()
        peer.answer(images, message, labels)
        wait(lambda: labels[-1].header.stamp == message.header.stamp, 5)
        assert names(labels[-1]) == [expected]
    assert ("best effort" if qos is BEST_EFFORT else "reliable") in node.log()


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_compressed_pictures(start, peer, format):
    start({"image_topic": "/camera/compressed"})
    labels = peer.collect(Classification, "/squeezenet/labels")
    images = peer.publisher(CompressedImage, "/camera/compressed")
    peer.wait_subscribed(images)
    peer.wait_published("/squeezenet/labels")
    file = io.BytesIO()
    Picture.fromarray(photograph("coffee")).save(file, format)
    message = CompressedImage(format=f"rgb8; {format.lower()} compressed")
    message.data.frombytes(file.getvalue())
    message.header.stamp = peer.stamp()
    answer = peer.answer(images, message, labels)
    assert answer.header == message.header
    assert names(answer)[0] == "espresso"


def test_a_bad_frame_is_refused_counted_and_survived(start, peer):
    start()
    labels = peer.collect(Classification, "/squeezenet/labels")
    diagnostics = peer.diagnostics()
    images = peer.publisher(Image, TOPIC)
    peer.wait_subscribed(images)
    peer.wait_published("/squeezenet/labels")
    good = image_message(photograph("coffee"))
    peer.answer(images, good, labels)

    def spoilt(**fields) -> Image:
        message = image_message(photograph("coffee"))
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    short = spoilt()
    short.data = short.data[: len(short.data) // 2]
    bad = [
        (spoilt(encoding="rgb9"), "unknown encoding"),
        (spoilt(width=0), "0x480"),
        (spoilt(width=4_000_000_000, height=4_000_000_000, step=4_000_000_000), "4000000000x4000000000"),
        (spoilt(step=100), "step of 100 bytes is too short"),
        (short, "bytes of pixels where"),
    ]
    for count, (message, reason) in enumerate(bad, start=1):
        images.publish(message)
        diagnostics.wait_for(lambda s: any(p.key == "frames rejected" and int(p.value) >= count for p in s.values))
        status = diagnostics.wait_for(lambda s: reason in s.message)
        assert status.level in (DiagnosticStatus.WARN, DiagnosticStatus.ERROR)
        before = len(labels)
        answer = peer.answer(images, good, labels)
        assert len(labels) > before and names(answer)[0] == "espresso", "the node goes on"


def test_a_broken_jpeg_is_refused_and_survived(start, peer):
    start({"image_topic": "/camera/compressed"})
    labels = peer.collect(Classification, "/squeezenet/labels")
    diagnostics = peer.diagnostics()
    images = peer.publisher(CompressedImage, "/camera/compressed")
    peer.wait_subscribed(images)
    peer.wait_published("/squeezenet/labels")
    file = io.BytesIO()
    Picture.fromarray(photograph("coffee")).save(file, "JPEG")
    good = CompressedImage(format="jpeg")
    good.data.frombytes(file.getvalue())
    broken = CompressedImage(format="jpeg")
    broken.data.frombytes(file.getvalue()[:5000])
    images.publish(broken)
    diagnostics.wait_for(lambda s: "cut off" in s.message)
    assert names(peer.answer(images, good, labels))[0] == "espresso"


def test_nothing_above_the_threshold_is_published_as_nothing(start, peer):
    start({"labels.threshold": 1.0})
    labels = peer.collect(Classification, "/squeezenet/labels")
    images = peer.publisher(Image, TOPIC)
    peer.wait_subscribed(images)
    peer.wait_published("/squeezenet/labels")
    message = image_message(photograph("astronaut"))
    message.header.stamp = peer.stamp()
    answer = peer.answer(images, message, labels)
    assert answer.results == [] and answer.header == message.header


def test_the_newest_frame_wins_and_replaced_ones_are_counted(start, peer):
    start({"inference.threads": 1})
    labels = peer.collect(Classification, "/squeezenet/labels")
    diagnostics = peer.diagnostics()
    images = peer.publisher(Image, TOPIC)
    peer.wait_subscribed(images)
    peer.wait_published("/squeezenet/labels")
    rgb = photograph("coffee", (1920, 1440))
    message = image_message(rgb)
    for sec in range(1, 61):
        message.header.stamp.sec = sec
        images.publish(message)
    wait(lambda: labels and labels[-1].header.stamp.sec == 60, 10, lambda: f"{len(labels)} answers")
    stamps = [label.header.stamp.sec for label in labels]
    assert stamps == sorted(stamps), "never an older one after a newer one"

    def adds_up(status) -> bool:
        counts = {p.key: int(p.value) for p in status.values if p.key.startswith("frames ")}
        return counts["frames received"] == counts["frames processed"] + counts["frames replaced"] and counts["frames replaced"] > 0

    diagnostics.wait_for(adds_up)


def test_old_frames_are_dropped_and_counted(start, peer):
    start({"input.max_age_ms": 500.0})
    labels = peer.collect(Classification, "/squeezenet/labels")
    diagnostics = peer.diagnostics()
    images = peer.publisher(Image, TOPIC)
    peer.wait_subscribed(images)
    peer.wait_published("/squeezenet/labels")
    message = image_message(photograph("coffee"))
    message.header.stamp = peer.stamp()
    message.header.stamp.sec -= 5
    images.publish(message)
    status = diagnostics.wait_for(lambda s: "max_age_ms" in s.message)
    assert status.level == DiagnosticStatus.WARN and labels == []
    message.header.stamp = peer.stamp()
    images.publish(message)
    wait(lambda: len(labels) == 1, 5)


def test_several_cameras_share_one_session(start, peer):
    cameras = {
        "cameras": ["front", "rear"], "front.image_topic": "/front/image", "rear.image_topic": "/rear/image",
        "rear.labels.top_k": 2,
    }
    start(cameras)
    front = peer.collect(Classification, "/squeezenet/front/labels")
    rear = peer.collect(Classification, "/squeezenet/rear/labels")
    common = peer.collect(Classification, "/squeezenet/labels")
    sources = [peer.publisher(Image, "/front/image"), peer.publisher(Image, "/rear/image", BEST_EFFORT)]
    for source in sources:
        peer.wait_subscribed(source)
    peer.wait_published("/squeezenet/rear/labels")
    for source, received, picture, expected in [
        (sources[0], front, "coffee", "espresso"), (sources[1], rear, "chelsea", "Egyptian cat"),
    ]:
        message = image_message(photograph(picture))
        message.header.frame_id = picture
        answer = peer.answer(source, message, received)
        assert names(answer)[0] == expected and answer.header.frame_id == picture
    assert len(names(front[-1])) == 5 and len(names(rear[-1])) == 2
    wait(lambda: {label.header.frame_id for label in common} == {"coffee", "chelsea"}, 5)


def test_remaps_namespaces_and_parameter_overrides(start, peer):
    start(arguments=[
        "-r", "__ns:=/robot", "-r", "__node:=eyes", "-r", "/camera/image_raw:=/robot/color",
        "-p", "labels.class_id_format:=index", "-p", "labels.top_k:=3",
    ])
    labels = peer.collect(Classification, "/robot/eyes/labels")
    info = peer.collect(VisionInfo, "/robot/eyes/vision_info", LATCHED)
    images = peer.publisher(Image, "/robot/color", BEST_EFFORT)
    peer.wait_subscribed(images)
    peer.wait_published("/robot/eyes/labels")
    answer = peer.answer(images, image_message(photograph("coffee")), labels)
    assert names(answer)[0] == "967" and len(answer.results) == 3
    wait(lambda: info, 5)
    assert "squeezenet1_1" in info[0].method and info[0].database_version == 1


def test_a_missing_topic_and_a_mismatch_are_said(start, peer):
    node = start({"image_topic": "/nowhere", "input.reliability": "reliable"})
    diagnostics = peer.diagnostics()
    status = diagnostics.wait_for(lambda s: "nobody publishes on /nowhere" in s.message)
    assert status.level == DiagnosticStatus.STALE
    node.wait_for("nobody publishes on /nowhere")
    images = peer.publisher(Image, "/nowhere", BEST_EFFORT)
    status = diagnostics.wait_for(lambda s: "offers best effort" in s.message)
    assert status.level == DiagnosticStatus.ERROR
    node.wait_for("set input.reliability to auto")
    assert images is not None


def test_nobody_listening_costs_nothing(start, peer):
    start()
    diagnostics = peer.diagnostics()
    images = peer.publisher(Image, TOPIC)
    peer.wait_subscribed(images)
    for _ in range(5):
        images.publish(image_message(photograph("coffee")))
    diagnostics.wait_for(lambda s: any(p.key == "frames unheard" and int(p.value) > 0 for p in s.values))
    assert diagnostics.value("frames processed") == "0"


def test_the_start_and_the_end_are_said(environment, tmp_path, peer):
    node = Process({}, [], environment, tmp_path)
    try:
        for words in ("runtime: ", "ready: ", "publishing below /squeezenet/ (reliable"):
            node.wait_for(words)
        labels = peer.collect(Classification, "/squeezenet/labels")
        images = peer.publisher(Image, TOPIC)
        peer.wait_subscribed(images)
        peer.wait_published("/squeezenet/labels")
        peer.answer(images, image_message(photograph("coffee")), labels)
    finally:
        assert node.stop() == 0
    assert re.search(r"[1-9]\d* frames received: [1-9]\d* answered, 0 replaced", node.log()), node.log()
