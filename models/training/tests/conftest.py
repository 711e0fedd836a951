"""Tiny generated data; everything here is skipped where PyTorch is not installed."""

import argparse
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="models/training/requirements.txt is not installed")

import numpy as np
import torch
import yaml
from PIL import Image

TRAINING = Path(__file__).parents[1]
sys.path.insert(0, str(TRAINING))
BACKBONE = TRAINING.parent / "squeezenet1_1_imagenet.onnx"


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def backbone() -> Path:
    return BACKBONE


@pytest.fixture(scope="session")
def command():
    """Runs a module's command with arguments as typed."""

    def call(module, *arguments) -> None:
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        module.run(parser.parse_args([str(argument) for argument in arguments]))

    return call


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of a grey floor, a blue sky and a red box, with masks and classes.yaml."""
    folder = tmp_path_factory.mktemp("street")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    random = np.random.default_rng(1)
    for index in range(6):
        mask = np.zeros((96, 128), np.uint8)
        mask[48:] = 1
        left = int(random.integers(10, 90))
        mask[30:70, left : left + 25] = 2
        mask[:2] = 3  # unlabelled
        colours = np.array([[120, 170, 230], [110, 110, 110], [200, 40, 40], [0, 0, 0]])
        noisy = colours[mask] + random.normal(0, 8, (96, 128, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{index}.png")
        Image.fromarray(mask).save(folder / "labels" / f"{index}.png")
    kinds = [("sky", "background", 255), ("floor", "traversable", 0), ("box", "obstacle", 254)]
    classes = [
        {"name": name, "color": colours[i].tolist(), "traversability": kind, "cost": cost}
        for i, (name, kind, cost) in enumerate(kinds)
    ]
    (folder / "classes.yaml").write_text(yaml.safe_dump({"ignore": 3, "classes": classes}))
    return folder


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pictures: horizontal and vertical stripes."""
    folder = tmp_path_factory.mktemp("stripes")
    random = np.random.default_rng(2)
    for name in ("lying", "standing"):
        (folder / name).mkdir()
        for index in range(8):
            wave = 128 + 100 * np.sign(np.sin(np.arange(96) / random.uniform(2, 4)))
            pixels = np.tile(wave, (96, 1)) if name == "standing" else np.tile(wave[:, None], (1, 96))
            noisy = pixels[..., None] + random.normal(0, 8, (96, 96, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder
