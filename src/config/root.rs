//! relay.toml as a whole: every table, and what must hold between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeTable;

use super::{
    admin,
    changes::Marks,
    contract::{DEFAULTS, DEFAULTS_TARGET, ROOT, SOURCE, TARGET},
    document::{self, Document, Headings},
    environment::Environment,
    excerpt::shown,
    fields::{Fields, Node},
    files,
    problem::{Problem, Problems, Severity},
    reading::{Reading, Spot},
    redacted::Redacted,
    retry,
    route::{self, Names},
    secrets::PLACEHOLDER,
    server,
    source::{self, Inherited},
    store, target,
};
use crate::{
    delivery::{self, target::Settings as TargetSettings},
    ingest::{self, SourceSettings},
    provider::auth::Scheme,
    route::TargetName,
    store::sqlite::files_of,
};

/// The settings of every room.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]` and `[sources.*]`.
    pub ingest: ingest::Settings,
    /// `[targets.*]`.
    pub delivery: delivery::Settings,
    /// `[store]`.
    pub store: crate::store::Settings,
    /// `[admin]`.
    pub admin: crate::admin::Settings,
    /// `[[routes]]`.
    pub routes: Vec<crate::route::Settings>,
    /// Targets that were called otherwise.
    pub renames: Vec<Rename>,
    /// How long work in hand may take after SIGTERM.
    pub shutdown_grace: Duration,
    /// The tables whose secret is still the shipped placeholder. A listener that others reach is
    /// opened to nobody by them.
    pub placeholders: Vec<String>,
    /// The whole, for showing.
    pub redacted: Redacted,
    pub(super) marks: Marks,
    headings: Headings,
}

/// `renamed_from` of a target: it takes over what the old name is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The name that is no target any more.
    pub old: TargetName,
    /// The name it has now.
    pub new: TargetName,
}

/// What it takes to find a relay: its admin listener and its store.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    /// `[admin]`.
    pub admin: crate::admin::Settings,
    /// `[store]`.
    pub store: crate::store::Settings,
}

/// A table under a name of the operator's own, opened.
struct Named<'a> {
    name: &'a str,
    fields: Fields<'a>,
}

/// Headings and values that are not closed in one file, behind which it is read on.
const SLIPS_MENDED_MAX: usize = 16;

// === impl Config ===

impl Config {
    /// Reads the file at `path`: the settings and the warnings, or every problem there is.
    pub fn load(path: &Path, environment: &Environment) -> Result<(Self, Vec<Problem>), Problems> {
        let file = path.display().to_string();
        match document::read_file(path) {
            Ok(text) => Self::parse(&file, &text, environment),
            Err(unreadable) => Err(Problems(vec![unreadable.into_problem(&file)])),
        }
    }

    /// Reads `text`; problems call it `file`.
    pub fn parse(
        file: &str,
        text: &str,
        environment: &Environment,
    ) -> Result<(Self, Vec<Problem>), Problems> {
        Self::parse_closing(file, text, environment, SLIPS_MENDED_MAX)
    }

    /// The same. What is not closed would hide all that follows it: the rest is read as if it were,
    /// or were not there, at most so many times.
    fn parse_closing(
        file: &str,
        text: &str,
        environment: &Environment,
        slips_left: usize,
    ) -> Result<(Self, Vec<Problem>), Problems> {
        let document = Document::new(file, text);
        let reading = Reading::new(environment);
        let readable = document.without_broken_lines(&reading);
        let (tree, masks) = document.parse(&readable, &reading);
        let headings = document.headings(&tree, &masks);
        let config = read(&reading, &tree).map(|config| Self { headings, ..config });
        let read = document.conclude(config, &reading.into_findings(), &masks);
        let (Err(broken), Some(slips_left)) = (&read, slips_left.checked_sub(1)) else {
            return read;
        };
        let Some(unclosed) = document.unclosed(&readable) else { return read };
        let behind = Self::parse_closing(file, &unclosed.mended, environment, slips_left);
        let behind = behind.map_or_else(|problems| problems.0, |(_, warnings)| warnings);
        Err(unclosed.explain(broken.clone(), behind))
    }

    /// A problem that is not in the text of a table, but in what the table names.
    pub fn problem_of(
        &self,
        table: &str,
        severity: Severity,
        message: String,
        remedy: &str,
    ) -> Problem {
        self.headings.problem(table, severity, message, remedy)
    }
}

// === impl Whereabouts ===

impl Whereabouts {
    /// Reads `[admin]` and `[store]` of the file at `path` and nothing else: whoever asks a relay
    /// need not have the secrets of its sources and targets.
    pub fn load(path: &Path, environment: &Environment) -> Result<Self, Problems> {
        let file = path.display().to_string();
        let text = document::read_file(path);
        let text = text.map_err(|unreadable| Problems(vec![unreadable.into_problem(&file)]))?;
        let document = Document::new(&file, &text);
        let reading = Reading::new(environment);
        let readable = document.without_broken_lines(&reading);
        let (tree, masks) = document.parse(&readable, &reading);
        let root = Fields::of_part(&reading, &tree, &ROOT);
        let (admin, store) = (root.get("admin", admin::read), root.get("store", store::read));
        let found = admin.zip(store).map(|(admin, store)| Self { admin, store: store.settings });
        let (found, _) = document.conclude(found, &reading.into_findings(), &masks)?;
        Ok(found)
    }
}

fn read(reading: &Reading<'_>, tree: &DeTable<'_>) -> Option<Config> {
    let root = Fields::of_root(reading, tree, &ROOT);
    let server = root.get("server", server::read);
    let admin = root.get("admin", admin::read);
    let store = root.get("store", store::read);

    let (source_nodes, target_nodes) = (members(&root, "sources"), members(&root, "targets"));
    let inherited = Inherited {
        max_body: server.as_ref().map(|server| server.max_body),
        body_deadline: server.as_ref().map(|server| server.body_deadline),
        dedupe_window: store.as_ref().map(|store| store.dedupe_window),
    };
    let source_tables = open(&source_nodes, |node| Fields::open(node, &SOURCE));
    let sources: Option<Vec<SourceSettings>> = every(&source_nodes, &source_tables, |table| {
        source::read(table.name, &table.fields, inherited)
    });

    let defaults = defaults(&root);
    let target_tables = open(&target_nodes, |node| {
        Some(Fields::open(node, &TARGET)?.inheriting(defaults.as_ref()))
    });
    let targets: Option<Vec<TargetSettings>> =
        every(&target_nodes, &target_tables, |table| target::read(table.name, &table.fields));

    let providers = sources.as_ref().map(|sources| {
        let of = |source: &SourceSettings| {
            (source.name.as_str().to_owned(), source.reading.name().to_owned())
        };
        sources.iter().map(of).collect()
    });
    let names = Names { sources: names(&source_nodes), targets: names(&target_nodes), providers };
    let routes = routes(&root, &names);
    let renames = renames(&target_tables, &names.targets);

    shared_paths(reading, &source_tables);
    shared_files(store.as_ref().map(|store| &store.settings), &target_tables);
    if let Some(sources) = &sources {
        nested_tokens(reading, &source_tables, sources);
    }
    if let (Some(server), Some(admin)) = (&server, &admin) {
        placeholders(reading, server.listen, admin.listen);
        same_address(reading, &root, server.listen, admin.listen);
    }
    if let Some(routes) = &routes {
        unreached(reading, (&source_tables, sources.as_deref()), &target_tables, routes);
    }
    if let (Some(store), Some(targets)) = (&store, &targets) {
        short_retention(reading, &root, store.settings.retention, (&target_tables, targets));
    }

    let server = server?;
    Some(Config {
        ingest: ingest::Settings {
            listen: server.listen,
            tls: server.tls,
            commit_wait: server.commit_wait,
            max_in_flight: server.max_in_flight,
            max_connections: server.max_connections,
            trusted_proxies: server.trusted_proxies,
            sources: sources?,
        },
        delivery: delivery::Settings { targets: targets? },
        store: store?.settings,
        admin: admin?,
        routes: routes?,
        renames,
        shutdown_grace: server.shutdown_grace,
        placeholders: reading.placeholders().into_iter().map(|spot| spot.table).collect(),
        redacted: Redacted::of(tree),
        marks: Marks::of(tree, reading),
        headings: Headings::default(),
    })
}

/// The named tables under `key`, in the order of the file, with the places of their names.
fn members<'a>(root: &Fields<'a>, key: &str) -> Vec<(Spot, Node<'a>)> {
    let members = match root.node(key) {
        Some(node) => node.members().unwrap_or_default(),
        None => Vec::new(),
    };
    if members.is_empty() {
        let (what, effect) = match key {
            "sources" => ("source", "no callback is accepted"),
            _ => ("target", "no event is delivered"),
        };
        root.reading().warn_missing(
            &root.spot(),
            format!("there is no {what}: {effect}"),
            format!("add [{key}.<name>]"),
        );
    }
    for (spot, node) in &members {
        check_name(root.reading(), spot, node.name());
    }
    members
}

/// `[a-z0-9][a-z0-9-]{0,62}`: names become URL paths, labels of metrics and event sources.
fn check_name(reading: &Reading<'_>, spot: &Spot, name: &str) {
    let plain = |char: char| matches!(char, 'a'..='z' | '0'..='9' | '-');
    if !name.is_empty() && name.len() <= 63 && !name.starts_with('-') && name.chars().all(plain) {
        return;
    }
    reading.error(
        spot,
        format!("\"{}\" cannot be a name", shown(name)),
        "use 1 to 63 small letters, digits and hyphens, no hyphen first",
    );
}

fn names(nodes: &[(Spot, Node<'_>)]) -> Vec<String> {
    nodes.iter().map(|(_, node)| node.name().to_owned()).collect()
}

fn open<'n, 'a: 'n>(
    nodes: &'n [(Spot, Node<'a>)],
    open: impl Fn(&Node<'a>) -> Option<Fields<'n>>,
) -> Vec<Named<'n>> {
    let tables =
        nodes.iter().filter_map(|(_, node)| Some(Named { name: node.name(), fields: open(node)? }));
    tables.collect()
}

/// What `read` makes of each table; `None` if any could not be opened or read.
fn every<'n, T>(
    nodes: &[(Spot, Node<'_>)],
    tables: &[Named<'n>],
    read: impl Fn(&Named<'n>) -> Option<T>,
) -> Option<Vec<T>> {
    let settings: Vec<T> = tables.iter().filter_map(read).collect();
    (settings.len() == nodes.len()).then_some(settings)
}

fn defaults<'a>(root: &Fields<'a>) -> Option<Fields<'a>> {
    let defaults = Fields::open(&root.node("defaults")?, &DEFAULTS)?;
    let target = Fields::open(&defaults.node("target")?, &DEFAULTS_TARGET)?;
    target::check_defaults(&target);
    Some(target)
}

fn routes(root: &Fields<'_>, names: &Names) -> Option<Vec<crate::route::Settings>> {
    let Some(node) = root.node("routes") else { return Some(Vec::new()) };
    let tables = node.tables()?;
    let routes: Vec<Option<crate::route::Settings>> =
        tables.iter().zip(1..).map(|(table, number)| route::read(table, number, names)).collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (route, table) in routes.iter().zip(&tables) {
        if let Some(route) = route
            && !seen.insert(&route.name)
        {
            root.reading().error(
                &table.spot(),
                format!("a second route is called \"{}\"", shown(&route.name)),
                "metrics could not tell them apart: give one another name",
            );
        }
    }
    routes.into_iter().collect()
}

/// Two sources cannot share a path: a callback would belong to both.
fn shared_paths(reading: &Reading<'_>, sources: &[Named<'_>]) {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for source in sources {
        // Its own problems were reported when the source was read.
        let silent = source.fields.node("path").and_then(|node| match node.value {
            toml::de::DeValue::String(text) => Some(text.as_ref().to_owned()),
            _ => None,
        });
        let path = silent.unwrap_or_else(|| format!("/hooks/{}", source.name));
        if let Some(other) = taken.insert(path.clone(), source.name) {
            let node = source.fields.node("path");
            reading.error(
                &node.map_or_else(|| source.fields.spot(), |node| node.spot()),
                format!("{} is the path of source `{other}` too", shown(&path)),
                "give each source its own path",
            );
        }
    }
}

/// A path below that of a source whose token is the last segment would be taken for a token.
fn nested_tokens(reading: &Reading<'_>, tables: &[Named<'_>], sources: &[SourceSettings]) {
    let in_path = |scheme: &Scheme| matches!(scheme, Scheme::UrlToken { param: None, .. });
    for outer in sources.iter().filter(|source| source.auth.iter().any(in_path)) {
        for (inner, table) in sources.iter().zip(tables) {
            let parent = inner.path.rsplit_once('/').map(|(parent, _)| parent);
            if parent == Some(outer.path.as_str()) && inner.auth.iter().all(|s| !in_path(s)) {
                let node = table.fields.node("path");
                reading.error(
                    &node.map_or_else(|| table.fields.spot(), |node| node.spot()),
                    format!("{} could be a token of source `{}`", inner.path, outer.name),
                    format!("move it out of {}/", outer.path),
                );
            }
        }
    }
}

/// Two writers of one file would tear each other's lines, and the store is no place for lines.
fn shared_files(store: Option<&crate::store::Settings>, targets: &[Named<'_>]) {
    let kept: Vec<PathBuf> = store
        .map(|store| files::meant(&store.path))
        .into_iter()
        .flat_map(|path| files_of(&path))
        .collect();
    let mut taken: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for target in targets {
        let Some(node) = target.fields.written("file") else { continue };
        let toml::de::DeValue::String(path) = node.value else { continue };
        let path = match path.as_ref() {
            // Standard output.
            "-" => PathBuf::from("-"),
            path => files::meant(Path::new(path)),
        };
        if kept.contains(&path) {
            node.wrong::<()>("this file belongs to the store", "write another file");
        } else if let Some(other) = taken.insert(path, target.name) {
            node.wrong::<()>(
                format!("target `{other}` writes this file too"),
                "send both routes to one target, or write another file",
            );
        }
    }
}

/// What targets take over. The old name is a target of before, so it is not among those of now, and
/// only one can be its heir.
fn renames(targets: &[Named<'_>], names: &[String]) -> Vec<Rename> {
    let mut renames: Vec<Rename> = Vec::new();
    for target in targets {
        let Some(node) = target.fields.written("renamed_from") else { continue };
        let Some(old) = node.text() else { continue };
        check_name(node.reading, &node.spot(), old);
        if names.iter().any(|name| name == old) {
            node.wrong::<()>(
                format!("\"{}\" is a target still", shown(old)),
                "remove that target, or this key",
            );
        } else if renames.iter().any(|rename| rename.old.as_str() == old) {
            node.wrong::<()>("another target takes this one over", "keep one of them");
        } else {
            let (old, new) = (TargetName::new(old), TargetName::new(target.name));
            renames.push(Rename { old, new });
        }
    }
    renames
}

/// The shipped placeholder is known to everyone who has read our documents.
fn placeholders(reading: &Reading<'_>, server: SocketAddr, admin: SocketAddr) {
    for spot in reading.placeholders() {
        let listener = match spot.table.split('.').next() {
            Some("sources") => Some(server),
            Some("admin") => Some(admin),
            _ => None,
        };
        match listener {
            Some(listen) if listen.ip().is_loopback() => {}
            Some(listen) => reading.error(
                &spot,
                format!("the secret is still \"{PLACEHOLDER}\", and {listen} is open to others"),
                "make a secret of your own: { env = \"NAME\" } or { file = \"path\" }",
            ),
            None => reading.warn(
                &spot,
                format!("the secret is still \"{PLACEHOLDER}\""),
                "write the real one: { env = \"NAME\" } or { file = \"path\" }",
            ),
        }
    }
}

fn same_address(reading: &Reading<'_>, root: &Fields<'_>, server: SocketAddr, admin: SocketAddr) {
    if server == admin && server.port() != 0 {
        let spot = listen_spot(root, "admin").or_else(|| listen_spot(root, "server"));
        reading.error(
            &spot.unwrap_or_else(|| root.spot()),
            format!("{server} is the address of callbacks and of operators"),
            "give [server] and [admin] a port each",
        );
    }
}

/// Where `listen` of this table is written.
fn listen_spot(root: &Fields<'_>, table: &str) -> Option<Spot> {
    place(root, table, "listen")
}

fn place(root: &Fields<'_>, table: &str, key: &str) -> Option<Spot> {
    let node = root.node(table)?;
    let members = node.members()?;
    members.iter().find(|(_, member)| member.name() == key).map(|(_, member)| member.spot())
}

fn unreached(
    reading: &Reading<'_>,
    (sources, settings): (&[Named<'_>], Option<&[SourceSettings]>),
    targets: &[Named<'_>],
    routes: &[crate::route::Settings],
) {
    for source in sources {
        let read = settings.into_iter().flatten().find(|read| read.name.as_str() == source.name);
        let provider = read.map(|read| read.reading.name());
        let takes = |route: &crate::route::Settings| {
            (route.from.is_empty() || route.from.iter().any(|from| from.as_str() == source.name))
                && (route.provider.is_empty()
                    || provider.is_none_or(|provider| route.provider.contains(provider)))
        };
        if !routes.iter().any(takes) {
            reading.warn_missing(
                &source.fields.spot(),
                format!("no route takes the events of source `{}`", source.name),
                "they are stored as unrouted; add a route",
            );
        }
    }
    for target in targets {
        let reached =
            |route: &crate::route::Settings| route.to.iter().any(|to| to.as_str() == target.name);
        if !routes.iter().any(reached) {
            reading.warn_missing(
                &target.fields.spot(),
                format!("no route leads to target `{}`", target.name),
                "add it to a route's `to`",
            );
        }
    }
}

/// History that is gone before the last attempt leaves an operator without the story.
fn short_retention(
    reading: &Reading<'_>,
    root: &Fields<'_>,
    retention: Duration,
    (tables, targets): (&[Named<'_>], &[TargetSettings]),
) {
    let longest = targets
        .iter()
        .zip(tables)
        .filter_map(|(target, table)| Some((target.retry.window()?, table)))
        .rev()
        .max_by_key(|(window, _)| *window);
    if let Some((window, table)) = longest
        && retention < window
    {
        let spot = place(root, "store", "retention")
            .or_else(|| table.fields.node("retry").map(|node| node.spot()))
            .unwrap_or_else(|| table.fields.spot());
        reading.warn(
            &spot,
            format!(
                "history is kept for {}, and target `{}` is tried for {}",
                retry::shown(retention),
                table.name,
                retry::shown(window)
            ),
            "keep history at least as long as deliveries are tried",
        );
    }
}
