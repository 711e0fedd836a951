//! Connected regions of obstacle classes, as boxes in source pixels.

use image::{GrayImage, Luma};
use imageproc::region_labelling::{Connectivity, connected_components};

use crate::geometry::{Placement, Rect};
use crate::head::segmentation::{Meanings, UNKNOWN};
use crate::manifest::SegmentationSpec;
use crate::result::{Maps, Obstacle};
use crate::settings::{MaskSize, ObstacleSettings};

/// Regions are found on a copy of the mask that is at most about this wide: boxes are exact to
/// its pixels (2 source pixels at 640x480), and the search takes a fraction of a millisecond.
const SEARCH_WIDTH: u32 = 320;

#[derive(Debug, Clone, Copy)]
struct Region {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
    cells: u32,
    confidence: u32,
    class: u8,
}

/// Regions of one obstacle class each (8-connected), lowest edge first, the larger first among
/// equals. Smaller ones than `settings.min_area` of the picture are left out.
pub fn find(
    maps: &Maps,
    size_is: MaskSize,
    placement: &Placement,
    spec: &SegmentationSpec,
    meanings: &Meanings,
    settings: &ObstacleSettings,
) -> Vec<Obstacle> {
    let stride = maps.size.width.div_ceil(SEARCH_WIDTH).max(1);
    let (width, height) = (maps.size.width.div_ceil(stride), maps.size.height.div_ceil(stride));
    let index = |x: u32, y: u32| (y * stride * maps.size.width + x * stride) as usize;
    // 0 is background, class c is c + 1.
    let search = GrayImage::from_fn(width, height, |x, y| {
        let class = maps.semantic[index(x, y)];
        Luma([if class != UNKNOWN && meanings.is_obstacle(class) { class + 1 } else { 0 }])
    });
    let labelled = connected_components(&search, Connectivity::Eight, Luma([0]));
    let mut regions: Vec<Option<Region>> = Vec::new();
    for (x, y, label) in labelled.enumerate_pixels() {
        let label = label.0[0] as usize;
        if label == 0 {
            continue;
        }
        if regions.len() <= label {
            regions.resize(label + 1, None);
        }
        let region = regions[label].get_or_insert(Region {
            left: x,
            top: y,
            right: x,
            bottom: y,
            cells: 0,
            confidence: 0,
            class: search.get_pixel(x, y).0[0] - 1,
        });
        region.left = region.left.min(x);
        region.right = region.right.max(x);
        region.bottom = region.bottom.max(y);
        region.cells += 1;
        region.confidence += u32::from(maps.confidence[index(x, y)]);
    }
    let [x_map, y_map] = match size_is {
        MaskSize::Source => [(1.0, 0.0); 2],
        MaskSize::Network => placement.image_from_tensor(),
    };
    let cell_area = f64::from(stride * stride) * x_map.0 * y_map.0;
    let least = f64::from(settings.min_area) * placement.image_size.area() as f64;
    let span = |from: u32, to: u32, most: u32, (scale, offset): (f64, f64), side: u32| {
        let start = f64::from(from * stride) * scale + offset;
        let end = f64::from(((to + 1) * stride).min(most)) * scale + offset;
        let (start, end) = (start.max(0.0), end.min(f64::from(side)));
        (start, end - start)
    };
    let mut obstacles: Vec<Obstacle> = regions
        .into_iter()
        .flatten()
        .filter(|region| f64::from(region.cells) * cell_area >= least)
        .map(|region| {
            let image = placement.image_size;
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
    use crate::geometry::{Fit, Size, place};
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
        let meanings = Meanings::new(&spec, &crate::settings::MaskSettings::default());
        let placement = place(image, maps.size, Fit::Stretch, 0);
        let settings = ObstacleSettings { min_area: 0.001, max_count: 3 };
        find(maps, size_is, &placement, &spec, &meanings, &settings)
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
}
