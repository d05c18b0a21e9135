//! What the operator does to a domain from the command line, while it does not serve.

use std::time::Duration;

use freehold_proto::{DomainName, Timestamp, UserId};
use freehold_store::{
    Batch, StoreError, Tables,
    tables::{
        admin::{drop_invitation, put_invitation},
        rows::{InvitationRow, OutboxRow},
    },
};
use serde_json::json;

use crate::{
    Domain,
    accounts::{
        AccountError, Level,
        access::State,
        admin::OPERATOR,
        canonical_login, erasure,
        registration::{NewAccount, Permit, canonical_invitation},
    },
    peers::outbox::lasting,
};

/// Invitations shown at most.
const INVITATIONS_MAX: usize = 1000;
/// Rows of a queue, and peers, read in one go.
const QUEUE_PAGE: usize = 1000;
const PEERS_PAGE: usize = 100;
/// Characters of an invitation that are easy to read out, 5 bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// An invitation to make an account.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// What is typed.
    pub code: String,
    /// For whom, in the operator's words.
    pub note: String,
    /// When it ends.
    pub expires: Timestamp,
    /// Accounts it may still make.
    pub left: u32,
    /// Accounts it has made.
    pub used: u32,
}

/// Something that an administrator did.
#[derive(Clone, Debug)]
pub struct Trace {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// To or for whom; empty for nobody.
    pub about: String,
    /// What.
    pub what: String,
}

/// What waits for one peer.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Which peer.
    pub peer: DomainName,
    /// Items that are offered as soon as it can be reached.
    pub waiting: usize,
    /// Messages that it wants later, and those behind them.
    pub parked: usize,
    /// Those of them on which the peer failed again and again.
    pub failed: usize,
    /// When the oldest of all was queued.
    pub oldest: Option<Timestamp>,
    /// Words that take something away or somebody out and that the peer has not confirmed: leaving,
    /// deletions, the end of an account, and what says so in logs of groups that it follows.
    pub endings: usize,
}

impl Queue {
    fn note(&mut self, tables: &Tables, row: &OutboxRow) -> Result<(), StoreError> {
        let at = Timestamp::from_stored(row.at);
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        self.endings += usize::from(lasting::is_ending(tables, row)?);
        Ok(())
    }
}

/// Counts what waits for a peer. Blocks.
fn queue(tables: &Tables, peer: DomainName) -> Result<Queue, StoreError> {
    let mut queue = Queue {
        peer,
        waiting: 0,
        parked: 0,
        failed: 0,
        oldest: None,
        endings: 0,
    };
    let mut topic = None;
    loop {
        let page = tables.followed_by(&queue.peer, topic, QUEUE_PAGE)?;
        let Some((last, _)) = page.last() else {
            break;
        };
        topic = Some(*last);
        for (topic, _) in page {
            queue.endings += lasting::endings_untold(tables, &queue.peer, topic)?;
        }
    }
    let mut after = 0;
    loop {
        let page = tables.outbox(&queue.peer, after, QUEUE_PAGE)?;
        let Some((last, _)) = page.last() else {
            break;
        };
        after = *last;
        queue.waiting += page.len();
        for (_, row) in &page {
            queue.note(tables, row)?;
        }
    }
    let mut after = None;
    loop {
        let page = tables.parked_after(&queue.peer, after.as_deref(), QUEUE_PAGE)?;
        let Some((last, ..)) = page.last() else {
            return Ok(queue);
        };
        after = Some(last.clone());
        queue.parked += page.len();
        queue.failed += page.iter().filter(|(.., row)| row.failed > 0).count();
        for (.., row) in &page {
            queue.note(tables, row)?;
        }
    }
}

impl Domain {
    /// Makes an account with a display name.
    pub async fn add_user(
        &self,
        login: &str,
        password: &str,
        name: &str,
        level: Level,
    ) -> Result<UserId, AccountError> {
        let new = NewAccount {
            way_in: Some((login.to_owned(), password.to_owned())),
            public: json!({ "fn": name }).to_string().into(),
            level,
            ..NewAccount::default()
        };
        let (user, _) = self.server().create_account(new, Permit::Free).await?;
        if level == Level::Root {
            let mut batch = Batch::new();
            self.server()
                .audit(&mut batch, OPERATOR, Some(&user), "create root")?;
            self.server().commit_or(batch, AccountError::Busy).await?;
        }
        Ok(user)
    }

    /// The person with a log-in name.
    async fn named(&self, login: &str) -> Result<UserId, AccountError> {
        let name = canonical_login(login)?;
        let read = move |tables: &Tables| tables.login(&name);
        let row = self.server().tables.read(read).await?;
        let local = row.and_then(|it| <[u8; 8]>::try_from(&*it.user).ok());
        let user = local.map(|it| UserId::new(it, self.server().us.clone()));
        user.ok_or(AccountError::NotFound)
    }

    /// Takes an account out of use, or back; false when it was so already.
    pub async fn set_state(&self, login: &str, state: State) -> Result<bool, AccountError> {
        let user = self.named(login).await?;
        self.server().set_state(OPERATOR, &user, state).await
    }

    /// Gives an account authority, or takes it; false when it was so already.
    pub async fn set_level(&self, login: &str, level: Level) -> Result<bool, AccountError> {
        let user = self.named(login).await?;
        self.server().set_level(OPERATOR, &user, level).await
    }

    /// Sets a new password; everybody who was logged in must log in again.
    pub async fn set_password(&self, login: &str, password: &str) -> Result<(), AccountError> {
        let user = self.named(login).await?;
        let mut batch = Batch::new();
        self.server()
            .audit(&mut batch, OPERATOR, Some(&user), "secret")?;
        self.server().commit_or(batch, AccountError::Busy).await?;
        let secret = ("", password.to_owned());
        self.server().change_secret(&user, secret, None).await
    }

    /// Deletes an account for good. Its conversations are ended at the next start.
    pub async fn delete_user(&self, login: &str) -> Result<(), AccountError> {
        let user = self.named(login).await?;
        erasure::erase_row(self.server(), &user, Some(OPERATOR)).await
    }

    /// Makes an invitation for so many accounts within such a time.
    pub async fn invite(
        &self,
        uses: u32,
        lifetime: Duration,
        note: &str,
    ) -> Result<Invitation, AccountError> {
        let random: [u8; 12] = freehold_keys::random()?;
        let code = random.map(|it| char::from(ALPHABET[usize::from(it % 32)]));
        let now = self.server().clock.now();
        let row = InvitationRow {
            code: code.iter().collect(),
            note: note.chars().take(200).collect(),
            created: now.as_millis(),
            expires: now.plus(lifetime).as_millis(),
            left: uses,
            used: 0,
        };
        let mut batch = Batch::new();
        put_invitation(&mut batch, &row);
        self.server()
            .audit(&mut batch, OPERATOR, None, "invitation made")?;
        self.server().commit_or(batch, AccountError::Busy).await?;
        Ok(invitation(row))
    }

    /// All invitations, those that have ended too.
    pub async fn invitations(&self) -> Result<Vec<Invitation>, AccountError> {
        let read = |tables: &Tables| tables.invitations(INVITATIONS_MAX);
        let rows = self.server().tables.read(read).await?;
        Ok(rows.into_iter().map(invitation).collect())
    }

    /// Takes an invitation back; false when there is none.
    pub async fn revoke_invitation(&self, code: &str) -> Result<bool, AccountError> {
        let code = canonical_invitation(code);
        let wanted = code.clone();
        let read = move |tables: &Tables| tables.invitation(&wanted);
        if self.server().tables.read(read).await?.is_none() {
            return Ok(false);
        }
        let mut batch = Batch::new();
        drop_invitation(&mut batch, &code);
        self.server()
            .audit(&mut batch, OPERATOR, None, "invitation revoked")?;
        self.server().commit_or(batch, AccountError::Busy).await?;
        Ok(true)
    }

    /// What waits for every peer that this domain ever wrote to.
    pub async fn queues(&self) -> Result<Vec<Queue>, AccountError> {
        let mut queues: Vec<Queue> = Vec::new();
        loop {
            let after = queues.last().map(|it| it.peer.clone());
            let read = move |tables: &Tables| {
                let peers = tables.streams_out(after.as_ref(), PEERS_PAGE)?;
                peers.into_iter().map(|it| queue(tables, it)).collect()
            };
            let page: Vec<Queue> = self.server().tables.read(read).await?;
            if page.is_empty() {
                return Ok(queues);
            }
            queues.extend(page);
        }
    }

    /// The latest things administrators did, newest first.
    pub async fn audit_trail(&self, limit: usize) -> Result<Vec<Trace>, AccountError> {
        let read = move |tables: &Tables| tables.audit_trail(limit);
        let rows = self.server().tables.read(read).await?;
        let trace = |it: freehold_store::tables::rows::AuditRow| Trace {
            at: Timestamp::from_stored(it.at),
            by: it.by,
            about: it.about,
            what: it.what,
        };
        Ok(rows.into_iter().map(trace).collect())
    }
}

fn invitation(row: InvitationRow) -> Invitation {
    Invitation {
        code: row.code,
        note: row.note,
        expires: Timestamp::from_stored(row.expires),
        left: row.left,
        used: row.used,
    }
}
