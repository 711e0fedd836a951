//! Parameters of a replay: what `--params-file` says to the node `/squeezenet`, in the way in which
//! the node reads it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;

use super::source::Camera;
use crate::cli::absolute;
use crate::cli::print::tell;
use crate::install;
use crate::manifest;
use crate::parameter::{FileRefusal, Store, in_order, sections, strays};
use crate::settings::{CameraSettings, Settings};

/// The node whose parameters hold.
const NODE: &str = "/squeezenet";

/// Larger files are not read: a parameter file has some kilobytes.
const LARGEST: u64 = 1 << 20;

/// The settings that the files make, the defaults without any. Of several files the later ones
/// hold, as on the node's command line.
///
/// # Errors
/// What is wrong with a file, with its line.
pub fn settings(files: &[PathBuf]) -> anyhow::Result<Settings> {
    let mut all = Vec::new();
    for (origin, path) in files.iter().enumerate() {
        let shown = || path.display().to_string();
        let size = std::fs::metadata(path).with_context(shown)?.len();
        anyhow::ensure!(size <= LARGEST, "{}: {size} bytes are too many", path.display());
        let text = std::fs::read_to_string(path).with_context(shown)?;
        let found = sections(&text, NODE);
        let mut found =
            found.map_err(|refusal| anyhow::anyhow!("{}, {refusal}", path.display()))?;
        let entries = found.iter_mut().flat_map(|section| &mut section.entries);
        entries.for_each(|entry| entry.origin = origin);
        all.extend(found);
    }
    let entries = in_order(all);
    if entries.is_empty() && !files.is_empty() {
        tell(&format!("no section of the parameter files is for {NODE}: the defaults hold"));
    }
    let classes = |model: &str| manifest::mask_classes(model, &install::models_dir());
    let store = Store::started_with(&entries, Some(classes));
    let store = store.map_err(|refusal: FileRefusal| {
        let path = files.get(refusal.origin).map(|path| path.display().to_string());
        anyhow::anyhow!("{}, {refusal}", path.unwrap_or_default())
    })?;
    let settings = store.settings();
    let names: Vec<String> = settings.cameras.keys().cloned().collect();
    strays(&entries, &names).iter().for_each(|stray| tell(stray));
    Ok((*settings).clone())
}

/// The settings of each camera of the bag, by its name there: those of the camera with its topic,
/// else of the camera of its name, else of the only one, else the defaults.
pub fn of_cameras(settings: &Settings, cameras: &[Camera]) -> BTreeMap<String, CameraSettings> {
    let named = &settings.cameras;
    let of = |camera: &Camera| {
        let by_topic =
            named.values().find(|settings| absolute(&settings.image_topic) == camera.topic);
        let only = named.values().next().filter(|_| named.len() == 1);
        let found = by_topic.or_else(|| named.get(&camera.name)).or(only);
        if found.is_none() {
            tell(&format!(
                "{}: the parameters are of no camera of this topic or name",
                camera.topic
            ));
        }
        found.cloned().unwrap_or_default()
    };
    cameras.iter().map(|camera| (camera.name.clone(), of(camera))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(topic: &str, name: &str) -> Camera {
        Camera { topic: topic.to_owned(), name: name.to_owned(), is_compressed: false }
    }

    #[test]
    fn files_hold_in_their_order_and_cameras_have_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let one = write(
            "one.yaml",
            "/**:\n  ros__parameters:\n    cameras: [front, rear, side]\n    labels.top_k: 3\n    rear:\n      image_topic: /back\n      labels.top_k: 9\n    side:\n      image_topic: aside\n      labels.top_k: 7\n",
        );
        let two = write("two.yaml", "/**:\n  ros__parameters:\n    labels.top_k: 4\n");
        let settings = settings(&[one.clone(), two]).unwrap();
        let cameras = [
            camera("/x", "front"),
            camera("/back", "back"),
            camera("/other", "other"),
            camera("/aside", "view"),
        ];
        let of = of_cameras(&settings, &cameras);
        let top_k: Vec<usize> = of.values().map(|settings| settings.labels.top_k).collect();
        assert_eq!(top_k, [9, 4, 5, 7], "back, front, the default and a relative topic");
        let bad = write("bad.yaml", "/**:\n  ros__parameters:\n    labels.top_k: many\n");
        let error = super::settings(&[one, bad]).unwrap_err().to_string();
        assert!(error.contains("bad.yaml, line 3: parameter labels.top_k"), "{error}");
    }
}
