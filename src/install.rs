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
    let ament = prefixes().map(|prefix| prefix.join("share/squeezenet_node"));
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

/// ONNX Runtime's library: what `ORT_DYLIB_PATH` names if it is set, else the one that was
/// installed with the package (in `onnxruntime` beside the binary) or fetched into the checkout's
/// `.deps`, else whatever the loader finds under the name `libonnxruntime.so`.
pub fn runtime_library() -> PathBuf {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let executable = std::env::current_exe().and_then(std::fs::canonicalize).ok();
    let beside = executable.as_deref().and_then(Path::parent).into_iter().flat_map(|folder| {
        ["onnxruntime", "../../.deps/onnxruntime", "../../../.deps/onnxruntime"]
            .map(|name| folder.join(name))
    });
    let installed = prefixes().map(|prefix| prefix.join("lib/squeezenet_node/onnxruntime"));
    let found = beside.chain(installed).find_map(|folder| library_in(&folder));
    found.unwrap_or_else(|| PathBuf::from("libonnxruntime.so"))
}

/// `libonnxruntime.so`, with a version behind it or without.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let mut libraries: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_prefix("libonnxruntime.so").is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix('.').is_some_and(|version| !version.is_empty())
            })
        })
        .collect();
    libraries.sort();
    libraries.pop()
}

/// The folders of `AMENT_PREFIX_PATH`.
fn prefixes() -> impl Iterator<Item = PathBuf> {
    let prefixes = std::env::var_os("AMENT_PREFIX_PATH").unwrap_or_default();
    std::env::split_paths(&prefixes).collect::<Vec<_>>().into_iter()
}

/// Where is remembered what runs fastest here: `squeezenet_tuning.json` in `ROS_HOME`, or in
/// `~/.ros`.
pub fn tuning_file() -> PathBuf {
    ros_home().join("squeezenet_tuning.json")
}

/// Where what was learnt by driving is kept unless a parameter says otherwise:
/// `squeezenet_learning.json` in `ROS_HOME`, or in `~/.ros`.
pub fn learning_file() -> PathBuf {
    ros_home().join("squeezenet_learning.json")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_of_a_folder_is_taken_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(library_in(folder.path()), None);
        for name in ["libonnxruntime.so.1.31.0", "libonnxruntime.so.1.32.0", "LICENSE"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::write(folder.path().join("libonnxruntime_providers_shared.so"), "").unwrap();
        std::fs::write(folder.path().join("libonnxruntime.so."), "").unwrap();
        let expected = folder.path().join("libonnxruntime.so.1.32.0");
        assert_eq!(library_in(folder.path()), Some(expected));
        assert_eq!(library_in(&folder.path().join("absent")), None);
    }
}
