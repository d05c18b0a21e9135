//! What a session has missed because its client does not keep up, until it has caught up.
//!
//! Messages are on disk: of each topic only the position is kept from which on they are missing. Of
//! everything else that can be told later the latest is kept, once for each thing it is about. So a
//! session costs no more however long it is behind.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use freehold_store::TopicKey;

use super::{
    encoding::Encoded,
    frames::{Info, Pres, ServerFrame},
    session::Session,
};
use crate::{server::Server, topic::catching_up};

/// Things of which the latest is kept for one session.
const NEWS_MAX: usize = 16_384;
/// What is kept of what a topic tells while a page of it is read: messages, and bytes of them, which all
/// sessions share that are told the same.
const MEANWHILE_MAX: usize = 256;
const MEANWHILE_BYTES: usize = 256 * 1024;

/// Has topics show a session what it missed, one page after the other, whenever its client has taken
/// all that waited for it. Runs until the session ends.
pub(super) async fn keep_up(server: Arc<Server>, session: Session) {
    loop {
        tokio::select! {
            () = session.closed() => return,
            () = session.drained() => {}
        }
        if let Some(name) = session.next_missing() {
            // Of its own, as it is seldom needed.
            let page = Box::pin(catching_up::show_next(&server, &session, &name));
            tokio::select! {
                () = session.closed() => return,
                () = page => {}
            }
        }
    }
}

/// Pages of messages after which news are told although there are more.
const PAGES_MAX: u32 = 16;

/// What one session has missed.
#[derive(Debug, Default)]
pub(super) struct Behind {
    topics: BTreeMap<TopicKey, Gap>,
    /// The one that was shown last, and how many pages since news were told.
    shown: Option<TopicKey>,
    pages: u32,
    news: Vec<Encoded>,
    /// Where each thing stands in `news`.
    places: HashMap<Thing, usize>,
}

/// Messages of one topic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Missing {
    /// The first one that is missing.
    pub(crate) from: u32,
    /// Those behind it that the session wrote itself and does not want back.
    pub(crate) own: Vec<u32>,
}

impl Missing {
    /// Everything from some position on.
    pub(crate) fn since(seq: u32) -> Self {
        Self {
            from: seq,
            own: Vec::new(),
        }
    }
}

/// What is missing of one topic, and the page of it that is being read.
#[derive(Debug)]
struct Gap {
    missing: Missing,
    page: Option<Reading>,
}

/// A page that is being read.
#[derive(Debug)]
struct Reading {
    number: u64,
    /// What the topic has told since the page was begun, in order.
    meanwhile: Vec<Encoded>,
    bytes: usize,
    /// The first message that was not kept, as there were too many.
    beyond: Option<u32>,
}

impl Reading {
    fn begin() -> Self {
        // Never twice, so that a page is not taken for one that was begun when the session was behind before.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            meanwhile: Vec::new(),
            bytes: 0,
            beyond: None,
        }
    }

    fn keep(&mut self, seq: u32, frame: impl FnOnce() -> Encoded) {
        if self.beyond.is_some() {
            return;
        }
        if self.meanwhile.len() >= MEANWHILE_MAX || self.bytes > MEANWHILE_BYTES {
            self.beyond = Some(seq);
            return;
        }
        let frame = frame();
        self.bytes += frame.size();
        self.meanwhile.push(frame);
    }
}

/// What can be done with a frame that is not sent at once.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Later {
    /// It has to be sent, and in its turn.
    Never,
    /// It is worth nothing then.
    Worthless,
    /// It takes the place of what was said about the same thing before.
    News(Thing),
}

/// What some news is about.
#[derive(Debug, Eq, Hash, PartialEq)]
pub(super) struct Thing {
    topic: String,
    of: Option<String>,
    what: &'static str,
}

impl Later {
    pub(super) fn of(frame: &ServerFrame) -> Self {
        match frame {
            ServerFrame::Pres(pres) => Self::of_pres(pres),
            ServerFrame::Info(info) => Self::of_info(info),
            ServerFrame::Ctrl(_) | ServerFrame::Data(_) | ServerFrame::Meta(_) => Self::Never,
        }
    }

    fn of_pres(pres: &Pres) -> Self {
        let what = match pres.what {
            "on" | "off" => "on",
            "ua" | "msg" | "read" | "recv" | "upd" | "aux" | "tags" => pres.what,
            // On `me` only its number counts; in the topic it says which messages are gone.
            "del" if pres.delseq.is_empty() => "del",
            _ => return Self::Never,
        };
        Self::News(Thing {
            topic: pres.topic.clone(),
            of: pres.src.clone(),
            what,
        })
    }

    fn of_info(info: &Info) -> Self {
        match info.what {
            "read" | "recv" => Self::News(Thing {
                topic: info.src.as_ref().unwrap_or(&info.topic).clone(),
                of: Some(info.from.clone()),
                what: info.what,
            }),
            "call" => Self::Never,
            _ => Self::Worthless,
        }
    }
}

impl Behind {
    /// A message stands at this position that is not sent now.
    pub(super) fn misses(&mut self, topic: TopicKey, seq: u32, frame: impl FnOnce() -> Encoded) {
        let gap = self.topics.entry(topic).or_insert_with(|| Gap {
            missing: Missing::since(seq),
            page: None,
        });
        if let Some(page) = &mut gap.page {
            page.keep(seq, frame);
        }
    }

    /// All this is missing of a topic.
    pub(super) fn falls_back(&mut self, topic: TopicKey, missing: Missing) {
        let page = None;
        self.topics.insert(topic, Gap { missing, page });
    }

    /// A message at this position needs not be sent: the session wrote it.
    pub(super) fn knows(&mut self, topic: TopicKey, seq: u32) {
        if let Some(gap) = self.topics.get_mut(&topic) {
            gap.missing.own.push(seq);
        }
    }

    /// Keeps some news in the place of older ones; false when there are too many things.
    pub(super) fn keep(&mut self, thing: Thing, frame: Encoded) -> bool {
        if let Some(place) = self.places.get(&thing) {
            self.news[*place] = frame;
            return true;
        }
        if self.news.len() >= NEWS_MAX {
            return false;
        }
        self.places.insert(thing, self.news.len());
        self.news.push(frame);
        true
    }

    /// What is missing of a topic.
    pub(super) fn missing(&self, topic: TopicKey) -> Option<&Missing> {
        self.topics.get(&topic).map(|it| &it.missing)
    }

    /// Begins a page of a topic, if something of it is missing: its number, and what is.
    pub(super) fn begin_page(&mut self, topic: TopicKey) -> Option<(u64, Missing)> {
        let gap = self.topics.get_mut(&topic)?;
        let page = gap.page.insert(Reading::begin());
        Some((page.number, gap.missing.clone()))
    }

    /// The page of a topic that is being read is worth nothing.
    pub(super) fn discard_page(&mut self, topic: TopicKey) {
        if let Some(gap) = self.topics.get_mut(&topic) {
            gap.page = None;
        }
    }

    /// A page is sent, with everything before `next` or everything there was when it was begun, unless it
    /// was discarded. Says what is to be sent behind it.
    pub(super) fn end_page(
        &mut self,
        topic: TopicKey,
        number: u64,
        next: Option<u32>,
    ) -> Option<Vec<Encoded>> {
        let gap = self.topics.get_mut(&topic)?;
        let page = gap.page.take_if(|it| it.number == number)?;
        let (next, behind) = match next {
            // More pages come before that.
            Some(next) => (Some(next), Vec::new()),
            None => (page.beyond, page.meanwhile),
        };
        self.has_caught_up(topic, next);
        Some(behind)
    }

    /// A topic of which something is missing, one after the other: none waits for one in which much is said.
    pub(super) fn next(&mut self) -> Option<TopicKey> {
        let behind = (
            self.shown.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let mut rest = self.topics.range(behind);
        let next = rest.next().or_else(|| self.topics.iter().next());
        self.shown = next.map(|it| *it.0);
        self.pages += 1;
        self.shown
    }

    /// The news, if so many pages were shown that they are not to wait for the last one.
    pub(super) fn overdue(&mut self) -> Vec<Encoded> {
        if self.pages < PAGES_MAX {
            return Vec::new();
        }
        self.pages = 0;
        self.places.clear();
        mem::take(&mut self.news)
    }

    /// Of a topic everything before `next` has been sent, or everything.
    pub(super) fn has_caught_up(&mut self, topic: TopicKey, next: Option<u32>) {
        match (next, self.topics.get_mut(&topic)) {
            (Some(next), Some(gap)) => {
                gap.missing.from = next;
                gap.missing.own.retain(|it| *it >= next);
            }
            (_, None) => {}
            (None, Some(_)) => drop(self.topics.remove(&topic)),
        }
    }

    /// The news, once no message is missing any more.
    pub(super) fn into_news(self) -> Vec<Encoded> {
        self.news
    }
}

#[cfg(test)]
mod tests {
    use freehold_proto::UserId;

    use super::*;
    use crate::edge::encoding::Encoding;

    fn pres(src: &str, what: &'static str, seq: u32) -> ServerFrame {
        ServerFrame::Pres(Pres {
            topic: "me".to_owned(),
            src: Some(src.to_owned()),
            what,
            seq,
            ..Pres::default()
        })
    }

    fn info(from: &str, what: &'static str, seq: u32) -> ServerFrame {
        ServerFrame::Info(Info {
            topic: "grpA".to_owned(),
            src: None,
            from: from.to_owned(),
            what,
            seq,
            event: None,
            payload: None,
        })
    }

    fn keep(behind: &mut Behind, frame: &ServerFrame) -> bool {
        match Later::of(frame) {
            Later::News(thing) => behind.keep(thing, frame.encode(Encoding::Json)),
            other => panic!("{frame:?} is {other:?}"),
        }
    }

    fn misses(behind: &mut Behind, topic: TopicKey, seq: u32) {
        behind.misses(topic, seq, || message(seq));
    }

    fn message(seq: u32) -> Encoded {
        pres("usrA", "msg", seq).encode(Encoding::Json)
    }

    #[test]
    fn of_each_thing_the_latest_news_are_kept() {
        let mut behind = Behind::default();
        let latest = [
            pres("usrA", "off", 0),
            pres("usrA", "msg", 7),
            pres("usrB", "on", 0),
            info("usrA", "read", 6),
            info("usrB", "read", 4),
        ];
        for old in [
            pres("usrA", "on", 0),
            pres("usrA", "msg", 5),
            pres("usrB", "off", 0),
            info("usrA", "read", 2),
            info("usrB", "read", 3),
        ] {
            assert!(keep(&mut behind, &old));
        }
        for news in &latest {
            assert!(keep(&mut behind, news));
        }
        let expected: Vec<_> = latest.iter().map(|it| it.encode(Encoding::Json)).collect();
        assert_eq!(behind.into_news(), expected);
    }

    #[test]
    fn what_others_do_not_replace_is_never_put_off_and_typing_is_not_told_later() {
        for must in ["acs", "gone", "term"] {
            assert_eq!(Later::of(&pres("usrA", must, 0)), Later::Never, "{must}");
        }
        assert_eq!(Later::of(&info("usrA", "call", 1)), Later::Never);
        assert_eq!(Later::of(&info("usrA", "kp", 0)), Later::Worthless);
    }

    #[test]
    fn neither_a_topic_nor_news_wait_for_one_in_which_much_is_said() {
        let mut behind = Behind::default();
        let user = |number| UserId::new([number; 8], "alpha.test".parse().unwrap());
        let topics = [1, 2, 3].map(|it| TopicKey::saved(&user(it)));
        topics.iter().for_each(|it| misses(&mut behind, *it, 1));
        let mut shown: Vec<_> = (0..3).filter_map(|_| behind.next()).collect();
        shown.sort_unstable();
        let mut all = topics;
        all.sort_unstable();
        assert_eq!(shown, all);
        keep(&mut behind, &pres("usrA", "on", 0));
        assert!(behind.overdue().is_empty(), "there may be no more soon");
        assert!((0..PAGES_MAX).all(|_| behind.next().is_some()));
        assert_eq!(behind.overdue().len(), 1);
        assert!(behind.overdue().is_empty());
        keep(&mut behind, &pres("usrA", "off", 0));
        assert_eq!(behind.into_news().len(), 1);
    }

    fn topic() -> TopicKey {
        TopicKey::saved(&UserId::new([1; 8], "alpha.test".parse().unwrap()))
    }

    #[test]
    fn what_is_told_while_the_last_page_is_read_comes_behind_it() {
        let mut behind = Behind::default();
        misses(&mut behind, topic(), 5);
        let (page, missing) = behind.begin_page(topic()).unwrap();
        assert_eq!(missing, Missing::since(5));
        misses(&mut behind, topic(), 9);
        behind.knows(topic(), 10);
        misses(&mut behind, topic(), 11);
        // There is more before that.
        assert_eq!(behind.end_page(topic(), page, Some(7)), Some(Vec::new()));
        let (page, missing) = behind.begin_page(topic()).unwrap();
        assert_eq!((missing.from, missing.own), (7, vec![10]));
        misses(&mut behind, topic(), 12);
        let told = behind.end_page(topic(), page, None);
        assert_eq!(told, Some(vec![message(12)]));
        assert_eq!(behind.missing(topic()), None);
    }

    #[test]
    fn what_is_too_much_while_a_page_is_read_stays_missing() {
        let mut behind = Behind::default();
        misses(&mut behind, topic(), 1);
        let (page, _) = behind.begin_page(topic()).unwrap();
        let most = u32::try_from(MEANWHILE_MAX).unwrap();
        for seq in 2..=most + 10 {
            misses(&mut behind, topic(), seq);
        }
        behind.knows(topic(), most + 11);
        let told = behind.end_page(topic(), page, None).unwrap();
        assert_eq!(told, (2..=most + 1).map(message).collect::<Vec<_>>());
        let missing = behind.missing(topic()).unwrap();
        assert_eq!((missing.from, &missing.own), (most + 2, &vec![most + 11]));
    }

    #[test]
    fn a_page_that_is_not_true_any_more_is_not_shown() {
        let mut behind = Behind::default();
        misses(&mut behind, topic(), 1);
        let (discarded, _) = behind.begin_page(topic()).unwrap();
        behind.discard_page(topic());
        assert_eq!(behind.end_page(topic(), discarded, None), None);
        // It left, came back and fell behind again.
        let (former, _) = behind.begin_page(topic()).unwrap();
        let mut behind = Behind::default();
        misses(&mut behind, topic(), 8);
        let (page, _) = behind.begin_page(topic()).unwrap();
        assert_eq!(behind.end_page(topic(), former, None), None);
        assert_eq!(behind.missing(topic()), Some(&Missing::since(8)));
        assert_eq!(behind.end_page(topic(), page, None), Some(Vec::new()));
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut behind = Behind::default();
        for number in 0..NEWS_MAX {
            assert!(keep(&mut behind, &pres(&format!("usr{number}"), "on", 0)));
        }
        assert!(keep(&mut behind, &pres("usr0", "off", 0)));
        assert!(!keep(&mut behind, &pres("one more", "on", 0)));
    }
}
