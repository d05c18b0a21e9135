//! The section `[authentication]`.

use std::net::IpAddr;

use crate::{
    Authentication,
    check::{Checker, host_and_port, not_empty},
    file,
};

/// Where a service is.
pub(crate) struct Place {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl Checker<'_> {
    /// `Some(None)` when there is no such service.
    pub(crate) fn authentication(
        &mut self,
        section: file::Authentication,
    ) -> Option<Option<Authentication>> {
        self.refuse_unknown("authentication.", &section.unknown);
        let place = self.optional("authentication.url", section.url, place);
        let secret = self.optional("authentication.secret_file", section.secret_file, not_empty);
        let passwords = self.value("authentication.passwords", section.passwords, false);
        let (place, secret, passwords) = (place?, secret?, passwords?);
        let secret_file = secret.map(|it| self.base_dir.join(it));
        Some(place.map(|it| Authentication {
            tls: it.tls,
            host: it.host,
            port: it.port,
            path: it.path,
            secret_file,
            passwords,
        }))
    }
}

pub(crate) fn place(text: &str) -> Result<Place, &'static str> {
    let wrong = "must be an address such as https://accounts.example.org/freehold";
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(wrong),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let usual = if tls { ":443" } else { ":80" };
    let (host, port) = host_and_port(authority)
        .or_else(|_| host_and_port(&format!("{authority}{usual}")))
        .map_err(|_| wrong)?;
    let visible = |it: char| it.is_ascii_graphic() && !"?#".contains(it);
    if !path.chars().all(visible) {
        return Err(wrong);
    }
    let here = host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
    if !tls && !here {
        return Err("must begin with https, or name an address of this machine");
    }
    Ok(Place {
        tls,
        host,
        port,
        path: path.trim_end_matches('/').to_owned(),
    })
}
