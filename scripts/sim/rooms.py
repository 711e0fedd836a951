"""Rooms and paths of our own making: a seed gives a floor plan, furniture, people, textures and light.

A world is a plan of cells (free or not) with walls around the free ones, and things that stand on the
floor. Things are placed so that a robot can still reach every part of the floor.
"""

from dataclasses import dataclass, field

import mujoco
import numpy as np
import textures

KINDS = ("hall", "office", "corridor", "flat", "path")
CELL = 0.5
GRID = 0.1
# A thing leaves at least this much room beside it, or stands against a wall: the robot is 0.36 m wide.
PASSAGE = 1.1
# Geom groups: what can be bumped into and is seen, what is only seen, what is only bumped into.
SOLID, LOOKS, UNSEEN = 1, 2, 3
# Floor out of reach in smaller pieces than this, m2, does not matter: corners behind a sofa.
POCKET = 1.0
FLOOR, WALL, THING, OUTSIDE = "floor", "wall", "thing", "outside"


@dataclass
class Part:
    """A box or upright cylinder in its thing's own coordinates: centre, half sizes, colour."""

    shape: str
    centre: tuple[float, float, float]
    size: tuple[float, ...]
    colour: np.ndarray
    material: str = "matt"


@dataclass
class Thing:
    name: str
    parts: list[Part]
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    against_wall: bool = False

    def extent(self) -> tuple[float, float]:
        """Half sizes along its own x and y."""
        half = [part.size[:2] if part.shape == "box" else (part.size[0],) * 2 for part in self.parts]
        return (
            max(abs(part.centre[0]) + size[0] for part, size in zip(self.parts, half, strict=True)),
            max(abs(part.centre[1]) + size[1] for part, size in zip(self.parts, half, strict=True)),
        )

    def turned(self, x, y):
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return self.x + cos * x - sin * y, self.y + sin * x + cos * y


@dataclass
class World:
    seed: int
    kind: str
    free: np.ndarray  # [rows, columns] of cells: y, x
    things: list[Thing] = field(default_factory=list)
    start: tuple[float, float, float] = (0.0, 0.0, 0.0)
    floor: str = ""  # a kind of textures.UNUSUAL; empty: as the seed says
    floor_tone: float = 1.0  # how dark the floor is painted over
    patterns: int = 0  # of cloth, that parts name as materials: pattern0, pattern1...

    @property
    def width(self) -> float:
        return self.free.shape[1] * CELL

    @property
    def height(self) -> float:
        return self.free.shape[0] * CELL

    def occupied(self, below: float = 0.4, grow: float = 0.0) -> np.ndarray:
        """What stands below a height as a picture of GRID metres a pixel, row 0 at y = 0."""
        cells = np.repeat(np.repeat(~self.free, round(CELL / GRID), 0), round(CELL / GRID), 1)
        for thing in self.things:
            cells |= stamped(cells.shape, thing, below)
        return grown(cells, grow)


def stamped(shape: tuple[int, int], thing: Thing, below: float = 9.0, margin: float = 0.0) -> np.ndarray:
    """The cells of GRID metres that a thing's parts below a height stand on."""
    y, x = np.mgrid[0:shape[0], 0:shape[1]] * GRID + GRID / 2
    cos, sin = np.cos(thing.yaw), np.sin(thing.yaw)
    own_x, own_y = cos * (x - thing.x) + sin * (y - thing.y), -sin * (x - thing.x) + cos * (y - thing.y)
    cells = np.zeros(shape, bool)
    for part in thing.parts:
        if part.centre[2] - part.size[-1] > below:
            continue
        near_x, near_y = np.abs(own_x - part.centre[0]), np.abs(own_y - part.centre[1])
        if part.shape == "box":
            cells |= (near_x <= part.size[0] + margin + GRID / 2) & (near_y <= part.size[1] + margin + GRID / 2)
        else:
            cells |= np.hypot(near_x, near_y) <= part.size[0] + margin + GRID / 2
    return cells


def grown(cells: np.ndarray, by: float, beyond: bool = False) -> np.ndarray:
    """Cells within `by` metres of a set one; `beyond` the edges all are set or none."""
    reach = round(by / GRID)
    if reach <= 0:
        return cells
    padded = np.pad(cells, reach, constant_values=beyond)
    result = np.zeros_like(cells)
    height, width = cells.shape
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dx * dx + dy * dy <= reach * reach:
                result |= padded[reach + dy:reach + dy + height, reach + dx:reach + dx + width]
    return result


def parts_of(free: np.ndarray) -> list[list[tuple[int, int]]]:
    """The connected parts of what is free, largest first, as (row, column)."""
    left = {tuple(cell) for cell in np.argwhere(free).tolist()}
    parts = []
    while left:
        part = [left.pop()]
        for row, column in part:  # grows as it is read
            for other in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if other in left:
                    left.remove(other)
                    part.append(other)
        parts.append(part)
    return sorted(parts, key=len, reverse=True)


# --- Plans ------------------------------------------------------------------------------------------

def plan(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Free cells; a rim of at least one cell stays not free."""
    def cells(low: float, high: float) -> int:
        return int(rng.integers(round(low / CELL), round(high / CELL) + 1))

    free = np.zeros((60, 60), bool)
    if kind == "hall":
        free[1:1 + cells(7, 10), 1:1 + cells(8, 12)] = True
    elif kind == "office":
        rows, columns = cells(5.5, 7.5), cells(6, 9)
        free[1:1 + rows, 1:1 + columns] = True
        door = int(rng.integers(2, columns - 4))
        free[1 + rows:2 + rows, door:door + 3] = True
        free[2 + rows:2 + rows + cells(2.0, 2.5), 1:1 + columns + cells(0, 4)] = True
    elif kind == "corridor":
        across, along = cells(2.0, 2.5), cells(11, 15)
        free[12:12 + across, 1:1 + along] = True
        branch = int(rng.integers(4, along - 8))
        free[12 + across:12 + across + cells(5, 7), branch:branch + cells(2.0, 2.5)] = True
        room = int(rng.integers(2, along - 10))
        free[11, room + 2:room + 5] = True
        free[11 - cells(3.5, 5):11, room:room + cells(4, 6)] = True
    elif kind == "flat":
        left, right, low, high = cells(4, 5), cells(3.5, 5), cells(3.5, 4.5), cells(3.5, 4.5)
        free[1:1 + low, 1:1 + left] = free[1:1 + low, 2 + left:2 + left + right] = True
        free[2 + low:2 + low + high, 1:1 + left] = free[2 + low:2 + low + high, 2 + left:2 + left + right] = True
        free[3:6, 1 + left] = True
        free[low + high - 3:low + high, 1 + left] = True
        free[1 + low, 3:6] = free[1 + low, left + 4:left + 7] = True
    else:
        rows, columns, across = cells(10, 13), cells(11, 15), cells(2.5, 3.0)
        free[1:1 + rows, 1:1 + columns] = True
        free[1 + across:1 + rows - across, 1 + across:1 + columns - across] = False
        middle = int(rng.integers(2 + across, columns - 2 * across - 1))
        if rng.random() < 0.6:
            free[1:1 + rows, middle:middle + across] = True
    used_rows, used_columns = np.nonzero(free.any(1))[0], np.nonzero(free.any(0))[0]
    return np.pad(free[used_rows[0]:used_rows[-1] + 1, used_columns[0]:used_columns[-1] + 1], 1)


# --- Things -----------------------------------------------------------------------------------------

def box(x, y, z, hx, hy, hz, colour, material="matt") -> Part:
    return Part("box", (x, y, z), (hx, hy, hz), colour, material)


def cylinder(x, y, z, radius, hz, colour, material="matt") -> Part:
    return Part("cylinder", (x, y, z), (radius, hz), colour, material)


def thing(rng: np.random.Generator, name: str) -> Thing:
    """A thing of that name, its sizes and colours drawn anew."""
    tint = textures.colour(rng, (0, 1), (0.0, 0.7), (0.15, 0.9))
    wood = textures.colour(rng, (0.05, 0.1), (0.3, 0.6), (0.3, 0.75))
    grey = np.full(3, rng.uniform(0.1, 0.6))
    if name == "carton":
        hx, hy, hz = rng.uniform(0.12, 0.35, 3)
        cardboard = textures.colour(rng, (0.08, 0.1), (0.35, 0.5), (0.5, 0.75))
        parts = [box(0, 0, hz, hx, hy, hz, cardboard, "cardboard")]
        if rng.random() < 0.4:
            parts.append(box(0, 0, 2 * hz + 0.12, 0.8 * hx, 0.8 * hy, 0.12, 0.9 * cardboard, "cardboard"))
        return Thing(name, parts)
    if name == "person":
        # A cylinder of a person's size: trousers, jacket, head.
        size = rng.uniform(0.9, 1.05)
        return Thing(name, [
            cylinder(0, 0, 0.42 * size, 0.17, 0.42 * size, textures.colour(rng, (0, 1), (0.1, 0.5), (0.1, 0.5)), "cloth"),
            cylinder(0, 0, 1.14 * size, 0.21, 0.3 * size, tint, "cloth"),
            cylinder(0, 0, 1.58 * size, 0.1, 0.13 * size, textures.colour(rng, (0.04, 0.08), (0.3, 0.6), (0.4, 0.9))),
        ])
    if name == "cupboard":
        hx, hy, hz = rng.uniform(0.4, 0.7), rng.uniform(0.18, 0.25), rng.uniform(0.4, 1.0)
        shade = wood if rng.random() < 0.6 else tint
        return Thing(name, [
            box(0, 0, hz, hx, hy, hz, shade, "wood"),
            box(-hx / 2, hy, hz, hx / 2 - 0.02, 0.01, hz - 0.06, 0.85 * shade, "wood"),
            box(hx / 2, hy, hz, hx / 2 - 0.02, 0.01, hz - 0.06, 0.85 * shade, "wood"),
        ], against_wall=True)
    if name == "sofa":
        hx = rng.uniform(0.7, 1.0)
        return Thing(name, [
            box(0, 0, 0.21, hx, 0.4, 0.21, tint, "cloth"), box(0, -0.32, 0.55, hx, 0.1, 0.2, 0.9 * tint, "cloth"),
            box(-hx + 0.1, 0, 0.5, 0.1, 0.4, 0.1, 0.9 * tint, "cloth"), box(hx - 0.1, 0, 0.5, 0.1, 0.4, 0.1, 0.9 * tint, "cloth"),
        ], against_wall=True)
    if name == "desk":
        hx, hy = rng.uniform(0.6, 0.8), rng.uniform(0.3, 0.4)
        # Panels at both ends and a drawer unit: its feet are what a camera can see.
        return Thing(name, [
            box(0, 0, 0.72, hx, hy, 0.02, wood, "wood"), box(-hx + 0.03, 0, 0.35, 0.03, hy - 0.02, 0.35, grey),
            box(hx - 0.22, 0, 0.34, 0.2, hy - 0.03, 0.34, 0.9 * wood, "wood"), box(0, 0.02 - hy, 0.45, hx - 0.05, 0.015, 0.25, grey),
            box(0, -0.1, 0.92, 0.25, 0.02, 0.16, np.full(3, 0.06)),
        ], against_wall=True)
    if name == "chair":
        return Thing(name, [
            *[box(0.19 * i, 0.19 * j, 0.22, 0.025, 0.025, 0.22, grey) for i in (-1, 1) for j in (-1, 1)],
            box(0, 0, 0.45, 0.23, 0.23, 0.03, tint, "cloth"), box(0, -0.21, 0.72, 0.22, 0.025, 0.22, tint, "cloth"),
        ])
    if name == "armchair":
        return Thing(name, [
            box(0, 0, 0.22, 0.38, 0.36, 0.22, tint, "cloth"), box(0, -0.3, 0.6, 0.36, 0.08, 0.2, 0.9 * tint, "cloth"),
            box(-0.34, 0, 0.52, 0.06, 0.34, 0.09, 0.9 * tint, "cloth"), box(0.34, 0, 0.52, 0.06, 0.34, 0.09, 0.9 * tint, "cloth"),
        ])
    if name == "bin":
        radius, hz = rng.uniform(0.13, 0.2), rng.uniform(0.18, 0.35)
        return Thing(name, [cylinder(0, 0, hz, radius, hz, grey if rng.random() < 0.5 else tint)])
    if name == "plant":
        green = textures.colour(rng, (0.25, 0.36), (0.4, 0.8), (0.25, 0.6))
        leaves = [
            Part("ellipsoid", (*rng.uniform(-0.12, 0.12, 2), rng.uniform(0.5, 0.9)), (0.14, 0.1, 0.2), green * rng.uniform(0.8, 1.2), "leaves")
            for _ in range(7)
        ]
        return Thing(name, [cylinder(0, 0, 0.16, 0.15, 0.16, textures.colour(rng, (0.02, 0.08), (0.2, 0.7), (0.4, 0.8))), *leaves])
    if name == "pillar":
        half = rng.uniform(0.18, 0.28)
        return Thing(name, [box(0, 0, 1.6, half, half, 1.6, np.full(3, rng.uniform(0.6, 0.9)), "plaster")])
    if name == "bench":
        return Thing(name, [
            box(0, 0, 0.42, 0.75, 0.2, 0.03, wood, "wood"), box(-0.6, 0, 0.2, 0.06, 0.18, 0.2, grey), box(0.6, 0, 0.2, 0.06, 0.18, 0.2, grey),
        ], against_wall=True)
    if name == "bollard":
        return Thing(name, [cylinder(0, 0, 0.45, 0.09, 0.45, grey), cylinder(0, 0, 0.8, 0.092, 0.05, np.array([0.9, 0.9, 0.85]))])
    if name == "tree":
        bark = textures.colour(rng, (0.06, 0.1), (0.2, 0.5), (0.2, 0.4))
        green = textures.colour(rng, (0.22, 0.34), (0.4, 0.7), (0.25, 0.5))
        crown = [
            Part("ellipsoid", (*rng.uniform(-0.6, 0.6, 2), rng.uniform(2.2, 3.0)), (0.8, 0.8, 0.6), green * rng.uniform(0.8, 1.2), "leaves")
            for _ in range(5)
        ]
        return Thing(name, [cylinder(0, 0, 1.0, rng.uniform(0.1, 0.18), 1.0, bark, "wood"), *crown])
    raise ValueError(f"no thing is called {name}")


FURNITURE = {
    "hall": ["pillar", "pillar", "person", "carton", "person", "carton", "bin", "sofa", "plant", "cupboard", "person", "carton", "armchair", "bin"],
    "office": ["desk", "cupboard", "desk", "person", "bin", "desk", "plant", "cupboard", "carton", "chair", "desk", "person"],
    "corridor": ["carton", "person", "bin", "cupboard", "plant", "carton", "person", "sofa", "cupboard", "bin", "armchair"],
    "flat": ["sofa", "cupboard", "armchair", "plant", "cupboard", "carton", "sofa", "bin", "chair", "person", "cupboard", "plant"],
    "path": ["bench", "bollard", "tree", "person", "bin", "bollard", "carton", "bench", "person", "tree", "bollard", "bin"],
}


def place(rng: np.random.Generator, world: World, names: list[str], passage: float = PASSAGE, make=thing) -> None:
    """Puts what `make` makes of the names where it leaves every part of the floor within reach."""
    walls = np.repeat(np.repeat(~world.free, round(CELL / GRID), 0), round(CELL / GRID), 1)
    reach = passage / 2
    taken, standing = walls.copy(), walls.copy()
    floor_cells = np.argwhere(world.free)
    for name in names:
        for _ in range(60):
            candidate = make(rng, name)
            row, column = floor_cells[rng.integers(len(floor_cells))]
            candidate.x, candidate.y = ((column, row) + rng.random(2)) * CELL
            hx, hy = candidate.extent()
            if candidate.against_wall:
                sides = [
                    (dx, dy) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)) if not world.free[row + dy, column + dx]
                ]
                if not sides:
                    continue
                dx, dy = sides[rng.integers(len(sides))]
                # Its back (-y) to the wall.
                candidate.yaw = float(np.arctan2(-dy, -dx) - np.pi / 2)
                gap = hy + 0.02
                if dx:
                    candidate.x = (column + (1 if dx > 0 else 0)) * CELL - dx * gap
                else:
                    candidate.y = (row + (1 if dy > 0 else 0)) * CELL - dy * gap
            else:
                candidate.yaw = float(rng.uniform(-np.pi, np.pi))
            own, wide = stamped(walls.shape, candidate, margin=-GRID / 2), stamped(walls.shape, candidate)
            if (own & taken).any():
                continue
            # Others are a passage away (those at a wall may stand side by side), walls likewise.
            others = taken & ~walls if candidate.against_wall else taken
            if (grown(own, passage) & others).any() and not (candidate.against_wall and rng.random() < 0.3):
                continue
            if len([part for part in parts_of(~grown(standing | wide, reach)) if len(part) * GRID**2 > POCKET]) != 1:
                continue
            taken |= own
            standing |= wide
            world.things.append(candidate)
            break


# --- The model --------------------------------------------------------------------------------------

def runs(world: World) -> list[tuple[int, int, int, int, int]]:
    """Walls as (axis, line, from, to, side): edges between free and not free cells, joined.

    Axis 0: along y at x = line; axis 1: along x at y = line. Side +1: the floor lies beyond the line.
    """
    found = []
    for axis in (0, 1):
        free = world.free.T if axis == 0 else world.free
        for line in range(1, free.shape[0]):
            for side in (1, -1):
                edge = (free[line] & ~free[line - 1]) if side == 1 else (free[line - 1] & ~free[line])
                start = None
                for index, is_wall in enumerate([*edge, False]):
                    if is_wall and start is None:
                        start = index
                    elif not is_wall and start is not None:
                        found.append((axis, line, start, index, side))
                        start = None
    return found


class Soup:
    """Quads of one material, each cut so finely that light by vertex looks smooth."""

    def __init__(self) -> None:
        self.points: list[np.ndarray] = []
        self.normals: list[np.ndarray] = []
        self.coordinates: list[np.ndarray] = []
        self.faces: list[tuple[int, int, int]] = []

    def quad(self, corner, u, v, normal, tile: float = 2.0, step: float = 0.4) -> None:
        corner, u, v = (np.asarray(a, float) for a in (corner, u, v))
        length_u, length_v = np.linalg.norm(u), np.linalg.norm(v)
        count_u, count_v = max(1, round(length_u / step)), max(1, round(length_v / step))
        first = len(self.points)
        for j in range(count_v + 1):
            for i in range(count_u + 1):
                self.points.append(corner + u * (i / count_u) + v * (j / count_v))
                self.normals.append(np.asarray(normal, float))
                self.coordinates.append(np.array([i / count_u * length_u / tile, j / count_v * length_v / tile]))
        turned = np.dot(np.cross(u, v), normal) < 0
        for j in range(count_v):
            for i in range(count_u):
                a = first + j * (count_u + 1) + i
                b, c, d = a + 1, a + count_u + 2, a + count_u + 1
                for face in ((a, b, c), (a, c, d)):
                    self.faces.append(face[::-1] if turned else face)

    def add_to(self, spec: mujoco.MjSpec, name: str, material: str) -> None:
        if not self.faces:
            return
        mesh = spec.add_mesh(name=name)
        mesh.uservert = np.array(self.points).ravel()
        mesh.usernormal = np.array(self.normals).ravel()
        mesh.usertexcoord = np.array(self.coordinates).ravel()
        mesh.userface = np.array(self.faces).ravel()
        mesh.userfacenormal = mesh.userfacetexcoord = np.array(self.faces).ravel()
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        spec.worldbody.add_geom(
            name=name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=material,
            contype=0, conaffinity=0, group=LOOKS,
        )


def add_material(spec: mujoco.MjSpec, name: str, picture: np.ndarray | None = None, cube: bool = False, **properties):
    material = spec.add_material(name=name, **properties)
    if picture is not None:
        data = textures.as_bytes(picture)
        texture = spec.add_texture(
            name=name, type=mujoco.mjtTexture.mjTEXTURE_CUBE if cube else mujoco.mjtTexture.mjTEXTURE_2D,
            width=data.shape[1], height=data.shape[0] * (6 if cube else 1), nchannel=3,
        )
        texture.data = (np.tile(data, (6, 1, 1)) if cube else data).tobytes()
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return material


def lit_floor(rng: np.random.Generator, world: World) -> np.ndarray:
    """The floor's picture: its material, rugs, and the soft shadows at the foot of what stands there."""
    kind = rng.choice(textures.OUTDOORS if world.kind == "path" else textures.INDOORS)
    picture = world.floor_tone * textures.floor(rng, world.floor or kind, world.width, world.height)
    if not world.floor and world.kind in ("flat", "hall", "office", "home"):
        for _ in range(rng.integers(0, 3)):
            cells = np.argwhere(world.free)
            row, column = cells[rng.integers(len(cells))]
            width, height = rng.uniform(0.8, 2.0), rng.uniform(0.6, 1.4)
            rug = textures.floor(rng, "carpet", width, height)
            border = max(1, round(0.04 * textures.PIXELS_PER_METRE))
            rug[:border] *= 0.7
            rug[-border:] *= 0.7
            top, left = round(row * CELL * textures.PIXELS_PER_METRE), round(column * CELL * textures.PIXELS_PER_METRE)
            place_for = picture[top:top + rug.shape[0], left:left + rug.shape[1]]
            place_for[:] = rug[:place_for.shape[0], :place_for.shape[1]]
    occupied = world.occupied(below=0.5).astype(float)
    shadow = 0.35 * textures.smooth(occupied, 1.2) + 0.2 * textures.smooth(occupied, 4.0)
    light = np.ones(occupied.shape)
    if world.kind != "path":
        y, x = np.mgrid[0:light.shape[0], 0:light.shape[1]] * GRID
        light *= 0.95
        for lamp_x, lamp_y in lamps(world):
            light += 0.2 * np.exp(-((x - lamp_x) ** 2 + (y - lamp_y) ** 2) / 2.5)
    shade = textures.enlarged(light.clip(0, 1.2) * (1 - shadow).clip(0.25, 1), *picture.shape[:2])
    return picture * shade[..., None]


def lamps(world: World) -> list[tuple[float, float]]:
    """Where lamps hang: a grid of about 3 m over the free cells."""
    rows, columns = world.free.shape
    return [
        ((column + 0.5) * CELL, (row + 0.5) * CELL)
        for row in range(3, rows, 6) for column in range(3, columns, 6) if world.free[row, column]
    ]


def plan_world(seed: int) -> World:
    """The plan and what stands where; the same for the same seed."""
    kind = KINDS[(seed - 1) % len(KINDS)]
    rng = np.random.default_rng([seed, 1])
    world = World(seed, kind, plan(rng, kind))
    place(rng, world, FURNITURE[kind])
    # A start with room around it, looking along the longest free line.
    roomy = parts_of(~world.occupied(grow=PASSAGE / 2))[0]
    row, column = roomy[rng.integers(len(roomy))]
    x, y = (column + 0.5) * GRID, (row + 0.5) * GRID
    blocked = world.occupied(grow=0.3)

    def sight(yaw: float) -> float:
        for distance in np.arange(0.1, 6, 0.1):
            at = int((y + distance * np.sin(yaw)) / GRID), int((x + distance * np.cos(yaw)) / GRID)
            if not (0 <= at[0] < blocked.shape[0] and 0 <= at[1] < blocked.shape[1]) or blocked[at]:
                return float(distance)
        return 6.0

    world.start = (x, y, max(np.linspace(-np.pi, np.pi, 24, endpoint=False), key=sight))
    return world


def model_of(world: World) -> mujoco.MjSpec:
    """The world as a MuJoCo model, without a robot."""
    rng = np.random.default_rng([world.seed, 2])
    spec = mujoco.MjSpec()
    spec.modelname = f"{world.kind}_{world.seed}"
    outdoors = world.kind == "path"
    spec.visual.quality.shadowsize = 2048
    spec.visual.quality.numquads = 32
    spec.visual.map.znear = 0.002
    spec.visual.map.zfar = 3.0
    spec.visual.headlight.ambient = [0.42] * 3 if outdoors else [0.38] * 3
    spec.visual.headlight.diffuse = [0.12] * 3
    spec.visual.headlight.specular = [0.0] * 3
    spec.stat.extent = 12.0
    spec.stat.center = [world.width / 2, world.height / 2, 1.0]
    add_material(spec, "matt", specular=0.1)
    for name, slope, depth in (("cardboard", 0.6, 0.04), ("cloth", 0.3, 0.08), ("plaster", 1.5, 0.03), ("leaves", 0.6, 0.2)):
        add_material(spec, name, 0.85 + depth * textures.noise(rng, 256, slope)[..., None].repeat(3, 2), cube=True, specular=0.05)
    for number in range(world.patterns):
        add_material(spec, f"pattern{number}", textures.cloth(rng), cube=True, specular=0.02)
    add_material(spec, "wood", 0.85 + 0.07 * textures.noise(rng, 256, 1.0, 10.0)[..., None].repeat(3, 2), cube=True, specular=0.2)
    body = spec.worldbody
    gloss = 0.25 if world.floor == "white_gloss" else 0.0 if outdoors else float(rng.choice([0.0, 0.0, 0.04, 0.08]))
    add_material(spec, "floor", lit_floor(rng, world), specular=0.1, reflectance=gloss, texrepeat=[1, 1])
    body.add_geom(
        name=FLOOR, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[world.width / 2, world.height / 2, 0.1],
        pos=[world.width / 2, world.height / 2, 0], material="floor", group=SOLID, friction=[1.0, 0.005, 0.0001],
    )
    add_walls(rng, spec, world)
    for number, placed in enumerate(world.things):
        for index, part in enumerate(placed.parts):
            x, y = placed.turned(part.centre[0], part.centre[1])
            shape = {"box": mujoco.mjtGeom.mjGEOM_BOX, "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER}.get(
                part.shape, mujoco.mjtGeom.mjGEOM_ELLIPSOID)
            body.add_geom(
                name=f"{THING}_{number}_{index}_{placed.name}", type=shape, size=[*part.size, 0][:3], pos=[x, y, part.centre[2]],
                quat=[np.cos(placed.yaw / 2), 0, 0, np.sin(placed.yaw / 2)], rgba=[*part.colour.clip(0, 1), 1],
                material=part.material, group=SOLID,
            )
    add_light(rng, spec, world)
    return spec


def add_walls(rng: np.random.Generator, spec: mujoco.MjSpec, world: World) -> None:
    outdoors = world.kind == "path"
    top = rng.uniform(0.9, 1.5) if outdoors else rng.uniform(2.4, 3.0)
    kind = rng.choice(["hedge", "hedge", "brick"]) if outdoors else rng.choice(["plain", "plain", "plain", "brick", "panels"])
    add_material(spec, "wall", textures.wall(rng, kind), specular=0.05)
    trim_colour = np.full(3, rng.uniform(0.7, 0.95)) if rng.random() < 0.5 else textures.colour(rng, (0.05, 0.1), (0.2, 0.6), (0.2, 0.6))
    add_material(spec, "trim", rgba=[*trim_colour, 1], specular=0.2)
    add_material(spec, "door", rgba=[*textures.colour(rng, (0, 1), (0.1, 0.6), (0.3, 0.8)), 1], specular=0.2)
    add_material(spec, "window", rgba=[0.85, 0.93, 1.0, 1], emission=0.7)
    add_material(spec, "ceiling", rgba=[0.92, 0.92, 0.9, 1], specular=0.0)
    add_material(spec, "lamp", rgba=[1, 1, 0.95, 1], emission=1.0)
    soups = {name: Soup() for name in ("wall", "trim", "door", "window", "ceiling", "lamp")}
    skirting = rng.uniform(0.06, 0.12)
    for number, (axis, line, first, last, side) in enumerate(runs(world)):
        along = (lambda a, b: (a, b)) if axis == 0 else (lambda a, b: (b, a))
        at, start, length = line * CELL, first * CELL, (last - first) * CELL
        normal = (*along(side, 0), 0)

        def quad(name, s, size, low, high, off, at=at, side=side, along=along, normal=normal):
            soups[name].quad((*along(at + side * off, s), low), (*along(0, size), 0), (0, 0, high - low), normal)

        quad("wall", start, length, 0, top, 0)
        if not outdoors:
            quad("trim", start, length, 0, skirting, 0.012)
            position = start + 0.4
            while position + 1.3 < start + length:
                draw = rng.random()
                if draw < 0.2:
                    quad("trim", position - 0.06, 1.02, 0, 2.1, 0.014)
                    quad("door", position, 0.9, 0.01, 2.04, 0.018)
                elif draw < 0.35:
                    quad("trim", position - 0.05, 1.1, 0.85, 2.15, 0.014)
                    quad("window", position, 1.0, 0.9, 2.1, 0.018)
                elif draw < 0.5:
                    quad("door", position, rng.uniform(0.4, 0.9), 1.2, 1.7, 0.014)
                position += rng.uniform(1.3, 2.5)
        # What is bumped into: a box behind the wall's face.
        half = 0.1
        x, y = along(at - side * half, start + length / 2)
        hx, hy = along(half, length / 2)
        spec.worldbody.add_geom(
            name=f"{WALL}_{number}", type=mujoco.mjtGeom.mjGEOM_BOX, pos=[x, y, top / 2], size=[hx, hy, top / 2],
            group=UNSEEN,
        )
    for row in range(world.free.shape[0]):
        for column in range(world.free.shape[1]):
            if not outdoors and world.free[row, column]:
                soups["ceiling"].quad((column * CELL, row * CELL, top), (CELL, 0, 0), (0, CELL, 0), (0, 0, -1), step=CELL)
    if not outdoors:
        for x, y in lamps(world):
            soups["lamp"].quad((x - 0.3, y - 0.3, top - 0.02), (0.6, 0, 0), (0, 0.6, 0), (0, 0, -1))
    else:
        add_sky_and_trees(rng, spec, world)
    for name, soup in soups.items():
        soup.add_to(spec, f"looks_{name}", name)


def add_sky_and_trees(rng: np.random.Generator, spec: mujoco.MjSpec, world: World) -> None:
    side = textures.as_bytes(textures.sky(rng))
    up, down = np.tile(side[:1, :1], (256, 256, 1)), np.tile(side[-1:, :1], (256, 256, 1))
    spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=256, height=256 * 6, nchannel=3).data = (
        np.concatenate([side, side, up, down, side, side]).tobytes())
    for number in range(14):
        angle = number / 14 * 2 * np.pi
        x = world.width / 2 + (world.width / 2 + rng.uniform(1, 3)) * np.cos(angle)
        y = world.height / 2 + (world.height / 2 + rng.uniform(1, 3)) * np.sin(angle)
        green = textures.colour(rng, (0.22, 0.34), (0.4, 0.7), (0.25, 0.45))
        for index in range(3):
            spec.worldbody.add_geom(
                name=f"{OUTSIDE}_{number}_{index}", type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=rng.uniform(0.8, 1.6, 3),
                pos=[x + rng.normal() * 0.6, y + rng.normal() * 0.6, rng.uniform(1.5, 3.5)], rgba=[*(green * rng.uniform(0.8, 1.2)), 1],
                material="leaves", contype=0, conaffinity=0, group=LOOKS,
            )


def add_light(rng: np.random.Generator, spec: mujoco.MjSpec, world: World) -> None:
    warm = np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.8, 1.0)])
    if world.kind == "path":
        angle = rng.uniform(0, 2 * np.pi)
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, dir=[0.5 * np.cos(angle), 0.5 * np.sin(angle), -1],
            pos=[world.width / 2, world.height / 2, 6], diffuse=0.5 * warm, ambient=[0, 0, 0], specular=[0.1] * 3, castshadow=True,
        )
        return
    hanging = lamps(world) or [(world.start[0], world.start[1])]
    middle = np.mean(hanging, 0)
    # OpenGL's fixed lights are eight; one of them casts shadows. Fill light comes from far above.
    main = min(hanging, key=lambda lamp: np.hypot(*(np.array(lamp) - middle)))
    spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_SPOT, pos=[*main, 2.3], dir=[0, 0, -1], cutoff=85, exponent=0.5,
        diffuse=0.25 * warm, ambient=[0, 0, 0], specular=[0.05] * 3, castshadow=True,
    )
    for angle in (0.3, 2.4, 4.5):
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, dir=[0.8 * np.cos(angle), 0.8 * np.sin(angle), -1], pos=[*middle, 2.3],
            diffuse=0.13 * warm, ambient=[0, 0, 0], specular=[0, 0, 0], castshadow=False,
        )
