//! Makes Rust of the `.proto` files.
//!
//! ```text
//! proto/**/*.proto ── protox ──┬── prost-build ──► OUT_DIR/messages.rs   structs, nested as the packages are
//!                              └── Table ────────► OUT_DIR/schema.rs     names, numbers and labels of every field
//! ```
//!
//! A new file below `proto/` needs no change here. The `mesos.v1` packages get no structs: their bytes
//! are those of the unversioned messages (but for the numbers of one message, see `Table::plain`), so
//! only the table knows them. The table is read-only data that all processes share; a descriptor pool
//! would be built anew in the memory of each.

use protox::prost_reflect::prost_types::{DescriptorProto, FileDescriptorSet};
use protox::prost_reflect::{Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where the sources are, relative to the manifest; also the root of their imports.
const ROOT: &str = "proto";

/// `MAX_FIELDS` of `src/messages/schema.rs`.
const MAX_FIELDS: usize = 128;

fn main() -> Result<(), Box<dyn Error>> {
    // A directory stands for all that is in it, so files that come or go are noticed as well.
    println!("cargo::rerun-if-changed={ROOT}");
    println!("cargo::rerun-if-changed=build.rs");
    let mut files = Vec::new();
    find_protos(Path::new(ROOT), &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [ROOT])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let pool = DescriptorPool::from_file_descriptor_set(descriptors.clone())?;
    fs::write(out.join("schema.rs"), Table::new(&pool).source()?)?;
    write_structs(descriptors)
}

fn find_protos(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

fn write_structs(mut descriptors: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    descriptors.file.retain(|file| !is_v1(file.package()));
    for file in &mut descriptors.file {
        undeprecate(&mut file.message_type);
    }
    prost_build::Config::new()
        // Sorted, so that a message has one encoding.
        .btree_map(["."])
        .enable_type_names()
        .include_file("messages.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

/// "Deprecated" is advice to those who write frameworks. We have to carry these fields all the same, and
/// want no warning where we do.
fn undeprecate(messages: &mut [DescriptorProto]) {
    for message in messages {
        for options in message.field.iter_mut().filter_map(|field| field.options.as_mut()) {
            options.deprecated = None;
        }
        let values = message.enum_type.iter_mut().flat_map(|each| &mut each.value);
        for options in values.filter_map(|value| value.options.as_mut()) {
            options.deprecated = None;
        }
        undeprecate(&mut message.nested_type);
    }
}

fn is_v1(package: &str) -> bool {
    package == "mesos.v1" || package.starts_with("mesos.v1.")
}

/// Every message and enum in name order; a field refers to another by its place in that order.
struct Table {
    messages: Vec<MessageDescriptor>,
    enums: Vec<EnumDescriptor>,
}

impl Table {
    fn new(pool: &DescriptorPool) -> Table {
        let mut messages: Vec<_> = pool.all_messages().collect();
        messages.sort_by(|a, b| a.full_name().cmp(b.full_name()));
        let mut enums: Vec<_> = pool.all_enums().collect();
        enums.sort_by(|a, b| a.full_name().cmp(b.full_name()));
        Table { messages, enums }
    }

    fn source(&self) -> Result<String, Box<dyn Error>> {
        let mut text = String::from("pub(super) static MESSAGES: &[Message] = &[\n");
        for message in &self.messages {
            writeln!(text, "Message {{ name: {:?}, fields: &[", message.full_name())?;
            let mut fields: Vec<_> = message.fields().collect();
            fields.sort_by_key(FieldDescriptor::number);
            if fields.len() > MAX_FIELDS {
                return Err(format!("{} has more than {MAX_FIELDS} fields", message.full_name()).into());
            }
            for field in &fields {
                writeln!(text, "{},", self.field(message, field)?)?;
            }
            text.push_str("] },\n");
        }
        text.push_str("];\npub(super) static ENUMS: &[Enum] = &[\n");
        for each in &self.enums {
            let values: Vec<_> = each.values().map(|value| (value.name().to_owned(), value.number())).collect();
            writeln!(text, "Enum {{ values: &{values:?} }},")?;
        }
        text.push_str("];\n");
        Ok(text)
    }

    fn field(&self, message: &MessageDescriptor, field: &FieldDescriptor) -> Result<String, Box<dyn Error>> {
        let label = if field.is_list() || field.is_map() {
            "Repeated"
        } else if field.cardinality() == Cardinality::Required {
            "Required"
        } else {
            "Optional"
        };
        Ok(format!(
            "Field {{ name: {:?}, number: {}, plain: {}, label: Label::{label}, kind: Kind::{}, default: {:?} }}",
            field.name(),
            field.number(),
            self.plain(message, field)?,
            self.kind(field)?,
            default(field)
        ))
    }

    fn kind(&self, field: &FieldDescriptor) -> Result<String, Box<dyn Error>> {
        Ok(match field.kind() {
            Kind::Message(of) => {
                let place = self.messages.iter().position(|message| *message == of).ok_or("message not in pool")?;
                format!("{}({place})", if field.is_map() { "Map" } else { "Message" })
            }
            Kind::Enum(of) => {
                let place = self.enums.iter().position(|each| *each == of).ok_or("enum not in pool")?;
                format!("Enum({place})")
            }
            Kind::Double => "Double".into(),
            Kind::Int32 => "Int32".into(),
            Kind::Int64 => "Int64".into(),
            Kind::Uint32 => "Uint32".into(),
            Kind::Uint64 => "Uint64".into(),
            Kind::Bool => "Bool".into(),
            Kind::String => "String".into(),
            Kind::Bytes => "Bytes".into(),
            other => {
                return Err(format!("{}: {other:?} fields are not supported", field.full_name()).into());
            }
        })
    }

    /// The number that the field has in the unversioned message. Mesos' v1 messages are copies with
    /// "agent" for "slave", but their authors renumbered `Call.Subscribe`; 0 where there is no such field.
    fn plain(&self, message: &MessageDescriptor, field: &FieldDescriptor) -> Result<u32, Box<dyn Error>> {
        if !is_v1(message.package_name()) {
            return Ok(field.number());
        }
        let Some(twin) = self.messages.iter().find(|plain| is_twin(message.full_name(), plain.full_name())) else {
            return Ok(0);
        };
        let Some(same) = twin.fields().find(|plain| is_twin(field.name(), plain.name())) else {
            return Ok(0);
        };
        let same_kind = is_twin(&kind_name(field), &kind_name(&same));
        if !same_kind || same.cardinality() != field.cardinality() {
            return Err(format!("{} is not of the type of {}", field.full_name(), same.full_name()).into());
        }
        Ok(same.number())
    }
}

/// Whether a name of v1 and an unversioned one are of the same thing. The agents' own API is called that in both.
fn is_twin(v1: &str, plain: &str) -> bool {
    let name = v1.replace(".v1", "");
    name == plain || name.replace("Agent", "Slave").replace("agent", "slave") == plain
}

/// The value of a field that nobody set, in JSON, where the field's declaration has one and is not deprecated.
fn default(field: &FieldDescriptor) -> Option<String> {
    let declared = field.field_descriptor_proto();
    if declared.options.as_ref().is_some_and(|options| options.deprecated()) {
        return None;
    }
    let text = declared.default_value.as_ref()?;
    Some(match field.kind() {
        Kind::Enum(_) | Kind::String => format!("{text:?}"),
        Kind::Double if !text.contains('.') => format!("{text}.0"),
        _ => text.clone(),
    })
}

fn kind_name(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(of) => of.full_name().to_owned(),
        Kind::Enum(of) => of.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    }
}
