//! URLs that one domain shows to the people of others: few forms, none of which can hide where it leads.

use std::{fmt, net::IpAddr, net::Ipv6Addr, str::FromStr};

use crate::{DomainName, Malformed, malformed::excerpt};

/// Schemes, and whether each is protected by TLS.
const SCHEMES: &[(&str, bool)] = &[
    ("https", true),
    ("http", false),
    ("wss", true),
    ("ws", false),
];

/// `scheme://host[:port]/path`: a host in lower case or an IP address, no user, no escapes, no query, no
/// fragment. Anything else is refused, never mended.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct WebUrl {
    text: String,
    scheme: &'static str,
    secure: bool,
    host: WebHost,
    port: Option<u16>,
}

/// Where a URL leads.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum WebHost {
    /// A name.
    Name(DomainName),
    /// An address.
    Address(IpAddr),
}

impl WebUrl {
    /// The longest that is taken, in bytes.
    pub const BYTES_MAX: usize = 512;

    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `https`, `http`, `wss` or `ws`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Whether it is protected by TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Where it leads.
    #[must_use]
    pub fn host(&self) -> &WebHost {
        &self.host
    }

    /// The port, also where it goes without saying.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// Host and port as they stand in it: what people type as the name of a server.
    #[must_use]
    pub fn authority(&self) -> &str {
        authority_of(&self.text)
    }

    /// From the first slash on.
    #[must_use]
    pub fn path(&self) -> &str {
        path_of(&self.text)
    }
}

impl FromStr for WebUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        read(text).map_err(|why| Malformed::Url {
            url: excerpt(text),
            why,
        })
    }
}

/// Host and port as they stand in a URL that was read.
pub(crate) fn authority_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.split_once('/')
        .map_or(rest, |(authority, _)| authority)
}

/// A URL that was read from the first slash behind its host on.
pub(crate) fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').and_then(|it| rest.get(it..)).unwrap_or("/")
}

fn read(text: &str) -> Result<WebUrl, &'static str> {
    if text.len() > WebUrl::BYTES_MAX {
        return Err("it is longer than 512 bytes");
    }
    let (scheme, rest) = text.split_once("://").ok_or("it has no ://")?;
    let known = SCHEMES.iter().find(|(name, _)| *name == scheme);
    let &(scheme, secure) = known.ok_or("it begins with none of https, http, wss, ws")?;
    let (authority, path) = rest.split_once('/').ok_or("it has no / behind the host")?;
    let legal = |it: u8| it.is_ascii_alphanumeric() || b"-._~/".contains(&it);
    if !path.bytes().all(legal) || path.split('/').any(|it| it == "." || it == "..") {
        return Err("its path is more than letters, digits and -._~/");
    }
    let (host, port) = host_and_port(authority)?;
    Ok(WebUrl {
        text: text.to_owned(),
        scheme,
        secure,
        host,
        port,
    })
}

/// Reads `host` or `host:port`, each in its one spelling.
pub(crate) fn host_and_port(text: &str) -> Result<(WebHost, Option<u16>), &'static str> {
    const HOST: &str = "its host is neither a name in lower case nor an IP address";
    // Colons within brackets are those of an address.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port = match port {
        None => None,
        Some(text) => {
            let port = text.parse::<u16>().ok().filter(|it| *it > 0);
            let port = port.filter(|it| it.to_string() == text);
            Some(port.ok_or("its port is not a number from 1 to 65535")?)
        }
    };
    let host = match host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(inside) => {
            let address = inside.parse::<Ipv6Addr>().ok();
            let address = address.filter(|it| it.to_string() == inside).ok_or(HOST)?;
            WebHost::Address(address.into())
        }
        None => match host.parse::<std::net::Ipv4Addr>() {
            Ok(address) => WebHost::Address(address.into()),
            Err(_) => WebHost::Name(host.parse().map_err(|_| HOST)?),
        },
    };
    Ok((host, port))
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_urls_are_taken_apart() {
        let url: WebUrl = "https://chat.example.org:8443/app/".parse().unwrap();
        assert_eq!(
            (url.scheme(), url.is_secure(), url.port()),
            ("https", true, 8443)
        );
        assert_eq!(
            url.host(),
            &WebHost::Name("chat.example.org".parse().unwrap())
        );
        assert_eq!(
            (url.authority(), url.path()),
            ("chat.example.org:8443", "/app/")
        );
        let url: WebUrl = "ws://[::1]:6060/v0/channels".parse().unwrap();
        assert_eq!((url.is_secure(), url.authority()), (false, "[::1]:6060"));
        assert_eq!(url.host(), &WebHost::Address("::1".parse().unwrap()));
        for (text, port) in [("wss://a.test/", 443), ("http://127.0.0.1/", 80)] {
            assert_eq!(text.parse::<WebUrl>().unwrap().port(), port);
        }
    }

    #[test]
    fn a_url_that_hides_where_it_leads_is_refused() {
        let long = format!("https://a.test/{}", "a".repeat(WebUrl::BYTES_MAX));
        for text in [
            "",
            "chat.example.org",
            "https://chat.example.org",
            "https:///",
            "HTTPS://chat.example.org/",
            "javascript://a.test/",
            "https://bank.test@a.test/",
            "https://bank.test:x@a.test/",
            "https://a.test\\@b.test/",
            "https://A.test/",
            "https://a.test./",
            "https://localhost/",
            "https://a.test:0/",
            "https://a.test:080/",
            "https://a.test:65536/",
            "https://a.test:/",
            "https://[::1/",
            "https://[0::1]/",
            "https://127.1/",
            "https://a.test/?x",
            "https://a.test/#x",
            "https://a.test/%2e",
            "https://a.test/../x",
            "https://a.test/\"",
            "https://a.test/ ",
            " https://a.test/",
            "https://bücher.test/",
            &long,
        ] {
            assert!(text.parse::<WebUrl>().is_err(), "{text:?} passed");
        }
    }

    proptest! {
        /// What is taken is what was given, and holds nothing that a page or a header would have to escape.
        #[test]
        fn whatever_is_taken_is_safe_to_show(
            scheme in "(https|http|wss|ws|ftp)",
            rest in "[a-z0-9.:\\[\\]@/%?#\"<> _~-]{0,24}",
        ) {
            let text = format!("{scheme}://{rest}");
            if let Ok(url) = text.parse::<WebUrl>() {
                prop_assert_eq!(url.as_str(), &text);
                let joined = format!("{}://{}{}", url.scheme(), url.authority(), url.path());
                prop_assert_eq!(joined, text.clone());
                prop_assert!(!text.contains(['"', '<', '>', ' ', '@', '%', '?', '#']));
            }
        }
    }
}
