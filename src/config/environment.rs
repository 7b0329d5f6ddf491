//! The only place that reads environment variables and secret files.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read as _},
    path::Path,
};

use crate::secret::Secret;

/// The longest secret file. A key or token has a few hundred bytes; more is the wrong file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// The longest other file: every authority of the world together has a quarter of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where `{ env = … }` and `{ file = … }` look.
#[derive(Clone, Debug)]
pub struct Environment(Variables);

#[derive(Clone, Debug)]
enum Variables {
    Process,
    Given(BTreeMap<String, Secret>),
}

/// A secret as it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The secret.
    pub(super) secret: Secret,
    /// Whether every user of the machine can read it.
    pub(super) exposed: bool,
}

/// Why a secret was not found; completes "`NAME` …".
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("is not set")]
    Unset,
    #[error("is empty")]
    Empty,
    #[error("cannot be read: it is a directory")]
    Directory,
    #[error("is longer than {SECRET_BYTES_MAX} bytes, which no secret is")]
    TooLong,
    #[error("is longer than {FILE_BYTES_MAX} bytes")]
    FileTooLong,
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
}

// === impl Unavailable ===

impl Unavailable {
    /// What to do about the file at `path`.
    pub(super) fn remedy(&self, path: &Path) -> &'static str {
        match self {
            Self::Directory => "name a file in it",
            Self::Empty => "write it there, or name another file",
            Self::Unset | Self::TooLong | Self::FileTooLong => "name another file",
            Self::Unreadable(error) => match error.kind() {
                ErrorKind::NotFound if path.is_relative() => {
                    "a relative path starts at the directory the relay is started in"
                }
                ErrorKind::NotFound => "make the file, or name another one",
                ErrorKind::PermissionDenied => {
                    "the user that runs the relay must be able to read it and pass its folders"
                }
                _ => "name another file",
            },
        }
    }
}

// === impl Environment ===

impl Environment {
    /// The variables of this process.
    pub fn of_process() -> Self {
        Self(Variables::Process)
    }

    /// Only these variables.
    pub fn given<K: Into<String>, V: Into<Vec<u8>>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        Self(Variables::Given(
            variables.map(|(name, value)| (name.into(), Secret::new(value))).collect(),
        ))
    }

    /// The value of a variable.
    #[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
    pub(super) fn variable(&self, name: &str) -> Result<Found, Unavailable> {
        let secret = match &self.0 {
            // `var_os` rather than `var`: a secret need not be UTF-8.
            Variables::Process => std::env::var_os(name)
                .map(|value| Secret::new(value.into_encoded_bytes()))
                .ok_or(Unavailable::Unset)?,
            Variables::Given(variables) => {
                variables.get(name).cloned().ok_or(Unavailable::Unset)?
            }
        };
        if secret.expose().is_empty() {
            return Err(Unavailable::Empty);
        }
        Ok(Found { secret, exposed: false })
    }

    /// The content of a file that is no secret, as it is.
    #[expect(clippy::unused_self, reason = "the environment is asked, whichever it is")]
    pub(super) fn document(&self, path: &Path) -> Result<Vec<u8>, Unavailable> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(Unavailable::Directory);
        }
        let mut content = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
        match content.len() {
            0 => Err(Unavailable::Empty),
            long if long > usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX) => {
                Err(Unavailable::FileTooLong)
            }
            _ => Ok(content),
        }
    }

    /// The content of a file, without the newline that editors and `echo` leave at its end.
    #[expect(clippy::unused_self, reason = "the environment is asked, whichever it is")]
    pub(super) fn file(&self, path: &Path) -> Result<Found, Unavailable> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(Unavailable::Directory);
        }
        let mut content = zeroize::Zeroizing::new(Vec::new());
        file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut content)?;
        if content.len() > usize::try_from(SECRET_BYTES_MAX).unwrap_or(usize::MAX) {
            return Err(Unavailable::TooLong);
        }
        let trimmed = content.strip_suffix(b"\n").unwrap_or(&content);
        let trimmed = trimmed.strip_suffix(b"\r").unwrap_or(trimmed);
        if trimmed.is_empty() {
            return Err(Unavailable::Empty);
        }
        Ok(Found { secret: Secret::new(trimmed), exposed: world_readable(&metadata) })
    }
}

#[cfg(unix)]
fn world_readable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn world_readable(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_loses_one_newline_at_its_end_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let environment = Environment::of_process();
        for (content, secret) in
            [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc", "abc"), (" a b \n\n", " a b \n")]
        {
            std::fs::write(&path, content).unwrap();

            let found = environment.file(&path).unwrap();

            assert_eq!(found.secret.expose(), secret.as_bytes(), "{content:?}");
        }
    }

    #[test]
    fn what_is_no_secret_file_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::of_process();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        let long = folder.path().join("long");
        std::fs::write(&long, vec![b'x'; 64 * 1024 + 1]).unwrap();

        let reason = |path: &Path| environment.file(path).unwrap_err().to_string();

        assert_eq!(reason(&empty), "is empty");
        assert_eq!(reason(folder.path()), "cannot be read: it is a directory");
        assert!(reason(&long).starts_with("is longer than 65536 bytes"));
        assert!(reason(&folder.path().join("none")).starts_with("cannot be read: No such file"));
    }

    #[test]
    fn each_reason_has_the_remedy_for_the_path_it_is_about() {
        let remedy = |kind: ErrorKind, path: &str| {
            Unavailable::Unreadable(kind.into()).remedy(Path::new(path))
        };

        assert!(remedy(ErrorKind::NotFound, "key").starts_with("a relative path starts at"));
        assert_eq!(remedy(ErrorKind::NotFound, "/run/key"), "make the file, or name another one");
        for path in ["key", "/run/key"] {
            assert!(
                remedy(ErrorKind::PermissionDenied, path).contains("able to read it"),
                "{path}"
            );
        }
        assert_eq!(Unavailable::Directory.remedy(Path::new("/run")), "name a file in it");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_everyone_can_read_is_marked() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "abc").unwrap();
        for (mode, exposed) in [(0o600, false), (0o640, false), (0o644, true), (0o404, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();

            assert_eq!(Environment::of_process().file(&path).unwrap().exposed, exposed, "{mode:o}");
        }
    }

    #[test]
    fn an_empty_variable_is_no_secret() {
        let environment = Environment::given([("EMPTY", ""), ("SET", "abc")]);

        assert_eq!(environment.variable("SET").unwrap().secret.expose(), b"abc");
        assert_eq!(environment.variable("EMPTY").unwrap_err().to_string(), "is empty");
        assert_eq!(environment.variable("NONE").unwrap_err().to_string(), "is not set");
        // Cargo sets it for every test.
        let manifest = Environment::of_process().variable("CARGO_MANIFEST_DIR").unwrap();
        assert_eq!(manifest.secret.expose(), env!("CARGO_MANIFEST_DIR").as_bytes());
    }
}
