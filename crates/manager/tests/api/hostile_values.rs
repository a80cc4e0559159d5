//! The hostile values, as the bytes that go over the wire, with what must become of each.
//!
//! No randomness: the same values in the same order on every run.

use crate::hostile_document::Document;
use serde_json::Value;

/// A value.
#[derive(Clone, Debug)]
pub struct Hostile {
    pub what: String,
    /// As it stands in the JSON, or (percent-encoded) in the query or path.
    pub raw: Vec<u8>,
    /// It must not be accepted; otherwise it may.
    pub refuse: bool,
    /// It spoils the text before anybody can tell fields: no field need be named.
    pub no_json: bool,
}

fn value(what: &str, raw: impl Into<Vec<u8>>, refuse: bool) -> Hostile {
    Hostile { what: what.into(), raw: raw.into(), refuse, no_json: false }
}

fn no_json(what: &str, raw: impl Into<Vec<u8>>) -> Hostile {
    Hostile { what: what.into(), raw: raw.into(), refuse: true, no_json: true }
}

/// Longest text that still fits into a request; for the fields in which people write most.
const LONGEST: usize = 900_000;
const WRITTEN: [&str; 6] = ["name", "password", "description", "note", "user_data", "filter"];
/// Longer than any field may be.
const LONG: usize = 70_000;

/// Fields that hold whole documents, for which more characters are right.
const DOCUMENTS: [&str; 2] = ["user_data", "network_config"];
/// Fields whose characters are nobody's business.
const SECRETS: [&str; 3] = ["password", "current", "new"];

/// Texts that mean something to somebody.
pub const TEXTS: [(&str, &str); 40] = [
    ("empty", ""),
    ("blank", " "),
    ("NUL", "a\u{0}b"),
    ("bell", "a\u{7}b"),
    ("line break", "a\nb"),
    ("CR LF and a header", "a\r\nSet-Cookie: x=y"),
    ("ANSI colours", "\u{1b}[31mred\u{1b}[0m"),
    ("ANSI title", "\u{1b}]0;owned\u{7}"),
    ("delete", "a\u{7f}b"),
    ("C1 control", "a\u{9b}31mb"),
    ("right to left", "\u{202e}gpj.exe"),
    ("bidi isolate", "\u{2066}a\u{2069}"),
    ("zero width", "a\u{200b}b"),
    ("byte order mark", "\u{feff}a"),
    ("homoglyph", "\u{430}dmin"),
    ("combining", "a\u{301}\u{301}\u{301}\u{301}"),
    ("full width", "\u{ff41}\u{ff44}min"),
    ("emoji", "\u{1f4a9}"),
    ("not a character", "\u{ffff}"),
    ("private use", "\u{10fffd}"),
    ("XML", "</name><devices><hostdev/></devices>"),
    ("CDATA", "]]><x/>"),
    ("DTD", "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>"),
    ("YAML", "a\": x\nruncmd: [id]"),
    ("YAML tag", "!!python/object/apply:os.system [id]"),
    ("JSON", "\"}, \"admin\": true, {\""),
    ("SQL", "'; DROP TABLE vm; --"),
    ("SQL union", "' UNION SELECT password_hash FROM account --"),
    ("SQL like", "%' OR '1'='1"),
    ("shell", "$(id);`id`|id&"),
    ("option", "-oProxyCommand=id"),
    ("long option", "--help"),
    ("traversal", "../../../../etc/passwd"),
    ("traversal, encoded", "..%2f..%2fetc%2fpasswd"),
    ("absolute path", "/etc/shadow"),
    ("template", "{{7*7}}${7*7}<%= 7*7 %>#{7*7}"),
    ("lookup", "${jndi:ldap://127.0.0.1/a}"),
    ("format", "%s%s%n%x"),
    ("script", "<script>alert(1)</script>"),
    ("formula", "=cmd|'/c calc'!A1"),
];

/// Values for a field of a body.
pub fn of_field(d: &Document, schema: &Value, field: &str, required: bool) -> Vec<Hostile> {
    let kind = Kind::of(d, schema);
    let mut out = of_types(schema, kind, required);
    out.extend(numbers(schema, kind));
    if kind == Kind::Text {
        out.extend(texts(field));
    }
    if kind == Kind::Word {
        out.extend([value("no such word", "\"nope\"", true), value("word with NUL", "\"\\u0000\"", true), value("word, upper case", upper(d, schema), true)]);
    }
    out
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Id,
    Word,
    Integer,
    Bool,
    List,
    Object,
}

impl Kind {
    fn of(d: &Document, schema: &Value) -> Kind {
        let schema = d.resolve(schema);
        match schema["type"].as_str() {
            Some("integer" | "number") => Kind::Integer,
            Some("boolean") => Kind::Bool,
            Some("array") => Kind::List,
            Some("object") => Kind::Object,
            Some("string") if schema["format"] == "uuid" => Kind::Id,
            Some("string") if d.words(&schema).is_empty() => Kind::Text,
            _ if schema["properties"].is_object() => Kind::Object,
            _ if d.words(&schema).is_empty() || schema["oneOf"].as_array().is_some_and(|l| l.iter().any(|s| s["type"] == "object")) => Kind::Object,
            _ => Kind::Word,
        }
    }
}

fn upper(d: &Document, schema: &Value) -> Vec<u8> {
    d.words(schema).first().map(|w| w.to_string().to_uppercase()).unwrap_or_default().into_bytes()
}

fn of_types(schema: &Value, kind: Kind, required: bool) -> Vec<Hostile> {
    let nullable = schema["nullable"] == true || !required;
    let mut out = vec![
        value("null", "null", !nullable),
        value("true", "true", kind != Kind::Bool),
        value("number", "7", kind != Kind::Integer),
        value("text", "\"x\"", !matches!(kind, Kind::Text)),
        value("number as text", "\"1\"", !matches!(kind, Kind::Text)),
        value("empty list", "[]", kind != Kind::List),
        value("list in list", "[[]]", true),
        value("empty object", "{}", kind != Kind::Object),
        value("object with a strange field", "{\"surprise\": {\"surprise\": 1}}", true),
        value("10,000 numbers", format!("[{}0]", "0,".repeat(9_999)), true),
        no_json("10,000 deep list", "[".repeat(10_000) + &"]".repeat(10_000)),
        no_json("nothing", ""),
        no_json("bare word", "undefined"),
        no_json("single quotes", "'x'"),
        no_json("comment", "/* x */ 1"),
        no_json("hexadecimal", "0x10"),
        no_json("leading zero", "01"),
        no_json("NaN", "NaN"),
        no_json("infinity", "-Infinity"),
        no_json("invalid UTF-8", b"\"a\xff\xfeb\"".to_vec()),
        no_json("overlong UTF-8", b"\"\xc0\xaf\"".to_vec()),
        no_json("surrogate in UTF-8", b"\"\xed\xa0\x80\"".to_vec()),
        no_json("half a surrogate pair", "\"\\ud800\""),
        no_json("raw line break", "\"a\nb\""),
        no_json("raw NUL", b"\"a\0b\"".to_vec()),
    ];
    if kind == Kind::List {
        out.push(value("10,000 texts", format!("[{}\"x\"]", "\"x\",".repeat(9_999)), true));
        out.push(value("10,000 objects", format!("[{}{{}}]", "{},".repeat(9_999)), true));
    }
    if kind == Kind::Object {
        out.push(no_json("5,000 deep object", "{\"k\":".repeat(5_000) + "1" + &"}".repeat(5_000)));
    }
    out
}

fn numbers(schema: &Value, kind: Kind) -> Vec<Hostile> {
    let integer = kind == Kind::Integer;
    let unsigned = schema["minimum"].as_f64().is_some_and(|m| m >= 0.0);
    let mut out = vec![
        value("-1", "-1", !integer || unsigned),
        value("1.5", "1.5", true),
        value("1e400", "1e400", true),
        value("2^64", "18446744073709551616", true),
        value("a hundred digits", "9".repeat(100), true),
        // Whether a number that JSON cannot tell from another counts as one is the reader's business.
        value("-0", "-0", !integer),
    ];
    // These are 400 of the JSON reader, which sees no number in them.
    out[2].no_json = true;
    if integer {
        out.extend([
            value("1.0", "1.0", false),
            value("1e2", "1e2", false),
            value("0", "0", false),
            value("2^31", "2147483648", false),
            value("2^32", "4294967296", false),
            value("2^53+1", "9007199254740993", false),
            value("7 EiB", "8070450532247928832", false),
            value("2^63-1", "9223372036854775807", false),
            value("2^63", "9223372036854775808", false),
            value("2^64-1", "18446744073709551615", false),
        ]);
    }
    out
}

fn texts(field: &str) -> Vec<Hostile> {
    let lenient = DOCUMENTS.contains(&field) || SECRETS.contains(&field);
    let mut out: Vec<Hostile> = TEXTS
        .iter()
        .map(|(what, text)| {
            // Line breaks and tabs are right where people write sentences.
            let control = text.chars().any(|c| c.is_control() && !(matches!(field, "description" | "note") && c == '\n'));
            value(what, serde_json::to_string(text).unwrap(), control && !lenient)
        })
        .collect();
    let long = if WRITTEN.contains(&field) { LONGEST } else { LONG };
    out.push(value("long", format!("\"{}\"", "x".repeat(long)), true));
    out.push(value("four-byte characters", format!("\"{}\"", "\u{1f4a9}".repeat(LONG / 4 + 1)), true));
    out
}

/// Values for a query parameter, not yet encoded.
pub fn of_query(schema: &Value, name: &str) -> Vec<Hostile> {
    let mut out = Vec::new();
    let typed = matches!(schema["type"].as_str(), Some("integer" | "boolean"));
    let opaque = matches!(name, "page_token" | "sort" | "sha256");
    for (what, text) in TEXTS {
        let free = matches!(name, "fields" | "filter") && text.trim().is_empty() || name == "fields";
        out.push(value(what, text, (typed || opaque || name == "filter") && !free));
    }
    for text in ["-1", "1.5", "1e3", "99999999999999999999", "9223372036854775808", "NaN", "0x10", "TRUE", "yes", "on", "null", "[]", "{}", "1,2"] {
        out.push(value(text, text, typed && text != "-1" || schema["type"] == "boolean" || opaque));
    }
    out.push(value("60 kB", "x".repeat(60_000), true));
    out
}

/// Values for a name or id in a path, not yet encoded.
pub fn of_path() -> Vec<Hostile> {
    let mut out: Vec<Hostile> = TEXTS.iter().filter(|(_, t)| !t.is_empty()).map(|(what, text)| value(what, *text, true)).collect();
    for text in [
        "0",
        "-1",
        "null",
        "undefined",
        "*",
        "%",
        "_",
        "00000000-0000-0000-0000-000000000000",
        "{00000000-0000-0000-0000-000000000000}",
        "urn:uuid:00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "18446744073709551616",
    ] {
        out.push(value(text, text, true));
    }
    out.push(value("20 kB", "x".repeat(20_000), true));
    out
}
