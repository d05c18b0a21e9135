//! One page that needs nothing beside it.

use std::{fmt::Write as _, time::Duration};

use super::escaped;
use crate::{Kind, Run, Verdict};

const STYLE: &str = include_str!("style.css");

/// All runs as a page: a summary, a table, and the time line of each.
#[must_use]
pub fn html(runs: &[Run], seed: u64) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Freehold: what holds between domains</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    page.push_str(&summary(runs, seed));
    page.push_str("<main>\n");
    for run in runs {
        page.push_str(&section(run));
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn summary(runs: &[Run], seed: u64) -> String {
    let count = |wanted: &str| runs.iter().filter(|it| word(&it.verdict) == wanted).count();
    let (passed, failed, skipped) = (count("passed"), count("failed"), count("skipped"));
    let took: Duration = runs.iter().map(|it| it.took).sum();
    let mood = if failed > 0 { "failed" } else { "passed" };
    let mut counts = format!("<span class=\"count passed\">{passed} passed</span>");
    for (number, word) in [(failed, "failed"), (skipped, "skipped")] {
        if number > 0 {
            counts.push_str(&format!(
                "<span class=\"count {word}\">{number} {word}</span>"
            ));
        }
    }
    format!(
        "<header class=\"{mood}\">\n<h1>What holds between domains</h1>\n\
         <p>{counts}<span class=\"quiet\">{} in all &middot; seed {seed}</span></p>\n</header>\n",
        seconds(took)
    )
}

fn section(run: &Run) -> String {
    let (case, word) = (run.case, word(&run.verdict));
    let open = if word == "failed" { " open" } else { "" };
    let mut section = format!(
        "<details class=\"case {word}\"{open}>\n<summary>\n<span class=\"mark\">{}</span>\n\
         <span class=\"ids\">{}</span>\n<span class=\"title\"><b class=\"name\">{}</b>{}</span>\n\
         <span class=\"took\">{}</span>\n</summary>\n",
        mark(&run.verdict),
        escaped(case.ids),
        escaped(&case.name.replace('_', " ")),
        escaped(case.proves),
        seconds(run.took)
    );
    match &run.verdict {
        Verdict::Passed => {}
        Verdict::Failed(report) => {
            writeln!(section, "<pre>{}</pre>", escaped(report)).expect("a string takes every text");
        }
        Verdict::Skipped(why) => {
            writeln!(section, "<p class=\"why\">{}</p>", escaped(why))
                .expect("a string takes every text");
        }
    }
    section.push_str(&timeline(run));
    section.push_str("</details>\n");
    section
}

fn timeline(run: &Run) -> String {
    let (events, left_out) = run.line.events();
    let mut rows = String::new();
    for event in events {
        let kind = match event.kind {
            Kind::Act => "act",
            Kind::Fault => "fault",
            Kind::Held => "held",
            Kind::Note => "note",
        };
        writeln!(
            rows,
            "<li class=\"{kind}\"><time>{:.3}</time><span class=\"who\">{}</span>\
             <span class=\"what\">{}</span></li>",
            event.at.as_secs_f64(),
            escaped(&event.who),
            escaped(&event.what)
        )
        .expect("a string takes every text");
    }
    if left_out > 0 {
        writeln!(
            rows,
            "<li class=\"note\"><time></time><span class=\"who\">suite</span>\
             <span class=\"what\">and {left_out} more</span></li>"
        )
        .expect("a string takes every text");
    }
    format!("<ol>\n{rows}</ol>\n")
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed(_) => "failed",
        Verdict::Skipped(_) => "skipped",
    }
}

fn mark(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "&#10003;",
        Verdict::Failed(_) => "&#10007;",
        Verdict::Skipped(_) => "&ndash;",
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
