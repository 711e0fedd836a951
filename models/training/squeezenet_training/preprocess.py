"""The node's own pre-processing, in Python: what is trained here is what is run there."""

import numpy as np
from PIL import Image

MEAN_BGR = np.array([104.0, 117.0, 123.0], np.float32)
VIEW = (480, 360)
"""Width and height of the network's nominal input, of the models that are trained here."""


def to_tensor(picture: Image.Image) -> np.ndarray:
    """RGB picture to float32 [1, 3, H, W], planes blue, green, red, minus the mean."""
    bgr = np.asarray(picture.convert("RGB"), np.float32)[:, :, ::-1] - MEAN_BGR
    return np.ascontiguousarray(bgr.transpose(2, 0, 1))[None]


def crop_picture(picture: Image.Image, short_side: int, size: tuple[int, int]) -> Image.Image:
    """The usual ImageNet protocol: short side resized, then the centre (width, height)."""
    scale = short_side / min(picture.size)
    resized = picture.convert("RGB").resize(
        [max(1, int(side * scale + 1e-9)) for side in picture.size], Image.Resampling.BILINEAR
    )
    left, top = (round((have - want) / 2) for have, want in zip(resized.size, size))
    return resized.crop((left, top, left + size[0], top + size[1]))


def aspect_size(picture_size: tuple[int, int], input_size: tuple[int, int]) -> tuple[int, int]:
    """`Fit::Aspect` of the node: the picture's aspect, at most the input's area, multiples of 8."""
    (w, h), (width, height) = picture_size, input_size
    scale = min(1.0, (width * height / (w * h)) ** 0.5)
    return tuple(min(4096, max(64, int(side * scale / 8.0 + 0.5) * 8)) for side in (w, h))


def whole_picture(picture: Image.Image, input_size: tuple[int, int]) -> Image.Image:
    """The whole picture as `Fit::Aspect` feeds it."""
    size = aspect_size(picture.size, input_size)
    picture = picture.convert("RGB")
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR)


def as_fed(picture: Image.Image, spec: dict) -> Image.Image:
    """The part and size that the node feeds of it, by `spec`, the `input` of the model's manifest."""
    size = (spec["width"], spec["height"])
    if spec["fit"] == "crop":
        return crop_picture(picture, spec["resize_short_side"], size)
    return whole_picture(picture, size)


def test_picture() -> Image.Image:
    """The picture of the self test, 320x240; the rule stands in src/pipeline.rs."""
    x, y = np.meshgrid(np.arange(320), np.arange(240))
    channels = [x * 255 // 319, y * 255 // 239, (x ^ y) & 255]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))
