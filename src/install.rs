//! Where the package's own files are: beside the installed binary, or in the checkout.

use std::path::{Path, PathBuf};

/// The package's share folder (`launch`, `config`, `models`).
///
/// An installed binary stands in `<prefix>/lib/squeezenet_node/`, its share in
/// `<prefix>/share/squeezenet_node/`; one that cargo built stands in `target/<profile>/` of the
/// checkout. Else the prefixes of `AMENT_PREFIX_PATH` are searched.
pub fn share_dir() -> Option<PathBuf> {
    let has_models = |folder: &PathBuf| folder.join("models").is_dir();
    let executable = std::env::current_exe().and_then(std::fs::canonicalize).ok();
    let beside = executable.as_deref().and_then(Path::parent).into_iter().flat_map(|folder| {
        [folder.join("../../share/squeezenet_node"), folder.join("../.."), folder.join("../../..")]
    });
    let prefixes = std::env::var_os("AMENT_PREFIX_PATH").unwrap_or_default();
    let ament: Vec<PathBuf> = std::env::split_paths(&prefixes)
        .map(|prefix| prefix.join("share/squeezenet_node"))
        .collect();
    let found = beside.chain(ament).find(has_models)?;
    Some(std::fs::canonicalize(&found).unwrap_or(found))
}

/// The models folder: `SQUEEZENET_MODELS` if set, else that of [`share_dir`], else `./models`.
pub fn models_dir() -> PathBuf {
    match std::env::var_os("SQUEEZENET_MODELS") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => share_dir().map_or_else(|| PathBuf::from("models"), |share| share.join("models")),
    }
}

/// Where is remembered what runs fastest here: `squeezenet_tuning.json` in `ROS_HOME`, or in
/// `~/.ros`.
pub fn tuning_file() -> PathBuf {
    ros_home().join("squeezenet_tuning.json")
}

/// Where taught places are kept unless a parameter says otherwise: `squeezenet_places.bin` in
/// `ROS_HOME`, or in `~/.ros`, where ROS keeps what its nodes write.
pub fn places_file() -> PathBuf {
    ros_home().join("squeezenet_places.bin")
}

fn ros_home() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let ros_home = folder("ROS_HOME").map(PathBuf::from);
    let home = || folder("HOME").map(|home| PathBuf::from(home).join(".ros"));
    ros_home.or_else(home).unwrap_or_default()
}
