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

/// The files of a bag directory in order. All `.mcap` and `.db3` files by name where there is no
/// `metadata.yaml`, which a recorder that was killed does not write, or where it is empty or cut
/// off, as such a recorder and a full disk leave it.
pub(super) fn bag_files(folder: &Path) -> Result<Vec<PathBuf>, BagError> {
    let path = folder.join("metadata.yaml");
    if !path.is_file() {
        tracing::warn!("{}: no metadata.yaml; its bag files are taken by name", folder.display());
        return files_by_name(folder);
    }
    let files = match listed(&path) {
        Ok(files) if !files.is_empty() => files,
        Ok(_) => {
            let shown = path.display();
            tracing::warn!("{shown}: it lists no files; those of the folder are taken by name");
            return files_by_name(folder);
        }
        Err(reason) => {
            let shown = path.display();
            tracing::warn!("{shown}: {reason}; the files of the folder are taken by name");
            return files_by_name(folder);
        }
    };
    let refuse = |reason: String| BagError::Metadata { path: path.clone(), reason };
    let inside = files.iter().map(|file| inside(folder, file).map_err(refuse));
    let mut files = inside.collect::<Result<Vec<_>, _>>()?;
    let is_whole = files.iter().all(|file| file.is_file());
    let unlisted: Vec<PathBuf> = files_by_name(folder)?
        .into_iter()
        .filter(|found| !files.iter().any(|file| is_version(file, found)))
        .collect();
    for file in &unlisted {
        let what = if is_whole { "left out" } else { "taken too, since another is missing" };
        tracing::warn!("{} is not in metadata.yaml: {what}", file.display());
    }
    if !is_whole {
        files.extend(unlisted);
    }
    Ok(files)
}

/// The other parts of the recording that a bag file belongs to, and its `metadata.yaml`: those that the folder's
/// `metadata.yaml` lists, if it lists this file.
pub fn parts_beside(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let path = folder.join("metadata.yaml");
    let parts: Vec<PathBuf> =
        listed(&path).iter().flatten().filter_map(|part| inside(folder, part).ok()).collect();
    let is_own = parts.iter().any(|part| part.file_name() == file.file_name());
    if is_own { parts.into_iter().chain([path]).collect() } else { Vec::new() }
}

/// What `metadata.yaml` lists, or why it cannot be read.
fn listed(path: &Path) -> Result<Vec<PathBuf>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let metadata: Metadata = serde_saphyr::from_str(&text).map_err(|error| {
        let words = error.to_string();
        format!("it is no whole metadata file ({})", words.lines().next().unwrap_or_default())
    })?;
    Ok(metadata.rosbag2_bagfile_information.relative_file_paths)
}

/// A path of `metadata.yaml` in the folder. Early versions put the folder's own name in front; a
/// file that was unpacked or packed by hand has lost or got its `.zstd`.
fn inside(folder: &Path, file: &Path) -> Result<PathBuf, String> {
    let mut plain = PathBuf::new();
    for part in file.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => plain.push(part),
            _ => {
                let shown = file.display();
                return Err(format!("relative_file_paths: {shown} leads out of the bag"));
            }
        }
    }
    let name = plain.file_name().ok_or("relative_file_paths: an entry names no file")?;
    let candidates = [folder.join(&plain), folder.join(name)];
    let versions = candidates.iter().flat_map(|path| [path.clone(), unpacked(path), packed(path)]);
    let found = versions.into_iter().find(|path| path.is_file());
    Ok(found.unwrap_or_else(|| folder.join(name)))
}

/// Whether a file of the folder is the listed one, or the same packed or unpacked.
fn is_version(listed: &Path, found: &Path) -> bool {
    unpacked(listed) == unpacked(found)
}

fn unpacked(path: &Path) -> PathBuf {
    match path.extension() {
        Some(extension) if extension == "zstd" => path.with_extension(""),
        _ => path.to_owned(),
    }
}

fn packed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".zstd");
    name.into()
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
    files.sort_by_key(|path| (unpacked(path).as_os_str().len(), unpacked(path)));
    // Of a file that was unpacked by hand and its packed original one is enough.
    files.dedup_by_key(|path| unpacked(path));
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
        write("[./b_1.mcap, ./old/../b_0.mcap]");
        assert!(bag_files(folder.path()).unwrap_err().to_string().contains("leads out"));
        write("[./b_1.mcap, ././b_0.mcap]");
        assert_eq!(bag_files(folder.path()).unwrap().len(), 2, "./ is the folder itself");
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

    #[test]
    fn a_metadata_file_that_is_empty_cut_or_garbled_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b_0.mcap"), "").unwrap();
        let whole = "rosbag2_bagfile_information:\n  version: 9\n  relative_file_paths:\n    - b_0.mcap\n  duration:\n    nanoseconds: 5\n";
        let garbled = [b"rosbag2".as_slice(), &[0, 0xff, 0xfe, 0], b": : :"].concat();
        let cuts = (0..whole.len()).map(|length| whole.as_bytes()[..length].to_vec());
        for text in cuts.chain([garbled, b": : :".to_vec()]) {
            std::fs::write(folder.path().join("metadata.yaml"), &text).unwrap();
            let files = bag_files(folder.path()).unwrap();
            let named = files.iter().any(|file| *file == folder.path().join("b_0.mcap"));
            assert!(named, "{}: {files:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn a_file_that_was_unpacked_or_packed_by_hand_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str| {
            let text = format!("rosbag2_bagfile_information:\n  relative_file_paths: [{file}]\n");
            std::fs::write(folder.path().join("metadata.yaml"), text).unwrap();
        };
        let on_disk = folder.path().join("b_0.db3");
        std::fs::write(&on_disk, "").unwrap();
        write("b_0.db3.zstd");
        assert_eq!(bag_files(folder.path()).unwrap(), std::slice::from_ref(&on_disk));
        let packed = folder.path().join("b_0.db3.zstd");
        std::fs::rename(&on_disk, &packed).unwrap();
        write("b_0.db3");
        assert_eq!(bag_files(folder.path()).unwrap(), [packed]);
    }

    #[test]
    fn a_listed_file_that_is_missing_brings_in_those_that_are_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b_0.mcap", "b_1.mcap"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let write = |files: &str| {
            let text = format!("rosbag2_bagfile_information:\n  relative_file_paths: [{files}]\n");
            std::fs::write(folder.path().join("metadata.yaml"), text).unwrap();
        };
        write("b_0.mcap");
        assert_eq!(bag_files(folder.path()).unwrap(), [folder.path().join("b_0.mcap")]);
        write("b_0.mcap, b_1.mc");
        let names = ["b_0.mcap", "b_1.mc", "b_1.mcap"].map(|name| folder.path().join(name));
        assert_eq!(bag_files(folder.path()).unwrap(), names);
    }
}
