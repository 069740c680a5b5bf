//! Base64 (RFC 4648, section 4), for `bytes` fields in JSON.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes with padding.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= chunk.len() { char::from(ALPHABET[value]) } else { '=' });
        }
    }
    text
}

/// Decodes, with the padding or without; `None` for anything that is not base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let padding = text.len() - digits.len();
    if digits.len() % 4 == 1 || padding > 2 || (padding > 0 && !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut bits = 0;
        for i in 0..4 {
            bits = bits << 6 | chunk.get(i).map_or(Some(0), |&digit| value_of(digit))?;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}

/// Decodes as Mesos does (`base64::decode` in stout): white space, which encoders break lines with, is passed over, the first `=` ends it,
/// and a digit too many is dropped.
///
/// # Errors
/// The first character that is none of base64's.
pub fn decode_leniently(text: &str) -> Result<Vec<u8>, char> {
    let digits = text.chars().take_while(|letter| *letter != '=').filter(|letter| !is_space(*letter));
    let values = digits.map(|letter| u8::try_from(letter).ok().and_then(value_of).ok_or(letter));
    let values: Vec<u32> = values.collect::<Result<_, _>>()?;
    let mut bytes = Vec::with_capacity(values.len() * 3 / 4);
    for chunk in values.chunks(4) {
        let bits = (0..4).fold(0, |bits, place| bits << 6 | chunk.get(place).copied().unwrap_or(0));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Ok(bytes)
}

/// C's `isspace`.
fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t'..='\r')
}

fn value_of(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_s_examples_go_both_ways() {
        let examples = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, text) in examples {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(plain.as_bytes()));
            assert_eq!(decode(text.trim_end_matches('=')).as_deref(), Some(plain.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["Z", "Zg=", "Zg===", "Zm9v=", "Zm 9v", "Zm9v\n", "Z=9v", "Zm9-", "====", "é+++"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_mesos_reads_as_base64_is_read_too() {
        let read = |text: &str| decode_leniently(text);
        for text in ["Zm9vYg==", "Zm9vYg", "Zm9v\nYg==\n", " Zm 9v\tYg= =", "Zm9vYg=", "Zm9vYg==Zm9v", "Zm9vYgA"] {
            let expected: &[u8] = if text == "Zm9vYgA" { b"foob\0" } else { b"foob" };
            assert_eq!(read(text).as_deref(), Ok(expected), "{text:?}");
        }
        assert_eq!(read("Zm9vY").as_deref(), Ok(b"foo".as_slice()), "a digit too many");
        assert_eq!(read("Zm9-"), Err('-'));
        assert_eq!(read("é+++"), Err('é'));
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(read(&encode(&all)), Ok(all));
    }
}
