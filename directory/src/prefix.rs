//! Who somebody is whose name is not known: the network that an address is of.

use std::net::{IpAddr, Ipv6Addr};

/// The /24 of an IPv4 address (in its mapped form) or the /56 of an IPv6 address.
#[must_use]
pub fn prefix_of(address: IpAddr) -> Ipv6Addr {
    match address.to_canonical() {
        IpAddr::V4(four) => Ipv6Addr::from_bits(four.to_ipv6_mapped().to_bits() & !0xff),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 72)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_24_and_56_bits_long() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("2001:db8:0:0ff::1", "2001:db8:0:001::1", true),
            ("2001:db8:0:0ff::1", "2001:db8:0:100::1", false),
        ] {
            let prefix = |it: &str| prefix_of(it.parse().unwrap());
            assert_eq!(prefix(one) == prefix(other), same, "{one} {other}");
        }
    }
}
