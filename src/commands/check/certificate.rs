//! The certificate that clients are shown, if the server speaks TLS to them.

use std::time::Duration;

use freehold::edge::tls::{Pair, exposed};
use freehold_config::{Config, Public};
use freehold_proto::{Timestamp, web_url::WebHost};

use super::findings::{Finding, Findings};

/// A certificate that lives no longer should have been renewed: certbot does it 30 days before the end.
const RENEWED_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

pub(super) fn shown(config: &Config, now: Timestamp, findings: &mut Findings) {
    let Some(files) = &config.clients.tls else {
        return findings.note(
            "clients.tls_certificate is not set: clients need a web server in front that speaks https.",
        );
    };
    let pair = match Pair::read(files) {
        Ok(pair) => pair,
        Err(error) => return findings.wrong(format_args!("{error}.")),
    };
    let file = files.certificate.display();
    findings.right(format_args!(
        "The certificate {file} and its key can be read and fit."
    ));
    if let Some(mode) = exposed(files) {
        findings.wrong(format_args!(
            "Everybody on this machine may read the TLS key {} (permissions {mode:o}): chmod it to 600 or 640.",
            files.key.display()
        ));
    }
    if let Some(public) = &config.clients.public {
        findings.say(names(&pair, public));
    }
    findings.say(life(pair.ends(), now));
}

/// Is it for those who come by the URL that they are told?
fn names(pair: &Pair, Public { url, .. }: &Public) -> Finding {
    let host = match url.host() {
        WebHost::Name(name) => name.to_string(),
        WebHost::Address(address) => address.to_string(),
    };
    match pair.is_for(&host) {
        true => Finding::Right(format!(
            "The certificate is for {host} (clients.public_url)."
        )),
        false => Finding::Wrong(format!(
            "The certificate is not for {host} (clients.public_url): clients will not connect."
        )),
    }
}

fn life(end: Option<Timestamp>, now: Timestamp) -> Finding {
    match end {
        None => Finding::Note("When the certificate ends cannot be told.".to_owned()),
        Some(end) if end <= now => Finding::Wrong(format!(
            "The certificate has ended, at {end}: clients will not connect."
        )),
        Some(end) if end <= now.plus(RENEWED_BEFORE) => Finding::Note(format!(
            "The certificate ends soon, at {end}: has its renewal failed?"
        )),
        Some(end) => Finding::Right(format!("The certificate ends at {end}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_right_until_two_weeks_before_its_end() {
        let now = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        let life = |end: Timestamp| life(Some(end), now);
        assert!(matches!(life(now.plus(15 * day)), Finding::Right(_)));
        assert!(matches!(life(now.plus(14 * day)), Finding::Note(_)));
        assert!(matches!(life(now.plus(day)), Finding::Note(_)));
        assert!(matches!(life(now), Finding::Wrong(_)));
        assert!(matches!(life(now.minus(day)), Finding::Wrong(_)));
    }
}
