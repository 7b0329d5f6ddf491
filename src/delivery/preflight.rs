//! Tries targets before the relay runs: whether they can be reached, without an event.

use std::{fs::OpenOptions, io, path::Path};

use futures_util::future::join_all;
use rustix::fs::{Access, access};

use crate::{
    delivery::{
        client::{Tls, reach},
        file::is_file,
        target::{Http, Place, Settings},
    },
    route::TargetName,
};

/// Targets that are tried at one time.
const AT_ONCE: usize = 16;

/// Each target that cannot be reached now, and why. Sends nothing and writes nothing; takes at
/// most the targets' own time for a connection.
pub async fn unreachable(settings: &super::Settings) -> Vec<(TargetName, String)> {
    let mut unreachable = Vec::new();
    for some in settings.targets.chunks(AT_ONCE) {
        let tried = join_all(some.iter().map(attempt)).await;
        let failed = some
            .iter()
            .zip(tried)
            .filter_map(|(target, reached)| reached.err().map(|why| (target.name.clone(), why)));
        unreachable.extend(failed);
    }
    unreachable
}

async fn attempt(target: &Settings) -> Result<(), String> {
    match &target.place {
        Place::Http(http) => {
            let tls = trusted(http).map_err(|error| error.to_string())?;
            reach(&http.destination(target.concurrency), &tls).await
        }
        Place::File(path) => appendable(path).map_err(|error| error.to_string()),
        Place::Stdout => Ok(()),
    }
}

fn trusted(http: &Http) -> Result<Tls, super::ClientError> {
    match &http.tls {
        Some(own) => Tls::new(own),
        None => Tls::system(http.needs_authorities()),
    }
}

/// Whether the file can be written to, or made, without doing either.
pub fn appendable(path: &Path) -> io::Result<()> {
    if is_file(path)? {
        return OpenOptions::new().append(true).open(path).map(drop);
    }
    let here = |folder| if folder == Path::new("") { Path::new(".") } else { folder };
    let above = path.ancestors().skip(1).map(here);
    for folder in above {
        if folder.try_exists()? {
            if !folder.is_dir() {
                return Err(io::Error::from(io::ErrorKind::NotADirectory));
            }
            return Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn lines_are_appended_to_a_file_or_one_that_can_be_made_and_to_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        // One that nobody reads would hold whoever opens it.
        let _read = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();

        assert!(appendable(&pipe).is_err());
        assert!(appendable(folder.path()).is_err());
        assert!(appendable(&folder.path().join("a/b/events.jsonl")).is_ok());
    }
}
