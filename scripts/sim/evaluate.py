"""How true /squeezenet/scan is: from random places in rooms, against what really stands there.

    make sim-evaluate                                  # 10 places in each of ten rooms
    make sim-evaluate SIM='--seeds 1-20 --places 50 --model NAME'

A beam is judged where the simulator's ray from the ground under the camera meets something whose foot the
camera sees, or nothing. Within `--near` m: missed, where the scan says free beyond it; unknown, where it says
NaN. False, where it says an obstacle that much nearer than what stands there. "That much" is 0.15 m or a tenth
of the distance, whichever is more. Range errors are those of beams neither missed nor false.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import rooms
from drive import SCAN_TIMEOUT_S, add_common, camera_of, check_folders, seeds, start_node
from link import NoAnswer, Robot, beams
from robot import NoRenderer, Simulation


class Tally:
    """Counts of beams."""

    def __init__(self, near: float) -> None:
        self.near = near
        self.beams = self.known = self.near_obstacles = self.missed = self.unknown = self.false = 0
        self.errors: list[float] = []
        self.relative: list[float] = []

    def add(self, said: np.ndarray, true: np.ndarray, seen: np.ndarray, range_max: float) -> None:
        """`true` inf: nothing up to range_max. Feet out of view are not judged."""
        judged = seen | np.isinf(true)
        said, true = said[judged], true[judged]
        apart = np.maximum(0.15, 0.1 * np.where(np.isinf(true), range_max, true))
        unknown = np.isnan(said)
        with np.errstate(invalid="ignore"):
            late, early = said > true + apart, said < np.minimum(true, range_max) - apart
        near = true <= self.near
        self.beams += len(said)
        self.known += int((~unknown).sum())
        self.near_obstacles += int(near.sum())
        self.missed += int((near & late).sum())
        self.unknown += int((near & unknown).sum())
        self.false += int(early.sum())
        matched = np.isfinite(true) & np.isfinite(said) & ~late & ~early
        errors = np.abs(said[matched] - true[matched])
        self.errors.extend(errors.tolist())
        self.relative.extend((errors / true[matched]).tolist())

    def summary(self) -> dict:
        def share(count: int, of: int) -> float | None:
            return round(count / of, 5) if of else None

        def percentile(values: list[float], q: float) -> float | None:
            return round(float(np.percentile(values, q)), 4) if values else None

        return {
            "beams": self.beams, "beams_known": share(self.known, self.beams), "near_obstacles": self.near_obstacles,
            "missed": share(self.missed, self.near_obstacles), "near_unknown": share(self.unknown, self.near_obstacles),
            "false": share(self.false, self.beams), "range_error_m": {"p50": percentile(self.errors, 50), "p95": percentile(self.errors, 95)},
            "range_error_relative": {"p50": percentile(self.relative, 50), "p95": percentile(self.relative, 95)},
        }

    def merge(self, other: "Tally") -> None:
        for name in ("beams", "known", "near_obstacles", "missed", "unknown", "false"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.errors += other.errors
        self.relative += other.relative


def evaluate(options: argparse.Namespace, robot: Robot, alive) -> dict:
    whole, by_room, now = Tally(options.near), [], 100.0
    without_scan, range_max = 0, 0.0
    for seed in options.seeds:
        world = rooms.plan_world(seed)
        simulation = Simulation(world, robot.camera)
        rng = np.random.default_rng([seed, 4])
        spots = rooms.parts_of(~world.occupied(grow=0.3))[0]
        tally = Tally(options.near)
        robot.wait_for_node(simulation, now, alive)
        for _ in range(options.places):
            row, column = spots[rng.integers(len(spots))]
            simulation.place((column + rng.random()) * rooms.GRID, (row + rng.random()) * rooms.GRID, rng.uniform(-np.pi, np.pi))
            now += 1.0
            robot.publish(simulation, now)
            scan = robot.wait_for_scan(SCAN_TIMEOUT_S)
            if not alive():
                raise NoAnswer("the node ended; its log stands above")
            if scan is None:
                without_scan += 1
                continue
            angles, ranges = beams(scan)
            range_max = float(scan.range_max)
            tally.add(ranges, *simulation.true_ranges(angles, range_max), range_max)
        simulation.close()
        whole.merge(tally)
        by_room.append({"seed": seed, "kind": world.kind, **tally.summary()})
        print(f"    {world.kind}, seed {seed}: {json.dumps(tally.summary())}", flush=True)
        now += 60.0
    return {
        "model": options.model or "default", "near_m": options.near, "range_max_m": round(range_max, 3), "frames_without_scan": without_scan,
        **whole.summary(), "rooms": by_room,
    }


def is_within(result: dict, name: str, bound: float | None) -> bool:
    """Where nothing was measured, no bound is kept."""
    if bound is None or (result["beams_known"] and result[name] is not None and result[name] <= bound):
        return True
    print(f"sim: {name} is {result[name]} of {result['beams']} beams, at most {bound:g} is asked for", file=sys.stderr)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds, default=seeds("1-10"), help="rooms: 1,3,7-9")
    parser.add_argument("--places", type=int, default=10, help="in each room")
    parser.add_argument("--near", type=float, default=2.0, metavar="M", help="up to where obstacles count as missed")
    parser.add_argument("--json", type=Path, default=Path("sim_evaluation.json"), help="figures to write")
    parser.add_argument("--max-missed", type=float, help="fail where a larger share is missed, or nothing was measured")
    parser.add_argument("--max-false", type=float, help="fail where a larger share is false, or nothing was measured")
    add_common(parser)
    options = parser.parse_args()
    check_folders(parser, options.json, options.node_log)
    node = robot = None
    try:
        node = start_node(options)
        robot = Robot(camera_of(options), watch_overlay=False)
        result = evaluate(options, robot, node.alive if node else lambda: True)
    except (NoAnswer, NoRenderer) as error:
        print(f"sim: {error}", file=sys.stderr)
        return 2
    finally:
        if robot:
            robot.close()
        if node:
            node.stop()
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "rooms"}, indent=2))
    within = [is_within(result, name, bound) for name, bound in (("missed", options.max_missed), ("false", options.max_false))]
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
