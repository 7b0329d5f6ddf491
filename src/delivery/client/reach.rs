//! Connects to a target and asks nothing: what of it can be seen beforehand.

use std::{net::SocketAddr, sync::Arc};

use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    Destination,
    failure::{BoxError, Stage, Trouble},
    literal,
    resolve::Resolver,
    tls::Tls,
};

/// Resolves the name, connects, and for HTTPS shakes hands, all within the target's time for a
/// connection. In words why that failed.
pub(in crate::delivery) async fn reach(to: &Destination, tls: &Tls) -> Result<(), String> {
    let said = |error: BoxError| Trouble::new(Stage::Connect, error).describe();
    match timeout(to.connect_timeout, connect(to, tls)).await {
        Ok(reached) => reached.map_err(said),
        Err(_elapsed) => Err(format!("no connection within {:?}", to.connect_timeout)),
    }
}

async fn connect(to: &Destination, tls: &Tls) -> Result<(), BoxError> {
    let stream = TcpStream::connect(&*addresses(to).await?).await?;
    if to.url.scheme() != "https" {
        return Ok(());
    }
    let host = bare_host(&to.url);
    let name = ServerName::try_from(host.to_owned())?;
    TlsConnector::from(Arc::new(tls.config())).connect(name, stream).await?;
    Ok(())
}

async fn addresses(to: &Destination) -> Result<Vec<SocketAddr>, BoxError> {
    let port = to.url.port_or_known_default().unwrap_or_default();
    if let Some(address) = literal(&to.url) {
        to.addresses.check(address)?;
        return Ok(vec![(address, port).into()]);
    }
    let found = Resolver::new(to.addresses.clone()).lookup(bare_host(&to.url).to_owned()).await?;
    Ok(found.map(|address| (address.ip(), port).into()).collect())
}

/// The host without the brackets of an IPv6 address.
fn bare_host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_matches(['[', ']'])
}
