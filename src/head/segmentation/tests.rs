//! Known geometry to the pixel, and a plain reference.

use proptest::prelude::*;

use super::*;
use crate::geometry::{Fit, input_transform};
use crate::ground::grid::Cell;
use crate::manifest::SegmentationClass;
use crate::settings::MaskKind;

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

fn run(logits: &[f32], size: Size, transform: &InputTransform, settings: &MaskSettings) -> Maps {
    run_with(&spec(), logits, size, transform, settings)
}

fn run_with(
    spec: &SegmentationSpec,
    logits: &[f32],
    size: Size,
    transform: &InputTransform,
    settings: &MaskSettings,
) -> Maps {
    let mapping = ClassMapping::new(spec, settings);
    let grid = Grid::new(logits, size);
    SegmentationHead::default().run(grid, transform, spec, &mapping, settings, Wanted::ALL)
}

/// As [`spec`], and a second class of ground behind it.
fn spec_with_two_grounds() -> SegmentationSpec {
    let mut spec = spec();
    spec.classes.push(class("pavement", Traversability::Traversable, 20));
    spec
}

#[test]
fn classes_of_one_traversability_stand_together() {
    let transform = input_transform(Size::new(8, 8), Size::new(64, 64), Fit::Stretch, 0);
    let mut settings = MaskSettings::default();
    // Road and pavement have 0.3 each, the wall 0.4.
    let logits = [0.3_f32, 0.4, 1e-9, 0.3].map(f32::ln);
    let check = |settings: &MaskSettings, semantic, traversability, confidence| {
        let maps =
            run_with(&spec_with_two_grounds(), &logits, Size::new(1, 1), &transform, settings);
        let found = (maps.semantic[9], maps.traversability[9], maps.confidence[9]);
        assert_eq!(found, (semantic, traversability, confidence));
    };
    check(&settings, 0, 0, 153);
    settings.kind = MaskKind::Semantic;
    check(&settings, 1, 0, 102);
    settings.min_confidence = 0.5;
    check(&settings, UNKNOWN, UNKNOWN, 102);
    settings.kind = MaskKind::Traversability;
    check(&settings, 0, 0, 153);
}

/// Cells up to `border` are road, those from there on wall; gives the first wall pixel.
fn first_wall(transform: &InputTransform, cell_px: u32, border: u32, is_vertical: bool) -> usize {
    let input = transform.input_size;
    let grid = Size::new(input.width / cell_px, input.height / cell_px);
    let logits = certain(grid, |x, y| usize::from(if is_vertical { y } else { x } >= border));
    let maps = run(&logits, grid, transform, &MaskSettings::default());
    let image = transform.image_size;
    assert_eq!(maps.size, image);
    let (start, step) = if is_vertical {
        (image.width / 2, image.width)
    } else {
        (image.height / 2 * image.width, 1)
    };
    let line = maps.semantic.iter().skip(start as usize).step_by(step as usize);
    line.take_while(|id| **id != 1).count()
}

/// The expected pixels are worked out by hand: the border's place in the tensor, taken to the
/// picture, then the first pixel whose centre lies beyond it.
#[test]
fn borders_stand_on_the_pixel_where_they_belong() {
    let check = |image, input, fit, border, is_vertical, expected| {
        let transform = input_transform(image, input, fit, 80);
        let actual = first_wall(&transform, 4, border, is_vertical);
        assert_eq!(actual, expected, "{fit:?} {image} in {input}, vertical {is_vertical}");
    };
    // 16 * 201 / 64 = 50.25
    check(Size::new(201, 99), Size::new(64, 64), Fit::Stretch, 4, false, 50);
    // 44 * 99 / 64 = 68.06
    check(Size::new(201, 99), Size::new(64, 64), Fit::Stretch, 11, true, 68);
    // 160x106 pixels from row 27: (60 - 27) * 333 / 106 = 103.67
    check(Size::new(501, 333), Size::new(160, 160), Fit::Letterbox, 15, true, 104);
    // 40 * 501 / 160 = 125.25
    check(Size::new(501, 333), Size::new(160, 160), Fit::Letterbox, 10, false, 125);
    // 106x160 pixels from column 27.
    check(Size::new(333, 501), Size::new(160, 160), Fit::Letterbox, 15, false, 104);
    // Rows 8 to 72 of 80: (8 + 16) * 199 / 80 = 59.7
    check(Size::new(321, 199), Size::new(64, 64), Fit::Crop, 4, true, 60);
    // 480x360: 120 * 640 / 480 = 160
    check(Size::new(640, 480), Size::new(480, 360), Fit::Aspect, 30, false, 160);
    // 128x200: 32 * 333 / 128 = 83.25, 100 * 501 / 200 = 250.5, a tie in the middle of a pixel
    check(Size::new(333, 501), Size::new(160, 160), Fit::Aspect, 8, false, 83);
    check(Size::new(333, 501), Size::new(160, 160), Fit::Aspect, 26, true, 261);
}

#[test]
fn what_the_network_did_not_see_is_unknown() {
    let transform = input_transform(Size::new(200, 100), Size::new(64, 64), Fit::Crop, 64);
    let grid = Size::new(16, 16);
    let maps = run(&certain(grid, |_, _| 0), grid, &transform, &MaskSettings::default());
    assert_eq!(maps.semantic[49], UNKNOWN);
    assert_eq!((maps.semantic[51], maps.confidence[51], maps.cost[51]), (0, 255, 0));
    assert_eq!((maps.traversability[149], maps.traversability[151]), (0, UNKNOWN));
    assert_eq!((maps.confidence[10], maps.cost[10]), (0, UNKNOWN));
}

#[test]
fn costs_are_expected_values_over_known_classes() {
    let transform = input_transform(Size::new(64, 64), Size::new(64, 64), Fit::Stretch, 0);
    let grid = Size::new(1, 1);
    let check = |logits: [f32; 3], cost: u8| {
        let maps = run(&logits, grid, &transform, &MaskSettings::default());
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
    let transform = input_transform(Size::new(64, 64), Size::new(64, 64), Fit::Stretch, 0);
    let grid = Size::new(1, 1);
    let mut settings = MaskSettings::default();
    settings.traversability.insert("road".to_owned(), Traversability::Caution);
    settings.cost.insert("road".to_owned(), 100);
    let maps = run(&[40.0, 0.0, 0.0], grid, &transform, &settings);
    assert_eq!((maps.traversability[0], maps.cost[0], maps.semantic[0]), (1, 100, 0));
    settings.min_confidence = 0.6;
    let maps = run(&[0.1, 0.0, 0.0], grid, &transform, &settings);
    assert_eq!((maps.traversability[0], maps.cost[0], maps.semantic[0]), (255, 255, 255));
    assert_eq!(maps.confidence[0], 91, "the confidence itself stays");
    settings.size = MaskSize::Network;
    let transform = input_transform(Size::new(640, 480), Size::new(64, 64), Fit::Stretch, 0);
    let maps = run(&[40.0, 0.0, 0.0], grid, &transform, &settings);
    assert_eq!(maps.size, Size::new(64, 64));
}

#[test]
fn recycled_maps_keep_nothing_of_the_last_frame() {
    let spec = spec();
    let settings = MaskSettings::default();
    let mapping = ClassMapping::new(&spec, &settings);
    let size = Size::new(16, 16);
    let (road, wall) = (certain(size, |_, _| 0), certain(size, |_, _| 1));
    let cropped = input_transform(Size::new(200, 100), Size::new(64, 64), Fit::Crop, 64);
    let larger = input_transform(Size::new(300, 101), Size::new(64, 64), Fit::Stretch, 0);
    let mut head = SegmentationHead::default();
    for (logits, transform, want_cost) in [
        (&wall, &larger, true),
        (&road, &cropped, true),
        (&wall, &larger, false),
        (&wall, &cropped, true),
        (&road, &larger, true),
    ] {
        let grid = Grid::new(logits, size);
        let wanted = Wanted { mask: true, classes: !want_cost, cost: want_cost, ..Wanted::NONE };
        let maps = head.run(grid, transform, &spec, &mapping, &settings, wanted);
        assert_eq!(maps.semantic.is_empty(), want_cost);
        let fresh =
            SegmentationHead::default().run(grid, transform, &spec, &mapping, &settings, wanted);
        assert_eq!(maps, fresh);
        head.recycle(maps);
    }
}

#[test]
fn a_grid_without_enough_logits_gives_unknown() {
    let transform = input_transform(Size::new(30, 20), Size::new(64, 64), Fit::Stretch, 0);
    for (count, size) in [(3 * 16 - 1, Size::new(4, 4)), (0, Size::new(0, 0)), (9, Size::new(0, 3))]
    {
        let maps = run(&vec![1.0; count], size, &transform, &MaskSettings::default());
        assert_eq!(maps.size, transform.image_size);
        assert!(maps.semantic.iter().chain(&maps.cost).all(|&id| id == UNKNOWN));
        assert!(maps.confidence.iter().all(|&confidence| confidence == 0));
    }
}

fn fit() -> impl Strategy<Value = Fit> {
    prop_oneof![Just(Fit::Aspect), Just(Fit::Stretch), Just(Fit::Letterbox), Just(Fit::Crop)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The fused pass against interpolation written down plainly, for every way to fit a picture.
    #[test]
    fn agrees_with_the_plain_reference(
        width in 1_u32..90, height in 1_u32..70, grid_width in 1_u32..40, grid_height in 1_u32..20,
        input_width in 64_u32..100, fit in fit(), is_network in any::<bool>(),
        is_semantic in any::<bool>(), seed in 0_u32..1000,
    ) {
        let grid = Size::new(grid_width, grid_height);
        let transform = input_transform(Size::new(width, height), Size::new(input_width, 64), fit, 110);
        let logits: Vec<f32> = (0..4 * grid.area() as u32)
            .map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed * 7919)) >> 16 & 0xff) as f32 / 40.0)
            .collect();
        let size = if is_network { MaskSize::Network } else { MaskSize::Source };
        let kind = if is_semantic { MaskKind::Semantic } else { MaskKind::Traversability };
        let settings = MaskSettings { size, kind, min_confidence: 0.4, ..MaskSettings::default() };
        let maps = run_with(&spec_with_two_grounds(), &logits, grid, &transform, &settings);
        let probability = |class: usize, x: u32, y: u32| {
            let cell = (y * grid_width + x) as usize;
            let exps: Vec<f64> = (0..4).map(|c| f64::from(logits[c * grid.area() + cell]).exp()).collect();
            exps[class] / exps.iter().sum::<f64>()
        };
        // Forwards, from the picture into the tensor; outside of it is unknown.
        let at = |pixel: u32, from: (f64, f64), to: (u32, u32), input: u32, cells: u32| {
            let centre = f64::from(pixel) + 0.5;
            let in_target = if is_network {
                centre - f64::from(to.0)
            } else {
                (centre - from.0) / from.1 * f64::from(to.1)
            };
            let edge = in_target.min(f64::from(to.1) - in_target);
            let position = (f64::from(to.0) + in_target) * f64::from(cells) / f64::from(input) - 0.5;
            let clamped = position.clamp(0.0, f64::from(cells - 1));
            (clamped as u32, (clamped as u32 + 1).min(cells - 1), clamped.fract(), edge)
        };
        let p = &transform;
        for y in 0..maps.size.height {
            let from = (p.source.top, p.source.height);
            let to = (p.target_origin.1, p.target_size.height);
            let (y0, y1, fy, y_edge) = at(y, from, to, p.input_size.height, grid_height);
            for x in 0..maps.size.width {
                let from = (p.source.left, p.source.width);
                let to = (p.target_origin.0, p.target_size.width);
                let (x0, x1, fx, x_edge) = at(x, from, to, p.input_size.width, grid_width);
                let index = (y * maps.size.width + x) as usize;
                let edge = x_edge.min(y_edge);
                if edge.abs() < 1e-9 {
                    continue;
                }
                if edge < 0.0 {
                    prop_assert_eq!((maps.semantic[index], maps.confidence[index]), (UNKNOWN, 0));
                    prop_assert_eq!((maps.traversability[index], maps.cost[index]), (UNKNOWN, UNKNOWN));
                    continue;
                }
                let interpolated: Vec<f64> = (0..4).map(|class| {
                    let upper = probability(class, x0, y0) * (1.0 - fx) + probability(class, x1, y0) * fx;
                    let lower = probability(class, x0, y1) * (1.0 - fx) + probability(class, x1, y1) * fx;
                    upper * (1.0 - fy) + lower * fy
                }).collect();
                // Traversable, caution, obstacle, background.
                let kinds = [interpolated[0] + interpolated[3], 0.0, interpolated[1], interpolated[2]];
                let largest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
                let (best_class, best_kind) = (largest(&interpolated), largest(&kinds));
                let best = if is_semantic { best_class } else { best_kind };
                prop_assert!((f64::from(maps.confidence[index]) - 255.0 * best).abs() <= 0.51);
                if (best - 0.4).abs() < 1e-5 {
                    continue;
                }
                let winner = maps.semantic[index];
                if best < 0.4 {
                    prop_assert_eq!((winner, maps.traversability[index], maps.cost[index]), (UNKNOWN, UNKNOWN, UNKNOWN));
                    continue;
                }
                let meaning = maps.traversability[index];
                prop_assert!(kinds[meaning as usize] > best_kind - 1e-5, "{kinds:?} at {x},{y}: {meaning}");
                let kind_of = [0, 2, 3, 0];
                let of_kind = |class: &usize| is_semantic || kind_of[*class] == meaning;
                let best_class = (0..4).filter(of_kind).map(|c| interpolated[c]).fold(0.0, f64::max);
                prop_assert!(of_kind(&(winner as usize)), "{interpolated:?} at {x},{y}: {winner}, {meaning}");
                prop_assert!(interpolated[winner as usize] > best_class - 1e-5, "{interpolated:?} at {x},{y}: {winner}");
                let known = interpolated[0] + interpolated[1] + interpolated[3];
                let cost = (254.0 * interpolated[1] + 20.0 * interpolated[3]) / known;
                match maps.cost[index] {
                    UNKNOWN => prop_assert!(known < 0.5 + 1e-5),
                    actual => {
                        prop_assert!(known > 0.5 - 1e-5);
                        prop_assert!((f64::from(actual) - cost).abs() <= 0.51, "{actual} is not {cost}");
                    }
                }
            }
        }
    }
}

#[test]
fn ground_of_no_known_cost_has_none() {
    let size = Size::new(2, 1);
    // Grass without a cost, and a road, each with a little of the wall.
    let mut spec = spec();
    spec.classes[2] = class("grass", Traversability::Traversable, 255);
    let logits: Vec<f32> =
        [[0.01_f32, 0.9], [0.03, 0.1], [0.96, 0.0001]].concat().iter().map(|p| p.ln()).collect();
    let mapping = ClassMapping::new(&spec, &MaskSettings::default());
    let of = |kind, min_confidence| {
        let settings = MaskSettings { kind, min_confidence, ..MaskSettings::default() };
        SegmentationHead::default().ground(Grid::new(&logits, size), &spec, &mapping, &settings)
    };
    let grid = of(MaskKind::Traversability, 0.85);
    assert!(grid.cells[0].ground > 0.9 && grid.cells[0].cost.is_nan(), "{:?}", grid.cells[0]);
    assert!((grid.cells[1].cost - 0.1).abs() < 0.01, "{:?}", grid.cells[1]);
    // What the mask leaves unknown is neither ground nor obstacle.
    let grid = of(MaskKind::Traversability, 1.1);
    let is_unknown = |cell: &Cell| cell.ground + cell.obstacle == 0.0 && cell.cost.is_nan();
    assert!(grid.cells.iter().all(is_unknown), "{:?}", grid.cells);
    // Of the second cell no class has as much as ground has in sum.
    let grid = of(MaskKind::Semantic, 0.95);
    let [first, second] = &grid.cells[..] else { panic!("{:?}", grid.cells) };
    assert!(!is_unknown(first) && is_unknown(second), "{:?}", grid.cells);
}
