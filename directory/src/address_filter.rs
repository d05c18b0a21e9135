//! Which addresses we connect to on a stranger's word.
//!
//! DNS is written by strangers: without this, a name could make the server talk to its own loopback
//! or to the network it stands in. An address passes when it is plainly public, or when the operator
//! allowed its range.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::IpRange;

/// Special ranges of IPv4 (RFC 6890 and its successors).
const SPECIAL_V4: &[(&str, &str)] = &[
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "reserved"),
    ("192.52.193.0/24", "reserved"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "reserved"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
];

/// Special ranges of IPv6 that lie inside 2000::/3; everything outside it is special anyway.
const SPECIAL_V6: &[(&str, &str)] = &[
    ("2001::/23", "reserved or Teredo"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "reserved"),
    ("3fff::/20", "documentation"),
];

/// Judges addresses.
#[derive(Debug)]
pub(crate) struct AddressFilter {
    allowed: Vec<IpRange>,
    special: Vec<(IpRange, &'static str)>,
}

impl AddressFilter {
    /// Refuses everything special but `allowed`.
    pub(crate) fn new(allowed: Vec<IpRange>) -> Self {
        let special = SPECIAL_V4.iter().chain(SPECIAL_V6).map(|&(range, kind)| {
            let range = range.parse().expect("the tables above hold ranges");
            (range, kind)
        });
        Self {
            allowed,
            special: special.collect(),
        }
    }

    /// Passes an address, or says what is special about it.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), &'static str> {
        if self.allowed.iter().any(|range| range.contains(&address)) {
            return Ok(());
        }
        if let IpAddr::V6(address) = address
            && let Some(kind) = outside_global_unicast(address)
        {
            return Err(kind);
        }
        match self
            .special
            .iter()
            .find(|(range, _)| range.contains(&address))
        {
            Some((_, kind)) => Err(kind),
            None => Ok(()),
        }
    }
}

/// Only 2000::/3 is handed out for public use. Forms that carry an IPv4 address (mapped, compatible,
/// NAT64) lie outside of it and are refused as such, whatever address they carry.
fn outside_global_unicast(address: Ipv6Addr) -> Option<&'static str> {
    let [first, second, ..] = address.segments();
    let kind = match (first, second) {
        (0x2000..=0x3fff, _) => return None,
        (0x64, 0xff9b) => "NAT64",
        (0xfc00..=0xfdff, _) => "private (ULA)",
        (0xfe80..=0xfebf, _) => "link-local",
        (0xff00..=0xffff, _) => "multicast",
        _ if address == Ipv6Addr::UNSPECIFIED => "unspecified",
        _ if address == Ipv6Addr::LOCALHOST => "loopback",
        _ if address.to_ipv4_mapped().is_some() => "an IPv4-mapped form",
        _ if address
            .to_ipv4()
            .is_some_and(|it| it != Ipv4Addr::UNSPECIFIED) =>
        {
            "an IPv4-compatible form"
        }
        _ => "not public",
    };
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(allowed: &[&str]) -> AddressFilter {
        AddressFilter::new(allowed.iter().map(|it| it.parse().unwrap()).collect())
    }

    #[test]
    fn every_special_form_is_refused() {
        let filter = filter(&[]);
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(
                filter.check(address.parse().unwrap()).is_err(),
                "{address} passed"
            );
        }
    }

    #[test]
    fn public_addresses_pass() {
        let filter = filter(&[]);
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1",
            "2a00:1450::1",
        ] {
            assert_eq!(filter.check(address.parse().unwrap()), Ok(()), "{address}");
        }
    }

    #[test]
    fn an_allowed_range_opens_itself_and_nothing_else() {
        let filter = filter(&["127.1.0.0/16", "fd00:1::/32"]);
        let check = |address: &str| filter.check(address.parse().unwrap());
        assert_eq!(check("127.1.2.3"), Ok(()));
        assert_eq!(check("127.0.0.1"), Err("loopback"));
        assert_eq!(check("::ffff:127.1.2.3"), Err("an IPv4-mapped form"));
        assert_eq!(check("64:ff9b::127.1.2.3"), Err("NAT64"));
        assert_eq!(check("fd00:1::5"), Ok(()));
        assert_eq!(check("fd00:2::5"), Err("private (ULA)"));
    }
}
