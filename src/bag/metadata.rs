//! `metadata.yaml`: which files a bag directory has, in which order.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::bag::BagError;

#[derive(Debug, Deserialize)]
struct Metadata {
    rosbag2_bagfile_information: Information,
}

/// The one field that the bag's files themselves do not tell.
#[derive(Debug, Deserialize)]
struct Information {
    relative_file_paths: Vec<PathBuf>,
}

/// The files of a bag directory in order. Without `metadata.yaml`, which a recorder that was
/// killed does not write, all `.mcap` and `.db3` files by name.
pub(super) fn bag_files(folder: &Path) -> Result<Vec<PathBuf>, BagError> {
    let path = folder.join("metadata.yaml");
    if !path.is_file() {
        tracing::warn!("{}: no metadata.yaml; its bag files are taken by name", folder.display());
        return files_by_name(folder);
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|source| BagError::Io { path: path.clone(), source })?;
    let refuse = |reason: String| BagError::Metadata { path: path.clone(), reason };
    let metadata: Metadata =
        serde_saphyr::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    let files = metadata.rosbag2_bagfile_information.relative_file_paths;
    files.iter().map(|file| inside(folder, file).map_err(refuse)).collect()
}

/// A path of `metadata.yaml` in the folder. Early versions put the folder's own name in front.
fn inside(folder: &Path, file: &Path) -> Result<PathBuf, String> {
    let is_plain = file.components().all(|part| matches!(part, Component::Normal(_)));
    match file.file_name() {
        Some(name) if is_plain => {
            let whole = folder.join(file);
            Ok(if whole.is_file() { whole } else { folder.join(name) })
        }
        _ => Err(format!("relative_file_paths: {} leads out of the bag", file.display())),
    }
}

fn files_by_name(folder: &Path) -> Result<Vec<PathBuf>, BagError> {
    let io = |source| BagError::Io { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(io)?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = name.strip_suffix(".zstd").unwrap_or(name);
        if name.ends_with(".mcap") || name.ends_with(".db3") {
            files.push(path);
        }
    }
    // name_2 comes before name_10.
    let plain = |path: &PathBuf| match path.extension() {
        Some(extension) if extension == "zstd" => path.with_extension(""),
        _ => path.clone(),
    };
    files.sort_by_key(|path| (plain(path).as_os_str().len(), plain(path)));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_of_the_metadata_and_stay_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let write = |paths: &str| {
            let text = format!(
                "rosbag2_bagfile_information:\n  version: 9\n  storage_identifier: mcap\n  relative_file_paths: {paths}\n  duration: {{nanoseconds: 3}}\n"
            );
            std::fs::write(folder.path().join("metadata.yaml"), text).unwrap();
        };
        write("[b_1.mcap, old/b_0.mcap]");
        let files = bag_files(folder.path()).unwrap();
        assert_eq!(files, [folder.path().join("b_1.mcap"), folder.path().join("b_0.mcap")]);
        write("[../secret]");
        assert!(bag_files(folder.path()).unwrap_err().to_string().contains("leads out"));
        write("[/etc/hostname]");
        assert!(bag_files(folder.path()).unwrap_err().to_string().contains("leads out"));
        std::fs::write(folder.path().join("metadata.yaml"), ": : :").unwrap();
        assert!(matches!(bag_files(folder.path()), Err(BagError::Metadata { .. })));
    }

    #[test]
    fn without_metadata_files_are_sorted_by_number() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x_10.db3", "x_2.db3", "notes.txt", "x_1.db3.zstd"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<String> = bag_files(folder.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["x_1.db3.zstd", "x_2.db3", "x_10.db3"]);
    }
}
