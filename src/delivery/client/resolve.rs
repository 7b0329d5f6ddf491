//! From the name of a target to the addresses that may be connected to.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use crate::delivery::address::{AddressRules, Refused};

/// Resolves names by the system, and lets only those addresses through that the rules of the
/// target allow. Addresses written out in a URL never come here.
#[derive(Clone, Debug)]
pub(super) struct Resolver(Arc<AddressRules>);

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// The system does not know it.
    #[error("the name does not resolve: {0}")]
    Unknown(io::Error),
    /// It is known, and has no address.
    #[error("the name resolves to nothing")]
    Nothing,
    /// Every address it has is refused.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// A name that a test has looked up for ever.
#[cfg(test)]
pub(in crate::delivery) const NEVER_FOUND: &str = "never-found.example.com";

/// A name that has [`TWO`] for a test.
#[cfg(test)]
pub(in crate::delivery) const TWO_ADDRESSES: &str = "two-addresses.example.com";

/// Both are of this machine, and no test listens at the first.
#[cfg(test)]
const TWO: [std::net::Ipv4Addr; 2] =
    [std::net::Ipv4Addr::new(127, 0, 0, 2), std::net::Ipv4Addr::LOCALHOST];

type Resolving<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

// === impl Resolver ===

impl Resolver {
    /// For a target with these rules.
    pub(super) fn new(rules: AddressRules) -> Self {
        Self(Arc::new(rules))
    }

    pub(super) async fn lookup(
        self,
        name: String,
    ) -> Result<vec::IntoIter<SocketAddr>, ResolveError> {
        #[cfg(test)]
        match name.as_str() {
            NEVER_FOUND => return std::future::pending().await,
            TWO_ADDRESSES => return permitted(TWO.map(|two| (two, 0).into()), &self.0),
            _ => {}
        }
        let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveError::Unknown)?;
        permitted(found, &self.0)
    }
}

/// Those of the addresses that may be connected to, in their order. Where that is none, the first
/// refusal says why.
fn permitted(
    found: impl IntoIterator<Item = SocketAddr>,
    rules: &AddressRules,
) -> Result<vec::IntoIter<SocketAddr>, ResolveError> {
    let mut addresses = Vec::new();
    let mut refused = None;
    for address in found {
        match rules.check(address.ip()) {
            Ok(()) => addresses.push(address),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    match refused {
        Some(why) if addresses.is_empty() => Err(why.into()),
        None if addresses.is_empty() => Err(ResolveError::Nothing),
        _ => Ok(addresses.into_iter()),
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Resolving<Self::Response, ResolveError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().lookup(name.as_str().to_owned()))
    }
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let lookup = self.clone().lookup(name.as_str().to_owned());
        Box::pin(async move {
            let addresses: reqwest::dns::Addrs = Box::new(lookup.await?);
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(found: &[&str]) -> Result<Vec<String>, String> {
        let rules = AddressRules { allow: vec![], deny: vec!["10.0.0.0/8".parse().unwrap()] };
        let found =
            found.iter().map(|address| (address.parse::<std::net::IpAddr>().unwrap(), 0).into());
        match permitted(found, &rules) {
            Ok(kept) => Ok(kept.map(|address| address.ip().to_string()).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn of_the_addresses_of_a_name_those_that_are_allowed_are_kept_in_their_order() {
        let kept = of(&["10.0.0.1", "203.0.113.9", "169.254.169.254", "::ffff:10.0.0.1", "::1"]);

        assert_eq!(kept.unwrap(), ["203.0.113.9", "::1"]);
    }

    #[test]
    fn a_name_whose_addresses_are_all_refused_is_refused_for_the_first_of_them() {
        let refused = of(&["10.0.0.1", "169.254.169.254"]).unwrap_err();

        assert_eq!(refused, "10.0.0.1 is refused: deny_networks has 10.0.0.0/8");
        assert_eq!(of(&[]).unwrap_err(), "the name resolves to nothing");
    }
}
