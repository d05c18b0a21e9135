//! What came of a number of runs: a table for the terminal, JUnit for machines, a page for people.

mod html;
mod junit;
mod table;

use std::{fs, path::Path};

pub use html::html;
pub use junit::junit;
pub use table::row;

use crate::{Failure, Result, Run};

/// Writes `junit.xml` and `index.html` into a folder, which is made if there is none.
pub fn write(folder: &Path, runs: &[Run], seed: u64) -> Result<()> {
    let no = |error| Failure::harness(format!("write a report to {}", folder.display()), error);
    fs::create_dir_all(folder).map_err(no)?;
    fs::write(folder.join("junit.xml"), junit(runs, seed)).map_err(no)?;
    fs::write(folder.join("index.html"), html(runs, seed)).map_err(no)
}

/// Text as it stands in XML and HTML. Control characters, which XML cannot hold, become spaces.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Timeline, Verdict, cases};

    fn runs() -> Vec<Run> {
        let line = Timeline::default();
        line.act("alice", "writes <b>\u{1b}[1m & waits");
        let verdicts = [
            Verdict::Passed,
            Verdict::Failed("one < two\nsecond line".to_owned()),
            Verdict::Skipped("no hooks".to_owned()),
        ];
        let runs = cases::ALL.iter().zip(verdicts).map(|(case, verdict)| Run {
            case: *case,
            verdict,
            took: Duration::from_millis(1250),
            line: line.clone(),
        });
        runs.collect()
    }

    #[test]
    fn every_verdict_is_counted_and_nothing_breaks_out_of_its_text() {
        let xml = junit(&runs(), 7);
        assert!(
            xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""),
            "{xml}"
        );
        assert!(xml.contains("one &lt; two"), "{xml}");
        let page = html(&runs(), 7);
        assert!(page.contains("writes &lt;b&gt; [1m &amp; waits"), "{page}");
        assert!(!page.contains("<b>"), "{page}");
    }
}
