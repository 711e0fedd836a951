"""Pictures of floors, walls and grounds, made by code. Colours are floats in 0..1, lengths metres."""

import colorsys

import numpy as np
from PIL import Image

PIXELS_PER_METRE = 220
INDOORS = ("planks", "tiles", "carpet", "lino", "checker", "terrazzo", "concrete")
OUTDOORS = ("asphalt", "pavers", "concrete")
# Floors that no picture for training has, for learning by driving: never drawn by a seed.
UNUSUAL = ("blue_carpet", "red_gym", "white_gloss", "yellow_concrete", "sand", "leaves")


def colour(rng: np.random.Generator, hue=(0.0, 1.0), saturation=(0.0, 0.5), value=(0.2, 0.9)) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value)))


def noise(rng: np.random.Generator, size: int, slope: float, stretch: float = 1.0) -> np.ndarray:
    """Noise that tiles, `size` x `size`, mean 0, deviation 1, amplitudes falling as frequency^-slope.

    With `stretch` above 1 it is drawn out along x, as the grain of wood is.
    """
    y, x = np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij")
    frequency = np.hypot(y, x * stretch)
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-slope
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, (size, size))
    return (field / field.std()).clip(-3, 3).astype(np.float32)


def over(field: np.ndarray, height: int, width: int) -> np.ndarray:
    """A field that tiles, laid over height x width pixels."""
    repeats = (-(-height // field.shape[0]), -(-width // field.shape[1]))
    return np.tile(field, repeats)[:height, :width]


def smooth(field: np.ndarray, sigma: float) -> np.ndarray:
    """Blurred by a Gaussian of `sigma` pixels; the edges are repeated."""
    reach = int(3 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        field = np.apply_along_axis(
            lambda line: np.convolve(np.pad(line, reach, mode="edge"), kernel, mode="valid"), axis, field
        )
    return field


def floor(rng: np.random.Generator, kind: str, width_m: float, height_m: float) -> np.ndarray:
    """A floor [H, W, 3] of the given extent; row 0 lies at y = 0."""
    scale = PIXELS_PER_METRE
    width, height = round(width_m * scale), round(height_m * scale)
    x = ((np.arange(width, dtype=np.float32) + 0.5) / scale)[None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5) / scale)[:, None]
    fine = over(noise(rng, 512, 0.5), height, width)
    coarse = over(noise(rng, 1024, 1.5), height, width)
    shade = 1 + 0.04 * coarse + rng.uniform(0.01, 0.03) * fine
    if kind == "planks":
        base = colour(rng, (0.05, 0.11), (0.2, 0.6), (0.35, 0.85))
        across, along = rng.uniform(0.08, 0.16), rng.uniform(0.7, 1.6)
        row = np.floor(y / across).astype(int)
        shift = rng.random(row.max() + 2)[row] * along
        column = np.floor((x + shift) / along).astype(int)
        tone = rng.normal(1, rng.uniform(0.04, 0.12), (row.max() + 1, column.max() + 1))[row, column]
        grain = over(noise(rng, 1024, 1.0, 12.0), height, width)
        shade = shade * tone * (1 + 0.05 * grain)
        seam = (np.abs(y / across % 1 - 0.5) > 0.5 - 0.002 / across) | (
            np.abs((x + shift) / along % 1 - 0.5) > 0.5 - 0.002 / along)
        return base * np.where(seam, 0.6 * shade, shade)[..., None]
    if kind in ("tiles", "checker", "pavers"):
        side = rng.uniform(0.2, 0.45) if kind == "pavers" else rng.uniform(0.3, 0.6)
        base = colour(rng, (0.02, 0.65), (0.02, 0.2), (0.4, 0.9))
        row, column = np.floor(y / side).astype(int), np.floor(x / side).astype(int)
        tone = rng.normal(1, 0.08 if kind == "pavers" else 0.03, (row.max() + 1, column.max() + 1))[row, column]
        shade = shade * tone
        if kind == "checker":
            shade = shade * np.where((row + column) % 2 == 0, 1.0, rng.uniform(0.4, 0.75))
        gap = rng.uniform(0.002, 0.006)
        grout = (np.abs(y / side % 1 - 0.5) > 0.5 - gap / side) | (np.abs(x / side % 1 - 0.5) > 0.5 - gap / side)
        return base * np.where(grout, rng.uniform(0.5, 0.8) * shade, shade)[..., None]
    if kind == "carpet":
        base = colour(rng, (0, 1), (0.02, 0.45), (0.2, 0.65))
        return base * (1 + 0.06 * coarse + rng.uniform(0.06, 0.16) * fine)[..., None]
    if kind == "terrazzo":
        base = colour(rng, (0, 1), (0.0, 0.08), (0.5, 0.9))
        chips = over(noise(rng, 512, 0.9), height, width)
        shade = np.where(chips > 1.2, shade * rng.uniform(0.5, 0.8), np.where(chips < -1.4, shade * 1.12, shade))
        return base * shade[..., None]
    if kind == "asphalt":
        base = colour(rng, (0.5, 0.7), (0.0, 0.06), (0.28, 0.45))
        return base * (1 + 0.08 * coarse + 0.16 * fine)[..., None]
    if kind == "blue_carpet":
        return np.array([0.10, 0.22, 0.62]) * (1 + 0.05 * coarse + 0.14 * fine)[..., None]
    if kind == "red_gym":
        lines = (np.abs(x % 4.1 - 2.0) < 0.025) | (np.abs(y % 3.3 - 1.6) < 0.025)
        red = np.array([0.68, 0.13, 0.10]) * (1 + 0.02 * coarse + 0.015 * fine)[..., None]
        return np.where(lines[..., None], 0.92, red)
    if kind == "white_gloss":
        grout = (np.abs(x / 0.8 % 1 - 0.5) > 0.4975) | (np.abs(y / 0.8 % 1 - 0.5) > 0.4975)
        return np.where(grout, 0.8, 0.96 * (1 + 0.01 * coarse))[..., None].repeat(3, 2)
    if kind == "yellow_concrete":
        return np.array([0.85, 0.66, 0.08]) * (1 + 0.06 * coarse + 0.03 * fine)[..., None]
    if kind == "sand":
        ripples = np.sin(2 * np.pi * (y / 0.11 + 0.35 * coarse))
        return np.array([0.80, 0.68, 0.46]) * (1 + 0.05 * coarse + 0.10 * fine + 0.06 * ripples)[..., None]
    if kind == "leaves":
        litter = over(noise(rng, 1024, 0.8), height, width)
        hue = np.stack([0.52 + 0.20 * litter, 0.34 + 0.12 * coarse, 0.10 + 0.04 * fine], -1)
        return hue.clip(0.05, 0.95) * (1 + 0.18 * fine)[..., None]
    # Lino and concrete: one colour, clouded.
    base = colour(rng, (0, 1), (0.0, 0.25 if kind == "lino" else 0.06), (0.4, 0.85))
    return base * (1 + 0.07 * coarse + 0.02 * fine)[..., None]


def wall(rng: np.random.Generator, kind: str) -> np.ndarray:
    """A piece of wall [512, 512, 3] that tiles; it covers 2 m x 2 m."""
    size = 512
    y, x = np.mgrid[0:size, 0:size] / size * 2.0
    coarse, fine = noise(rng, size, 1.5), noise(rng, size, 0.4)
    if kind == "brick":
        base = colour(rng, (0.0, 0.08), (0.2, 0.6), (0.4, 0.75))
        row = np.floor(y / 0.08).astype(int)
        across = (x + (row % 2) * 0.125) / 0.25
        tone = rng.normal(1, 0.1, (26, 9))[row, np.floor(across).astype(int) % 8]
        joint = (y / 0.08 % 1 < 0.12) | (across % 1 < 0.04)
        return np.where(joint[..., None], 0.7, base * (tone * (1 + 0.05 * fine))[..., None])
    if kind == "hedge":
        leaves = noise(rng, size, 0.7)
        base = colour(rng, (0.22, 0.34), (0.4, 0.7), (0.25, 0.45))
        return base * (0.85 + 0.3 * leaves + 0.1 * coarse)[..., None]
    base = colour(rng, (0, 1), (0.0, 0.25), (0.65, 0.95))
    shade = 1 + 0.02 * coarse + 0.01 * fine
    if kind == "panels":
        shade = np.where(x / 0.5 % 1 < 0.015, 0.75 * shade, shade)
    return base * shade[..., None]


def cloth(rng: np.random.Generator) -> np.ndarray:
    """A piece of cloth [256, 256, 3]: plain, striped, checked, dotted, or with blots of colours."""
    size = 256
    y, x = np.mgrid[0:size, 0:size] / size
    first, second, third = (colour(rng, (0, 1), (0.0, 0.8), (0.1, 0.98)) for _ in range(3))
    count = int(rng.integers(3, 12))
    kind = rng.choice(["plain", "plain", "stripes", "checks", "dots", "blots"])
    if kind == "stripes":
        at = (x * count % 1 < rng.uniform(0.2, 0.6))[..., None]
        picture = np.where(at, first, second)
    elif kind == "checks":
        across, along = (x * count % 1 < 0.5), (y * count % 1 < 0.5)
        picture = (np.where(across[..., None], first, second) + np.where(along[..., None], first, third)) / 2
    elif kind == "dots":
        at = np.hypot(x * count % 1 - 0.5, y * count % 1 - 0.5) < rng.uniform(0.2, 0.45)
        other = ((np.floor(x * count) + np.floor(y * count)) % 2 == 0)[..., None]
        picture = np.where(at[..., None], np.where(other, second, third), first)
    elif kind == "blots":
        field, other = noise(rng, size, 1.2), noise(rng, size, 1.2)
        picture = np.where((field > 0.6)[..., None], second, np.where((other > 0.8)[..., None], third, first))
    else:
        picture = np.broadcast_to(first, (size, size, 3))
    return picture * (1 + 0.06 * noise(rng, size, 1.0) + 0.04 * noise(rng, size, 0.3))[..., None]


def sky(rng: np.random.Generator) -> np.ndarray:
    """A side of the sky [256, 256, 3], row 0 up."""
    height = np.linspace(1, 0, 256)[:, None, None]
    blue, haze = np.array([0.45, 0.62, 0.85]), np.array([0.85, 0.88, 0.9])
    clouds = noise(rng, 256, 1.8)[..., None].clip(0, 2) * 0.12
    return (blue * height + haze * (1 - height)) + clouds * height


def as_bytes(picture: np.ndarray) -> np.ndarray:
    return (picture * 255).clip(0, 255).astype(np.uint8)


def enlarged(field: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(field.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
