//! Frames of a server, as far as load looks at them: without a copy, and without what is not needed.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a text of ours begins with; the microsecond at which it was due follows.
const MARK: &str = "\"bench ";

/// A frame that answers or that brings a message; of all others nothing is read.
#[derive(Debug, Deserialize)]
pub(crate) struct Frame<'a> {
    #[serde(borrow)]
    pub(crate) ctrl: Option<Ctrl<'a>>,
    #[serde(borrow)]
    pub(crate) data: Option<Data<'a>>,
}

/// An answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Ctrl<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) code: u16,
    #[serde(borrow)]
    pub(crate) params: Option<&'a RawValue>,
}

/// A message.
#[derive(Debug, Deserialize)]
pub(crate) struct Data<'a> {
    pub(crate) topic: &'a str,
    #[serde(default)]
    pub(crate) seq: u32,
    #[serde(borrow)]
    pub(crate) content: Option<&'a RawValue>,
}

/// Which limit a 503 names.
#[derive(Debug, Deserialize)]
struct Held<'a> {
    limit: Option<&'a str>,
}

impl<'a> Frame<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("not understood: {error}: {text}"))
    }
}

impl Ctrl<'_> {
    /// What went wrong, in the words under which it is counted.
    pub(crate) fn fault(&self) -> Option<String> {
        let code = Some(self.code).filter(|it| *it >= 400)?;
        let held = self
            .params
            .and_then(|it| serde_json::from_str::<Held<'_>>(it.get()).ok());
        Some(match held.and_then(|it| it.limit) {
            Some(limit) => format!("{code} {limit}"),
            None => code.to_string(),
        })
    }
}

impl Data<'_> {
    /// When this text was due to be sent, if it is one of ours.
    pub(crate) fn due(&self) -> Option<u64> {
        let rest = self.content?.get().strip_prefix(MARK)?;
        rest.split([' ', '"']).next()?.parse().ok()
    }
}

/// `{pub}` of a text that says when it was due.
pub(crate) fn publish(id: u64, topic: &str, due: u64, filler: &str) -> String {
    format!(
        r#"{{"pub":{{"id":"{id}","topic":"{topic}","noecho":true,"content":{MARK}{due} {filler}"}}}}"#
    )
}

/// `{note}`.
pub(crate) fn note(topic: &str, what: &str, seq: u32) -> String {
    match seq {
        0 => format!(r#"{{"note":{{"topic":"{topic}","what":"{what}"}}}}"#),
        _ => format!(r#"{{"note":{{"topic":"{topic}","what":"{what}","seq":{seq}}}}}"#),
    }
}

/// `{get}` of a page of history.
pub(crate) fn page(id: u64, topic: &str, before: u32, limit: u32) -> String {
    format!(
        r#"{{"get":{{"id":"{id}","topic":"{topic}","what":"data","data":{{"before":{before},"limit":{limit}}}}}}}"#
    )
}

/// So much text that a message has about `bytes` bytes of content.
pub(crate) fn filler(bytes: usize) -> String {
    "x".repeat(bytes.saturating_sub(MARK.len() + 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_tells_when_it_was_due() {
        let sent: serde_json::Value =
            serde_json::from_str(&publish(7, "usrX", 123_456, &filler(40))).unwrap();
        let content = &sent["pub"]["content"];
        assert_eq!(content.as_str().unwrap().len(), 36);
        let came = format!(r#"{{"data":{{"topic":"usrY","seq":3,"content":{content}}}}}"#);
        let data = Frame::read(&came).unwrap().data.unwrap();
        assert_eq!((data.due(), data.seq), (Some(123_456), 3));
        let other = r#"{"data":{"topic":"usrY","seq":3,"content":"hello"}}"#;
        assert_eq!(Frame::read(other).unwrap().data.unwrap().due(), None);
    }

    #[test]
    fn a_limit_is_counted_by_its_name() {
        let text =
            r#"{"ctrl":{"id":"1","code":503,"params":{"what":"limit","limit":"user_messages"}}}"#;
        let ctrl = Frame::read(text).unwrap().ctrl.unwrap();
        assert_eq!(ctrl.fault().unwrap(), "503 user_messages");
        let text = r#"{"ctrl":{"id":"1","code":202,"params":{"seq":3}}}"#;
        assert_eq!(Frame::read(text).unwrap().ctrl.unwrap().fault(), None);
    }
}
