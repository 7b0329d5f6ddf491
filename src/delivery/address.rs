//! At which addresses a target may be reached.
//!
//! Decides on the address that is about to be connected to, whatever name led to it: a name may
//! resolve to another address at every attempt. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// `allow_networks` and `deny_networks` of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// When not empty, only these; and those of them that are closed to all others.
    pub allow: Vec<IpNet>,
    /// Never these, whatever else holds.
    pub deny: Vec<IpNet>,
}

/// An address that is not connected to, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `deny_networks`.
    #[error("{address} is refused: deny_networks has {network}")]
    Denied {
        /// The address.
        address: IpAddr,
        /// The network it is in.
        network: IpNet,
    },
    /// `allow_networks`.
    #[error("{address} is refused: it is not in allow_networks")]
    NotAllowed {
        /// The address.
        address: IpAddr,
    },
    /// Closed unless `allow_networks` names it.
    #[error(
        "{address} is refused: {network} is link-local, or where clouds keep their credentials; \
         only allow_networks opens it"
    )]
    Closed {
        /// The address.
        address: IpAddr,
        /// The network it is in.
        network: IpNet,
    },
}

/// Closed to every target that does not name them: no receiver of events is there, and whoever
/// could make the relay post there might read or change what a cloud tells its machines.
pub const CLOSED: [IpNet; 6] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    // Metadata of Alibaba Cloud, and of Oracle Cloud Classic.
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 200), 32)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 192), 32)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
    // Metadata of AWS, and of Google Cloud.
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128)),
];

/// Addresses of IPv4 behind a translator (RFC 6052).
const TRANSLATED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

// === impl AddressRules ===

impl AddressRules {
    /// Says whether `address` may be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let faces = faces(address);
        let find = |networks: &[IpNet]| {
            let holds = |network: &IpNet| faces.iter().any(|face| network.contains(face));
            networks.iter().copied().find(holds)
        };
        if let Some(network) = find(&self.deny) {
            return Err(Refused::Denied { address, network });
        }
        if find(&self.allow).is_some() {
            return Ok(());
        }
        if let Some(network) = find(&CLOSED) {
            return Err(Refused::Closed { address, network });
        }
        match self.allow.as_slice() {
            [] => Ok(()),
            _ => Err(Refused::NotAllowed { address }),
        }
    }
}

/// An address, and the one a connection to it would really reach.
fn faces(address: IpAddr) -> [IpAddr; 2] {
    let real = match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(v6) if TRANSLATED.contains(&v6) => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        other => other,
    };
    [address, real]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(written: &[&str]) -> Vec<IpNet> {
        written.iter().map(|network| network.parse().unwrap()).collect()
    }

    fn rules(allow: &[&str], deny: &[&str]) -> AddressRules {
        AddressRules { allow: networks(allow), deny: networks(deny) }
    }

    fn check(rules: &AddressRules, address: &str) -> Result<(), Refused> {
        rules.check(address.parse().unwrap())
    }

    #[test]
    fn private_and_public_addresses_are_open_and_those_of_metadata_closed() {
        let rules = AddressRules::default();

        for open in ["127.0.0.1", "10.1.2.3", "192.168.0.9", "203.0.113.7", "::1", "fd12::1"] {
            assert_eq!(check(&rules, open), Ok(()), "{open}");
        }
        for closed in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "100.100.100.200",
            "192.0.0.192",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert!(matches!(check(&rules, closed), Err(Refused::Closed { .. })), "{closed}");
        }
    }

    #[test]
    fn only_what_is_allowed_is_open_and_what_is_denied_is_closed_all_the_same() {
        let rules = rules(&["10.0.0.0/8", "169.254.7.0/24"], &["10.9.0.0/16"]);

        assert_eq!(check(&rules, "10.1.2.3"), Ok(()));
        assert_eq!(check(&rules, "::ffff:10.1.2.3"), Ok(()));
        assert_eq!(check(&rules, "169.254.7.7"), Ok(()));
        let address = "192.168.0.9".parse().unwrap();
        assert_eq!(check(&rules, "192.168.0.9"), Err(Refused::NotAllowed { address }));
        assert!(matches!(check(&rules, "169.254.169.254"), Err(Refused::Closed { .. })));
        let error = check(&rules, "10.9.0.1").unwrap_err();
        assert_eq!(error.to_string(), "10.9.0.1 is refused: deny_networks has 10.9.0.0/16");
    }

    #[test]
    fn the_unspecified_address_is_the_machine_itself() {
        let rules = rules(&[], &["127.0.0.0/8"]);

        assert!(check(&rules, "0.0.0.0").is_err());
        assert!(check(&rules, "::ffff:0.0.0.0").is_err());
        assert_eq!(check(&rules, "10.0.0.1"), Ok(()));
        assert!(check(&self::rules(&[], &["::1/128"]), "::").is_err());
    }
}
