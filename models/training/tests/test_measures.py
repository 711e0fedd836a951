"""Known answers of the losses, scores and geometry."""

import numpy as np
import pytest
import torch
from PIL import Image

from squeezenet_training.backbone import SqueezeNet
from squeezenet_training.losses import lovasz_softmax
from squeezenet_training.preprocess import aspect_size, crop_picture, to_tensor
from squeezenet_training.segmentation_metrics import calibration_error, confusion, iou, middle_of_cells
from squeezenet_training.segmenter import SegmentationBranch


def test_iou_counts_what_is_missed_and_what_is_too_much():
    target, predicted = np.array([0, 0, 1, 1, 9]), np.array([0, 1, 1, 1, 0])
    assert iou(confusion(predicted, target, 3))[:2] == pytest.approx([1 / 2, 2 / 3])


def test_a_class_that_is_nowhere_has_no_iou():
    assert np.isnan(iou(confusion(np.array([0]), np.array([0]), 2))[1])


def test_calibration_error_is_the_gap_between_confidence_and_hits():
    assert calibration_error(np.full(10, 0.9), np.array([1] * 6 + [0] * 4)) == pytest.approx(0.3)


@pytest.mark.parametrize("stride, wanted", [(2, [0, 2, 4, 6]), (4, [1, 5])])
def test_a_cell_is_compared_with_the_pixel_in_its_middle(stride: int, wanted: list[int]):
    columns = torch.arange(8).expand(8, 8)
    cells = middle_of_cells(columns, torch.zeros(1, 3, 8 // stride, 8 // stride))
    assert cells.tolist() == [wanted] * (8 // stride)


@pytest.mark.parametrize("sure, loss", [(1.0, 0.0), (0.0, 1.0)])
def test_lovasz_is_zero_when_right_and_one_when_wrong(sure: float, loss: float):
    target = torch.tensor([0, 0, 1, 1])
    right = torch.nn.functional.one_hot(target, 2).float()
    assert lovasz_softmax(sure * right + (1 - sure) * (1 - right), target).item() == pytest.approx(loss)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("size", [(64, 64), (272, 360)])
def test_the_logits_cover_the_picture_at_half_its_size(version: str, size: tuple[int, int]):
    image = torch.zeros(1, 3, *size)
    backbone, branch = SqueezeNet(version).eval(), SegmentationBranch(4, version=version).eval()
    with torch.no_grad():
        logits, _ = branch(backbone(image))
    assert logits.shape == (1, 4, size[0] // 2, size[1] // 2)


def test_the_tensor_is_planar_blue_first_and_centred():
    pixel = to_tensor(Image.new("RGB", (2, 1), (10, 20, 30)))
    assert pixel.shape == (1, 3, 1, 2)
    assert pixel[0, :, 0, 0].tolist() == [30 - 104, 20 - 117, 10 - 123]


def test_the_whole_picture_keeps_its_aspect_and_is_not_enlarged():
    assert aspect_size((960, 720), (480, 360)) == (480, 360)
    assert aspect_size((1920, 1080), (480, 360)) == (552, 312)
    assert aspect_size((160, 120), (480, 360)) == (160, 120)


def test_the_crop_is_the_centre():
    picture = Image.new("RGB", (200, 100))
    picture.paste((255, 0, 0), (75, 25, 125, 75))
    assert crop_picture(picture, 100, (50, 50)).getextrema() == ((255, 255), (0, 0), (0, 0))
