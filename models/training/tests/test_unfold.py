"""A shipped model back into training: it answers there as it does in ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from squeezenet_training.backbone import load_pretrained
from squeezenet_training.segmenter import GroundBranch
from squeezenet_training.unfold import load_model

CLASSES = 22


def batches(count: int) -> list[torch.Tensor]:
    noise = torch.Generator().manual_seed(4)
    return [torch.nn.functional.interpolate(260 * torch.rand(1, 3, 12, 16, generator=noise) - 120, (96, 128)) for _ in range(count)]


@pytest.fixture()
def model(backbone: Path) -> Path:
    return backbone.with_name("squeezenet1_1_anywhere.onnx")


def test_the_branch_answers_as_the_model(model: Path):
    network = load_pretrained(model)[0].eval()
    branch = GroundBranch(CLASSES)
    load_model(branch, model, network, batches(4))
    (image,) = batches(1)
    with torch.no_grad():
        ours = branch.eval()(network(image))[0].numpy()
    session = onnxruntime.InferenceSession(model)
    (theirs,) = session.run(["segmentation"], {"image": image.numpy()})
    assert np.abs(theirs).max() > 1.0
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_its_normalisations_are_of_the_batches(model: Path):
    network = load_pretrained(model)[0].eval()
    branch = GroundBranch(CLASSES)
    load_model(branch, model, network, batches(4))
    with torch.no_grad():
        before = branch.eval()(network(torch.cat(batches(4))))[0]
        training = branch.train()(network(torch.cat(batches(4))))[0]
    assert (before - training).abs().mean() < 0.1 * before.abs().mean()


def test_a_model_of_another_kind_is_refused(backbone: Path):
    with pytest.raises(SystemExit, match="no `branch"):
        load_model(GroundBranch(CLASSES), backbone, load_pretrained(backbone)[0], batches(1))
