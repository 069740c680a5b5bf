//! Two messages held against each other: who to whom, the framing, and every field.

use std::collections::{BTreeMap, BTreeSet};

use super::allowed::{self, FIELDS_OF_1_11, FIELDS_OF_2012, Field, How};
use super::recording::Received;
use crate::libprocess::{self, Dialect, Pid};
use crate::messages::tree;
use crate::slave::{Outgoing, SLAVE_OF_2012};

/// A message's fields and their values, by path.
type Leaves = BTreeMap<String, String>;

/// A message that the slave sent.
#[derive(Debug)]
pub struct Sent {
    /// The how manieth it is.
    pub number: usize,
    pub from: Pid,
    pub to: Pid,
    pub message: Outgoing,
    /// What the receiver had shown by then.
    pub dialect: Dialect,
}

/// What has been found so far.
#[derive(Default)]
pub struct Findings {
    /// Differences that are not allowed, in words.
    pub differences: Vec<String>,
    /// Those that are, in the words of `allowed`.
    pub used: BTreeSet<String>,
    /// How many messages were compared.
    pub compared: usize,
    /// What each side drew at random: kind and theirs, ours.
    drawn: BTreeMap<(&'static str, String), String>,
    /// The uuids of updates that executors made, in hexadecimal.
    reported: BTreeSet<String>,
    /// The recording is one of Mesos 0.9.
    pub is_of_2012: bool,
}

impl Findings {
    pub fn new(is_of_2012: bool) -> Findings {
        Findings { is_of_2012, ..Findings::default() }
    }

    /// What ours is for random bytes of theirs; the same, if they are none of these.
    pub fn own_bytes(&self, kind: &'static str, theirs: &[u8]) -> Vec<u8> {
        let Some(ours) = self.drawn.get(&(kind, hexadecimal(theirs))) else {
            return theirs.to_vec();
        };
        let byte = |at: usize| u8::from_str_radix(&ours[at..at + 2], 16).expect("hexadecimal");
        (0..ours.len()).step_by(2).map(byte).collect()
    }

    /// An executor made an update.
    pub fn reported(&mut self, uuid: &[u8]) {
        self.reported.insert(hexadecimal(uuid));
    }

    /// From here on, theirs of this kind are new ones of ours.
    pub fn forget(&mut self, kind: &str) {
        self.drawn.retain(|(each, _), _| *each != kind);
    }

    /// Compares a message; `place` is where it is in the recording.
    pub fn compare(&mut self, place: &str, ours: &Sent, theirs: &Received) {
        self.compared += 1;
        self.compare_framing(place, ours, theirs);
        if ours.message.body.is_empty() && theirs.body.is_empty() {
            // Some of these are bare words.
            return;
        }
        let leaves = |body: &[u8]| tree::leaves(&theirs.name, body).into_iter().collect();
        self.compare_leaves(place, &theirs.name, leaves(&ours.message.body), leaves(&theirs.body));
    }

    fn compare_framing(&mut self, place: &str, ours: &Sent, theirs: &Received) {
        let id = match theirs.from.id.as_str() {
            SLAVE_OF_2012 => {
                self.used.insert(allowed::OWN_ID.into());
                "slave(1)"
            }
            id => id,
        };
        if (ours.from.id.as_str(), ours.from.address, &ours.to) != (id, theirs.from.address, &theirs.to) {
            let (from, to) = (&theirs.from, &theirs.to);
            let text = format!("{place}: ours from {} to {}, theirs from {from} to {to}", ours.from, ours.to);
            self.differences.push(text);
        }
        let framed = libprocess::encode_message(ours.dialect, &theirs.from, &ours.to, &ours.message.name, &theirs.body);
        if framed == theirs.raw {
            return;
        }
        if self.is_of_2012 && ours.dialect == Dialect::Unknown {
            self.used.insert(allowed::FIRST_WORD.into());
            return;
        }
        let (ours, theirs) = (framed.escape_ascii(), theirs.raw.escape_ascii());
        self.differences.push(format!("{place}: framing: ours {ours}, theirs {theirs}"));
    }

    /// Every field of two messages of the same name.
    pub fn compare_leaves(&mut self, place: &str, name: &str, own: Leaves, other: Leaves) {
        let own_update = other.get("update.uuid").is_some_and(|uuid| !self.reported.contains(uuid));
        let paths: BTreeSet<&String> = own.keys().chain(other.keys()).collect();
        for path in paths {
            let (own, other) = (own.get(path), other.get(path));
            if !self.same((name, own_update), path, own, other) {
                let text = |value: Option<&String>| value.map_or("nothing".to_string(), String::clone);
                self.differences.push(format!("{place}: {path}: ours {}, theirs {}", text(own), text(other)));
            }
        }
    }

    fn same(&mut self, message: (&str, bool), path: &str, ours: Option<&String>, theirs: Option<&String>) -> bool {
        if ours == theirs {
            return true;
        }
        let (of, rules) = if self.is_of_2012 { ("0.9", FIELDS_OF_2012) } else { ("1.11", FIELDS_OF_1_11) };
        let rule = rules.iter().find(|rule| rule.is_about(message, path) && self.covers(rule, ours, theirs));
        rule.is_some_and(|rule| {
            self.used.insert(rule.describe(of));
            true
        })
    }

    fn covers(&mut self, rule: &Field, ours: Option<&String>, theirs: Option<&String>) -> bool {
        match (&rule.how, ours, theirs) {
            (How::Theirs, None, Some(_)) | (How::Ours, Some(_), None) => true,
            (How::Differs, Some(_), Some(_)) => true,
            (How::Drawn(kind), Some(ours), Some(theirs)) => {
                self.drawn.entry((kind, theirs.clone())).or_insert_with(|| ours.clone()) == ours
            }
            (How::Near(seconds), Some(ours), Some(theirs)) => {
                let time = |text: &String| text.parse::<f64>().unwrap_or(f64::NAN);
                (time(ours) - time(theirs)).abs() <= *seconds
            }
            _ => false,
        }
    }
}

impl Field {
    fn is_about(&self, (name, own_update): (&str, bool), path: &str) -> bool {
        let message = name.rsplit('.').next() == Some(self.message) && (own_update || !self.own);
        let path = without_indexes(path);
        let fits = match self.path.strip_suffix(".*") {
            Some(within) => path.strip_prefix(within).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
            None => path == self.path,
        };
        message && fits
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `a[12].b` becomes `a[].b`.
fn without_indexes(path: &str) -> String {
    let mut within = false;
    path.chars()
        .filter(|letter| {
            within = if *letter == '[' { true } else { within && *letter != ']' };
            !within || *letter == '['
        })
        .collect()
}

#[test]
fn a_path_is_matched_without_its_indexes() {
    assert_eq!(without_indexes("tasks[0].statuses[12].uuid"), "tasks[].statuses[].uuid");
}
