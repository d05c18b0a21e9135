//! E-mail to the people of this domain. Whoever asks for a mail never waits for it: it goes into a
//! queue with an end, and a task of its own hands it over.

mod delivery;
mod letter;

use std::{io, path::PathBuf, sync::Arc};

use freehold_config::Mail;
use futures_util::{StreamExt as _, stream};
use lettre::message::Mailbox;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use letter::Letter;

use crate::mail::{delivery::Delivery, letter::Style};

/// Mails that may wait.
const QUEUE_MAX: usize = 256;
/// Mails handed over at once.
const AT_ONCE: usize = 4;

/// Why no mail can be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// More wait than may.
    #[error("too many mails wait")]
    Full,
    /// The operator's address of the sender is none.
    #[error("mail.from is not an address: {0}")]
    From(String),
    /// The password of the mail server cannot be had.
    #[error("the password for the mail server, {place}: {why}")]
    Password {
        /// Where it should stand.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The folder for mails cannot be made.
    #[error("the folder for mails, {path}: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mail server's name or TLS cannot be used.
    #[error("the mail server cannot be used: {0}")]
    Server(String),
}

/// Where mails are handed in.
#[derive(Debug)]
pub struct Post {
    queue: mpsc::Sender<Letter>,
    waiting: Mutex<Option<mpsc::Receiver<Letter>>>,
    carrier: Arc<Carrier>,
}

#[derive(Debug)]
struct Carrier {
    style: Style,
    delivery: Delivery,
}

/// A place in the queue, for one mail.
#[derive(Debug)]
pub struct Place<'a>(mpsc::Permit<'a, Letter>);

impl Place<'_> {
    /// Hands the mail in.
    pub fn send(self, letter: Letter) {
        self.0.send(letter);
    }
}

impl Post {
    /// As configured. Reads the password, makes the folder; nothing is sent yet.
    pub fn new(mail: &Mail) -> Result<Self, MailError> {
        let from = mail.from.parse::<Mailbox>();
        let from = from.map_err(|_| MailError::From(mail.from.clone()))?;
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let carrier = Carrier {
            style: Style {
                from,
                app_url: mail.app_url.clone(),
            },
            delivery: Delivery::new(&mail.delivery)?,
        };
        Ok(Self {
            queue,
            waiting: Mutex::new(Some(waiting)),
            carrier: Arc::new(carrier),
        })
    }

    /// Takes a place in the queue, so that what is promised can be sent.
    pub fn reserve(&self) -> Result<Place<'_>, MailError> {
        self.queue
            .try_reserve()
            .map(Place)
            .map_err(|_| MailError::Full)
    }

    /// Hands mails over until the domain stops. What waits then is lost: its codes can be asked for
    /// again.
    pub async fn work_until(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(&self) {
        let Some(waiting) = self.waiting.lock().take() else {
            return;
        };
        let letters = stream::unfold(waiting, |mut waiting| async {
            waiting.recv().await.map(|letter| (letter, waiting))
        });
        letters
            .for_each_concurrent(AT_ONCE, |letter| self.carrier.carry(letter))
            .await;
    }
}

impl Carrier {
    async fn carry(&self, letter: Letter) {
        let message = match self.style.compose(&letter) {
            Ok(message) => message,
            Err(fault) => return warn!(%fault, "a mail cannot be written"),
        };
        if let Err(fault) = self.delivery.deliver(&message, letter.code()).await {
            warn!(%fault, "a mail cannot be handed over; it is lost");
        }
    }
}
