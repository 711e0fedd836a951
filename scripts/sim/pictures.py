"""Renders labelled views of rooms and paths, to train with: images/*.jpg and labels/*.png.

    bash scripts/sim/run.sh pictures.py --rooms 1001-1139 --views 5 OUT
    python -m squeezenet_training anywhere --rooms OUT ...          # in models/training

The camera of each room has a height, pitch and lens of its own, its views are from random places, `--close` of them
from right before what stands there, where there is little to tell it by. Labels: 0 floor, 2 what stands on it, 3
ceiling and outside, as in /squeezenet/mask. `make sim` and `make sim-evaluate` use the rooms from 1 on: train with
others.
"""

import argparse
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import homes
import numpy as np
import rooms
from drive import seeds
from PIL import Image
from robot import Camera, NoRenderer, Simulation


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--rooms", type=seeds, default=seeds("1001-1139"), help="seeds; kinds in turn: " + ", ".join(rooms.KINDS))
    parser.add_argument("--views", type=int, default=5, help="of each room")
    parser.add_argument("--dark", type=float, default=0.0, metavar="SHARE", help="of rooms whose floor is a quarter to two thirds as light")
    parser.add_argument("--close", type=float, default=0.0, metavar="SHARE", help="of views from at most 0.8 m before what stands there, looking at it")
    parser.add_argument(
        "--homes", action="store_true",
        help="small, full rooms of homes, two thirds of them seen by a tall robot: from 0.9 to 1.7 m, 5 to 38 degrees down")
    options = parser.parse_args()
    for kind in ("images", "labels"):
        (options.out / kind).mkdir(parents=True, exist_ok=True)
    for seed in options.rooms:
        chance = np.random.default_rng([seed, 99])
        world = homes.plan_home(seed) if options.homes else rooms.plan_world(seed)
        if options.dark and chance.random() < options.dark:
            world.floor_tone = float(chance.uniform(0.25, 0.65))
        camera = Camera(
            width=480, height=360, height_m=float(chance.uniform(0.15, 0.7)), pitch_deg=float(chance.uniform(0, 20)),
            hfov_deg=float(chance.uniform(60, 100)))
        if options.homes and chance.random() < 2 / 3:
            camera = replace(
                camera, height_m=float(chance.uniform(0.9, 1.7)), pitch_deg=float(chance.uniform(5, 38)),
                hfov_deg=float(chance.uniform(50, 80)))
        try:
            simulation = Simulation(world, camera)
        except NoRenderer as error:
            print(error, file=sys.stderr)
            return 2
        spots = np.asarray(rooms.parts_of(~world.occupied(grow=0.2 if options.homes else 0.3))[0])
        standing = np.argwhere(world.occupied(grow=0.0))
        near = spots[world.occupied(grow=0.8)[tuple(spots.T)]]
        for view in range(options.views):
            is_close = options.close > 0 and chance.random() < options.close
            places = near if is_close else spots
            row, column = places[chance.integers(len(places))]
            x, y = (column + chance.random()) * rooms.GRID, (row + chance.random()) * rooms.GRID
            yaw = chance.uniform(-math.pi, math.pi)
            if is_close:
                to = standing - (row, column)
                nearest = to[np.argmin((to**2).sum(1))]
                yaw = math.atan2(nearest[0], nearest[1]) + chance.normal(0, 0.5)
            simulation.place(x, y, yaw)
            for _ in range(6 if options.homes else 0):
                # In a small room most directions show a wall: some floor, mostly.
                if (simulation.labels() == 0).mean() > 0.1:
                    break
                yaw = chance.uniform(-math.pi, math.pi)
                simulation.place(x, y, yaw)
            name = f"{'home' if options.homes else 'sim'}_{seed}_{view}"
            picture = Image.fromarray(simulation.picture())
            picture.save(options.out / "images" / f"{name}.jpg", quality=int(chance.integers(70, 95)))
            Image.fromarray(simulation.labels()).save(options.out / "labels" / f"{name}.png")
        simulation.close()
        print(f"\rroom {seed}, {world.kind}    ", end="", flush=True)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
