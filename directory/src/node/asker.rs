//! Where a question comes from, when a web server stands in front.

use std::net::IpAddr;

use axum::http::HeaderMap;

/// The address of who asks: as a web server says that is believed, or that of the connection.
pub(super) fn address(proxies: &[IpAddr], from: IpAddr, headers: &HeaderMap) -> IpAddr {
    let from = from.to_canonical();
    if !proxies.contains(&from) {
        return from;
    }
    // The last one is what the web server saw; those before it are what its client claimed.
    let said = headers.get_all("x-forwarded-for").iter().next_back();
    let said = said.and_then(|it| it.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    said.unwrap_or(from)
}
