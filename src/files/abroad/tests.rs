//! Files of another domain, from an owner that does what a scene wants: gives, lies, breaks off.

use std::{collections::VecDeque, fs};

use freehold_federation::{LinkLost, PeerMisbehaved};
use freehold_proto::{AccessMode, ManualClock, Timestamp};
use freehold_store::{
    Batch, MemoryEngine, Outcome, TopicKey,
    tables::{
        deletions,
        files::{CopyKey, Referrer, Stock},
        rows::{DeletionRow, SpanRow, SubscriptionRow},
        topics::put_subscription,
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::files::{
    Attached, Held, collect,
    tests::{open, person},
};

const SOON: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// One answer of the owner.
struct Play {
    head: FileHead,
    parts: VecDeque<Part>,
}

enum Part {
    Bytes(Bytes),
    /// Goes on when told to.
    Waits(Arc<Notify>),
    Breaks,
}

/// The domain `b.test` as a scene wants it.
#[derive(Default)]
struct Owner {
    asked: Mutex<Vec<FileQuery>>,
    /// What it answers, one after the other; nothing any more when they are used up.
    plays: Mutex<VecDeque<Option<Play>>>,
}

fn lost() -> LinkError {
    LinkError::Lost {
        peer: "b.test".parse().unwrap(),
        what: LinkLost::Broken("a test wants it".to_owned()),
    }
}

#[async_trait]
impl Source for Owner {
    async fn bring(
        &self,
        owner: &DomainName,
        query: FileQuery,
    ) -> Result<Option<Box<dyn Coming>>, LinkError> {
        assert_eq!(owner.as_str(), "b.test");
        self.asked.lock().push(query);
        let play = self.plays.lock().pop_front();
        let play = play.ok_or_else(lost)?;
        Ok(play.map(|it| Box::new(it) as Box<dyn Coming>))
    }
}

#[async_trait]
impl Coming for Play {
    fn head(&self) -> &FileHead {
        &self.head
    }

    async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        loop {
            match self.parts.pop_front() {
                Some(Part::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Part::Waits(until)) => until.notified().await,
                Some(Part::Breaks) => return Err(lost()),
                None => return Ok(None),
            }
        }
    }
}

impl Owner {
    fn plays(&self, head: FileHead, parts: impl IntoIterator<Item = Part>) {
        let parts = parts.into_iter().collect();
        self.plays.lock().push_back(Some(Play { head, parts }));
    }

    fn gives(&self, bytes: &[u8]) {
        self.plays(head(bytes), [Part::Bytes(Bytes::copy_from_slice(bytes))]);
    }

    /// Gives most of a file, and the rest when told to.
    fn gives_slowly(&self, head: FileHead, bytes: &[u8]) -> Arc<Notify> {
        let goes_on = Arc::new(Notify::new());
        let (most, rest) = bytes.split_at(550);
        let parts = [
            Part::Bytes(Bytes::copy_from_slice(most)),
            Part::Waits(Arc::clone(&goes_on)),
            Part::Bytes(Bytes::copy_from_slice(rest)),
        ];
        self.plays(head, parts);
        goes_on
    }

    fn times_asked(&self) -> usize {
        self.asked.lock().len()
    }
}

fn head(bytes: &[u8]) -> FileHead {
    FileHead {
        size: bytes.len() as u64,
        sha256: Sha256::digest(bytes).into(),
        mime: "text/plain".to_owned(),
        name: "../../etc/passwd".to_owned(),
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|it| (it % 251) as u8).collect()
}

/// Files, of which messages of one topic speak. Person 1 is in it.
struct Scene {
    files: Arc<Files>,
    engine: Arc<MemoryEngine>,
    clock: Arc<ManualClock>,
    owner: Arc<Owner>,
    folder: TempDir,
}

fn topic() -> TopicKey {
    TopicKey::saved(&person(1))
}

fn key(number: u8) -> FileKey {
    FileKey::from_bytes([number; 16])
}

fn said_of(number: u8, bytes: &[u8]) -> Attached {
    Attached {
        owner: "b.test".parse().unwrap(),
        key: key(number),
        size: bytes.len() as u64,
        sha256: Sha256::digest(bytes).into(),
    }
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Arc::new(MemoryEngine::new());
        let start = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let scene = Self {
            files: open(folder.path(), &engine, &clock).await,
            engine,
            clock,
            owner: Arc::default(),
            folder,
        };
        scene.stands(1, AccessMode::ALL, 0).await;
        scene
    }

    async fn restart(&mut self) {
        assert_eq!(self.files.tasks.drain(SOON).await, 0);
        freehold_store::Engine::close(&*self.engine).ok();
        self.engine = Arc::new(self.engine.reopen().unwrap());
        self.files = open(self.folder.path(), &self.engine, &self.clock).await;
        self.files.sweep_copies().await;
    }

    async fn write(&self, batch: Batch) {
        let outcome = self.files.tables.commit(batch).await.unwrap();
        assert_eq!(outcome, Outcome::Applied);
    }

    /// How somebody stands in the topic.
    async fn stands(&self, user: u8, mode: AccessMode, deleted: i64) {
        let mut batch = Batch::new();
        let row = SubscriptionRow {
            want: mode.to_string(),
            given: AccessMode::ALL.to_string(),
            deleted,
            ..Default::default()
        };
        put_subscription(&mut batch, &person(user), topic(), &row);
        self.write(batch).await;
    }

    /// A message of the topic, signed by a domain, speaks of a file.
    async fn speaks(&self, seq: u32, by: &str, said: Attached) {
        let by = by.parse().unwrap();
        let held: Held = self.files.hold_attached(&[said], &by).await.unwrap();
        let mut batch = Batch::new();
        held.refer(&mut batch, &Referrer::Message(topic(), seq), true);
        self.write(batch).await;
    }

    async fn speaks_of(&self, number: u8, bytes: &[u8]) {
        self.speaks(number.into(), "b.test", said_of(number, bytes))
            .await;
    }

    async fn finds(&self, number: u8) -> Result<Option<Copied>, FileError> {
        self.is_found_by(1, number, SOON).await
    }

    async fn is_found_by(
        &self,
        user: u8,
        number: u8,
        within: Duration,
    ) -> Result<Option<Copied>, FileError> {
        let address = FileAddress {
            domain: "b.test".parse().unwrap(),
            key: key(number),
            extension: "bin".to_owned(),
        };
        let owner = Arc::clone(&self.owner) as Arc<dyn Source>;
        let person = person(user);
        self.files
            .find_abroad(owner, &person, &address, within)
            .await
    }

    /// All bytes of a file.
    async fn reads(&self, number: u8) -> Vec<u8> {
        let copied = self.finds(number).await.unwrap().unwrap();
        let size = copied.row().size;
        all(copied, 0..size).await.unwrap()
    }

    /// Names in the folder of copies.
    fn kept(&self) -> usize {
        let folder = self.folder.path().join("files_of_others");
        fs::read_dir(folder).unwrap().count()
    }

    /// Waits until nothing is on its way any more.
    async fn settles(&self) {
        let deadline = Instant::now() + SOON;
        while !self.files.abroad.flights.lock().is_empty() {
            assert!(Instant::now() < deadline, "files are still on their way");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn usage(&self) -> (u64, u64) {
        let read = |tables: &freehold_store::Tables| tables.usage(&Stock::Copies);
        let row = self.files.tables.read(read).await.unwrap();
        (row.files, row.bytes)
    }
}

async fn all(copied: Copied, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let stream = copied.read(range).await.unwrap();
    let parts: Vec<Bytes> = stream.try_collect().await?;
    Ok(parts.concat())
}

#[tokio::test]
async fn a_file_comes_once_for_all_who_ask_and_then_there_is_a_copy() {
    let mut scene = Scene::new().await;
    let sent = bytes(700);
    scene.speaks_of(1, &sent).await;
    let goes_on = scene.owner.gives_slowly(head(&sent), &sent);
    let first = scene.finds(1).await.unwrap().unwrap();
    let second = scene.finds(1).await.unwrap().unwrap();
    let part = scene.finds(1).await.unwrap().unwrap();
    // What has come is handed on at once.
    let mut stream = first.read(0..700).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), sent[..550]);
    goes_on.notify_one();
    let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(rest.concat(), sent[550..]);
    assert_eq!(all(second, 0..700).await.unwrap(), sent);
    assert_eq!(all(part, 5..10).await.unwrap(), sent[5..10]);
    scene.settles().await;
    scene.restart().await;
    assert_eq!(scene.reads(1).await, sent);
    assert_eq!(scene.owner.times_asked(), 1);
    assert_eq!(scene.usage().await, (1, 700));
    let asked = scene.owner.asked.lock()[0];
    assert_eq!(asked.sha256, Some(head(&sent).sha256));
}

#[tokio::test]
async fn what_a_file_is_is_seen_in_its_bytes_and_its_name_is_one_line() {
    let scene = Scene::new().await;
    let page = b"<!DOCTYPE html><script>";
    scene.speaks_of(1, page).await;
    let lie = FileHead {
        mime: "image/png".to_owned(),
        ..head(page)
    };
    scene
        .owner
        .plays(lie, [Part::Bytes(Bytes::from_static(page))]);
    let copied = scene.finds(1).await.unwrap().unwrap();
    assert_eq!(copied.row().mime, "text/html");
    assert_eq!(copied.row().name, "passwd");
    scene.speaks_of(2, b"").await;
    scene.owner.gives(b"");
    let empty = scene.finds(2).await.unwrap().unwrap();
    assert_eq!(empty.row().size, 0);
}

#[tokio::test]
async fn nobody_is_asked_for_a_file_that_the_asker_has_no_business_with() {
    let scene = Scene::new().await;
    let sent = bytes(10);
    let nothing = async |user, number| {
        let found = scene.is_found_by(user, number, SOON).await.unwrap();
        assert!(found.is_none(), "{user} {number}");
    };
    nothing(1, 1).await;
    scene.speaks_of(1, &sent).await;
    nothing(1, 2).await;
    nothing(2, 1).await;
    // Whoever left, may not read, or deleted the message.
    scene.stands(2, AccessMode::ALL, 7).await;
    nothing(2, 1).await;
    let writes = "JW".parse().unwrap();
    scene.stands(2, writes, 0).await;
    nothing(2, 1).await;
    scene.stands(2, AccessMode::ALL, 0).await;
    let hide = |tables: &freehold_store::Tables| {
        let mut batch = Batch::new();
        let row = DeletionRow {
            spans: vec![SpanRow { low: 1, high: 2 }],
            ..Default::default()
        };
        deletions::delete(tables, &mut batch, (topic(), Some(&person(2))), 1, row)?;
        Ok(batch)
    };
    scene
        .write(scene.files.tables.read(hide).await.unwrap())
        .await;
    nothing(2, 1).await;
    assert_eq!(scene.owner.times_asked(), 0);
    scene.owner.gives(&sent);
    assert_eq!(scene.reads(1).await, sent);
    // A copy is for nobody else either.
    nothing(2, 1).await;
}

#[tokio::test]
async fn a_picture_is_for_everybody_until_nothing_shows_it() {
    let scene = Scene::new().await;
    let ben = UserId::new([9; 8], "b.test".parse().unwrap());
    let shows = async |domain: &str, number: u8, from: &str| {
        let address = FileAddress {
            domain: domain.parse().unwrap(),
            key: key(number),
            extension: "png".to_owned(),
        };
        let card = format!("{{\"photo\": {{\"ref\": \"{address}\"}}}}");
        let from: DomainName = from.parse().unwrap();
        let shows = |it: &DomainName| *it == from;
        let referrer = Referrer::Account(ben.clone());
        let shown = scene.files.show(referrer, card.as_bytes(), shows).await;
        let (batch, _held) = shown.unwrap();
        scene.write(batch).await;
    };
    shows("b.test", 1, "c.test").await;
    assert!(scene.finds(1).await.unwrap().is_none(), "not theirs");
    shows("b.test", 1, "b.test").await;
    scene.owner.gives(&bytes(10));
    let copied = scene.is_found_by(7, 1, SOON).await.unwrap().unwrap();
    assert_eq!(all(copied, 0..10).await.unwrap(), bytes(10));
    assert_eq!(scene.owner.asked.lock()[0].sha256, None);
    scene.settles().await;
    shows("b.test", 2, "b.test").await;
    assert!(scene.finds(1).await.unwrap().is_none(), "it shows another");
    scene.clock.advance(HOUR);
    collect::round(&scene.files).await.unwrap();
    assert_eq!((scene.kept(), scene.usage().await), (0, (0, 0)));
}

/// What has another SHA-256, another size, or none of the bytes that were meant.
#[tokio::test]
async fn a_file_that_is_not_the_one_that_was_signed_is_broken_off_and_not_kept() {
    let scene = Scene::new().await;
    let (meant, other) = (bytes(600), vec![7; 600]);
    for number in 1..=3 {
        scene.speaks_of(number, &meant).await;
    }
    let goes_on = scene.owner.gives_slowly(head(&meant), &other);
    let copied = scene.finds(1).await.unwrap().unwrap();
    goes_on.notify_one();
    let read = all(copied, 0..600).await;
    assert!(matches!(read, Err(StorageError::Broken)), "{read:?}");
    let long = FileHead {
        size: 601,
        ..head(&meant)
    };
    scene.owner.plays(long, [Part::Bytes(bytes(601).into())]);
    assert!(matches!(scene.finds(2).await, Err(FileError::Away)));
    let goes_on = scene.owner.gives_slowly(head(&meant), &bytes(10_000));
    let copied = scene.finds(3).await.unwrap().unwrap();
    goes_on.notify_one();
    assert!(all(copied, 0..600).await.is_err());
    scene.settles().await;
    assert_eq!((scene.kept(), scene.usage().await), (0, (0, 0)));
    // The owner is not asked for them again at once.
    for number in 1..=3 {
        assert!(matches!(scene.finds(number).await, Err(FileError::Away)));
    }
    assert_eq!(scene.owner.times_asked(), 3);
}

#[tokio::test]
async fn a_part_before_the_end_is_given_only_when_the_whole_is_right() {
    let scene = Scene::new().await;
    let meant = bytes(900);
    scene.speaks_of(1, &meant).await;
    let goes_on = scene.owner.gives_slowly(head(&meant), &[7; 900]);
    let copied = scene.finds(1).await.unwrap().unwrap();
    goes_on.notify_one();
    assert!(matches!(copied.read(0..10).await, Err(FileError::Away)));
}

#[tokio::test]
async fn what_the_owner_does_not_have_is_not_there_and_not_asked_for_again_at_once() {
    let scene = Scene::new().await;
    scene.speaks_of(1, &bytes(10)).await;
    scene.owner.plays.lock().push_back(None);
    for _ in 0..2 {
        assert!(scene.finds(1).await.unwrap().is_none());
        scene.settles().await;
    }
    assert_eq!(scene.owner.times_asked(), 1);
}

#[tokio::test]
async fn who_lies_about_a_file_does_not_keep_others_from_it() {
    let scene = Scene::new().await;
    let sent = bytes(20);
    let lie = Attached {
        sha256: [0; 32],
        ..said_of(1, &sent)
    };
    scene.speaks(1, "c.test", lie).await;
    scene.owner.plays.lock().push_back(None);
    assert!(scene.finds(1).await.unwrap().is_none());
    scene.settles().await;
    // Another stranger, whose word counts because that of the first was in vain.
    scene.speaks(2, "d.test", said_of(1, &sent)).await;
    scene.owner.gives(&sent);
    assert_eq!(scene.reads(1).await, sent);
    // What the owner says itself counts most.
    scene.speaks(3, "c.test", said_of(2, b"lie")).await;
    scene.speaks(4, "b.test", said_of(2, &sent)).await;
    scene.speaks(5, "d.test", said_of(2, b"another")).await;
    scene.owner.gives(&sent);
    assert_eq!(scene.reads(2).await, sent);
}

#[tokio::test]
async fn a_file_whose_link_breaks_goes_on_where_it_was() {
    let scene = Scene::new().await;
    let sent = bytes(900);
    scene.speaks_of(1, &sent).await;
    let part = |range: Range<usize>| Part::Bytes(Bytes::copy_from_slice(&sent[range]));
    scene.owner.plays(head(&sent), [part(0..600), Part::Breaks]);
    scene.owner.plays(head(&sent), [part(600..900)]);
    assert_eq!(scene.reads(1).await, sent);
    let offsets: Vec<_> = scene
        .owner
        .asked
        .lock()
        .iter()
        .map(|it| it.offset)
        .collect();
    assert_eq!(offsets, [0, 600]);
}

#[tokio::test]
async fn a_person_waits_for_the_first_bytes_only_so_long_and_the_file_comes_all_the_same() {
    let scene = Scene::new().await;
    let sent = bytes(600);
    scene.speaks_of(1, &sent).await;
    let goes_on = Arc::new(Notify::new());
    let parts = [
        Part::Waits(Arc::clone(&goes_on)),
        Part::Bytes(sent.clone().into()),
    ];
    scene.owner.plays(head(&sent), parts);
    let early = scene.is_found_by(1, 1, Duration::from_millis(20)).await;
    assert!(matches!(early, Err(FileError::Away)));
    goes_on.notify_one();
    scene.settles().await;
    assert_eq!(scene.reads(1).await, sent);
    assert_eq!(scene.owner.times_asked(), 1);
}

#[tokio::test]
async fn copies_make_room_for_newer_ones_and_none_is_larger_than_all_may_be() {
    let scene = Scene::new().await;
    let files: Vec<_> = (1..=3_u8).map(|it| vec![it; 400]).collect();
    for (number, sent) in (1..).zip(&files) {
        scene.speaks_of(number, sent).await;
        scene.owner.gives(sent);
    }
    assert_eq!(scene.reads(1).await, files[0]);
    scene.clock.advance(2 * HOUR);
    assert_eq!(scene.reads(2).await, files[1]);
    scene.settles().await;
    // The older one is used again, so the other makes room.
    scene.clock.advance(2 * HOUR);
    assert_eq!(scene.reads(1).await, files[0]);
    assert_eq!(scene.reads(3).await, files[2]);
    scene.settles().await;
    assert_eq!((scene.kept(), scene.usage().await), (2, (2, 800)));
    assert_eq!(scene.owner.times_asked(), 3);
    scene.owner.gives(&files[1]);
    assert_eq!(scene.reads(2).await, files[1]);
    assert_eq!(scene.owner.times_asked(), 4);
    scene.speaks_of(4, &bytes(1001)).await;
    let large = scene.finds(4).await;
    assert!(matches!(large, Err(FileError::TooLarge { limit: 1000 })));
    assert_eq!(scene.owner.times_asked(), 4, "nobody was asked");
}

#[tokio::test]
async fn files_on_their_way_are_promised_their_room() {
    let scene = Scene::new().await;
    let sent = bytes(600);
    scene.speaks_of(1, &sent).await;
    scene.speaks_of(2, &sent).await;
    let goes_on = scene.owner.gives_slowly(head(&sent), &sent);
    scene.owner.gives(&sent);
    let first = scene.finds(1).await.unwrap().unwrap();
    assert!(matches!(scene.finds(2).await, Err(FileError::Busy)));
    goes_on.notify_one();
    assert_eq!(all(first, 0..600).await.unwrap(), sent);
    scene.settles().await;
    scene.owner.gives(&sent);
    assert_eq!(scene.reads(2).await, sent);
}

#[tokio::test]
async fn a_copy_that_nobody_asks_for_goes_in_time() {
    let scene = Scene::new().await;
    let day = 24 * HOUR;
    for number in 1..=2 {
        scene.speaks_of(number, &bytes(number.into())).await;
        scene.owner.gives(&bytes(number.into()));
        scene.reads(number).await;
    }
    scene.settles().await;
    scene.clock.advance(day / 2);
    scene.reads(2).await;
    scene.settles().await;
    scene.clock.advance(day / 2);
    scene.files.expire_copies().await;
    assert_eq!((scene.kept(), scene.usage().await), (1, (1, 2)));
    scene.owner.gives(&bytes(1));
    assert_eq!(scene.reads(1).await, bytes(1));
    assert_eq!(scene.owner.times_asked(), 3);
}

#[tokio::test]
async fn what_a_crash_leaves_of_copies_is_cleared_away_and_lost_bytes_are_brought_again() {
    let mut scene = Scene::new().await;
    let sent = bytes(300);
    scene.speaks_of(1, &sent).await;
    scene.owner.gives(&sent);
    scene.reads(1).await;
    scene.settles().await;
    let folder = scene.folder.path().join("files_of_others");
    let kept = fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let unknown = CopyKey::from_bytes([7; 32]);
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let unknown = URL_SAFE_NO_PAD.encode(unknown.as_bytes());
    fs::write(folder.join(&unknown), b"without a row").unwrap();
    fs::write(folder.join(unknown + ".part"), b"half").unwrap();
    scene.restart().await;
    assert_eq!(scene.kept(), 1);
    fs::remove_file(kept).unwrap();
    scene.owner.gives(&sent);
    assert_eq!(scene.reads(1).await, sent);
    scene.settles().await;
    assert_eq!(scene.usage().await, (1, 300));
}

#[tokio::test]
async fn an_owner_that_breaks_the_protocol_is_not_asked_again_and_one_that_is_away_is() {
    struct Odd(PeerMisbehaved);
    #[async_trait]
    impl Source for Odd {
        async fn bring(
            &self,
            owner: &DomainName,
            _: FileQuery,
        ) -> Result<Option<Box<dyn Coming>>, LinkError> {
            let what = self.0.clone();
            let peer = owner.clone();
            Err(LinkError::Misbehaved { peer, what })
        }
    }
    let scene = Scene::new().await;
    scene.speaks_of(1, &bytes(9)).await;
    assert!(matches!(scene.finds(1).await, Err(FileError::Away)));
    scene.settles().await;
    scene.owner.gives(&bytes(9));
    assert_eq!(scene.reads(1).await, bytes(9));
    scene.speaks_of(2, &bytes(9)).await;
    let odd = Arc::new(Odd(PeerMisbehaved::BadAnswer("a test wants it")));
    let address = FileAddress {
        domain: "b.test".parse().unwrap(),
        key: key(2),
        extension: "bin".to_owned(),
    };
    let found = scene
        .files
        .find_abroad(odd, &person(1), &address, SOON)
        .await;
    assert!(matches!(found, Err(FileError::Away)));
    scene.settles().await;
    let before = scene.owner.times_asked();
    assert!(matches!(scene.finds(2).await, Err(FileError::Away)));
    assert_eq!(scene.owner.times_asked(), before);
}
