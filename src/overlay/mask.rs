//! The mask blended into the picture, with an outline around each region, and what the legend says.
//!
//! The colours of what may be driven on can be told apart by colour-blind people too: bluish
//! green, yellow and vermilion are from Okabe and Ito's palette ("Color Universal Design", 2008).

use crate::manifest::{SegmentationSpec, Traversability};
use crate::overlay::canvas::Color;
use crate::result::{Maps, Picture};
use crate::settings::MaskKind;

/// Colour of each traversability id.
const MEANING_COLORS: [Color; 4] = [[0, 190, 140], [240, 228, 66], [213, 94, 0], [86, 110, 180]];

/// Unknown, and left as it is, whatever the classes.
const UNKNOWN: u8 = 255;

/// A class is in the legend from this share of the mask on; specks would make it flicker.
const LEGEND_SHARE: f64 = 0.001;

/// A line of the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its colour; none for what is not coloured.
    pub color: Option<Color>,
}

/// Colour of a class's boxes: as the mask shows it.
pub fn obstacle_color(spec: &SegmentationSpec, kind: MaskKind, class: u8) -> Color {
    let color = match (kind, spec.classes.get(class as usize)) {
        (MaskKind::Semantic, Some(class)) => class.color,
        _ => MEANING_COLORS[Traversability::Obstacle.id() as usize],
    };
    lighter(color)
}

fn lighter(color: Color) -> Color {
    color.map(|value| value + (255 - value) / 3)
}

/// All that the traversability may be, so that the legend stays as it is from frame to frame; of
/// the model's own classes those that are there.
pub fn legend<'a>(maps: &Maps, spec: &'a SegmentationSpec, kind: MaskKind) -> Vec<Entry<'a>> {
    let ids = maps.ids(kind);
    let is_there = |count: usize| count as f64 > LEGEND_SHARE * maps.size.area() as f64;
    let mut entries: Vec<Entry<'a>> = match kind {
        MaskKind::Semantic => {
            let mut counts = [0_usize; 256];
            ids.iter().for_each(|&id| counts[id as usize] += 1);
            let classes = spec.classes.iter().zip(counts).filter(|(_, count)| is_there(*count));
            classes
                .map(|(class, _)| Entry { name: &class.name, color: Some(class.color) })
                .collect()
        }
        MaskKind::Traversability => Traversability::ALL
            .iter()
            .map(|t| Entry { name: t.name(), color: Some(MEANING_COLORS[t.id() as usize]) })
            .collect(),
    };
    if is_there(ids.iter().filter(|id| **id == UNKNOWN).count()) {
        entries.push(Entry { name: "unknown", color: None });
    }
    entries
}

/// How much of the picture stays, in 256ths, and what is added to it.
#[derive(Debug, Clone, Copy)]
struct Mixture {
    stays: u16,
    added: [u16; 3],
}

impl Mixture {
    const NOTHING: Self = Self { stays: 256, added: [0; 3] };

    /// `weight` in 256ths.
    fn new(color: Color, weight: u16) -> Self {
        Self { stays: 256 - weight, added: color.map(|value| u16::from(value) * weight) }
    }

    fn mix(self, pixel: &mut [u8]) {
        for (value, added) in pixel.iter_mut().zip(self.added) {
            // At most 255 * 256, since the weights add up to 256.
            *value = ((u16::from(*value) * self.stays + added) >> 8) as u8;
        }
    }
}

/// Blends the mask's colours in with weight `alpha`, and outlines its regions. It lies in the picture as
/// `picture = scale * mask + offset` says, for x and y; without, it covers the picture.
pub fn blend(
    picture: &mut Picture,
    (maps, place): (&Maps, Option<[(f64, f64); 2]>),
    spec: &SegmentationSpec,
    kind: MaskKind,
    alpha: f32,
) {
    let (size, mask) = (picture.size, maps.size);
    let ids = maps.ids(kind);
    if size.area() == 0 || mask.area() == 0 || ids.len() < mask.area() {
        return;
    }
    let alpha = alpha.clamp(0.0, 1.0);
    let (weight, outline) = ((alpha * 256.0) as u16, (alpha.sqrt() * 230.0) as u16);
    // By id: within a region, and on its outline.
    let mut mixtures = [[Mixture::NOTHING; 256]; 2];
    let mut set = |id: usize, color: Color| {
        if id < UNKNOWN.into() {
            mixtures[0][id] = Mixture::new(color, weight);
            mixtures[1][id] = Mixture::new(lighter(color), outline);
        }
    };
    match kind {
        MaskKind::Semantic => {
            spec.classes.iter().enumerate().for_each(|(id, class)| set(id, class.color));
        }
        MaskKind::Traversability => {
            MEANING_COLORS.into_iter().enumerate().for_each(|(id, color)| set(id, color));
        }
    }
    let (width, height) = (size.width as usize, size.height as usize);
    let (mask_width, mask_height) = (mask.width as usize, mask.height as usize);
    // A mask of another size is enlarged to its nearest pixels; what it does not show is unknown.
    let cover = |length: usize, cells: usize| (length as f64 / cells as f64, 0.0);
    let place = place.unwrap_or([cover(width, mask_width), cover(height, mask_height)]);
    let cell = |pixel: usize, (scale, offset): (f64, f64), cells: usize| {
        let cell = ((pixel as f64 + 0.5 - offset) / scale).floor();
        (0.0..cells as f64).contains(&cell).then_some(cell as usize)
    };
    let is_same = mask == size && place == [(1.0, 0.0); 2];
    let columns: Vec<Option<usize>> = (0..width).map(|x| cell(x, place[0], mask_width)).collect();
    let fill = |row: &mut Vec<u8>, y: usize| {
        row.clear();
        let ids = cell(y, place[1], mask_height).map(|y| &ids[y * mask_width..][..mask_width]);
        match ids {
            Some(ids) if is_same => row.extend_from_slice(ids),
            Some(ids) => row.extend(columns.iter().map(|x| x.map_or(UNKNOWN, |x| ids[x]))),
            None => row.resize(width, UNKNOWN),
        }
    };
    // An outline is as wide as other lines: a pixel that far from another class lies on it.
    let reach = (width / 640).max(1);
    let (mut row, mut below) = (Vec::with_capacity(width), Vec::with_capacity(width));
    let mut is_outline = vec![0_u8; width];
    for (y, pixels) in picture.rgb.chunks_exact_mut(3 * width).enumerate() {
        fill(&mut row, y);
        fill(&mut below, (y + reach).min(height - 1));
        for ((is_outline, id), below) in is_outline.iter_mut().zip(&row).zip(&below) {
            *is_outline = u8::from(id != below);
        }
        for ((is_outline, id), right) in is_outline.iter_mut().zip(&row).zip(row.iter().skip(reach))
        {
            *is_outline |= u8::from(id != right);
        }
        for ((pixel, &id), &is_outline) in pixels.chunks_exact_mut(3).zip(&row).zip(&is_outline) {
            mixtures[usize::from(is_outline & 1)][id as usize].mix(pixel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::gray;
    use super::*;
    use crate::geometry::Size;

    fn maps(size: Size, traversability: Vec<u8>) -> Maps {
        let area = size.area();
        Maps {
            size,
            semantic: vec![0; area],
            traversability,
            confidence: vec![255; area],
            cost: Vec::new(),
        }
    }

    fn no_classes() -> SegmentationSpec {
        SegmentationSpec { output: String::new(), temperature: 1.0, classes: Vec::new() }
    }

    #[test]
    fn the_mask_is_blended_and_unknown_left_as_it_was() {
        let size = Size::new(400, 300);
        let mut traversability = vec![0; size.area()];
        traversability[..200 * 400].fill(255);
        let maps = maps(size, traversability);
        let mut picture = gray(size);
        blend(&mut picture, (&maps, None), &no_classes(), MaskKind::Traversability, 0.5);
        let at = |x: usize, y: usize| &picture.rgb[3 * (y * 400 + x)..][..3];
        assert_eq!(at(200, 100), [100, 100, 100]);
        assert_eq!(at(200, 199), [100, 100, 100], "unknown has no outline");
        assert_eq!(at(390, 250), [50, 145, 120]);
    }

    #[test]
    fn regions_are_outlined_on_both_sides_of_the_border() {
        let size = Size::new(8, 4);
        let traversability = (0..32).map(|at| if at % 8 < 4 { 0 } else { 2 }).collect();
        let mut picture = gray(size);
        let maps = maps(size, traversability);
        blend(&mut picture, (&maps, None), &no_classes(), MaskKind::Traversability, 1.0);
        let row: Vec<&[u8]> = picture.rgb[..24].chunks_exact(3).collect();
        assert_eq!(row[0], MEANING_COLORS[0]);
        assert_ne!(row[3], MEANING_COLORS[0], "the last pixel before another class");
        assert_eq!(row[4], MEANING_COLORS[2]);
    }

    #[test]
    fn a_mask_of_the_networks_size_is_enlarged() {
        let (size, mask) = (Size::new(300, 200), Size::new(3, 2));
        let maps = maps(mask, vec![255, 2, 255, 255, 255, 255]);
        let mut picture = gray(size);
        blend(&mut picture, (&maps, None), &no_classes(), MaskKind::Traversability, 1.0);
        let at = |x: usize, y: usize| &picture.rgb[3 * (y * 300 + x)..][..3];
        assert_eq!((at(100, 0), at(198, 98)), (&MEANING_COLORS[2][..], &MEANING_COLORS[2][..]));
        assert_eq!(
            (at(99, 0), at(200, 0), at(100, 100)),
            (&[100; 3][..], &[100; 3][..], &[100; 3][..])
        );
    }

    #[test]
    fn a_mask_of_a_part_of_the_picture_lies_there() {
        // The middle of a picture, and a tensor with bars of one row above and below it.
        let (size, mask) = (Size::new(300, 200), Size::new(2, 4));
        let maps = maps(mask, vec![1, 1, 2, 2, 2, 2, 1, 1]);
        let mut picture = gray(size);
        let place = Some([(100.0, 50.0), (100.0, -100.0)]);
        blend(&mut picture, (&maps, place), &no_classes(), MaskKind::Traversability, 1.0);
        let at = |x: usize, y: usize| &picture.rgb[3 * (y * 300 + x)..][..3];
        let obstacle = &MEANING_COLORS[2][..];
        assert_eq!([at(60, 10), at(150, 190), at(240, 100)], [obstacle; 3]);
        assert_eq!([at(30, 100), at(270, 100)], [&[100; 3][..]; 2]);
    }

    #[test]
    fn the_legend_says_what_is_unknown_and_leaves_out_specks() {
        let size = Size::new(100, 100);
        let mut all = maps(size, vec![0; size.area()]);
        let spec = no_classes();
        let names = |maps: &Maps| -> Vec<&str> {
            legend(maps, &spec, MaskKind::Traversability).iter().map(|entry| entry.name).collect()
        };
        assert_eq!(names(&all).len(), 4, "always all of them");
        all.traversability[..10].fill(255);
        assert_eq!(names(&all).len(), 4);
        all.traversability[..20].fill(255);
        assert_eq!(names(&all)[4..], ["unknown"]);
    }

    /// Linear light of an sRGB value.
    fn linear(value: u8) -> f64 {
        let share = f64::from(value) / 255.0;
        if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    }

    /// CIE L*a*b* of linear sRGB, for the white point D65.
    fn lab(rgb: [f64; 3]) -> [f64; 3] {
        const XYZ: [[f64; 3]; 3] = [
            [0.412_456, 0.357_576, 0.180_438],
            [0.212_673, 0.715_152, 0.072_175],
            [0.019_334, 0.119_192, 0.950_304],
        ];
        let white = [0.950_47, 1.0, 1.088_83];
        let [x, y, z] = std::array::from_fn(|row| {
            let value = (0..3).map(|column| XYZ[row][column] * rgb[column]).sum::<f64>();
            let share = (value / white[row]).max(0.0);
            if share > 0.008_856 { share.cbrt() } else { 7.787 * share + 16.0 / 116.0 }
        });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    #[test]
    fn colours_are_told_apart_by_colour_blind_people_too() {
        // Machado, Oliveira, Fernandes (2009), severity 1: normal, prot-, deuter-, tritanopia.
        const SEEN: [[[f64; 3]; 3]; 4] = [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [
                [0.152_286, 1.052_583, -0.204_868],
                [0.114_503, 0.786_281, 0.099_216],
                [-0.003_882, -0.048_116, 1.051_998],
            ],
            [
                [0.367_322, 0.860_646, -0.227_968],
                [0.280_085, 0.672_501, 0.047_413],
                [-0.011_820, 0.042_940, 0.968_881],
            ],
            [
                [1.255_528, -0.076_749, -0.178_779],
                [-0.078_411, 0.930_809, 0.147_602],
                [0.004_733, 0.691_367, 0.303_900],
            ],
        ];
        for (sight, matrix) in SEEN.iter().enumerate() {
            let seen: Vec<[f64; 3]> = MEANING_COLORS
                .iter()
                .map(|color| {
                    let light = color.map(linear);
                    lab(std::array::from_fn(|row| {
                        (0..3).map(|column| matrix[row][column] * light[column]).sum()
                    }))
                })
                .collect();
            for (a, first) in seen.iter().enumerate() {
                for (b, second) in seen.iter().enumerate().skip(a + 1) {
                    let apart =
                        first.iter().zip(second).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                    // 2.3 is what the eye just notices; half of it is lost to the picture.
                    assert!(apart > 25.0, "{a} and {b} are {apart:.0} apart for sight {sight}");
                }
            }
        }
    }
}
