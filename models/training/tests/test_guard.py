"""Guard sets: cells of validation pictures, entered in the manifest."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from squeezenet_training import guard


@pytest.fixture()
def manifest(tmp_path: Path, backbone: Path) -> Path:
    name = "squeezenet1_1_anywhere"
    shutil.copy(backbone.with_name(f"{name}.onnx"), tmp_path)
    content = yaml.safe_load(backbone.with_name(f"{name}.yaml").read_text())
    content.pop("guard")
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path / f"{name}.yaml"


def test_cells_of_both_kinds_are_kept_and_named_in_the_manifest(command, manifest: Path, street: Path):
    command(guard, "--manifest", manifest, "--val", street, "--classes", street / "classes.yaml", "--cells", 40)
    entry = yaml.safe_load(manifest.read_text())["guard"]
    path = manifest.with_name(entry["path"])
    # As readable as any other new file: the node may run as another user.
    assert path.stat().st_mode == manifest.stat().st_mode
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    cells = load_file(path)
    assert cells["features"].shape == (40, 64) and cells["features"].dtype == np.float16
    assert cells["margins"].dtype == np.float32 and np.abs(cells["margins"]).max() <= guard.MOST_MARGIN
    assert cells["ground"].sum() == 20 and set(cells["domains"]) == {0}
    # The model tells them apart, drawn as they are.
    assert np.corrcoef(cells["margins"], cells["ground"])[0, 1] > 0.2


def test_a_model_that_cannot_learn_is_refused(command, manifest: Path, street: Path):
    content = yaml.safe_load(manifest.read_text())
    content["features"] = []
    manifest.write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit, match="cannot learn by driving"):
        command(guard, "--manifest", manifest, "--val", street, "--classes", street / "classes.yaml")
    with pytest.raises(SystemExit, match="--val needs --classes"):
        command(guard, "--manifest", Path(__file__).parents[2] / "squeezenet1_1_anywhere.yaml", "--val", street)
