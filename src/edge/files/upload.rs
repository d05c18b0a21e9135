//! Taking a file in: `POST` or `PUT /v0/file/u/`.
//!
//! Stock clients log in by a header. A form may do so too, and its fields may follow the file: until
//! then, whoever sends is a stranger, and a stranger's file is small. Strangers may keep a picture for
//! the account that they are about to make (`topic=newacc`), while anybody may make one.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    http::{Method, header, request::Parts},
    response::Response,
};
use freehold_config::Registration;
use freehold_proto::UserId;
use serde_json::json;
use tokio::time::timeout;

use super::{
    count, ctrl,
    form::{Form, FormError, Part},
    preflight, refusal, status_of, text,
    who::{self, Claim, Fields},
};
use crate::{
    edge::{
        http::ClientAddress,
        reply::{self, Reply},
    },
    files::{Declared, FileError, Incoming, Stored},
    server::Server,
};

/// Largest file of somebody who has not shown a log-in.
const STRANGERS_FILE_MAX: u64 = 1024 * 1024;
/// Time for a whole upload, and for one that shows no log-in before its form.
const UPLOAD_MAX: Duration = Duration::from_secs(60 * 60);
const STRANGERS_UPLOAD_MAX: Duration = Duration::from_secs(5 * 60);
/// What a form may have around its file.
const AROUND_FILE_MAX: u64 = 128 * 1024;
/// Stands for the topic of an account in the making.
const NEW_ACCOUNT: &str = "newacc";

pub(super) async fn answer(
    State(server): State<Arc<Server>>,
    Extension(address): Extension<ClientAddress>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    if let Err(reply) = count(&server, address, &head.headers) {
        return ctrl(&server, reply, None);
    }
    match head.method {
        Method::OPTIONS => preflight(),
        Method::HEAD => match who::admit(&server, &head.headers, head.uri.query()).await {
            Ok(_) => refusal(&server, reply::OK),
            Err(reply) => ctrl(&server, reply, None),
        },
        Method::POST | Method::PUT => {
            let upload = Upload {
                server: Arc::clone(&server),
                address,
                head,
                fields: Fields::default(),
                id: None,
                topic: None,
                owner: None,
                file: None,
            };
            take(&server, upload, body).await
        }
        _ => refusal(&server, reply::NOT_ALLOWED),
    }
}

/// An upload as far as it has come.
struct Upload {
    server: Arc<Server>,
    address: ClientAddress,
    head: Parts,
    fields: Fields,
    id: Option<String>,
    topic: Option<String>,
    owner: Option<UserId>,
    file: Option<(Incoming, Declared)>,
}

async fn take(server: &Server, mut upload: Upload, body: Body) -> Response {
    let Some(mut form) = Form::new(&upload.head.headers, body) else {
        return refusal(server, reply::MALFORMED);
    };
    if let Err(reply) = upload.look_at_head().await {
        // Whoever asks first has sent nothing yet.
        if text(&upload.head.headers, header::EXPECT).is_none() {
            form.throw_away().await;
        }
        return ctrl(server, reply, None);
    }
    let reading = timeout(patience(upload.owner.as_ref()), upload.read(&mut form)).await;
    let read = reading.unwrap_or_else(|_| Err(reply::UNAVAILABLE.into()));
    let stored = match read {
        Ok(()) => upload.finish().await,
        Err(reply) => {
            upload.file = None;
            form.throw_away().await;
            Err(reply)
        }
    };
    let reply = stored.map(|it| {
        let params = json!({"url": it.address.to_string(), "expires": it.expires.to_string()});
        Reply::with(reply::OK, params)
    });
    ctrl(server, reply.unwrap_or_else(|it| it), upload.id)
}

/// Time for a whole upload.
pub(in crate::edge) fn patience(owner: Option<&UserId>) -> Duration {
    match owner {
        Some(_) => UPLOAD_MAX,
        None => STRANGERS_UPLOAD_MAX,
    }
}

/// Begins a file of somebody, or of a stranger at this address.
pub(in crate::edge) async fn begin(
    server: &Server,
    owner: Option<UserId>,
    address: IpAddr,
) -> Result<Incoming, Reply> {
    let size_max = if let Some(user) = &owner {
        server.limits.user_request(user)?;
        server.files.file_bytes_max()
    } else {
        let strangers = &server.file_bounds.strangers;
        if !strangers.admit(address, server.clock.now()) {
            return Err(reply::UNAVAILABLE.into());
        }
        STRANGERS_FILE_MAX
    };
    let seat = server.files.admit(owner).await?;
    Ok(seat.begin(size_max)?)
}

/// Whether a file of this person, or of a stranger, may be kept.
pub(in crate::edge) fn may_store(
    server: &Server,
    owner: Option<&UserId>,
    topic: Option<&str>,
) -> Result<(), Reply> {
    let newcomer = topic == Some(NEW_ACCOUNT);
    if owner.is_none() && !(newcomer && server.rules.registration != Registration::Closed) {
        return Err(reply::AUTH_REQUIRED.into());
    }
    Ok(())
}

impl Upload {
    /// Refuses before anything is read what cannot come to a good end.
    async fn look_at_head(&mut self) -> Result<(), Reply> {
        let (headers, query) = (&self.head.headers, self.head.uri.query());
        if let Some(claim) = Claim::of_head(headers, query) {
            self.owner = Some(claim.check(&self.server).await?);
        }
        let length = text(headers, header::CONTENT_LENGTH).and_then(|it| it.parse::<u64>().ok());
        let most = self.server.files.file_bytes_max() + AROUND_FILE_MAX;
        if length.is_some_and(|it| it > most) {
            return Err(reply::TOO_LARGE.into());
        }
        Ok(())
    }

    async fn read(&mut self, form: &mut Form) -> Result<(), Reply> {
        while let Some(mut part) = form.next().await? {
            if part.name() == "file" {
                self.read_file(part).await?;
                continue;
            }
            let name = part.name().to_owned();
            let value = Some(part.value().await?);
            match name.as_str() {
                "id" => self.id = value,
                "topic" => self.topic = value,
                "apikey" => self.fields.apikey = value,
                "auth" => self.fields.auth = value,
                "secret" => self.fields.secret = value,
                _ => {}
            }
        }
        self.identify().await
    }

    async fn read_file(&mut self, mut part: Part) -> Result<(), Reply> {
        if self.file.is_some() {
            return Err(reply::MALFORMED.into());
        }
        self.identify().await?;
        let mut file = begin(&self.server, self.owner.clone(), self.address.0).await?;
        let declared = Declared {
            name: part.file_name(),
            mime: part.mime(),
        };
        while let Some(chunk) = part.chunk().await? {
            file.write(&chunk).await?;
        }
        self.file = Some((file, declared));
        Ok(())
    }

    /// Checks what has been shown so far.
    async fn identify(&mut self) -> Result<(), Reply> {
        let (headers, query) = (&self.head.headers, self.head.uri.query());
        if who::has_key(&self.server, headers, query, &self.fields) == Some(false) {
            return Err(reply::API_KEY_REQUIRED.into());
        }
        if self.owner.is_none()
            && let Some(claim) = Claim::of_request(headers, query, &self.fields)
        {
            self.owner = Some(claim.check(&self.server).await?);
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<Stored, Reply> {
        let (headers, query) = (&self.head.headers, self.head.uri.query());
        if who::has_key(&self.server, headers, query, &self.fields) != Some(true) {
            return Err(reply::API_KEY_REQUIRED.into());
        }
        may_store(&self.server, self.owner.as_ref(), self.topic.as_deref())?;
        let (file, declared) = self.file.take().ok_or(reply::MALFORMED)?;
        Ok(file.finish(self.owner.clone(), declared).await?)
    }
}

impl From<FormError> for Reply {
    fn from(fault: FormError) -> Self {
        match fault {
            FormError::Malformed => reply::MALFORMED.into(),
            FormError::Stalled => reply::UNAVAILABLE.into(),
        }
    }
}

impl From<FileError> for Reply {
    fn from(fault: FileError) -> Self {
        status_of(&fault).into()
    }
}
