//! `when` of a route: a condition that is tried on known events before it is asked of real ones.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    fields::{Node, nearest},
    problem::Severity,
    reading::{Finding, Ground, Spot},
    value,
};
use crate::{
    event::{GOLDEN, Status},
    route::{Condition, Failure, Fault, Remedy, Subject, Weight, full_event},
};

/// The events a condition will be asked about.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// Of these providers; empty is any.
    pub(super) providers: BTreeSet<String>,
    /// With these statuses; empty is any.
    pub(super) status: &'a BTreeSet<Status>,
}

/// Fields that may be null, named in one run.
const NULLS_SHOWN_MAX: usize = 4;

/// Reads the condition, and tries it.
pub(super) fn read(node: &Node<'_>, asked: &Asked<'_>) -> Option<Condition> {
    let text = value::text(node)?;
    match Condition::parse(&text) {
        Ok((condition, warnings)) => {
            for warning in warnings {
                report(node, &text, warning);
            }
            attempt(node, &condition, asked)?;
            Some(condition)
        }
        Err(faults) => {
            for fault in faults {
                report(node, &text, fault);
            }
            None
        }
    }
}

/// A condition gives true or false of every event, or fails only because something is null.
fn attempt(node: &Node<'_>, condition: &Condition, asked: &Asked<'_>) -> Option<()> {
    let full = full_event();
    let (golden, strange) = asked.of_golden();
    let mut nulls: Vec<String> = Vec::new();
    let mut name = |field: String| {
        if !nulls.contains(&field) {
            nulls.push(field);
        }
    };
    for event in std::iter::once(full.as_str()).chain(golden) {
        match condition.holds(&Subject::new(event.as_bytes())) {
            Ok(_) => {}
            Err(Failure::Null { field }) => name(field),
            Err(failure @ Failure::NotBool) => {
                return node.wrong(
                    format!("`when` must be true or false; {failure}"),
                    "compare it with something",
                );
            }
            Err(failure) => {
                return node.wrong(
                    format!("`when` fails on an event: {failure}"),
                    "compare what is of one type",
                );
            }
        }
    }
    // Of events that never come here only what they lack is heeded.
    for event in strange {
        if let Err(Failure::Null { field }) = condition.holds(&Subject::new(event.as_bytes())) {
            name(field);
        }
    }
    for field in nulls.iter().take(NULLS_SHOWN_MAX) {
        node.reading.warn(
            &node.spot(),
            format!("`{field}` can be null or absent: the condition fails on such an event"),
            guard(field),
        );
    }
    let unnamed = nulls.len().saturating_sub(NULLS_SHOWN_MAX);
    if unnamed > 0 {
        node.reading.warn(
            &node.spot(),
            format!("and {unnamed} more that can be null or absent"),
            "ask first of each",
        );
    }
    Some(())
}

fn guard(field: &str) -> String {
    let free = ["data.extra.", "data.extracted.", "data.analysis.", "data.query."];
    if free.iter().any(|free| field.starts_with(free)) {
        format!("ask first: has({field}) && …")
    } else if field.contains('[') {
        "ask first whether it is there".to_owned()
    } else {
        format!("ask first: {field} != null && …")
    }
}

fn report(node: &Node<'_>, text: &str, fault: Fault) {
    let severity = match fault.weight {
        Weight::Error => Severity::Error,
        Weight::Warning => Severity::Warning,
    };
    let (remedy, note) = match &fault.remedy {
        Remedy::Say(remedy) => ((*remedy).to_owned(), String::new()),
        Remedy::Meant(meant) => (format!("did you mean `{meant}`?"), String::new()),
        Remedy::Names { written, known } => {
            let near = nearest(written, known.iter().copied());
            let remedy = match near.or_else(|| begun(written, known)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => String::new(),
            };
            (remedy, format!("known: {}", known.join(", ")))
        }
    };
    let spot = within(node, text, &fault);
    let finding = Finding::new(severity, Ground::Written, &spot, fault.message, remedy);
    node.reading.push(if note.is_empty() { finding } else { finding.with_note(note) });
}

/// The one name that begins as what is written does.
fn begun<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    const BEGINNING_BYTES: usize = 5;

    let beginning = written.get(..BEGINNING_BYTES)?;
    let mut like = known.iter().copied().filter(|name| name.starts_with(beginning));
    like.next().filter(|_| like.next().is_none())
}

/// The place inside the quotes, where the text stands in the file as it is: with one quote at
/// each end and no escapes.
fn within(node: &Node<'_>, text: &str, fault: &Fault) -> Spot {
    let whole = node.spot();
    if whole.span.len() != text.len() + 2 {
        return whole;
    }
    let start = whole.span.start + 1;
    let end = (start + fault.span.end).min(whole.span.end - 1);
    Spot { span: (start + fault.span.start).min(end)..end, table: whole.table }
}

// === impl Asked ===

impl Asked<'_> {
    /// The golden events that are as those asked about, and, where these do not speak for all that
    /// is asked about, the others: no golden event is a custom provider's, or has every status.
    fn of_golden(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let mut unheard: BTreeSet<&str> = self.providers.iter().map(String::as_str).collect();
        let (mut taken, mut others) = (Vec::new(), Vec::new());
        for &(_, text) in GOLDEN {
            let event: Value = serde_json::from_str(text).unwrap_or_default();
            let provider = event.pointer("/data/provider").and_then(Value::as_str);
            unheard.remove(provider.unwrap_or_default());
            let of = |known: &String| provider == Some(known);
            let with =
                |status: &Status| event.get("type") == Some(&json!(format!("call.{status}")));
            let is_taken = (self.providers.is_empty() || self.providers.iter().any(of))
                && (self.status.is_empty() || self.status.iter().any(with));
            if is_taken { taken.push(text) } else { others.push(text) }
        }
        if !taken.is_empty() && unheard.is_empty() {
            others.clear();
        }
        (taken, others)
    }
}
