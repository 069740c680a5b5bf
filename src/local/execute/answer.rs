//! Reading an agent's answers: where a sandbox is, out of `/state`, and a file's bytes, out of `/files/read`.

use serde_json::Value;

use super::scheduler::Target;

/// The sandbox of the target's container: that of the executor with the container's id or, when no status told it, of the one that
/// has the task. It is also its virtual path.
pub fn sandbox(state: &Value, target: &Target) -> Option<String> {
    let lists = ["frameworks", "completed_frameworks"];
    let frameworks = lists.iter().flat_map(|list| members(&state[*list]));
    let ours = frameworks.filter(|framework| framework["id"] == target.framework.as_str());
    let mut executors =
        ours.flat_map(|framework| members(&framework["executors"]).chain(members(&framework["completed_executors"])));
    let found = executors.find(|executor| match &target.container {
        Some(container) => executor["container"] == container.as_str(),
        None => has_task(executor, &target.task),
    })?;
    found["directory"].as_str().map(str::to_string)
}

fn members(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn has_task(executor: &Value, task: &str) -> bool {
    let lists = ["tasks", "queued_tasks", "completed_tasks"];
    let mut tasks = lists.iter().flat_map(|list| members(&executor[*list]));
    tasks.any(|each| each["id"] == task)
}

/// The bytes of the string `data` in `{"data":"…","offset":0}`. Not by a JSON parser: Mesos' agent puts bytes that are
/// no UTF-8 into the string as they are, so the text may be no JSON.
pub fn data(body: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader { bytes: body, at: 0 };
    reader.expect(b'{')?;
    loop {
        let name = reader.string()?;
        reader.expect(b':')?;
        match reader.peek()? {
            b'"' => {
                let value = reader.string()?;
                if name == b"data" {
                    return Some(value);
                }
            }
            b'-' | b'0'..=b'9' => reader.skip_number(),
            _ => return None,
        }
        match reader.next()? {
            b',' => {}
            _ => return None,
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn skip_number(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        self.expect(b'"')?;
        let mut value = Vec::new();
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            value.extend_from_slice(&rest[..plain]);
            self.at += plain + 1;
            if rest[plain] == b'"' {
                return Some(value);
            }
            self.escape(&mut value)?;
        }
    }

    fn escape(&mut self, value: &mut Vec<u8>) -> Option<()> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = self.unit()?;
                let character = char::decode_utf16(std::iter::once(unit).chain(self.low_surrogate(unit))).next()?;
                value.extend_from_slice(character.ok()?.encode_utf8(&mut [0; 4]).as_bytes());
                return Some(());
            }
            _ => return None,
        };
        value.push(plain);
        Some(())
    }

    fn unit(&mut self) -> Option<u16> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    /// The second half of a character beyond the first 65536.
    fn low_surrogate(&mut self, high: u16) -> Option<u16> {
        if !(0xd800..0xdc00).contains(&high) || !self.bytes[self.at..].starts_with(b"\\u") {
            return None;
        }
        self.at += 2;
        self.unit()
    }
}

/// A step of the VM's life out of a line of `vm.log`: `<time> <step> <seconds>s`.
pub fn step(line: &str) -> Option<(&str, f64)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let name = words.next()?;
    let seconds: f64 = words.next()?.strip_suffix('s')?.parse().ok()?;
    let plain =
        name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (plain && seconds.is_finite() && words.next().is_none()).then_some((name, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a Mesos 1.11 agent answered.
    const STATE: &str = include_str!("../../api/captured_state.json");

    fn target(container: Option<&str>, task: &str) -> Target {
        Target {
            framework: "9224fe28-2f2c-45ff-a0ef-d8ece4e933db-0000".to_string(),
            task: task.to_string(),
            container: container.map(str::to_string),
            ..Target::default()
        }
    }

    #[test]
    fn a_sandbox_is_found_by_container_or_by_task() {
        let state = serde_json::from_str(STATE).expect("json");
        let container = "a4ac6915-15e0-47a0-9637-f56bfa778dfa";
        let found = sandbox(&state, &target(Some(container), "x")).expect("sandbox");
        assert!(found.starts_with("/var/lib/mesos/slaves/") && found.ends_with(container));
        assert_eq!(sandbox(&state, &target(None, "t1-17e3a9")), Some(found));
        assert_eq!(sandbox(&state, &target(Some("another"), "t1-17e3a9")), None);
        assert_eq!(sandbox(&state, &target(None, "t9")), None);
        assert_eq!(sandbox(&serde_json::json!([1]), &target(None, "t9")), None);
    }

    #[test]
    fn bytes_come_out_of_the_answer_as_they_were_in_the_file() {
        let read = |text: &[u8]| data(text);
        assert_eq!(read(b"{\"data\":\"a\\n\\\"\\\\\\/\\u0000\\u00e9\",\"offset\":0}"), Some("a\n\"\\/\0é".into()));
        assert_eq!(read(b"{\"offset\":12,\"data\":\"x\"}"), Some(b"x".to_vec()));
        assert_eq!(read(b"{\"data\":\"\xff\xfe\",\"offset\":0}"), Some(b"\xff\xfe".to_vec()));
        assert_eq!(read(b"{\"data\":\"\\ud83d\\ude00\",\"offset\":0}"), Some("😀".into()));
        assert_eq!(read(b"{\"data\":\"\",\"offset\":5}"), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_such_answer_is_refused() {
        let texts: [&[u8]; 8] = [
            b"",
            b"{",
            b"[]",
            b"{\"data\":\"x",
            b"{\"data\":\"\\",
            b"{\"data\":\"\\u00",
            b"{\"data\":\"\\ud83d\"}",
            b"{\"data\":null}",
        ];
        for text in texts {
            assert_eq!(data(text), None, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_step_is_a_time_a_name_and_seconds() {
        assert_eq!(step("2026-11-24T10:00:00Z boot 0.31s"), Some(("boot", 0.31)));
        assert_eq!(step("2026-11-24T10:00:00Z \x1b[31mboot 0.31s"), None);
        assert_eq!(step("2026-11-24T10:00:00Z boot"), None);
        assert_eq!(step("2026-11-24T10:00:00Z boot 0.31s and more"), None);
        assert_eq!(step("2026-11-24T10:00:00Z boot infs"), None);
    }
}
