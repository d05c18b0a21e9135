//! Whether the node that is to relay pushes does.

use std::sync::Arc;

use freehold::{clock::SystemClock, push::Offer};
use freehold_config::{Config, PushContent};
use freehold_directory::{Directory, MemoryPins};

use super::findings::{Finding, Findings};

pub(super) async fn relay(config: &Config, findings: &mut Findings) {
    let Some(push) = &config.push else {
        return;
    };
    let pins = Arc::new(MemoryPins::default());
    let directory = Directory::new(config.directory.clone(), pins, Arc::new(SystemClock));
    let directory = match directory {
        Ok(directory) => directory,
        Err(error) => return findings.wrong(format_args!("{error}.")),
    };
    let node = push.node.authority();
    findings.say(match Offer::of(&push.node, &directory).await {
        Ok(offer) => Finding::Right(judge(&node, &offer, push.content)),
        Err(error) => Finding::Wrong(format!(
            "The node {node} (push.node) relays nothing for this domain: {error}."
        )),
    });
}

fn judge(node: &str, offer: &Offer, content: PushContent) -> String {
    let kinds = offer.kinds.iter().map(|it| match it.as_str() {
        "web" => "browsers and UnifiedPush",
        "fcm" => "Google",
        "apns" => "Apple",
        other => other,
    });
    let kinds: Vec<_> = kinds.collect();
    let read = match content {
        PushContent::None => "no word of a message",
        PushContent::Preview => "who wrote, and how a message begins",
    };
    format!(
        "The node {node} relays pushes (for {}); of those to devices without keys of their own, those who carry \
         them can read {read}.",
        kinds.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_relayed_and_who_can_read_what_is_said_in_one_sentence() {
        let offer = Offer {
            node: "node.test".to_owned(),
            kinds: vec!["web".to_owned(), "fcm".to_owned()],
            vapid: None,
        };
        let told = judge("node.test", &offer, PushContent::None);
        let expected = "The node node.test relays pushes (for browsers and UnifiedPush, Google); of those to \
                        devices without keys of their own, those who carry them can read no word of a message.";
        assert_eq!(told, expected);
        let told = judge("node.test", &offer, PushContent::Preview);
        assert!(
            told.contains("who wrote, and how a message begins"),
            "{told}"
        );
    }
}
