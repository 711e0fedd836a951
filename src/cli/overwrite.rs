//! Keeps a command from writing over what it reads.

use std::path::{Path, PathBuf};

use crate::same_file::is_same;

/// A file that will be written, and the option that asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Such as `--out`.
    pub option: &'static str,
    /// The file.
    pub path: PathBuf,
}

impl Target {
    /// All files of an option.
    pub fn all(option: &'static str, paths: impl IntoIterator<Item = PathBuf>) -> Vec<Self> {
        paths.into_iter().map(|path| Self { option, path }).collect()
    }
}

/// Refuses targets that are one of `inputs` or of each other. Nothing is opened for it.
///
/// # Errors
/// The first target that would destroy something.
pub fn refuse(inputs: &[PathBuf], targets: &[Target]) -> anyhow::Result<()> {
    for (index, target) in targets.iter().enumerate() {
        let shown = target.path.display();
        if let Some(input) = inputs.iter().find(|input| is_same(input, &target.path)) {
            let input = input.display();
            anyhow::bail!("{} would write {shown} over {input}, which is read", target.option);
        }
        let before = &targets[..index];
        if let Some(other) = before.iter().find(|other| is_same(&other.path, &target.path)) {
            anyhow::bail!("{} and {} would both write {shown}", other.option, target.option);
        }
    }
    Ok(())
}

/// Whether a file, there or not, lies directly in a folder.
pub fn is_in(file: &Path, folder: &Path) -> bool {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    is_same(parent.unwrap_or(Path::new(".")), folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_refused_however_it_is_spelt() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("bag.mcap"), "").unwrap();
        std::fs::create_dir(at("sub")).unwrap();
        std::os::unix::fs::symlink(at("bag.mcap"), at("soft")).unwrap();
        std::fs::hard_link(at("bag.mcap"), at("hard")).unwrap();
        std::os::unix::fs::symlink(folder.path(), at("sub/up")).unwrap();
        let check = |path: &str| refuse(&[at("bag.mcap")], &Target::all("--out", [at(path)]));
        for path in ["bag.mcap", "./bag.mcap", "sub/../bag.mcap", "sub/up/bag.mcap", "soft", "hard"]
        {
            let error = check(path).unwrap_err().to_string();
            assert!(error.contains("--out would write") && error.contains("which is read"));
        }
        check("other.mcap").unwrap();
        check("sub/bag.mcap").unwrap();
    }

    #[test]
    fn two_outputs_are_not_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("a"), folder.path().join("./a"));
        let targets = [Target::all("--out", [one]), Target::all("--report", [other])].concat();
        let error = refuse(&[], &targets).unwrap_err().to_string();
        assert!(error.contains("--out and --report would both write"), "{error}");
        refuse(&[], &targets[..1]).unwrap();
    }
}
