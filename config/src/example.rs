//! Makes the commented example file from the comments in `file.rs`, so that they cannot drift apart.

use std::fmt::Write as _;

/// A struct of `file.rs`.
#[derive(Debug)]
pub(crate) struct Section {
    comment: Vec<&'static str>,
    /// `[clients]`; none for the top of the file.
    pub(crate) heading: Option<&'static str>,
    pub(crate) keys: Vec<Key>,
}

/// A documented field.
#[derive(Debug)]
pub(crate) struct Key {
    comment: Vec<&'static str>,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// In TOML.
    pub(crate) value: &'static str,
}

/// What a key's value in the comment stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Required,
    Default,
    Example,
}

/// The text of a configuration file for `domain` with every key explained.
#[must_use]
pub fn example(domain: &str) -> String {
    rendered(domain, &sections())
}

/// The same for a node of the public directory tier.
#[must_use]
pub fn node_example() -> String {
    rendered("", &node_sections())
}

fn rendered(domain: &str, sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        section.render(domain, &mut text);
    }
    text
}

/// Reads the structs of `file.rs`.
pub(crate) fn sections() -> Vec<Section> {
    sections_in(include_str!("file.rs"))
}

/// Those of `node.rs`.
pub(crate) fn node_sections() -> Vec<Section> {
    sections_in(include_str!("node.rs"))
}

fn sections_in(source: &'static str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut comment = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim());
        } else if line.starts_with("pub(crate) struct ") {
            sections.push(Section::read(std::mem::take(&mut comment)));
        } else if !line.starts_with("#[") {
            let key = Key::read(line, std::mem::take(&mut comment));
            if let (Some(section), Some(key)) = (sections.last_mut(), key) {
                section.keys.push(key);
            }
        }
    }
    sections
}

impl Section {
    fn read(mut comment: Vec<&'static str>) -> Self {
        let first = comment.first().and_then(|it| it.strip_prefix('`'));
        let heading = first.and_then(|it| it.split_once("` "));
        if let (Some((_, rest)), Some(first)) = (heading, comment.first_mut()) {
            *first = rest;
        }
        Self {
            comment,
            heading: heading.map(|(heading, _)| heading),
            keys: Vec::new(),
        }
    }

    fn render(&self, domain: &str, text: &mut String) {
        // A section that may be repeated stands there as a pattern only.
        let pattern = self.heading.is_some_and(|it| it.starts_with("[["));
        if self.heading.is_some() {
            text.push('\n');
        }
        push_comment(&self.comment, text);
        if let Some(heading) = self.heading {
            push_line(pattern, heading, text);
        }
        for key in &self.keys {
            text.push('\n');
            push_comment(&key.comment, text);
            let own_domain = self.heading.is_none() && key.name == "domain";
            let line = if own_domain {
                format!("domain = \"{domain}\"")
            } else {
                key.line()
            };
            push_line(pattern || key.kind != Kind::Required, &line, text);
        }
    }
}

impl Key {
    fn read(line: &'static str, mut comment: Vec<&'static str>) -> Option<Self> {
        let (name, _) = line.strip_prefix("pub(crate) ")?.split_once(':')?;
        let (kind, value) = comment.pop()?.split_once(": ")?;
        let kind = match kind {
            "Required" => Kind::Required,
            "Default" => Kind::Default,
            "Example" => Kind::Example,
            _ => return None,
        };
        while comment.last().is_some_and(|it| it.is_empty()) {
            comment.pop();
        }
        if kind == Kind::Example {
            comment.push("Not set by default; for example:");
        }
        Some(Self {
            comment,
            name,
            kind,
            value: value.trim_matches('`'),
        })
    }

    pub(crate) fn line(&self) -> String {
        format!("{} = {}", self.name, self.value)
    }
}

fn push_comment(lines: &[&str], text: &mut String) {
    for line in lines {
        writeln!(text, "# {line}").expect("a string takes every text");
    }
}

fn push_line(commented: bool, line: &str, text: &mut String) {
    let mark = if commented { "#" } else { "" };
    writeln!(text, "{mark}{line}").expect("a string takes every text");
}
