//! One line of relay.toml as it may be shown: without secrets, with the part that is meant marked.

use std::ops::Range;

/// The most characters of a line that are shown; the mark stays among them.
const SHOWN_CHARS_MAX: usize = 120;

/// A line to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The text, secrets replaced and control characters made visible.
    pub(super) line: String,
    /// Characters before the mark.
    start: usize,
    /// Characters under the mark.
    len: usize,
}

/// A part of the file that is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mask {
    /// Its bytes.
    pub(super) span: Range<usize>,
    /// What is shown instead.
    pub(super) shown: &'static str,
}

/// A character to show, and the byte of the file it stands for.
struct Shown {
    char: char,
    at: usize,
}

// === impl Excerpt ===

impl Excerpt {
    /// Shows `line`, which begins at byte `offset` of the file, and marks `span` of the file.
    pub(super) fn new(line: &str, offset: usize, span: &Range<usize>, masks: &[Mask]) -> Self {
        let mut shown: Vec<Shown> = Vec::new();
        let mut replaced: Option<&Mask> = None;
        for (index, char) in line.char_indices() {
            let at = offset + index;
            match masks.iter().find(|mask| mask.span.contains(&at)) {
                None => shown.push(Shown { char: visible(char), at }),
                Some(mask) if replaced == Some(mask) => {}
                Some(mask) => {
                    replaced = Some(mask);
                    shown.extend(mask.shown.chars().map(|char| Shown { char, at }));
                }
            }
        }
        let reach = |shown: &Shown| {
            let masked = masks.iter().find(|mask| mask.span.contains(&shown.at));
            masked.map_or(shown.at..shown.at + 1, |mask| mask.span.clone())
        };
        let meant = |shown: &Shown| reach(shown).start < span.end && span.start < reach(shown).end;
        let start = shown.iter().position(meant).unwrap_or_else(|| {
            // An empty span, or one that begins at the end of the line.
            shown.iter().position(|shown| shown.at >= span.start).unwrap_or(shown.len())
        });
        let len = shown.iter().skip(start).take_while(|shown| meant(shown)).count().max(1);
        Self::cropped(&shown, start, len)
    }

    fn cropped(shown: &[Shown], start: usize, len: usize) -> Self {
        let text = |part: &[Shown]| part.iter().map(|shown| shown.char).collect::<String>();
        if shown.len() <= SHOWN_CHARS_MAX {
            return Self { line: text(shown), start, len };
        }
        let from = start.saturating_sub(SHOWN_CHARS_MAX / 3).min(shown.len());
        let to = (from + SHOWN_CHARS_MAX).min(shown.len());
        let window = shown.get(from..to).unwrap_or_default();
        let before = if from > 0 { "…" } else { "" };
        let after = if to < shown.len() { "…" } else { "" };
        let start = start - from + before.chars().count();
        Self {
            line: format!("{before}{}{after}", text(window)),
            start,
            len: len.min(window.len().saturating_sub(start).max(1)),
        }
    }

    /// The line of spaces and `^` under the shown line.
    pub(super) fn mark(&self) -> String {
        // Tabs stay tabs, so that the mark stands below what it means.
        let margin: String = self
            .line
            .chars()
            .chain(std::iter::repeat(' '))
            .take(self.start)
            .map(|char| if char == '\t' { '\t' } else { ' ' })
            .collect();
        margin + &"^".repeat(self.len)
    }
}

/// A text of the file within a message. One over several lines is not shown: when a quote is
/// missing or too many, all that follows it, secrets among it, has become part of that text.
pub(super) fn shown(text: &str) -> String {
    if text.contains('\n') {
        return "…".to_owned();
    }
    let cropped: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if cropped.len() < text.len() { "…" } else { "" };
    format!("{}{more}", cropped.escape_debug())
}

/// The same character, or a mark for one that could move the cursor of a terminal.
pub(super) fn visible(char: char) -> char {
    // The second range are the controls of text direction.
    let moves =
        char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if moves && char != '\t' { '\u{fffd}' } else { char }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(line: &str, span: Range<usize>, masks: &[Mask]) -> String {
        let excerpt = Excerpt::new(line, 0, &span, masks);
        format!("{}\n{}", excerpt.line, excerpt.mark())
    }

    fn mask(span: Range<usize>) -> Mask {
        Mask { span, shown: "\"…\"" }
    }

    #[test]
    fn the_mark_stands_below_what_is_meant() {
        assert_eq!(excerpt("retires = 5", 0..7, &[]), "retires = 5\n^^^^^^^");
        assert_eq!(excerpt("\tä = 5", 6..7, &[]), "\tä = 5\n\t    ^");
        assert_eq!(excerpt("a =", 3..3, &[]), "a =\n   ^");
        assert_eq!(excerpt("", 0..0, &[]), "\n^");
    }

    #[test]
    fn a_masked_part_is_not_shown_whether_or_not_it_is_meant() {
        let line = "a = \"hunter2\", b = 5";

        assert_eq!(excerpt(line, 4..13, &[mask(4..13)]), "a = \"…\", b = 5\n    ^^^");
        assert_eq!(excerpt(line, 19..20, &[mask(4..13)]), "a = \"…\", b = 5\n             ^");
        assert_eq!(excerpt(line, 7..8, &[mask(4..13)]), "a = \"…\", b = 5\n    ^^^");
    }

    #[test]
    fn a_long_line_is_cropped_around_the_mark() {
        let line = format!("{}HERE{}", "x".repeat(5000), "y".repeat(5000));

        let excerpt = Excerpt::new(&line, 0, &(5000..5004), &[]);

        assert!(excerpt.line.chars().count() <= SHOWN_CHARS_MAX + 2);
        let start = excerpt.mark().find('^').unwrap();
        assert_eq!(excerpt.line.chars().skip(start).take(4).collect::<String>(), "HERE");
        assert_eq!(excerpt.mark().matches('^').count(), 4);
    }

    #[test]
    fn a_text_in_a_message_is_one_line_of_bounded_length() {
        assert_eq!(shown("a\t\u{1b}"), "a\\t\\u{1b}");
        assert_eq!(shown("a\nb"), "…");
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), SHOWN_CHARS_MAX + 1);
    }

    #[test]
    fn nothing_a_terminal_would_obey_is_shown() {
        assert_eq!(visible('\u{1b}'), '\u{fffd}');
        assert_eq!(visible('\u{202e}'), '\u{fffd}');
        assert_eq!(visible('ä'), 'ä');
    }
}
