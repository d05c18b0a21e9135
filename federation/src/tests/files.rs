//! Files from domain to domain: what comes is what was asked for, and what lies is found out.

use std::time::Duration;

use freehold_proto::{limits::FILE_PART_BYTES_MAX, wire, wire::read_file_response::Part};

use super::{
    delivery::alpha_and_fake,
    fake::{End, Failing},
    stranger::Stranger,
    support::{House, Keys, config, pair},
};
use crate::{FileQuery, LinkError, LinkLost, PeerMisbehaved, RemoteFile, status};

const KEY: [u8; 16] = [7; 16];

fn query(offset: u64) -> FileQuery {
    FileQuery {
        key: KEY,
        sha256: Some([9; 32]),
        offset,
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..=250).cycle().take(count).collect()
}

async fn all_of(mut file: RemoteFile) -> Result<Vec<u8>, LinkError> {
    let mut all = Vec::new();
    while let Some(part) = file.next().await? {
        assert!(part.len() <= FILE_PART_BYTES_MAX);
        all.extend_from_slice(&part);
    }
    Ok(all)
}

#[tokio::test]
async fn a_file_comes_in_parts_from_where_one_has_got_to() {
    let (alpha, beta) = pair(config).await;
    let sent = bytes(3 * FILE_PART_BYTES_MAX + 5);
    alpha.local.files.lock().insert(KEY, sent.clone());
    for offset in [0, 1, FILE_PART_BYTES_MAX, sent.len()] {
        let query = query(offset as u64);
        let file = beta.federation.read_file(alpha.domain(), query).await;
        let file = file.unwrap().unwrap();
        assert_eq!(file.head().size, sent.len() as u64);
        assert_eq!(file.head().mime, "image/png");
        let expected = sent.get(offset..).unwrap();
        assert_eq!(all_of(file).await.unwrap(), expected);
        let asked = alpha.local.files_asked.lock().pop();
        assert_eq!(asked, Some((beta.domain().clone(), query)));
    }
    let none = FileQuery {
        key: [8; 16],
        ..query(0)
    };
    let file = beta.federation.read_file(alpha.domain(), none).await;
    assert!(file.unwrap().is_none());
    for house in [&alpha, &beta] {
        house.stops().await;
    }
}

#[tokio::test]
async fn files_that_nobody_takes_keep_no_other_call_waiting_and_are_few() {
    let (alpha, beta) = pair(config).await;
    alpha.local.files.lock().insert(KEY, bytes(4 << 20));
    let mut held = Vec::new();
    for _ in 0..crate::peer::FILES_IN_MAX {
        let file = beta.federation.read_file(alpha.domain(), query(0)).await;
        held.push(file.unwrap().unwrap());
    }
    // Their windows are full, and there is still room for a message and its verdict.
    beta.writes(alpha.domain(), [1]);
    super::support::eventually("the message at alpha", || alpha.local.taken() == [1]).await;
    super::support::eventually("the verdict at beta", || beta.outbox.is_empty()).await;
    let mut another = Box::pin(beta.federation.read_file(alpha.domain(), query(0)));
    let waits = tokio::time::timeout(Duration::from_millis(50), &mut another).await;
    assert!(waits.is_err(), "one more waits for its turn");
    assert_eq!(all_of(held.remove(0)).await.unwrap(), bytes(4 << 20));
    let file = another.await.unwrap().unwrap();
    assert_eq!(all_of(file).await.unwrap(), bytes(4 << 20));
}

#[tokio::test]
async fn a_peer_that_asks_for_too_much_at_once_is_refused_151() {
    let (alpha, beta) = pair(config).await;
    beta.local.files.lock().insert(KEY, bytes(4 << 20));
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let ask = |key: Vec<u8>, sha256: Vec<u8>| {
        let request = wire::ReadFileRequest {
            from: alpha.domain().to_string(),
            to: beta.domain().to_string(),
            key: key.into(),
            sha256: sha256.into(),
            offset: 0,
        };
        let mut client = stranger.calls.client.clone();
        async move { client.read_file(request).await }
    };
    let code = |status| status::read(&status).map(|it| it.code.number());
    let mut held = Vec::new();
    for _ in 0..crate::peer::FILES_OUT_MAX {
        held.push(ask(KEY.to_vec(), Vec::new()).await.unwrap());
    }
    let refused = ask(KEY.to_vec(), Vec::new()).await.unwrap_err();
    assert_eq!(code(refused), Some(151));
    drop(held);
    for (key, sha256) in [
        (vec![7; 15], vec![]),
        (vec![], vec![]),
        (vec![7; 16], vec![9]),
    ] {
        let refused = ask(key, sha256).await.unwrap_err();
        assert_eq!(code(refused), Some(100));
    }
}

#[tokio::test]
async fn a_domain_that_stops_while_it_gives_does_not_pass_a_part_for_the_whole() {
    let (alpha, beta) = pair(config).await;
    alpha.local.files.lock().insert(KEY, bytes(4 << 20));
    let file = beta.federation.read_file(alpha.domain(), query(0)).await;
    let file = file.unwrap().unwrap();
    alpha.stops().await;
    let file = all_of(file).await;
    assert!(matches!(file, Err(LinkError::Lost { .. })), "{file:?}");
}

fn head(size: u64) -> Part {
    Part::Head(wire::FileHead {
        size,
        sha256: vec![9; 32].into(),
        ..Default::default()
    })
}

fn chunk(size: usize) -> Part {
    Part::Chunk(bytes(size).into())
}

async fn misbehaves(parts: fn() -> Vec<Part>, offset: u64, why: &str) {
    let keys = Keys::new("beta.test");
    let (alpha, _) = alpha_and_fake(&keys, Failing::Files(parts, End::Ends)).await;
    let outcome = fetch(&alpha, &keys, offset).await;
    let found_out = matches!(
        &outcome,
        Err(LinkError::Misbehaved {
            what: PeerMisbehaved::BadAnswer(what),
            ..
        }) if *what == why
    );
    assert!(found_out, "{why}: {outcome:?}");
}

async fn fetch(alpha: &House, keys: &Keys, offset: u64) -> Result<Option<Vec<u8>>, LinkError> {
    let asked = alpha.federation.read_file(keys.domain(), query(offset));
    match asked.await? {
        Some(file) => all_of(file).await.map(Some),
        None => Ok(None),
    }
}

#[tokio::test]
async fn an_owner_that_lies_is_found_out() {
    let other = || {
        let sha256 = vec![8; 32].into();
        vec![Part::Head(wire::FileHead {
            sha256,
            ..Default::default()
        })]
    };
    misbehaves(other, 0, "it is another file").await;
    misbehaves(|| vec![chunk(1)], 0, "a file begins without its head").await;
    let short = "a file is shorter than what there is of it";
    misbehaves(|| vec![head(10)], 11, short).await;
    let early = "a file ends before its time";
    misbehaves(|| vec![head(10), chunk(9)], 0, early).await;
    misbehaves(|| vec![head(10)], 0, early).await;
    let long = "a file is longer than it said";
    misbehaves(|| vec![head(10), chunk(11)], 0, long).await;
    let twice = "a file has a second head";
    misbehaves(|| vec![head(10), head(10)], 0, twice).await;
    let odd = "a part of a file has no bytes, or too many";
    misbehaves(|| vec![head(10), chunk(0)], 0, odd).await;
    let huge = || vec![head(1 << 20), chunk(FILE_PART_BYTES_MAX + 1)];
    misbehaves(huge, 0, odd).await;
    let bad = || {
        let sha256 = vec![8; 31].into();
        vec![Part::Head(wire::FileHead {
            sha256,
            ..Default::default()
        })]
    };
    misbehaves(bad, 0, "a SHA-256 has 32 bytes").await;
}

#[tokio::test]
async fn of_a_stream_without_end_nothing_is_read_beyond_the_size_that_was_told() {
    let keys = Keys::new("beta.test");
    let endless = || {
        std::iter::once(head(10))
            .chain((0..1000).map(|_| chunk(10)))
            .collect()
    };
    let (alpha, _) = alpha_and_fake(&keys, Failing::Files(endless, End::Hangs)).await;
    assert_eq!(fetch(&alpha, &keys, 0).await.unwrap(), Some(bytes(10)));
}

#[tokio::test]
async fn an_owner_that_says_no_more_is_given_up() {
    let silent = async |parts: fn() -> Vec<Part>| {
        let keys = Keys::new("beta.test");
        let failing = Failing::Files(parts, End::Hangs);
        let (alpha, _) = alpha_and_fake(&keys, failing).await;
        fetch(&alpha, &keys, 0).await
    };
    let outcomes = tokio::join!(silent(|| vec![head(10), chunk(5)]), silent(Vec::new));
    for outcome in [outcomes.0, outcomes.1] {
        let timed_out = matches!(
            outcome,
            Err(LinkError::Lost {
                what: LinkLost::TimedOut(_),
                ..
            })
        );
        assert!(timed_out, "{outcome:?}");
    }
}
