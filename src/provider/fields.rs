//! Taking the fields of a provider out of its document, so that what is not taken is `extra`.
//!
//! A mapper asks for each field it knows by its path. What can be used is taken: it leaves the
//! tree, and branches that this empties vanish. What cannot be used (a placeholder, a refused
//! URL, a zero date …) stays where it is, with its warning; so does what is used but would not be
//! rebuilt from the event (`46.9` seconds). At the end the tree *is* `extra`: nothing is lost,
//! and nothing has to be put back. Blank strings and nulls at a mapped path are taken as null.
//!
//! A value may stand under another name (`fields` of the source): the whole path can be renamed,
//! and the rename is looked up by the provider's own names, joined by dots. What is in a renamed
//! field goes with it. What is received in a list is used and stays, for a list stays whole.

use std::{borrow::Cow, collections::BTreeSet};

use jiff::{Timestamp, tz::TimeZone};

use super::{
    Settings,
    document::find,
    fate::{Fate, id, text, url, whole},
    sight, status,
    work::visited,
};
use crate::event::{
    Number, Warning,
    instant::{self, Reading},
    number::{self, Dialling},
    value::{Object, Value},
};

/// A path of member names from the root.
pub(super) type Path<'p> = &'p [&'p str];

/// A document whose fields are being taken.
#[derive(Debug)]
pub(super) struct Fields<'a, 's> {
    rest: Object<'a>,
    pub(super) settings: &'s Settings,
    pub(super) warnings: BTreeSet<Warning>,
    dialling: Dialling<'s>,
    /// While one value may be read for several fields: what was used of the tree.
    held: Option<Held>,
    /// The member that the provider's fields stand in, when the body is wrapped.
    wrapper: Option<&'static str>,
    /// The zone that the body itself shows.
    shown: Option<TimeZone>,
}

/// What was used while nothing leaves the tree.
#[derive(Debug, Default)]
struct Held {
    /// Used whole, or blank.
    used: Vec<Vec<String>>,
    /// Used in part, or refused: these stay.
    kept: Vec<Vec<String>>,
}

/// One entry of a list, being mapped. The list leaves the tree only if all of it was used.
#[derive(Debug)]
pub(super) struct Entry<'v, 'a, 'f, 's> {
    members: &'v Object<'a>,
    fields: &'f mut Fields<'a, 's>,
    /// The names of the list and of its members, for the zones of fields.
    path: Path<'f>,
    used: usize,
    whole: bool,
}

/// The entries of a list, however it stands in the body.
#[derive(Debug)]
pub(super) struct Listed<'v, 'a> {
    pub(super) entries: Vec<Cow<'v, Value<'a>>>,
    /// Whether nothing stands beside the entries, and their texts are the body's own.
    pub(super) whole: bool,
}

/// Calls `then` with the place of a field: the path it is received under, in the wrapper if any.
fn with_place<T>(
    settings: &Settings,
    wrapper: Option<&str>,
    path: Path<'_>,
    then: impl FnOnce(Path<'_>) -> T,
) -> T {
    settings.with_received(path, |path| match wrapper {
        None => then(path),
        Some(wrapper) => then(&[&[wrapper], path].concat()),
    })
}

/// Removes the value at `path`, and every branch that this empties.
fn remove<'a>(members: &mut Object<'a>, path: Path<'_>) -> Option<Value<'a>> {
    match remove_if(members, path, |_| Ok::<_, ()>(()))? {
        Ok(((), value)) => Some(value),
        Err(()) => None,
    }
}

/// The same, if `read` gives what the value says and no reason why it stays; `None` where objects
/// alone lead to no value.
fn remove_if<'a, T, E>(
    members: &mut Object<'a>,
    path: Path<'_>,
    read: impl FnOnce(&Value<'a>) -> Result<T, E>,
) -> Option<Result<(T, Value<'a>), E>> {
    let (name, rest) = path.split_first()?;
    visited(members.len());
    let at = members.iter().position(|(member, _)| member == name)?;
    if rest.is_empty() {
        let said = read(&members.get(at)?.1);
        return Some(said.map(|said| (said, members.remove(at).1)));
    }
    let (_, Value::Object(inner)) = members.get_mut(at)? else { return None };
    let removed = remove_if(inner, rest, read)?;
    if inner.is_empty() {
        members.remove(at);
    }
    Some(removed)
}

/// A string or number value as the text it is.
fn into_text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) | Value::Number(text) => Some(text),
        _ => None,
    }
}

// === impl Fields ===

impl<'a, 's> Fields<'a, 's> {
    pub(super) fn new(
        settings: &'s Settings,
        rest: Object<'a>,
        warnings: BTreeSet<Warning>,
    ) -> Self {
        let rules = settings.provider.rules();
        let dialling = Dialling {
            country: settings.country.as_deref().or(rules.country),
            bare_international: rules.bare_international,
        };
        let wrapper = settings.wrapper_of(&rest);
        Self { rest, settings, warnings, dialling, held: None, wrapper, shown: None }
    }

    /// From here on nothing leaves the tree, so that one value may be read for several fields.
    pub(super) fn hold(&mut self) {
        self.held = Some(Held::default());
    }

    /// Lets everything leave that was used since [`Fields::hold`], and whole each time.
    pub(super) fn release(&mut self) {
        let Held { used, kept } = self.held.take().unwrap_or_default();
        for path in used.iter().filter(|path| !kept.contains(path)) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            self.remove(&path);
        }
    }

    /// Naive times without a configured zone are of this one, which the body itself shows.
    pub(super) fn show_zone(&mut self, zone: TimeZone) {
        self.shown = Some(zone);
    }

    /// What was not taken, and every warning raised.
    pub(super) fn into_rest(self) -> (Object<'a>, BTreeSet<Warning>) {
        (self.rest, self.warnings)
    }

    /// The value at a path, left where it is.
    #[cfg_attr(test, track_caller)]
    pub(super) fn peek(&self, path: Path<'_>) -> Option<&Value<'a>> {
        if sight::is_hidden(path, &[]) {
            return None;
        }
        with_place(self.settings, self.wrapper, path, |path| find(&self.rest, path))
    }

    /// A text as sent.
    #[cfg_attr(test, track_caller)]
    pub(super) fn text(&mut self, path: Path<'_>) -> Option<Cow<'a, str>> {
        self.take_text(path, text)
    }

    /// A text of at most [`MAX_ID`] bytes, as sent.
    #[cfg_attr(test, track_caller)]
    pub(super) fn id(&mut self, path: Path<'_>) -> Option<Cow<'a, str>> {
        self.take_text(path, id)
    }

    /// An http or https address.
    #[cfg_attr(test, track_caller)]
    pub(super) fn url(&mut self, path: Path<'_>) -> Option<Cow<'a, str>> {
        self.take_text(path, url).map(trimmed)
    }

    /// A text without the white space at its ends.
    #[cfg_attr(test, track_caller)]
    pub(super) fn trimmed(&mut self, path: Path<'_>) -> Option<Cow<'a, str>> {
        self.text(path).map(trimmed)
    }

    /// A word of a closed list. One in other letters than the list's, or of no list, stays.
    #[cfg_attr(test, track_caller)]
    pub(super) fn word<T>(
        &mut self,
        path: Path<'_>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let fate = match text(self.peek(path)?) {
            Fate::Whole(word) | Fate::Partly(word) => match read(word) {
                Some(value) if *status::fold(word) == *word.trim() => Fate::Whole(value),
                Some(value) => Fate::Partly(value),
                None => Fate::Refused(Warning::ValueDropped),
            },
            Fate::Blank => Fate::Blank,
            Fate::Refused(warning) => Fate::Refused(warning),
        };
        self.settle(path, fate)
    }

    /// A word of another vocabulary. Unless it is the word of ours that it means, it stays.
    #[cfg_attr(test, track_caller)]
    pub(super) fn translated<T: Copy>(
        &mut self,
        path: Path<'_>,
        read: impl FnOnce(&str) -> Option<T>,
        ours: impl FnOnce(T) -> &'static str,
    ) -> Option<T> {
        let fate = match text(self.peek(path)?) {
            Fate::Whole(word) | Fate::Partly(word) => match read(word) {
                Some(value) if ours(value) == word.trim() => Fate::Whole(value),
                Some(value) => Fate::Partly(value),
                None => Fate::Refused(Warning::ValueDropped),
            },
            Fate::Blank => Fate::Blank,
            Fate::Refused(warning) => Fate::Refused(warning),
        };
        self.settle(path, fate)
    }

    /// Any value, verbatim.
    #[cfg_attr(test, track_caller)]
    pub(super) fn value(&mut self, path: Path<'_>) -> Option<Value<'a>> {
        let fate = match self.peek(path)? {
            value @ (Value::Null | Value::String(_)) => match text(value) {
                Fate::Whole(_) | Fate::Partly(_) => Fate::Whole(()),
                Fate::Blank => Fate::Blank,
                Fate::Refused(warning) => Fate::Refused(warning),
            },
            _ => Fate::Whole(()),
        };
        let value = self.peek(path).cloned();
        self.settle(path, fate).and(value)
    }

    /// A count, or whole seconds.
    #[cfg_attr(test, track_caller)]
    pub(super) fn whole(&mut self, path: Path<'_>) -> Option<u64> {
        let fate = whole(self.peek(path)?);
        self.settle(path, fate)
    }

    /// An instant, read in the zone of its field.
    #[cfg_attr(test, track_caller)]
    pub(super) fn instant(&mut self, path: Path<'_>) -> Option<Timestamp> {
        let text = text(self.peek(path)?);
        let (fate, raised) = self.read_instant(text, path, &[]);
        self.warnings.extend(raised);
        self.settle(path, fate)
    }

    /// An instant in a form of its own, as `reading` reads it; `stays` for one that the event
    /// does not show.
    #[cfg_attr(test, track_caller)]
    pub(super) fn instant_as(
        &mut self,
        path: Path<'_>,
        reading: impl Fn(&str) -> Reading,
        stays: bool,
    ) -> Option<Timestamp> {
        let text = text(self.peek(path)?);
        let (fate, raised) = self.read_instant_as(text, path, &[], reading);
        self.warnings.extend(raised);
        match fate {
            Fate::Whole(at) if stays => self.settle(path, Fate::Partly(at)),
            fate => self.settle(path, fate),
        }
    }

    /// The provider's log time, which stays where it is: one that is none is not ours to judge.
    #[cfg_attr(test, track_caller)]
    pub(super) fn logged(&mut self, path: Path<'_>) -> Option<Timestamp> {
        match self.read_instant(text(self.peek(path)?), path, &[]) {
            (Fate::Whole(at), raised) => {
                self.warnings.extend(raised);
                Some(at)
            }
            _ => None,
        }
    }

    /// A phone number; `ext` is where its extension stands when it has a field of its own. An
    /// extension without a number stays.
    #[cfg_attr(test, track_caller)]
    pub(super) fn number(&mut self, path: Path<'_>, ext: Option<Path<'_>>) -> Option<Number<'a>> {
        let mut number = self.text(path).map(|raw| self.dialled(raw));
        let Some(ext) = ext else { return number };
        match (&mut number, self.peek(ext).map(text)) {
            (Some(number), Some(Fate::Whole(_))) => number.ext = self.text(ext),
            (None, Some(Fate::Whole(_))) => {}
            // Blank, a placeholder or no text: as any other field.
            _ => drop(self.text(ext)),
        }
        number
    }

    /// A phone number as it is dialled at the source.
    pub(super) fn dialled(&mut self, raw: Cow<'a, str>) -> Number<'a> {
        let read = number::read(raw, self.dialling);
        if read.masked {
            self.warn(Warning::NumberMasked);
        }
        read.number
    }

    /// A map of names to values, verbatim.
    #[cfg_attr(test, track_caller)]
    pub(super) fn object(&mut self, path: Path<'_>) -> Object<'a> {
        let fate = match self.peek(path) {
            None => return Object::new(),
            Some(Value::Object(_)) => return self.remove_object(path),
            Some(value) => match text(value) {
                Fate::Blank => Fate::Blank,
                Fate::Refused(warning) => Fate::Refused(warning),
                Fate::Whole(_) | Fate::Partly(_) => Fate::Refused(Warning::ValueDropped),
            },
        };
        self.settle::<()>(path, fate);
        Object::new()
    }

    /// A map of names to values, of which a blank or a placeholder says null; a placeholder stays.
    #[cfg_attr(test, track_caller)]
    pub(super) fn named(&mut self, path: Path<'_>) -> Object<'a> {
        let is_refused =
            |value: &Value<'_>| matches!(text(value), Fate::Refused(Warning::Placeholder));
        let refused = match self.peek(path) {
            Some(Value::Object(members)) => members.iter().any(|(_, value)| is_refused(value)),
            _ => false,
        };
        let mut named = Object::new();
        if refused {
            self.warn(Warning::Placeholder);
            self.take_from(path, |members| {
                for (name, value) in std::mem::take(members) {
                    if is_refused(&value) {
                        named.push((name.clone(), Value::Null));
                        members.push((name, value));
                    } else {
                        named.push((name, value));
                    }
                }
            });
        } else {
            named = self.object(path);
        }
        for (_, value) in &mut named {
            if matches!(text(value), Fate::Blank) {
                *value = Value::Null;
            }
        }
        named
    }

    /// Lets `take` help itself from the members of an object; what it leaves stays, and so does
    /// what is no object.
    #[cfg_attr(test, track_caller)]
    pub(super) fn take_from(&mut self, path: Path<'_>, take: impl FnOnce(&mut Object<'a>)) {
        if sight::is_hidden(path, &[]) {
            return;
        }
        // A list stays whole: of what is below one, a copy is taken from.
        let whole = if self.is_below_list(path) { self.peek(path).cloned() } else { None };
        match self.slot(path) {
            Some(Value::Object(members)) if !members.is_empty() => {
                take(members);
                if members.is_empty() {
                    self.remove(path);
                }
            }
            None | Some(Value::Object(_)) => {}
            Some(value) => match text(value) {
                Fate::Blank => {}
                Fate::Refused(warning) => self.warn(warning),
                Fate::Whole(_) | Fate::Partly(_) => self.warn(Warning::ValueDropped),
            },
        }
        if let (Some(whole), Some(slot)) = (whole, self.slot(path)) {
            *slot = whole;
        }
    }

    /// The entries of a list of objects, each mapped by `map`. Only if every leaf of every entry
    /// was used does the list leave the tree.
    #[cfg_attr(test, track_caller)]
    pub(super) fn list<T>(
        &mut self,
        path: Path<'_>,
        map: impl FnMut(&mut Entry<'_, 'a, '_, 's>) -> T,
    ) -> Vec<T> {
        self.list_in(path, plain_list, map)
    }

    /// The same of a list that may stand in other shapes: `listed` finds the entries of a value.
    #[cfg_attr(test, track_caller)]
    pub(super) fn list_in<T>(
        &mut self,
        path: Path<'_>,
        listed: impl for<'v> FnOnce(&'v Value<'a>) -> Option<Listed<'v, 'a>>,
        mut map: impl FnMut(&mut Entry<'_, 'a, '_, 's>) -> T,
    ) -> Vec<T> {
        if sight::is_hidden(path, &[]) {
            return Vec::new();
        }
        // The list is out of the tree while its entries are mapped, so that they can be borrowed
        // beside the warnings. It goes back to its place unless it was used up.
        let Some(slot) = self.slot(path) else { return Vec::new() };
        let value = std::mem::replace(slot, Value::Null);
        let mut mapped = Vec::new();
        let fate = match listed(&value) {
            Some(Listed { entries, mut whole }) => {
                mapped.reserve_exact(entries.len());
                for value in &entries {
                    match value.as_ref() {
                        Value::Object(members) if !members.is_empty() => {
                            let mut entry =
                                Entry { members, fields: self, path, used: 0, whole: true };
                            mapped.push(map(&mut entry));
                            whole &= entry.whole && entry.used == members.len();
                        }
                        _ => whole = false,
                    }
                }
                if whole { Fate::Whole(()) } else { Fate::Partly(()) }
            }
            None => match text(&value) {
                Fate::Blank => Fate::Blank,
                Fate::Refused(warning) => Fate::Refused(warning),
                Fate::Whole(_) | Fate::Partly(_) => Fate::Refused(Warning::ValueDropped),
            },
        };
        if let Some(slot) = self.slot(path) {
            *slot = value;
        }
        self.settle(path, fate);
        mapped
    }

    /// Raises a warning.
    pub(super) fn warn(&mut self, warning: Warning) {
        self.warnings.insert(warning);
    }

    #[cfg_attr(test, track_caller)]
    fn take_text(
        &mut self,
        path: Path<'_>,
        read: impl for<'v> Fn(&'v Value<'a>) -> Fate<&'v str>,
    ) -> Option<Cow<'a, str>> {
        if sight::is_hidden(path, &[]) {
            return None;
        }
        // Most texts leave, and are looked for only once.
        if self.held.is_none() {
            let leaves = |value: &Value<'a>| match read(value) {
                Fate::Blank => Ok(false),
                Fate::Whole(_) => Ok(true),
                Fate::Partly(_) | Fate::Refused(_) => Err(()),
            };
            let rest = &mut self.rest;
            let place = |path: Path<'_>| remove_if(rest, path, leaves);
            if let Some(Ok((says, value))) = with_place(self.settings, self.wrapper, path, place) {
                return if says { into_text(value) } else { None };
            }
        }
        match read(self.peek(path)?) {
            Fate::Blank => {
                self.remove(path);
                None
            }
            Fate::Whole(_) => match self.remove(path) {
                Some(value) => into_text(value),
                // Below a list nothing leaves, since the entries behind would move up.
                None => self.peek(path).cloned().and_then(into_text),
            },
            Fate::Partly(text) => {
                let text = Cow::Owned(text.to_owned());
                self.keep(path);
                Some(text)
            }
            Fate::Refused(warning) => {
                self.keep(path);
                self.warn(warning);
                None
            }
        }
    }

    /// Lets a value leave or stay, as its fate says.
    fn settle<T>(&mut self, path: Path<'_>, fate: Fate<T>) -> Option<T> {
        match fate {
            Fate::Blank => {
                self.remove(path);
                None
            }
            Fate::Whole(value) => {
                self.remove(path);
                Some(value)
            }
            Fate::Partly(value) => {
                self.keep(path);
                Some(value)
            }
            Fate::Refused(warning) => {
                self.keep(path);
                self.warn(warning);
                None
            }
        }
    }

    /// Notes that a value stays, whoever else uses it.
    fn keep(&mut self, path: Path<'_>) {
        if let Some(held) = &mut self.held {
            held.kept.push(path.iter().map(|name| (*name).to_owned()).collect());
        }
    }

    fn remove(&mut self, path: Path<'_>) -> Option<Value<'a>> {
        if let Some(held) = &mut self.held {
            held.used.push(path.iter().map(|name| (*name).to_owned()).collect());
            return self.peek(path).cloned();
        }
        let rest = &mut self.rest;
        with_place(self.settings, self.wrapper, path, |path| remove(rest, path))
    }

    fn remove_object(&mut self, path: Path<'_>) -> Object<'a> {
        match self.remove(path).or_else(|| self.peek(path).cloned()) {
            Some(Value::Object(members)) => members,
            _ => Object::new(),
        }
    }

    /// Whether a list is on the way to a path.
    fn is_below_list(&self, path: Path<'_>) -> bool {
        with_place(self.settings, self.wrapper, path, |path| {
            (1..path.len()).any(|names| {
                let above = path.get(..names).and_then(|above| find(&self.rest, above));
                matches!(above, Some(Value::Array(_)))
            })
        })
    }

    fn slot(&mut self, path: Path<'_>) -> Option<&mut Value<'a>> {
        fn slot<'v, 'a>(members: &'v mut Object<'a>, path: Path<'_>) -> Option<&'v mut Value<'a>> {
            let (name, rest) = path.split_first()?;
            visited(members.len());
            let (_, first) = members.iter_mut().find(|(member, _)| member == name)?;
            rest.iter().try_fold(first, |value, name| match value {
                Value::Object(inner) => {
                    visited(inner.len());
                    inner.iter_mut().find(|(member, _)| member == name).map(|(_, value)| value)
                }
                Value::Array(entries) => entries.get_mut(name.parse::<usize>().ok()?),
                _ => None,
            })
        }
        let rest = &mut self.rest;
        with_place(self.settings, self.wrapper, path, |path| slot(rest, path))
    }

    /// Reads an instant whose text was already looked at. `path` and `inner` name its field.
    fn read_instant(
        &self,
        text: Fate<&str>,
        path: Path<'_>,
        inner: Path<'_>,
    ) -> (Fate<Timestamp>, Vec<Warning>) {
        self.read_instant_as(text, path, inner, instant::read)
    }

    fn read_instant_as(
        &self,
        text: Fate<&str>,
        path: Path<'_>,
        inner: Path<'_>,
        reading: impl Fn(&str) -> Reading,
    ) -> (Fate<Timestamp>, Vec<Warning>) {
        let refused = Fate::Refused(Warning::ValueDropped);
        let fate = match text {
            Fate::Whole(text) => match reading(text) {
                Reading::Instant(at) => Fate::Whole(at),
                Reading::Blank => Fate::Blank,
                Reading::Zero | Reading::Unreadable => refused,
                Reading::Naive(naive) => {
                    let (zone, assumed) = self.zone(path, inner);
                    let Some(placed) = instant::place(naive, &zone) else {
                        return (refused, Vec::new());
                    };
                    let raised =
                        [(assumed, Warning::TzAssumed), (placed.ambiguous, Warning::TzAmbiguous)];
                    let raised = raised.into_iter().filter(|(raised, _)| *raised);
                    return (Fate::Whole(placed.at), raised.map(|(_, it)| it).collect());
                }
            },
            Fate::Blank => Fate::Blank,
            Fate::Partly(_) => refused,
            Fate::Refused(warning) => Fate::Refused(warning),
        };
        (fate, Vec::new())
    }

    /// The zone of a field, and whether it was only assumed: the field's own by its whole path or
    /// its last name, else the source's, else the one the body shows, else the provider's.
    fn zone(&self, path: Path<'_>, inner: Path<'_>) -> (TimeZone, bool) {
        let zones = &self.settings.timezones;
        let own = if zones.is_empty() {
            None
        } else {
            let names = [path, inner].concat();
            zones.get(&names.join(".")).or_else(|| zones.get(*names.last()?))
        };
        if let Some(zone) = own.or(self.settings.timezone.as_ref()).or(self.shown.as_ref()) {
            return (zone.clone(), false);
        }
        (TimeZone::get(self.settings.provider.rules().zone).unwrap_or(TimeZone::UTC), true)
    }
}

// === impl Listed ===

impl<'v, 'a> Listed<'v, 'a> {
    /// The entries of a list that is one, and nothing beside them.
    pub(super) fn plain(entries: &'v [Value<'a>]) -> Self {
        Self { entries: entries.iter().map(Cow::Borrowed).collect(), whole: true }
    }
}

fn plain_list<'v, 'a>(value: &'v Value<'a>) -> Option<Listed<'v, 'a>> {
    match value {
        Value::Array(entries) => Some(Listed::plain(entries)),
        _ => None,
    }
}

// === impl Entry ===

impl<'v, 'a> Entry<'v, 'a, '_, '_> {
    /// A text as sent.
    #[cfg_attr(test, track_caller)]
    pub(super) fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let value = self.find(name)?;
        self.settle(text(value))?;
        match value {
            Value::String(text) | Value::Number(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// A text in lower case; another case is not rebuilt, so the list stays.
    #[cfg_attr(test, track_caller)]
    pub(super) fn lower(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let text = self.text(name)?;
        if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
            return Some(text);
        }
        let lower = text.to_lowercase();
        if lower == text {
            return Some(text);
        }
        self.whole = false;
        Some(Cow::Owned(lower))
    }

    /// An instant, read in the zone of its field.
    #[cfg_attr(test, track_caller)]
    pub(super) fn instant(&mut self, name: &str) -> Option<Timestamp> {
        self.instant_as(name, instant::read)
    }

    /// An instant in a form of its own, as `reading` reads it.
    #[cfg_attr(test, track_caller)]
    pub(super) fn instant_as(
        &mut self,
        name: &str,
        reading: impl Fn(&str) -> Reading,
    ) -> Option<Timestamp> {
        let text = text(self.find(name)?);
        let (fate, raised) = self.fields.read_instant_as(text, self.path, &[name], reading);
        self.fields.warnings.extend(raised);
        self.settle(fate)
    }

    #[cfg_attr(test, track_caller)]
    fn find(&self, name: &str) -> Option<&'v Value<'a>> {
        if sight::is_hidden(self.path, &[name]) {
            return None;
        }
        visited(self.members.len());
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    fn settle<T>(&mut self, fate: Fate<T>) -> Option<T> {
        self.used += 1;
        match fate {
            Fate::Blank => None,
            Fate::Whole(value) => Some(value),
            Fate::Partly(value) => {
                self.whole = false;
                Some(value)
            }
            Fate::Refused(warning) => {
                self.whole = false;
                self.fields.warn(warning);
                None
            }
        }
    }
}

/// A text without the white space at its ends, borrowed where it was.
fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(mut text) => {
            text.truncate(text.trim_end().len());
            text.drain(..text.len() - text.trim_start().len());
            Cow::Owned(text)
        }
    }
}
