//! The shipped relay.toml, the hand-broken files, and problems generated from the list of keys.

use std::{fs, path::Path, time::Duration};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{
    Config, Environment, Problem, Problems, Severity, contract,
    json_schema::tests::complaints,
    key::{Key, Kind, Presence, Table},
    mapping,
};
use crate::provider::Provider;
use crate::provider::auth::{BasicForm, Scheme, Template};

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
        ("MOBTEXTING_VALIDATION_KEY", "validation"),
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
    let providers = config.ingest.sources.iter().map(|source| source.reading.provider);
    assert!(Provider::ALL.iter().all(|known| providers.clone().any(|shown| shown == *known)));
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
    let written = written.replace("to = [\"archive\"]", "to = [\"archive\", \"crm\", \"chat\"]");

    let (config, warnings) = parse(&written).unwrap();

    assert_eq!(warnings, []);
    assert_eq!(config.delivery.targets.len(), 3);
    assert!(config.admin.token.is_some());
}

#[test]
fn whatever_the_reader_takes_keeps_to_the_json_schema() {
    let defaults = with_defaults_written(SHIPPED);
    let examples = with_examples_written(&defaults);
    let broken = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let broken = broken.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    let broken = broken.map(|path| fs::read_to_string(path).unwrap());
    let taken: Vec<String> = [SHIPPED.to_owned(), defaults, examples]
        .into_iter()
        .chain(broken)
        .filter(|text| parse(text).is_ok())
        .collect();

    assert!(taken.len() > 3, "some of the files have warnings only");
    for text in taken {
        assert_eq!(complaints(&text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_shipped_file_shows_every_key_with_its_default() {
    let shown = with_examples_written(&with_defaults_written(SHIPPED));
    let sections: [(&str, &Table, &[&str]); 7] = [
        ("[server]", &contract::SERVER, &["tls"]),
        ("[admin]", &contract::ADMIN, &["tls"]),
        ("[store]", &contract::STORE, &[]),
        ("[defaults.target]", &contract::DEFAULTS_TARGET, &[]),
        // The one is MOBtexting's, the other a custom provider's.
        ("[sources.julian]", &contract::SOURCE, &["validation_key", "map"]),
        // What a target inherits stands in `[defaults.target]`; the others in other targets, and
        // `tls` in a remark, for its files must exist.
        (
            "[targets.crm]",
            &contract::TARGET,
            &[
                "file",
                "template",
                "content_type",
                "tls",
                "allow_networks",
                "deny_networks",
                "method",
                "format",
                "timeout",
                "connect_timeout",
                "concurrency",
                "success",
                "permanent",
                "retry",
                "rate",
                "breaker",
                "order",
            ],
        ),
        ("[[routes]]", &contract::ROUTE, &[]),
    ];
    for (heading, table, elsewhere) in sections {
        let section = shown.split(&format!("\n{heading}\n")).nth(1).unwrap();
        let section = section.split("\n[").next().unwrap();
        for key in table.keys {
            let line = section.lines().find(|line| line.starts_with(&format!("{} = ", key.name)));
            match (key.presence, line) {
                _ if elsewhere.contains(&key.name) => {}
                // Shown with the values it has when nothing is written.
                _ if ["retry", "breaker", "headers"].contains(&key.name) => {
                    assert!(line.is_some(), "{heading} does not show {}", key.name);
                }
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

    let [Scheme::Header { name, secret }] = config.ingest.sources[0].auth.as_slice() else {
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

    let [Scheme::Bearer { token }] = config.ingest.sources[0].auth.as_slice() else {
        panic!("one bearer token")
    };
    let secrets: Vec<&[u8]> = token.iter().map(crate::secret::Secret::expose).collect();
    assert_eq!(secrets, [&b"from-a-file"[..], b"s3cr3t-of-the-environment", b"written-out"]);
}

#[test]
fn a_target_takes_over_one_that_is_no_more_and_only_one_does() {
    let text = |a: &str, b: &str| {
        format!(
            "[sources.s]\nprovider = \"11x\"\nauth = \"none\"\n\
             [targets.a]\nfile = \"a\"\n{a}\n[targets.b]\nfile = \"b\"\n{b}\n\
             [[routes]]\nto = [\"a\", \"b\"]\n"
        )
    };
    let old = "renamed_from = \"old\"";

    let (config, _) = parse(&text(old, "")).unwrap();

    assert_eq!(config.renames.len(), 1);
    assert_eq!(config.renames[0].old.as_str(), "old");
    assert_eq!(config.renames[0].new.as_str(), "a");
    for (a, b) in [(old, old), ("renamed_from = \"b\"", ""), ("renamed_from = \"No Name\"", "")] {
        assert!(parse(&text(a, b)).is_err(), "{a} {b}");
    }
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

#[cfg(unix)]
#[test]
fn a_secret_file_that_every_user_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "abc").unwrap();
    let from = format!("secret = {{ file = '{}' }}", path.display());
    let text = SHIPPED.replacen("secret = \"change-me\"", &from, 1);
    let said = |mode: u32| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        problems(&text).iter().map(|problem| problem.message.clone()).collect::<Vec<_>>()
    };

    assert_eq!(said(0o600), Vec::<String>::new());
    assert_eq!(
        said(0o644),
        [format!("the secret file {} can be read by every user of this machine", path.display())]
    );
}

#[test]
fn a_preset_fills_in_all_of_a_signature_but_the_secret() {
    let text = "[sources.s]\nprovider = \"synthflow\"\nauth = { kind = \"hmac\", secret = { env = \
                \"TOKEN\" } }\n[sources.c]\nprovider = \"clouddial\"\nauth = { kind = \"basic\", \
                username = \"relay\", password = { env = \"TOKEN\" } }\n[targets.t]\nfile = \
                \"-\"\n[[routes]]\nto = [\"t\"]\n";
    let (config, _) = parse(text).unwrap_or_else(|problems| panic!("{problems}"));
    let scheme = |name: &str| {
        let mut sources = config.ingest.sources.iter();
        sources.find(|source| source.name.as_str() == name).unwrap().auth[0].clone()
    };

    let Scheme::Hmac(hmac) = scheme("s") else { panic!("a signature") };
    assert_eq!(hmac.signature().headers.len(), 4);
    assert_eq!(hmac.signature().encoding, crate::signature::Encoding::Base64);
    assert_eq!(hmac.signature().signed, Template::new("{json:/call/call_id}").unwrap());
    assert!(matches!(scheme("c"), Scheme::Basic { form: BasicForm::Loose, .. }));
}

#[test]
fn no_mapping_passes_for_a_provider_of_the_relay_s_own() {
    let said = |source: &str, name: &str| {
        let auth = "{ kind = \"bearer\", token = { env = \"TOKEN\" } }";
        let text = format!(
            "[sources.{source}]\nprovider = \"custom\"\nauth = {auth}\nmap = {{ {name}call.id = \
             \"id\" }}\n[targets.t]\nfile = \"-\"\n[[routes]]\nto = [\"t\"]\n"
        );
        problems(&text).iter().map(|problem| problem.message.clone()).collect::<Vec<_>>()
    };

    let refused = |name: &str| vec![format!("\"{name}\" is a provider of the relay's own")];
    assert_eq!(said("calls", "name = \"plum\", "), refused("plum"));
    assert_eq!(said("plum", ""), refused("plum"), "it is called as its source is");
    assert_eq!(said("plum", "name = \"plum-by-hand\", "), Vec::<String>::new());
}

#[test]
fn a_source_takes_bodies_as_long_as_its_provider_sends_them_unless_it_says_otherwise() {
    let longest = |server: &str, provider: &str, own: &str| {
        let auth = "{ kind = \"bearer\", token = { env = \"TOKEN\" } }";
        let source = format!("provider = \"{provider}\"\nauth = {auth}\n{own}");
        let text = format!(
            "[server]\n{server}\n[sources.s]\n{source}\n[targets.t]\nfile = \"-\"\n\
             [[routes]]\nto = [\"t\"]\n"
        );
        let (config, _) = parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
        config.ingest.sources[0].max_body >> 10
    };

    assert_eq!(longest("", "synthflow", ""), 8 << 10, "transcripts have no documented limit");
    assert_eq!(longest("max_body = \"1 MiB\"", "synthflow", ""), 8 << 10);
    assert_eq!(longest("max_body = \"16 MiB\"", "synthflow", ""), 16 << 10);
    assert_eq!(longest("", "synthflow", "max_body = \"512 KiB\""), 512);
    assert_eq!(longest("", "11x", ""), 1 << 10);
    assert_eq!(longest("max_body = \"64 KiB\"", "11x", ""), 64);
}

#[test]
fn every_source_of_the_guide_loads() {
    let guide = include_str!("../docs/guide.md");
    let names = guide.split("{ env = \"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let environment = Environment::given(names.map(|name| (name, "s3cr3t-of-a-reader")));
    let blocks = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let load = |source: &str| {
        let text = format!("{source}\n[targets.t]\nfile = \"-\"\n[[routes]]\nto = [\"t\"]\n");
        match Config::parse("guide.md", &text, &environment) {
            Ok((_, warnings)) => assert_eq!(warnings, [], "{source}"),
            Err(problems) => panic!("{problems}\n{source}"),
        }
    };
    let mut loaded = 0;
    for block in blocks {
        if block.contains("[sources.") {
            load(block);
            loaded += 1;
        } else {
            for auth in block.lines().filter(|line| line.starts_with("auth")) {
                load(&format!("[sources.a]\nprovider = \"custom\"\n{auth}\nmap.call.id = \"id\""));
                loaded += 1;
            }
        }
    }
    assert_eq!(loaded, 11);
}

#[test]
fn every_target_of_its_page_loads() {
    let page = include_str!("../docs/targets.md");
    let blocks: Vec<_> = page.split("```toml\n").skip(1).collect();
    for block in &blocks {
        let block = block.split("```").next().unwrap();
        let (config, warnings) = parse(&format!("{block}\n[[routes]]\nto = [\"chat\"]\n")).unwrap();
        assert_eq!(config.delivery.targets.len(), 1);
        let warnings: Vec<_> = warnings.iter().map(|warning| &warning.message).collect();
        assert_eq!(warnings, ["there is no source: no callback is accepted"]);
    }
    assert_eq!(blocks.len(), 1);
}

#[test]
fn every_reason_of_the_event_can_be_written() {
    let reasons: Vec<&str> = crate::event::Reason::ALL.iter().map(|word| word.as_str()).collect();

    assert_eq!(mapping::REASONS.now, reasons);
}

#[test]
fn repairs_are_on_for_the_providers_we_know_and_off_for_others() {
    let (config, _) = parse(WHOLE).unwrap();
    let repairs = |name: &str| {
        let mut sources = config.ingest.sources.iter();
        sources.find(|source| source.name.as_str() == name).unwrap().reading.repair_json
    };

    assert!(repairs("a") && repairs("l") && !repairs("k"));
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
    let folder_itself = load("", None);
    assert!(folder_itself.starts_with("error: the configuration is a directory\n"));
    assert!(folder_itself.contains("note: name the file in it with --config PATH"));
    let latin = load("latin.toml", Some(b"a = \"\xe4\""));
    assert!(latin.contains("not UTF-8 text from byte 5 on") && latin.contains("save it as UTF-8"));
}

// === Conditions of routes ===

/// A relay with one route that has these lines.
fn with_route(lines: &str) -> Result<(Config, Vec<Problem>), Problems> {
    parse(&SHIPPED.replace("name = \"everything\"", &format!("name = \"everything\"\n{lines}")))
}

#[test]
fn a_condition_that_may_meet_a_null_is_warned_of_and_one_that_asks_first_is_not() {
    let warned = |when: &str| {
        let (_, warnings) = with_route(&format!("when = '{when}'")).unwrap();
        warnings.iter().map(|warning| warning.message.clone()).collect::<Vec<_>>()
    };
    let of = |field: &str| {
        vec![format!("`{field}` can be null or absent: the condition fails on such an event")]
    };

    let seconds = "data.call.duration_seconds";
    assert_eq!(warned(&format!("{seconds} > 10")), of(seconds));
    assert_eq!(warned(&format!("{seconds} != null && {seconds} > 10")), [""; 0]);
    assert_eq!(warned("data.agent.name == \"Ada\""), of("data.agent"));
    assert_eq!(warned("data.extra.Skill == \"a\""), of("data.extra.Skill"));
    assert_eq!(warned("has(data.extra.Skill) && data.extra.Skill == \"a\""), [""; 0]);
    assert_eq!(warned("data.call.status == \"completed\""), [""; 0]);
}

#[test]
fn a_condition_is_tried_on_the_events_its_route_takes_and_on_no_others() {
    let warned = |takes: &str| {
        let lines = format!("{takes}\nwhen = 'data.call.duration_seconds > 10'");
        let (_, warnings) = with_route(&lines).unwrap();
        warnings.iter().filter(|warning| warning.message.contains("can be null")).count()
    };

    assert_eq!(warned(""), 1);
    assert_eq!(warned("provider = [\"11x\"]\nstatus = [\"completed\"]"), 0);
}

#[test]
fn where_no_known_event_is_like_those_of_a_route_what_can_be_null_is_named_all_the_same() {
    let own = "\n[sources.own]\nprovider = \"custom\"\nmap.call.id = \"id\"\n\
               auth = { kind = \"bearer\", token = { env = \"TOKEN\" } }\n";
    let warned = |lines: &str| {
        let lines = format!("name = \"everything\"\n{lines}");
        let text = SHIPPED.replace("name = \"everything\"", &lines) + own;
        let (_, warnings) = parse(&text).unwrap();
        warnings.iter().filter(|warning| warning.message.contains("can be null")).count()
    };

    for takes in [
        "status = [\"ringing\"]",
        "from = [\"own\"]",
        "from = [\"julian\", \"own\"]\nstatus = [\"completed\"]",
    ] {
        assert_eq!(
            warned(&format!("{takes}\nwhen = 'data.call.duration_seconds > 10'")),
            1,
            "{takes}"
        );
    }
    // What is 11x's own says nothing of what another calls the same.
    let ext = "data.extra.phoneNumberExt";
    assert_eq!(warned(&format!("from = [\"own\"]\nwhen = 'has({ext}) && {ext} > 5'")), 0);
}

#[test]
fn a_route_is_called_by_one_line() {
    for name in ["sales\\nresults", "sales\\u0007"] {
        let text = SHIPPED.replace("name = \"everything\"", &format!("name = \"{name}\""));
        let problems = parse(&text).unwrap_err().to_string();
        assert!(problems.contains("`name` holds a line break or another control"), "{problems}");
    }
}

#[test]
fn of_many_fields_that_can_be_null_it_is_said_how_many_are_not_named() {
    let fields = ["status_raw", "ended_at", "started_at", "reference", "id"];
    // The first that is null ends it: of two sides of `&&` it is the right one that is told.
    let when = fields.map(|field| format!("size(data.call.{field})")).join(" + ");
    let (_, warnings) = with_route(&format!("when = '{when} >= 0'")).unwrap();

    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert_eq!(warnings[4].message, "and 1 more that can be null or absent");
}

// === What a target may be ===

#[test]
fn what_the_relay_sets_itself_is_neither_a_header_nor_where_a_secret_goes() {
    let target = |lines: &str| {
        let target = "\n[targets.new]\nurl = \"https://crm.example.com/\"\n";
        let problems = problems(&format!("{SHIPPED}{target}{lines}"));
        let told = problems.iter().map(|problem| problem.message.clone());
        told.filter(|message| message.starts_with("the relay sets")).collect::<Vec<_>>()
    };
    let auth = |name: &str| {
        format!(
            "auth = {{ kind = \"header\", name = \"{name}\", secret = {{ env = \"TOKEN\" }} }}\n"
        )
    };
    let binary = "format = \"cloudevents-binary\"\n";

    for name in ["webhook-id", "Traceparent", "hookswitch-attempt", "host", "content-length"] {
        let said = [format!("the relay sets `{}` itself", name.to_ascii_lowercase())];
        assert_eq!(target(&auth(name)), said, "{name}");
    }
    assert_eq!(target(&auth("authorization")), [""; 0]);
    let ce = "headers = { ce-team = \"a\" }\n";
    assert_eq!(target(&format!("{binary}{ce}")), ["the relay sets `ce-team` itself"]);
    assert_eq!(
        target(&format!("{binary}{}", auth("ce-token"))),
        ["the relay sets `ce-token` itself"]
    );
    assert_eq!(target(ce), [""; 0]);
    assert_eq!(target(&auth("ce-token")), [""; 0]);
}

#[test]
fn a_target_is_written_to_a_file_and_to_nothing_else_at_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let said = |path: &Path| {
        problems(&format!("{SHIPPED}\n[targets.new]\nfile = {:?}\n", path.to_str().unwrap()))
            .iter()
            .filter(|problem| problem.message.ends_with("is not a file"))
            .count()
    };

    assert_eq!(said(&pipe), 1);
    assert_eq!(said(Path::new("/dev/null")), 1);
    assert_eq!(said(&folder.path().join("events.jsonl")), 0);
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
            Ok((_, warnings)) => warnings.iter().map(Problem::to_string).collect::<Vec<_>>(),
            Err(problems) => vec![problems.to_string()],
        };
        let said = said.into_iter().map(|problem| problem + "\n").collect::<String>();
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
fn behind_headings_that_lack_their_bracket_each_problem_has_its_place_in_the_file_as_it_is() {
    let text = include_str!("../../tests/fixtures/config/unclosed-headings.toml");
    let found = problems(text);

    for (key, line) in [("fiel", 6), ("paht", 9), ("form", 12)] {
        let message = format!("unknown key `{key}`");
        let place = &found.iter().find(|problem| problem.message == message).unwrap().place;
        assert_eq!((place.line, place.column), (Some(line), Some(1)));
        assert_eq!(text.get(place.span.clone().unwrap()), Some(key));
    }
    // More of them than are taken as closed: the rest waits for the next run.
    let many = "[sources.a\n".repeat(100);
    assert!(!problems(&many).is_empty());
}

#[test]
fn behind_values_that_are_not_closed_each_problem_has_its_place_and_none_is_made_up() {
    let text = include_str!("../../tests/fixtures/config/unclosed-values.toml");
    let found = problems(text);

    for (key, line) in [("methds", 7), ("fiel", 12), ("paht", 21), ("form", 30)] {
        let message = format!("unknown key `{key}`");
        let place = &found.iter().find(|problem| problem.message == message).unwrap().place;
        assert_eq!((place.line, place.column), (Some(line), Some(1)));
        assert_eq!(text.get(place.span.clone().unwrap()), Some(key));
    }
    // What the slip has swallowed is not missing, and what it holds is not judged.
    let only = problems(
        "[targets.crm]\ntemplate = \"\"\"\n{{ a }}\nurl = \"https://crm.example.com/\"\n\n[[routes]]\n\
         to = [\n\"crm\",\n",
    );
    let told: Vec<_> = only.iter().map(|problem| problem.place.line).collect();
    assert_eq!(told, [None, Some(2), Some(8)], "{only:?}");
    // More of them than are left out: the rest waits for the next run.
    let many = "[sources.a]\nauth = {\n".repeat(100);
    assert!(!problems(&many).is_empty());
}

#[test]
fn one_file_is_one_file_through_a_link_to_its_folder_whether_it_is_there_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let told = |first: &Path, second: &Path| {
        let text = format!("[targets.a]\nfile = {first:?}\n[targets.b]\nfile = {second:?}\n");
        let told = problems(&text);
        told.iter().any(|problem| problem.message == "target `a` writes this file too")
    };

    assert!(told(&real.join("x"), &link.join("x")));
    assert!(told(&real.join("later/x"), &link.join("later/./x")));
    assert!(!told(&real.join("x"), &link.join("y")));
    fs::write(real.join("x"), "").unwrap();
    std::os::unix::fs::symlink(real.join("x"), real.join("z")).unwrap();
    assert!(told(&real.join("x"), &link.join("z")));
}

#[test]
fn no_target_writes_a_file_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("relay.db");
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let file = format!("{}{suffix}", folder.path().join("./relay.db").display());
        let text = format!("[store]\npath = {store:?}\n[targets.a]\nfile = {file:?}\n");

        let told = problems(&text);

        let told: Vec<_> = told.iter().filter(|told| told.message.contains("the store")).collect();
        assert_eq!(told.len(), 1, "{suffix}: {told:?}");
        assert_eq!((told[0].severity, &*told[0].table), (Severity::Error, "targets.a"));
    }
}

#[test]
fn history_kept_for_less_than_a_schedule_or_some_attempts_last_is_warned_of() {
    let told = |retry: &str| {
        let text = format!(
            "[store]\nretention = \"1d\"\n[targets.a]\nfile = \"x\"\nretry = {{ {retry} }}\n"
        );
        problems(&text).iter().any(|problem| problem.message.starts_with("history is kept for"))
    };

    assert!(told("schedule = [\"1h\", \"1d\"]"));
    assert!(!told("schedule = [\"1h\", \"22h\"]"));
    assert!(told("attempts = 4, initial = \"9h\", factor = 1, max = \"9h\""));
    assert!(!told("attempts = 3, initial = \"9h\", factor = 1, max = \"9h\""));
}

#[test]
fn the_json_of_a_problem_has_its_stable_shape() {
    let problems =
        parse(&SHIPPED.replace("#listen = \"127.0.0.1:8080\"", "listen = 5")).unwrap_err();
    let start = SHIPPED.find("#listen").unwrap() + "listen = ".len();
    let line = SHIPPED.get(..start).unwrap().lines().count();

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

// === Every key, broken in every way ===

/// A valid file with a section for every table.
const WHOLE: &str = r#"
[server]
[admin]
[store]
[defaults]
[defaults.target]
[sources.a]
provider = "11x"
[sources.a.auth]
kind = "url-token"
token = { env = "TOKEN" }
[sources.b]
provider = "11x"
[sources.b.auth]
kind = "basic"
username = "relay"
password = { env = "TOKEN" }
[sources.c]
provider = "11x"
[sources.c.auth]
kind = "bearer"
token = { env = "TOKEN" }
[sources.d]
provider = "11x"
[sources.d.auth]
kind = "header"
secret = { env = "TOKEN" }
[sources.k]
provider = "custom"
[sources.k.auth]
kind = "hmac"
secret = { env = "TOKEN" }
header = "x-signature"
[sources.k.map]
[sources.k.map.call]
id = "CallSid"
[sources.k.map.call.direction]
from = "Direction"
[sources.k.map.call.to]
from = "To"
[sources.k.map.call.status]
from = "CallStatus"
[sources.k.map.call.reason]
from = "Cause"
[sources.k.map.call.answered_by]
from = "AnsweredBy"
[sources.k.map.call.started_at]
from = "Start"
[sources.k.map.call.legs]
[sources.k.map.call.legs.to]
[sources.k.map.call.timeline]
from = "events"
[sources.k.map.agent]
[sources.k.map.agent.name]
from = "Agent"
[sources.k.map.contact]
[sources.k.map.campaign]
[sources.k.map.sequence]
[sources.k.map.meeting]
[sources.k.map.outcomes]
from = "results"
[sources.k.map.actions]
from = "tasks"
[sources.l]
provider = "mobtexting"
[sources.l.auth]
kind = "body-field"
field = "/token"
secret = { env = "TOKEN" }
[targets.e]
url = "https://crm.example.com/events"
[targets.e.auth]
kind = "bearer"
token = { env = "TOKEN" }
[targets.e.sign]
secret = { env = "CRM_SIGNING_SECRET" }
[targets.e.tls]
ca = "tests/fixtures/config/authority.pem"
[targets.e.retry]
[targets.e.breaker]
[targets.f]
url = "https://crm.example.com/events"
[targets.f.auth]
kind = "basic"
username = "relay"
password = { env = "TOKEN" }
[targets.g]
url = "https://crm.example.com/events"
[targets.g.auth]
kind = "header"
name = "x-key"
secret = { env = "TOKEN" }
[targets.h]
file = "data/events.jsonl"
[[routes]]
to = ["e", "f", "g", "h"]
"#;

/// Each section of `WHOLE` with its keys.
fn sections() -> Vec<(&'static str, &'static Table)> {
    let variant = |variants: &'static [super::key::Variant], word: &str| {
        variants.iter().find(|variant| variant.word == word).unwrap().table.unwrap()
    };
    vec![
        ("[server]", &contract::SERVER),
        ("[admin]", &contract::ADMIN),
        ("[store]", &contract::STORE),
        ("[defaults]", &contract::DEFAULTS),
        ("[defaults.target]", &contract::DEFAULTS_TARGET),
        ("[sources.a]", &contract::SOURCE),
        ("[sources.a.auth]", variant(&contract::CALLER_AUTH, "url-token")),
        ("[sources.b.auth]", variant(&contract::CALLER_AUTH, "basic")),
        ("[sources.c.auth]", variant(&contract::CALLER_AUTH, "bearer")),
        ("[sources.d.auth]", variant(&contract::CALLER_AUTH, "header")),
        ("[sources.k.auth]", variant(&contract::CALLER_AUTH, "hmac")),
        ("[sources.l.auth]", variant(&contract::CALLER_AUTH, "body-field")),
        ("[sources.k.map]", &mapping::MAP),
        ("[sources.k.map.call]", &mapping::MAP_CALL),
        ("[sources.k.map.call.direction]", &mapping::RULE_DIRECTION),
        ("[sources.k.map.call.to]", &mapping::RULE_NUMBER),
        ("[sources.k.map.call.status]", &mapping::RULE_STATUS),
        ("[sources.k.map.call.reason]", &mapping::RULE_REASON),
        ("[sources.k.map.call.answered_by]", &mapping::RULE_ANSWERED_BY),
        ("[sources.k.map.call.started_at]", &mapping::RULE_TIME),
        ("[sources.k.map.call.legs]", &mapping::MAP_LEGS),
        ("[sources.k.map.call.legs.to]", &mapping::MAP_LEG),
        ("[sources.k.map.call.timeline]", &mapping::MAP_TIMELINE),
        ("[sources.k.map.agent]", &mapping::MAP_AGENT),
        ("[sources.k.map.agent.name]", &mapping::RULE_TEXT),
        ("[sources.k.map.contact]", &mapping::MAP_CONTACT),
        ("[sources.k.map.campaign]", &mapping::MAP_CAMPAIGN),
        ("[sources.k.map.sequence]", &mapping::MAP_SEQUENCE),
        ("[sources.k.map.meeting]", &mapping::MAP_MEETING),
        ("[sources.k.map.outcomes]", &mapping::MAP_OUTCOMES),
        ("[sources.k.map.actions]", &mapping::MAP_ACTIONS),
        ("[targets.e]", &contract::TARGET),
        ("[targets.e.auth]", variant(&contract::TARGET_AUTH, "bearer")),
        ("[targets.f.auth]", variant(&contract::TARGET_AUTH, "basic")),
        ("[targets.g.auth]", variant(&contract::TARGET_AUTH, "header")),
        ("[targets.e.sign]", &contract::SIGN),
        ("[targets.e.tls]", &contract::TARGET_TLS),
        ("[targets.e.retry]", &contract::RETRY),
        ("[targets.e.breaker]", &contract::BREAKER_TABLE),
        ("[targets.h]", &contract::TARGET),
        ("[[routes]]", &contract::ROUTE),
    ]
}

/// `WHOLE` with `lines` in the place of this key in this section, and the number of the heading.
fn with_key(heading: &str, key: &Key, lines: &[String]) -> (String, usize) {
    let inner = format!("{}.{}", heading.trim_matches(['[', ']']), key.name);
    let is_inner = |name: &str| name == inner || name.starts_with(&format!("{inner}."));
    let mut kept: Vec<String> = Vec::new();
    let mut section = "";
    for line in WHOLE.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let own = section == heading && line.starts_with(&format!("{} = ", key.name));
        if !own && !is_inner(section.trim_matches(['[', ']'])) {
            kept.push(line.to_owned());
        }
    }
    let at = kept.iter().position(|line| line == heading).unwrap() + 1;
    kept.splice(at..at, lines.iter().cloned());
    (kept.join("\n"), at)
}

fn error_at(text: &str, line: usize, says: &str) -> Problem {
    let found = problems(text);
    let at_line = |problem: &&Problem| {
        problem.severity == Severity::Error
            && problem.place.line == Some(line)
            && problem.message.contains(says)
    };
    // The last: that a target has two places is said before what is wrong with either.
    match found.iter().rfind(at_line) {
        Some(problem) => problem.clone(),
        None => panic!("no {says:?} at line {line} of\n{text}\nbut {found:#?}"),
    }
}

#[test]
fn the_file_with_every_table_is_valid() {
    let (_, warnings) = parse(WHOLE).unwrap_or_else(|problems| panic!("{problems}"));

    assert_eq!(warnings, []);
    for table in contract::TABLES {
        let shown = sections().into_iter().any(|(_, shown)| std::ptr::eq(shown, table));
        // A key that everyone can read warns, and what is checked out can be: it has its own test.
        let elsewhere = [&raw const contract::ROOT, &raw const contract::TLS];
        assert!(
            shown || elsewhere.iter().any(|other| std::ptr::eq(table, *other)),
            "{}",
            table.doc
        );
    }
}

#[test]
fn every_key_with_a_value_of_the_wrong_type_is_named_with_its_line() {
    for (heading, table) in sections() {
        for key in table.keys {
            let (text, at) = with_key(heading, key, &[format!("{} = 1979-05-27", key.name)]);

            let problem = error_at(&text, at + 1, &format!("`{}`", key.name));

            // A file refuses the keys of an endpoint whatever they hold.
            if heading != "[targets.h]" {
                assert!(problem.message.contains("type datetime"), "{problem}");
                let expected = match key.name {
                    // Which words there are depends on nothing else, and none was written.
                    "kind" => Kind::Text.expected(),
                    _ => key.kind.expected(),
                };
                assert!(problem.remedy.unwrap().contains(&expected), "{heading}");
            }
        }
    }
}

#[test]
fn every_misspelt_key_is_unknown_and_the_meant_one_is_offered() {
    for (heading, table) in sections() {
        for key in table.keys {
            let last = key.name.chars().last().unwrap();
            let (text, at) = with_key(heading, key, &[format!("{}{last} = true", key.name)]);

            let problem = error_at(&text, at + 1, &format!("unknown key `{}{last}`", key.name));

            assert_eq!(problem.remedy.unwrap(), format!("did you mean `{}`?", key.name));
            assert!(problem.note.unwrap().contains(key.name));
        }
    }
}

#[test]
fn every_doubled_key_is_named_at_its_second_line() {
    for (heading, table) in sections() {
        for key in table.keys {
            let line = format!("{} = 5", key.name);
            let (text, at) = with_key(heading, key, &[line.clone(), line]);

            error_at(&text, at + 2, &format!("`{}` is written a second time", key.name));
        }
    }
}

#[test]
fn every_required_key_that_is_missing_is_named_at_its_table() {
    let mut required = 0;
    for (heading, table) in sections() {
        for key in table.keys.iter().filter(|key| key.presence == Presence::Required) {
            let (text, at) = with_key(heading, key, &[]);

            error_at(&text, at, key.name);
            required += 1;
        }
    }
    assert!(required >= 15, "only {required} keys are required");
}

#[test]
fn every_key_of_a_listener_s_certificate_is_held_to_its_type_its_name_and_its_other_half() {
    for heading in ["[server.tls]", "[admin.tls]"] {
        for key in contract::TLS.keys {
            let text = |lines: &str| format!("{heading}\n{lines}\n");
            let wrong = error_at(&text(&format!("{} = 5", key.name)), 2, "type integer");
            assert!(wrong.remedy.unwrap().contains("a path"));
            let misspelt = error_at(&text(&format!("{}x = \"a\"", key.name)), 2, "unknown key");
            assert_eq!(misspelt.remedy.unwrap(), format!("did you mean `{}`?", key.name));
            let line = format!("{} = \"a\"", key.name);
            error_at(&text(&format!("{line}\n{line}")), 3, "is written a second time");
            error_at(&text(&line), 1, "is shown with its key only");
        }
        error_at(&format!("{heading}\n"), 1, "needs `cert` and `key`");
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_where_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["relay.example.com".to_owned()]).unwrap();
        let paths = ["pem", "key"].map(|end| folder.path().join(format!("{name}.{end}")));
        fs::write(&paths[0], made.cert.pem()).unwrap();
        fs::write(&paths[1], made.signing_key.serialize_pem()).unwrap();
        paths
    };
    let ([cert, key], [_, other]) = (make("a"), make("b"));
    let said = |cert: &Path, key: &Path| {
        let text = format!(
            "[server]\ntls = {{ cert = '{}', key = '{}' }}\n",
            cert.display(),
            key.display()
        );
        let found = problems(&text);
        let error = found
            .iter()
            .find(|problem| problem.severity == Severity::Error && problem.place.line == Some(2));
        error.map(|problem| problem.message.clone()).unwrap_or_default()
    };

    assert_eq!(said(&cert, &key), "");
    assert!(said(&cert, &other).contains("the key is not the one of the certificate"));
    assert!(said(&key, &key).contains("there is no certificate in it"));
    assert!(said(&cert, &cert).contains("there is no private key in it"));
    assert!(said(&folder.path().join("none"), &key).contains("cannot be read"));
    assert!(said(&cert, folder.path()).contains("it is a directory"));
}

#[test]
fn every_table_of_the_file_must_be_one() {
    for key in contract::ROOT.keys {
        error_at(&format!("\n{} = 1979-05-27\n", key.name), 2, &format!("`{}`", key.name));
        let last = key.name.chars().last().unwrap();
        let misspelt = error_at(&format!("[{}{last}]\n", key.name), 1, "unknown key");
        assert_eq!(misspelt.remedy.unwrap(), format!("did you mean `{}`?", key.name));
    }
}

#[test]
fn every_default_is_valid_where_it_is_written_out() {
    for (heading, table) in sections() {
        for key in table.keys {
            let Presence::Default(toml) = key.presence else { continue };
            if heading == "[targets.h]" || matches!(key.kind, Kind::Table(_)) {
                continue;
            }
            let (text, _) = with_key(heading, key, &[format!("{} = {toml}", key.name)]);

            let (written, warnings) = parse(&text).unwrap_or_else(|problems| panic!("{problems}"));

            assert_eq!(warnings, [], "{heading} {}", key.name);
            let (whole, _) = parse(WHOLE).unwrap();
            assert_eq!(format!("{written:?}"), format!("{whole:?}"), "{heading} {}", key.name);
        }
    }
}

// === What is in force ===

#[test]
fn the_configuration_in_force_is_shown_with_its_defaults_and_without_its_secrets() {
    let text = with_target(
        "url = \"https://crm.example.com/hooks/zq7-secret?key=zq7-secret\"\nauth = { kind = \
         \"bearer\", token = \"zq7-secret\" }\nheaders = { x-team = \"zq7-secret\" }\n[targets.f]\n\
         file = \"-\"\n[defaults.target]\nconcurrency = 4",
    );
    let (config, _) = parse(&text).unwrap();

    let shown = config.redacted.as_json();

    assert!(!shown.to_string().contains("zq7"), "{shown:#}");
    assert_eq!(shown["server"]["listen"], "127.0.0.1:8080");
    assert_eq!(shown["sources"]["a"]["auth"]["token"], serde_json::json!({ "env": "TOKEN" }));
    let target = &shown["targets"]["t"];
    assert_eq!(target["url"], "https://crm.example.com/…");
    assert_eq!((&target["concurrency"], &target["timeout"]), (&4.into(), &"15s".into()));
    assert_eq!(target["auth"], serde_json::json!({ "kind": "bearer", "token": "…" }));
    assert_eq!(shown["targets"]["f"]["timeout"], serde_json::Value::Null);
    assert_eq!(shown["routes"][0]["to"], serde_json::json!(["t"]));
}

#[test]
fn a_change_is_seen_in_what_is_written_in_what_is_inherited_and_in_what_is_read() {
    let changed = |from: &str, to: &str, environment: &Environment| {
        let text =
            with_target("url = \"https://crm.example.com\"\n[defaults.target]\nconcurrency = 4");
        assert!(text.contains(from));
        let (before, _) = parse(&text).unwrap();
        let after = Config::parse("relay.toml", &text.replace(from, to), environment);
        before.changes(&after.unwrap().0).changed
    };
    let rotated = Environment::given([("TOKEN", "another")]);

    assert_eq!(changed("url", "url", &environment()), [""; 0]);
    assert_eq!(changed("url = ", "url    = ", &environment()).len(), 0);
    assert_eq!(changed("crm.example", "crm2.example", &environment()), ["targets.t"]);
    assert_eq!(changed("concurrency = 4", "concurrency = 5", &environment()), ["targets.t"]);
    assert_eq!(changed("url", "url", &rotated), ["sources.a"]);
}

// === Whatever the bytes ===

/// A file whose secrets are easy to find in any output.
fn with_secrets() -> String {
    let written = with_examples_written(&with_defaults_written(SHIPPED));
    written
        .replace("\"change-me\"", "[\"zq7-secret\", \"zq7-secret\"]")
        .replace("{ env = \"CRM_TOKEN\" }", "\"zq7-secret\"")
        .replace("{ env = \"CRM_SIGNING_SECRET\" }", "\"zq7-secret\"")
        .replace("{ env = \"HOOKSWITCH_ADMIN_TOKEN\" }", "\"zq7-secret\"")
        .replace("\"sales\"", "\"zq7-secret\"")
}

#[test]
fn a_secret_under_a_key_that_lost_three_letters_is_not_shown() {
    // Nearer to `param` of another kind, whose value may be shown, than to `password`.
    let text = with_secrets().replace("password = ", "paord = ");

    let said = parse(&text).unwrap_err().to_string();

    assert!(said.contains("unknown key `paord`"), "{said}");
    assert!(!said.contains("zq7-secret"), "{said}");
}

#[test]
fn a_secret_that_a_line_break_parted_from_its_key_is_not_shown() {
    let text = with_secrets().replace("token = [\"zq7-secret\"", "token = [\"\nzq7-secret\"");

    let said = parse(&text).unwrap_err().to_string();

    assert!(!said.contains("zq7-secret"), "{said}");
}

#[test]
fn no_slip_in_a_line_with_a_secret_makes_the_reader_show_it() {
    let text = with_secrets();
    let lines: Vec<_> = text.lines().collect();
    let secret = |at: &usize| lines[*at].contains("zq7-secret");
    for at in (0..lines.len()).filter(secret) {
        let is_heading = |at: &usize| lines[*at].starts_with('[');
        let heading = (0..at).rev().find(is_heading).unwrap();
        let end = (at..lines.len()).filter(is_heading).nth(1).unwrap_or(lines.len());
        let above = lines[heading..at].join("\n");
        let below = lines[at + 1..end].join("\n");
        for (place, char) in lines[at].char_indices() {
            let (before, rest) = lines[at].split_at(place);
            if before.ends_with("zq7") {
                continue;
            }
            let less = rest.strip_prefix(char).unwrap();
            let slips = [less.to_owned()]
                .into_iter()
                .chain(["\n", "\"", "=", "#", "}"].map(|slip| slip.to_owned() + rest));
            for slip in slips {
                let text = format!("{above}\n{before}{slip}\n{below}\n");
                let said = match parse(&text) {
                    Ok((_, warnings)) => warnings.iter().map(Problem::to_string).collect(),
                    Err(problems) => problems.to_string(),
                };
                assert!(!said.contains("zq7-secret"), "{text}: {said}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_make_the_reader_panic_and_none_make_it_show_a_secret(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..4, "[\\PC\n\"'={}\\[\\],.#\\\\ ]{0,2}"),
            1..5,
        ),
    ) {
        let mut text: Vec<char> = with_secrets().chars().collect();
        for (at, removed, inserted) in changes {
            let at = at.index(text.len() + 1);
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();

        let said = match parse(&text) {
            Ok((config, warnings)) => {
                format!("{config:?}{}", warnings.iter().map(Problem::to_string).collect::<String>())
            }
            Err(problems) => {
                for problem in &problems {
                    let line = problem.place.line.unwrap_or(1);
                    prop_assert!(line >= 1 && line <= text.lines().count() + 1);
                }
                format!("{problems}{}", serde_json::to_string(&problems).unwrap())
            }
        };

        prop_assert!(!said.contains("zq7-secret"), "{said}");
    }

    #[test]
    fn text_of_any_kind_is_read_without_a_panic(text in "[\\PC\n]{0,200}") {
        let said = match parse(&text) {
            Ok((_, warnings)) => warnings.iter().map(Problem::to_string).collect::<String>(),
            Err(problems) => problems.to_string(),
        };

        prop_assert!(!said.contains(char::from(0x1b)), "{said:?}");
    }
}

/// Every key of `[server]`, `[admin]` and `[store]`, with a value that it does not have by itself,
/// and whether it waits for the next start.
const AT_THE_NEXT_START: &[(&str, &str, bool)] = &[
    ("server.listen", "\"127.0.0.1:1\"", true),
    ("server.max_in_flight", "7", true),
    ("server.max_connections", "7", true),
    ("server.shutdown_grace", "\"7s\"", true),
    ("server.tls", "", false),
    ("server.max_body", "\"7 KiB\"", false),
    ("server.body_deadline", "\"7s\"", false),
    ("server.commit_wait", "\"7s\"", false),
    ("server.trusted_proxies", "[\"10.0.0.0/8\"]", false),
    ("admin.listen", "\"127.0.0.1:1\"", true),
    ("admin.token", "\"a-token-of-its-own\"", false),
    ("admin.tls", "", false),
    ("store.path", "\"elsewhere.db\"", true),
    ("store.retention", "\"7d\"", false),
    ("store.max_size", "\"7 MiB\"", false),
    ("store.dead_retention", "\"7d\"", false),
    ("store.min_free", "\"7 MiB\"", false),
    ("store.dedupe_window", "\"7s\"", false),
];

#[test]
fn every_key_of_the_relay_itself_is_changed_by_a_reload_or_named_as_waiting_for_the_next_start() {
    let tables =
        [("server", &contract::SERVER), ("admin", &contract::ADMIN), ("store", &contract::STORE)];
    let keys =
        tables.iter().flat_map(|(table, of)| of.names().map(move |name| format!("{table}.{name}")));
    let known: std::collections::BTreeSet<String> =
        AT_THE_NEXT_START.iter().map(|(key, ..)| (*key).to_owned()).collect();
    assert_eq!(keys.collect::<std::collections::BTreeSet<_>>(), known);

    let (before, _) = parse("").unwrap();
    for (key, value, waits) in AT_THE_NEXT_START.iter().filter(|(_, value, _)| !value.is_empty()) {
        let (table, name) = key.split_once('.').unwrap();
        let (after, _) = parse(&format!("[{table}]\n{name} = {value}\n")).unwrap();

        let changes = before.changes(&after);

        let named = if *waits { vec![(*key).to_owned()] } else { Vec::new() };
        assert_eq!(changes.needs_restart, named, "{key}");
    }
}
