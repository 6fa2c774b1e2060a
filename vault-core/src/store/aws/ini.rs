//! The dialect of `~/.aws/config` and `~/.aws/credentials`.
//!
//! Sections, `name = value`, comments on lines of their own, values that go on on indented lines, and blocks of indented
//! `name = value` below a name without a value. Where AWS's own tools disagree about a file it is refused; what is wrong
//! is said by its line, never quoted, as it may be a secret.
//!
//! Source: "Format of the shared config and credentials files", AWS SDKs and Tools Reference Guide; botocore's
//! `configloader.py`.

use std::{collections::BTreeMap, fmt};

use crate::error::{Error, Result};

/// The longest file, in bytes.
pub const MAX_FILE: usize = 1 << 20;

/// One file. Shows no values in `Debug`.
#[derive(Default)]
pub(super) struct File {
    sections: BTreeMap<String, Section>,
}

/// One section of a file.
pub(super) type Section = BTreeMap<String, Value>;

/// What stands behind a name.
#[derive(Default)]
pub(super) struct Value {
    text: String,
    block: BTreeMap<String, String>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.sections.keys()).finish()
    }
}

impl File {
    /// Reads a file that is called `name` in errors.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self> {
        if text.len() > MAX_FILE {
            return Err(Error::Misuse(format!("{name}: is longer than {MAX_FILE} bytes")));
        }
        let mut reader = Reader { sections: BTreeMap::new(), section: None, property: None };
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            reader.line(line).map_err(|rule| Error::Misuse(format!("{name}: line {}: {rule}", number + 1)))?;
        }
        Ok(Self { sections: reader.sections })
    }

    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(name)
    }
}

impl Value {
    /// The value, unless some tools would take the end of it for a comment.
    pub(super) fn text(&self) -> Result<&str, &'static str> {
        clear(&self.text)
    }

    /// A value of the block below.
    pub(super) fn in_block(&self, name: &str) -> Option<Result<&str, &'static str>> {
        self.block.get(name).map(|text| clear(text))
    }
}

/// Some tools end a value at a space and `#` or `;`, others do not.
fn clear(text: &str) -> Result<&str, &'static str> {
    let mut before = ' ';
    for character in text.chars() {
        if matches!(character, '#' | ';') && before.is_whitespace() {
            return Err("has a comment behind its value; put it on a line of its own");
        }
        before = character;
    }
    if text.chars().any(|character| character.is_control() && character != '\t') {
        return Err("goes on on another line, or has a control character");
    }
    Ok(text)
}

struct Reader {
    sections: BTreeMap<String, Section>,
    section: Option<String>,
    property: Option<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let text = line.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            return Ok(());
        }
        if line.starts_with([' ', '\t']) {
            return self.indented(text);
        }
        if let Some(rest) = text.strip_prefix('[') {
            return self.begin_section(rest);
        }
        let section = self.section.as_ref().and_then(|name| self.sections.get_mut(name));
        let section = section.ok_or("stands before the first section")?;
        let (name, value) = property(text)?;
        if section.contains_key(&name) {
            return Err("sets what an earlier line of the section has set");
        }
        section.insert(name.clone(), Value { text: value.to_owned(), block: BTreeMap::new() });
        self.property = Some(name);
        Ok(())
    }

    fn begin_section(&mut self, rest: &str) -> Result<(), &'static str> {
        let (name, behind) = rest.split_once(']').ok_or("begins a section and does not end its name")?;
        if !behind.trim().is_empty() && !behind.trim_start().starts_with(['#', ';']) {
            return Err("has something behind the name of a section");
        }
        let name = section_name(name)?;
        if self.sections.insert(name.clone(), Section::new()).is_some() {
            return Err("begins a section a second time");
        }
        (self.section, self.property) = (Some(name), None);
        Ok(())
    }

    /// A line that belongs to the property above it.
    fn indented(&mut self, text: &str) -> Result<(), &'static str> {
        let section = self.section.as_ref().and_then(|name| self.sections.get_mut(name));
        let value = section.zip(self.property.as_ref()).and_then(|(section, name)| section.get_mut(name));
        let value = value.ok_or("is indented and belongs to nothing")?;
        if value.text.is_empty() {
            let (name, inner) = property(text)?;
            if value.block.insert(name, inner.to_owned()).is_some() {
                return Err("sets what an earlier line of the block has set");
            }
        } else {
            value.text.push('\n');
            value.text.push_str(text);
        }
        Ok(())
    }
}

fn property(text: &str) -> Result<(String, &str), &'static str> {
    let (name, value) = text.split_once('=').ok_or("is neither a section nor `name = value`")?;
    let name = name.trim();
    let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'[');
    if good { Ok((name.to_ascii_lowercase(), value.trim())) } else { Err("has a name that is none") }
}

/// The name of a section with single spaces between its words and no quotes around the last: `profile "a b"` is
/// `profile a b`.
fn section_name(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let (kind, name) = text.split_once(char::is_whitespace).unwrap_or(("", text));
    let name = name.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| name.strip_prefix(quote)?.strip_suffix(quote));
    let name = quoted.unwrap_or(name);
    if name.is_empty() || name.contains(['"', '\'', '[', '\\']) || name.chars().any(char::is_control) {
        return Err("has a name of a section that is none");
    }
    Ok(if kind.is_empty() { name.to_owned() } else { format!("{kind} {name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> File {
        File::parse("config", text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn value<'a>(file: &'a File, section: &str, name: &str) -> &'a str {
        file.section(section).expect("section")[name].text().expect("clear")
    }

    #[test]
    fn real_files_are_read() {
        let file = parse(
            "\u{feff}# mine\r\n[default]\r\nregion=eu-central-1\r\nOutput = json\r\n\r\n[ profile  \"a b\" ] # x\n\
             s3 =\n    addressing_style = path\n  max_concurrent_requests=20\n; done\nrole_arn = arn:aws:iam::1:role/x\n\
             [services local]\ns3 = \n\tendpoint_url = http://localhost:9000\nempty =\n[nothing]\n",
        );
        assert_eq!(value(&file, "default", "region"), "eu-central-1");
        assert_eq!(value(&file, "default", "output"), "json");
        assert_eq!(value(&file, "profile a b", "role_arn"), "arn:aws:iam::1:role/x");
        let block = |section: &str, name: &str| {
            let section = file.section(section).expect("section");
            section["s3"].in_block(name).expect("there").expect("clear").to_owned()
        };
        assert_eq!(block("profile a b", "addressing_style"), "path");
        assert_eq!(block("services local", "endpoint_url"), "http://localhost:9000");
        assert_eq!(value(&file, "services local", "empty"), "");
        assert!(file.section("nothing").expect("section").is_empty() && file.section("other").is_none());
    }

    #[test]
    fn values_that_tools_read_differently_are_refused_where_they_are_used() {
        let file = parse("[a]\nx = 1 # one\ny = 1\n  2\nz = a#b;c\nw = # all\n");
        let section = file.section("a").expect("section");
        assert_eq!(section["z"].text(), Ok("a#b;c"));
        for name in ["x", "y", "w"] {
            assert!(section[name].text().is_err(), "{name}");
        }
    }

    #[test]
    fn other_lines_are_refused_by_number_and_never_quoted() {
        for (text, rule) in [
            ("secret", "line 1: stands before"),
            ("secret = 1", "line 1: stands before"),
            ("[a]\nsecret", "line 2: is neither"),
            ("[a]\n= secret", "line 2: has a name"),
            ("[a]\n  secret = 1", "line 2: is indented"),
            ("[a]\nx = 1\nX = secret", "line 3: sets what"),
            ("[a]\nx =\n y = 1\n y = secret", "line 4: sets what"),
            ("[a]\n[b]\n[a]\n", "line 3: begins a section a second"),
            ("[secret", "line 1: begins a section and"),
            ("[a] secret", "line 1: has something"),
            ("[]", "line 1: has a name of"),
            ("[profile \"secret]", "line 1: has a name of"),
        ] {
            let error = File::parse("config", text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("config: {rule}")) && !error.contains("secret"), "{text:?}: {error}");
        }
        assert!(File::parse("config", &"#".repeat(MAX_FILE + 1)).is_err());
        assert_eq!(format!("{:?}", parse("[a]\nx = secret")), r#"{"a"}"#);
    }
}
