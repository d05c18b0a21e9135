//! Runs one fixed piece of work, for callgrind to count its instructions (`bench/instructions`).

use std::process::ExitCode;

use freehold::measured::{Chat, Crowd};
use freehold_inner::{Post, WORDS, publish_json};

/// How often each thing is done.
const TIMES: u32 = 1000;
/// Who hears a message.
const MEMBERS: u32 = 100;

fn main() -> ExitCode {
    let work = std::env::args().nth(1).unwrap_or_default();
    let done = match &*work {
        "publish" => publish(),
        "envelopes" => envelopes(),
        "fanout" => fanout(),
        _ => false,
    };
    match done {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Messages into one conversation: read, decided, told to both.
fn publish() -> bool {
    let mut chat = Chat::default();
    let topic = chat.name();
    (0..TIMES).all(|number| {
        let wanted = chat.read(publish_json(&topic, number).as_bytes());
        let decided = wanted.and_then(|it| chat.decide(it));
        decided.and_then(|it| chat.tell(it)).is_some()
    })
}

/// Envelopes signed, sent as bytes, read and verified.
fn envelopes() -> bool {
    let post = Post::default();
    (0..TIMES).all(|number| {
        let bytes = Post::encode(post.seal(number.into()));
        Post::decode(bytes).is_some_and(|it| post.opens(it))
    })
}

/// Messages to everybody in a group, a tenth of whom speak protobuf.
fn fanout() -> bool {
    let mut crowd = Crowd::of(MEMBERS, |number| number % 10 == 9);
    (1..=TIMES).all(|seq| {
        crowd.show(seq, WORDS);
        crowd.take().0 == MEMBERS as usize
    })
}
