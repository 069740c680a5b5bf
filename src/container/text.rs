//! Texts of others' making (a guest's, a framework's) in the lines that we write: logs, `vm.log`, a status's message. Whoever reads
//! them in a terminal must not be commanded by them, nor see lines that we have not written.

/// The text with everything that does not show as itself escaped as Rust does: line ends, terminals' control characters, the marks
/// that turn the direction of writing.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let hostile = "\x1b]0;owned\x07 a\r\nINFO all is well\u{9b}2J \u{202e}txt";
        assert_eq!(printable(hostile), "\\u{1b}]0;owned\\u{7} a\\r\\nINFO all is well\\u{9b}2J \\u{202e}txt");
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        let plain = "cannot read \"/a b\": it's C:\\x, größer als 5 µs";
        assert_eq!(printable(plain), plain);
    }
}
