//! The shipped relay.toml, the hand-broken files, and problems generated from the list of keys.

use std::{fs, path::Path, time::Duration};

use proptest::prelude::*;

use super::{
    Config, Environment, Problem, Problems, Severity, contract,
    key::{Key, Kind, Presence, Table},
};

/// The file the repository ships.
const SHIPPED: &str = include_str!("../../relay.toml");

/// A secret in the shape Standard Webhooks wants.
const SIGNING_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn environment() -> Environment {
    Environment::given([
        ("TOKEN", "s3cr3t-of-the-environment"),
        ("EMPTY", ""),
        ("TWO_LINES", "a\nb"),
        ("CRM_TOKEN", "crm"),
        ("CRM_SIGNING_SECRET", SIGNING_SECRET),
        ("HOOKSWITCH_ADMIN_TOKEN", "admin"),
    ])
}

fn parse(text: &str) -> Result<(Config, Vec<Problem>), Problems> {
    Config::parse("relay.toml", text, &environment())
}

fn problems(text: &str) -> Vec<Problem> {
    match parse(text) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems.iter().cloned().collect(),
    }
}

/// Takes the `#` from lines such as `#key = value`.
fn with_defaults_written(text: &str) -> String {
    let written = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|char: char| char.is_ascii_lowercase()) => rest,
        _ => line,
    });
    written.collect::<Vec<_>>().join("\n")
}

/// Takes the `# ` from lines such as `# key = value` and `# [targets.crm]`.
fn with_examples_written(text: &str) -> String {
    let written = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') => rest,
        Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)) => rest,
        _ => line,
    });
    written.collect::<Vec<_>>().join("\n")
}

fn is_key(text: &str) -> bool {
    text.chars().all(|char| char.is_ascii_lowercase() || char == '_')
}

// === The shipped file ===

#[test]
fn the_shipped_file_runs_as_it_is_without_a_warning() {
    let (config, warnings) = parse(SHIPPED).unwrap();

    assert_eq!(warnings, []);
    assert_eq!(config.ingest.sources[0].path, "/hooks/julian");
    assert_eq!(config.routes[0].to[0].as_str(), "archive");
}

#[test]
fn every_default_in_the_shipped_file_is_the_default() {
    let written = with_defaults_written(SHIPPED);
    assert!(written.contains("\nmax_in_flight = 1024\n"));

    let (shipped, _) = parse(SHIPPED).unwrap();
    let (written, warnings) = parse(&written).unwrap();

    assert_eq!(warnings, []);
    assert_eq!(format!("{written:#?}"), format!("{shipped:#?}"));
}

#[test]
fn every_example_in_the_shipped_file_is_valid() {
    let written = with_examples_written(&with_defaults_written(SHIPPED));
    let written = written.replace("to = [\"archive\"]", "to = [\"archive\", \"crm\"]");

    let (config, warnings) = parse(&written).unwrap();

    assert_eq!(warnings, []);
    assert_eq!(config.delivery.targets.len(), 2);
    assert!(config.admin.token.is_some());
}

#[test]
fn the_shipped_file_shows_every_key_with_its_default() {
    let shown = with_examples_written(&with_defaults_written(SHIPPED));
    let sections: [(&str, &Table, &[&str]); 7] = [
        ("[server]", &contract::SERVER, &[]),
        ("[admin]", &contract::ADMIN, &[]),
        ("[store]", &contract::STORE, &[]),
        ("[defaults.target]", &contract::DEFAULTS_TARGET, &[]),
        ("[sources.julian]", &contract::SOURCE, &[]),
        // What a target inherits stands in `[defaults.target]`; a file stands in another target.
        (
            "[targets.crm]",
            &contract::TARGET,
            &[
                "file",
                "method",
                "format",
                "timeout",
                "connect_timeout",
                "concurrency",
                "success",
                "permanent",
                "retry",
                "order",
            ],
        ),
        ("[[routes]]", &contract::ROUTE, &[]),
    ];
    for (heading, table, elsewhere) in sections {
        let section = shown.split(&format!("\n{heading}\n")).nth(1).unwrap();
        let section = section.split("\n[").next().unwrap();
        for key in table.keys.iter().filter(|key| key.presence != Presence::Later) {
            let line = section.lines().find(|line| line.starts_with(&format!("{} = ", key.name)));
            match (key.presence, line) {
                _ if elsewhere.contains(&key.name) => {}
                // Shown with the values it has when nothing is written.
                _ if key.name == "retry" || key.name == "headers" => assert!(line.is_some()),
                (Presence::Default(toml), Some(line)) => {
                    assert_eq!(line, format!("{} = {toml}", key.name), "{heading}");
                }
                (_, line) => assert!(line.is_some(), "{heading} does not show {}", key.name),
            }
        }
    }
}

#[test]
fn every_line_of_the_shipped_file_fits_a_terminal() {
    for (line, number) in SHIPPED.lines().zip(1..) {
        assert!(line.chars().count() <= 100, "line {number}");
    }
}

#[test]
fn what_is_not_written_has_the_value_the_design_names() {
    let (config, _) = parse(
        r#"
        [sources.a]
        provider = "11x"
        auth = { kind = "header", secret = { env = "TOKEN" } }
        [targets.b]
        url = "https://crm.example.com/events"
        [[routes]]
        to = ["b"]
        "#,
    )
    .unwrap();

    assert_eq!(config.ingest.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.ingest.commit_wait, Duration::from_secs(5));
    assert_eq!(config.ingest.max_in_flight, 1024);
    assert_eq!(config.ingest.max_connections, 10_000);
    assert_eq!(config.shutdown_grace, Duration::from_secs(10));
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9090");
    assert_eq!(config.store.path, Path::new("data/hookswitch.db"));
    assert_eq!(config.store.retention, Duration::from_hours(14 * 24));
    assert_eq!(config.store.max_size, 10 << 30);
    assert_eq!(config.store.dead_retention, Duration::from_hours(90 * 24));
    assert_eq!(config.store.min_free, 512 << 20);

    let source = &config.ingest.sources[0];
    assert_eq!(source.path, "/hooks/a");
    assert_eq!(source.methods, [http::Method::POST]);
    assert_eq!(source.ack, 200);
    assert_eq!(source.max_body, 1 << 20);
    assert_eq!(source.body_deadline, Duration::from_secs(10));
    assert_eq!(source.dedupe_window, Duration::from_hours(24));
    assert!(source.reading.repair_json);

    let target = &config.delivery.targets[0];
    assert_eq!(target.concurrency, 32);
    assert_eq!(target.retry, crate::delivery::retry::Settings::default());
    let crate::delivery::target::Place::Http(http) = &target.place else { panic!("a URL") };
    assert_eq!(http.method, http::Method::POST);
    assert_eq!(http.timeout, Duration::from_secs(15));
    assert_eq!(http.connect_timeout, Duration::from_secs(5));
    assert_eq!((http.success[0].from, http.success[0].to), (200, 299));
    assert_eq!(http.permanent, [410, 413]);
    assert_eq!(config.routes[0].name, "route-1");
}

#[test]
fn an_11x_source_authenticates_by_its_own_header_and_secret() {
    let (config, _) = parse(SHIPPED).unwrap();

    let [crate::provider::auth::Scheme::Header { name, secret }] =
        config.ingest.sources[0].auth.as_slice()
    else {
        panic!("one header")
    };
    assert_eq!(name, "x-api-key");
    assert!(secret.matches(b"change-me"));
}

// === Inheritance and small print ===

/// A file with one of everything; `{}` is replaced.
fn with_target(target: &str) -> String {
    format!(
        "[sources.a]\nprovider = \"11x\"\nauth = {{ kind = \"bearer\", token = {{ env = \
         \"TOKEN\" }} }}\n[[routes]]\nto = [\"t\"]\n[targets.t]\n{target}\n"
    )
}

fn target(text: &str) -> crate::delivery::target::Settings {
    let text = with_target(text);
    let (config, _) = parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
    config.delivery.targets.into_iter().next().unwrap()
}

#[test]
fn a_target_takes_from_the_defaults_what_it_does_not_write() {
    let target = target(
        "file = \"x\"\nretry = { initial = \"1s\" }\n[defaults.target]\nconcurrency = 4\n\
         retry = { max = \"1h\" }\ntimeout = \"1s\"",
    );

    assert_eq!(target.concurrency, 4);
    // Key by key: a target's own retry is not mixed with the inherited one.
    let expected = crate::delivery::retry::Pauses::Exponential {
        initial: Duration::from_secs(1),
        factor: 3.0,
        max: Duration::from_hours(6),
    };
    assert_eq!(target.retry.pauses, expected);
}

#[test]
fn the_age_limit_is_a_default_only_where_nothing_else_ends_the_attempts() {
    let give_up_after =
        |retry: &str| target(&format!("file = \"x\"\nretry = {{ {retry} }}")).retry.give_up_after;

    assert_eq!(give_up_after(""), Some(Duration::from_hours(72)));
    assert_eq!(give_up_after("attempts = 3"), None);
    assert_eq!(give_up_after("schedule = [\"1s\"]"), None);
    assert_eq!(
        give_up_after("attempts = 3, give_up_after = \"1h\""),
        Some(Duration::from_hours(1))
    );
}

#[test]
fn a_secret_comes_from_wherever_it_is_named_and_in_the_order_it_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "from-a-file\n").unwrap();
    let text = format!(
        "[sources.a]\nprovider = \"11x\"\nauth = {{ kind = \"bearer\", token = [{{ file = '{}' \
         }}, {{ env = \"TOKEN\" }}, \"written-out\"] }}\n[targets.t]\nfile = \"-\"\n[[routes]]\n\
         to = [\"t\"]\n",
        path.display()
    );

    let (config, _) = parse(&text).unwrap();

    let [crate::provider::auth::Scheme::Bearer { token }] =
        config.ingest.sources[0].auth.as_slice()
    else {
        panic!("one bearer token")
    };
    let secrets: Vec<&[u8]> = token.iter().map(crate::secret::Secret::expose).collect();
    assert_eq!(secrets, [&b"from-a-file"[..], b"s3cr3t-of-the-environment", b"written-out"]);
}

#[test]
fn a_header_value_is_sensitive_when_it_is_a_secret() {
    let target = target(
        "url = \"https://crm.example.com\"\nheaders = { x-team = \"sales\", x-a = { env = \
         \"TOKEN\" }, x-api-key = \"abc\" }",
    );

    let crate::delivery::target::Place::Http(http) = target.place else { panic!("a URL") };
    assert_eq!(http.headers["x-team"], "sales");
    assert!(!http.headers["x-team"].is_sensitive());
    assert!(http.headers["x-a"].is_sensitive());
    assert!(http.headers["x-api-key"].is_sensitive());
}

#[test]
fn own_status_words_are_kept_as_they_are_compared() {
    let text =
        SHIPPED.replace("#status = {}", "status = { \"Gone_Fishing Today\" = \"no_answer\" }");

    let (config, _) = parse(&text).unwrap();

    let status = &config.ingest.sources[0].reading.status;
    assert_eq!(status["gone-fishing-today"], crate::event::Status::NoAnswer);
}

// === Files that cannot be read at all ===

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str, content: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let problems = Config::load(&path, &environment()).unwrap_err();
        problems.to_string().replace(&folder.path().display().to_string(), "")
    };

    assert_eq!(
        load("none.toml", None),
        "error: the configuration file does not exist\n--> /none.toml\n = note: name it with \
         --config PATH\n\n1 error; the configuration was not loaded"
    );
    assert!(load("", None).starts_with("error: the configuration is a directory\n"));
    assert!(load("latin.toml", Some(b"a = \"\xe4\"")).contains("not UTF-8 text from byte 5 on"));
}

// === Hand-broken files ===

/// Each `tests/fixtures/config/*.toml` beside what is said about it. After a change of wording,
/// `UPDATE_FIXTURES=1 cargo test --lib config` writes the `.stderr` files; read each one.
#[test]
fn each_broken_file_is_answered_as_written_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config");
    #[expect(clippy::disallowed_methods, reason = "asks the person, not the configuration")]
    let update = std::env::var("UPDATE_FIXTURES").is_ok();
    let mut differing = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        count += 1;
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let said = match Config::parse(&name, &text, &environment()) {
            Ok((_, warnings)) => warnings.iter().map(|warning| format!("{warning}\n")).collect(),
            Err(problems) => format!("{problems}\n"),
        };
        let expected = path.with_extension("stderr");
        if update {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            differing.push(format!("{name}:\n{said}"));
        }
    }
    assert!(count >= 20, "only {count} files found");
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn the_json_of_a_problem_has_its_stable_shape() {
    let problems =
        parse(&SHIPPED.replace("#listen = \"127.0.0.1:8080\"", "listen = 5")).unwrap_err();
    let start = SHIPPED.find("#listen").unwrap() + "listen = ".len();
    let line = SHIPPED[..start].lines().count();

    assert_eq!(
        serde_json::to_value(&problems).unwrap(),
        serde_json::json!([{
            "severity": "error",
            "place": {
                "file": "relay.toml",
                "line": line,
                "column": 10,
                "span": { "start": start, "end": start + 1 },
            },
            "table": "server",
            "message": "`listen` must not be of type integer",
            "remedy": "write an IP address and port such as \"127.0.0.1:8080\"",
            "note": null,
        }])
    );
}
