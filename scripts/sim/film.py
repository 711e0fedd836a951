"""The drive as an animation: what the camera sees, and from above the rooms, the map of the scans and the track."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rooms import GRID, World

HEIGHT = 264
CELL = 0.05
# That an animation may end in.
SUFFIXES = (".gif", ".png", ".webp")


class Map:
    """What the scans of a drive say together, in the odometry's frame."""

    def __init__(self, world: World) -> None:
        self.shape = (math.ceil(world.height / CELL), math.ceil(world.width / CELL))
        self.free, self.hit = np.zeros(self.shape, np.uint16), np.zeros(self.shape, np.uint16)

    def cells(self, x, y):
        return (y / CELL).astype(int).clip(0, self.shape[0] - 1), (x / CELL).astype(int).clip(0, self.shape[1] - 1)

    def add(self, x: float, y: float, angles: np.ndarray, ranges: np.ndarray, reach: float = 2.5) -> None:
        known = ~np.isnan(ranges)
        free = np.zeros(self.shape, bool)
        for angle, distance in zip(angles[known], ranges[known], strict=True):
            steps = np.arange(0.05, min(distance - CELL, reach), CELL)
            free[self.cells(x + steps * math.cos(angle), y + steps * math.sin(angle))] = True
        hit = known & (ranges <= reach)
        self.hit[self.cells(x + ranges[hit] * np.cos(angles[hit]), y + ranges[hit] * np.sin(angles[hit]))] += 1
        self.free += free


class Film:
    """Keeps at most `most` pictures, spread evenly over the drive."""

    def __init__(self, most: int = 40) -> None:
        self.most = most
        self.frames: list[Image.Image] = []
        self.every, self.count = 1, 0
        self.font = ImageFont.load_default(13)

    def wants(self) -> bool:
        """Whether the next frame is one to keep; to be asked once a frame."""
        self.count += 1
        return (self.count - 1) % self.every == 0

    def add(self, world: World, made: Map, track: list, pose, scan, view: np.ndarray, caption: str) -> None:
        if len(self.frames) >= self.most:
            self.frames = self.frames[::2]
            self.every *= 2
        left = Image.fromarray(view).resize((HEIGHT * view.shape[1] // view.shape[0], HEIGHT), Image.Resampling.BOX)
        right = self.from_above(world, made, track, pose, scan)
        picture = Image.new("RGB", (left.width + right.width, HEIGHT + 22), "white")
        picture.paste(left, (0, 0))
        picture.paste(right, (left.width, 0))
        ImageDraw.Draw(picture).text((6, HEIGHT + 3), caption, "black", self.font)
        self.frames.append(picture)

    def from_above(self, world: World, made: Map, track: list, pose, scan) -> Image.Image:
        rooms = np.where(world.occupied(below=0.4), 190, 255).astype(np.uint8)
        rooms = np.repeat(np.repeat(rooms, round(GRID / CELL), 0), round(GRID / CELL), 1)[:made.shape[0], :made.shape[1]]
        colours = np.stack([rooms] * 3, -1)
        seen, marked = made.free > made.hit, made.hit >= np.maximum(1, made.free * 0.4)
        colours[seen] = (colours[seen] * 0.75 + np.array([150, 225, 160]) * 0.25).astype(np.uint8)
        colours[marked] = (200, 40, 40)
        scale = HEIGHT / max(made.shape)
        size = (max(1, round(made.shape[1] * scale)), max(1, round(made.shape[0] * scale)))
        drawn = Image.fromarray(colours).resize(size, Image.Resampling.BILINEAR)
        pen = ImageDraw.Draw(drawn)
        to = lambda x, y: (x / CELL * scale, y / CELL * scale)  # noqa: E731
        if scan is not None:
            angles, ranges, (x, y), range_max = scan
            ends = [
                to(x + min(r, range_max) * math.cos(a), y + min(r, range_max) * math.sin(a))
                for a, r in zip(angles, ranges, strict=True) if not math.isnan(r)
            ]
            for end in ends[::4]:
                pen.line([to(x, y), end], (170, 200, 240))
        if len(track) > 1:
            pen.line([to(x, y) for x, y in track], (30, 80, 200), 2)
        x, y = to(pose.x, pose.y)
        r = 0.18 / CELL * scale
        pen.ellipse([x - r, y - r, x + r, y + r], (250, 170, 20), (60, 40, 0))
        pen.line([(x, y), (x + 1.6 * r * math.cos(pose.yaw), y + 1.6 * r * math.sin(pose.yaw))], (60, 40, 0), 2)
        square = Image.new("RGB", (HEIGHT, HEIGHT), (190, 190, 190))
        square.paste(drawn.transpose(Image.Transpose.FLIP_TOP_BOTTOM), ((HEIGHT - size[0]) // 2, (HEIGHT - size[1]) // 2))
        return square

    def save(self, path: Path) -> None:
        """GIF, PNG (animated) or WebP, by the name's end."""
        if not self.frames:
            return
        frames, options = self.frames, {}
        if path.suffix == ".gif":
            palette = self.palette()
            frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
        elif path.suffix == ".webp":
            options = {"quality": 55, "method": 6}
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=220, loop=0, **options)

    def palette(self, of_views: int = 80) -> Image.Image:
        """Most colours for what the camera sees, some for the map, whose few would else be lost."""
        views, maps = [], []
        for frame in self.frames[::max(1, len(self.frames) // 8)]:
            pixels = np.asarray(frame)[:HEIGHT]
            views.append(pixels[:, :-HEIGHT])
            maps.append(pixels[:, -HEIGHT:])
        colours = []
        for pictures, count in ((views, of_views), (maps, 128 - of_views)):
            picked = Image.fromarray(np.vstack(pictures)).quantize(count, Image.Quantize.FASTOCTREE if pictures is maps else Image.Quantize.MEDIANCUT)
            colours += picked.getpalette()[:3 * count]
        image = Image.new("P", (1, 1))
        image.putpalette(colours)
        return image
