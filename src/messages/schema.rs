//! Names, numbers, labels and types of all fields of all messages, the v1 ones included.
//!
//! `build.rs` writes the tables from `proto/`. They are constants: they cost no start-up time, and next to
//! no memory of a process's own.

include!(concat!(env!("OUT_DIR"), "/schema.rs"));

/// A message type.
pub(super) struct Message {
    /// With the package, as in `mesos.internal.RunTaskMessage`.
    pub name: &'static str,
    /// By number.
    pub fields: &'static [Field],
}

/// A field of a message type.
pub(super) struct Field {
    pub name: &'static str,
    pub number: u32,
    /// The number in the unversioned twin of a v1 message, 0 if there is none. Else the same as `number`.
    pub plain: u32,
    pub label: Label,
    pub kind: Kind,
    /// What the field is when nobody set it, in JSON; only where its declaration says so, and it is not deprecated.
    pub default: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Label {
    Optional,
    Required,
    Repeated,
}

/// The types that Mesos uses. The numbers are places in [`MESSAGES`] and [`ENUMS`].
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Double,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Bool,
    String,
    Bytes,
    Enum(u16),
    Message(u16),
    /// A repeated message of a key (1, always a string with Mesos) and a value (2).
    Map(u16),
}

/// An enum type: its names and numbers as declared.
pub(super) struct Enum {
    pub values: &'static [(&'static str, i32)],
}

/// Which numbers the fields of a v1 message have in the bytes at hand.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// The v1 message's own.
    Own,
    /// Those of the unversioned twin, as our structs encode and decode them.
    Plain,
}

impl Message {
    /// Finds a message type by its full name.
    pub fn find(name: &str) -> Option<&'static Message> {
        let place = MESSAGES.binary_search_by(|message| message.name.cmp(name)).ok()?;
        MESSAGES.get(place)
    }

    /// The field that has this number, and its place among the fields.
    pub fn numbered(&self, number: u32, layout: Layout) -> Option<(usize, &'static Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.number_in(layout) == number)
    }

    /// The field of this name.
    pub fn named(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Field {
    pub fn number_in(&self, layout: Layout) -> u32 {
        match layout {
            Layout::Own => self.number,
            Layout::Plain => self.plain,
        }
    }
}

impl Kind {
    /// The message type of a field that is a message or a map.
    pub fn message(self) -> Option<&'static Message> {
        match self {
            Kind::Message(place) | Kind::Map(place) => MESSAGES.get(usize::from(place)),
            Kind::Double | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool => None,
            Kind::String | Kind::Bytes | Kind::Enum(_) => None,
        }
    }
}

impl Enum {
    pub fn at(place: u16) -> &'static Enum {
        &ENUMS[usize::from(place)]
    }

    pub fn name_of(&self, number: i32) -> Option<&'static str> {
        self.values.iter().find(|(_, value)| *value == number).map(|(name, _)| *name)
    }

    pub fn number_of(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(value, _)| *value == name).map(|(_, number)| *number)
    }
}
