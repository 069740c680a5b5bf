//! Mesos' resources: what a slave offers, what a task asks for, and their arithmetic.
//!
//! ```text
//! cpus:2;mem:1024;ports:[31000-32000];disks:{a,b};cpus(role):1      text, as --resources has it
//! [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 2}}]      JSON, the same
//! cpus:2; mem:1024; cpus(reservations: [(STATIC,role)]):1           as Mesos logs them, `Display`
//! ```
//!
//! A resource has a value (scalar, ranges or set) and metadata (role and reservations, allocation, disk, provider ...). Only
//! resources with equal metadata are added to or subtracted from each other. Scalars count in thousandths. Reservations are kept in
//! the form of Mesos 1.4 and later (`reservations`, not `role`). Facts: `src/common/resources.cpp`, `values.cpp`.

use std::fmt;

use crate::messages::mesos::value::Type;
use crate::messages::mesos::{Resource, value};

mod attributes;
mod checkpoint;
mod detect;
mod display;
mod metadata;
mod text;
mod validate;
mod values;

pub use attributes::parse_attributes;
pub use checkpoint::{apply_checkpointed, needs_checkpointing};
pub use detect::{Host, complete};
pub use display::{resource_text, resources_text};
pub use metadata::{downgrade, upgrade};
pub use text::parse;
pub use validate::{check_role, validate};

/// Why resources or attributes cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceError {
    /// A part of the text cannot be read.
    Text {
        /// The part.
        part: String,
        /// What is wrong.
        why: String,
    },
    /// The JSON form cannot be read.
    Json(String),
    /// A resource breaks a rule of Mesos'.
    Invalid {
        /// Its name.
        name: String,
        /// The rule.
        why: String,
    },
}

impl fmt::Display for ResourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourceError::Text { part, why } => write!(f, "'{part}': {why}"),
            ResourceError::Json(why) => write!(f, "as JSON: {why}"),
            ResourceError::Invalid { name, why } => write!(f, "resource '{name}': {why}"),
        }
    }
}

impl std::error::Error for ResourceError {}

/// Resources, each metadata once (but for shared ones), none empty.
#[derive(Debug, Clone, Default)]
pub struct Resources(Vec<Resource>);

impl Resources {
    /// None.
    pub fn new() -> Resources {
        Resources::default()
    }

    /// Checks resources that came from outside and adds them up.
    ///
    /// # Errors
    /// The first that breaks a rule; see [`validate`].
    pub fn checked(list: &[Resource]) -> Result<Resources, ResourceError> {
        for resource in list {
            validate(resource)?;
        }
        Ok(list.iter().cloned().collect())
    }

    /// Adds one; an empty one changes nothing.
    pub fn add(&mut self, mut resource: Resource) {
        upgrade(&mut resource);
        if values::is_empty(&resource) {
            return;
        }
        match self.0.iter_mut().find(|left| metadata::addable(left, &resource)) {
            Some(left) => values::add(left, &resource),
            None => self.0.push(resource),
        }
    }

    /// Adds all of another.
    pub fn add_all(&mut self, other: &Resources) {
        for resource in &other.0 {
            self.add(resource.clone());
        }
    }

    /// Takes one away. What is not there is not missed: nothing becomes negative, as in Mesos.
    pub fn subtract(&mut self, resource: &Resource) {
        let mut resource = resource.clone();
        upgrade(&mut resource);
        let Some(place) = self.0.iter().position(|left| metadata::subtractable(left, &resource)) else {
            return;
        };
        let left = &mut self.0[place];
        if left.shared.is_none() {
            values::subtract(left, &resource);
        }
        if left.shared.is_some() || values::is_empty(left) {
            self.0.remove(place);
        }
    }

    /// Takes all of another away.
    pub fn subtract_all(&mut self, other: &Resources) {
        for resource in &other.0 {
            self.subtract(resource);
        }
    }

    /// Whether all of the other is here, each as often as there: two equal volumes are not contained in one.
    pub fn contains(&self, other: &Resources) -> bool {
        let mut rest = self.clone();
        other.0.iter().all(|right| {
            let fits = |left: &Resource| metadata::subtractable(left, right) && values::at_most(right, left);
            let found = rest.0.iter().any(fits);
            rest.subtract(right);
            found
        })
    }

    /// The same allocated to nobody, as a slave has them.
    pub fn unallocated(&self) -> Resources {
        self.0.iter().cloned().map(|resource| Resource { allocation_info: None, ..resource }).collect()
    }

    /// The sum of a scalar over all its roles; `None` if there is none of it.
    pub fn scalar(&self, name: &str) -> Option<f64> {
        let thousandths = |resource: &Resource| resource.scalar.map(|scalar| values::to_fixed(scalar.value));
        let all = self.0.iter().filter(|resource| resource.name == name && resource.r#type() == Type::Scalar);
        all.filter_map(thousandths).reduce(i64::saturating_add).map(values::from_fixed)
    }

    /// As messages carry them.
    pub fn as_slice(&self) -> &[Resource] {
        &self.0
    }

    /// As messages carry them.
    pub fn into_vec(self) -> Vec<Resource> {
        self.0
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(list: I) -> Resources {
        let mut resources = Resources::new();
        list.into_iter().for_each(|resource| resources.add(resource));
        resources
    }
}

/// Equal if each contains the other: their order does not matter.
impl PartialEq for Resources {
    fn eq(&self, other: &Resources) -> bool {
        self.0.len() == other.0.len() && self.contains(other) && other.contains(self)
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&resources_text(&self.0))
    }
}

/// A scalar resource that is allocated and reserved to nobody.
pub fn scalar(name: &str, value: f64) -> Resource {
    Resource {
        name: name.to_string(),
        r#type: Type::Scalar as i32,
        scalar: Some(value::Scalar { value }),
        ..Resource::default()
    }
}

#[cfg(test)]
mod mesos_tests;
#[cfg(test)]
mod tests;
