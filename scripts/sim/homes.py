"""Homes to train with: bedrooms, living rooms, kitchens, studies, bathrooms, small and full.

They have what rooms.py has little of, and what a camera on a tall robot sees of it: tops of beds, tables and counters,
patterned cloth, shelves full of small things, toys and laundry on the floor.
"""

from dataclasses import dataclass

import numpy as np
import rooms
import textures
from rooms import CELL, Part, Thing, World, box, cylinder

KIND = "home"
# A home leaves less room than what the simulated robot drives in.
PASSAGE = 0.6
PATTERNS = 4
# What stands in each: the first two are placed first, the rest in any order while there is room.
ROOMS = {
    "bedroom": ["bed", "dresser", "nightstand", "shelves", "bed", "curtain", "toys", "laundry", "desk", "nightstand", "toys", "carton"],
    "living": ["couch", "low_table", "shelves", "armchair", "couch", "curtain", "toys", "dresser", "plant", "ottoman", "low_table", "armchair"],
    "kitchen": ["counter", "counter", "table", "stool", "counter", "bin", "shelves", "stool", "stool", "fridge", "carton"],
    "study": ["table", "shelves", "stool", "shelves", "desk", "carton", "armchair", "toys", "shelves", "bin", "carton", "curtain"],
    "bathroom": ["bath", "counter", "toilet", "laundry", "bin", "curtain", "dresser"],
}
PLAIN = np.ones(3)  # what has a pattern brings its colours itself


@dataclass
class Paints:
    """Colours of one thing."""

    wood: np.ndarray
    tint: np.ndarray
    front: np.ndarray
    white: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Paints":
        wood, tint = textures.colour(rng, (0.03, 0.11), (0.15, 0.75), (0.12, 0.8)), any_colour(rng)
        front = wood if rng.random() < 0.6 else np.full(3, rng.uniform(0.5, 0.98))
        return cls(wood, tint, front, np.full(3, rng.uniform(0.8, 1.0)))


def any_colour(rng: np.random.Generator) -> np.ndarray:
    return textures.colour(rng, (0, 1), (0.0, 0.8), (0.08, 0.95))


def cloth(rng: np.random.Generator) -> str:
    """One of the world's patterns."""
    return f"pattern{rng.integers(PATTERNS)}"


def clutter(rng: np.random.Generator, hx: float, hy: float, z: float, count: int, largest: float = 0.12) -> list[Part]:
    """Small things on a top of half sizes hx, hy at height z."""
    parts = []
    for _ in range(count):
        x, y = rng.uniform(-0.85, 0.85) * hx, rng.uniform(-0.85, 0.85) * hy
        size = rng.uniform(0.02, largest, 3)
        size[:2] = np.minimum(size[:2], (0.3 * hx + 0.02, 0.3 * hy + 0.02))
        if rng.random() < 0.3:
            size[2] = 0.01  # papers, plates
        if rng.random() < 0.4:
            parts.append(cylinder(x, y, z + size[2], min(size[0], 0.07), size[2], any_colour(rng)))
        else:
            parts.append(box(x, y, z + size[2], *size, any_colour(rng)))
    return parts


def legs(hx: float, hy: float, high: float, half: float, colour: np.ndarray) -> list[Part]:
    return [box(i * (hx - half), j * (hy - half), high / 2, half, half, high / 2, colour, "wood") for i in (-1, 1) for j in (-1, 1)]


def bed(rng: np.random.Generator, paints: Paints) -> Thing:
    hx, hy, top = rng.choice([0.45, 0.5, 0.75, 0.85]), rng.uniform(0.93, 1.03), rng.uniform(0.38, 0.65)
    hanging = 0.02 if rng.random() < 0.5 else rng.uniform(0.1, 0.25)
    spread = paints.white if rng.random() < 0.2 else PLAIN
    parts = [
        box(0, 0, top / 2 - 0.05, hx, hy, top / 2 - 0.05, paints.front, "wood"),
        box(0, 0, (top + hanging) / 2 + 0.02, hx + 0.02, hy - 0.05, (top - hanging) / 2, spread, cloth(rng)),
        box(0, 0.03 - hy, top / 2 + 0.25, hx, 0.03, top / 2 + 0.25, paints.front, "wood"),
    ]
    for side in (-0.5, 0.5) if hx > 0.6 else (0.0,):
        pillow = any_colour(rng) if rng.random() < 0.5 else paints.white
        parts.append(box(side * hx, 0.3 - hy, top + 0.08, 0.3, 0.17, 0.07, pillow, cloth(rng)))
    if rng.random() < 0.6:  # a quilt, soft and crumpled
        quilt, material = any_colour(rng) if rng.random() < 0.5 else PLAIN, cloth(rng)
        at = rng.uniform(-0.08, 0.08), rng.uniform(0.1, 0.3), top - 0.02
        parts.append(Part("ellipsoid", at, (1.12 * hx, rng.uniform(0.6, 0.95) * hy, rng.uniform(0.08, 0.2)), quilt, material))
        for _ in range(int(rng.integers(0, 5))):
            at = rng.uniform(-0.8, 0.8) * hx, rng.uniform(-0.5, 0.9) * hy, top + 0.02
            parts.append(Part("ellipsoid", at, tuple(rng.uniform(0.1, 0.4, 3) * (1, 1, 0.3)), quilt, material))
    if rng.random() < 0.3:  # a bunk above
        parts.append(box(0, 0, 1.5, hx, hy, 0.12, paints.front, "wood"))
        parts.append(box(0, 0, 1.66, hx - 0.03, hy - 0.03, 0.06, PLAIN, cloth(rng)))
        parts += [box(i * hx, j * (hy - 0.04), 0.95, 0.04, 0.04, 0.95, paints.front, "wood") for i in (-1, 1) for j in (-1, 1)]
    if rng.random() < 0.6:
        parts += clutter(rng, hx, hy, top + 0.03, int(rng.integers(1, 9)), 0.2)
    return Thing("bed", parts, against_wall=True)


def drawers(rng: np.random.Generator, paints: Paints, name: str) -> Thing:
    """A dresser or a nightstand."""
    hx, hy, hz = rng.uniform(0.35, 0.8), rng.uniform(0.2, 0.28), rng.uniform(0.35, 0.65)
    if name == "nightstand":
        hx, hy, hz = rng.uniform(0.2, 0.3), rng.uniform(0.18, 0.25), rng.uniform(0.22, 0.35)
    parts = [box(0, 0, hz, hx, hy, hz, paints.front, "wood")]
    rows = int(rng.integers(2, 5))
    for row in range(rows):
        z = (row + 0.5) * 2 * hz / rows
        parts.append(box(0, hy, z, hx - 0.03, 0.012, hz / rows - 0.015, 0.9 * paints.front, "wood"))
        parts.append(box(0, hy + 0.015, z, 0.04, 0.012, 0.01, np.full(3, rng.uniform(0.1, 0.7))))
    parts += clutter(rng, hx, hy, 2 * hz, int(rng.integers(0, 9)))
    if rng.random() < 0.4:  # a lamp
        parts.append(cylinder(0.5 * hx, 0, 2 * hz + 0.12, 0.03, 0.12, paints.tint))
        parts.append(cylinder(0.5 * hx, 0, 2 * hz + 0.32, 0.12, 0.09, paints.white))
    return Thing(name, parts, against_wall=True)


def shelves(rng: np.random.Generator, paints: Paints) -> Thing:
    hx, hy, hz = rng.uniform(0.3, 0.7), rng.uniform(0.13, 0.2), rng.uniform(0.6, 1.1)
    parts = [box(i * hx, 0, hz, 0.015, hy, hz, paints.front, "wood") for i in (-1, 1)]
    parts.append(box(0, -hy, hz, hx, 0.01, hz, 0.7 * paints.front, "wood"))
    boards = int(rng.integers(3, 6))
    for board in range(boards + 1):
        z = 0.05 + board * (2 * hz - 0.06) / boards
        parts.append(box(0, 0, z, hx, hy, 0.015, paints.front, "wood"))
        x = -hx + 0.03
        while board < boards and x < hx - 0.08:
            half, tall = rng.uniform(0.01, 0.05), rng.uniform(0.06, hz / boards - 0.03)
            if rng.random() < 0.85:
                parts.append(box(x + half, -0.02, z + 0.015 + tall, half, rng.uniform(0.07, hy - 0.02), tall, any_colour(rng)))
            x += 2 * half + (0.002 if rng.random() < 0.8 else rng.uniform(0.02, 0.15))
    return Thing("shelves", parts, against_wall=True)


def couch(rng: np.random.Generator) -> Thing:
    hx, hy, seat = rng.uniform(0.75, 1.1), rng.uniform(0.38, 0.48), rng.uniform(0.36, 0.48)
    material, shade = cloth(rng), any_colour(rng)
    parts = [
        box(0, 0, seat / 2, hx, hy, seat / 2, shade, material),
        box(0, 0.1 - hy, seat / 2 + 0.24, hx, 0.11, seat / 2 + 0.24, shade, material),
        *[box(i * (hx - 0.09), 0, 0.31, 0.1, hy, 0.31, 0.95 * shade, material) for i in (-1, 1)],
    ]
    if rng.random() < 0.5:  # a soft seat
        for side in (-0.5, 0.5):
            parts.append(Part("ellipsoid", (side * hx * 0.85, 0.05, seat), (0.42 * hx, hy, 0.1), shade, material))
    for _ in range(int(rng.integers(0, 5))):  # cushions
        at = rng.uniform(-0.7, 0.7) * hx, rng.uniform(-0.1, 0.1), seat + 0.12
        parts.append(Part("ellipsoid", at, (0.2, 0.1, 0.17), any_colour(rng), cloth(rng)))
    return Thing("couch", parts, against_wall=bool(rng.random() < 0.8))


def table(rng: np.random.Generator, paints: Paints, name: str) -> Thing:
    """A table, a low one, or a desk; round, with a cloth, with things on it."""
    high = rng.uniform(0.36, 0.5) if name == "low_table" else rng.uniform(0.68, 0.78)
    hx, hy = rng.uniform(0.4, 0.8), rng.uniform(0.28, 0.45)
    top = np.array([0.6, 0.7, 0.72]) if rng.random() < 0.15 else paints.front
    if rng.random() < 0.25:
        radius = 0.8 * hx
        parts = [
            cylinder(0, 0, high, radius, 0.02, top, "wood"), cylinder(0, 0, high / 2, 0.05, high / 2, paints.wood),
            cylinder(0, 0, 0.02, 0.25, 0.02, paints.wood),
        ]
        hx = hy = 0.6 * radius
    else:
        parts = [box(0, 0, high, hx, hy, rng.uniform(0.012, 0.04), top, "wood")]
        parts += legs(hx, hy, high, rng.uniform(0.015, 0.04), paints.wood)
        if rng.random() < 0.25:
            parts.append(box(0, 0, high + 0.03, hx + 0.01, hy + 0.01, 0.02, PLAIN, cloth(rng)))
        if name == "desk":
            parts.append(box(hx - 0.22, 0, 0.32, 0.2, hy - 0.03, 0.32, 0.9 * paints.front, "wood"))
    parts += clutter(rng, hx, hy, high + 0.04, int(rng.integers(0, 14)), 0.15)
    return Thing(name, parts, against_wall=name == "desk")


def fitted(rng: np.random.Generator, paints: Paints, name: str) -> Thing:
    """What is built into kitchens and bathrooms."""
    hx, hy, hz = rng.uniform(0.5, 1.1), rng.uniform(0.28, 0.33), 0.45
    white, front = paints.white, paints.front
    if name == "fridge":
        parts = [box(0, 0, 0.88, 0.35, 0.35, 0.88, white if rng.random() < 0.6 else paints.tint), box(0.28, 0.37, 1.0, 0.015, 0.02, 0.3, 0.5 * white)]
    elif name == "bath":
        hx = rng.uniform(0.7, 0.85)
        parts = [
            box(0, 0, 0.08, hx, 0.36, 0.08, white), *[box(i * (hx - 0.05), 0, 0.27, 0.05, 0.36, 0.27, white) for i in (-1, 1)],
            *[box(0, j * 0.31, 0.27, hx, 0.05, 0.27, white) for j in (-1, 1)],
        ]
    elif name == "toilet":
        bowl = Part("ellipsoid", (0, 0.12, 0.3), (0.18, 0.25, 0.14), white)
        parts = [cylinder(0, 0.08, 0.13, 0.12, 0.13, white), bowl, box(0, -0.2, 0.58, 0.2, 0.09, 0.2, white)]
    else:
        top = paints.tint if rng.random() < 0.5 else white
        parts = [box(0, 0, hz, hx, hy, hz, front, "wood"), box(0, 0, 2 * hz, hx + 0.01, hy + 0.02, 0.025, top, "plaster")]
        doors = round(2 * hx / 0.45)
        for door in range(doors):
            x = -hx + (door + 0.5) * 2 * hx / doors
            parts.append(box(x, hy, hz + 0.04, hx / doors - 0.015, 0.012, hz - 0.08, 0.92 * front, "wood"))
        if rng.random() < 0.5:
            parts.append(box(0, -hy + 0.17, 1.75, hx, 0.17, 0.35, front, "wood"))
        parts += clutter(rng, hx, hy, 2 * hz + 0.025, int(rng.integers(2, 12)), 0.14)
    return Thing(name, parts, against_wall=True)


def stool(rng: np.random.Generator, paints: Paints) -> Thing:
    """A stool, or a chair where it has a back."""
    high = rng.uniform(0.42, 0.5)
    parts = [*legs(0.21, 0.21, high, 0.018, paints.wood), box(0, 0, high, 0.22, 0.22, 0.02, paints.tint if rng.random() < 0.5 else paints.wood)]
    if rng.random() < 0.7:
        parts += [box(i * 0.19, -0.2, high + 0.22, 0.018, 0.018, 0.22, paints.wood, "wood") for i in (-1, 1)]
        parts.append(box(0, -0.2, high + 0.33, 0.2, 0.015, rng.uniform(0.05, 0.12), paints.wood, "wood"))
    return Thing("stool", parts)


def curtain(rng: np.random.Generator) -> Thing:
    hx = rng.uniform(0.3, 0.9)
    folds = [
        box(x, rng.uniform(-0.02, 0.02), 1.15, 0.06, 0.03, 1.13, np.ones(3) * rng.uniform(0.85, 1), cloth(rng))
        for x in np.arange(-hx, hx, 0.11)
    ]
    for fold in folds:
        fold.material = folds[0].material
    return Thing("curtain", folds, against_wall=True)


def laundry(rng: np.random.Generator) -> Thing:
    return Thing("laundry", [
        Part(
            "ellipsoid", (*rng.normal(0, 0.14, 2), rng.uniform(0.01, 0.06)), tuple(rng.uniform(0.06, 0.2, 3) * (1, 1, 0.5)),
            any_colour(rng), cloth(rng))
        for _ in range(int(rng.integers(2, 6)))
    ])


def thing(rng: np.random.Generator, name: str) -> Thing:
    """A thing of that name, its sizes, colours and what lies on it drawn anew."""
    paints = Paints.drawn(rng)
    if name == "bed":
        return bed(rng, paints)
    if name in ("dresser", "nightstand"):
        return drawers(rng, paints, name)
    if name == "shelves":
        return shelves(rng, paints)
    if name == "couch":
        return couch(rng)
    if name in ("table", "low_table", "desk"):
        return table(rng, paints, name)
    if name in ("counter", "fridge", "bath", "toilet"):
        return fitted(rng, paints, name)
    if name == "stool":
        return stool(rng, paints)
    if name == "ottoman":
        return Thing(name, [box(0, 0, 0.2, rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.4), 0.2, PLAIN, cloth(rng))])
    if name == "curtain":
        return curtain(rng)
    if name == "laundry":
        return laundry(rng)
    if name == "toys":
        return Thing(name, clutter(rng, rng.uniform(0.15, 0.4), rng.uniform(0.15, 0.4), 0.0, int(rng.integers(2, 10)), 0.11))
    return rooms.thing(rng, name)


def plan_home(seed: int) -> World:
    """A room, or two next to each other, and what stands where; the same for the same seed."""
    rng = np.random.default_rng([seed, 5])

    def cells(low: float, high: float) -> int:
        return int(rng.integers(round(low / CELL), round(high / CELL) + 1))

    rows, columns, beside = cells(2.5, 5), cells(3, 5.5), cells(2, 4)
    free = np.zeros((rows + 2, columns + 3 + beside), bool)
    free[1:1 + rows, 1:1 + columns] = True
    if rng.random() < 0.6:
        free[1:1 + cells(2, 2.5), 2 + columns:2 + columns + beside] = True
        free[2:4, 1 + columns] = True
    else:
        free = free[:, :columns + 2]
    world = World(seed, KIND, free, patterns=PATTERNS)
    names = ROOMS[str(rng.choice(list(ROOMS)))]
    rooms.place(rng, world, [*names[:2], *rng.permutation(names[2:])], PASSAGE, thing)
    roomy = np.asarray(rooms.parts_of(~world.occupied(grow=0.2))[0])
    row, column = roomy[rng.integers(len(roomy))]
    world.start = ((column + 0.5) * rooms.GRID, (row + 0.5) * rooms.GRID, 0.0)
    return world
