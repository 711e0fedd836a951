"""What lies in users' folders: hidden files, 16 bits, turned pictures, masks that are no masks."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from squeezenet_training.classify import FolderSet
from squeezenet_training.descriptors import pick
from squeezenet_training.pictures import find_pictures, list_files, open_mask, open_picture
from squeezenet_training.segmentation_data import SegmentationClasses, SegmentationSet

HALF = np.zeros((32, 48), np.uint8)
HALF[16:] = 1


def classes(folder: Path, ignore: int | list[int] = 255, count: int = 2) -> SegmentationClasses:
    entries = [{"name": f"c{i}", "color": [0, 0, 0], "traversability": "obstacle", "cost": 1} for i in range(count)]
    (folder / "classes.yaml").write_text(yaml.safe_dump({"ignore": ignore, "classes": entries}))
    return SegmentationClasses.load(folder / "classes.yaml")


def data_set(folder: Path, mask: np.ndarray = HALF, picture: Image.Image | bytes | None = None, name: str = "a.png") -> Path:
    for part in ("images", "labels"):
        (folder / part).mkdir(exist_ok=True)
    if isinstance(picture, bytes):
        (folder / "images" / name).write_bytes(picture)
    else:
        (picture or Image.new("RGB", mask.shape[1::-1], (90, 90, 90))).save(folder / "images" / name)
    Image.fromarray(mask).save((folder / "labels" / name).with_suffix(".png"))
    return folder


@pytest.mark.parametrize("ignore", [0, [0, 255]])
def test_pixels_of_the_ignore_index_count_nowhere(tmp_path: Path, ignore):
    data = SegmentationSet([data_set(tmp_path)], classes(tmp_path, ignore), False)
    assert np.unique(data[0][1]).tolist() == [1, 255]
    # Half of 64x64, the least that the network takes.
    assert data.pixel_counts().tolist() == [0, 2048]


def test_pictures_come_as_large_as_the_network_takes_them(tmp_path: Path):
    mask = np.zeros((750, 1000), np.uint8)
    mask[375:] = 1
    data = SegmentationSet([data_set(tmp_path, mask)], classes(tmp_path), False)
    image, target = data[0]
    assert image.shape[1:] == target.shape == (360, 480)
    assert target[170].max() == 0 and target[190].min() == 1
    smaller = SegmentationSet([tmp_path], classes(tmp_path), False, view=(320, 240))
    assert smaller[0][0].shape[1:] == smaller[0][1].shape == (240, 320)
    odd = data_set(tmp_path, mask[:125, :333], name="b.png")
    shapes = {tuple(target.shape) for _, target in SegmentationSet([odd], classes(tmp_path), False)}
    assert all(side % 8 == 0 for shape in shapes for side in shape), shapes


def test_of_16_bits_those_in_use_are_taken(tmp_path: Path):
    for name, brightest, high in (("12.png", 4095, 255), ("16.png", 65535, 255), ("spread.png", 200 * 257, 200)):
        Image.fromarray(np.array([[0, brightest]], np.uint16)).save(tmp_path / name)
        assert np.asarray(open_picture(tmp_path / name))[0].tolist() == [[0] * 3, [high] * 3], name


def test_an_index_that_is_no_class_is_refused_with_the_file(tmp_path: Path):
    with pytest.raises(ValueError, match=r"a\.png: index 7 \(50.0% of the pixels\) is none of the 2 classes .* nor `ignore` \(255\)"):
        SegmentationSet([data_set(tmp_path, 7 * HALF)], classes(tmp_path), False)


def test_masks_of_0_and_255_are_told(tmp_path: Path):
    with pytest.warns(UserWarning, match="no pixel of c1.*masks of 0 and 255"):
        SegmentationSet([data_set(tmp_path, 255 * HALF)], classes(tmp_path), True)


def test_colours_are_no_mask_but_a_palette_is(tmp_path: Path):
    indices = Image.fromarray(HALF)
    indices.putpalette([10, 20, 30, 40, 50, 60])
    indices.save(tmp_path / "palette.png")
    assert np.array_equal(open_mask(tmp_path / "palette.png"), HALF)
    Image.fromarray(HALF.astype(np.uint16)).save(tmp_path / "wide.png")
    assert np.array_equal(open_mask(tmp_path / "wide.png"), HALF)
    indices.convert("RGB").save(tmp_path / "colours.png")
    with pytest.raises(ValueError, match=r"colours\.png: a mask has one channel"):
        open_mask(tmp_path / "colours.png")
    Image.fromarray(HALF.astype(np.uint16) * 300).save(tmp_path / "far.png")
    with pytest.raises(ValueError, match=r"far\.png: index 300"):
        open_mask(tmp_path / "far.png")


def test_hidden_files_are_passed_over(tmp_path: Path):
    for name in ("door", "stairs", ".ipynb_checkpoints", "__MACOSX/door", "door/.thumbnails"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("door", "stairs"):
        Image.new("RGB", (32, 32)).save(tmp_path / name / "1.jpg")
    for name in ("door/._1.jpg", "__MACOSX/door/2.jpg", "door/.thumbnails/3.jpg", "door/Thumbs.db"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "door" / "folder.jpg").mkdir()
    found = FolderSet(tmp_path, 32, False)
    assert found.names == ["door", "stairs"]
    assert [path.name for path, _ in found.files] == ["1.jpg", "1.jpg"]
    assert len(pick([tmp_path], 9, 1)) == 2
    data = data_set(tmp_path / "door")
    (data / "images" / "._a.png").write_bytes(b"\0")
    (data / "labels" / "._a.png").write_bytes(b"\0")
    assert len(SegmentationSet([data], classes(tmp_path), False)) == 1


def test_a_folder_whose_parents_are_hidden_is_read(tmp_path: Path):
    folder = tmp_path / ".cache" / "pictures"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "1.png")
    assert [path.name for path in list_files(folder, is_deep=True)] == ["1.png"]


def test_a_folder_without_pictures_is_named(tmp_path: Path):
    for name in ("door", "stairs"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "door" / "1.jpg")
    (tmp_path / "stairs" / "1.heic").write_bytes(b"")
    with pytest.raises(ValueError, match="stairs: no JPEG or PNG"):
        FolderSet(tmp_path, 32, False)
    with pytest.raises(ValueError, match="door: no class folders"):
        FolderSet(tmp_path / "door", 32, False)
    assert [path.name for path in find_pictures(tmp_path)] == ["1.jpg"], "of folders below, too"
    with pytest.raises(SystemExit, match="no pictures in .*stairs"):
        find_pictures(tmp_path / "stairs")


def test_of_16_bits_the_high_byte_is_taken(tmp_path: Path):
    ramp = np.linspace(0, 65535, 1024).reshape(32, 32).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(open_picture(tmp_path / "a.png"))[..., 1], ramp >> 8)


def test_a_turned_photograph_stands_upright(tmp_path: Path):
    picture = Image.new("RGB", (48, 32))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path / "a.jpg").size == (32, 48)
    data = data_set(tmp_path, HALF, (tmp_path / "a.jpg").read_bytes(), "turned.jpg")
    with pytest.raises(ValueError, match=r"turned\.jpg: the picture \(upright\) is 32x48, its mask .*turned\.png is 48x32"):
        SegmentationSet([data], classes(tmp_path), False)


def test_a_file_that_is_cut_off_is_named(tmp_path: Path):
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    (tmp_path / "door").mkdir()
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    cut = (tmp_path / "whole.jpg").read_bytes()[:2000]
    (tmp_path / "door" / "broken.jpg").write_bytes(cut)
    with pytest.raises(ValueError, match=r"broken\.jpg: .*truncated"):
        FolderSet(tmp_path, 32, False)[0]
    data = data_set(tmp_path / "door", np.zeros((64, 64), np.uint8), cut, "street.jpg")
    with pytest.raises(ValueError, match=r"street\.jpg: .*truncated"):
        SegmentationSet([data], classes(tmp_path), False)
