//! Where clients come from, when a web server stands in front.

use std::net::IpAddr;

use axum::http::HeaderMap;

use crate::accounts::attempts::Origin;

/// A client's address: as the proxy says, if one that is believed hands it on. Nothing when it does not.
pub(super) fn address(proxies: &[IpAddr], address: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    let address = address.to_canonical();
    if !proxies.contains(&address) {
        return Some(address);
    }
    // The last one is what the proxy saw; those before it are what its client claimed.
    let said = headers.get_all("x-forwarded-for").iter().next_back()?;
    let last = said.to_str().ok()?.rsplit(',').next()?;
    last.trim().parse().ok()
}

/// The same for counting what is tried from there.
pub(super) fn origin(proxies: &[IpAddr], from: IpAddr, headers: &HeaderMap) -> Option<Origin> {
    address(proxies, from, headers).map(Origin::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_that_is_believed_says_where_a_client_comes_from() {
        let proxies = ["127.0.0.1".parse().unwrap()];
        let mut headers = HeaderMap::new();
        let from = |address: &str, headers: &HeaderMap| {
            origin(&proxies, address.parse().unwrap(), headers)
        };
        let of = |text: &str| Some(Origin::of(text.parse().unwrap()));
        assert_eq!(from("127.0.0.1", &headers), None);
        headers.append("x-forwarded-for", "192.0.2.9, 192.0.2.1".parse().unwrap());
        assert_eq!(from("127.0.0.1", &headers), of("192.0.2.1"));
        assert_eq!(from("::ffff:127.0.0.1", &headers), of("192.0.2.1"));
        assert_eq!(from("198.51.100.7", &headers), of("198.51.100.7"));
    }
}
