//! A camera's lens and sensor: from a direction to a pixel and back.
//!
//! Directions are in the camera's optical frame (REP 103: x right, y down, z ahead). Pixels are as
//! in `camera_info`: the centre of the upper left one is (0, 0). The lens models are those of
//! `sensor_msgs/distortion_models.hpp`, with OpenCV's formulas: `plumb_bob` and
//! `rational_polynomial` (Brown-Conrady; with 12 coefficients the thin prism's), `equidistant`
//! (Kannala-Brandt).
//!
//! A polynomial of distortion is right only as far as it rises: beyond, two directions fall on one
//! pixel. Directions past that limit have no pixel here.

use nalgebra::{Point2, Vector2, Vector3};

use crate::geometry::Size;

use super::reason::Reason;

/// What a `sensor_msgs/CameraInfo` says of the lens and the sensor.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CameraInfo {
    /// Width of the full picture that was calibrated, in pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Name of the lens model.
    pub distortion_model: String,
    /// Its coefficients.
    pub d: Vec<f64>,
    /// Intrinsics of the full raw picture, row-major.
    pub k: [f64; 9],
    /// Projection of the full rectified picture, row-major, 3 rows of 4.
    pub p: [f64; 12],
    /// Pixels that were joined to one, across and down; 0 counts as 1.
    pub binning: [u32; 2],
    /// The part of the full picture that is sent; all 0: the whole.
    pub roi: Roi,
}

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roi {
    /// Its first column.
    pub x_offset: u32,
    /// Its first row.
    pub y_offset: u32,
    /// Its columns.
    pub width: u32,
    /// Its rows.
    pub height: u32,
}

/// Projects directions to pixels of one picture size, and back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraModel {
    /// The picture's size.
    pub size: Size,
    focal: Vector2<f64>,
    skew: f64,
    centre: Point2<f64>,
    lens: Lens,
    /// The largest undistorted radius (perspective), or angle from the optical axis in radians
    /// (equidistant), for which the lens model holds.
    limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lens {
    /// `x = X / Z`, distorted.
    Perspective(Distortion),
    /// The radius follows the angle: `k1` to `k4`.
    Equidistant([f64; 4]),
}

/// Brown-Conrady in OpenCV's rational form.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Distortion {
    /// `k1 k2 k3` over the fraction bar, `k4 k5 k6` below.
    radial: [f64; 6],
    tangential: [f64; 2],
    thin_prism: [f64; 4],
}

/// A perspective picture ends short of 90 degrees from its axis.
const WIDEST: f64 = 89.5;

/// Whether both focal lengths of a matrix, in pixels, are some lens's: without a calibration drivers send zeros or an
/// identity.
pub fn has_focal_lengths(focal: [f64; 2]) -> bool {
    !focal.iter().any(|focal| (0.0..2.0).contains(focal))
}

impl CameraModel {
    /// The model of pictures of `size` from a camera that says `info`; `is_rectified` for pictures
    /// that were undistorted already, for which `P` holds and the distortion does not.
    ///
    /// A picture whose size is neither that of the region of interest nor the full one is taken for
    /// the region's (or, without one, the full picture), resized in each axis.
    ///
    /// # Errors
    /// [`Reason`] says what is wrong with the calibration.
    pub fn new(info: &CameraInfo, size: Size, is_rectified: bool) -> Result<Self, Reason> {
        let (k, p, d) = (&info.k, &info.p, &info.d);
        let has_p = has_focal_lengths([p[0], p[5]]);
        let is_distorted = d.iter().any(|value| *value != 0.0);
        // Who undistorts pictures and tells a K without distortion has made the K of these pictures.
        let (matrix, [fx, skew, cx, fy, cy]) = if is_rectified && (has_p || is_distorted) {
            ("P", [p[0], p[1], p[2], p[5], p[6]])
        } else {
            ("K", [k[0], k[1], k[2], k[4], k[5]])
        };
        if size.area() == 0 {
            return Err(Reason::NoPicture { size });
        }
        if !has_focal_lengths([fx, fy]) {
            return Err(Reason::NotCalibrated { matrix });
        }
        let bad = |what: String| Err(Reason::BadIntrinsics { what });
        if ![fx, skew, cx, fy, cy].iter().all(|value| value.is_finite()) {
            return bad(format!("{matrix} holds a number that is none"));
        }
        if fx < 0.0 || fy < 0.0 {
            return bad(format!("{matrix} has the focal lengths {fx} and {fy}"));
        }
        let lens = if is_rectified {
            Lens::Perspective(Distortion::default())
        } else {
            lens(&info.distortion_model, d)?
        };
        let [(scale_x, offset_x), (scale_y, offset_y)] = info.picture_from_full(size);
        // Edges scale, centres of pixels lie half a pixel beside them.
        let centre = |c: f64, scale: f64, offset: f64| (c + 0.5 - offset) * scale - 0.5;
        let focal = Vector2::new(fx * scale_x, fy * scale_y);
        let (limit, at_limit) = lens.limit();
        if limit <= 0.0 || !at_limit.is_finite() {
            return bad(format!("its distortion {d:?} turns the picture inside out"));
        }
        Ok(Self {
            size,
            focal,
            skew: skew * scale_x,
            centre: Point2::new(centre(cx, scale_x, offset_x), centre(cy, scale_y, offset_y)),
            lens,
            limit,
        })
    }

    /// A lens without distortion whose picture of `size` is `hfov_deg` wide.
    ///
    /// # Errors
    /// [`Reason::TooWide`] unless that is over 0 and under 180 degrees.
    pub fn from_hfov(hfov_deg: f64, size: Size) -> Result<Self, Reason> {
        if size.area() == 0 {
            return Err(Reason::NoPicture { size });
        }
        if !(hfov_deg > 0.0 && hfov_deg < 179.0) {
            return Err(Reason::TooWide { hfov_deg });
        }
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let focal = width / 2.0 / (hfov_deg.to_radians() / 2.0).tan();
        let lens = Lens::Perspective(Distortion::default());
        Ok(Self {
            size,
            focal: Vector2::new(focal, focal),
            skew: 0.0,
            centre: Point2::new((width - 1.0) / 2.0, (height - 1.0) / 2.0),
            lens,
            limit: lens.limit().0,
        })
    }

    /// The pixel of a direction, of any length, in the optical frame; it may lie outside of the
    /// picture. `None` for directions that the lens model does not hold for, such as those behind a
    /// perspective camera.
    pub fn project(&self, direction: Vector3<f64>) -> Option<Point2<f64>> {
        let distorted = match &self.lens {
            Lens::Perspective(distortion) => {
                if direction.z <= 0.0 {
                    return None;
                }
                let point = direction.xy() / direction.z;
                // Written so that what is no number is refused too.
                if !(point.norm_squared() <= self.limit * self.limit) {
                    return None;
                }
                distortion.distort(point)
            }
            Lens::Equidistant(k) => {
                let radius = direction.xy().norm();
                let angle = radius.atan2(direction.z);
                if !(angle <= self.limit) {
                    return None;
                }
                if radius > 0.0 {
                    direction.xy() * (equidistant(k, angle) / radius)
                } else {
                    Vector2::zeros()
                }
            }
        };
        let pixel = Point2::new(
            self.focal.x * distorted.x + self.skew * distorted.y + self.centre.x,
            self.focal.y * distorted.y + self.centre.y,
        );
        pixel.coords.iter().all(|value| value.is_finite()).then_some(pixel)
    }

    /// The direction of a pixel, of length 1, in the optical frame: the inverse of
    /// [`CameraModel::project`]. `None` for pixels that no direction falls on.
    pub fn unproject(&self, pixel: Point2<f64>) -> Option<Vector3<f64>> {
        let y = (pixel.y - self.centre.y) / self.focal.y;
        let x = (pixel.x - self.centre.x - self.skew * y) / self.focal.x;
        let distorted = Vector2::new(x, y);
        let radius = distorted.norm();
        if !radius.is_finite() {
            return None;
        }
        let direction = match &self.lens {
            Lens::Perspective(distortion) => {
                let point = distortion.undistort(distorted, self.limit)?;
                Vector3::new(point.x, point.y, 1.0)
            }
            Lens::Equidistant(k) => {
                let angle = solve_rising(|angle| equidistant(k, angle), self.limit, radius)?;
                let (sin, cos) = angle.sin_cos();
                if radius > 0.0 {
                    Vector3::new(x / radius * sin, y / radius * sin, cos)
                } else {
                    Vector3::z()
                }
            }
        };
        Some(direction.normalize())
    }

    /// Whether a pixel is in the picture.
    pub fn contains(&self, pixel: Point2<f64>) -> bool {
        let inside = |value: f64, size: u32| value >= -0.5 && value <= f64::from(size) - 0.5;
        inside(pixel.x, self.size.width) && inside(pixel.y, self.size.height)
    }

    /// The angle that a pixel covers in the middle of the picture, in radians.
    pub fn pixel_angle(&self) -> f64 {
        self.focal.min().recip()
    }
}

impl CameraInfo {
    /// Whether pictures of that size have another aspect ratio than what was calibrated: they are taken as squeezed, and
    /// distances are wrong where the camera cropped them instead.
    pub fn is_squeezed(&self, size: Size) -> bool {
        const MOST: f64 = 0.02;
        let [(scale_x, _), (scale_y, _)] = self.picture_from_full(size);
        let [x, y] = self.binning.map(|binning| f64::from(binning.max(1)));
        let is_uneven = |ratio: f64| (ratio - 1.0).abs() > MOST;
        // What the driver binned it told; whether it did so with these pictures too the size tells.
        is_uneven(scale_x / scale_y) && is_uneven(scale_x * x / (scale_y * y))
    }

    /// `picture = (full - offset) * scale` for x and y, in edge coordinates.
    fn picture_from_full(&self, size: Size) -> [(f64, f64); 2] {
        let axis = |full: u32, roi: (u32, u32), binning: u32, picture: u32| {
            let binning = f64::from(binning.max(1));
            let (offset, length) = match roi {
                (_, 0) => (0, full),
                // A driver that says a region and sends the whole picture sends the whole picture.
                _ if f64::from(picture) * binning == f64::from(full) => (0, full),
                roi => roi,
            };
            // Without a size, the picture is taken for what was calibrated.
            let length = if length == 0 { f64::from(picture) * binning } else { f64::from(length) };
            (f64::from(picture) / length, f64::from(offset))
        };
        let Roi { x_offset, y_offset, width, height } = self.roi;
        [
            axis(self.width, (x_offset, width), self.binning[0], size.width),
            axis(self.height, (y_offset, height), self.binning[1], size.height),
        ]
    }
}

fn lens(model: &str, d: &[f64]) -> Result<Lens, Reason> {
    if d.iter().any(|value| !value.is_finite()) {
        return Err(Reason::BadIntrinsics { what: "D holds a number that is none".to_owned() });
    }
    let has_none = d.iter().all(|value| *value == 0.0);
    let wrong = |expected| {
        let (model, count) = (model.to_owned(), d.len());
        Err(Reason::WrongCoefficients { model, count, expected })
    };
    let at = |index: usize| d.get(index).copied().unwrap_or_default();
    match model {
        "equidistant" | "fisheye" => match d {
            // realsense-ros sends a fifth one, 0.
            [k1, k2, k3, k4, rest @ ..] if rest.iter().all(|value| *value == 0.0) => {
                Ok(Lens::Equidistant([*k1, *k2, *k3, *k4]))
            }
            _ if has_none => Ok(Lens::Equidistant([0.0; 4])),
            _ => wrong("4"),
        },
        "plumb_bob" | "rational_polynomial" => {
            let is_known = matches!(d.len(), 0 | 4 | 5 | 8 | 12)
                // A tilted sensor is another model, unless it is not tilted.
                || d.len() == 14 && d[12] == 0.0 && d[13] == 0.0;
            if !is_known && !has_none {
                return wrong("4, 5, 8 or 12");
            }
            Ok(Lens::Perspective(Distortion {
                radial: [at(0), at(1), at(4), at(5), at(6), at(7)],
                tangential: [at(2), at(3)],
                thin_prism: [at(8), at(9), at(10), at(11)],
            }))
        }
        _ if has_none => Ok(Lens::Perspective(Distortion::default())),
        _ => Err(Reason::UnknownDistortion { model: model.to_owned() }),
    }
}

impl Lens {
    /// How far the model holds, and the distorted radius there.
    fn limit(&self) -> (f64, f64) {
        match self {
            Self::Perspective(distortion) => {
                let steps = (1..=895).map(|tenth| (f64::from(tenth) / 10.0).min(WIDEST));
                let radii = steps.map(|degrees| degrees.to_radians().tan());
                rises_to(radii, |radius| radius * distortion.radial_factor(radius * radius))
            }
            Self::Equidistant(k) => {
                let steps = (1..=1800).map(|tenth| (f64::from(tenth) / 10.0).to_radians());
                rises_to(steps, |angle| equidistant(k, angle))
            }
        }
    }
}

/// The last of `steps` up to which `f` rises from 0, and its value there.
fn rises_to(steps: impl Iterator<Item = f64>, f: impl Fn(f64) -> f64) -> (f64, f64) {
    let mut last = (0.0, 0.0);
    for step in steps {
        let value = f(step);
        if !(value > last.1 && value.is_finite()) {
            break;
        }
        last = (step, value);
    }
    last
}

/// Where `f`, which rises from 0 at 0 to `limit`, has that value: Newton's method with the secant's
/// slope, kept between bounds that close in.
fn solve_rising(f: impl Fn(f64) -> f64, limit: f64, value: f64) -> Option<f64> {
    if !(value <= f(limit)) {
        return None;
    }
    let (mut low, mut high) = (0.0, limit);
    let mut at = value.min(limit);
    for _ in 0..100 {
        let error = f(at) - value;
        if error > 0.0 {
            high = at;
        } else {
            low = at;
        }
        let step = 1e-6 * limit.min(1.0);
        let slope = (f(at + step) - f(at)) / step;
        let newton = at - error / slope;
        let next = if newton > low && newton < high { newton } else { (low + high) / 2.0 };
        if (next - at).abs() <= 1e-13 * (1.0 + at) {
            return Some(next);
        }
        at = next;
    }
    Some(at)
}

fn equidistant(k: &[f64; 4], angle: f64) -> f64 {
    let a2 = angle * angle;
    angle * (1.0 + a2 * (k[0] + a2 * (k[1] + a2 * (k[2] + a2 * k[3]))))
}

impl Distortion {
    /// How much farther out a point of that squared radius is drawn.
    fn radial_factor(&self, r2: f64) -> f64 {
        let [k1, k2, k3, k4, k5, k6] = self.radial;
        (1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    }

    fn is_radial(&self) -> bool {
        self.tangential == [0.0; 2] && self.thin_prism == [0.0; 4]
    }

    fn distort(&self, point: Vector2<f64>) -> Vector2<f64> {
        let r2 = point.norm_squared();
        let (x, y) = (point.x, point.y);
        let [p1, p2] = self.tangential;
        let [s1, s2, s3, s4] = self.thin_prism;
        let factor = self.radial_factor(r2);
        Vector2::new(
            x * factor + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x) + r2 * (s1 + r2 * s2),
            y * factor + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y + r2 * (s3 + r2 * s4),
        )
    }

    /// The point within `limit` that is drawn at `distorted`: the radial part solved safely, the
    /// rest by Newton's method from there.
    fn undistort(&self, distorted: Vector2<f64>, limit: f64) -> Option<Vector2<f64>> {
        if self.radial == [0.0; 6] && self.is_radial() {
            return (distorted.norm() <= limit).then_some(distorted);
        }
        let radius = distorted.norm();
        let radial = |r: f64| r * self.radial_factor(r * r);
        if self.is_radial() {
            let solved = solve_rising(radial, limit, radius)?;
            return Some(if radius > 0.0 { distorted * (solved / radius) } else { distorted });
        }
        // Near the limit the tangential part may lead over it: start from within.
        let start = solve_rising(radial, limit, radius.min(radial(limit)))?;
        let mut point = if radius > 0.0 { distorted * (start / radius) } else { distorted };
        for _ in 0..30 {
            let error = self.distort(point) - distorted;
            if error.norm() < 1e-13 * (1.0 + radius) {
                break;
            }
            let step = 1e-7 * (1.0 + point.norm());
            let along = |d: Vector2<f64>| {
                (self.distort(point + d * step) - self.distort(point - d * step)) / (2.0 * step)
            };
            let (dx, dy) = (along(Vector2::x()), along(Vector2::y()));
            let determinant = dx.x * dy.y - dy.x * dx.y;
            let x = (dy.y * error.x - dy.x * error.y) / determinant;
            let y = (dx.x * error.y - dx.y * error.x) / determinant;
            point -= Vector2::new(x, y);
        }
        let is_found = (self.distort(point) - distorted).norm() < 1e-8 * (1.0 + radius)
            && point.norm() <= limit;
        is_found.then_some(point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info(model: &str, d: &[f64]) -> CameraInfo {
        CameraInfo {
            width: 640,
            height: 480,
            distortion_model: model.to_owned(),
            d: d.to_vec(),
            k: [400.0, 0.0, 320.5, 0.0, 410.0, 239.0, 0.0, 0.0, 1.0],
            p: [380.0, 0.0, 310.0, 0.0, 0.0, 390.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            ..CameraInfo::default()
        }
    }

    const SIZE: Size = Size::new(640, 480);

    fn model(name: &str, d: &[f64]) -> CameraModel {
        CameraModel::new(&info(name, d), SIZE, false).unwrap()
    }

    fn close(a: Point2<f64>, x: f64, y: f64) {
        assert!((a - Point2::new(x, y)).norm() < 1e-6, "{a} is not ({x}, {y})");
    }

    #[test]
    fn opencv_draws_the_same_points() {
        // cv2.projectPoints and cv2.fisheye.projectPoints of OpenCV 4.
        let at = Vector3::new(0.3, -0.2, 1.0);
        close(model("plumb_bob", &[]).project(at).unwrap(), 440.5, 157.0);
        let r2: f64 = 0.13;
        let factor = 1.0 - 0.3 * r2 + 0.1 * r2 * r2 - 0.02 * r2 * r2 * r2;
        let x = 0.3 * factor + 2.0 * 0.001 * -0.06 - 0.002 * (r2 + 0.18);
        let y = -0.2 * factor + 0.001 * (r2 + 0.08) - 2.0 * 0.002 * -0.06;
        let brown = model("plumb_bob", &[-0.3, 0.1, 0.001, -0.002, -0.02]);
        close(brown.project(at).unwrap(), 400.0 * x + 320.5, 410.0 * y + 239.0);
        let fisheye = model("equidistant", &[0.1, -0.02, 0.003, -0.001]);
        let (sideways, angle) = (Vector3::new(1.0, 0.0, 0.0), std::f64::consts::FRAC_PI_2);
        let a2 = angle * angle;
        let radius = angle * (1.0 + a2 * (0.1 + a2 * (-0.02 + a2 * (0.003 - a2 * 0.001))));
        close(fisheye.project(sideways).unwrap(), 400.0 * radius + 320.5, 239.0);
        close(fisheye.project(Vector3::z()).unwrap(), 320.5, 239.0);
    }

    #[test]
    fn region_binning_and_other_sizes_move_the_intrinsics() {
        let at = Vector3::new(0.1, 0.1, 1.0);
        let (u, v) = (360.5, 280.0);
        let mut binned = info("plumb_bob", &[0.0; 5]);
        binned.binning = [2, 2];
        let half = CameraModel::new(&binned, Size::new(320, 240), false).unwrap();
        close(half.project(at).unwrap(), (u + 0.5) / 2.0 - 0.5, (v + 0.5) / 2.0 - 0.5);
        // The same, but nobody said so.
        let resized =
            CameraModel::new(&info("plumb_bob", &[]), Size::new(320, 240), false).unwrap();
        assert_eq!(half, resized);
        binned.roi = Roi { x_offset: 100, y_offset: 40, width: 400, height: 300 };
        let part = CameraModel::new(&binned, Size::new(200, 150), false).unwrap();
        close(
            part.project(at).unwrap(),
            (u + 0.5 - 100.0) / 2.0 - 0.5,
            (v + 0.5 - 40.0) / 2.0 - 0.5,
        );
        // The whole picture in spite of the region.
        assert_eq!(CameraModel::new(&binned, Size::new(320, 240), false).unwrap(), half);
        let rectified =
            CameraModel::new(&info("plumb_bob", &[-0.3, 0.1, 0.0, 0.0, 0.0]), SIZE, true);
        close(rectified.unwrap().project(at).unwrap(), 348.0, 269.0);
        let wide = CameraModel::from_hfov(90.0, SIZE).unwrap();
        close(wide.project(Vector3::new(1.0, 0.0, 1.0)).unwrap(), 639.5, 239.5);
    }

    #[test]
    fn what_is_no_calibration_is_refused() {
        let zero = CameraInfo { width: 640, height: 480, ..CameraInfo::default() };
        assert_eq!(
            CameraModel::new(&zero, SIZE, false),
            Err(Reason::NotCalibrated { matrix: "K" })
        );
        let check = |model: &str, d: &[f64], words: &str| {
            let reason = CameraModel::new(&info(model, d), SIZE, false).unwrap_err().to_string();
            assert!(reason.contains(words), "{reason}");
        };
        check("omni", &[0.1], "model \"omni\"");
        check("plumb_bob", &[0.1; 7], "7 coefficients");
        check("equidistant", &[0.1; 5], "5 coefficients");
        assert!(
            lens("equidistant", &[0.1, 0.0, 0.0, 0.0, 0.0]).is_ok(),
            "as realsense-ros sends it"
        );
        check("plumb_bob", &[f64::NAN; 5], "D holds");
        check("plumb_bob", &[-1e9, 0.0, 0.0, 0.0, 0.0], "inside out");
        let mut identity = info("plumb_bob", &[]);
        identity.k = [1.0, 0.0, 320.0, 0.0, 1.0, 240.0, 0.0, 0.0, 1.0];
        assert_eq!(
            CameraModel::new(&identity, SIZE, false),
            Err(Reason::NotCalibrated { matrix: "K" })
        );
        let mut undistorted = info("plumb_bob", &[0.0; 5]);
        undistorted.p = [0.0; 12];
        let by_k = CameraModel::new(&undistorted, SIZE, true).unwrap();
        assert_eq!(by_k, CameraModel::new(&undistorted, SIZE, false).unwrap());
        undistorted.d[0] = -0.3;
        let reason = CameraModel::new(&undistorted, SIZE, true).unwrap_err();
        assert!(reason.to_string().contains("no focal length in P, which rectified"), "{reason}");
        let mut negative = info("plumb_bob", &[]);
        negative.k[0] = -1.0;
        assert!(CameraModel::new(&negative, SIZE, false).is_err());
        assert!(CameraModel::from_hfov(180.0, SIZE).is_err());
        assert!(CameraModel::from_hfov(f64::NAN, SIZE).is_err());
        assert!(CameraModel::from_hfov(90.0, Size::new(0, 4)).is_err());
        // What has no distortion needs no model.
        assert!(CameraModel::new(&info("", &[]), SIZE, false).is_ok());
    }

    #[test]
    fn a_fold_of_the_distortion_is_not_passed() {
        // r (1 - 0.3 r^2) rises up to r = 1.054.
        let barrel = model("plumb_bob", &[-0.3, 0.0, 0.0, 0.0, 0.0]);
        assert!((barrel.limit - 1.054).abs() < 0.01, "{}", barrel.limit);
        assert!(barrel.project(Vector3::new(1.2, 0.0, 1.0)).is_none());
        assert!(barrel.project(Vector3::new(0.0, 0.0, -1.0)).is_none());
        // The outermost columns show what the polynomial never reaches.
        assert!(barrel.unproject(Point2::new(320.5 + 400.0 * 0.75, 239.0)).is_none());
        assert!(barrel.unproject(Point2::new(320.5 + 400.0 * 0.70, 239.0)).is_some());
    }

    fn lenses() -> impl Strategy<Value = (&'static str, Vec<f64>)> {
        prop_oneof![
            Just(("plumb_bob", vec![])),
            (-0.35..0.35, -0.1..0.15, -0.003..0.003, -0.003..0.003, -0.02..0.02)
                .prop_map(|(a, b, c, d, e)| ("plumb_bob", vec![a, b, c, d, e])),
            (
                -0.3..0.3,
                -0.1..0.1,
                -0.002..0.002,
                -0.002..0.002,
                -0.02..0.02,
                0.0..0.4,
                0.0..0.1,
                0.0..0.02
            )
                .prop_map(|(a, b, c, d, e, f, g, h)| {
                    ("rational_polynomial", vec![a, b, c, d, e, f, g, h])
                }),
            (-0.05..0.1, -0.03..0.02, -0.005..0.005, -0.001..0.001)
                .prop_map(|(a, b, c, d)| ("equidistant", vec![a, b, c, d])),
        ]
    }

    proptest! {
        #[test]
        fn from_pixel_to_direction_and_back_is_the_identity(
            (name, d) in lenses(), u in -0.5..639.5, v in -0.5..479.5,
        ) {
            let model = model(name, &d);
            let pixel = Point2::new(u, v);
            if let Some(direction) = model.unproject(pixel) {
                prop_assert!((direction.norm() - 1.0).abs() < 1e-9);
                let back = model.project(direction * 3.0);
                prop_assert!(back.is_some(), "{name} {d:?}: {direction:?}");
                prop_assert!((back.unwrap() - pixel).norm() < 1e-4, "{name} {d:?}: {back:?}");
            } else {
                // Only where no direction below the lens model's limit falls.
                let toward = Vector3::new(u - model.centre.x, v - model.centre.y, 0.0).normalize();
                for i in 0..=1000 {
                    let (sin, cos) = (f64::from(i) / 1000.0 * std::f64::consts::PI).sin_cos();
                    let direction = toward * sin + Vector3::z() * cos;
                    if let Some(back) = model.project(direction) {
                        prop_assert!((back - pixel).norm() > 0.1, "{name} {d:?}: {direction:?}");
                    }
                }
            }
        }

        #[test]
        fn any_camera_info_gives_pixels_or_a_reason(
            k in proptest::array::uniform9(any::<f64>()),
            d in proptest::collection::vec(any::<f64>(), 0..15),
            name in prop_oneof![Just("plumb_bob"), Just("rational_polynomial"), Just("equidistant"), Just("")],
            size in (0_u32..5000, 0_u32..5000), full in (any::<u32>(), any::<u32>()),
            roi in proptest::array::uniform4(any::<u32>()),
            binning in proptest::array::uniform2(any::<u32>()),
            rays in proptest::collection::vec(proptest::array::uniform3(any::<f64>()), 8),
            is_tame in any::<bool>(),
        ) {
            let tame = |value: f64| if is_tame { (value % 1000.0).abs() } else { value };
            let info = CameraInfo {
                width: full.0,
                height: full.1,
                distortion_model: name.to_owned(),
                d: d.into_iter().map(|value| if is_tame { value % 1.0 } else { value }).collect(),
                k: k.map(tame),
                p: [0.0; 12],
                binning,
                roi: Roi { x_offset: roi[0], y_offset: roi[1], width: roi[2], height: roi[3] },
            };
            if let Ok(model) = CameraModel::new(&info, Size::new(size.0, size.1), false) {
                for ray in rays {
                    if let Some(pixel) = model.project(Vector3::from(ray)) {
                        prop_assert!(pixel.x.is_finite() && pixel.y.is_finite());
                    }
                    if let Some(direction) = model.unproject(Point2::new(ray[0], ray[1])) {
                        prop_assert!(direction.iter().all(|value| value.is_finite()));
                    }
                }
            }
        }
    }
}
