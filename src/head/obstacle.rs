//! Connected regions of obstacle classes, as boxes in source pixels.
//!
//! Each row of the mask is cut into runs of one class; a run joins the regions that touch it
//! from the row above (union-find). That looks at each pixel once and keeps no picture of labels.
//!
//! Where a class is just likelier than another, the mask breaks up, and differently in the next
//! frame: regions of one class that nearly touch are therefore taken together where one is a crumb
//! of the other, or both are crumbs of something.

use crate::geometry::{InputTransform, MaskSize, Rect};
use crate::head::segmentation::{ClassMapping, UNKNOWN};
use crate::manifest::SegmentationSpec;
use crate::result::{Maps, Obstacle};
use crate::settings::ObstacleSettings;

/// Regions are found on a copy of the mask that is at most about this wide: boxes are exact to
/// its pixels (2 source pixels at 640x480), and the search takes a fraction of a millisecond.
const SEARCH_WIDTH: u32 = 320;

/// Regions nearer than this share of the search width nearly touch.
const GAP: f64 = 0.015;

/// A region with at most this share of another one's area may be a crumb of it.
const CRUMB: f64 = 0.1;

/// Regions that are looked at for crumbs, the largest first. The search is quadratic, and a mask of
/// noise has ten thousands of regions.
const MOST_REGIONS: usize = 500;

/// What is known of a region, in search pixels; `right` and `bottom` are the last ones within.
#[derive(Debug, Clone, Copy)]
struct Region {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
    cells: u32,
    /// Sum over the cells, each 0 to 255.
    confidence: u64,
    class: u8,
}

/// Neighbouring pixels of one obstacle class in one row: columns `start..end`.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u32,
    end: u32,
    region: usize,
    class: u8,
}

impl Region {
    /// Makes this one the union of both.
    fn absorb(&mut self, other: &Self) {
        self.left = self.left.min(other.left);
        self.top = self.top.min(other.top);
        self.right = self.right.max(other.right);
        self.bottom = self.bottom.max(other.bottom);
        self.cells += other.cells;
        self.confidence += other.confidence;
    }

    /// Whether at most `gap` cells lie between the boxes.
    fn is_near(&self, other: &Self, gap: u32) -> bool {
        let gap = gap + 1;
        self.left <= other.right + gap
            && other.left <= self.right + gap
            && self.top <= other.bottom + gap
            && other.top <= self.bottom + gap
    }
}

/// Gives crumbs to what they belong to. A region of fewer cells than `crumb` is a crumb beside any
/// other of its class, one of at most [`CRUMB`] of another's area beside that one.
fn gather_crumbs(mut regions: Vec<Region>, gap: u32, crumb: f64) -> Vec<Region> {
    // The larger first; among equals their place decides, so that the order is always the same.
    regions.sort_unstable_by_key(|r| (std::cmp::Reverse(r.cells), r.bottom, r.left, r.class));
    regions.truncate(MOST_REGIONS);
    let mut gathered: Vec<Region> = Vec::new();
    for region in regions {
        let cells = f64::from(region.cells);
        let owner = gathered.iter_mut().find(|owner| {
            owner.class == region.class
                && owner.is_near(&region, gap)
                && (cells <= CRUMB * f64::from(owner.cells) || cells < crumb)
        });
        match owner {
            Some(owner) => owner.absorb(&region),
            None => gathered.push(region),
        }
    }
    gathered
}

/// Regions that may turn out to be one.
#[derive(Debug, Default)]
struct Regions {
    /// By region: another one that it is part of, or itself.
    parents: Vec<usize>,
    /// By region; only that of a root counts.
    found: Vec<Region>,
}

impl Regions {
    fn add(&mut self, region: Region) -> usize {
        self.parents.push(self.found.len());
        self.found.push(region);
        self.found.len() - 1
    }

    fn root(&mut self, mut region: usize) -> usize {
        while self.parents[region] != region {
            self.parents[region] = self.parents[self.parents[region]];
            region = self.parents[region];
        }
        region
    }

    /// Makes two regions one and gives its root.
    fn join(&mut self, a: usize, b: usize) -> usize {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return a;
        }
        // The older one stays, so that roots keep the order in which they were met.
        let (kept, gone) = (a.min(b), a.max(b));
        self.parents[gone] = kept;
        let other = self.found[gone];
        self.found[kept].absorb(&other);
        kept
    }

    fn into_roots(self) -> impl Iterator<Item = Region> {
        let Self { parents, found } = self;
        found
            .into_iter()
            .zip(parents)
            .enumerate()
            .filter_map(|(index, (region, parent))| (index == parent).then_some(region))
    }
}

/// All regions (8-connected, of one class each) on every `stride`-th pixel of every `stride`-th
/// row.
fn regions(maps: &Maps, mapping: &ClassMapping, stride: u32) -> Regions {
    let mut is_obstacle = [false; 256];
    for class in 0..UNKNOWN {
        is_obstacle[class as usize] = mapping.is_obstacle(class);
    }
    let mut regions = Regions::default();
    let (mut above, mut runs): (Vec<Run>, Vec<Run>) = (Vec::new(), Vec::new());
    let width = maps.size.width as usize;
    let rows = maps.semantic.chunks_exact(width).zip(maps.confidence.chunks_exact(width));
    for (y, (ids, confidences)) in (0..).zip(rows.step_by(stride as usize)) {
        std::mem::swap(&mut above, &mut runs);
        runs.clear();
        let mut run: Option<(u8, u32, u64)> = None;
        let mut first_above = 0;
        let mut end_run = |(class, start, confidence): (u8, u32, u64), end: u32| {
            let mut region = regions.add(Region {
                left: start,
                top: y,
                right: end - 1,
                bottom: y,
                cells: end - start,
                confidence,
                class,
            });
            // Runs above that end before this one starts, corners counted, touch no later one.
            while above.get(first_above).is_some_and(|other| other.end < start) {
                first_above += 1;
            }
            for other in above[first_above..].iter().take_while(|other| other.start <= end) {
                if other.class == class {
                    region = regions.join(region, other.region);
                }
            }
            runs.push(Run { start, end, region, class });
        };
        let columns = ids.iter().zip(confidences).step_by(stride as usize);
        let mut x = 0;
        for (&class, &confidence) in columns {
            match &mut run {
                Some((running, _, sum)) if *running == class => *sum += u64::from(confidence),
                _ => {
                    if let Some(ended) = run.take() {
                        end_run(ended, x);
                    }
                    run = is_obstacle[class as usize].then_some((class, x, confidence.into()));
                }
            }
            x += 1;
        }
        if let Some(ended) = run {
            end_run(ended, x);
        }
    }
    regions
}

/// Regions of one obstacle class each (8-connected, with their crumbs), lowest edge first, the
/// larger first among equals. Smaller ones than `settings.min_area` of the picture are left out, and
/// all after the first `settings.max_count`.
///
/// `size_is` says of what size the maps are; `transform` takes those of the network's size back
/// to source pixels.
pub fn find(
    maps: &Maps,
    size_is: MaskSize,
    transform: &InputTransform,
    spec: &SegmentationSpec,
    mapping: &ClassMapping,
    settings: &ObstacleSettings,
) -> Vec<Obstacle> {
    let stride = maps.size.width.div_ceil(SEARCH_WIDTH).max(1);
    if maps.size.area() == 0 {
        return Vec::new();
    }
    let [x_map, y_map] = transform.image_from_mask(size_is, maps.size);
    let cell_area = f64::from(stride * stride) * x_map.0 * y_map.0;
    let least = f64::from(settings.min_area) * transform.image_size.area() as f64;
    let span = |from: u32, to: u32, most: u32, (scale, offset): (f64, f64), side: u32| {
        let start = f64::from(from * stride) * scale + offset;
        let end = f64::from(((to + 1) * stride).min(most)) * scale + offset;
        let (start, end) = (start.max(0.0), end.min(f64::from(side)));
        (start, end - start)
    };
    let all = regions(maps, mapping, stride).into_roots().collect();
    let gap = (GAP * f64::from(maps.size.width / stride)).ceil() as u32;
    let mut obstacles: Vec<Obstacle> = gather_crumbs(all, gap, least / cell_area)
        .into_iter()
        .filter(|region| f64::from(region.cells) * cell_area >= least)
        .map(|region| {
            let image = transform.image_size;
            let (left, width) =
                span(region.left, region.right, maps.size.width, x_map, image.width);
            let (top, height) =
                span(region.top, region.bottom, maps.size.height, y_map, image.height);
            let name = spec.classes.get(region.class as usize).map(|class| class.name.clone());
            Obstacle {
                class: name.unwrap_or_default(),
                class_id: region.class,
                score: region.confidence as f32 / region.cells as f32 / 255.0,
                bounding_box: Rect { left, top, width, height },
                area_px: f64::from(region.cells) * cell_area,
            }
        })
        .collect();
    let bottom = |obstacle: &Obstacle| obstacle.bounding_box.top + obstacle.bounding_box.height;
    obstacles.sort_by(|a, b| bottom(b).total_cmp(&bottom(a)).then(b.area_px.total_cmp(&a.area_px)));
    obstacles.truncate(settings.max_count);
    obstacles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Fit, Size, input_transform};
    use crate::manifest::{SegmentationClass, Traversability};

    fn spec() -> SegmentationSpec {
        let class = |name: &str, traversability| SegmentationClass {
            name: name.to_owned(),
            color: [0, 0, 0],
            traversability,
            cost: 0,
        };
        SegmentationSpec {
            output: String::new(),
            temperature: 1.0,
            classes: vec![
                class("road", Traversability::Traversable),
                class("car", Traversability::Obstacle),
                class("pole", Traversability::Obstacle),
            ],
        }
    }

    /// A mask of 64x48 with boxes of classes: class, left, top, width, height.
    fn maps(boxes: &[(u8, u32, u32, u32, u32)]) -> Maps {
        let size = Size::new(64, 48);
        let mut semantic = vec![0; size.area()];
        for &(class, left, top, width, height) in boxes {
            for y in top..top + height {
                for x in left..left + width {
                    semantic[(y * 64 + x) as usize] = class;
                }
            }
        }
        let confidence = vec![204; size.area()];
        Maps { size, traversability: semantic.clone(), semantic, confidence, cost: Vec::new() }
    }

    fn find_in(maps: &Maps, size_is: MaskSize, image: Size) -> Vec<Obstacle> {
        let spec = spec();
        let mapping = ClassMapping::new(&spec, &crate::settings::MaskSettings::default());
        let transform = input_transform(image, maps.size, Fit::Stretch, 0);
        let settings = ObstacleSettings { min_area: 0.001, max_count: 3 };
        find(maps, size_is, &transform, &spec, &mapping, &settings)
    }

    #[test]
    fn regions_are_boxed_scored_and_sorted_by_danger() {
        let maps = maps(&[
            (1, 2, 3, 10, 5),
            (2, 30, 20, 2, 20),
            (1, 50, 40, 8, 8),
            (2, 0, 0, 1, 1),
            (255, 20, 0, 5, 5),
        ]);
        let obstacles = find_in(&maps, MaskSize::Source, maps.size);
        let classes: Vec<&str> = obstacles.iter().map(|o| o.class.as_str()).collect();
        assert_eq!(classes, ["car", "pole", "car"], "lowest first, specks and unknown left out");
        let car = &obstacles[2];
        assert_eq!(car.bounding_box, Rect { left: 2.0, top: 3.0, width: 10.0, height: 5.0 });
        assert_eq!((car.area_px, car.class_id), (50.0, 1));
        assert!((car.score - 0.8).abs() < 1e-6);
    }

    #[test]
    fn touching_regions_of_two_classes_stay_two_and_corners_connect() {
        let two = maps(&[(1, 0, 0, 10, 10), (2, 10, 0, 10, 10)]);
        assert_eq!(find_in(&two, MaskSize::Source, two.size).len(), 2);
        let corner = maps(&[(1, 0, 0, 10, 10), (1, 10, 10, 10, 10)]);
        assert_eq!(find_in(&corner, MaskSize::Source, corner.size).len(), 1);
    }

    #[test]
    fn boxes_of_a_network_sized_mask_are_in_source_pixels() {
        let maps = maps(&[(1, 8, 12, 16, 6)]);
        let obstacles = find_in(&maps, MaskSize::Network, Size::new(640, 480));
        let expected = Rect { left: 80.0, top: 120.0, width: 160.0, height: 60.0 };
        assert_eq!(obstacles[0].bounding_box, expected);
        assert!((obstacles[0].area_px - 9600.0).abs() < 1e-6);
    }

    #[test]
    fn crumbs_go_with_what_they_belong_to_and_equals_stay_apart() {
        // A car in two halves a pixel apart, a crumb of it, and a crumb of another class.
        let maps =
            maps(&[(1, 4, 4, 20, 10), (1, 25, 4, 20, 10), (1, 4, 15, 3, 3), (2, 8, 15, 3, 3)]);
        let boxes: Vec<_> = find_in(&maps, MaskSize::Source, maps.size)
            .into_iter()
            .map(|o| (o.class, o.bounding_box))
            .collect();
        let expected = [
            ("car", Rect { left: 4.0, top: 4.0, width: 20.0, height: 14.0 }),
            ("pole", Rect { left: 8.0, top: 15.0, width: 3.0, height: 3.0 }),
            ("car", Rect { left: 25.0, top: 4.0, width: 20.0, height: 10.0 }),
        ];
        assert_eq!(boxes, expected.map(|(name, area)| (name.to_owned(), area)));
    }

    #[test]
    fn what_is_seen_in_crumbs_alone_is_one_box() {
        // Pickets, each too small to count (3 of 64x48 pixels are 0.001).
        let pickets: Vec<_> = (0..8).map(|at| (2, 10 + 2 * at, 20, 1, 2)).collect();
        let obstacles = find_in(&maps(&pickets), MaskSize::Source, Size::new(64, 48));
        let fence = Rect { left: 10.0, top: 20.0, width: 15.0, height: 2.0 };
        assert_eq!(obstacles.iter().map(|o| o.bounding_box).collect::<Vec<_>>(), [fence]);
        assert!(find_in(&maps(&pickets[..1]), MaskSize::Source, Size::new(64, 48)).is_empty());
    }

    #[test]
    fn a_mask_of_noise_costs_no_more_than_the_largest_regions() {
        let mut maps = maps(&[]);
        for (index, id) in maps.semantic.iter_mut().enumerate() {
            *id = u8::from(index % 2 == 0 && index / 64 % 2 == 0);
        }
        let found = find_in(&maps, MaskSize::Source, maps.size);
        assert!(!found.is_empty() && found.len() <= 3);
    }

    #[test]
    fn arms_that_meet_below_are_one_region() {
        // A comb: three teeth, joined by their last row alone.
        let comb =
            maps(&[(1, 4, 4, 2, 10), (1, 10, 6, 2, 8), (1, 20, 2, 2, 12), (1, 4, 14, 18, 1)]);
        let obstacles = find_in(&comb, MaskSize::Source, comb.size);
        assert_eq!(obstacles.len(), 1);
        let expected = Rect { left: 4.0, top: 2.0, width: 18.0, height: 13.0 };
        assert_eq!(obstacles[0].bounding_box, expected);
        assert_eq!(obstacles[0].area_px, f64::from(20 + 16 + 24 + 18));
    }

    /// Regions by flood fill: class, cells and box, in any order.
    fn flooded(maps: &Maps) -> Vec<(u8, usize, [u32; 4])> {
        let (width, height) = (maps.size.width as i32, maps.size.height as i32);
        let mut is_done = vec![false; maps.size.area()];
        let mut regions = Vec::new();
        for start in 0..maps.size.area() {
            let class = maps.semantic[start];
            if class == 0 || is_done[start] {
                continue;
            }
            is_done[start] = true;
            let (mut stack, mut cells) = (vec![start as i32], 0);
            let mut edges = [u32::MAX, u32::MAX, 0, 0];
            while let Some(at) = stack.pop() {
                let (x, y) = (at % width, at / width);
                cells += 1;
                edges = [
                    edges[0].min(x as u32),
                    edges[1].min(y as u32),
                    edges[2].max(x as u32 + 1),
                    edges[3].max(y as u32 + 1),
                ];
                for (x, y) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (x + dx, y + dy))) {
                    let next = (y * width + x) as usize;
                    if (0..width).contains(&x)
                        && (0..height).contains(&y)
                        && !is_done[next]
                        && maps.semantic[next] == class
                    {
                        is_done[next] = true;
                        stack.push(next as i32);
                    }
                }
            }
            regions.push((class, cells, edges));
        }
        regions
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        #[test]
        fn agrees_with_flood_fill(ids in proptest::collection::vec(0_u8..3, 1..400), width in 1..24) {
            let size = Size::new(width as u32, (ids.len() as u32).div_ceil(width as u32));
            let mut semantic = ids;
            semantic.resize(size.area(), 0);
            let confidence = vec![255; size.area()];
            let maps =
                Maps { size, traversability: Vec::new(), semantic, confidence, cost: Vec::new() };
            let spec = spec();
            let mapping = ClassMapping::new(&spec, &crate::settings::MaskSettings::default());
            let mut found: Vec<_> = regions(&maps, &mapping, 1)
                .into_roots()
                .map(|r| (r.class, r.cells as usize, [r.left, r.top, r.right + 1, r.bottom + 1]))
                .collect();
            let mut expected = flooded(&maps);
            found.sort_unstable();
            expected.sort_unstable();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
