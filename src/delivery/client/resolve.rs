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
        if name == NEVER_FOUND {
            return std::future::pending().await;
        }
        let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveError::Unknown)?;
        let mut addresses = Vec::new();
        let mut refused = None;
        for address in found {
            match self.0.check(address.ip()) {
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
