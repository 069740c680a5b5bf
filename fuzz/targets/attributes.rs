//! Attributes: what was read has a name and exactly the value of its type.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::memory;
use mesos_slave_fuzz::messages::mesos::value::Type;
use mesos_slave_fuzz::resources::parse_attributes;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let list = match memory::within(64 * 1024 + 256 * text.len(), || parse_attributes(text)) {
        Ok(list) => list,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for attribute in list {
        assert!(!attribute.name.is_empty());
        let kind = match (&attribute.scalar, &attribute.ranges, &attribute.set, &attribute.text) {
            (Some(scalar), None, None, None) if scalar.value.is_finite() && scalar.value >= 0.0 => Type::Scalar,
            (None, Some(ranges), None, None) => {
                assert!(ranges.range.windows(2).all(|pair| pair[0].end < pair[1].begin));
                Type::Ranges
            }
            (None, None, None, Some(text)) if !text.value.is_empty() => Type::Text,
            other => panic!("{other:?}"),
        };
        assert_eq!(attribute.r#type(), kind);
    }
});
