//! The ground that a robot stands on.

use std::str::FromStr;

use thiserror::Error;

/// A polygon around the origin of the robot's frame, in metres, x ahead and y to the left.
#[derive(Debug, Clone, PartialEq)]
pub struct Footprint {
    corners: Vec<[f64; 2]>,
}

/// Why a text is no footprint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0}; a footprint is written as Nav2 does: [[0.2, 0.2], [0.2, -0.2], [-0.2, -0.2], [-0.2, 0.2]]"
)]
pub struct FootprintError(String);

impl Default for Footprint {
    /// A square of 0.4 m.
    fn default() -> Self {
        Self { corners: vec![[0.2, 0.2], [0.2, -0.2], [-0.2, -0.2], [-0.2, 0.2]] }
    }
}

impl FromStr for Footprint {
    type Err = FootprintError;

    fn from_str(text: &str) -> Result<Self, FootprintError> {
        let corners: Vec<[f64; 2]> =
            serde_json::from_str(text).map_err(|error| FootprintError(error.to_string()))?;
        if corners.len() < 3 {
            return Err(FootprintError(format!("{} corners: three is the least", corners.len())));
        }
        if let Some(corner) =
            corners.iter().flatten().find(|value| value.is_nan() || value.abs() > 5.0)
        {
            return Err(FootprintError(format!(
                "a corner at {corner}: 5 m from the middle is the most"
            )));
        }
        let footprint = Self { corners };
        if footprint.points(0.02).is_empty() {
            return Err(FootprintError("it has no area".to_owned()));
        }
        Ok(footprint)
    }
}

impl Footprint {
    /// Whether a point is inside: how often a ray to the right meets an edge tells.
    pub fn contains(&self, [x, y]: [f64; 2]) -> bool {
        let next = self.corners.iter().cycle().skip(1);
        let edges = self.corners.iter().zip(next);
        let crossed = edges.filter(|([ax, ay], [bx, by])| {
            (*ay > y) != (*by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax
        });
        crossed.count() % 2 == 1
    }

    /// Points inside, `step` metres apart.
    pub fn points(&self, step: f64) -> Vec<[f64; 2]> {
        let [(left, right), (low, high)] = self.bounds();
        let count = |from: f64, to: f64| ((to - from) / step).ceil() as usize;
        let places =
            (0..count(left, right)).flat_map(|i| (0..count(low, high)).map(move |j| (i, j)));
        let points =
            places.map(|(i, j)| [left + (i as f64 + 0.5) * step, low + (j as f64 + 0.5) * step]);
        points.filter(|point| self.contains(*point)).collect()
    }

    /// Points of a strip before it, as wide as it is, `depth` metres deep.
    pub fn ahead(&self, depth: f64, step: f64) -> Vec<[f64; 2]> {
        let [(_, front), (right, left)] = self.bounds();
        let corners =
            vec![[front, left], [front, right], [front + depth, right], [front + depth, left]];
        Self { corners }.points(step)
    }

    /// The least and the largest x, then y.
    fn bounds(&self) -> [(f64, f64); 2] {
        [0, 1].map(|axis| {
            let values = self.corners.iter().map(|corner| corner[axis]);
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
                (least.min(value), most.max(value))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_is_full_of_points() {
        let square = Footprint::default();
        let points = square.points(0.04);
        assert_eq!(points.len(), 100);
        assert!(points.iter().flatten().all(|value| value.abs() < 0.2));
        let ahead = square.ahead(0.2, 0.04);
        assert_eq!(ahead.len(), 50);
        assert!(ahead.iter().all(|[x, y]| (0.2..0.4).contains(x) && y.abs() < 0.2));
    }

    #[test]
    fn nav2s_notation_is_read_and_other_is_refused() {
        let triangle: Footprint = "[[0.5, 0.0], [-0.25, 0.25], [-0.25, -0.25]]".parse().unwrap();
        assert!(triangle.contains([0.2, 0.0]) && !triangle.contains([0.4, 0.2]));
        for (text, why) in [
            ("0.4 0.4", "footprint is written"),
            ("[[0.1, 0.1], [0.2, 0.2]]", "2 corners"),
            ("[[0, 0], [0, 0], [0, 0]]", "no area"),
            ("[[0, 0], [40, 0], [0, 40]]", "at 40"),
        ] {
            let said = text.parse::<Footprint>().unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }
}
