//! `[sources.*]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::{
    auth, custom,
    excerpt::shown,
    fields::{Fields, Node},
    secrets, value,
};
use crate::{
    event::{SourceName, Status},
    ingest::{OnUnreadable, SourceSettings},
    provider::{self, Mapping, Place, Provider},
};

/// What a source takes from other tables when it does not say otherwise; `None` where that could
/// not be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inherited {
    pub(super) max_body: Option<usize>,
    pub(super) body_deadline: Option<Duration>,
    pub(super) dedupe_window: Option<Duration>,
}

/// Reads the table of the source of this name.
pub(super) fn read(
    name: &str,
    fields: &Fields<'_>,
    inherited: Inherited,
) -> Option<SourceSettings> {
    let provider = fields.get("provider", provider_word);
    let auth = fields.get("auth", |node| auth::of_caller(node, provider));
    let path = path(name, fields);
    let methods = fields.get("methods", |node| value::some(node, value::method));
    let ack = fields.get("ack", value::ack);
    let usual = inherited.max_body.map(|bytes| match provider.and_then(Provider::max_body) {
        Some(own) => own.max(bytes),
        None => bytes,
    });
    let max_body = fields.get("max_body", value::body_size).or(usual);
    let dedupe_window = fields.get("dedupe_window", value::duration).or(inherited.dedupe_window);
    let on_unreadable = fields.get("on_unreadable", on_unreadable);
    let allow_from = fields.get("allow_from", value::networks);
    let reading = reading(name, fields, provider);
    Some(SourceSettings {
        name: SourceName::new(name),
        path: path?,
        methods: methods?,
        ack: ack?,
        auth: auth?,
        allow_from: allow_from?,
        max_body: max_body?,
        body_deadline: inherited.body_deadline?,
        on_unreadable: on_unreadable?,
        dedupe_window: dedupe_window?,
        reading: reading?,
    })
}

/// Where the callbacks of this source come in.
pub(super) fn path(name: &str, fields: &Fields<'_>) -> Option<String> {
    match fields.node("path") {
        Some(node) => value::url_path(&node),
        None => Some(format!("/hooks/{name}")),
    }
}

fn reading(
    name: &str,
    fields: &Fields<'_>,
    provider: Option<Provider>,
) -> Option<provider::Settings> {
    let timezone = fields.get("timezone", value::zone);
    let country = fields.get("country", value::country);
    let names = fields.get("fields", |node| names(node, provider));
    let status = fields.get("status", status_words);
    let repair_json = fields.get("repair_json", value::flag);
    let validation_key = fields.get("validation_key", secrets::many_sendable);
    let mapping = mapping(name, fields, provider);
    let timezones = fields.get("timezones", |node| timezones(node, provider, mapping.as_ref()));
    if let (Some(node), Some(provider)) = (fields.written("validation_key"), provider)
        && provider != Provider::Mobtexting
    {
        return node.wrong("only MOBtexting sends a challenge with a key", "remove it");
    }
    let unread = |name: &str, is_read: bool| fields.written(name).is_some() && !is_read;
    if unread("repair_json", repair_json.is_some())
        || unread("validation_key", validation_key.is_some())
        || unread("timezone", timezone.is_some())
        || unread("country", country.is_some())
    {
        return None;
    }
    Some(provider::Settings {
        provider: provider?,
        timezone,
        timezones: timezones?,
        country,
        fields: names?,
        status: status?,
        repair_json: repair_json.unwrap_or(provider? != Provider::Custom),
        validation_key,
        mapping: Arc::new(mapping?),
    })
}

/// The key that each renamed field is received under.
fn names(node: &Node<'_>, provider: Option<Provider>) -> Option<BTreeMap<String, String>> {
    let names = map(node, str::to_owned, value::text)?;
    // Of a custom provider, `mapping` says that it has none.
    if let Some(provider) = provider.filter(|provider| *provider != Provider::Custom) {
        node.check_names("field", provider.fields()).and(own_keys(node))?;
    }
    Some(names)
}

/// The zones of single times: of those that the provider has, or its mapping reads.
fn timezones(
    node: &Node<'_>,
    provider: Option<Provider>,
    mapping: Option<&Mapping>,
) -> Option<BTreeMap<String, TimeZone>> {
    let zones = map(node, str::to_owned, value::zone)?;
    let times = match provider {
        Some(Provider::Custom) => mapping.map(Mapping::times),
        provider => provider.map(|it| it.times().iter().map(|&it| it.to_owned()).collect()),
    };
    if let Some(times) = times {
        let last = |time: &String| time.rsplit('.').next().map(str::to_owned);
        let known: BTreeSet<String> = times.iter().filter_map(last).chain(times.clone()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        node.check_names("time", &known)?;
    }
    Some(zones)
}

/// Whether no two fields are received under one key.
fn own_keys(node: &Node<'_>) -> Option<()> {
    let mut places: Vec<(Place, String)> = Vec::new();
    let mut own = Some(());
    for (_, member) in node.members()? {
        let place = value::place(&member)?;
        match places.iter().find(|(other, _)| *other == place) {
            Some((_, other)) => {
                own = member.wrong(
                    format!("`{}` is received under this key already", shown(other)),
                    "keep one of the two",
                );
            }
            None => places.push((place, member.name().to_owned())),
        }
    }
    own
}

/// What stands where, which only a custom provider needs to be told.
fn mapping(name: &str, fields: &Fields<'_>, provider: Option<Provider>) -> Option<Mapping> {
    let node = fields.written("map");
    match (provider?, node) {
        (Provider::Custom, Some(node)) => {
            let mapping = custom::read(&node, name);
            match fields.written("fields") {
                Some(node) => node.wrong("a custom provider has no names of its own", "use map"),
                None => mapping,
            }
        }
        (Provider::Custom, None) => {
            fields.reading().missing(
                &fields.spot(),
                "nothing says what stands where in the callbacks of a custom provider",
                format!("add [sources.{name}.map], with call.id = \"<a key of the body>\" in it"),
            );
            None
        }
        (_, Some(node)) if !matches!(node.value, DeValue::Table(_)) => node.mistyped(),
        (provider, Some(node)) => node.wrong(
            format!("the relay knows what stands where in the callbacks of {}", provider.as_str()),
            "remove it, write provider = \"custom\", or rename single keys with `fields`",
        ),
        (_, None) => Some(Mapping::default()),
    }
}

/// The word of a provider. The list of keys says which words there are.
fn provider_word(node: &Node<'_>) -> Option<Provider> {
    match value::word(node)? {
        "custom" => Some(Provider::Custom),
        word => Provider::from_word(word),
    }
}

fn on_unreadable(node: &Node<'_>) -> Option<OnUnreadable> {
    match value::word(node)? {
        "reject" => Some(OnUnreadable::Reject),
        _ => Some(OnUnreadable::Quarantine),
    }
}

/// Status words are compared folded, so that two of them may be the same.
fn status_words(node: &Node<'_>) -> Option<BTreeMap<String, Status>> {
    let mut folded: BTreeMap<String, String> = BTreeMap::new();
    for (key, member) in node.members()? {
        let word = member.name().to_owned();
        if let Some(other) = folded.insert(fold(&word), word.clone()) {
            node.reading.error(
                &key,
                format!("\"{}\" and \"{}\" are the same status word", shown(&word), shown(&other)),
                "keep one of them; case, spaces, - and _ make no difference",
            );
        }
    }
    map(node, fold, value::status)
}

/// A status word as it is compared: `providers.md` C.1.
fn fold(word: &str) -> String {
    word.trim().to_lowercase().replace(['_', ' '], "-")
}

/// The operator's own keys, each with its value.
fn map<T>(
    node: &Node<'_>,
    key: impl Fn(&str) -> String,
    read: impl Fn(&Node<'_>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let members = node.members()?;
    let count = members.len();
    let values: Vec<(String, T)> = members
        .iter()
        .filter_map(|(_, member)| Some((key(member.name()), read(member)?)))
        .collect();
    (values.len() == count).then(|| values.into_iter().collect())
}
