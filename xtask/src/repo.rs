//! The working tree: which files belong to the project, and their text.
use std::fs;
use std::path::{Path, PathBuf};

use crate::fail::{Fail, Outcome};
use crate::process;

/// Folders that a walk without git never enters.
const OUTSIDE: [&str; 6] = [".git", ".venv", "__pycache__", "dist", "node_modules", "target"];

pub struct Repo {
    pub root: PathBuf,
    /// Paths relative to the root, with `/`, sorted. Tracked files and new ones that are not ignored.
    pub files: Vec<String>,
}

impl Repo {
    /// The workspace that this program was built from.
    pub fn of_this_workspace() -> Outcome<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here
            .parent()
            .ok_or_else(|| Fail::broken("xtask has no parent folder"))?;
        Self::open(root)
    }

    pub fn open(root: &Path) -> Outcome<Self> {
        let mut files = match listed_by_git(root) {
            Some(files) => files,
            None => walked(root)?,
        };
        files.sort();
        files.dedup();
        Ok(Self {
            root: root.to_path_buf(),
            files,
        })
    }

    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    #[must_use]
    pub fn has(&self, relative: &str) -> bool {
        self.files
            .binary_search_by(|file| file.as_str().cmp(relative))
            .is_ok()
    }

    /// Files whose name ends with `.ext`.
    pub fn with_extension<'a>(&'a self, ext: &'a str) -> impl Iterator<Item = &'a str> {
        let matches = move |file: &&str| Path::new(file).extension().is_some_and(|found| found == ext);
        self.files.iter().map(String::as_str).filter(matches)
    }

    pub fn read(&self, relative: &str) -> Outcome<String> {
        let path = self.path(relative);
        fs::read_to_string(&path).map_err(|error| Fail::io("read", &path, &error))
    }

    /// The text of a file, or nothing where it is not UTF-8.
    pub fn read_text(&self, relative: &str) -> Outcome<Option<String>> {
        let path = self.path(relative);
        let bytes = fs::read(&path).map_err(|error| Fail::io("read", &path, &error))?;
        Ok(String::from_utf8(bytes).ok())
    }

    pub fn write(&self, relative: &str, text: &str) -> Outcome<()> {
        let path = self.path(relative);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Fail::io("create", folder, &error))?;
        }
        fs::write(&path, text).map_err(|error| Fail::io("write", &path, &error))
    }
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    if !root.join(".git").exists() {
        return None;
    }
    let listing = process::capture(
        root,
        "git",
        &["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    )
    .ok()?;
    let files = listing.split('\0').filter(|name| !name.is_empty());
    // The index also lists what was deleted and not yet committed.
    Some(
        files
            .filter(|name| root.join(name).is_file())
            .map(str::to_owned)
            .collect(),
    )
}

fn walked(root: &Path) -> Outcome<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let listing = fs::read_dir(&folder).map_err(|error| Fail::io("list", &folder, &error))?;
        for item in listing {
            let item = item.map_err(|error| Fail::io("list", &folder, &error))?;
            let path = item.path();
            let name = item.file_name();
            if path.is_dir() {
                if !OUTSIDE.iter().any(|outside| name == *outside) {
                    folders.push(path);
                }
            } else if let Ok(relative) = path.strip_prefix(root) {
                files.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(files)
}
