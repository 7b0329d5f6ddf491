//! Which file a path means, so that two spellings of one are seen to be one.

use std::{
    fs,
    path::{self, Component, Path, PathBuf},
};

/// The file that is meant, by the folders that are there: links are followed as far as there are
/// any, and of the rest `.` and `..` are taken away.
pub(super) fn meant(path: &Path) -> PathBuf {
    // Fails for an empty path only.
    let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    let Some((above, mut meant)) = there else { return absolute };
    for part in absolute.strip_prefix(above).unwrap_or(&absolute).components() {
        match part {
            Component::ParentDir => drop(meant.pop()),
            part => meant.push(part),
        }
    }
    meant
}
