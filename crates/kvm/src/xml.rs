//! A small XML tree: written through quick-xml (which escapes every value), and read back without trusting it.
//!
//! libvirt's XML may have been edited by people (`virsh edit`), so the reader never panics, has bounds, and callers
//! take what is missing as missing.

use quick_xml::Reader;
use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use virga_model::Error;

/// Longest document that is read, in bytes.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// Deepest nesting that is read.
const DEPTH_MAX: usize = 64;
/// Most elements that are read.
const ELEMENTS_MAX: usize = 200_000;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct El {
    /// Name, with its prefix.
    pub name: String,
    /// Attributes in their order.
    pub attrs: Vec<(String, String)>,
    /// Child elements in their order.
    pub children: Vec<El>,
    /// Text (all pieces joined, trimmed).
    pub text: String,
}

impl El {
    /// An empty element.
    pub fn new(name: &str) -> El {
        El { name: name.to_string(), ..El::default() }
    }

    /// With an attribute.
    #[must_use]
    pub fn attr(mut self, name: &str, value: impl ToString) -> El {
        self.set(name, value);
        self
    }

    /// With a child.
    #[must_use]
    pub fn child(mut self, child: El) -> El {
        self.children.push(child);
        self
    }

    /// With several children.
    #[must_use]
    pub fn all(mut self, children: impl IntoIterator<Item = El>) -> El {
        self.children.extend(children);
        self
    }

    /// With text.
    #[must_use]
    pub fn text(mut self, text: impl ToString) -> El {
        self.text = text.to_string();
        self
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        match self.attrs.iter_mut().find(|(n, _)| n == name) {
            Some((_, v)) => *v = value,
            None => self.attrs.push((name.to_string(), value)),
        }
    }

    /// Value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attrs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first child of that name.
    pub fn one(&self, name: &str) -> Option<&El> {
        self.children.iter().find(|c| c.name == name)
    }

    /// The children of that name.
    pub fn many<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a El> + 'a {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// The first element at the end of a path of names.
    pub fn at(&self, path: &[&str]) -> Option<&El> {
        path.iter().try_fold(self, |e, name| e.one(name))
    }

    /// Removes the children of that name.
    pub fn drop_children(&mut self, name: &str) {
        self.children.retain(|c| c.name != name);
    }

    /// The document's text, indented.
    ///
    /// # Errors
    /// None in practice: writing goes to memory.
    pub fn to_xml(&self) -> Result<String, Error> {
        let mut w = Writer::new_with_indent(Vec::new(), b' ', 2);
        self.write(&mut w).map_err(|e| Error::internal(format!("An XML document could not be written: {e}.")))?;
        let mut text = String::from_utf8(w.into_inner()).map_err(|e| Error::internal(e.to_string()))?;
        text.push('\n');
        Ok(text)
    }

    fn write(&self, w: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let clean: Vec<(&str, String)> = self.attrs.iter().map(|(n, v)| (n.as_str(), printable(v))).collect();
        let start = BytesStart::new(self.name.as_str()).with_attributes(clean.iter().map(|(n, v)| (*n, v.as_str())));
        if self.children.is_empty() && self.text.is_empty() {
            return w.write_event(Event::Empty(start));
        }
        w.write_event(Event::Start(start))?;
        if !self.text.is_empty() {
            w.write_event(Event::Text(BytesText::new(&printable(&self.text))))?;
        }
        for c in &self.children {
            c.write(w)?;
        }
        w.write_event(Event::End(BytesEnd::new(self.name.as_str())))
    }

    /// Reads a document.
    ///
    /// # Errors
    /// `HostFailed` when it is no XML, or larger or deeper than any real one.
    pub fn parse(text: &str) -> Result<El, Error> {
        parse(text).map_err(|why| Error::host(format!("libvirt gave an XML document that cannot be read: {why}.")))
    }
}

/// `text` without the characters that XML 1.0 cannot hold.
fn printable(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{7f}'));
    text.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect()
}

fn parse(text: &str) -> Result<El, String> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err("it is too long".into());
    }
    let mut reader = Reader::from_str(text);
    let mut open: Vec<El> = Vec::new();
    let mut count = 0usize;
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(s) => {
                count += 1;
                if open.len() >= DEPTH_MAX || count > ELEMENTS_MAX {
                    return Err("it is nested too deeply or has too many elements".into());
                }
                open.push(element(&s)?);
            }
            Event::Empty(s) => {
                count += 1;
                let e = element(&s)?;
                match open.last_mut() {
                    _ if count > ELEMENTS_MAX => return Err("it has too many elements".into()),
                    Some(parent) => parent.children.push(e),
                    None => return Ok(e),
                }
            }
            Event::End(_) => {
                let Some(mut done) = open.pop() else { return Err("an end without a beginning".into()) };
                done.text = done.text.trim().to_string();
                match open.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => return Ok(done),
                }
            }
            Event::Text(t) => push(&mut open, &t.xml10_content()),
            Event::CData(t) => push(&mut open, &t.xml10_content()),
            Event::GeneralRef(r) => {
                let name = r.xml10_content();
                let ch = match name.as_ref() {
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "amp" => Some('&'),
                    "quot" => Some('"'),
                    "apos" => Some('\''),
                    _ => r.resolve_char_ref().ok().flatten(),
                };
                push(&mut open, ch.unwrap_or('\u{fffd}').encode_utf8(&mut [0; 4]));
            }
            Event::Eof => return Err("it ends too early".into()),
            _ => {}
        }
    }
}

fn push(open: &mut [El], text: &str) {
    if let Some(e) = open.last_mut() {
        e.text.push_str(text);
    }
}

fn element(s: &BytesStart<'_>) -> Result<El, String> {
    let name: &str = s.name().into_inner();
    let mut e = El::new(name);
    for a in s.attributes() {
        let a = a.map_err(|e| e.to_string())?;
        let value = a.normalized_value(quick_xml::XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
        e.attrs.push((a.key.into_inner().to_string(), value.into_owned()));
    }
    Ok(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_a_round_trip() {
        let hostile = "<a href='x'>&\"\n]]>ä\t";
        let e = El::new("a").attr("v", hostile).child(El::new("b").text(hostile.trim())).child(El::new("c"));
        let text = e.to_xml().unwrap();
        assert_eq!(text.matches("<a").count(), 1, "{text}");
        let back = El::parse(&text).unwrap();
        assert_eq!(back.one("b").unwrap().text, hostile.trim());
        assert_eq!(back.get("v").unwrap().replace(' ', "\n").matches('ä').count(), 1);
        assert_eq!(El::new("a").text("x\u{1}y\u{0}").to_xml().unwrap(), "<a>x\u{fffd}y\u{fffd}</a>\n");
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        for bad in ["", "x", "<a>", "</a>", "<a></b>", "<a b=></a>", "<a b='&nope;'/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a"] {
            let _ = El::parse(bad);
        }
        assert!(El::parse("").is_err());
        assert!(El::parse(&"<a>".repeat(10_000)).is_err());
        // An entity bomb stays small: entities of a DTD are not resolved.
        let e = El::parse("<!DOCTYPE a [<!ENTITY b 'cccc'>]><a>&b;</a>").unwrap();
        assert_eq!(e.text, "\u{fffd}");
    }
}
