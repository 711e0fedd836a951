//! How far one camera knows distances on the ground.
//!
//! A point of the ground at distance `d` from under a camera at height `h` is seen `atan(h / d)`
//! below the horizon. An error of `sigma` radians there, from pitch or from the picture's
//! resolution, moves the point by `(d^2 + h^2) / h * sigma`.

/// The error of a distance in metres, one standard deviation.
pub fn error_m(distance_m: f64, height_m: f64, sigma_rad: f64) -> f64 {
    (distance_m * distance_m + height_m * height_m) / height_m * sigma_rad
}

/// The largest distance whose error is at most `share` of it; `None` where there is none, infinite
/// without any error.
pub fn usable_m(height_m: f64, sigma_rad: f64, share: f64) -> Option<f64> {
    if sigma_rad <= 0.0 {
        return Some(f64::INFINITY);
    }
    // d^2 - (share h / sigma) d + h^2 = 0
    let half = share * height_m / sigma_rad / 2.0;
    let under_root = half * half - height_m * height_m;
    (under_root >= 0.0).then(|| half + under_root.sqrt())
}

/// The standard deviation of an angle that is known to one cell of that angle (evenly spread), added
/// to another one that is independent of it.
pub fn with_resolution(sigma_rad: f64, cell_rad: f64) -> f64 {
    sigma_rad.hypot(cell_rad / 12.0_f64.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn half_a_degree_at_two_metres_is_twelve_centimetres() {
        let error = error_m(2.0, 0.3, 0.5_f64.to_radians());
        assert!((error - 0.119).abs() < 1e-3, "{error}");
    }

    proptest! {
        #[test]
        fn the_usable_range_has_the_error_asked_for(
            height in 0.1..2.0, sigma in 0.001..0.05, share in 0.02..0.3,
        ) {
            match usable_m(height, sigma, share) {
                Some(d) => {
                    let error = error_m(d, height, sigma);
                    prop_assert!((error - share * d).abs() < 1e-9 * (1.0 + d));
                    prop_assert!(error_m(1.01 * d, height, sigma) > share * 1.01 * d);
                }
                // The best distance is h, where the error is 2 h sigma.
                None => prop_assert!(2.0 * height * sigma > share * height),
            }
        }
    }
}
