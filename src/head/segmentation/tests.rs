//! Known geometry to the pixel, and a plain reference.

use proptest::prelude::*;

use super::*;
use crate::geometry::{Fit, place};
use crate::manifest::SegmentationClass;

fn class(name: &str, traversability: Traversability, cost: u8) -> SegmentationClass {
    SegmentationClass { name: name.to_owned(), color: [0, 0, 0], traversability, cost }
}

fn spec() -> SegmentationSpec {
    SegmentationSpec {
        output: "segmentation".to_owned(),
        temperature: 1.0,
        classes: vec![
            class("road", Traversability::Traversable, 0),
            class("wall", Traversability::Obstacle, 254),
            class("sky", Traversability::Background, 255),
        ],
    }
}

/// Logits that are certain of the class that `of` gives for each cell.
fn certain(size: Size, of: impl Fn(u32, u32) -> usize) -> Vec<f32> {
    let mut logits = vec![0.0; 3 * size.area()];
    for y in 0..size.height {
        for x in 0..size.width {
            logits[of(x, y) * size.area() + (y * size.width + x) as usize] = 40.0;
        }
    }
    logits
}

fn run(logits: &[f32], size: Size, placement: &Placement, settings: &MaskSettings) -> Maps {
    let spec = spec();
    let meanings = Meanings::new(&spec, settings);
    let grid = Grid { logits, size };
    SegmentationHead::default().run(grid, placement, &spec, &meanings, settings, true)
}

/// The left half is road, the right half wall: the border has to stand in the picture's middle.
#[test]
fn the_border_stands_where_it_belongs_for_every_fit() {
    let settings = MaskSettings::default();
    for (image, input) in [
        (Size::new(640, 480), Size::new(480, 360)),
        (Size::new(501, 333), Size::new(160, 160)),
        (Size::new(90, 120), Size::new(160, 128)),
        (Size::new(1280, 720), Size::new(256, 256)),
    ] {
        for fit in [Fit::Aspect, Fit::Stretch, Fit::Letterbox, Fit::Crop] {
            let placement = place(image, input, fit, 300);
            let tensor = placement.input_size;
            let grid = Size::new(tensor.width / 4, tensor.height / 4);
            // Where the picture's middle lies in the tensor is the middle of the target.
            let logits = certain(grid, |x, _| usize::from(x >= grid.width / 2));
            let maps = run(&logits, grid, &placement, &settings);
            assert_eq!(maps.size, image);
            let row = (image.height / 2 * image.width) as usize;
            let line = &maps.semantic[row..row + image.width as usize];
            let border = line.iter().position(|&id| id == 1).unwrap() as f64;
            let middle = f64::from(image.width) / 2.0;
            let pixel = placement.image_from_tensor()[0].0;
            let target_middle =
                f64::from(placement.target_origin.0) + f64::from(placement.target_size.width) / 2.0;
            let tensor_middle =
                f64::from(grid.width / 2) * f64::from(tensor.width) / f64::from(grid.width);
            let expected = middle + (tensor_middle - target_middle) * pixel;
            assert!(
                (border - expected).abs() <= 1.0,
                "{fit:?} {image} in {input}: border at {border}, expected {expected}"
            );
        }
    }
}

#[test]
fn what_the_network_did_not_see_is_unknown() {
    let placement = place(Size::new(200, 100), Size::new(64, 64), Fit::Crop, 64);
    let grid = Size::new(16, 16);
    let maps = run(&certain(grid, |_, _| 0), grid, &placement, &MaskSettings::default());
    assert_eq!(maps.semantic[49], UNKNOWN);
    assert_eq!((maps.semantic[51], maps.confidence[51], maps.cost[51]), (0, 255, 0));
    assert_eq!((maps.traversability[149], maps.traversability[151]), (0, UNKNOWN));
    assert_eq!((maps.confidence[10], maps.cost[10]), (0, UNKNOWN));
}

#[test]
fn costs_are_expected_values_over_known_classes() {
    let placement = place(Size::new(64, 64), Size::new(64, 64), Fit::Stretch, 0);
    let grid = Size::new(1, 1);
    let check = |logits: [f32; 3], cost: u8| {
        let maps = run(&logits, grid, &placement, &MaskSettings::default());
        assert!(maps.cost.iter().all(|&c| c == cost), "{} where {cost} belongs", maps.cost[0]);
    };
    check([40.0, 0.0, 0.0], 0);
    check([0.0, 40.0, 0.0], 254);
    check([0.0, 0.0, 40.0], UNKNOWN);
    check([0.0, 0.0, -40.0], 127);
    // A third of sky: known classes have two thirds and decide.
    check([0.0, 0.0, 0.0], 127);
}

#[test]
fn settings_override_meanings_and_confidence() {
    let placement = place(Size::new(64, 64), Size::new(64, 64), Fit::Stretch, 0);
    let grid = Size::new(1, 1);
    let mut settings = MaskSettings::default();
    settings.traversability.insert("road".to_owned(), Traversability::Caution);
    settings.cost.insert("road".to_owned(), 100);
    let maps = run(&[40.0, 0.0, 0.0], grid, &placement, &settings);
    assert_eq!((maps.traversability[0], maps.cost[0], maps.semantic[0]), (1, 100, 0));
    settings.min_confidence = 0.6;
    let maps = run(&[0.1, 0.0, 0.0], grid, &placement, &settings);
    assert_eq!((maps.traversability[0], maps.cost[0], maps.semantic[0]), (255, 255, 255));
    assert_eq!(maps.confidence[0], 91, "the confidence itself stays");
    settings.size = MaskSize::Network;
    let placement = place(Size::new(640, 480), Size::new(64, 64), Fit::Stretch, 0);
    let maps = run(&[40.0, 0.0, 0.0], grid, &placement, &settings);
    assert_eq!(maps.size, Size::new(64, 64));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The fused pass against interpolation written down plainly.
    #[test]
    fn agrees_with_the_plain_reference(
        width in 1_u32..90, height in 1_u32..70, grid_width in 1_u32..20, grid_height in 1_u32..20,
        seed in 0_u32..1000,
    ) {
        let grid = Size::new(grid_width, grid_height);
        let image = Size::new(width, height);
        let placement = place(image, Size::new(96, 64), Fit::Stretch, 0);
        let logits: Vec<f32> = (0..3 * grid.area() as u32)
            .map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed * 7919)) >> 16 & 0xff) as f32 / 40.0)
            .collect();
        let maps = run(&logits, grid, &placement, &MaskSettings::default());
        let probability = |class: usize, x: u32, y: u32| {
            let cell = (y * grid_width + x) as usize;
            let exps: Vec<f64> = (0..3).map(|c| f64::from(logits[c * grid.area() + cell]).exp()).collect();
            exps[class] / exps.iter().sum::<f64>()
        };
        for y in 0..height {
            for x in 0..width {
                let at = |i: u32, out: u32, cells: u32| {
                    let position = (f64::from(i) + 0.5) * f64::from(cells) / f64::from(out) - 0.5;
                    let clamped = position.clamp(0.0, f64::from(cells - 1));
                    (clamped as u32, (clamped as u32 + 1).min(cells - 1), clamped.fract())
                };
                let (x0, x1, fx) = at(x, width, grid_width);
                let (y0, y1, fy) = at(y, height, grid_height);
                let interpolated: Vec<f64> = (0..3).map(|class| {
                    let upper = probability(class, x0, y0) * (1.0 - fx) + probability(class, x1, y0) * fx;
                    let lower = probability(class, x0, y1) * (1.0 - fx) + probability(class, x1, y1) * fx;
                    upper * (1.0 - fy) + lower * fy
                }).collect();
                let index = (y * width + x) as usize;
                let best = interpolated.iter().copied().fold(0.0, f64::max);
                let winner = maps.semantic[index] as usize;
                prop_assert!(interpolated[winner] > best - 1e-4, "{interpolated:?} at {x},{y}: {winner}");
                prop_assert!((f64::from(maps.confidence[index]) - 255.0 * best).abs() <= 1.0);
            }
        }
    }
}
