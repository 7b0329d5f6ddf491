//! JSON of the admin API as a table for people.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// A column: its heading, and where its value is.
pub(super) type Column = (&'static str, &'static str);

/// The rows under their headings, or a sentence when there are none.
pub(super) fn rows(columns: &[Column], rows: &[Value], none: &str) -> String {
    if rows.is_empty() {
        return format!("{none}\n");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    for row in rows {
        table.add_row(columns.iter().map(|(_, pointer)| shown(row.pointer(pointer))));
    }
    let lines: Vec<String> =
        table.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned()).collect();
    format!("{}\n", lines.join("\n"))
}

/// Name and value a line, those that are there.
pub(super) fn facts(columns: &[Column], of: &Value) -> String {
    let widest = columns.iter().map(|(heading, _)| heading.len()).max().unwrap_or_default();
    let width = widest.max(12);
    let there = columns.iter().filter_map(|(heading, pointer)| {
        let value = of.pointer(pointer).filter(|value| !value.is_null())?;
        Some(format!("{heading:<width$} {}\n", shown(Some(value))))
    });
    there.collect()
}

/// A value in a cell: nothing is a dash, and an instant ends with its second.
pub(super) fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => to_the_second(text),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::Array(entries)) if entries.is_empty() => "-".to_owned(),
        Some(Value::Array(entries)) => {
            entries.iter().map(|entry| shown(Some(entry))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    }
}

/// JSON over several lines, each name, text and number as it stands; what a terminal would obey in
/// them is escaped.
pub(super) fn lines(json: &str) -> String {
    let mut shown = String::with_capacity(2 * json.len());
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let line = |shown: &mut String, depth: usize| {
        shown.push('\n');
        shown.extend(std::iter::repeat_n("  ", depth));
    };
    let mut chars = json.chars().peekable();
    while let Some(char) = chars.next() {
        if in_text {
            in_text = escaped || char != '"';
            escaped = char == '\\' && !escaped;
            if is_obeyed(char) {
                shown.push_str(&format!("\\u{:04x}", u32::from(char)));
            } else {
                shown.push(char);
            }
            continue;
        }
        match char {
            '{' | '[' => {
                shown.push(char);
                if !matches!(chars.peek(), Some('}' | ']')) {
                    depth += 1;
                    line(&mut shown, depth);
                } else if let Some(end) = chars.next() {
                    shown.push(end);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut shown, depth);
                shown.push(char);
            }
            ',' => {
                shown.push(char);
                line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            _ => {
                in_text = char == '"';
                shown.push(char);
            }
        }
    }
    shown
}

/// Whether a terminal does something else with it than show it. The second part are the controls of
/// text direction.
fn is_obeyed(char: char) -> bool {
    char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn to_the_second(text: &str) -> String {
    let plain = || text.chars().map(|char| if is_obeyed(char) { '·' } else { char }).collect();
    match text.parse::<jiff::Timestamp>() {
        Ok(at) if text.ends_with('Z') => at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        _ => plain(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_heading_and_a_line_each_and_nothing_a_terminal_would_obey() {
        let events = [
            json!({ "id": "a", "at": "2026-11-27T09:00:00.123Z", "to": null }),
            json!({ "id": "b\u{1b}\u{202e}2J", "at": "2026-11-27T09:00:01Z", "to": "+15550100123" }),
        ];

        let text = rows(&[("ID", "/id"), ("AT", "/at"), ("TO", "/to")], &events, "none");

        assert_eq!(
            text,
            "ID     AT                   TO\n\
             a      2026-11-27 09:00:00  -\n\
             b··2J  2026-11-27 09:00:01  +15550100123\n"
        );
        assert_eq!(rows(&[("ID", "/id")], &[], "none"), "none\n");
    }

    #[test]
    fn json_over_several_lines_says_what_it_said_in_one() {
        let one = r#"{"a":{},"b":[],"c":[1.50,{"d":"{\"e\": [,]}\\"}],"f":null}"#;

        let text = lines(one);

        assert_eq!(
            text,
            "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1.50,\n    {\n      \
             \"d\": \"{\\\"e\\\": [,]}\\\\\"\n    }\n  ],\n  \"f\": null\n}"
        );
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(&text), read(one));
        assert_eq!(read(&lines("\"a\u{9b}\u{7f}\u{202e}ä\"")), "a\u{9b}\u{7f}\u{202e}ä");
    }
}
