//! Words for `/bin/sh`: any text as one word that means just itself.

/// A single-quoted word: the shell takes every byte of the text as it is. `'` becomes `'\''`.
///
/// NUL cannot be in a shell's word at all; who quotes what may hold one refuses it before.
pub fn quote(text: &str) -> String {
    let mut word = String::with_capacity(text.len() + 2);
    word.push('\'');
    for (index, part) in text.split('\'').enumerate() {
        if index > 0 {
            word.push_str("'\\''");
        }
        word.push_str(part);
    }
    word.push('\'');
    word
}

/// Several words, one after the other.
pub fn words(texts: &[String]) -> String {
    texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// What the shell makes of the word.
    fn through(shell: &str, word: &str) -> Option<Vec<u8>> {
        let script = format!("printf %s {word}");
        match Command::new(shell).arg("-c").arg(script).output() {
            Ok(output) => {
                assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
                Some(output.stdout)
            }
            Err(_) => None,
        }
    }

    #[test]
    fn every_character_of_one_byte_and_some_longer_ones_arrive_as_they_are() {
        let all: String = (1u8..128).map(char::from).chain("\u{80}\u{81}\u{88}äß€𝄞\u{2028}".chars()).collect();
        for shell in ["/bin/sh", "dash", "bash"] {
            if let Some(got) = through(shell, &quote(&all)) {
                assert_eq!(got, all.as_bytes(), "{shell}");
            }
        }
    }

    #[test]
    fn nothing_in_a_word_is_run() {
        for hostile in [
            "",
            "'",
            "''",
            "'; echo run; '",
            "$(echo run)",
            "`echo run`",
            "\\",
            "\\'",
            "a\n'b'\n",
            "-n",
            "!!",
            "~",
            "*",
            "%s",
        ] {
            assert_eq!(through("/bin/sh", &quote(hostile)).expect("sh"), hostile.as_bytes());
        }
    }

    #[test]
    fn random_mixtures_of_the_dangerous_characters_survive() {
        let alphabet: Vec<char> = "'\"\\$`\n;&|<>()*?[]#~= \t%!{}a".chars().collect();
        let mut state = 0x2545_f491_4f6c_dd1du64;
        for _ in 0..60 {
            let text: String = (0..97)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    alphabet[(state % alphabet.len() as u64) as usize]
                })
                .collect();
            assert_eq!(through("/bin/sh", &quote(&text)).expect("sh"), text.as_bytes());
        }
    }
}
