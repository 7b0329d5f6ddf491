//! The house keeps its own law: who may import whom, which files are pure, what files are called.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Item, ItemMod, UseTree,
    visit::{self, Visit},
};

/// The import law of `src/docs/architecture.md`, in its order. `main` and `cli` are the binary:
/// they see the library's public API only, which the compiler enforces.
const LAW: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("clock", &[]),
    ("secret", &[]),
    ("drain", &[]),
    ("metrics", &[]),
    ("signature", &["secret"]),
    ("provider", &["event", "secret", "signature"]),
    ("listen", &["drain"]),
    ("route", &["event"]),
    ("store", &["event", "route", "clock", "drain", "metrics"]),
    (
        "ingest",
        &[
            "event",
            "provider",
            "route",
            "store",
            "listen",
            "signature",
            "clock",
            "secret",
            "drain",
            "metrics",
        ],
    ),
    ("delivery", &["event", "route", "store", "signature", "clock", "secret", "drain", "metrics"]),
    (
        "admin",
        &["event", "route", "store", "delivery", "listen", "clock", "secret", "drain", "metrics"],
    ),
    (
        "config",
        &[
            "event",
            "provider",
            "route",
            "store",
            "ingest",
            "delivery",
            "listen",
            "admin",
            "signature",
            "secret",
        ],
    ),
    (
        "relay",
        &[
            "admin",
            "clock",
            "config",
            "delivery",
            "drain",
            "event",
            "ingest",
            "listen",
            "metrics",
            "provider",
            "route",
            "secret",
            "signature",
            "store",
        ],
    ),
];

/// Files and folders that decide and do nothing else: no clock, no input or output, no waiting.
const PURE: &[&str] = &[
    "event",
    "provider",
    "route/mod.rs",
    "route/check.rs",
    "route/condition.rs",
    "route/schema.rs",
    "route/subject.rs",
    "signature.rs",
    "ingest/read.rs",
    "delivery/format.rs",
    "delivery/breaker.rs",
    "delivery/buffer.rs",
    "delivery/rate_limit.rs",
    "delivery/retry.rs",
    "delivery/template.rs",
    "delivery/verdict.rs",
    "delivery/weight.rs",
];

/// What a pure file must not name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "tokio",
    "crate::clock",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Names that say nothing of a file's job.
const DRAWERS: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "misc", "types", "model", "models", "shared",
    "base", "core", "manager", "handler", "imp",
];

/// One import that the law does not allow, or one other breach.
#[derive(Debug)]
struct Breach {
    file: PathBuf,
    says: String,
}

/// One file of `src/`, parsed.
struct Source {
    /// Below `src/`.
    path: PathBuf,
    text: String,
    tree: syn::File,
}

/// Collects every path of our crate that a file names outside its tests, as absolute segments.
struct Paths<'m> {
    module: &'m [String],
    found: Vec<Vec<String>>,
    awaits: bool,
}

// === impl Source ===

impl Source {
    fn all(src: &Path) -> Vec<Self> {
        let mut files = Vec::new();
        let mut folders = vec![src.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    let tree = syn::parse_file(&text).unwrap();
                    files.push(Self {
                        path: path.strip_prefix(src).unwrap().to_owned(),
                        text,
                        tree,
                    });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// `ingest/answer.rs` is `["ingest", "answer"]`, `ingest/mod.rs` is `["ingest"]`.
    fn module(&self) -> Vec<String> {
        let stem = self.path.with_extension("");
        let mut segments: Vec<String> =
            stem.iter().map(|segment| segment.to_str().unwrap().to_owned()).collect();
        if matches!(segments.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            segments.pop();
        }
        segments
    }

    /// Whether the module that declares this file does so for tests only.
    fn is_test(&self) -> bool {
        let name = self.path.file_stem().unwrap().to_str().unwrap();
        matches!(name, "tests" | "conformance") || self.path.iter().any(|part| part == "tests")
    }

    fn paths(&self) -> (Vec<Vec<String>>, bool) {
        let module = self.module();
        let mut paths = Paths { module: &module, found: Vec::new(), awaits: false };
        paths.visit_file(&self.tree);
        (paths.found, paths.awaits)
    }
}

// === impl Paths ===

impl Paths<'_> {
    fn add(&mut self, segments: &[String], nested: &[String]) {
        let mut module: Vec<String> = self.module.iter().chain(nested).cloned().collect();
        let mut rest = segments;
        match rest.first().map(String::as_str) {
            Some("crate") => {
                module.clear();
                rest = &rest[1..];
            }
            Some("self") => rest = &rest[1..],
            Some("super") => {}
            _ => return,
        }
        while rest.first().is_some_and(|segment| segment == "super") {
            module.pop();
            rest = &rest[1..];
        }
        module.extend(rest.iter().cloned());
        self.found.push(module);
    }

    fn add_tree(&mut self, tree: &UseTree, mut before: Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_tree(&path.tree, before);
            }
            UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.add(&before, &[]);
            }
            UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.add(&before, &[]);
            }
            UseTree::Glob(_) => self.add(&before, &[]),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(tree, before.clone());
                }
            }
        }
    }
}

fn for_tests_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if let Item::Use(item) = item
            && for_tests_only(&item.attrs)
        {
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !for_tests_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&segments, &[]);
        visit::visit_path(self, path);
    }

    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.awaits = true;
        visit::visit_expr_await(self, expression);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.awaits |= signature.asyncness.is_some();
        visit::visit_signature(self, signature);
    }
}

fn import_breaches(src: &Path) -> Vec<Breach> {
    let law: BTreeMap<&str, &[&str]> = LAW.iter().copied().collect();
    let mut breaches = Vec::new();
    for source in Source::all(src) {
        let module = source.module();
        let Some(room) = module.first().map(String::as_str) else { continue };
        if room == "cli" || source.is_test() {
            continue;
        }
        let Some(allowed) = law.get(room) else {
            breaches.push(Breach {
                file: source.path.clone(),
                says: format!("the room `{room}` is not in the law"),
            });
            continue;
        };
        for path in source.paths().0 {
            let Some(used) = path.first().map(String::as_str) else { continue };
            if used != room && law.contains_key(used) && !allowed.contains(&used) {
                let says = format!("`{room}` may not import `{}`", path.join("::"));
                breaches.push(Breach { file: source.path.clone(), says });
            }
        }
    }
    breaches
}

fn list(breaches: &[Breach]) -> String {
    breaches.iter().fold(String::new(), |mut list, breach| {
        writeln!(list, "src/{}: {}", breach.file.display(), breach.says).unwrap();
        list
    })
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn rooms_import_only_what_the_law_allows() {
    let breaches = import_breaches(&src());

    assert!(breaches.is_empty(), "{}", list(&breaches));
}

#[test]
fn the_law_has_no_circle() {
    let law: BTreeMap<&str, &[&str]> = LAW.iter().copied().collect();
    let mut settled: Vec<&str> = Vec::new();
    while settled.len() < law.len() {
        let before = settled.len();
        for (room, allowed) in &law {
            if !settled.contains(room) && allowed.iter().all(|used| settled.contains(used)) {
                settled.push(room);
            }
        }
        assert!(settled.len() > before, "a circle among the rooms outside {settled:?}");
    }
}

/// The test above would be worth nothing if it could not fail: each way to name another room is
/// planted in a copy of the source.
#[test]
fn a_planted_breach_of_the_law_is_found_however_it_is_written() {
    let plants = [
        ("event/id.rs", "use crate::store::Receipt as _Planted;"),
        ("event/id.rs", "use crate::{clock::Clock as _A, event::Status as _B};"),
        ("event/id.rs", "use super::super::secret as _planted;"),
        ("delivery/retry.rs", "pub use crate::ingest::Ingest as Planted;"),
        ("route/mod.rs", "fn planted() { let _ = crate::clock::Clock::system(); }"),
        ("store/admission.rs", "fn planted(_: super::super::provider::Settings) {}"),
        ("metrics.rs", "mod planted { fn planted(_: crate::config::Config) {} }"),
        ("admin/mod.rs", "use crate::relay::*;"),
    ];
    for (file, planted) in plants {
        let copy = tempfile::tempdir().unwrap();
        for source in Source::all(&src()) {
            let to = copy.path().join(&source.path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            let plant = if source.path == Path::new(file) { planted } else { "" };
            fs::write(to, format!("{}\n{plant}\n", source.text)).unwrap();
        }

        let breaches = import_breaches(copy.path());

        assert_eq!(breaches.len(), 1, "{planted}: {}", list(&breaches));
        assert_eq!(breaches[0].file, Path::new(file), "{planted}");
    }
}

#[test]
fn pure_files_neither_wait_nor_touch_the_world() {
    for source in Source::all(&src()).iter().filter(|source| !source.is_test()) {
        if !PURE.iter().any(|pure| source.path.starts_with(pure)) {
            continue;
        }
        let file = source.path.display();
        assert!(!source.paths().1, "src/{file} awaits");
        let (code, _) = source.text.split_once("#[cfg(test)]").unwrap_or((&source.text, ""));
        for word in IMPURE {
            let named = code
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!named, "src/{file} names {word}");
        }
    }
}

#[test]
fn only_the_answer_file_of_ingest_makes_a_success_and_only_of_a_receipt() {
    for source in Source::all(&src()) {
        let in_answer = source.path == Path::new("ingest/answer.rs");
        if !source.path.starts_with("ingest") || in_answer {
            continue;
        }
        let (code, _) = source.text.split_once("#[cfg(test)]").unwrap_or((&source.text, ""));
        for word in [
            "StatusCode::OK",
            "StatusCode::ACCEPTED",
            "Response::new",
            "Response::builder",
            "status_mut",
        ] {
            assert!(!code.contains(word), "src/{} names {word}", source.path.display());
        }
    }
}

#[test]
fn every_file_opens_with_its_job_and_none_is_called_like_a_drawer() {
    for source in Source::all(&src()) {
        let file = source.path.display();
        let first = source.text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! "), "src/{file} does not open with its job");
        let prose: Vec<&str> =
            source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        let paragraph: Vec<&&str> = prose.iter().take_while(|line| **line != "//!").collect();
        let end = paragraph.last().unwrap();
        assert!(end.ends_with(['.', ':']), "src/{file}: the first sentence has no end");
        let name = source.path.file_stem().unwrap().to_str().unwrap();
        assert!(!DRAWERS.contains(&name), "src/{file} is called like a drawer");
    }
}
