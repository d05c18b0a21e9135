//! Coming in by the word of a service outside. The first time, an account is made.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_proto::UserId;
use freehold_store::Tables;
use serde_json::json;

use super::{
    AccountError,
    attempts::Origin,
    entry::Proven,
    registration::{NewAccount, Permit},
    service::{Known, Question, Service, Word},
};
use crate::server::Server;

impl Server {
    /// The person whom the service knows by a secret of the scheme `rest`.
    pub(crate) async fn prove_by_service(
        &self,
        secret: &str,
        origin: Option<Origin>,
    ) -> Result<Proven, AccountError> {
        let service = self.service.as_deref().ok_or(AccountError::NoService)?;
        let now = self.clock.now();
        if origin.is_some_and(|it| !self.attempts.origins.has_room(&it, now)) {
            return Err(AccountError::TooOften);
        }
        let proven = self.by_word_of(service, "rest", secret).await;
        if let (Err(AccountError::Wrong), Some(origin)) = (&proven, origin) {
            self.attempts.origins.count(origin, now);
        }
        proven
    }

    /// The person whom the service knows by name and password, where it is asked for those.
    pub(super) async fn prove_password_by_service(
        &self,
        name: &str,
        password: &str,
    ) -> Result<Proven, AccountError> {
        let service = self.service.as_deref().filter(|it| it.knows_passwords());
        let service = service.ok_or(AccountError::Wrong)?;
        let secret = STANDARD.encode(format!("{name}:{password}"));
        self.by_word_of(service, "basic", &secret).await
    }

    async fn by_word_of(
        &self,
        service: &Service,
        scheme: &str,
        secret: &str,
    ) -> Result<Proven, AccountError> {
        let question = Question {
            scheme,
            secret,
            domain: self.us.as_str(),
        };
        match service.ask(&question).await? {
            Word::Known(known) => Ok(Proven {
                user: self.person_of(known).await?,
                login: freehold_keys::random()?,
            }),
            Word::Wrong => Err(AccountError::Wrong),
            Word::Barred => Err(AccountError::Suspended),
        }
    }

    /// The account that belongs to a name at the service.
    async fn person_of(&self, known: Known) -> Result<UserId, AccountError> {
        if let Some(user) = self.external(&known.account).await? {
            return Ok(user);
        }
        let account = known.account.clone();
        let new = NewAccount {
            external: known.account,
            external_login: known.login,
            public: json!({ "fn": known.name.chars().take(256).collect::<String>() })
                .to_string()
                .into(),
            ..NewAccount::default()
        };
        match self.create_account(new, Permit::Free).await {
            Ok((user, _)) => Ok(user),
            // The same person may have come in twice at once.
            Err(AccountError::Taken(login)) => self
                .external(&account)
                .await?
                .ok_or(AccountError::Taken(login)),
            Err(fault) => Err(fault),
        }
    }

    async fn external(&self, name: &str) -> Result<Option<UserId>, AccountError> {
        let name = name.to_owned();
        let read = move |tables: &Tables| tables.external(&name);
        let local = self.tables.read(read).await?;
        Ok(local.map(|it| UserId::new(it, self.us.clone())))
    }
}
