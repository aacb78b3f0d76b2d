//! Where two JSON values first differ, in words.

use serde_json::Value;

/// The first difference, or nothing where the values are equal. Numbers are compared bit for bit as f64; the
/// fields that the method leaves out of account are passed over.
pub(crate) fn difference(computed: &Value, expected: &Value) -> Option<String> {
    find("result", computed, expected)
}

fn find(place: &str, computed: &Value, expected: &Value) -> Option<String> {
    match (computed, expected) {
        (Value::Object(_), Value::Object(_)) => find_in_fields(place, computed, expected),
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.find_map(|(index, (one, other))| find(&format!("{place}[{index}]"), one, other))
        }
        _ if same(computed, expected) => None,
        _ => Some(format!("{place} is\n    {computed}\n  and should be\n    {expected}")),
    }
}

fn find_in_fields(place: &str, computed: &Value, expected: &Value) -> Option<String> {
    let fields =
        |value: &Value| value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let names: Vec<String> =
        [fields(computed), fields(expected)].into_iter().flat_map(|names: Vec<_>| names).collect();
    let mut counted = names.iter().filter(|name| !is_ignored(name));
    counted.find_map(|name| match (computed.get(name), expected.get(name)) {
        (Some(one), Some(other)) => find(&format!("{place}.{name}"), one, other),
        (Some(extra), None) => Some(format!("{place}.{name} should not be there, but is {extra}")),
        (None, lacking) => Some(format!("{place}.{name} is not there and should be {}", lacking?)),
    })
}

/// Fields of the released code's output that the method does not use.
fn is_ignored(name: &str) -> bool {
    name.contains("LC_") || name == "best_path"
}

fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.to_bits() == other.to_bits(),
        _ => one == other,
    }
}
