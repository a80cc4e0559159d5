//! The XML of a descriptor as a small tree, read without trust: no document type, so no entities of its own (CVE-2013-1664,
//! CVE-2013-1665, CVE-2013-4179), bounded depth and size, UTF-8 only.
//!
//! Prefixes are dropped: programs use different ones for the same schemas, and no two elements or attributes that matter here
//! differ in their prefix only. An attribute that comes twice is refused, so that there is one reading (I8).

use super::shown;
use crate::image::reader::{Seen, must, refuse};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 32;
/// Most elements that are read.
const ELEMENTS_MAX: usize = 20_000;
/// Most attributes of an element.
const ATTRIBUTES_MAX: usize = 32;

/// An element.
#[derive(Debug, Default)]
pub(super) struct El {
    /// Name without its prefix.
    pub(super) name: String,
    /// Attributes, by their names without prefixes.
    attributes: Vec<(String, String)>,
    /// Elements within.
    pub(super) children: Vec<El>,
    /// Text, trimmed.
    pub(super) text: String,
}

impl El {
    /// Value of an attribute.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first element within of that name.
    pub(super) fn one(&self, name: &str) -> Option<&El> {
        self.children.iter().find(|c| c.name == name)
    }

    /// Text of the first element within of that name; empty: there is none.
    pub(super) fn word(&self, name: &str) -> &str {
        self.one(name).map_or("", |e| e.text.as_str())
    }

    /// Reads a document.
    pub(super) fn parse(bytes: &[u8]) -> Seen<El> {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let Ok(text) = std::str::from_utf8(text) else { return refuse("is an OVA with a descriptor that is not UTF-8") };
        let mut reader = Reader::from_str(text);
        let (mut open, mut root, mut count): (Vec<El>, Option<El>, usize) = (Vec::new(), None, 0);
        loop {
            let event = match reader.read_event() {
                Ok(e) => e,
                Err(e) => return refuse(format!("is an OVA with a descriptor that is no XML ({})", shown(&e.to_string()))),
            };
            match event {
                Event::Start(_) | Event::Empty(_) => {
                    count += 1;
                    must(open.len() < DEPTH_MAX && count <= ELEMENTS_MAX, "is an OVA with a descriptor that is nested too deeply or has too many elements")?;
                    must(root.is_none(), "is an OVA with a descriptor of several documents")?;
                    match event {
                        Event::Start(s) => open.push(element(&s)?),
                        Event::Empty(s) => close(element(&s)?, &mut open, &mut root),
                        _ => {}
                    }
                }
                Event::End(_) => {
                    if let Some(done) = open.pop() {
                        close(done, &mut open, &mut root);
                    }
                }
                Event::Text(t) => push(&mut open, &t.xml10_content())?,
                Event::CData(t) => push(&mut open, &t.xml10_content())?,
                Event::GeneralRef(r) => match known_entity(r.xml10_content().as_ref()).or_else(|| r.resolve_char_ref().ok().flatten()) {
                    Some(c) => push(&mut open, c.encode_utf8(&mut [0; 4]))?,
                    None => return refuse("is an OVA with a descriptor that has entities of its own"),
                },
                Event::DocType(_) => return refuse("is an OVA with a descriptor that has a document type (DTD); none is read"),
                Event::Eof => break,
                _ => {}
            }
        }
        must(open.is_empty(), "is an OVA with a descriptor that ends too early")?;
        root.map_or_else(|| refuse("is an OVA with an empty descriptor"), Ok)
    }
}

fn known_entity(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

/// An element ends: it belongs to the one that is open, or is the document.
fn close(mut done: El, open: &mut [El], root: &mut Option<El>) {
    done.text = done.text.trim().to_string();
    match open.last_mut() {
        Some(parent) => parent.children.push(done),
        None => *root = Some(done),
    }
}

fn push(open: &mut [El], text: &str) -> Seen<()> {
    match open.last_mut() {
        Some(e) => e.text.push_str(text),
        None => return must(text.trim().is_empty(), "is an OVA with a descriptor that has text outside of its document"),
    }
    Ok(())
}

/// A name without its prefix.
fn local(name: &str) -> String {
    name.rsplit_once(':').map_or(name, |(_, l)| l).to_string()
}

fn element(s: &BytesStart<'_>) -> Seen<El> {
    let mut e = El { name: local(s.name().into_inner()), ..El::default() };
    for a in s.attributes() {
        let value = a.as_ref().ok().and_then(|a| a.normalized_value(quick_xml::XmlVersion::Implicit1_0).ok());
        let (Ok(a), Some(value)) = (&a, value) else { return refuse("is an OVA with a descriptor that has a broken attribute, or entities of its own") };
        let key: &str = a.key.into_inner();
        if key == "xmlns" || key.starts_with("xmlns:") {
            continue;
        }
        let name = local(key);
        must(e.get(&name).is_none() && e.attributes.len() < ATTRIBUTES_MAX, "is an OVA with a descriptor that has an attribute twice, or too many")?;
        e.attributes.push((name, value.into_owned()));
    }
    Ok(e)
}
