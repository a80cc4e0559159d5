//! Reading of answers, which are left as JSON (see `build.rs`): a field that is not there reads as empty, so that an
//! older manager's answers work, too.

use serde_json::Value;

/// The value at a dotted `path` such as `spec.cpu.count`; null when there is none.
pub(crate) fn at<'v>(v: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(v, |v, key| match (v, key.parse::<usize>()) {
        (Value::Array(a), Ok(i)) => a.get(i).unwrap_or(&Value::Null),
        _ => v.get(key).unwrap_or(&Value::Null),
    })
}

/// The text at `path`; empty when there is none.
pub(crate) fn text<'v>(v: &'v Value, path: &str) -> &'v str {
    at(v, path).as_str().unwrap_or_default()
}

/// The number at `path`; 0 when there is none.
pub(crate) fn number(v: &Value, path: &str) -> u64 {
    at(v, path).as_u64().unwrap_or_default()
}

/// Whether `true` stands at `path`.
pub(crate) fn flag(v: &Value, path: &str) -> bool {
    at(v, path).as_bool().unwrap_or_default()
}

/// The items of the list at `path`.
pub(crate) fn items<'v>(v: &'v Value, path: &str) -> &'v [Value] {
    at(v, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The texts of the list at `path`.
pub(crate) fn texts(v: &Value, path: &str) -> Vec<String> {
    items(v, path).iter().filter_map(Value::as_str).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_there_reads_as_empty() {
        let v = json!({"a": {"b": [{"c": 7}]}, "s": "x"});
        assert_eq!(at(&v, "a.b.0.c"), &json!(7));
        assert_eq!(number(&v, "a.b.0.c"), 7);
        assert_eq!(text(&v, "s"), "x");
        assert_eq!(text(&v, "a.b.7.c"), "");
        assert!(items(&v, "nothing").is_empty() && !flag(&v, "s"));
    }
}
