//! Logits to labels.

use crate::manifest::{ClassificationSpec, Model};
use crate::result::Label;
use crate::settings::LabelSettings;

/// Calibrated class probabilities: softmax of `logits / temperature`, in `probabilities`.
///
/// The temperature is fitted on pictures that the network was not trained on (Guo et al. 2017).
pub fn softmax(logits: &[f32], temperature: f32, probabilities: &mut Vec<f32>) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    probabilities.clear();
    probabilities.extend(logits.iter().map(|logit| ((logit - largest) / temperature).exp()));
    let sum: f32 = probabilities.iter().sum();
    probabilities.iter_mut().for_each(|probability| *probability /= sum);
}

/// The `top_k` most probable classes of at least `threshold`, best first; equal ones by index.
pub fn top_k(probabilities: &[f32], names: &[String], settings: &LabelSettings) -> Vec<Label> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    let better =
        |a: &usize, b: &usize| probabilities[*b].total_cmp(&probabilities[*a]).then(a.cmp(b));
    let count = settings.top_k.min(order.len());
    if count == 0 {
        return Vec::new();
    }
    if count < order.len() {
        order.select_nth_unstable_by(count - 1, better);
        order.truncate(count);
    }
    order.sort_unstable_by(better);
    order
        .into_iter()
        .filter(|&index| probabilities[index] >= settings.threshold)
        .map(|index| Label {
            name: names.get(index).cloned().unwrap_or_else(|| index.to_string()),
            index,
            score: probabilities[index],
        })
        .collect()
}

/// Logits to labels in one step, with a kept buffer.
#[derive(Debug, Default)]
pub struct ClassificationHead {
    probabilities: Vec<f32>,
}

impl ClassificationHead {
    /// Labels of `logits`, one a class of `model`, best first.
    pub fn run(
        &mut self,
        logits: &[f32],
        spec: &ClassificationSpec,
        model: &Model,
        settings: &LabelSettings,
    ) -> Vec<Label> {
        softmax(logits, spec.temperature, &mut self.probabilities);
        top_k(&self.probabilities, &model.class_names, settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("class {index}")).collect()
    }

    #[test]
    fn softmax_survives_large_logits_and_sums_to_one() {
        let mut probabilities = Vec::new();
        softmax(&[1000.0, 1000.0, -1000.0], 1.0, &mut probabilities);
        assert_eq!(probabilities, [0.5, 0.5, 0.0]);
        softmax(&[0.0, 2.0_f32.ln()], 1.0, &mut probabilities);
        assert!((probabilities[1] - 2.0 / 3.0).abs() < 1e-6);
        softmax(&[0.0, 2.0 * 2.0_f32.ln()], 2.0, &mut probabilities);
        assert!((probabilities[1] - 2.0 / 3.0).abs() < 1e-6, "temperature divides the logits");
    }

    #[test]
    fn top_k_is_sorted_cut_and_thresholded() {
        let check = |top_k_setting, threshold, expected: &[usize]| {
            let settings =
                LabelSettings { top_k: top_k_setting, threshold, ..LabelSettings::default() };
            let labels = top_k(&[0.1, 0.4, 0.1, 0.4], &names(4), &settings);
            let indices: Vec<usize> = labels.iter().map(|label| label.index).collect();
            assert_eq!(indices, expected);
        };
        check(4, 0.0, &[1, 3, 0, 2]);
        check(3, 0.0, &[1, 3, 0]);
        check(9, 0.2, &[1, 3]);
        check(0, 0.0, &[]);
    }
}
