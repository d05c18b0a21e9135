//! The life of files: in, referred to, released, collected; and what crashes leave.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use freehold_config::FilePlace;
use freehold_proto::{ManualClock, Timestamp};
use freehold_store::{Batch, MemoryEngine, Outcome, TopicKey, tables::files::Stock};
use futures_util::TryStreamExt as _;
use tempfile::TempDir;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Files without a server around them.
struct Scene {
    files: Arc<Files>,
    engine: Arc<MemoryEngine>,
    clock: Arc<ManualClock>,
    folder: TempDir,
}

pub(super) fn person(number: u8) -> UserId {
    UserId::new([number; 8], "a.test".parse().unwrap())
}

pub(super) fn message(seq: u32) -> Referrer {
    Referrer::Message(TopicKey::one_to_one(&person(1), &person(2)), seq)
}

pub(super) async fn open(
    folder: &Path,
    engine: &Arc<MemoryEngine>,
    clock: &Arc<ManualClock>,
) -> Arc<Files> {
    let config = config::Files {
        place: FilePlace::Folder(folder.join("files")),
        file_bytes_max: 1000,
        person_bytes_max: 2500,
        total_bytes_max: 4000,
        free_bytes_min: 0,
        collect_every: Duration::from_millis(5),
        copies: config::Copies {
            folder: folder.join("files_of_others"),
            bytes_max: 1000,
            keep: Duration::from_secs(24 * 60 * 60),
        },
    };
    let engine = Arc::clone(engine) as Arc<dyn freehold_store::Engine>;
    let tables = tokio::task::spawn_blocking(|| Tables::open(engine));
    let tables = tables.await.unwrap().unwrap();
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let us = "a.test".parse().unwrap();
    let opening = Files::open(us, tables, clock, Tasks::default(), &config);
    opening.await.unwrap()
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Arc::new(MemoryEngine::new());
        let start = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let clock = Arc::new(ManualClock::new(start));
        Self {
            files: open(folder.path(), &engine, &clock).await,
            engine,
            clock,
            folder,
        }
    }

    /// A new process on what is there.
    async fn restart(&mut self) {
        assert_eq!(self.files.tasks.drain(MINUTE).await, 0);
        freehold_store::Engine::close(&*self.engine).ok();
        self.engine = Arc::new(self.engine.reopen().unwrap());
        self.files = open(self.folder.path(), &self.engine, &self.clock).await;
    }

    async fn incoming(&self, owner: Option<&UserId>, size: usize) -> Result<Incoming, FileError> {
        let mut incoming = self.files.admit(owner.cloned()).await?.begin(u64::MAX)?;
        incoming.write(&Bytes::from(vec![b'x'; size])).await?;
        Ok(incoming)
    }

    async fn upload(&self, owner: Option<&UserId>, size: usize) -> Result<Stored, FileError> {
        let incoming = self.incoming(owner, size).await?;
        incoming.finish(owner.cloned(), Declared::default()).await
    }

    /// The URL of a new file of somebody.
    async fn url(&self) -> String {
        self.upload(Some(&person(1)), 10)
            .await
            .unwrap()
            .address
            .to_string()
    }

    async fn commit(&self, batch: Batch) {
        let outcome = self.files.tables.commit(batch).await.unwrap();
        assert_eq!(outcome, Outcome::Applied);
    }

    async fn refer(&self, urls: &[String], referrer: &Referrer) {
        let held = self.files.hold(urls, &person(1)).await.unwrap();
        let mut batch = Batch::new();
        held.refer(&mut batch, referrer, false);
        self.commit(batch).await;
    }

    async fn release(&self, referrer: &Referrer) {
        let mut batch = Batch::new();
        let now = self.clock.now();
        release(&self.files.tables, &mut batch, referrer, now).unwrap();
        self.commit(batch).await;
    }

    /// Time passes, and the collector has been round.
    async fn later(&self, by: Duration) {
        self.clock.advance(by);
        collect::round(&self.files).await.unwrap();
    }

    /// Whether the file is there, row and bytes; one without the other is a failure.
    async fn has(&self, url: &str) -> bool {
        let address: FileAddress = url.parse().unwrap();
        let row = self.files.find(&address).await.unwrap();
        let bytes = self.files.read(address.key, 0..1).await;
        assert_eq!(row.is_some(), bytes.is_ok(), "{url}: {row:?}");
        row.is_some()
    }

    async fn objects(&self) -> usize {
        let all: Vec<FileKey> = self.files.storage.list().try_collect().await.unwrap();
        all.len()
    }

    fn usage(&self, stock: &Stock) -> (u64, u64) {
        let usage = self.files.tables.usage(stock).unwrap();
        (usage.files, usage.bytes)
    }
}

#[tokio::test]
async fn a_file_that_nothing_refers_to_goes_after_an_hour_and_no_sooner() {
    let scene = Scene::new().await;
    let url = scene.url().await;
    assert_eq!(scene.usage(&Stock::Person(person(1))), (1, 10));
    scene.later(KEPT - MINUTE).await;
    assert!(scene.has(&url).await);
    scene.later(2 * MINUTE).await;
    assert!(!scene.has(&url).await);
    assert_eq!(scene.objects().await, 0);
    for stock in [Stock::Domain, Stock::Person(person(1))] {
        assert_eq!(scene.usage(&stock), (0, 0));
    }
}

#[tokio::test]
async fn a_file_stays_while_anything_refers_to_it_and_an_hour_longer() {
    let scene = Scene::new().await;
    let (url, other) = (scene.url().await, scene.url().await);
    let both = [url.clone(), other.clone()];
    scene.refer(&both, &message(1)).await;
    scene.refer(&both[..1], &message(2)).await;
    scene.refer(&both[..1], &Referrer::Account(person(1))).await;
    scene.later(100 * KEPT).await;
    assert!(scene.has(&url).await && scene.has(&other).await);

    scene.release(&message(1)).await;
    scene.later(KEPT + MINUTE).await;
    assert!(scene.has(&url).await && !scene.has(&other).await);

    scene.release(&message(2)).await;
    scene.later(KEPT / 2).await;
    scene.release(&Referrer::Account(person(1))).await;
    // The look that the first release planned comes too early for the last one.
    scene.later(KEPT / 2 + MINUTE).await;
    assert!(scene.has(&url).await);
    scene.later(KEPT / 2).await;
    assert!(!scene.has(&url).await);
}

#[tokio::test]
async fn a_new_description_lets_go_of_the_old_picture_only() {
    let scene = Scene::new().await;
    let (old, new, kept) = (scene.url().await, scene.url().await, scene.url().await);
    let me = Referrer::Account(person(1));
    scene.refer(&[old.clone(), kept.clone()], &me).await;
    let held = scene
        .files
        .hold(&[new.clone(), kept.clone()], &person(1))
        .await
        .unwrap();
    let mut batch = Batch::new();
    let now = scene.clock.now();
    replace(&scene.files.tables, &mut batch, &me, &held, now).unwrap();
    scene.commit(batch).await;
    drop(held);
    scene.later(KEPT + MINUTE).await;
    assert!(!scene.has(&old).await);
    assert!(scene.has(&new).await && scene.has(&kept).await);
}

#[tokio::test]
async fn what_is_held_is_not_collected_and_what_is_condemned_cannot_be_held() {
    let scene = Scene::new().await;
    let url = scene.url().await;
    let urls = [url.clone()];
    let held = scene.files.hold(&urls, &person(1)).await.unwrap();
    scene.later(KEPT + MINUTE).await;
    assert!(scene.has(&url).await);
    drop(held);
    // It was given up without a reference: looked at again an hour later.
    scene.later(MINUTE).await;
    assert!(scene.has(&url).await);

    let key = url.parse::<FileAddress>().unwrap().key;
    assert!(scene.files.condemn(key));
    assert!(
        scene
            .files
            .hold(&urls, &person(1))
            .await
            .unwrap()
            .is_empty()
    );
    scene.files.pardon(key);
    assert!(
        !scene
            .files
            .hold(&urls, &person(1))
            .await
            .unwrap()
            .is_empty()
    );
    scene.later(KEPT + MINUTE).await;
    assert!(!scene.has(&url).await);
}

#[tokio::test]
async fn publishing_and_collecting_at_once_never_lose_a_file_that_is_referred_to() {
    let scene = Scene::new().await;
    for seq in 0..100 {
        let url = scene.url().await;
        let urls = [url.clone()];
        scene.clock.advance(KEPT + MINUTE);
        let attach = async {
            let held = scene.files.hold(&urls, &person(1)).await.unwrap();
            // Anywhere between holding and committing.
            tokio::time::sleep(Duration::from_micros(u64::from(seq) * 20)).await;
            let mut batch = Batch::new();
            held.refer(&mut batch, &message(seq), false);
            scene.commit(batch).await;
            !held.is_empty()
        };
        let (attached, _) = tokio::join!(attach, collect::round(&scene.files));
        assert_eq!(scene.has(&url).await, attached);
        scene.release(&message(seq)).await;
    }
}

#[tokio::test]
async fn urls_that_are_not_of_our_files_are_passed_over_and_too_many_refused() {
    let scene = Scene::new().await;
    let url = scene.url().await;
    let ours = url.trim_start_matches("/v0/file/s/a.test/");
    let odd = [
        "",
        "https://elsewhere.example/x.png",
        "/v0/file/s/../../etc/passwd",
        "/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAA.jpg",
        &format!("/v0/file/s/b.test/{ours}"),
        &format!("https://a.test{url}"),
    ];
    let odd = odd.map(str::to_owned);
    assert!(scene.files.hold(&odd, &person(1)).await.unwrap().is_empty());
    let with_query = [format!("{url}?apikey=x")];
    let held = scene.files.hold(&with_query, &person(1)).await.unwrap();
    let said = held.attachments(&"a.test".parse().unwrap());
    assert_eq!((said[0].size, said[0].sha256.len()), (10, 32));
    drop(held);
    let many = (0..=HELD_MAX as u128).map(|number| {
        let address = FileAddress {
            domain: "a.test".parse().unwrap(),
            key: FileKey::from_bytes(number.to_be_bytes()),
            extension: "bin".to_owned(),
        };
        address.to_string()
    });
    let many: Vec<String> = many.collect();
    let refused = scene.files.hold(&many, &person(1)).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    assert!(scene.files.pins.lock().is_empty());
}

#[tokio::test]
async fn other_domains_have_what_was_sealed_or_is_a_picture_and_nothing_else() {
    let scene = Scene::new().await;
    let [kept, sealed, picture] = [scene.url().await, scene.url().await, scene.url().await];
    let key = |url: &str| url.parse::<FileAddress>().unwrap().key;
    scene.refer(std::slice::from_ref(&kept), &message(1)).await;
    let (urls, me) = ([sealed.clone()], person(1));
    let held = scene.files.hold(&urls, &me).await.unwrap();
    let hash: [u8; 32] = (&*held.attachments(&"a.test".parse().unwrap())[0].sha256)
        .try_into()
        .unwrap();
    let mut batch = Batch::new();
    held.refer(&mut batch, &message(2), true);
    scene.commit(batch).await;
    let me = Referrer::Account(person(1));
    scene.refer(std::slice::from_ref(&picture), &me).await;
    let given = async |url: &str, hash| {
        let row = scene.files.shared(key(url), hash).await;
        row.unwrap().is_some()
    };
    assert!(given(&sealed, Some(hash)).await);
    assert!(!given(&sealed, None).await, "it is no picture");
    assert!(!given(&sealed, Some([0; 32])).await, "not knowing it");
    assert!(given(&picture, None).await);
    assert!(given(&picture, Some(hash)).await, "all have the same bytes");
    assert!(!given(&kept, Some(hash)).await, "it was sent to nobody");
    assert!(!given(&kept, None).await);
    // What was taken back is given no more, also before it is collected.
    let release = |tables: &Tables| {
        let mut batch = Batch::new();
        release(tables, &mut batch, &message(2), Timestamp::EPOCH)?;
        Ok(batch)
    };
    let batch = scene.files.tables.read(release).await.unwrap();
    scene.commit(batch).await;
    assert!(!given(&sealed, Some(hash)).await);
}

#[tokio::test]
async fn messages_are_released_in_batches_that_fit() {
    let scene = Scene::new().await;
    let topic = TopicKey::one_to_one(&person(1), &person(2));
    let mut batch = Batch::new();
    for seq in 1..=100_u32 {
        for number in 0..3_u128 {
            let key = FileKey::from_bytes((u128::from(seq) * 10 + number).to_be_bytes());
            freehold_store::tables::files::put_reference(
                &mut batch,
                &message(seq),
                key,
                &Default::default(),
            );
        }
    }
    scene.commit(batch).await;
    let tables = &scene.files.tables;
    let mut from = Some(10);
    let mut batches = 0;
    while let Some(low) = from {
        let mut batch = Batch::new();
        from = release_messages(tables, &mut batch, topic, (low, 95), scene.clock.now()).unwrap();
        scene.commit(batch).await;
        batches += 1;
    }
    assert_eq!(batches, 3);
    let left = tables.referring_messages(topic, 0, u32::MAX, 1000).unwrap();
    let expected: Vec<u32> = (1..10).chain(95..=100).collect();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn nobody_has_more_than_the_quota_and_all_together_not_more_than_theirs() {
    let scene = Scene::new().await;
    let (ann, amy) = (person(1), person(2));
    let too_large = scene.upload(Some(&ann), 1001).await;
    assert!(matches!(
        too_large,
        Err(FileError::TooLarge { limit: 1000 })
    ));
    scene.upload(Some(&ann), 1000).await.unwrap();
    scene.upload(Some(&ann), 1000).await.unwrap();
    let quota = scene.upload(Some(&ann), 501).await;
    assert!(matches!(quota, Err(FileError::Quota { limit: 2500 })));
    // What is on its way counts.
    let on_its_way = scene.incoming(Some(&ann), 400).await.unwrap();
    let quota = scene.upload(Some(&ann), 101).await;
    assert!(matches!(quota, Err(FileError::Quota { .. })));
    drop(on_its_way);
    scene.upload(Some(&ann), 101).await.unwrap();
    scene.upload(Some(&amy), 1000).await.unwrap();
    let full = scene.upload(Some(&amy), 900).await;
    assert!(matches!(full, Err(FileError::Full { limit: 4000 })));
    let full = scene.upload(None, 900).await;
    assert!(matches!(full, Err(FileError::Full { .. })));
    assert_eq!(scene.usage(&Stock::Domain), (4, 3101));
    assert_eq!(scene.objects().await, 4);
}

#[tokio::test]
async fn two_files_that_fit_alone_but_not_together_are_not_both_taken() {
    let scene = Scene::new().await;
    let ann = person(1);
    scene.upload(Some(&ann), 1000).await.unwrap();
    let mut both = Vec::new();
    for _ in 0..2 {
        both.push(scene.files.admit(Some(ann.clone())).await.unwrap());
    }
    let mut taken = 0;
    for seat in both {
        let mut incoming = seat.begin(u64::MAX).unwrap();
        if incoming.write(&Bytes::from(vec![0; 1000])).await.is_ok() {
            let finished = incoming
                .finish(Some(ann.clone()), Declared::default())
                .await;
            taken += u32::from(finished.is_ok());
        }
    }
    assert_eq!(taken, 1);
    assert_eq!(scene.usage(&Stock::Person(ann)), (2, 2000));
}

#[tokio::test]
async fn one_person_uploads_so_many_files_at_once_and_frees_the_seats() {
    let scene = Scene::new().await;
    let ann = Some(person(1));
    let mut seats = Vec::new();
    let refused = loop {
        match scene.files.admit(ann.clone()).await {
            Ok(seat) => seats.push(seat),
            Err(fault) => break fault,
        }
    };
    assert!(matches!(refused, FileError::Busy));
    assert_eq!(seats.len(), 8);
    assert!(scene.files.admit(Some(person(2))).await.is_ok());
    assert!(scene.files.admit(None).await.is_ok());
    drop(seats);
    assert!(scene.files.admit(ann).await.is_ok());
}

#[tokio::test]
async fn an_upload_that_the_store_refuses_leaves_no_bytes() {
    let scene = Scene::new().await;
    let incoming = scene.incoming(None, 10).await.unwrap();
    freehold_store::Engine::close(&*scene.engine).unwrap();
    let refused = incoming.finish(None, Declared::default()).await;
    assert!(matches!(refused, Err(FileError::Store(StoreError::Closed))));
    assert_eq!(scene.objects().await, 0);
}

#[tokio::test]
async fn a_crash_around_an_upload_leaves_row_and_bytes_or_neither() {
    for written in [false, true] {
        let mut scene = Scene::new().await;
        // A store that knows no file removes nothing.
        scene.url().await;
        let incoming = scene.incoming(None, 10).await.unwrap();
        if written {
            scene.engine.fail_next_commit_after_writing();
        } else {
            scene.engine.fail_next_commit();
        }
        let unknown = incoming.finish(None, Declared::default()).await;
        assert!(matches!(unknown, Err(FileError::Store(StoreError::Io(_)))));
        assert_eq!(scene.objects().await, 2);
        scene.restart().await;
        collect::sweep(&scene.files).await;
        let expected = 1 + usize::from(written);
        assert_eq!(scene.objects().await, expected);
        assert_eq!(scene.usage(&Stock::Domain).0, expected as u64);
    }
}

#[tokio::test]
async fn a_crash_between_a_files_row_and_its_bytes_is_cleared_away_at_the_start() {
    for written in [false, true] {
        let mut scene = Scene::new().await;
        let (kept, url) = (scene.url().await, scene.url().await);
        scene.refer(std::slice::from_ref(&kept), &message(1)).await;
        // The reference of one is seen first; the other one is forgotten by the last commit.
        scene.clock.advance(KEPT / 2);
        scene.release(&message(1)).await;
        scene.clock.advance(KEPT / 2 + MINUTE);
        let due = scene.files.tables.due_files(scene.clock.now(), 9).unwrap();
        assert_eq!(due.len(), 2);
        let key = url.parse::<FileAddress>().unwrap().key;
        let (when, _) = *due.iter().find(|(_, it)| *it == key).unwrap();
        if written {
            scene.engine.fail_next_commit_after_writing();
        } else {
            scene.engine.fail_next_commit();
        }
        let now = scene.clock.now();
        collect::look_at(&scene.files, when, key, now)
            .await
            .unwrap_err();
        scene.restart().await;
        collect::sweep(&scene.files).await;
        assert_eq!(scene.has(&url).await, !written);
        assert!(scene.has(&kept).await);
        scene.later(Duration::ZERO).await;
        assert!(!scene.has(&url).await);
    }
}

#[tokio::test]
async fn left_over_bytes_go_at_the_start_but_not_an_upload_under_way() {
    let mut scene = Scene::new().await;
    let url = scene.url().await;
    let mut left = scene.files.storage.write(FileKey::from_bytes([9; 16]));
    left.complete().await.unwrap();
    drop(left);
    scene.restart().await;
    let under_way = FileKey::from_bytes([8; 16]);
    let _pin = scene.files.pin(under_way);
    let mut writing = scene.files.storage.write(under_way);
    writing.complete().await.unwrap();
    assert_eq!(scene.objects().await, 3);
    collect::sweep(&scene.files).await;
    assert_eq!(scene.objects().await, 2);
    assert!(scene.has(&url).await);
}

#[tokio::test]
async fn a_store_that_knows_no_files_removes_none() {
    let mut scene = Scene::new().await;
    scene.url().await;
    scene.engine = Arc::new(MemoryEngine::new());
    scene.files = open(scene.folder.path(), &scene.engine, &scene.clock).await;
    collect::sweep(&scene.files).await;
    assert_eq!(scene.objects().await, 1);
}

#[tokio::test]
async fn the_collector_runs_by_itself_until_the_domain_stops() {
    let scene = Scene::new().await;
    let url = scene.url().await;
    scene.files.start();
    scene.clock.advance(KEPT + MINUTE);
    let gone = async {
        while scene.has(&url).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(MINUTE, gone).await.unwrap();
    assert_eq!(scene.files.tasks.drain(MINUTE).await, 0);
}
