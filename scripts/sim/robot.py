"""A small robot with two driven wheels and a camera, in a world of rooms.py, simulated by MuJoCo."""

import math
import os
from dataclasses import dataclass

import mujoco
import numpy as np
import rooms

RADIUS = 0.18
BODY_HEIGHT = 0.14
WHEEL_RADIUS = 0.05
TRACK = 0.28
TIME_STEP = 0.004
MAX_ACCELERATION, MAX_TURN_ACCELERATION = 0.8, 4.0
# Contacts less than this long apart are one collision.
ONE_COLLISION_S = 1.0
# A true obstacle is what a ray at this height meets: above a carpet's edge, below everything that stands.
FOOT_HEIGHT = 0.03


@dataclass(frozen=True)
class Camera:
    """A camera without distortion: picture size in px, angle of view, height above the ground, pitch (down is positive)."""

    width: int = 640
    height: int = 480
    hfov_deg: float = 80.0
    height_m: float = 0.3
    pitch_deg: float = 12.0
    ahead_m: float = 0.1

    @property
    def focal_px(self) -> float:
        return self.width / 2 / math.tan(math.radians(self.hfov_deg) / 2)

    @property
    def k(self) -> list[float]:
        """Row-major; a pixel's coordinates are those of its centre."""
        f = self.focal_px
        return [f, 0.0, (self.width - 1) / 2, 0.0, f, (self.height - 1) / 2, 0.0, 0.0, 1.0]

    @property
    def vfov_deg(self) -> float:
        return math.degrees(2 * math.atan(self.height / 2 / self.focal_px))

    def nearest_ground_m(self) -> float:
        """How far ahead of the camera the picture's lower edge sees the ground."""
        down = math.radians(self.pitch_deg + self.vfov_deg / 2)
        return self.height_m / math.tan(down) if down < math.pi / 2 else 0.0


@dataclass
class Pose:
    x: float
    y: float
    yaw: float


class NoRenderer(Exception):
    """Why pictures cannot be rendered here, and what to do."""


def add_robot(spec: mujoco.MjSpec, world: rooms.World, camera: Camera) -> None:
    x, y, yaw = world.start
    body = spec.worldbody.add_body(name="robot", pos=[x, y, 0], quat=[math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)])
    body.add_freejoint(name="free")
    dark = [0.12, 0.13, 0.15, 1]
    cylinder, sphere = mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_SPHERE
    body.add_geom(
        name="robot_body", type=cylinder, size=[RADIUS, BODY_HEIGHT / 2 - 0.01, 0], pos=[0, 0, BODY_HEIGHT / 2 + 0.01], rgba=dark,
        mass=5.0, group=rooms.SOLID,
    )
    mast = max(camera.height_m - BODY_HEIGHT, 0.02) / 2
    body.add_geom(
        name="robot_mast", type=cylinder, size=[0.015, mast, 0], pos=[camera.ahead_m - 0.05, 0, BODY_HEIGHT + mast], rgba=dark, mass=0.1,
        group=rooms.SOLID,
    )
    for name, side in (("front", 1), ("rear", -1)):
        body.add_geom(
            name=f"robot_caster_{name}", type=sphere, size=[0.02, 0, 0], pos=[side * 0.13, 0, 0.02], mass=0.05, condim=1,
            friction=[0.0, 0.0, 0.0], priority=1, group=rooms.SOLID,
        )
    for name, side in (("left", 1), ("right", -1)):
        wheel = body.add_body(name=f"wheel_{name}", pos=[0, side * TRACK / 2, WHEEL_RADIUS], quat=[math.sqrt(0.5), -math.sqrt(0.5), 0, 0])
        wheel.add_joint(name=f"wheel_{name}", type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 0, 1], armature=0.002)
        wheel.add_geom(
            name=f"robot_wheel_{name}", type=cylinder, size=[WHEEL_RADIUS, 0.012, 0], mass=0.25, rgba=dark, friction=[1.2, 0.005, 0.0001],
            priority=2, group=rooms.SOLID,
        )
        motor = spec.add_actuator(name=f"wheel_{name}", target=f"wheel_{name}", trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.set_to_velocity(kv=1.5)
        motor.forcelimited, motor.forcerange = True, [-3.0, 3.0]
    p = math.radians(camera.pitch_deg)
    # MuJoCo's cameras look along -z with y up.
    right, up = np.array([0.0, -1.0, 0.0]), np.array([math.sin(p), 0.0, math.cos(p)])
    matrix = np.column_stack([right, up, np.cross(right, up)])
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, matrix.ravel())
    body.add_camera(name="camera", pos=[camera.ahead_m, 0, camera.height_m], quat=quat, fovy=camera.vfov_deg)


class Simulation:
    """One world with the robot in it. Lengths in m, angles in rad, times in s."""

    def __init__(self, world: rooms.World, camera: Camera, noise: float = 3.0) -> None:
        self.world, self.camera, self.noise = world, camera, noise
        spec = rooms.model_of(world)
        add_robot(spec, world, camera)
        spec.option.timestep = TIME_STEP
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        spec.visual.global_.offwidth, spec.visual.global_.offheight = max(camera.width, 640), max(camera.height, 640)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.rng = np.random.default_rng([world.seed, 3])
        self.tint = self.rng.normal(1.0, 0.03, 3)
        self.commanded = [0.0, 0.0]
        self.metres = self.turned = 0.0
        self.collisions: list[str] = []
        self.last_contact = -1e9
        self.nearest = math.inf
        names = [self.model.geom(i).name for i in range(self.model.ngeom)]
        self.names = names
        self.robot = {i for i, name in enumerate(names) if name.startswith("robot_")}
        self.floor = names.index(rooms.FLOOR)
        self.body_geom = names.index("robot_body")
        self.solid = [i for i, name in enumerate(names) if name.startswith((rooms.WALL + "_", rooms.THING + "_"))]
        self.ray_groups = np.array([0, 1, 0, 1, 0, 0], np.uint8)
        self.robot_id = self.model.body("robot").id
        self.camera_id = self.model.camera("camera").id
        for _ in range(100):  # until it stands on its wheels
            mujoco.mj_step(self.model, self.data)
        self.wheels = self.wheel_angles()
        true = self.pose()
        self.odometry = Pose(true.x, true.y, true.yaw)
        self.renderer = self.open_renderer()
        self.options = mujoco.MjvOption()
        self.options.geomgroup[rooms.UNSEEN] = 0

    def open_renderer(self) -> mujoco.Renderer:
        try:
            return mujoco.Renderer(self.model, self.camera.height, self.camera.width)
        except Exception as error:  # noqa: BLE001 - whatever stands between MuJoCo and OpenGL
            raise NoRenderer(
                f"MuJoCo cannot render with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: {error}\n"
                "  do:  sudo apt install libegl1 libgl1 libgl1-mesa-dri (Mesa renders without a GPU and without a screen),\n"
                "       or MUJOCO_GL=osmesa and libosmesa6"
            ) from error

    def close(self) -> None:
        self.renderer.close()

    # --- Driving ------------------------------------------------------------------------------------

    def pose(self) -> Pose:
        x, y, _ = self.data.xpos[self.robot_id]
        forward = self.data.xmat[self.robot_id].reshape(3, 3)[:, 0]
        return Pose(float(x), float(y), math.atan2(forward[1], forward[0]))

    def wheel_angles(self) -> np.ndarray:
        return np.array([self.data.joint(f"wheel_{side}").qpos[0] for side in ("left", "right")])

    def step(self, speed: float, turn: float, seconds: float) -> None:
        """Drives with the wanted speed (m/s) and turn rate (rad/s, left positive), within what the motors can do."""
        for _ in range(round(seconds / TIME_STEP)):
            for index, (wanted, limit) in enumerate(((speed, MAX_ACCELERATION), (turn, MAX_TURN_ACCELERATION))):
                change = wanted - self.commanded[index]
                self.commanded[index] += max(-limit * TIME_STEP, min(limit * TIME_STEP, change))
            v, w = self.commanded
            self.data.ctrl[:] = [(v - w * TRACK / 2) / WHEEL_RADIUS, (v + w * TRACK / 2) / WHEEL_RADIUS]
            before = self.pose()
            mujoco.mj_step(self.model, self.data)
            after = self.pose()
            self.metres += math.hypot(after.x - before.x, after.y - before.y)
            self.look_for_contacts()
        self.measure_wheels()
        self.measure_nearest()

    def look_for_contacts(self) -> None:
        for contact in self.data.contact[:self.data.ncon]:
            pair = {int(contact.geom1), int(contact.geom2)}
            if self.floor in pair or not pair & self.robot or pair <= self.robot:
                continue
            if self.data.time - self.last_contact > ONE_COLLISION_S:
                self.collisions.append(self.names[(pair - self.robot).pop()])
            self.last_contact = self.data.time

    def measure_wheels(self) -> None:
        """Odometry as a robot has it: from how far its wheels have turned."""
        now = self.wheel_angles()
        left, right = ((now - self.wheels) * WHEEL_RADIUS).tolist()
        self.wheels = now
        ahead, turned = (left + right) / 2, (right - left) / TRACK
        pose = self.odometry
        middle = pose.yaw + turned / 2
        self.odometry = Pose(pose.x + ahead * math.cos(middle), pose.y + ahead * math.sin(middle), pose.yaw + turned)

    def measure_nearest(self) -> None:
        for geom in self.solid:
            self.nearest = min(
                self.nearest, mujoco.mj_geomDistance(self.model, self.data, self.body_geom, geom, min(self.nearest, 2.0), None))

    def place(self, x: float, y: float, yaw: float) -> None:
        """Puts the robot down somewhere else, at rest."""
        self.data.qpos[:2] = [x, y]
        self.data.qpos[3:7] = [math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)]
        self.data.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)
        self.odometry = Pose(x, y, yaw)
        self.wheels = self.wheel_angles()

    # --- What the camera sees -----------------------------------------------------------------------

    def picture(self) -> np.ndarray:
        """rgb8 [H, W, 3], with a camera's noise, tint and darker corners."""
        self.renderer.update_scene(self.data, self.camera_id, self.options)
        picture = self.renderer.render().astype(np.float32)
        height, width = picture.shape[:2]
        y, x = np.ogrid[-1:1:height * 1j, -1:1:width * 1j]
        exposure = np.clip(118.0 / max(picture.mean(), 1.0), 0.7, 1.5)
        picture *= (exposure * (1 - 0.12 * (x * x + y * y)))[..., None].astype(np.float32) * self.tint.astype(np.float32)
        picture += self.rng.standard_normal(picture.shape, np.float32) * self.noise
        return picture.clip(0, 255).astype(np.uint8)

    def depth(self) -> np.ndarray:
        """Distance along the optical axis in m, float32 [H, W]; infinite where there is nothing."""
        self.renderer.enable_depth_rendering()
        self.renderer.update_scene(self.data, self.camera_id, self.options)
        depth = self.renderer.render().astype(np.float32)
        self.renderer.disable_depth_rendering()
        return np.where(depth <= 0, np.inf, depth)

    def labels(self) -> np.ndarray:
        """The true mask, uint8 [H, W]: 0 floor, 2 what stands on it, 3 ceiling, sky and what is outside, 255 the robot itself."""
        self.renderer.enable_segmentation_rendering()
        self.renderer.update_scene(self.data, self.camera_id, self.options)
        geoms = self.renderer.render()[..., 0]
        self.renderer.disable_segmentation_rendering()
        classes = np.full(self.model.ngeom + 1, 2, np.uint8)
        classes[-1] = 3  # index -1: nothing
        for index, name in enumerate(self.names):
            if name == rooms.FLOOR:
                classes[index] = 0
            elif name.startswith(rooms.OUTSIDE) or name in ("looks_ceiling", "looks_lamp"):
                classes[index] = 3
            elif name.startswith("robot"):
                classes[index] = 255
        return classes[geoms]

    # --- The truth ----------------------------------------------------------------------------------

    def ground_under_camera(self) -> Pose:
        at = self.data.cam_xpos[self.camera_id]
        return Pose(float(at[0]), float(at[1]), self.pose().yaw)

    def true_ranges(self, angles: np.ndarray, range_max: float) -> tuple[np.ndarray, np.ndarray]:
        """For directions from the ground under the camera: the distance to the first thing that stands
        there, infinite beyond `range_max`; and whether the camera sees its foot."""
        origin = self.ground_under_camera()
        ranges, seen = np.full(len(angles), np.inf), np.zeros(len(angles), bool)
        start = np.array([origin.x, origin.y, FOOT_HEIGHT])
        hit = np.array([-1], np.int32)
        for index, angle in enumerate(angles):
            if not np.isfinite(angle):
                continue
            yaw = origin.yaw + float(angle)
            direction = np.array([math.cos(yaw), math.sin(yaw), 0.0])
            distance = mujoco.mj_ray(self.model, self.data, start, direction, self.ray_groups, 1, self.robot_id, hit, None)
            if distance < 0 or distance > range_max:
                continue
            ranges[index] = distance
            seen[index] = self.sees(start + direction * distance * 0.999)
        return ranges, seen

    def sees(self, point: np.ndarray) -> bool:
        """Whether a point lies in the picture with nothing before it."""
        eye = self.data.cam_xpos[self.camera_id]
        ahead = point - eye
        right, up, back = self.data.cam_xmat[self.camera_id].reshape(3, 3).T
        depth = -float(ahead @ back)
        if depth <= 0:
            return False
        f = self.camera.focal_px
        if abs(float(ahead @ right)) / depth * f > self.camera.width / 2 or abs(float(ahead @ up)) / depth * f > self.camera.height / 2:
            return False
        distance = float(np.linalg.norm(ahead))
        hit = np.array([-1], np.int32)
        reached = mujoco.mj_ray(self.model, self.data, eye, ahead / distance, self.ray_groups, 1, self.robot_id, hit, None)
        return reached < 0 or reached > distance - 0.02
