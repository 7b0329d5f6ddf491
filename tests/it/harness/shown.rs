//! What a person is shown, held against what was read with care once.

use std::{fs, path::Path};

use regex::Regex;

/// Fails unless `shown` is `tests/fixtures/cli/<name>.txt`, but for ids and moments, which are new
/// in every run. After a change of wording `UPDATE_FIXTURES=1 cargo test --test it shown` writes the
/// files; read each one.
pub(crate) fn assert_shown(name: &str, shown: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cli");
    let path = folder.join(name).with_extension("txt");
    let shown = the_same_in_every_run(shown);
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::create_dir_all(folder).unwrap();
        fs::write(&path, &shown).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == shown, "{} is:\n{expected}\nand this was shown:\n{shown}", path.display());
}

/// Ids and moments keep their length, so that columns stay where they are.
fn the_same_in_every_run(shown: &str) -> String {
    let id = Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
    let moment = Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d").unwrap();
    let shown = id.replace_all(shown, "01938a1e-0000-7000-8000-000000000000");
    moment.replace_all(&shown, "2026-11-27 09:00:00").into_owned()
}
