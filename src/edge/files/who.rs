//! Who asks: the API key and the log-in of a request without a session, looked for where clients put
//! them (fact sheet, sections 1.3 and 1.4).

use std::net::Ipv4Addr;

use axum::http::{HeaderMap, header};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use freehold_proto::UserId;

use super::text;
use crate::{
    accounts::attempts::Origin,
    edge::{
        apikey,
        reply::{self, Reply},
    },
    server::Server,
};

/// Secrets come in standard base64 and, in URLs, in the other one, with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A log-in that a request shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::edge) struct Claim {
    scheme: String,
    secret: String,
}

/// What fields of a form say of the asker.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) apikey: Option<String>,
    pub(super) auth: Option<String>,
    pub(super) secret: Option<String>,
}

impl Claim {
    pub(in crate::edge) fn new(scheme: &str, secret: &str) -> Self {
        Self {
            scheme: scheme.trim().to_ascii_lowercase(),
            secret: secret.trim().to_owned(),
        }
    }

    /// `Token <secret>`.
    fn of_header(value: &str) -> Self {
        let (scheme, secret) = value.trim().split_once(' ').unwrap_or((value, ""));
        Self::new(scheme, secret)
    }

    /// The first one that a request shows. One that is there but wrong is not made good by a later.
    pub(super) fn of_request(
        headers: &HeaderMap,
        query: Option<&str>,
        form: &Fields,
    ) -> Option<Self> {
        let in_form = || Some(Self::new(form.auth.as_deref()?, form.secret.as_deref()?));
        let in_cookies = || {
            let cookies = text(headers, header::COOKIE)?;
            let found = |name| parameter(cookies, ';', name);
            Some(Self::new(&found("auth")?, &found("secret")?))
        };
        Self::of_head(headers, query)
            .or_else(in_form)
            .or_else(in_cookies)
    }

    /// The same without what counts less than a form that has not been read yet.
    pub(super) fn of_head(headers: &HeaderMap, query: Option<&str>) -> Option<Self> {
        let header = text(headers, "x-tinode-auth").or(text(headers, header::AUTHORIZATION));
        let in_query = || {
            let found = |name| parameter(query?, '&', name);
            Some(Self::new(&found("auth")?, &found("secret")?))
        };
        header.map(Self::of_header).or_else(in_query)
    }

    /// The person who can show this.
    pub(in crate::edge) async fn check(&self, server: &Server) -> Result<UserId, Reply> {
        let plain = self.secret.replace('+', "-").replace('/', "_");
        let secret = BASE64.decode(plain).map_err(|_| reply::AUTH_FAILED)?;
        match self.scheme.as_str() {
            "token" => {
                let token = STANDARD.encode(secret);
                Ok(server.caller_by_token(&token).await?.user)
            }
            "basic" => by_password(server, secret).await,
            _ => Err(reply::UNKNOWN_SCHEME.into()),
        }
    }
}

async fn by_password(server: &Server, secret: Vec<u8>) -> Result<UserId, Reply> {
    let secret = String::from_utf8(secret).map_err(|_| reply::AUTH_FAILED)?;
    let (login, password) = secret.split_once(':').ok_or(reply::AUTH_FAILED)?;
    // Clients show a token here. Guesses of all who show a password instead are counted together, so
    // that files are no way around the limits.
    let origin = Origin::of(Ipv4Addr::UNSPECIFIED.into());
    let caller = server
        .caller_by_password(login, password.to_owned(), Some(origin))
        .await?;
    Ok(caller.user)
}

/// Whether a request shows an API key of ours; `None` when it shows none at all.
pub(super) fn has_key(
    server: &Server,
    headers: &HeaderMap,
    query: Option<&str>,
    form: &Fields,
) -> Option<bool> {
    let key = apikey::of_form(headers, query, form.apikey.as_deref())?;
    Some(server.rules.api_keys.contains(&key))
}

/// Who asks for something that only people with a log-in get.
pub(super) async fn admit(
    server: &Server,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<UserId, Reply> {
    let nothing = Fields::default();
    if has_key(server, headers, query, &nothing) != Some(true) {
        return Err(reply::API_KEY_REQUIRED.into());
    }
    match Claim::of_request(headers, query, &nothing) {
        Some(claim) => claim.check(server).await,
        None => Err(reply::AUTH_REQUIRED.into()),
    }
}

/// A parameter of a query or a cookie, without its escapes.
pub(super) fn parameter(text: &str, separator: char, name: &str) -> Option<String> {
    let mut pairs = text
        .split(separator)
        .filter_map(|it| it.trim().split_once('='));
    let (_, value) = pairs.find(|(it, _)| *it == name)?;
    unescaped(value)
}

/// `%41` becomes `A`. A plus stays one: what stands here is no form, but base64.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_log_in_is_found_wherever_clients_put_it_in_their_order() {
        let form = Fields {
            auth: Some("token".to_owned()),
            secret: Some("FORM".to_owned()),
            ..Fields::default()
        };
        let all = headers(&[
            ("x-tinode-auth", "Token FIRST"),
            ("authorization", "token SECOND"),
            ("cookie", "x=y; auth=Token; secret=FIFTH%3D"),
        ]);
        let mut fewer = all.clone();
        let query = "v=1&auth=TOKEN&secret=THIRD-_";
        let found = |headers: &HeaderMap, query, form: &Fields| {
            let claim = Claim::of_request(headers, query, form)?;
            assert_eq!(claim.scheme, "token");
            Some(claim.secret)
        };
        assert_eq!(found(&all, Some(query), &form).unwrap(), "FIRST");
        fewer.remove("x-tinode-auth");
        assert_eq!(found(&fewer, Some(query), &form).unwrap(), "SECOND");
        fewer.remove("authorization");
        assert_eq!(found(&fewer, Some(query), &form).unwrap(), "THIRD-_");
        assert_eq!(found(&fewer, None, &form).unwrap(), "FORM");
        let nothing = Fields::default();
        assert_eq!(found(&fewer, None, &nothing).unwrap(), "FIFTH=");
        assert_eq!(found(&HeaderMap::new(), Some("auth=token"), &nothing), None);
    }

    #[test]
    fn escapes_are_read_and_pluses_stay() {
        assert_eq!(unescaped("a+b%2Bc%3d").as_deref(), Some("a+b+c="));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(unescaped(bad), None, "{bad}");
        }
    }
}
