//! JUnit's XML, as continuous integration reads it.

use std::fmt::Write as _;

use super::escaped;
use crate::{Run, Verdict};

/// All runs as one test suite.
#[must_use]
pub fn junit(runs: &[Run], seed: u64) -> String {
    let count = |is: fn(&Verdict) -> bool| runs.iter().filter(|it| is(&it.verdict)).count();
    let failures = count(|it| matches!(it, Verdict::Failed(_)));
    let skipped = count(|it| matches!(it, Verdict::Skipped(_)));
    let time: f64 = runs.iter().map(|it| it.took.as_secs_f64()).sum();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuite name=\"freehold-interop\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\" \
         errors=\"0\" time=\"{time:.3}\">\n\
         <properties><property name=\"seed\" value=\"{seed}\"/></properties>\n",
        runs.len()
    );
    for run in runs {
        let name = escaped(run.case.name);
        let time = run.took.as_secs_f64();
        let class = escaped(&format!("interop.{}", run.case.ids.replace(", ", "_")));
        write!(
            xml,
            "<testcase classname=\"{class}\" name=\"{name}\" time=\"{time:.3}\">"
        )
        .expect("a string takes every text");
        xml.push_str(&outcome(&run.verdict));
        xml.push_str("</testcase>\n");
    }
    xml.push_str("</testsuite>\n");
    xml
}

fn outcome(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed => String::new(),
        Verdict::Skipped(why) => format!("<skipped message=\"{}\"/>", escaped(why)),
        Verdict::Failed(report) => {
            let first = escaped(report.lines().next().unwrap_or_default());
            let all = escaped(report);
            format!("<failure message=\"{first}\">{all}</failure>")
        }
    }
}
