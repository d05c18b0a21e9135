//! Many people come at once.

use serde_json::json;
use std::sync::Arc;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    Result,
    client::Session,
    machine::{Usage, allow_connections},
    people::{self, come_in},
    place::{Place, Where},
    report::Report,
    scenario::float,
    tally::{Tally, Times, moment, now},
};

/// People who connect, log in and attach to `me`, spread over some time.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many.
    #[arg(long, default_value_t = 300)]
    people: usize,
    /// Over how many seconds. 0 is all at once.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// They come in with the token that their client has kept, rather than with a password.
    #[arg(long)]
    tokens: bool,
}

impl Options {
    pub(crate) async fn run(&self, place: &Where) -> Result<Report> {
        let mut report = Report::new("login-storm");
        report.set("people", self.people);
        report.set("seconds", self.seconds);
        report.set("tokens", self.tokens);
        allow_connections(self.people)?;
        let domain = Arc::new(place.place().await?);
        let secrets = self.secrets(&domain).await?;
        let (times, tally) = (Arc::new(Times::default()), Tally::default());
        let (usage, begun) = (Usage::begin([domain.meter])?, Instant::now());
        let start = now() + 100_000;
        let mut coming = JoinSet::new();
        for (number, secret) in (0_u64..).zip(secrets) {
            let spread = u64::from(self.seconds) * 1_000_000;
            let due = start + spread * number / (self.people as u64).max(1);
            let (domain, times, scheme) = (Arc::clone(&domain), Arc::clone(&times), self.scheme());
            coming.spawn(async move {
                sleep_until(moment(due)).await;
                let mut person = come_in(&domain, None, scheme, &secret).await?;
                person
                    .session
                    .request("sub", json!({"topic": "me"}))
                    .await?;
                times.note(now() - due);
                Ok::<Session, String>(person.session)
            });
        }
        // Nobody leaves before the last has come.
        let mut here = Vec::new();
        while let Some(came) = coming.join_next().await {
            match came.map_err(|it| it.to_string())? {
                Ok(session) => here.push(session),
                Err(why) => tally.fail(kind(&why)),
            }
        }
        usage.end(float(here.len()), &mut report.figures)?;
        report.figures.insert("came", float(here.len()));
        report.figures.insert(
            "log_ins_per_s",
            float(here.len()) / begun.elapsed().as_secs_f64(),
        );
        report
            .times_ms
            .extend(times.spread().map(|it| ("connected_to_attached", it)));
        report.take(&tally);
        Ok(report)
    }

    fn scheme(&self) -> &'static str {
        if self.tokens { "token" } else { "basic" }
    }

    async fn secrets(&self, domain: &Place) -> Result<Vec<String>> {
        let one = |_| async {
            if self.tokens {
                return Ok(people::arrive(domain).await?.token);
            }
            Ok(people::register(domain).await?.secret())
        };
        people::many(self.people, one).await
    }
}

/// An answer is counted by its code, without what is different each time.
fn kind(why: &str) -> String {
    let code = why
        .split("\"code\":")
        .nth(1)
        .and_then(|it| it.split([',', '}']).next());
    code.map_or_else(|| why.to_owned(), |code| format!("{code} at log-in"))
}
