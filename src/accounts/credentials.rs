//! Credentials: addresses that an account's owner names, and confirms by a code that is sent there.

use freehold_proto::UserId;
use freehold_store::{
    Batch, Tables,
    tables::{
        credentials::{CONFIRM, claim, drop_code, put_code, release},
        rows::{AccountRow, CodeRow, CredentialRow},
    },
};

use super::{
    AccountError,
    attempts::Origin,
    codes::{self, Judgement},
    put_changed,
};
use crate::{mail::Letter, server::Server};

/// Credentials of one account.
pub const CREDENTIALS_MAX: usize = 4;
/// The one method that can be confirmed.
pub const EMAIL: &str = "email";
/// Longest address, in bytes.
const EMAIL_BYTES_MAX: usize = 254;

/// A credential as somebody names it, in its one form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Method.
    pub method: String,
    /// The address.
    pub value: String,
}

impl Wanted {
    /// Reads what a client sent.
    pub fn read(method: &str, value: &str) -> Result<Self, AccountError> {
        match method {
            EMAIL => Ok(Self {
                method: method.to_owned(),
                value: canonical_email(value)?,
            }),
            "tel" => Err(AccountError::Unsupported),
            _ => Err(AccountError::Credential),
        }
    }
}

/// Brings an address into its one form. The part before the @ may mean different boxes in different
/// letters nowhere that matters, so all become small.
fn canonical_email(typed: &str) -> Result<String, AccountError> {
    let email = typed.trim().to_lowercase();
    let plain = |it: char| !it.is_whitespace() && !it.is_control() && !"\"<>(),:;[]\\".contains(it);
    let parts = email.split_once('@');
    let shaped = parts.is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    let fits = email.len() <= EMAIL_BYTES_MAX && email.chars().all(plain) && shaped;
    if fits && email.parse::<lettre::Address>().is_ok() {
        Ok(email)
    } else {
        Err(AccountError::Credential)
    }
}

impl Server {
    /// Names a credential as one's own, and sends a code there if mail can be sent. One that is
    /// named again gets another code; one that was named before and not confirmed gives way.
    pub(crate) async fn add_credential(
        &self,
        user: &UserId,
        wanted: &Wanted,
        origin: Option<Origin>,
    ) -> Result<(), AccountError> {
        let _turn = self.account_turn(user).await;
        let before = self.account(user).await?;
        let same = |it: &&CredentialRow| it.method == wanted.method && it.value == wanted.value;
        if before
            .credentials
            .iter()
            .find(same)
            .is_some_and(|it| it.done)
        {
            return Ok(());
        }
        self.refuse_probing(wanted, origin).await?;
        let mut after = before.clone();
        after
            .credentials
            .retain(|it| it.done || it.method != wanted.method);
        after.credentials.push(CredentialRow {
            method: wanted.method.clone(),
            value: wanted.value.clone(),
            done: false,
        });
        if after.credentials.len() > CREDENTIALS_MAX {
            return Err(AccountError::CredentialsTooMany);
        }
        let mut batch = Batch::new();
        put_changed(&mut batch, user, &before, &after);
        self.send_code(batch, user, &after, wanted, origin).await
    }

    /// Refuses an address that is somebody else's; whoever asks for many does not hear.
    async fn refuse_probing(
        &self,
        wanted: &Wanted,
        origin: Option<Origin>,
    ) -> Result<(), AccountError> {
        let now = self.clock.now();
        if !origin.is_none_or(|it| self.attempts.origins.has_room(&it, now)) {
            return Err(AccountError::TooOften);
        }
        let refused = self.refuse_others(wanted).await;
        if let (Err(AccountError::CredentialTaken), Some(origin)) = (&refused, origin) {
            self.attempts.origins.count(origin, now);
        }
        refused
    }

    async fn refuse_others(&self, wanted: &Wanted) -> Result<(), AccountError> {
        let asked = wanted.clone();
        let read = move |tables: &Tables| tables.credential(&asked.method, &asked.value);
        match self.tables.read(read).await? {
            Some(_) => Err(AccountError::CredentialTaken),
            None => Ok(()),
        }
    }

    /// Commits what leads to a code together with the code, then lets the mail go.
    async fn send_code(
        &self,
        mut batch: Batch,
        user: &UserId,
        row: &AccountRow,
        to: &Wanted,
        origin: Option<Origin>,
    ) -> Result<(), AccountError> {
        let Some(post) = &self.post else {
            return self.commit_or(batch, AccountError::Busy).await;
        };
        self.may_write_to(user, &to.value, origin)?;
        let place = post.reserve()?;
        let credential = (to.method.as_str(), to.value.as_str());
        let now = self.clock.now();
        let (code, kept) =
            self.codes
                .make(user, CONFIRM, credential, freehold_keys::random()?, now);
        put_code(&mut batch, user, CONFIRM, &kept);
        self.commit_or(batch, AccountError::Busy).await?;
        place.send(Letter::Confirm {
            to: to.value.clone(),
            code,
            token: self.token_for_confirming(user, row)?,
        });
        Ok(())
    }

    /// A token for the link in a mail, where the account cannot be used without what is confirmed.
    /// Into an account that is in use no mail leads: its address may have been mistyped.
    fn token_for_confirming(
        &self,
        user: &UserId,
        row: &AccountRow,
    ) -> Result<Option<String>, AccountError> {
        let proven = super::entry::Proven {
            user: user.clone(),
            login: freehold_keys::random()?,
        };
        match self.admit(&proven, row) {
            Ok(admission) if !admission.missing.is_empty() => Ok(Some(admission.token)),
            _ => Ok(None),
        }
    }

    /// Counts a mail, or refuses it: nobody is to be flooded through us.
    pub(super) fn may_write_to(
        &self,
        user: &UserId,
        address: &str,
        origin: Option<Origin>,
    ) -> Result<(), AccountError> {
        let now = self.clock.now();
        let counts = &self.attempts;
        let address = address.to_owned();
        let room = counts.mail_addresses.has_room(&address, now)
            && counts.mail_accounts.has_room(user, now)
            && origin.is_none_or(|it| counts.mail_origins.has_room(&it, now));
        if !room {
            return Err(AccountError::TooOften);
        }
        counts.mail_addresses.count(address, now);
        counts.mail_accounts.count(user.clone(), now);
        if let Some(origin) = origin {
            counts.mail_origins.count(origin, now);
        }
        Ok(())
    }

    /// Sends codes for the credentials of these methods that have none that still counts.
    pub(crate) async fn remind(
        &self,
        user: &UserId,
        row: &AccountRow,
        methods: &[String],
        origin: Option<Origin>,
    ) -> Result<(), AccountError> {
        if self.post.is_none() {
            return Ok(());
        }
        let now = self.clock.now();
        for credential in row.credentials.iter().filter(|it| !it.done) {
            if !methods.contains(&credential.method) {
                continue;
            }
            let code = self.code(user, CONFIRM, &credential.method).await?;
            if !code.is_some_and(|it| codes::is_alive(&it, now)) {
                let to = Wanted {
                    method: credential.method.clone(),
                    value: credential.value.clone(),
                };
                let _turn = self.account_turn(user).await;
                self.send_code(Batch::new(), user, row, &to, origin).await?;
            }
        }
        Ok(())
    }

    async fn code(
        &self,
        user: &UserId,
        purpose: u8,
        method: &str,
    ) -> Result<Option<CodeRow>, AccountError> {
        let (user, method) = (user.clone(), method.to_owned());
        let read = move |tables: &Tables| tables.code(&user, purpose, &method);
        Ok(self.tables.read(read).await?)
    }

    /// The code that somebody answers, if they answer it rightly. A wrong answer is counted durably
    /// before this returns. Within the account's turn.
    pub(super) async fn answered(
        &self,
        user: &UserId,
        purpose: u8,
        method: &str,
        answer: &str,
    ) -> Result<CodeRow, AccountError> {
        let Some(row) = self.code(user, purpose, method).await? else {
            self.feign_answer().await?;
            return Err(AccountError::Code);
        };
        let now = self.clock.now();
        match self.codes.judge(user, purpose, &row, answer, now) {
            Judgement::Right => Ok(row),
            Judgement::Wrong(kept) => {
                let mut batch = Batch::new();
                put_code(&mut batch, user, purpose, &kept);
                self.commit_or(batch, AccountError::Busy).await?;
                Err(AccountError::Code)
            }
            Judgement::Dead => {
                self.feign_answer().await?;
                Err(AccountError::Code)
            }
        }
    }

    /// Takes as long as counting a wrong answer does, where there is nothing to count: nobody is to
    /// learn by the clock whose address is known here.
    pub(super) async fn feign_answer(&self) -> Result<(), AccountError> {
        // No person has this id.
        let nobody = UserId::new([0; 8], self.us.clone());
        let mut batch = Batch::new();
        put_code(&mut batch, &nobody, CONFIRM, &CodeRow::default());
        self.commit_or(batch, AccountError::Busy).await
    }

    /// Confirms a credential by the code that was sent there. `value` may be empty.
    pub(crate) async fn confirm_credential(
        &self,
        user: &UserId,
        (method, value): (&str, &str),
        answer: &str,
    ) -> Result<(), AccountError> {
        let _turn = self.account_turn(user).await;
        let code = self.answered(user, CONFIRM, method, answer).await?;
        if !value.is_empty() && Wanted::read(method, value)?.value != code.value {
            return Err(AccountError::Code);
        }
        let before = self.account(user).await?;
        let mut after = before.clone();
        let confirmed = after
            .credentials
            .iter_mut()
            .find(|it| it.method == code.method && it.value == code.value);
        confirmed.ok_or(AccountError::Code)?.done = true;
        let mut batch = Batch::new();
        put_changed(&mut batch, user, &before, &after);
        claim(&mut batch, &code.method, &code.value, user);
        drop_code(&mut batch, user, CONFIRM, method);
        self.commit_or(batch, AccountError::CredentialTaken).await
    }

    /// Takes a credential away; false when there is none. The last one that is required stays.
    pub(crate) async fn remove_credential(
        &self,
        user: &UserId,
        (method, value): (&str, &str),
    ) -> Result<bool, AccountError> {
        let _turn = self.account_turn(user).await;
        let before = self.account(user).await?;
        let value = value.trim().to_lowercase();
        let meant = |it: &CredentialRow| it.method == method && it.value == value;
        let Some(found) = before.credentials.iter().find(|it| meant(it)) else {
            return Ok(false);
        };
        let others = |it: &&CredentialRow| it.done && it.method == method && !meant(it);
        let required = self
            .rules
            .required_credentials
            .iter()
            .any(|it| it == method);
        if found.done && required && !before.credentials.iter().any(|it| others(&it)) {
            return Err(AccountError::CredentialRequired(vec![method.to_owned()]));
        }
        let mut after = before.clone();
        after.credentials.retain(|it| !meant(it));
        let mut batch = Batch::new();
        put_changed(&mut batch, user, &before, &after);
        if found.done {
            release(&mut batch, method, &value);
        } else {
            drop_code(&mut batch, user, CONFIRM, method);
        }
        self.commit_or(batch, AccountError::Busy).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form_and_nonsense_is_none() {
        assert_eq!(canonical_email(" Ann@B.Test ").unwrap(), "ann@b.test");
        for typed in [
            "",
            "ann",
            "@b.test",
            "ann@",
            "ann b@b.test",
            "a@b@c",
            "ann@b.test\nBcc: x@y.z",
            "<ann@b.test>",
            "a,b@c.test",
            &format!("{}@b.test", "x".repeat(250)),
        ] {
            assert!(canonical_email(typed).is_err(), "{typed:?} passed");
        }
        assert!(matches!(
            Wanted::read("tel", "1"),
            Err(AccountError::Unsupported)
        ));
        assert!(matches!(
            Wanted::read("", "a@b.test"),
            Err(AccountError::Credential)
        ));
    }
}
