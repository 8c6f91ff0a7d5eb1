//! Parser for the flat XML of callbacks: one root, with elements that contain text.
//!
//! DTDs are refused, and so are all entities except the five predefined ones: nothing in a document may expand or refer to anything.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};

/// Deepest nesting that is accepted. The platforms' own documents have four levels.
const MAX_DEPTH: usize = 8;

/// Why a document is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XmlError {
    /// Not UTF-8.
    Encoding,
    /// A DTD or a custom entity.
    Entities,
    /// Not well-formed, truncated, or nested too deep.
    Malformed,
}

/// The text of the elements directly below the root, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// The text of the first element with that name; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The text of an element, if it is not empty.
    pub(crate) fn some(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }
}

/// Parses a document. The caller limits its length.
pub(crate) fn read(document: &[u8]) -> Result<Fields, XmlError> {
    let document = std::str::from_utf8(document).map_err(|_| XmlError::Encoding)?;
    let mut reader = Reader::from_str(document);
    let mut open = Open::default();
    loop {
        match reader.read_event().map_err(|_| XmlError::Malformed)? {
            Event::Start(start) => open.begin(start.name().as_ref())?,
            Event::End(_) => open.end(),
            Event::Empty(empty) => {
                open.begin(empty.name().as_ref())?;
                open.end();
            }
            Event::Text(text) => open.say(&text.xml10_content())?,
            Event::CData(text) => open.say(&text.xml10_content())?,
            Event::GeneralRef(reference) => open.say(resolved(&reference)?.as_str())?,
            Event::DocType(_) => return Err(XmlError::Entities),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return open.finish(),
        }
    }
}

fn resolved(reference: &BytesRef<'_>) -> Result<String, XmlError> {
    if let Some(c) = reference.resolve_char_ref().map_err(|_| XmlError::Malformed)? {
        return Ok(c.to_string());
    }
    let text = resolve_xml_entity(reference).ok_or(XmlError::Entities)?;
    Ok(text.to_owned())
}

/// The elements that are open while a document is read.
#[derive(Default)]
struct Open {
    depth: usize,
    has_root: bool,
    /// The element directly below the root, with its text so far.
    field: (String, String),
    fields: BTreeMap<String, String>,
}

impl Open {
    fn begin(&mut self, name: &str) -> Result<(), XmlError> {
        // A second root, or suspiciously deep nesting.
        if (self.depth == 0 && self.has_root) || self.depth == MAX_DEPTH {
            return Err(XmlError::Malformed);
        }
        self.has_root = true;
        self.depth += 1;
        if self.depth == 2 {
            self.field = (name.to_owned(), String::new());
        }
        Ok(())
    }

    fn end(&mut self) {
        if self.depth == 2 {
            let (name, text) = std::mem::take(&mut self.field);
            self.fields.entry(name).or_insert(text);
        }
        self.depth -= 1;
    }

    /// Text between elements is white space; text of nested elements is ignored.
    fn say(&mut self, text: &str) -> Result<(), XmlError> {
        match self.depth {
            2 => self.field.1.push_str(text),
            0 if !text.trim_start_matches('\u{feff}').trim().is_empty() => return Err(XmlError::Malformed),
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Fields, XmlError> {
        match self.depth == 0 && self.has_root {
            true => Ok(Fields(self.fields)),
            false => Err(XmlError::Malformed),
        }
    }
}

/// `text` as a CDATA section. An end mark inside it is split between two sections. Characters that no XML document may contain are left out: one
/// of them would make the platform refuse the whole document.
///
/// See [XML 1.0, production 2](https://www.w3.org/TR/xml/#charsets).
pub(crate) fn cdata(text: &str) -> String {
    let allowed: String = text.chars().filter(|it| is_allowed(*it)).collect();
    format!("<![CDATA[{}]]>", allowed.replace("]]>", "]]]]><![CDATA[>"))
}

const fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(document: &str, name: &str) -> Result<String, XmlError> {
        read(document.as_bytes()).map(|fields| fields.text(name).to_owned())
    }

    #[test]
    fn character_data_text_and_empty_elements_are_read() {
        let document =
            "<?xml version=\"1.0\"?>\n<xml> <A><![CDATA[你 & <b>]]></A>\n<B>1 &lt; 2 &#x4f60;</B><C/><D>\n</D></xml>\n";
        assert_eq!(text(document, "A").as_deref(), Ok("你 & <b>"));
        assert_eq!(text(document, "B").as_deref(), Ok("1 < 2 你"));
        assert_eq!(text(document, "C").as_deref(), Ok(""));
        assert_eq!(text(document, "E").as_deref(), Ok(""));
        assert_eq!(read(document.as_bytes()).unwrap().some("C"), None);
    }

    #[test]
    fn characters_that_xml_forbids_are_left_out() {
        let written = cdata("a\u{c}b\u{1b}[1m\t\n\u{0}\u{fffe}\u{ffff}\u{8}]]>好😀");
        assert_eq!(written, "<![CDATA[ab[1m\t\n]]]]><![CDATA[>好😀]]>");
    }

    #[test]
    fn nested_elements_are_ignored_and_the_first_of_a_name_wins() {
        let document = "<xml><S><A>no</A></S><A>yes</A><A>late</A></xml>";
        assert_eq!(text(document, "A").as_deref(), Ok("yes"));
        assert_eq!(text(document, "S").as_deref(), Ok(""));
    }

    #[test]
    fn entities_and_document_types_are_refused() {
        for document in [
            "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><xml><A>&e;</A></xml>",
            "<!DOCTYPE x><xml><A>a</A></xml>",
            "<xml><A>&nbsp;</A></xml>",
        ] {
            assert_eq!(text(document, "A"), Err(XmlError::Entities), "{document}");
        }
    }

    #[test]
    fn malformed_documents_are_refused() {
        let deep = format!("{}{}", "<a>".repeat(9), "</a>".repeat(9));
        for document in [
            "",
            "<xml>",
            "<xml><A><![CDATA[x",
            "<xml><A>x</B></xml>",
            "<xml></xml><xml></xml>",
            "words <xml></xml>",
            "{\"encrypt\":\"x\"}",
            &deep,
        ] {
            assert_eq!(text(document, "A"), Err(XmlError::Malformed), "{document}");
        }
        assert_eq!(read(b"<xml><A>\xff</A></xml>"), Err(XmlError::Encoding));
    }

    proptest! {
        #[test]
        fn written_text_parses_back(said in "([a-z<>&\\]\\[ ]|\\]\\]>|中|😀){0,40}") {
            let document = format!("<xml><A>{}</A></xml>", cdata(&said));
            prop_assert_eq!(text(&document, "A").unwrap(), said);
        }

        #[test]
        fn garbage_never_panics(document in "(<|>|/|xml|A|<!\\[CDATA\\[|\\]\\]>|&|;|amp|#|<!DOCTYPE|\"|=| ){0,60}") {
            let _ = read(document.as_bytes());
        }
    }
}
