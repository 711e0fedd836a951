"""Drives by LaserScan alone: remembers a few seconds of scans in a small grid and picks the best arc.

Nothing is taken for free that no scan has shown free, but for the ground that the robot stands on. Odometry
serves to move the grid along; no map, no goal. It goes where there is room and where it has not been.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Limits:
    """What the driver may do. Lengths in m, speeds in m/s and rad/s."""

    radius: float = 0.18
    margin: float = 0.12
    speed: float = 0.4
    turn: float = 1.0
    horizon_s: float = 2.0
    # Obstacles further away than this are measured too roughly to be remembered.
    mark_range: float = 2.5
    clear_range: float = 3.0


@dataclass
class Command:
    speed: float = 0.0
    turn: float = 0.0
    why: str = ""


class Grid:
    """Evidence for obstacles around the robot, in the odometry's frame: above 0 occupied, below free."""

    CELL = 0.05
    SIDE = 160
    HIT, FREE, LIMIT = 1.2, 0.5, 4.0
    # A second without news takes this much of what a cell says away.
    FORGET = 0.97

    def __init__(self) -> None:
        self.evidence = np.zeros((self.SIDE, self.SIDE), np.float32)
        self.corner: tuple[int, int] | None = None  # x, y of the first cell, in cells

    def follow(self, x: float, y: float) -> None:
        """Keeps the robot in the middle; what leaves the grid is forgotten."""
        corner = (round(x / self.CELL) - self.SIDE // 2, round(y / self.CELL) - self.SIDE // 2)
        if self.corner is not None and corner != self.corner:
            shift_x, shift_y = corner[0] - self.corner[0], corner[1] - self.corner[1]
            moved = np.zeros_like(self.evidence)
            size = self.SIDE
            if abs(shift_x) < size and abs(shift_y) < size:
                moved[max(0, -shift_y):size - max(0, shift_y), max(0, -shift_x):size - max(0, shift_x)] = self.evidence[
                    max(0, shift_y):size + min(0, shift_y), max(0, shift_x):size + min(0, shift_x)]
            self.evidence = moved
        self.corner = corner

    def cells(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        column = np.floor(np.asarray(x) / self.CELL).astype(int) - self.corner[0]
        row = np.floor(np.asarray(y) / self.CELL).astype(int) - self.corner[1]
        return row.clip(0, self.SIDE - 1), column.clip(0, self.SIDE - 1)

    def take(self, x: float, y: float, angles: np.ndarray, ranges: np.ndarray, nearest: float, limits: Limits, seconds: float) -> None:
        """Adds a scan seen from (x, y); angles in the grid's frame. Ground nearer than `nearest` is not in view: it is
        taken for free where nothing else is remembered of it."""
        self.evidence *= self.FORGET**seconds
        free, hit = np.zeros(self.evidence.shape, bool), np.zeros(self.evidence.shape, bool)
        known = ~np.isnan(ranges)
        for angle, distance in zip(angles[known], ranges[known], strict=True):
            reach = min(distance - 0.08, limits.clear_range)
            steps = np.arange(0.05, reach, self.CELL / 2)
            cells = self.cells(x + steps * math.cos(angle), y + steps * math.sin(angle))
            free[cells] |= (steps >= nearest) | (self.evidence[cells] <= 0)
        marked = known & (ranges <= limits.mark_range)
        hit[self.cells(x + ranges[marked] * np.cos(angles[marked]), y + ranges[marked] * np.sin(angles[marked]))] = True
        free &= ~hit
        self.evidence[free] -= self.FREE
        self.evidence[hit] += self.HIT
        self.evidence.clip(-self.LIMIT, self.LIMIT, out=self.evidence)

    def stand(self, x: float, y: float, radius: float) -> None:
        """What the robot stands on is free."""
        row, column = self.cells(np.array([x]), np.array([y]))
        reach = math.ceil(radius / self.CELL)
        rows, columns = np.mgrid[-reach:reach + 1, -reach:reach + 1]
        inside = np.hypot(rows, columns) * self.CELL <= radius
        self.evidence[row + rows[inside], column + columns[inside]] = -self.LIMIT / 2

    def clearance(self, wanted: np.ndarray, reach: float = 0.8) -> np.ndarray:
        """Distance in m of every cell to the nearest one that is set in `wanted`, at most `reach`."""
        distance = np.where(wanted, 0.0, reach).astype(np.float32)
        # Over straight and diagonal neighbours until nothing changes: within 8 % of the true distance.
        straight, diagonal = self.CELL, self.CELL * math.sqrt(2)
        for _ in range(math.ceil(reach / self.CELL)):
            before = distance.copy()
            distance[1:] = np.minimum(distance[1:], before[:-1] + straight)
            distance[:-1] = np.minimum(distance[:-1], before[1:] + straight)
            distance[:, 1:] = np.minimum(distance[:, 1:], before[:, :-1] + straight)
            distance[:, :-1] = np.minimum(distance[:, :-1], before[:, 1:] + straight)
            distance[1:, 1:] = np.minimum(distance[1:, 1:], before[:-1, :-1] + diagonal)
            distance[:-1, :-1] = np.minimum(distance[:-1, :-1], before[1:, 1:] + diagonal)
            distance[1:, :-1] = np.minimum(distance[1:, :-1], before[:-1, 1:] + diagonal)
            distance[:-1, 1:] = np.minimum(distance[:-1, 1:], before[1:, :-1] + diagonal)
            if np.array_equal(before, distance):
                break
        return distance


class Driver:
    """Turns scans into speeds."""

    def __init__(self, camera_ahead: float, nearest_seen: float, limits: Limits | None = None) -> None:
        """`camera_ahead` of the robot's middle, `nearest_seen` ahead of the camera is the nearest ground in its picture, in m."""
        self.limits = limits or Limits()
        self.ahead, self.nearest_seen = camera_ahead, nearest_seen
        self.grid = Grid()
        self.visits: Counter[tuple[int, int]] = Counter()
        self.command = Command()
        self.turning = 0.0
        self.blind = 0

    def decide(self, pose, angles: np.ndarray, ranges: np.ndarray, seconds: float) -> Command:
        """The next command. `pose` x, y, yaw by odometry; angles and ranges as in the LaserScan, seen from
        the ground under the camera; `seconds` since the last scan."""
        limits, grid = self.limits, self.grid
        grid.follow(pose.x, pose.y)
        x, y = pose.x + self.ahead * math.cos(pose.yaw), pose.y + self.ahead * math.sin(pose.yaw)
        grid.take(x, y, angles + pose.yaw, ranges, self.nearest_seen, limits, seconds)
        grid.stand(pose.x, pose.y, limits.radius + 0.03)
        self.visits[self.place(pose.x, pose.y)] += 1
        # Nothing known at all: stay until something is.
        self.blind = 0 if np.isfinite(ranges).any() or np.isinf(ranges).any() else self.blind + 1
        if self.blind:
            return self.say(Command(0.0, 0.0 if self.blind < 10 else 0.5, "sees nothing"))
        obstacles = grid.clearance(grid.evidence > 0.6)
        unknown = grid.clearance(grid.evidence > -0.4, reach=0.4)
        best, best_score = None, -math.inf
        for speed in (limits.speed, 0.7 * limits.speed, 0.4 * limits.speed):
            for turn in np.linspace(-limits.turn, limits.turn, 21) * (0.6 + 0.4 * (1 - speed / limits.speed)):
                score = self.score(pose, speed, float(turn), obstacles, unknown)
                if score > best_score:
                    best, best_score = Command(speed, float(turn), "drives"), score
        if best is not None and best_score > -math.inf:
            self.turning = 0.0
            return self.say(best)
        return self.say(self.turn_in_place(pose, angles, ranges, obstacles))

    def say(self, command: Command) -> Command:
        self.command = command
        return command

    @staticmethod
    def place(x: float, y: float) -> tuple[int, int]:
        return round(x / 0.6), round(y / 0.6)

    def score(self, pose, speed: float, turn: float, obstacles: np.ndarray, unknown: np.ndarray) -> float:
        """How good an arc is; minus infinity where the robot might touch something or leave what it knows."""
        limits = self.limits
        # It must be able to stop on what it knows: the arc is driven for a second at least.
        times = np.arange(0.1, limits.horizon_s + 1e-9, 0.1)
        yaw = pose.yaw + turn * times
        x = pose.x + np.cumsum(speed * np.cos(yaw)) * 0.1
        y = pose.y + np.cumsum(speed * np.sin(yaw)) * 0.1
        cells = self.grid.cells(x, y)
        room = obstacles[cells]
        # A step may lead closer to what is near already only if it leads away from it in the end.
        need = limits.radius + limits.margin
        blocked = (room < need) & (room <= room[0] + 0.001)
        if room[0] < limits.radius + 0.04:
            blocked |= room < limits.radius + 0.04
        blocked |= unknown[cells] < limits.radius - 0.02
        last = int(np.argmax(blocked)) if blocked.any() else len(times)
        if last < 10:
            return -math.inf
        x, y = x[:last], y[:last]
        new = sum(1.0 / (1 + self.visits[self.place(px, py)]) for px, py in zip(x[::5], y[::5], strict=True)) / len(times) * 5
        # Further on than the arc: how far the way is open in the direction that it ends in.
        open_m = self.open_ahead(x[-1], y[-1], pose.yaw + turn * times[last - 1], obstacles)
        return (
            1.0 * speed * times[last - 1] + 1.2 * float(room[:last].min()) + 0.25 * open_m + 0.5 * new
            - 0.12 * abs(turn) - 0.25 * abs(turn - self.command.turn)
        )

    def open_ahead(self, x: float, y: float, yaw: float, obstacles: np.ndarray) -> float:
        steps = np.arange(0.1, 2.0, 0.1)
        cells = self.grid.cells(x + steps * math.cos(yaw), y + steps * math.sin(yaw))
        open_here = (obstacles[cells] > self.limits.radius) & (self.grid.evidence[cells] < 0)
        return float(steps[-1] if open_here.all() else steps[np.argmin(open_here)])

    def turn_in_place(self, pose, angles: np.ndarray, ranges: np.ndarray, obstacles: np.ndarray) -> Command:
        """Where no arc is open: turn, on the spot and always the same way, until one is."""
        if self.turning == 0.0:
            room = {
                side: sum(self.open_ahead(pose.x, pose.y, pose.yaw + side * angle, obstacles) for angle in (0.5, 1.0, 1.5))
                - 0.1 * self.visits[self.place(pose.x + math.cos(pose.yaw + side), pose.y + math.sin(pose.yaw + side))]
                for side in (-1.0, 1.0)
            }
            self.turning = max(room, key=room.get)
        return Command(0.0, 0.8 * self.turning, "turns")
