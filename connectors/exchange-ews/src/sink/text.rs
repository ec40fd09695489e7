//! Texts as Exchange keeps them.

/// The most that Exchange keeps of a subject, a location or a category's name, in UTF-16 units.
const LINE: usize = 255;
/// The most of a body that is written, in bytes: one text must not make a request too large for the others.
const BODY: usize = 128 * 1024;

/// A text of one line: without characters that XML forbids, without line breaks, and no longer than Exchange keeps.
pub(crate) fn line(text: &str) -> String {
    let clean = text.chars().filter_map(|c| match c {
        '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        c if is_legal(c) && !c.is_control() => Some(c),
        _ => None,
    });
    let mut units = 0;
    let kept: String = clean
        .take_while(|c| {
            units += c.len_utf16();
            units <= LINE
        })
        .collect();
    kept.trim().to_owned()
}

/// A text of several lines, each ended by a line feed.
pub(crate) fn body(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut bytes = 0;
    text.chars()
        .filter(|c| is_legal(*c))
        .take_while(|c| {
            bytes += c.len_utf8();
            bytes <= BODY
        })
        .collect()
}

/// Whether two bodies say the same: servers end lines their own way, and add or drop one at the end.
pub(crate) fn same_body(one: &str, other: &str) -> bool {
    body(one).trim_end() == body(other).trim_end()
}

/// Names of categories; Outlook takes a comma or semicolon for the end of one. Each once, whatever its letter case.
pub(crate) fn categories(names: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for name in names {
        let name = line(&name.replace([',', ';'], " "));
        let known = |one: &String| one.to_lowercase() == name.to_lowercase();
        if !name.is_empty() && !kept.iter().any(known) {
            kept.push(name);
        }
    }
    kept
}

/// Whether two lists name the same categories.
pub(crate) fn same_categories(one: &[String], other: &[String]) -> bool {
    let sorted = |names| {
        let mut names = categories(names);
        names.sort();
        names
    };
    sorted(one) == sorted(other)
}

/// What XML 1.0 allows.
pub(crate) fn is_legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short_and_clean() {
        assert_eq!(line(" a\u{b}b\r\nc\u{fffe} "), "ab  c");
        assert_eq!(line(&"ø".repeat(1_000)).chars().count(), 255);
        assert_eq!(line(&"🎂".repeat(1_000)).chars().count(), 127);
    }

    #[test]
    fn bodies_compare_without_regard_to_line_ends() {
        assert!(same_body("a\r\nb", "a\nb\r\n"));
        assert!(!same_body("a b", "a\nb"));
        assert!(body(&"x".repeat(1_000_000)).len() <= BODY);
    }

    #[test]
    fn categories_are_names() {
        let names = ["Red", " red ", "", "a,b;c"].map(str::to_owned);
        assert_eq!(categories(&names), ["Red", "a b c"]);
        assert!(same_categories(
            &["b".to_owned(), "a".to_owned()],
            &["a".to_owned(), "b".to_owned()]
        ));
    }
}
