"""A small robot with one camera drives through rooms of our own making, steered by /squeezenet/scan alone.

    make sim                                          # five rooms, a few metres in each; sim.gif and sim.json
    make sim SEEDS=7 METRES=40 SIM='--model NAME'     # another room, another model
    make sim SIM='--drive-by cmd_vel --no-node'       # only the robot: you bring node and driver, Nav2 for example

Interrupted, it writes what there is; with --drive-by cmd_vel that is how it ends. With a node of its own it is in a
domain of its own (SIM_DOMAIN_ID, else 80), on this machine alone.

Exit status: 0 all metres driven without touching anything, 1 not so, 2 it could not be tried, or the node or renderer failed.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import rooms
from driver import Driver, Limits
from film import SUFFIXES, Film, Map
from link import NoAnswer, Node, Robot, beams, binary, keep_apart, pixels_of
from robot import RADIUS, Camera, NoRenderer, Simulation

SCAN_TIMEOUT_S = 5.0
# Between two messages of odometry, where /cmd_vel steers.
ODOMETRY_S = 0.04
# So long without having come this far means stuck.
STUCK_S, STUCK_M = 60.0, 0.5
# Frames in a row without a scan after which the drive ends.
SILENT_FRAMES = 5
INTERRUPTED = "interrupted"


def seeds(text: str) -> list[int]:
    """`1,3,7-9` as numbers."""
    found: list[int] = []
    for part in text.replace(" ", ",").split(","):
        if part:
            first, _, last = part.partition("-")
            found.extend(range(int(first), int(last or first) + 1))
    if not found or min(found) < 1:
        raise ValueError
    return found


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds, help="rooms: 1,3,7-9; kinds in turn: " + ", ".join(rooms.KINDS) + "; 1-5 by default, 1 with --drive-by cmd_vel")
    add_common(parser)
    parser.add_argument("--metres", type=float, help="to drive in each room: 8 by default, without an end with --drive-by cmd_vel")
    parser.add_argument("--hz", type=float, default=5.0, help="frames a second of simulated time")
    parser.add_argument("--speed", type=float, default=Limits.speed, help="m/s at most")
    parser.add_argument("--drive-by", choices=["scan", "cmd_vel"], default="scan", help="what steers: our driver, or yours on /cmd_vel")
    parser.add_argument("--film", type=Path, default=Path("sim.gif"), help=f"animation to write: {', '.join(SUFFIXES)}")
    parser.add_argument("--film-frames", type=int, default=40, help="pictures of it at most")
    parser.add_argument("--json", type=Path, default=Path("sim.json"), help="figures to write")
    return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="", help="the node's model; empty: its default")
    parser.add_argument("--param", action="append", default=[], metavar="NAME:=VALUE", help="a parameter of the node; may be repeated")
    parser.add_argument("--no-node", action="store_true", help="use the node that runs already")
    parser.add_argument("--node-log", type=Path, help="file for the node's log; else it goes to stderr")
    parser.add_argument("--camera-height", type=float, default=Camera.height_m, metavar="M")
    parser.add_argument("--camera-pitch", type=float, default=Camera.pitch_deg, metavar="DEG", help="positive looks down")
    parser.add_argument("--camera-hfov", type=float, default=Camera.hfov_deg, metavar="DEG")


def check_folders(parser: argparse.ArgumentParser, *files: Path | None) -> None:
    """Refuses files that could not be written in the end."""
    for file in files:
        if file and not file.parent.is_dir():
            parser.error(f"{file}: there is no folder {file.parent}")


def camera_of(options: argparse.Namespace) -> Camera:
    return Camera(height_m=options.camera_height, pitch_deg=options.camera_pitch, hfov_deg=options.camera_hfov)


def start_node(options: argparse.Namespace) -> Node | None:
    """Before any `Robot`: a node of our own and the robot are in a domain of their own."""
    if options.no_node:
        return None
    keep_apart()
    found = binary()
    if found is None:
        raise NoAnswer("squeezenet_node is not built: run `make build`, or name it in SQUEEZENET_NODE")
    parameters: dict = {"model": options.model} if options.model else {}
    for text in options.param:
        name, assigned, value = text.partition(":=")
        if not assigned:
            raise NoAnswer(f"--param {text}: not NAME:=VALUE")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    return Node(found, parameters, options.node_log)


class Drive:
    """One room, from the start until the metres are driven or nothing goes on."""

    def __init__(self, options: argparse.Namespace, robot: Robot, film: Film, seed: int, started: float) -> None:
        self.options, self.robot, self.film = options, robot, film
        self.world = rooms.plan_world(seed)
        self.simulation = Simulation(self.world, robot.camera)
        self.driver = Driver(robot.camera.ahead_m, robot.camera.nearest_ground_m(), Limits(speed=options.speed))
        self.map = Map(self.world)
        self.track: list[tuple[float, float]] = []
        self.started = started
        self.frames = self.silent = 0
        self.why: dict[str, int] = {}

    def now(self) -> float:
        return self.started + self.frames / self.options.hz

    def run(self, alive) -> dict:
        wall = time.monotonic()
        try:
            end = self.follow(alive)
        except KeyboardInterrupt:
            end = INTERRUPTED
        self.progress()
        print()
        return self.summary(end, time.monotonic() - wall)

    def follow(self, alive) -> str:
        """Why it ended."""
        self.robot.wait_for_node(self.simulation, self.now(), alive)
        period, in_a_row = 1 / self.options.hz, 0
        reached, reached_at = 0.0, 0.0
        while self.simulation.metres < self.options.metres:
            self.frames += 1
            due = time.monotonic() + period
            self.robot.publish(self.simulation, self.now())
            scan = self.robot.wait_for_scan(SCAN_TIMEOUT_S)
            in_a_row = 0 if scan else in_a_row + 1
            if scan is None:
                self.silent += 1
                if not alive() or in_a_row >= SILENT_FRAMES:
                    return f"no scan came any more: {self.robot.status}"
            self.picture(scan)
            if self.robot.is_commanded:
                self.move_as_commanded(period, due)
            else:
                self.simulation.step(*self.steer(scan, period), period)
            if self.simulation.metres > reached + STUCK_M:
                reached, reached_at = self.simulation.metres, self.now()
            elif self.now() - reached_at > STUCK_S and self.now() - self.started > STUCK_S and not self.robot.is_commanded:
                return "stuck"
            if self.frames % 10 == 0:
                self.progress()
        return "drove"

    def move_as_commanded(self, period: float, due: float) -> None:
        """Moves until the next picture, in real time where the machine keeps up; odometry comes more often than pictures."""
        parts = max(1, round(period / ODOMETRY_S))
        for part in range(1, parts + 1):
            self.simulation.step(*self.robot.wanted_speeds(), period / parts)
            if part < parts:
                self.robot.publish_moment(self.simulation, self.now() + part * period / parts)
            left = due - period * (parts - part) / parts - time.monotonic()
            self.robot.spin_until(lambda: False, max(left, 0.001))

    def steer(self, scan, period: float) -> tuple[float, float]:
        if scan is None:
            speed, turn, why = 0.0, 0.0, "no scan"
        else:
            command = self.driver.decide(self.simulation.odometry, *beams(scan), period)
            speed, turn, why = command.speed, command.turn, command.why
        self.why[why] = self.why.get(why, 0) + 1
        return speed, turn

    def picture(self, scan) -> None:
        pose = self.simulation.pose()
        self.track.append((pose.x, pose.y))
        drawn = None
        if scan is not None:
            angles, ranges = beams(scan)
            odometry = self.simulation.odometry
            ahead = self.robot.camera.ahead_m
            x, y = odometry.x + ahead * math.cos(odometry.yaw), odometry.y + ahead * math.sin(odometry.yaw)
            self.map.add(x, y, angles + odometry.yaw, ranges)
            drawn = (angles + odometry.yaw, ranges, (x, y), scan.range_max)
        if not self.film.wants():
            return
        # The overlay comes apart from the scan, and may be a frame late.
        self.robot.spin_until(lambda: self.robot.overlay is not None and self.robot.overlay.header.stamp == self.robot.stamp, 0.5)
        if self.robot.overlay is not None:
            self.film.add(
                self.world, self.map, self.track, pose, drawn, pixels_of(self.robot.overlay),
                f"{self.world.kind}, seed {self.world.seed}: {self.simulation.metres:.1f} m by one camera's /squeezenet/scan, "
                f"{len(self.simulation.collisions)} collisions",
            )

    def progress(self) -> None:
        goal = "" if math.isinf(self.options.metres) else f"of {self.options.metres:g} "
        print(
            f"\r    {self.world.kind}, seed {self.world.seed}: {self.simulation.metres:5.1f} {goal}m, "
            f"{self.frames} frames, nearest {self.simulation.nearest:.2f} m, {len(self.simulation.collisions)} collisions ",
            end="", flush=True,
        )

    def summary(self, end: str, wall: float) -> dict:
        simulation = self.simulation
        nearest = round(simulation.nearest, 3) if math.isfinite(simulation.nearest) else None
        # Who steers by /cmd_vel says when it is over.
        is_done = end == "drove" or (end == INTERRUPTED and self.robot.is_commanded)
        return {
            "seed": self.world.seed, "kind": self.world.kind, "end": end, "metres": round(simulation.metres, 2),
            "collisions": simulation.collisions, "nearest_m": nearest, "frames": self.frames,
            "frames_without_scan": self.silent, "simulated_s": round(self.frames / self.options.hz, 1), "wall_s": round(wall, 1),
            "decisions": self.why, "success": is_done and not simulation.collisions,
        }


def main() -> int:
    parser = arguments()
    options = parser.parse_args()
    is_commanded = options.drive_by == "cmd_vel"
    options.seeds = options.seeds or seeds("1" if is_commanded else "1-5")
    if options.metres is None:
        options.metres = math.inf if is_commanded else 8.0
    if options.film.suffix not in SUFFIXES:
        parser.error(f"--film {options.film}: its name must end in one of {', '.join(SUFFIXES)}")
    check_folders(parser, options.film, options.json, options.node_log)
    camera = camera_of(options)
    film, results = Film(options.film_frames), []
    node = robot = None
    is_tried = True
    try:
        node = start_node(options)
        robot = Robot(camera, watch_overlay=True, is_commanded=is_commanded)
        alive = node.alive if node else lambda: True
        # Time goes on from room to room; nothing of one is remembered in the next.
        # Who waits for tf while the clock comes must not see it jump by its patience (Nav2's costmap: 60 s).
        started = 10.0
        for seed in options.seeds:
            drive = Drive(options, robot, film, seed, started)
            results.append(drive.run(alive))
            started = drive.now() + 60.0
            drive.simulation.close()
            if results[-1]["end"] == INTERRUPTED:
                break
    except (NoAnswer, NoRenderer) as error:
        print(f"sim: {error}", file=sys.stderr)
        is_tried = False
    except KeyboardInterrupt:
        is_tried = False  # between two rooms
    finally:
        if robot:
            robot.close()
        if node:
            node.stop()
    if not results:
        return 2
    total = {
        "metres": round(sum(result["metres"] for result in results), 2),
        "collisions": sum(len(result["collisions"]) for result in results),
        "nearest_m": min((result["nearest_m"] for result in results if result["nearest_m"] is not None), default=None),
        "frames": sum(result["frames"] for result in results), "wall_s": round(sum(result["wall_s"] for result in results), 1),
        "success": is_tried and all(result["success"] for result in results), "model": options.model or "default", "robot_radius_m": RADIUS,
        "camera": {"height_m": camera.height_m, "pitch_deg": camera.pitch_deg, "hfov_deg": camera.hfov_deg}, "rooms": results,
    }
    options.json.write_text(json.dumps(total, indent=2) + "\n")
    film.save(options.film)
    for result in results:
        if not result["success"]:
            print(f"sim: seed {result['seed']}, {result['kind']}: {result['end']}, touched: {', '.join(result['collisions']) or 'nothing'}")
    print(
        f"sim: {total['metres']:.1f} m in {len(results)} rooms, {total['collisions']} collisions, nearest {total['nearest_m']} m, "
        f"{total['frames']} frames in {total['wall_s']:.0f} s; see {options.film} and {options.json}"
    )
    return 2 if not is_tried else 0 if total["success"] else 1


if __name__ == "__main__":
    sys.exit(main())
